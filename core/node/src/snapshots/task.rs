//! The task that owns the snapshot files: it writes this member's own, streams them to
//! followers that are too far behind for the log, and receives those of a leader.
//!
//! A transfer is a numbered sequence of chunks with a window; the receiver acknowledges
//! the next chunk that it expects, and the sender repeats what was not acknowledged.

use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};
use veridical_env::{Clock, Disk, Environment};
use veridical_probe::{queue, reachable, sometimes};
use veridical_proto::peer::peer_frame::Body;
use veridical_proto::peer::{SnapshotAck, SnapshotChunk};
use veridical_raft::SnapshotMeta;
use veridical_storage::snapshot::{
    SnapshotError, SnapshotFile, SnapshotHeader, SnapshotReader, SnapshotStore, SnapshotWriter,
};
use veridical_store::SnapshotSource;

use crate::codec::{membership_from_bytes, membership_to_bytes};
use crate::config::ms;
use crate::limits::Limits;
use crate::membership::directory::Directory;
use crate::peers::transport::Transport;
use crate::stop::{Stop, StopReason};

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

/// What the task tells the driver.
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

/// A transfer to a follower.
struct Outgoing<E: Environment> {
    transfer: u64,
    term: u64,
    meta: SnapshotHeader,
    reader: SnapshotReader<E::Disk>,
    /// The next chunk to read, and whether the file has no more.
    next_ordinal: u64,
    exhausted: bool,
    /// Read and not acknowledged. Bounded by `Limits::snapshot_window_chunks`.
    window: VecDeque<SnapshotChunk>,
    /// How many of them the transport has taken.
    sent: usize,
    progress_at: Duration,
    sent_at: Duration,
}

impl<E: Environment> Outgoing<E> {
    /// Puts the next chunk of the file into the window.
    async fn read_chunk(&mut self) -> Result<(), SnapshotError> {
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
}

/// A transfer from a leader.
struct Incoming<E: Environment> {
    from: u64,
    transfer: u64,
    writer: SnapshotWriter<E::Disk>,
    next_ordinal: u64,
}

/// Owns the snapshot files.
pub(crate) struct Snapshots<E: Environment> {
    pub(crate) files: SnapshotStore<E::Disk>,
    pub(crate) limits: Limits,
    pub(crate) clock: E::Clock,
    pub(crate) transport: Transport<E>,
    pub(crate) jobs: mpsc::Receiver<SnapshotJob>,
    pub(crate) events: mpsc::Sender<SnapshotEvent>,
    pub(crate) stop: Stop,
    outgoing: BTreeMap<u64, Outgoing<E>>,
    incoming: Option<Incoming<E>>,
    next_transfer: u64,
    /// The last transfer that was received whole, so that a repeated last chunk is
    /// acknowledged again.
    finished: Option<(u64, u64, u64)>,
}

impl<E: Environment> Snapshots<E> {
    #[allow(
        clippy::too_many_arguments,
        reason = "the task is put together in one place"
    )]
    pub(crate) fn new(
        files: SnapshotStore<E::Disk>,
        limits: Limits,
        clock: E::Clock,
        transport: Transport<E>,
        jobs: mpsc::Receiver<SnapshotJob>,
        events: mpsc::Sender<SnapshotEvent>,
        stop: Stop,
        first_transfer: u64,
    ) -> Self {
        Self {
            files,
            limits,
            clock,
            transport,
            jobs,
            events,
            stop,
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
        let mut writer = self.files.create(&header).await?;
        while let Some(chunk) = source.next_chunk(self.limits.snapshot_chunk_bytes) {
            writer.write_chunk(&chunk).await?;
            tokio::task::yield_now().await;
        }
        writer.finish().await?;
        retain_newest(&self.files, self.limits.kept_snapshots).await?;
        info!(index = meta.index, term = meta.term, "saved a snapshot");
        self.tell(SnapshotEvent::Saved { meta }).await;
        Ok(())
    }

    async fn tell(&self, event: SnapshotEvent) {
        // The driver is gone only when the member stops.
        let _ = self.events.send(event).await;
    }

    async fn send(&mut self, to: u64, term: u64) -> Result<(), SnapshotError> {
        let Some(newest) = self.files.list().await?.into_iter().next() else {
            self.tell(SnapshotEvent::Sent { to, success: false }).await;
            return Ok(());
        };
        let reader = self.files.read(&newest).await?;
        let now = self.clock.monotonic();
        let meta = reader.header().clone();
        info!(peer = to, index = meta.index, "sending a snapshot");
        let transfer = self.next_transfer;
        self.next_transfer += 1;
        let outgoing = Outgoing {
            transfer,
            term,
            meta,
            reader,
            next_ordinal: 0,
            exhausted: false,
            window: VecDeque::new(),
            sent: 0,
            progress_at: now,
            sent_at: now,
        };
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
            self.tell(SnapshotEvent::Sent {
                to: from,
                success: false,
            })
            .await;
            return Ok(());
        }
        while outgoing
            .window
            .front()
            .is_some_and(|chunk| chunk.ordinal < ack.next_ordinal)
        {
            outgoing.window.pop_front();
            outgoing.sent = outgoing.sent.saturating_sub(1);
            outgoing.progress_at = self.clock.monotonic();
        }
        if outgoing.exhausted && outgoing.window.is_empty() {
            self.outgoing.remove(&from);
            self.tell(SnapshotEvent::Sent {
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
            self.tell(SnapshotEvent::Sent { to, success: false }).await;
        }
        Ok(())
    }

    async fn receive(&mut self, from: u64, chunk: SnapshotChunk) -> Result<(), SnapshotError> {
        let answer = |next_ordinal, refused| {
            Body::SnapshotAck(SnapshotAck {
                transfer: chunk.transfer,
                next_ordinal,
                refused,
            })
        };
        if let Some((sender, transfer, ordinals)) = self.finished
            && (sender, transfer) == (from, chunk.transfer)
        {
            reachable!("node.whole-snapshot-acknowledged-again");
            self.transport.send(from, answer(ordinals, false));
            return Ok(());
        }
        let known = self
            .incoming
            .as_ref()
            .is_some_and(|incoming| (incoming.from, incoming.transfer) == (from, chunk.transfer));
        if !known {
            if chunk.ordinal != 0 {
                reachable!("node.snapshot-chunk-without-its-beginning");
                // The beginning was lost with a crash or is still on its way; the
                // sender repeats its window from there if it has it.
                self.transport.send(
                    from,
                    answer(0, chunk.ordinal > self.limits.snapshot_window_chunks),
                );
                return Ok(());
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
        self.transport.send(from, answer(next_ordinal, false));
        Ok(())
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
                let ack = SnapshotAck {
                    transfer: chunk.transfer,
                    next_ordinal: 0,
                    refused: true,
                };
                self.transport.send(from, Body::SnapshotAck(ack));
                return Ok(());
            }
        };
        incoming.writer.finish().await?;
        retain_newest(&self.files, self.limits.kept_snapshots).await?;
        self.finished = Some((from, chunk.transfer, incoming.next_ordinal));
        let ack = SnapshotAck {
            transfer: chunk.transfer,
            next_ordinal: incoming.next_ordinal,
            refused: false,
        };
        self.transport.send(from, Body::SnapshotAck(ack));
        self.tell(SnapshotEvent::Received {
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

/// The content of a snapshot file on its way to the state machine; an error text if it
/// cannot be read.
pub(crate) type SnapshotChunks = mpsc::Receiver<Result<Bytes, String>>;

/// The folder of the snapshots inside a data folder.
pub(crate) fn snapshot_dir(data_dir: &std::path::Path) -> PathBuf {
    data_dir.join("snap")
}
