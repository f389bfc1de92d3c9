//! What a member is configured with, and what it starts from.

use veridical_planted::Planted;

use crate::entry::{Entry, HardState, LogIndex, MAX_INDEX, MAX_TERM, NodeId, Term};
use crate::snapshot::SnapshotMeta;

/// Settings of one member. All members should agree on them; nothing breaks if they
/// do not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// This member; not 0.
    pub id: NodeId,
    /// Ticks without a leader after which an election starts: n, randomised in [n, 2n)
    /// (paper section 5.2). More than `heartbeat_ticks`.
    pub election_ticks: u32,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: u32,
    /// The most bytes of entries in one append; a single larger entry goes alone.
    pub max_append_bytes: usize,
    /// The most unacknowledged appends per follower.
    pub max_inflight_appends: usize,
    /// No further append is sent to a follower that has this many unacknowledged bytes.
    pub max_inflight_bytes: usize,
    /// Proposals are refused that would make the uncommitted bytes exceed this; one
    /// proposal is always admitted.
    pub max_uncommitted_bytes: usize,
    /// The most reads that wait for confirmation.
    pub max_pending_reads: usize,
    /// The most Readys with something to persist that may be under way; at this number
    /// [`Raft::ready`](crate::Raft::ready) waits for
    /// [`Raft::persisted`](crate::Raft::persisted).
    pub max_outstanding_readys: usize,
    /// The most bytes of entries in [`Ready::committed`](crate::Ready); a single larger
    /// entry comes alone.
    pub max_committed_bytes: usize,
    /// Ask before standing for election (thesis section 9.6).
    pub pre_vote: bool,
    /// A leader that hears no majority for an election timeout steps down, and members
    /// that hear a leader vote for nobody else (thesis sections 6.2 and 4.2.3).
    pub check_quorum: bool,
    /// Deliberate bugs; empty in production.
    pub planted: Planted,
}

impl Config {
    /// Sensible settings for member `id`: elections after 10 to 20 ticks, a heartbeat
    /// every tick, pre-vote and check-quorum on.
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            election_ticks: 10,
            heartbeat_ticks: 1,
            max_append_bytes: 1024 * 1024,
            max_inflight_appends: 256,
            max_inflight_bytes: 16 * 1024 * 1024,
            max_uncommitted_bytes: 64 * 1024 * 1024,
            max_pending_reads: 4096,
            max_outstanding_readys: 1024,
            max_committed_bytes: 4 * 1024 * 1024,
            pre_vote: true,
            check_quorum: true,
            planted: Planted::none(),
        }
    }

    /// Whether the settings can work.
    ///
    /// # Errors
    /// Returns the first one that cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.id == 0 {
            return Err(ConfigError::ReservedId);
        }
        if self.heartbeat_ticks == 0 || self.election_ticks <= self.heartbeat_ticks {
            return Err(ConfigError::Ticks {
                election_ticks: self.election_ticks,
                heartbeat_ticks: self.heartbeat_ticks,
            });
        }
        if self.election_ticks > Self::MAX_ELECTION_TICKS {
            return Err(ConfigError::ElectionTicksTooMany(self.election_ticks));
        }
        for (name, limit) in [
            ("max_append_bytes", self.max_append_bytes),
            ("max_inflight_appends", self.max_inflight_appends),
            ("max_inflight_bytes", self.max_inflight_bytes),
            ("max_uncommitted_bytes", self.max_uncommitted_bytes),
            ("max_pending_reads", self.max_pending_reads),
            ("max_outstanding_readys", self.max_outstanding_readys),
            ("max_committed_bytes", self.max_committed_bytes),
        ] {
            if limit == 0 {
                return Err(ConfigError::ZeroLimit(name));
            }
        }
        Ok(())
    }

    /// The most `election_ticks`; twice as many must fit a counter of ticks.
    pub const MAX_ELECTION_TICKS: u32 = 1 << 20;
}

/// What a member starts from: what its owner has persisted.
///
/// A bootstrap member starts with a snapshot of index 0 that names all of them. A member
/// that joins later starts with an empty membership and waits for a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Initial {
    /// The last persisted hard state.
    pub hard_state: HardState,
    /// The snapshot that the log begins after.
    pub snapshot: SnapshotMeta,
    /// The log after `snapshot.index`.
    pub entries: Vec<Entry>,
    /// The last index that the state machine has applied; at least `snapshot.index`.
    pub applied: LogIndex,
    /// Seeds election timeouts and the names of forwarded reads. Should differ between
    /// members and between restarts of a member.
    pub seed: u64,
    /// Nothing was persisted: the member is new, or it has lost its disk and with it what
    /// it promised. Which of the two it cannot tell, so at first it helps to elect only
    /// members whose log is empty, too: until it has caught up with a leader, or for
    /// [`BLANK_ELECTION_TIMEOUTS`].
    pub blank: bool,
}

/// How long a member that started with nothing holds back, in election timeouts. A leader
/// that there is makes itself heard meanwhile; without one a young cluster whose first
/// leader is gone has to be able to elect another.
pub const BLANK_ELECTION_TIMEOUTS: u32 = 4;

impl Initial {
    /// Whether the parts fit together.
    ///
    /// # Errors
    /// The first contradiction; durable data is missing or mixed up.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let snapshot = &self.snapshot;
        if self.hard_state.term > MAX_TERM || snapshot.term > MAX_TERM {
            return Err(ConfigError::OutOfRange { what: "term" });
        }
        if snapshot.index > MAX_INDEX || self.entries.len() as u64 > MAX_INDEX {
            return Err(ConfigError::OutOfRange { what: "index" });
        }
        let mut last_index = snapshot.index;
        let mut last_term = snapshot.term;
        // A snapshot, being a file of its own, may have become durable before the hard
        // state that came with it; entries never do.
        let term = self.hard_state.term.max(snapshot.term);
        for entry in &self.entries {
            if entry.index != last_index + 1 {
                return Err(ConfigError::LogNotContiguous {
                    expected: last_index + 1,
                    found: entry.index,
                });
            }
            if entry.term < last_term {
                return Err(ConfigError::LogTermsFall {
                    index: entry.index,
                    term: entry.term,
                });
            }
            last_index = entry.index;
            last_term = entry.term;
        }
        if last_term > term {
            return Err(ConfigError::TermBehindLog {
                term,
                log_term: last_term,
            });
        }
        if self.hard_state.commit > last_index {
            return Err(ConfigError::CommitBeyondLog {
                commit: self.hard_state.commit,
                last_index,
            });
        }
        if self.applied > last_index {
            return Err(ConfigError::AppliedBeyondLog {
                applied: self.applied,
                last_index,
            });
        }
        if self.applied < snapshot.index {
            return Err(ConfigError::AppliedBehindSnapshot {
                applied: self.applied,
                snapshot_index: snapshot.index,
            });
        }
        Ok(())
    }
}

/// Why a member cannot start. Whatever concerns the persisted state means that durable
/// data was lost or mixed up: the member must not vote.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The id 0 is reserved.
    #[error("node id 0 is reserved")]
    ReservedId,
    /// Heartbeats must come more often than elections.
    #[error(
        "election_ticks ({election_ticks}) must exceed heartbeat_ticks ({heartbeat_ticks}), which must not be 0"
    )]
    Ticks {
        /// The configured number.
        election_ticks: u32,
        /// The configured number.
        heartbeat_ticks: u32,
    },
    /// See [`Config::MAX_ELECTION_TICKS`].
    #[error("election_ticks ({0}) is too large")]
    ElectionTicksTooMany(u32),
    /// A limit of 0 stops everything.
    #[error("{0} must not be 0")]
    ZeroLimit(&'static str),
    /// The log has a gap or does not follow the snapshot.
    #[error("log entry {found} found where {expected} was expected")]
    LogNotContiguous {
        /// The index that should come.
        expected: LogIndex,
        /// The index that came.
        found: LogIndex,
    },
    /// Terms fall along the log.
    #[error("term {term} of log entry {index} is below that of the entry before it")]
    LogTermsFall {
        /// The index of the entry.
        index: LogIndex,
        /// The term of the entry.
        term: Term,
    },
    /// The log holds a newer term than the hard state: the hard state was lost.
    #[error("hard state has term {term}, the log has term {log_term}")]
    TermBehindLog {
        /// The term of the hard state.
        term: Term,
        /// The term of the log's last entry.
        log_term: Term,
    },
    /// The log ends before what was durable: entries were lost.
    #[error("hard state says entries up to {commit} were durable, the log ends at {last_index}")]
    CommitBeyondLog {
        /// The commit index of the hard state.
        commit: LogIndex,
        /// The log's end.
        last_index: LogIndex,
    },
    /// The state machine is ahead of the log: entries were lost.
    #[error("entries up to {applied} were applied, the log ends at {last_index}")]
    AppliedBeyondLog {
        /// The last applied index.
        applied: LogIndex,
        /// The log's end.
        last_index: LogIndex,
    },
    /// The state machine lacks entries that the log no longer has.
    #[error("entries up to {applied} were applied, the log begins after {snapshot_index}")]
    AppliedBehindSnapshot {
        /// The last applied index.
        applied: LogIndex,
        /// The index that the log begins after.
        snapshot_index: LogIndex,
    },
    /// An index or a term is beyond [`crate::MAX_INDEX`] or [`crate::MAX_TERM`].
    #[error("persisted {what} is out of range")]
    OutOfRange {
        /// The number that is out of range.
        what: &'static str,
    },
}
