//! What a log holds, and what has to survive a crash.

use bytes::Bytes;

/// Identifies a member. 0 is reserved and never a member.
pub type NodeId = u64;
/// A term of the paper's section 5.1. 0 is the term before the first election.
pub type Term = u64;
/// A position in the log. 0 is the position before the first entry.
pub type LogIndex = u64;

/// Terms above this are refused, so that arithmetic on them cannot overflow.
pub const MAX_TERM: Term = 1 << 62;
/// Indexes above this are refused, so that arithmetic on them cannot overflow.
pub const MAX_INDEX: LogIndex = 1 << 62;

/// What an entry is charged for besides its payload, in bytes, wherever this crate
/// limits bytes: without it, empty commands would escape every limit.
pub const ENTRY_OVERHEAD_BYTES: usize = 32;

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The term of the leader that created the entry.
    pub term: Term,
    /// The entry's position.
    pub index: LogIndex,
    /// The content.
    pub payload: Payload,
}

impl Entry {
    /// What the entry is charged for in byte limits: its payload and
    /// [`ENTRY_OVERHEAD_BYTES`].
    pub fn size_bytes(&self) -> usize {
        self.payload.size_bytes() + ENTRY_OVERHEAD_BYTES
    }
}

/// The content of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// What a leader appends at the start of its term (paper section 8), so that it
    /// learns what is committed. The state machine ignores it.
    Noop,
    /// A command of the state machine; opaque here.
    Command(Bytes),
    /// A change of the membership, in force as soon as it is in the log (thesis
    /// section 4.1).
    Membership(MembershipChange),
}

impl Payload {
    /// Length of the opaque part, in bytes.
    pub fn size_bytes(&self) -> usize {
        match self {
            Payload::Noop => 0,
            Payload::Command(command) => command.len(),
            Payload::Membership(change) => change.context.len(),
        }
    }
}

/// A single-server membership change (thesis chapter 4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MembershipChange {
    /// The kind of change.
    pub kind: ChangeKind,
    /// The node that is added, removed or updated.
    pub node: NodeId,
    /// For the owner (addresses, names); opaque here.
    pub context: Bytes,
}

/// The kinds of [`MembershipChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Add a voter, or promote a learner to voter.
    AddVoter,
    /// Add a member that receives the log and does not count in quorums (thesis
    /// section 4.2.1).
    AddLearner,
    /// Remove a voter or a learner.
    Remove,
    /// Only the context changes; no effect on quorums.
    Update,
}

/// What has to be durable besides the log (paper figure 2, "persistent state").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The latest term this member has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// A lower bound of the commit index that never exceeds what was durable when it was
    /// written: a restored log that ends before it has lost durable entries.
    pub commit: LogIndex,
}
