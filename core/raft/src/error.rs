//! Why an input was refused. A refused input has changed nothing, except that a refused
//! message may have raised the term to its own.

use crate::entry::{LogIndex, NodeId, Term};

/// Why [`crate::Raft::step`] refused a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The message is for somebody else.
    #[error("message for node {to} was given to node {id}")]
    WrongRecipient {
        /// The node that the message names.
        to: NodeId,
        /// This member.
        id: NodeId,
    },
    /// The message claims to come from this member itself, or from the reserved id 0.
    #[error("message claims the impossible sender {from}")]
    ImpossibleSender {
        /// The node that the message names.
        from: NodeId,
    },
    /// No correct member sends this.
    #[error("malformed message: {reason}")]
    Malformed {
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A second leader claims the term in which this member leads. No correct cluster
    /// does this (paper section 5.2, election safety).
    #[error("node {from} claims to lead term {term}, which another node leads")]
    SecondLeader {
        /// The node that claims it.
        from: NodeId,
        /// The disputed term.
        term: Term,
    },
    /// The leader's entries contradict what is committed here.
    #[error("entry {index} of the leader conflicts with a committed entry")]
    ConflictsWithCommitted {
        /// The first conflicting index.
        index: LogIndex,
    },
    /// A member has more than the leader of the same term: what it had promised to keep is not
    /// in the leader's log (paper section 5.4, leader completeness).
    #[error(
        "node {from} has what is committed up to {index}, this leader's log ends at {last_index}"
    )]
    LeaderLacksCommitted {
        /// The member.
        from: NodeId,
        /// Up to which index it agrees, as it believes.
        index: LogIndex,
        /// The end of the log here.
        last_index: LogIndex,
    },
    /// The leader believes that this member holds entries that it does not hold: they
    /// were acknowledged and then lost.
    #[error("leader says entries up to {commit} were acknowledged, the log ends at {last_index}")]
    AcknowledgedEntriesLost {
        /// The commit index that the leader names.
        commit: LogIndex,
        /// The end of the log here.
        last_index: LogIndex,
    },
}

/// Why a proposal was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProposeError {
    /// Only a leader can propose.
    #[error("not the leader (known leader: {leader:?})")]
    NotLeader {
        /// The leader, as far as this member knows.
        leader: Option<NodeId>,
    },
    /// Too many bytes wait to be committed ([`crate::Config::max_uncommitted_bytes`]).
    #[error("{uncommitted_bytes} bytes are uncommitted already")]
    Overloaded {
        /// The number of them.
        uncommitted_bytes: usize,
    },
    /// Leadership is being handed over.
    #[error("leadership is being transferred to node {to}")]
    Transferring {
        /// The next leader.
        to: NodeId,
    },
    /// An earlier membership change is not committed yet (thesis section 4.1).
    #[error("the membership change at index {index} is not committed yet")]
    MembershipChangePending {
        /// The index of the change.
        index: LogIndex,
    },
    /// The leader has not yet committed an entry of its own term, without which a
    /// single-server change is unsafe (Ongaro, raft-dev, 10 July 2015).
    #[error("no entry of the leader's term is committed yet")]
    TermNotCommitted,
    /// The change makes no sense in the present membership.
    #[error("membership change refused: {0}")]
    Refused(#[from] ChangeRefused),
}

/// Why a membership change makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ChangeRefused {
    /// The id 0 is reserved.
    #[error("node id 0 is reserved")]
    ReservedId,
    /// The node is a voter already (a voter cannot become a learner again).
    #[error("node {0} is a voter already")]
    AlreadyVoter(NodeId),
    /// The node is a learner already.
    #[error("node {0} is a learner already")]
    AlreadyLearner(NodeId),
    /// The node is not a member.
    #[error("node {0} is not a member")]
    UnknownNode(NodeId),
    /// Nobody would be left to decide anything.
    #[error("node {0} is the last voter")]
    LastVoter(NodeId),
}

/// Why [`crate::Raft::transfer_leadership`] was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// Only a leader can hand leadership over.
    #[error("not the leader (known leader: {leader:?})")]
    NotLeader {
        /// The leader, as far as this member knows.
        leader: Option<NodeId>,
    },
    /// The target is no voter.
    #[error("node {to} is not a voter")]
    NotAVoter {
        /// The target.
        to: NodeId,
    },
}

/// Why [`crate::Raft::read_index`] was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is nobody to ask.
    #[error("no leader is known")]
    NoLeader,
    /// Too many reads wait ([`crate::Config::max_pending_reads`]).
    #[error("{pending} reads are waiting already")]
    Overloaded {
        /// The number of them.
        pending: usize,
    },
}

/// Why [`crate::Raft::compact`] was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// Entries that are not applied yet are still needed.
    #[error("index {index} is not applied yet (applied: {applied})")]
    NotApplied {
        /// The index that was asked for.
        index: LogIndex,
        /// The last applied index.
        applied: LogIndex,
    },
    /// The entries are gone already.
    #[error("index {index} is compacted already (first index: {first_index})")]
    AlreadyCompacted {
        /// The index that was asked for.
        index: LogIndex,
        /// The first index of the log.
        first_index: LogIndex,
    },
}
