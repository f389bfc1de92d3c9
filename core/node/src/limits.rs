//! Every timeout, batch size, queue bound and threshold of a member, declared once: what
//! it is, its least value, its default, and what a simulation tries instead (as the knobs
//! of FoundationDB; Zhou et al., "FoundationDB: A Distributed Unbundled Transactional Key
//! Value Store", SIGMOD 2021, section 4).
//!
//! A field of [`Limits`] cannot be declared without its range for simulation, and what
//! has to hold between fields is written next to them, in [`CONSTRAINTS`].

/// One of the [`Limits`], as a number: how to read and set it, and what a simulation may
/// set it to. Its unit is the end of its name: ms, bytes, or a count of what it names.
#[derive(Clone, Copy, Debug)]
pub struct Knob {
    /// The field's name.
    pub name: &'static str,
    /// The least value that can work.
    pub least: u64,
    /// What a member has when nothing is said.
    pub default: u64,
    /// Which share of simulations leaves it at its default, in percent. Little where a
    /// short run never gets as far as the default.
    pub default_percent: u8,
    /// The values that other simulations use, from the least to the greatest.
    pub range: (u64, u64),
    /// Values beyond the usual that some simulations use: those at which code breaks.
    pub edges: &'static [u64],
    /// Reads the field.
    pub get: fn(&Limits) -> u64,
    /// Sets the field.
    pub set: fn(&mut Limits, u64),
}

/// What has to hold between fields.
#[derive(Clone, Copy, Debug)]
pub struct Constraint {
    /// The field that gives way.
    pub field: &'static str,
    /// What has to hold.
    pub reason: &'static str,
    /// Whether it does.
    pub holds: fn(&Limits) -> bool,
    /// Sets the field so that it does.
    pub repair: fn(&mut Limits),
}

macro_rules! limits {
    ($(
        $(#[$doc:meta])+
        $field:ident: $type:ty, least $least:literal, default $default:expr,
        simulated $low:literal..=$high:expr, edges [$($edge:expr),*], default in $percent:literal percent;
    )+) => {
        /// Timeouts, batch sizes, queue bounds and thresholds.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Limits {
            $($(#[$doc])+ pub $field: $type,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        /// All fields of [`Limits`], in their order.
        pub const KNOBS: &[Knob] = &[$(
            Knob {
                name: stringify!($field),
                least: $least,
                default: $default,
                default_percent: $percent,
                range: ($low, $high),
                edges: &[$($edge),*],
                get: |limits| limits.$field as u64,
                set: |limits, value| limits.$field = value as $type,
            },
        )+];
    };
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

limits! {
    /// One Raft tick and the period of heartbeats.
    heartbeat_ms: u64, least 1, default 100,
        simulated 50..=150, edges [25, 300], default in 50 percent;
    /// A follower that hears nothing for this long to twice this long stands for election.
    election_timeout_ms: u64, least 5, default 1_000,
        simulated 250..=1_800, edges [125, 3_000], default in 30 percent;
    /// Entries of one append message, in bytes.
    max_append_bytes: usize, least 1, default 1024 * 1024,
        simulated 64..=MIB, edges [1], default in 30 percent;
    /// Unanswered append messages per follower.
    max_inflight_appends: usize, least 1, default 256,
        simulated 1..=64, edges [1], default in 40 percent;
    /// Bytes in unanswered append messages per follower.
    max_inflight_bytes: usize, least 1, default 16 * 1024 * 1024,
        simulated 64..=MIB, edges [1], default in 50 percent;
    /// Bytes of entries that are not committed yet; above it proposals are refused.
    max_uncommitted_bytes: usize, least 1, default 64 * 1024 * 1024,
        simulated 1_024..=MIB, edges [256], default in 40 percent;
    /// Reads that wait for a confirmation of leadership, in batches.
    max_pending_reads: usize, least 1, default 1_024,
        simulated 2..=64, edges [1], default in 50 percent;
    /// Requests of clients that wait in this member, for proposals and reads each.
    max_pending_requests: usize, least 1, default 16_384,
        simulated 2..=64, edges [1], default in 50 percent;
    /// Raft messages received and not yet stepped; above it the connection waits.
    max_inbox_messages: usize, least 1, default 1_024,
        simulated 2..=64, edges [1], default in 50 percent;
    /// Frames that wait for one peer's connection; above it they are dropped, as a
    /// network would, and Raft sends again.
    max_outbox_frames: usize, least 1, default 1_024,
        simulated 4..=64, edges [1], default in 50 percent;
    /// Connections to the port of peers that have not greeted; above it the oldest is closed.
    max_peer_strangers: usize, least 8, default 32,
        simulated 8..=24, edges [8], default in 50 percent;
    /// Persistence jobs handed to the disk and not finished.
    max_disk_jobs: usize, least 1, default 64,
        simulated 1..=16, edges [1], default in 50 percent;
    /// Committed batches handed to the state machine and not finished.
    max_apply_batches: usize, least 1, default 64,
        simulated 1..=16, edges [1], default in 50 percent;
    /// Commands applied before other tasks get a turn; readers see a batch at once
    /// all the same.
    apply_yield_commands: usize, least 1, default 64,
        simulated 1..=8, edges [1], default in 30 percent;
    /// A request of a client, encoded, in bytes (etcd's `--max-request-bytes`).
    max_request_bytes: usize, least 1, default 1_536 * 1024,
        simulated 1_024..=MIB, edges [512], default in 60 percent;
    /// Operations in one transaction (etcd's `--max-txn-ops`).
    max_txn_ops: usize, least 1, default 128,
        simulated 4..=64, edges [2], default in 60 percent;
    /// Reads of a batch behind so many bytes of answers are left for another one.
    batch_answer_bytes: usize, least 1, default 16 * 1024 * 1024,
        simulated 64..=4_096, edges [1], default in 40 percent;
    /// A proposal or read without an answer for this long is reported as unknown or
    /// timed out.
    request_timeout_ms: u64, least 1, default 7_000,
        simulated 1_500..=5_000, edges [500, 10_000], default in 30 percent;
    /// A forwarded proposal or read without an effect for this long is sent again.
    retry_ms: u64, least 1, default 500,
        simulated 100..=1_000, edges [25, 2_000], default in 40 percent;
    /// Connecting to a peer.
    connect_timeout_ms: u64, least 1, default 1_000,
        simulated 100..=1_000, edges [50, 2_000], default in 40 percent;
    /// Between attempts to connect to a peer.
    reconnect_delay_ms: u64, least 1, default 100,
        simulated 10..=100, edges [1, 1_000], default in 40 percent;
    /// Applied entries between two snapshots.
    snapshot_entries: u64, least 1, default 100_000,
        simulated 25..=1_000, edges [10, 10_000], default in 5 percent;
    /// Bytes of applied entries between two snapshots, if that comes first; as many as the state
    /// takes, if that is more, so that snapshots are not most of what is written.
    snapshot_log_bytes: u64, least 1, default 64 * MIB,
        simulated 1_024..=65_536, edges [1], default in 30 percent;
    /// Bytes of the entries kept behind a snapshot, of those in `snapshot_keep_entries`.
    snapshot_keep_bytes: usize, least 0, default 16 * 1024 * 1024,
        simulated 0..=16_384, edges [0, 1], default in 30 percent;
    /// Entries kept behind a snapshot, so that a slow follower needs no snapshot.
    snapshot_keep_entries: u64, least 0, default 5_000,
        simulated 0..=500, edges [0, 1], default in 5 percent;
    /// Bytes in one chunk of a streamed snapshot.
    snapshot_chunk_bytes: usize, least 1, default 256 * 1024,
        simulated 64..=4_096, edges [32], default in 10 percent;
    /// Unacknowledged chunks of a streamed snapshot.
    snapshot_window_chunks: u64, least 1, default 8,
        simulated 1..=8, edges [64], default in 30 percent;
    /// A snapshot transfer without progress for this long is given up.
    snapshot_timeout_ms: u64, least 1, default 10_000,
        simulated 1_000..=8_000, edges [500], default in 50 percent;
    /// Size of one segment of the write-ahead log.
    wal_segment_bytes: u64, least 1, default 64 * MIB,
        simulated 16_384..=MIB, edges [4_096], default in 10 percent;
    /// How far ahead a segment is filled with zeros at most, in bytes: a synchronisation that does
    /// not make the file longer is cheaper. On a slow disk it is less.
    wal_zeroed_ahead_bytes: u64, least 1, default 256 * KIB,
        simulated 4_096..=65_536, edges [1], default in 20 percent;
    /// Shards of the map.
    shards: usize, least 1, default 64,
        simulated 1..=16, edges [1], default in 30 percent;
    /// How often expired leases are looked for.
    lease_check_ms: u64, least 1, default 500,
        simulated 100..=500, edges [20, 1_000], default in 40 percent;
    /// Period of progress notifications to idle watchers that asked for them.
    watch_progress_ms: u64, least 1, default 600_000,
        simulated 500..=10_000, edges [100], default in 10 percent;
    /// Pause between two responses on one stream of watches; 0 for none. Meanwhile the
    /// stream's queue fills and may fall back to catching up.
    watch_pace_ms: u64, least 0, default 0,
        simulated 1..=40, edges [100], default in 50 percent;
    /// Distinct revisions in one response to a watch that catches up.
    watch_catch_up_revisions: usize, least 1, default 1_000,
        simulated 1..=16, edges [1], default in 30 percent;
    /// Events that wait in one stream of watches; above it the stream falls back to
    /// catching up from the history.
    watch_buffered_events: usize, least 1, default 8_192,
        simulated 1..=64, edges [1], default in 40 percent;
    /// Bytes of keys and values that wait in one stream of watches, likewise.
    watch_buffered_bytes: usize, least 1, default 8 * 1024 * 1024,
        simulated 64..=4_096, edges [1], default in 60 percent;
    /// Answers to requests of a stream of watches that wait; above it further requests
    /// of that stream are refused.
    watch_waiting_answers: usize, least 1, default 128,
        simulated 4..=64, edges [2], default in 60 percent;
    /// Changes that a watch that catches up looks at before others get a turn.
    watch_catch_up_changes: usize, least 1, default 65_536,
        simulated 1..=64, edges [1], default in 50 percent;
    /// Requests in flight on one client connection; above it the connection waits.
    max_session_requests: usize, least 1, default 1_024,
        simulated 1..=64, edges [1], default in 40 percent;
    /// Responses to one client are joined into one write up to this many bytes.
    session_write_bytes: usize, least 1, default 256 * 1024,
        simulated 64..=4_096, edges [1], default in 60 percent;
    /// Frames to one peer are joined into one write up to this many bytes.
    peer_write_bytes: usize, least 1, default 256 * 1024,
        simulated 64..=4_096, edges [1], default in 60 percent;
    /// Inputs of a kind that Raft is given before its effects are processed.
    max_turn_inputs: usize, least 1, default 256,
        simulated 1..=16, edges [1], default in 50 percent;
    /// Effects of Raft that are on their way to the disk; above it Raft waits.
    max_outstanding_readys: usize, least 1, default 1_024,
        simulated 1..=16, edges [1], default in 50 percent;
    /// Committed entries handed to the state machine at once, in bytes; a single larger
    /// one goes alone.
    max_committed_bytes: usize, least 1, default 4 * 1024 * 1024,
        simulated 64..=4_096, edges [1], default in 50 percent;
    /// Effects of Raft that are made durable by one synchronisation.
    group_commit_jobs: usize, least 1, default 64,
        simulated 1..=8, edges [1], default in 50 percent;
    /// Keys whose old versions are forgotten in one go, so that a big compaction does
    /// not hold up the writer: the rest follows with the next writes.
    trim_keys: usize, least 1, default 2_048,
        simulated 1..=16, edges [1], default in 50 percent;
    /// Snapshot jobs that wait; above it chunks and acknowledgements are dropped and sent
    /// again, and requests to send fail and are made again by Raft.
    max_snapshot_jobs: usize, least 1, default 64,
        simulated 2..=32, edges [1], default in 50 percent;
    /// Chunks read ahead of the state machine while a snapshot is installed.
    install_read_ahead_chunks: usize, least 1, default 4,
        simulated 1..=8, edges [1, 64], default in 50 percent;
    /// Snapshot files that are kept: the newest, and others for transfers under way.
    kept_snapshots: usize, least 1, default 2,
        simulated 1..=3, edges [1], default in 60 percent;
    /// Jobs that wait for the engine, which is busy for a while when it flushes; above it
    /// applying waits.
    max_engine_jobs: usize, least 1, default 1_024,
        simulated 1..=16, edges [1], default in 50 percent;
    /// The same in bytes of keys and values.
    max_engine_queue_bytes: u32, least 1, default 64 * 1024 * 1024,
        simulated 64..=4_096, edges [1], default in 50 percent;
    /// Bytes of a batch in which a whole state is handed to the engine.
    engine_fill_bytes: usize, least 1, default 1024 * 1024,
        simulated 64..=4_096, edges [1], default in 50 percent;
    /// Learners that the cluster may have at once (etcd: `--max-learners`).
    max_learners: usize, least 1, default 1,
        simulated 2..=3, edges [4], default in 60 percent;
    /// Lease calls and replies between members that wait; above it they are dropped and
    /// the callers ask again.
    max_lease_frames: usize, least 1, default 1_024,
        simulated 2..=16, edges [1], default in 50 percent;
    /// Lease calls to the leader that wait for its reply; above it callers are refused.
    max_lease_calls: usize, least 1, default 4_096,
        simulated 2..=16, edges [1], default in 50 percent;
    /// Lease calls of other members that are served at once; above it they are passed
    /// over, and the callers ask again.
    max_served_lease_calls: usize, least 1, default 1_024,
        simulated 1..=8, edges [1], default in 50 percent;
    /// Leases whose revocation is proposed in one look at the expired ones.
    lease_revokes_per_check: usize, least 1, default 256,
        simulated 1..=8, edges [1], default in 50 percent;
    /// How long after its revocation was proposed a lease that still exists is proposed
    /// again; doubles each time.
    lease_revoke_retry_ms: u64, least 1, default 500,
        simulated 100..=1_000, edges [20, 2_000], default in 50 percent;
    /// The longest such time.
    lease_revoke_retry_max_ms: u64, least 1, default 8_000,
        simulated 1_000..=8_000, edges [20, 10_000], default in 50 percent;
}

/// What has to hold between fields; each is repaired after those before it.
pub const CONSTRAINTS: &[Constraint] = &[
    Constraint {
        field: "election_timeout_ms",
        reason: "must be at least 5 times the heartbeat",
        holds: |limits| limits.election_timeout_ms >= limits.heartbeat_ms.saturating_mul(5),
        repair: |limits| limits.election_timeout_ms = limits.heartbeat_ms.saturating_mul(5),
    },
    Constraint {
        field: "max_snapshot_jobs",
        reason: "must have room for snapshot_window_chunks, or most of each window is lost",
        holds: |limits| limits.max_snapshot_jobs as u64 >= limits.snapshot_window_chunks,
        repair: |limits| limits.max_snapshot_jobs = limits.snapshot_window_chunks as usize,
    },
    Constraint {
        field: "lease_revoke_retry_max_ms",
        reason: "must not be below the first such time",
        holds: |limits| limits.lease_revoke_retry_max_ms >= limits.lease_revoke_retry_ms,
        repair: |limits| limits.lease_revoke_retry_max_ms = limits.lease_revoke_retry_ms,
    },
];

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ConfigError {
    /// The setting.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Limits {
    /// Refuses values with which a member could not work.
    ///
    /// # Errors
    /// The first field that is below its least value, or the first constraint that does
    /// not hold.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for knob in KNOBS {
            if (knob.get)(self) < knob.least {
                return Err(ConfigError {
                    field: knob.name,
                    reason: format!("must be at least {}", knob.least),
                });
            }
        }
        match CONSTRAINTS
            .iter()
            .find(|constraint| !(constraint.holds)(self))
        {
            Some(broken) => Err(ConfigError {
                field: broken.field,
                reason: broken.reason.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// The shortest time to live that a lease is granted, in seconds: one and a half election
    /// timeouts, in whole ticks, rounded up (etcd: `minLeaseTTL`). A shorter lease could not
    /// be kept alive over a change of the leader.
    pub fn lease_ttl_s_min(&self) -> i64 {
        let election_ticks = self.election_timeout_ms / self.heartbeat_ms;
        let least_ms = 3 * election_ticks / 2 * self.heartbeat_ms;
        i64::try_from(least_ms.div_ceil(1_000)).expect("a time to live fits")
    }

    /// Makes every constraint hold, by changing the fields that give way.
    pub fn repair(&mut self) {
        for constraint in CONSTRAINTS {
            if !(constraint.holds)(self) {
                (constraint.repair)(self);
            }
        }
    }

    /// The fields that are not at their defaults.
    pub fn changed(&self) -> impl Iterator<Item = (&'static Knob, u64)> {
        KNOBS
            .iter()
            .map(|knob| (knob, (knob.get)(self)))
            .filter(|(knob, value)| *value != knob.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_a_simulation_is_one_that_can_work() {
        for knob in KNOBS {
            let (low, high) = knob.range;
            assert!(knob.least <= low && low < high, "{}", knob.name);
            assert!(knob.default >= knob.least, "{}", knob.name);
            assert!(knob.default_percent < 100, "{} never varies", knob.name);
            assert!(!knob.edges.is_empty(), "{} has no edge", knob.name);
            assert!(
                knob.edges.iter().all(|edge| *edge >= knob.least),
                "{}",
                knob.name
            );
        }
    }

    #[test]
    fn a_knob_reads_what_it_set_and_touches_no_other_field() {
        for (number, knob) in KNOBS.iter().enumerate() {
            let mut limits = Limits::default();
            assert_eq!((knob.get)(&limits), knob.default);
            (knob.set)(&mut limits, knob.default + 1);
            let changed: Vec<_> = limits.changed().collect();
            assert_eq!(changed.len(), 1, "{}", knob.name);
            assert_eq!(changed[0].0.name, KNOBS[number].name);
            assert_eq!(changed[0].1, knob.default + 1);
        }
    }

    #[test]
    fn a_value_below_the_least_is_refused_by_name() {
        for knob in KNOBS.iter().filter(|knob| knob.least > 0) {
            let mut limits = Limits::default();
            (knob.set)(&mut limits, knob.least - 1);
            let refused = limits.validate().expect_err(knob.name);
            assert_eq!(refused.field, knob.name);
        }
    }

    #[test]
    fn repaired_limits_are_valid_and_valid_ones_are_left_alone() {
        let mut limits = Limits {
            heartbeat_ms: 300,
            ..Limits::default()
        };
        assert_eq!(
            limits.validate().map_err(|error| error.field),
            Err("election_timeout_ms")
        );
        limits.repair();
        assert_eq!(limits.validate(), Ok(()));
        assert_eq!(limits.election_timeout_ms, 1_500);
        let repaired = limits.clone();
        limits.repair();
        assert_eq!(limits, repaired);
    }

    #[test]
    fn a_lease_outlives_one_and_a_half_election_timeouts() {
        let least = |heartbeat_ms, election_timeout_ms| {
            let limits = Limits {
                heartbeat_ms,
                election_timeout_ms,
                ..Limits::default()
            };
            limits.lease_ttl_s_min()
        };
        // With etcd's flags `--heartbeat-interval` and `--election-timeout` of these values.
        assert_eq!(least(100, 1_000), 2);
        assert_eq!(least(100, 500), 1);
        assert_eq!(least(50, 250), 1);
        assert_eq!(least(500, 5_000), 8);
        assert_eq!(least(10, 50), 1);
        assert_eq!(least(1, 50_000), 75);
    }
}
