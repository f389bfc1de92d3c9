//! What the snapshot task is asked, and what it tells the driver.

use bytes::Bytes;
use tokio::sync::mpsc;
use veridical_proto::peer::{SnapshotAck, SnapshotChunk};
use veridical_raft::SnapshotMeta;
use veridical_store::SnapshotSource;

use crate::membership::directory::Directory;

/// The content of a snapshot file on its way to the state machine; an error text if it
/// cannot be read.
pub(crate) type SnapshotChunks = mpsc::Receiver<Result<Bytes, String>>;

/// Work for the task.
pub(crate) enum SnapshotJob {
    /// Write the state as of `meta.index` to a file.
    Save {
        meta: SnapshotMeta,
        directory: Directory,
        source: Box<SnapshotSource>,
    },
    /// Stream the newest snapshot to a follower.
    Send { to: u64, term: u64 },
    /// A chunk of a leader's snapshot.
    Chunk { from: u64, chunk: SnapshotChunk },
    /// A follower's answer.
    Ack { from: u64, ack: SnapshotAck },
    /// Read a received snapshot back, for the state machine.
    Load {
        meta: SnapshotMeta,
        chunks: mpsc::Sender<Result<Bytes, String>>,
    },
}

/// What the driver is told.
#[derive(Debug)]
pub(crate) enum SnapshotEvent {
    /// The state as of `meta.index` is in a durable file: the log before it may go.
    Saved { meta: SnapshotMeta },
    /// The same of the engine.
    Flushed { meta: SnapshotMeta },
    /// A leader's snapshot has arrived whole and is durable.
    Received {
        from: u64,
        term: u64,
        meta: SnapshotMeta,
        directory: Directory,
    },
    /// A transfer to a follower has ended.
    Sent { to: u64, success: bool },
}
