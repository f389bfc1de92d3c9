//! What the applying task is given, in log order.

use veridical_raft::{Entry, SnapshotMeta};

use crate::membership::directory::Directory;
use crate::snapshots::job::SnapshotChunks;

/// Something for the state machine.
pub(crate) enum ApplyJob {
    /// Committed entries.
    Committed(Vec<Entry>),
    /// Nothing new, but a snapshot file is wanted, for a follower that is too far behind.
    SaveSnapshot,
    /// The leader's state in place of this member's.
    Install {
        meta: SnapshotMeta,
        directory: Directory,
        /// Its content.
        chunks: SnapshotChunks,
    },
}
