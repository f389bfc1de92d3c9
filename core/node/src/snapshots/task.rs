//! The task that owns the snapshot files: it writes this member's own, streams them to
//! followers that are too far behind for the log, and receives those of a leader.
//!
//! A transfer is a numbered sequence of chunks with a window; the receiver acknowledges
//! the next chunk that it expects, and the sender repeats what was not acknowledged.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};
use veridical_env::{Clock, Disk, Environment};
use veridical_probe::{queue, reachable, sometimes};
use veridical_proto::peer::peer_frame::Body;
use veridical_proto::peer::{SnapshotAck, SnapshotChunk};
use veridical_raft::SnapshotMeta;
use veridical_storage::snapshot::{SnapshotError, SnapshotFile, SnapshotHeader, SnapshotStore};
use veridical_store::SnapshotSource;

use crate::codec::{membership_from_bytes, membership_to_bytes};
use crate::config::ms;
use crate::handles::Handles;
use crate::limits::Limits;
use crate::membership::directory::Directory;
use crate::peers::transport::Transport;
use crate::snapshots::job::{SnapshotEvent, SnapshotJob};
use crate::snapshots::transfer::{Incoming, Outgoing};
use crate::stop::{Stop, StopReason};

/// Owns the snapshot files.
pub(crate) struct SnapshotTask<E: Environment> {
    files: SnapshotStore<E::Disk>,
    limits: Limits,
    clock: E::Clock,
    transport: Transport<E>,
    jobs: mpsc::Receiver<SnapshotJob>,
    events: mpsc::Sender<SnapshotEvent>,
    stop: Stop,
    outgoing: BTreeMap<u64, Outgoing<E>>,
    incoming: Option<Incoming<E>>,
    next_transfer: u64,
    /// The last transfer that was received whole, so that a repeated last chunk is
    /// acknowledged again.
    finished: Option<(u64, u64, u64)>,
}

impl<E: Environment> SnapshotTask<E> {
    /// `first_transfer` numbers the transfers from a random beginning, so that an
    /// acknowledgement of an earlier incarnation's finds none.
    pub(crate) fn new(
        handles: &Handles<E>,
        files: SnapshotStore<E::Disk>,
        jobs: mpsc::Receiver<SnapshotJob>,
        events: mpsc::Sender<SnapshotEvent>,
        first_transfer: u64,
    ) -> Self {
        Self {
            files,
            limits: handles.config.limits.clone(),
            clock: handles.environment.clock().clone(),
            transport: handles.transport.clone(),
            jobs,
            events,
            stop: handles.stop.clone(),
            outgoing: BTreeMap::new(),
            incoming: None,
            next_transfer: first_transfer,
            finished: None,
        }
    }

    pub(crate) async fn run(mut self) {
        if let Err(error) = self.serve().await {
            self.stop.now(StopReason::Disk(error.to_string()));
        }
    }

    async fn serve(&mut self) -> Result<(), SnapshotError> {
        loop {
            let job = if self.outgoing.is_empty() {
                self.jobs.recv().await
            } else {
                tokio::select! {
                    biased;
                    job = self.jobs.recv() => job,
                    () = self.clock.sleep(ms(self.limits.retry_ms)) => {
                        self.repeat().await?;
                        continue;
                    }
                }
            };
            let Some(job) = job else { return Ok(()) };
            match job {
                SnapshotJob::Save {
                    meta,
                    directory,
                    source,
                } => {
                    self.save(meta, &directory, source).await?;
                }
                SnapshotJob::Send { to, term } => self.send(to, term).await?,
                SnapshotJob::Chunk { from, chunk } => self.receive(from, chunk).await?,
                SnapshotJob::Ack { from, ack } => self.acknowledged(from, &ack).await?,
                SnapshotJob::Load { meta, chunks } => self.load(&meta, &chunks).await,
            }
            self.repeat().await?;
        }
    }

    async fn save(
        &mut self,
        meta: SnapshotMeta,
        directory: &Directory,
        mut source: Box<SnapshotSource>,
    ) -> Result<(), SnapshotError> {
        let header = SnapshotHeader {
            index: meta.index,
            term: meta.term,
            meta: membership_to_bytes(&meta, directory),
        };
        assert!(
            meta.index <= source.applied_index(),
            "a snapshot as of entry {} holds the state as of {}",
            meta.index,
            source.applied_index()
        );
        let mut writer = self.files.create(&header).await?;
        while let Some(chunk) = source.next_chunk(self.limits.snapshot_chunk_bytes) {
            writer.write_chunk(&chunk).await?;
            tokio::task::yield_now().await;
        }
        writer.finish().await?;
        retain_newest(&self.files, self.limits.kept_snapshots).await?;
        info!(index = meta.index, term = meta.term, "saved a snapshot");
        self.report(SnapshotEvent::Saved { meta }).await;
        Ok(())
    }

    async fn report(&self, event: SnapshotEvent) {
        // The driver is gone only when the member stops.
        let _ = self.events.send(event).await;
    }

    async fn send(&mut self, to: u64, term: u64) -> Result<(), SnapshotError> {
        let Some(newest) = self.files.list().await?.into_iter().next() else {
            self.report(SnapshotEvent::Sent { to, success: false })
                .await;
            return Ok(());
        };
        let reader = self.files.read(&newest).await?;
        let now = self.clock.monotonic();
        info!(
            peer = to,
            index = reader.header().index,
            "sending a snapshot"
        );
        let transfer = self.next_transfer;
        self.next_transfer += 1;
        let outgoing = Outgoing::new(transfer, term, reader, now);
        self.outgoing.insert(to, outgoing);
        self.fill(to).await
    }

    /// Reads and sends chunks until the window, or the outbox, is full. What does not fit into
    /// the outbox goes out behind the next acknowledgement.
    async fn fill(&mut self, to: u64) -> Result<(), SnapshotError> {
        let Some(outgoing) = self.outgoing.get_mut(&to) else {
            return Ok(());
        };
        let window_chunks = self.limits.snapshot_window_chunks;
        loop {
            if outgoing.sent == outgoing.window.len() {
                if outgoing.exhausted || outgoing.window.len() as u64 >= window_chunks {
                    return Ok(());
                }
                outgoing.read_chunk().await?;
                queue!("node.snapshot-window", outgoing.window.len(), window_chunks);
            }
            let chunk = outgoing.window[outgoing.sent].clone();
            outgoing.sent_at = self.clock.monotonic();
            if !self.transport.send(to, Body::SnapshotChunk(chunk)) {
                reachable!("node.snapshot-chunk-waits-for-room");
                return Ok(());
            }
            outgoing.sent += 1;
        }
    }

    async fn acknowledged(&mut self, from: u64, ack: &SnapshotAck) -> Result<(), SnapshotError> {
        let Some(outgoing) = self.outgoing.get_mut(&from) else {
            return Ok(());
        };
        if outgoing.transfer != ack.transfer {
            return Ok(());
        }
        if ack.refused {
            reachable!("node.snapshot-transfer-refused");
            self.outgoing.remove(&from);
            self.report(SnapshotEvent::Sent {
                to: from,
                success: false,
            })
            .await;
            return Ok(());
        }
        outgoing.acknowledged_before(ack.next_ordinal, self.clock.monotonic());
        if outgoing.exhausted && outgoing.window.is_empty() {
            self.outgoing.remove(&from);
            self.report(SnapshotEvent::Sent {
                to: from,
                success: true,
            })
            .await;
            return Ok(());
        }
        self.fill(from).await
    }

    /// Sends again what was not acknowledged for a while; gives up in the end.
    async fn repeat(&mut self) -> Result<(), SnapshotError> {
        let now = self.clock.monotonic();
        let (mut failed, mut silent) = (Vec::new(), Vec::new());
        for (to, outgoing) in &mut self.outgoing {
            if now >= outgoing.progress_at + ms(self.limits.snapshot_timeout_ms) {
                failed.push(*to);
            } else if now >= outgoing.sent_at + ms(self.limits.retry_ms) {
                reachable!("node.snapshot-chunks-sent-again");
                outgoing.sent = 0;
                silent.push(*to);
            }
        }
        for to in silent {
            self.fill(to).await?;
        }
        for to in failed {
            reachable!("node.snapshot-transfer-given-up");
            warn!(peer = to, "gave up sending a snapshot");
            self.outgoing.remove(&to);
            self.report(SnapshotEvent::Sent { to, success: false })
                .await;
        }
        Ok(())
    }

    async fn receive(&mut self, from: u64, chunk: SnapshotChunk) -> Result<(), SnapshotError> {
        if let Some((sender, transfer, ordinals)) = self.finished
            && (sender, transfer) == (from, chunk.transfer)
        {
            reachable!("node.whole-snapshot-acknowledged-again");
            self.acknowledge(from, transfer, ordinals);
            return Ok(());
        }
        let known = self
            .incoming
            .as_ref()
            .is_some_and(|incoming| (incoming.from, incoming.transfer) == (from, chunk.transfer));
        if !known && !self.begin(from, &chunk).await? {
            return Ok(());
        }
        let Some(incoming) = self.incoming.as_mut() else {
            return Ok(());
        };
        if chunk.ordinal == incoming.next_ordinal {
            incoming.next_ordinal += 1;
            if !chunk.data.is_empty() {
                incoming.writer.write_chunk(&chunk.data).await?;
            }
            if chunk.last {
                return self.received(from, chunk).await;
            }
        }
        sometimes!(
            chunk.ordinal > incoming.next_ordinal,
            "node.snapshot-chunk-ahead-of-a-lost-one"
        );
        let next_ordinal = incoming.next_ordinal;
        self.acknowledge(from, chunk.transfer, next_ordinal);
        Ok(())
    }

    /// Begins a file with the first chunk of a transfer. Returns `false` if this chunk is
    /// another one.
    async fn begin(&mut self, from: u64, chunk: &SnapshotChunk) -> Result<bool, SnapshotError> {
        if chunk.ordinal != 0 {
            reachable!("node.snapshot-chunk-without-its-beginning");
            // The beginning was lost with a crash or is still on its way; the
            // sender repeats its window from there if it has it.
            if chunk.ordinal > self.limits.snapshot_window_chunks {
                self.refuse(from, chunk.transfer);
            } else {
                self.acknowledge(from, chunk.transfer, 0);
            }
            return Ok(false);
        }
        if let Some(old) = self.incoming.take() {
            reachable!("node.unfinished-snapshot-replaced-by-a-newer-one");
            debug!(
                peer = old.from,
                "a newer transfer replaces an unfinished one"
            );
            old.writer.abort().await?;
        }
        let header = SnapshotHeader {
            index: chunk.index,
            term: chunk.snapshot_term,
            meta: chunk.membership.clone(),
        };
        let writer = self.files.create(&header).await?;
        self.incoming = Some(Incoming {
            from,
            transfer: chunk.transfer,
            writer,
            next_ordinal: 0,
        });
        Ok(true)
    }

    /// Tells a leader which chunk of its transfer is expected next.
    fn acknowledge(&self, to: u64, transfer: u64, next_ordinal: u64) {
        let ack = SnapshotAck {
            transfer,
            next_ordinal,
            refused: false,
        };
        self.transport.send(to, Body::SnapshotAck(ack));
    }

    /// Tells a leader that its transfer is of no use.
    fn refuse(&self, to: u64, transfer: u64) {
        let ack = SnapshotAck {
            transfer,
            next_ordinal: 0,
            refused: true,
        };
        self.transport.send(to, Body::SnapshotAck(ack));
    }

    /// The last chunk is here: make the file durable and offer it to Raft.
    async fn received(&mut self, from: u64, chunk: SnapshotChunk) -> Result<(), SnapshotError> {
        let Some(incoming) = self.incoming.take() else {
            return Ok(());
        };
        let decoded =
            membership_from_bytes(chunk.index, chunk.snapshot_term, chunk.membership.clone());
        let (meta, directory) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                warn!(peer = from, %error, "refused a snapshot");
                incoming.writer.abort().await?;
                self.refuse(from, chunk.transfer);
                return Ok(());
            }
        };
        incoming.writer.finish().await?;
        retain_newest(&self.files, self.limits.kept_snapshots).await?;
        self.finished = Some((from, chunk.transfer, incoming.next_ordinal));
        self.acknowledge(from, chunk.transfer, incoming.next_ordinal);
        self.report(SnapshotEvent::Received {
            from,
            term: chunk.term,
            meta,
            directory,
        })
        .await;
        Ok(())
    }

    /// Feeds a received snapshot to the state machine.
    async fn load(&mut self, meta: &SnapshotMeta, chunks: &mpsc::Sender<Result<Bytes, String>>) {
        let result = async {
            let Some(file) = received_file(&self.files, meta).await? else {
                let lost = format!("the received snapshot {} is gone", meta.index);
                let _ = chunks.send(Err(lost)).await;
                return Ok(());
            };
            let mut reader = self.files.read(&file).await?;
            while let Some(chunk) = reader.next_chunk().await? {
                if chunks.send(Ok(chunk)).await.is_err() {
                    break;
                }
            }
            Ok::<(), SnapshotError>(())
        }
        .await;
        if let Err(error) = result {
            let _ = chunks.send(Err(error.to_string())).await;
        }
    }
}

/// The file of a snapshot that was received.
async fn received_file<D: Disk>(
    files: &SnapshotStore<D>,
    meta: &SnapshotMeta,
) -> Result<Option<SnapshotFile>, SnapshotError> {
    let listed = files.list().await?;
    Ok(listed
        .into_iter()
        .find(|file| (file.index, file.term) == (meta.index, meta.term)))
}

/// Deletes all but the newest snapshots, of which `kept` stay.
async fn retain_newest<D: Disk>(
    files: &SnapshotStore<D>,
    kept: usize,
) -> Result<(), SnapshotError> {
    if let Some(oldest_kept) = files.list().await?.get(kept - 1) {
        files.delete_older_than(oldest_kept.index).await?;
    }
    Ok(())
}

/// The folder of the snapshots inside a data folder.
pub(crate) fn snapshot_dir(data_dir: &std::path::Path) -> PathBuf {
    data_dir.join("snap")
}
