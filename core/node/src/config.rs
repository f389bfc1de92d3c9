//! What a member is told at its start. Every bound and every duration of this crate
//! stands here with its default and its reason.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use veridical_probe::Planted;
use veridical_proto::etcdserverpb::Member;
use veridical_storage::format::DataFormat;

use crate::directory::Directory;

use crate::observe::NodeObserver;

/// The settings of one member.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This member.
    pub member_id: u64,
    /// Its cluster; connections from another cluster are refused.
    pub cluster_id: u64,
    /// Who the members are when the data folder is empty. Afterwards the log says it.
    pub initial_members: BTreeMap<u64, Member>,
    /// The cluster exists already and this member was added to it: begin with nothing and
    /// wait for the leader.
    pub join: bool,
    /// Where the write-ahead log and the snapshots live.
    pub data_dir: PathBuf,
    /// `host:port` on which peers reach this member.
    pub listen_peer_address: String,
    /// Timeouts, batches, thresholds.
    pub limits: Limits,
    /// Defects planted on purpose; empty in production.
    pub planted: Planted,
    /// Watches over this member's steps; nobody does in production.
    pub observer: Option<Arc<dyn NodeObserver>>,
}

/// Timeouts, batch sizes, queue bounds and thresholds.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// One Raft tick and the period of heartbeats.
    pub heartbeat_ms: u64,
    /// A follower that hears nothing for this long to twice this long stands for election.
    pub election_timeout_ms: u64,
    /// Entries of one append message, in bytes.
    pub max_append_bytes: usize,
    /// Unanswered append messages per follower.
    pub max_inflight_appends: usize,
    /// Bytes in unanswered append messages per follower.
    pub max_inflight_bytes: usize,
    /// Bytes of entries that are not committed yet; above it proposals are refused.
    pub max_uncommitted_bytes: usize,
    /// Reads that wait for a confirmation of leadership, in batches.
    pub max_pending_reads: usize,
    /// Requests of clients that wait in this member, for proposals and reads each.
    pub max_pending_requests: usize,
    /// Raft messages received and not yet stepped; above it the connection waits.
    pub max_inbox_messages: usize,
    /// Frames that wait for one peer's connection; above it they are dropped, as a
    /// network would, and Raft sends again.
    pub max_outbox_frames: usize,
    /// Persistence jobs handed to the disk and not finished.
    pub max_disk_jobs: usize,
    /// Committed batches handed to the state machine and not finished.
    pub max_apply_batches: usize,
    /// Commands applied before other tasks get a turn; readers see a batch at once
    /// all the same.
    pub apply_yield_commands: usize,
    /// A request of a client, encoded, in bytes (etcd's `--max-request-bytes`).
    pub max_request_bytes: usize,
    /// Operations in one transaction (etcd's `--max-txn-ops`).
    pub max_txn_ops: usize,
    /// A proposal or read without an answer for this long is reported as unknown or
    /// timed out.
    pub request_timeout_ms: u64,
    /// A forwarded proposal or read without an effect for this long is sent again.
    pub retry_ms: u64,
    /// Connecting to a peer.
    pub connect_timeout_ms: u64,
    /// Between attempts to connect to a peer.
    pub reconnect_delay_ms: u64,
    /// Applied entries between two snapshots.
    pub snapshot_entries: u64,
    /// Entries kept behind a snapshot, so that a slow follower needs no snapshot.
    pub snapshot_keep_entries: u64,
    /// Bytes in one chunk of a streamed snapshot.
    pub snapshot_chunk_bytes: usize,
    /// Unacknowledged chunks of a streamed snapshot.
    pub snapshot_window_chunks: u64,
    /// A snapshot transfer without progress for this long is given up.
    pub snapshot_timeout_ms: u64,
    /// Size of one segment of the write-ahead log.
    pub wal_segment_bytes: u64,
    /// Which version of the formats on disk and between peers is written; both are read.
    pub data_format: DataFormat,
    /// Shards of the map.
    pub shards: usize,
    /// How often expired leases are looked for.
    pub lease_check_ms: u64,
    /// Period of progress notifications to idle watchers that asked for them.
    pub watch_progress_ms: u64,
    /// Pause between two responses on one stream of watches; 0 for none. Meanwhile the
    /// stream's queue fills and may fall back to catching up.
    pub watch_pace_ms: u64,
    /// Distinct revisions in one response to a watch that catches up.
    pub watch_catch_up_revisions: usize,
    /// Events that wait in one stream of watches; above it the stream falls back to
    /// catching up from the history.
    pub watch_buffered_events: usize,
    /// Requests in flight on one client connection; above it the connection waits.
    pub max_session_requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heartbeat_ms: 100,
            election_timeout_ms: 1_000,
            max_append_bytes: 1024 * 1024,
            max_inflight_appends: 256,
            max_inflight_bytes: 16 * 1024 * 1024,
            max_uncommitted_bytes: 64 * 1024 * 1024,
            max_pending_reads: 1_024,
            max_pending_requests: 16_384,
            max_inbox_messages: 1_024,
            max_outbox_frames: 1_024,
            max_disk_jobs: 64,
            max_apply_batches: 64,
            apply_yield_commands: 64,
            max_request_bytes: 1_536 * 1024,
            max_txn_ops: 128,
            request_timeout_ms: 7_000,
            retry_ms: 500,
            connect_timeout_ms: 1_000,
            reconnect_delay_ms: 100,
            snapshot_entries: 100_000,
            snapshot_keep_entries: 5_000,
            snapshot_chunk_bytes: 256 * 1024,
            snapshot_window_chunks: 8,
            snapshot_timeout_ms: 10_000,
            wal_segment_bytes: 64 * 1024 * 1024,
            data_format: DataFormat::Current,
            shards: 64,
            lease_check_ms: 500,
            watch_progress_ms: 600_000,
            watch_pace_ms: 0,
            watch_catch_up_revisions: 1_000,
            watch_buffered_events: 8_192,
            max_session_requests: 1_024,
        }
    }
}

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ConfigError {
    /// The setting.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl NodeConfig {
    /// `host:port` under which peers reach this member, as far as it was told.
    pub fn advertised_peer_address(&self) -> Option<String> {
        Directory::new(self.initial_members.clone()).peer_address(self.member_id)
    }

    /// Refuses settings with which the member could not work.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field, reason: &str| {
            Err(ConfigError {
                field,
                reason: reason.to_owned(),
            })
        };
        if self.member_id == 0 {
            return refuse("member_id", "0 stands for nobody");
        }
        if !self.initial_members.contains_key(&self.member_id) {
            return refuse("initial_members", "this member is not among them");
        }
        let limits = &self.limits;
        if limits.heartbeat_ms == 0 {
            return refuse("heartbeat_ms", "must be above 0");
        }
        if limits.election_timeout_ms < 5 * limits.heartbeat_ms {
            return refuse(
                "election_timeout_ms",
                "must be at least 5 times the heartbeat",
            );
        }
        if limits.shards == 0 {
            return refuse("shards", "must be above 0");
        }
        for (field, bound) in [
            ("max_pending_requests", limits.max_pending_requests),
            ("max_pending_reads", limits.max_pending_reads),
            ("max_inbox_messages", limits.max_inbox_messages),
            ("max_outbox_frames", limits.max_outbox_frames),
            ("max_disk_jobs", limits.max_disk_jobs),
            ("max_apply_batches", limits.max_apply_batches),
            ("max_session_requests", limits.max_session_requests),
            ("watch_catch_up_revisions", limits.watch_catch_up_revisions),
            ("watch_buffered_events", limits.watch_buffered_events),
            ("apply_yield_commands", limits.apply_yield_commands),
            ("snapshot_chunk_bytes", limits.snapshot_chunk_bytes),
        ] {
            if bound == 0 {
                return refuse(field, "must be above 0");
            }
        }
        Ok(())
    }
}

/// Milliseconds as a duration.
pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> NodeConfig {
        NodeConfig {
            member_id: 1,
            cluster_id: 9,
            initial_members: BTreeMap::from([(1, Member::default())]),
            join: false,
            data_dir: PathBuf::from("data"),
            listen_peer_address: "127.0.0.1:0".to_owned(),
            limits: Limits::default(),
            planted: Planted::none(),
            observer: None,
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(config().validate(), Ok(()));
    }

    #[test]
    fn an_election_timeout_near_the_heartbeat_is_refused() {
        let mut config = config();
        config.limits.election_timeout_ms = 2 * config.limits.heartbeat_ms;
        assert_eq!(config.validate().unwrap_err().field, "election_timeout_ms");
    }

    #[test]
    fn a_member_that_is_not_in_its_cluster_is_refused() {
        let mut config = config();
        config.member_id = 2;
        assert_eq!(config.validate().unwrap_err().field, "initial_members");
    }
}
