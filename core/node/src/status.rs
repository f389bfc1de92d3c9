//! What a member knows of itself and its leader, for whoever asks.

use veridical_raft::{Raft, Role};

/// A view of Raft, replaced as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The term.
    pub term: u64,
    /// Who leads it, as far as this member knows.
    pub leader: Option<u64>,
    /// What this member is.
    pub role: Role,
    /// The last index that is known to be committed.
    pub commit_index: u64,
    /// The last index of the log.
    pub last_index: u64,
    /// Whether this member is a learner.
    pub learner: bool,
}

impl Status {
    pub(crate) fn of(raft: &Raft) -> Self {
        Self {
            term: raft.term(),
            leader: raft.leader(),
            role: raft.role(),
            commit_index: raft.commit_index(),
            last_index: raft.last_index(),
            learner: raft.membership().learners.contains(&raft.id()),
        }
    }
}
