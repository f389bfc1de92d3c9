//! What members say to each other. Encoding is the owner's business.

use crate::entry::{Entry, LogIndex, NodeId, Term};

/// A message between two members. Losing, repeating, delaying or reordering messages
/// harms nothing but progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The sender's term. In [`MessageBody::PreVote`], and in a response that grants
    /// one, it is the term in which the candidate *would* campaign.
    pub term: Term,
    /// The content.
    pub body: MessageBody,
}

/// The kinds of [`Message`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MessageBody {
    /// "Would you vote for me?" (thesis section 9.6). Changes nobody's term.
    PreVote {
        /// The last index of the candidate's log.
        last_index: LogIndex,
        /// The term of that entry.
        last_term: Term,
    },
    /// The answer to [`MessageBody::PreVote`].
    PreVoteResponse {
        /// Whether the sender would vote for the candidate.
        granted: bool,
    },
    /// RequestVote of the paper's section 5.2.
    Vote {
        /// The last index of the candidate's log.
        last_index: LogIndex,
        /// The term of that entry.
        last_term: Term,
        /// The leader itself asked for this election (thesis section 3.10): members
        /// that still hear the leader shall not refuse on its behalf.
        transfer: bool,
    },
    /// The answer to [`MessageBody::Vote`].
    VoteResponse {
        /// Whether the sender voted for the candidate.
        granted: bool,
    },
    /// AppendEntries of the paper's section 5.3. Empty ones probe a follower's log or
    /// carry a newer commit index.
    Append {
        /// The index right before `entries`.
        previous_index: LogIndex,
        /// The term of the entry there.
        previous_term: Term,
        /// Consecutive entries after `previous_index`.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: LogIndex,
    },
    /// The answer to [`MessageBody::Append`], and what a follower says after it has
    /// installed a snapshot.
    AppendResponse {
        /// Whether it was appended.
        outcome: AppendOutcome,
    },
    /// "I still lead": asserts leadership, and confirms it for reads.
    Heartbeat {
        /// What is committed, as far as the receiver is known to hold it.
        commit: LogIndex,
        /// The leader's latest round of reads (thesis section 6.4).
        read_sequence: u64,
    },
    /// The answer to [`MessageBody::Heartbeat`].
    HeartbeatResponse {
        /// The number from the heartbeat.
        read_sequence: u64,
    },
    /// A follower asks the leader for a read index (thesis section 6.4).
    ReadIndex {
        /// Names the request; it is not the owner's context.
        context: u64,
    },
    /// The answer to [`MessageBody::ReadIndex`].
    ReadIndexResponse {
        /// The name that the request had.
        context: u64,
        /// The read index; `None` if the leader is overloaded.
        index: Option<LogIndex>,
    },
    /// "Start an election now": hands leadership over (thesis section 3.10).
    TimeoutNow,
}

/// How a member answers an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendOutcome {
    /// The sender's log agrees with the leader's up to `index`, durably.
    Accepted {
        /// The last index of the log that agrees, durably.
        index: LogIndex,
    },
    /// The sender has no entry at `previous_index` with the expected term.
    Rejected {
        /// The index that the rejected append named.
        previous_index: LogIndex,
        /// The last index at which the sender's log may agree with the leader's: the
        /// last one, up to `previous_index`, whose term is not above the expected one
        /// (thesis section 3.5, skipping whole terms).
        hint_index: LogIndex,
        /// The term of the sender's entry at `hint_index`.
        hint_term: Term,
    },
    /// The sender knows no membership yet and so cannot start from the log alone.
    SnapshotNeeded,
}
