//! What a member knows of itself and its leader, for whoever asks.

use veridical_raft::Role;

/// A view of Raft, replaced as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The term.
    pub term: u64,
    /// Who leads it, as far as this member knows.
    pub leader: Option<u64>,
    /// What this member is.
    pub role: Role,
    /// Known to be committed.
    pub commit_index: u64,
    /// The last index of the log.
    pub last_index: u64,
    /// Whether this member is a learner.
    pub learner: bool,
}
