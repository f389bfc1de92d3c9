//! The outputs: effects for the owner to carry out.

use crate::entry::{Entry, HardState, LogIndex, NodeId};
use crate::message::Message;
use crate::snapshot::SnapshotMeta;

/// A batch of effects. Numbers ascend by one; a Ready counts as durable only when all
/// earlier ones are durable too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ready {
    /// Names this Ready in [`crate::Raft::persisted`].
    pub number: u64,
    /// Persist and restore this snapshot; the whole log before it is void.
    /// [`crate::Raft::persisted`] says that both are done.
    pub install_snapshot: Option<SnapshotMeta>,
    /// Persist this, before or together with `entries`. `None`: unchanged.
    pub hard_state: Option<HardState>,
    /// Append these to the log, after the above. Where the first index is not after the last one of the
    /// log, everything from that index on is overwritten.
    pub entries: Vec<Entry>,
    /// Whether what is to be persisted must be synchronised before this Ready counts as
    /// durable. False if only the commit index moved: losing that is harmless.
    pub must_sync: bool,
    /// Send at once.
    pub messages: Vec<Message>,
    /// Send once this Ready is durable, never before: they are promises about what is
    /// on disk.
    pub persisted_messages: Vec<Message>,
    /// Apply now: committed and durable here, each exactly once, in log order.
    pub committed: Vec<Entry>,
    /// Reads that may be served once their index is applied.
    pub read_states: Vec<ReadState>,
    /// Members that need a snapshot.
    pub snapshots_to_send: Vec<SnapshotRequest>,
    /// Who leads and in which role this member is, if that changed.
    pub soft_state: Option<SoftState>,
}

/// A read may be served once `index` is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadState {
    /// The context that was given to [`crate::Raft::read_index`].
    pub context: u64,
    /// At least what was committed anywhere when the read was asked for.
    pub index: LogIndex,
}

/// A member has fallen behind the beginning of the log. The owner streams it a snapshot
/// of any index from the log's beginning on, then calls
/// [`crate::Raft::report_snapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotRequest {
    /// The member that needs it.
    pub to: NodeId,
}

/// How sending a snapshot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotOutcome {
    /// The receiver has all of it. Whether it has installed it, the receiver says itself.
    Sent,
    /// The receiver does not have all of it.
    Failed,
}

/// State that is not persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SoftState {
    /// The role of this member.
    pub role: Role,
    /// Who leads the term, if known.
    pub leader: Option<NodeId>,
}

/// What a member is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes entries from a leader.
    Follower,
    /// Asks whether an election would succeed (thesis section 9.6).
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
}
