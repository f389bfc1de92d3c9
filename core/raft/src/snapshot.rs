//! What a log needs to know of a snapshot that it begins after.

use crate::entry::{LogIndex, Term};
use crate::membership::Membership;

/// What a snapshot says about the log that it replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnapshotMeta {
    /// The last index that the snapshot covers.
    pub index: LogIndex,
    /// The term of the entry at that index.
    pub term: Term,
    /// The membership as of that index.
    pub membership: Membership,
}
