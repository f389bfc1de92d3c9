//! Transfers of snapshots between members: numbered chunks with a window.

use std::collections::VecDeque;
use std::time::Duration;
use veridical_env::Environment;
use veridical_proto::peer::SnapshotChunk;
use veridical_storage::snapshot::{SnapshotError, SnapshotHeader, SnapshotReader, SnapshotWriter};

/// A transfer to a follower.
pub(crate) struct Outgoing<E: Environment> {
    pub(crate) transfer: u64,
    pub(crate) term: u64,
    pub(crate) meta: SnapshotHeader,
    pub(crate) reader: SnapshotReader<E::Disk>,
    /// The next chunk to read, and whether the file has no more.
    pub(crate) next_ordinal: u64,
    pub(crate) exhausted: bool,
    /// Read and not acknowledged. Bounded by `Limits::snapshot_window_chunks`.
    pub(crate) window: VecDeque<SnapshotChunk>,
    /// How many of them the transport has taken.
    pub(crate) sent: usize,
    pub(crate) progress_at: Duration,
    pub(crate) sent_at: Duration,
}

impl<E: Environment> Outgoing<E> {
    /// A transfer of the file that `reader` reads, by the leader of `term`.
    pub(crate) fn new(
        transfer: u64,
        term: u64,
        reader: SnapshotReader<E::Disk>,
        now: Duration,
    ) -> Self {
        Self {
            transfer,
            term,
            meta: reader.header().clone(),
            reader,
            next_ordinal: 0,
            exhausted: false,
            window: VecDeque::new(),
            sent: 0,
            progress_at: now,
            sent_at: now,
        }
    }

    /// Puts the next chunk of the file into the window.
    pub(crate) async fn read_chunk(&mut self) -> Result<(), SnapshotError> {
        assert!(!self.exhausted, "a file is read behind its last chunk");
        let data = self.reader.next_chunk().await?;
        self.exhausted = data.is_none();
        self.window.push_back(SnapshotChunk {
            transfer: self.transfer,
            term: self.term,
            index: self.meta.index,
            snapshot_term: self.meta.term,
            membership: self.meta.meta.clone(),
            ordinal: self.next_ordinal,
            last: data.is_none(),
            data: data.unwrap_or_default(),
        });
        self.next_ordinal += 1;
        Ok(())
    }

    /// The follower has everything before `next_ordinal`.
    pub(crate) fn acknowledged_before(&mut self, next_ordinal: u64, now: Duration) {
        while self
            .window
            .front()
            .is_some_and(|chunk| chunk.ordinal < next_ordinal)
        {
            self.window.pop_front();
            self.sent = self.sent.saturating_sub(1);
            self.progress_at = now;
        }
        assert!(
            self.sent <= self.window.len(),
            "{} chunks of a window of {} were sent",
            self.sent,
            self.window.len()
        );
    }
}

/// A transfer from a leader.
pub(crate) struct Incoming<E: Environment> {
    pub(crate) from: u64,
    pub(crate) transfer: u64,
    pub(crate) writer: SnapshotWriter<E::Disk>,
    pub(crate) next_ordinal: u64,
}
