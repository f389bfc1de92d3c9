//! What the log holds: the records of its caller.

use bytes::Bytes;

/// The most bytes that the data of one entry may have.
pub const MAX_ENTRY_DATA_BYTES: usize = 64 * 1024 * 1024;

/// An entry of the consensus log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogEntry {
    /// The term of the leader that proposed it.
    pub term: u64,
    /// Its place in the log, from 1.
    pub index: u64,
    /// What the data is; the log does not look at it.
    pub kind: u8,
    /// At most [`MAX_ENTRY_DATA_BYTES`].
    pub data: Bytes,
}

/// What a member must remember to keep its promises (Raft, figure 2), and how far the
/// log is known to be committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The latest term the member has seen.
    pub term: u64,
    /// The candidate it voted for in that term; 0 for none.
    pub vote: u64,
    /// The greatest index known to be committed.
    pub commit: u64,
}

/// Whose log this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberRecord {
    /// The cluster.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
    /// How often the member has started.
    pub incarnation: u64,
}

/// A snapshot that exists and covers the log up to `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotMark {
    /// The last entry it covers.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
}

/// What can be appended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WalRecord {
    /// The next entry, or one that replaces the log's suffix from its index on. Only
    /// entries behind the newest snapshot mark can be replaced.
    Entry(LogEntry),
    /// Replaces the hard state.
    HardState(HardState),
    /// A snapshot. If the log holds the snapshot's last entry (index and term), what
    /// follows it stays (Raft §7); otherwise the log restarts after the snapshot. A
    /// mark that is older than the newest one is ignored.
    Snapshot(SnapshotMark),
    /// Replaces the member record.
    Member(MemberRecord),
}
