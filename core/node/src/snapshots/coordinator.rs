//! The driver's end of snapshots: which file the log may rely on, which one a follower
//! gets, and how a received one takes the place of the state.

use std::collections::BTreeMap;
use tokio::sync::mpsc;
use veridical_probe::reachable;
use veridical_proto::peer::{SnapshotAck, SnapshotChunk};
use veridical_raft::{LogIndex, Raft, SnapshotMeta, Term};

use crate::membership::directory::Directory;
use crate::snapshots::job::SnapshotJob;
use crate::state_machine::job::ApplyJob;

/// Knows the snapshot files for the driver.
pub(crate) struct SnapshotCoordinator {
    apply: mpsc::Sender<ApplyJob>,
    jobs: mpsc::Sender<SnapshotJob>,
    read_ahead_chunks: usize,
    /// The index of the newest snapshot file.
    newest_file_index: LogIndex,
    /// A newer snapshot file was asked for and is not there yet.
    save_asked: bool,
    /// Directories of received snapshots, until Raft installs or ignores them.
    received: BTreeMap<(LogIndex, Term), Directory>,
}

impl SnapshotCoordinator {
    pub(crate) fn new(
        jobs: mpsc::Sender<SnapshotJob>,
        apply: mpsc::Sender<ApplyJob>,
        read_ahead_chunks: usize,
        newest_file_index: LogIndex,
    ) -> Self {
        Self {
            jobs,
            apply,
            read_ahead_chunks,
            newest_file_index,
            save_asked: false,
            received: BTreeMap::new(),
        }
    }

    /// How many jobs wait.
    pub(crate) fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    /// Has the newest snapshot file sent to a follower. Returns `false` if Raft has to ask
    /// again.
    pub(crate) fn send(&mut self, raft: &Raft, to: u64) -> bool {
        // With an engine the log goes before there is a file, and the follower would not
        // get from the newest file to the log. The snapshot of the bootstrap has no entry
        // that a newcomer could acknowledge.
        if self.newest_file_index == 0 || self.newest_file_index + 1 < raft.first_index() {
            reachable!("node.follower-waits-for-a-snapshot-file");
            if !self.save_asked {
                self.save_asked = self.apply.try_send(ApplyJob::SaveSnapshot).is_ok();
            }
            return false;
        }
        let term = raft.term();
        self.jobs.try_send(SnapshotJob::Send { to, term }).is_ok()
    }

    /// Passes a leader's chunk on. A full queue loses it, and the sender repeats it.
    pub(crate) fn on_chunk(&self, from: u64, chunk: SnapshotChunk) {
        let _ = self.jobs.try_send(SnapshotJob::Chunk { from, chunk });
    }

    /// Passes a follower's acknowledgement on. A full queue loses it, and the chunk that it
    /// is about is sent again.
    pub(crate) fn on_ack(&self, from: u64, ack: SnapshotAck) {
        let _ = self.jobs.try_send(SnapshotJob::Ack { from, ack });
    }

    /// This member has written a file.
    pub(crate) fn saved(&mut self, meta: &SnapshotMeta) {
        self.save_asked = false;
        self.newest_file_index = self.newest_file_index.max(meta.index);
    }

    /// A leader's snapshot is in a durable file; Raft decides whether it is of use.
    pub(crate) fn received(
        &mut self,
        raft: &mut Raft,
        (from, term): (u64, Term),
        meta: SnapshotMeta,
        directory: Directory,
    ) {
        self.newest_file_index = self.newest_file_index.max(meta.index);
        let key = (meta.index, meta.term);
        if raft.offer_snapshot(from, term, meta) {
            self.received.insert(key, directory);
        }
    }

    /// The members as of the received snapshot that Raft installs now; all others are
    /// forgotten.
    pub(crate) fn take_received(&mut self, meta: &SnapshotMeta) -> Directory {
        assert!(
            meta.index <= self.newest_file_index,
            "snapshot {} is installed, the newest file is {}",
            meta.index,
            self.newest_file_index
        );
        let directory = self
            .received
            .remove(&(meta.index, meta.term))
            .unwrap_or_default();
        self.received.clear();
        directory
    }

    /// Replaces the state by that of a received file, which its task reads while the state
    /// machine takes it.
    pub(crate) async fn install(&self, meta: &SnapshotMeta, directory: Directory) {
        let (sender, chunks) = mpsc::channel(self.read_ahead_chunks);
        let load = SnapshotJob::Load {
            meta: meta.clone(),
            chunks: sender,
        };
        // The receivers are gone only when the member stops.
        let _ = self.jobs.send(load).await;
        let install = ApplyJob::Install {
            meta: meta.clone(),
            directory,
            chunks,
        };
        let _ = self.apply.send(install).await;
    }
}
