//! The task that owns the engine: a durable copy of the applied state, so that a member
//! with much in it neither writes whole snapshots from time to time nor reads one at its
//! start.
//!
//! The log remains the source of truth. Every published batch is one batch of the engine,
//! with its applied index; so whatever a crash leaves is the state as of some entry, and
//! the log is applied from there on. What the copy covers durably, the log may forget.

use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::debug;
use veridical_probe::{always, failpoint, queue};
use veridical_raft::SnapshotMeta;
use veridical_storage::engine::{Engine, EngineError, WriteBatch};
use veridical_store::{Feed, FeedOperation, SnapshotSource};

use crate::config::NodeConfig;
use crate::membership::directory::Directory;
use crate::snapshots::job::SnapshotEvent;
use crate::state_machine::engine_content::{EngineOwner, MEMBERS_KEY, fill};
use crate::stop::{Stop, StopReason};

/// Something for the engine, in log order.
enum EngineJob {
    /// The changes of one published batch.
    Write {
        feed: Feed,
        applied_index: u64,
        /// If they have changed.
        members: Option<Bytes>,
        /// Its share of the queue's bytes.
        _room: OwnedSemaphorePermit,
    },
    /// Make durable what was written, which is the state as of `meta.index`.
    Flush { meta: SnapshotMeta },
    /// Another state in place of the present one.
    Replace {
        source: Box<SnapshotSource>,
        members: Bytes,
    },
}

/// The way to the engine, for the task that applies.
pub(crate) struct EngineQueue {
    jobs: mpsc::Sender<EngineJob>,
    room: Arc<Semaphore>,
    /// Of keys and values, in bytes, when nothing waits.
    room_bytes: u32,
    owner: EngineOwner,
    /// The applied index of the last state that was queued.
    last_index: u64,
    /// The members and the term that were written to the engine last.
    written: Option<(u64, Directory)>,
}

/// Owns the engine until the queue closes or the engine fails.
pub(crate) struct EngineWriter {
    engine: Box<dyn Engine>,
    /// Bytes of a batch in which a whole state is handed to the engine.
    fill_bytes: usize,
    jobs: mpsc::Receiver<EngineJob>,
    events: mpsc::Sender<SnapshotEvent>,
    stop: Stop,
}

/// Both ends of a queue.
pub(crate) fn engine_writer(
    engine: Box<dyn Engine>,
    config: &NodeConfig,
    events: mpsc::Sender<SnapshotEvent>,
    stop: Stop,
) -> (EngineQueue, EngineWriter) {
    let (sender, jobs) = mpsc::channel(config.limits.max_engine_jobs);
    let queue = EngineQueue {
        jobs: sender,
        room: Arc::new(Semaphore::new(
            config.limits.max_engine_queue_bytes as usize,
        )),
        room_bytes: config.limits.max_engine_queue_bytes,
        owner: EngineOwner::of(config),
        last_index: 0,
        written: None,
    };
    let writer = EngineWriter {
        engine,
        fill_bytes: config.limits.engine_fill_bytes,
        jobs,
        events,
        stop,
    };
    (queue, writer)
}

impl EngineQueue {
    /// Queues the changes of a published batch that ends at `applied_index` with `term`.
    pub(crate) async fn write(
        &mut self,
        feed: Feed,
        applied_index: u64,
        term: u64,
        directory: &Directory,
    ) {
        let written = matches!(&self.written, Some((known_term, known)) if *known_term == term && known == directory);
        let members = (!written).then(|| {
            self.written = Some((term, directory.clone()));
            self.owner.members_record(term, directory)
        });
        assert!(
            applied_index > self.last_index,
            "the engine gets entry {applied_index} after {}",
            self.last_index
        );
        self.last_index = applied_index;
        let bytes = feed.bytes().clamp(1, self.room_bytes as usize) as u32;
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await;
        queue!(
            "node.engine-bytes",
            self.room_bytes as usize - self.room.available_permits(),
            self.room_bytes
        );
        let job = EngineJob::Write {
            feed,
            applied_index,
            members,
            _room: room.expect("the semaphore is never closed"),
        };
        self.send(job).await;
    }

    /// Queues a flush.
    pub(crate) async fn flush(&self, meta: SnapshotMeta) {
        assert!(
            meta.index <= self.last_index,
            "entry {} is flushed, {} was written",
            meta.index,
            self.last_index
        );
        self.send(EngineJob::Flush { meta }).await;
    }

    /// Queues the replacement of everything.
    pub(crate) async fn replace(
        &mut self,
        source: SnapshotSource,
        term: u64,
        directory: &Directory,
    ) {
        self.last_index = source.applied_index();
        self.written = Some((term, directory.clone()));
        let members = self.owner.members_record(term, directory);
        let source = Box::new(source);
        self.send(EngineJob::Replace { source, members }).await;
    }

    async fn send(&self, job: EngineJob) {
        // The receiver is gone only after a failure, which stops the member.
        let _ = self.jobs.send(job).await;
        queue!(
            "node.engine-jobs",
            self.jobs.max_capacity() - self.jobs.capacity(),
            self.jobs.max_capacity()
        );
    }
}

impl EngineWriter {
    pub(crate) async fn run(mut self) {
        if let Err(error) = self.serve().await {
            self.stop.now(StopReason::Disk(error.to_string()));
        }
    }

    async fn serve(&mut self) -> Result<(), EngineError> {
        while let Some(job) = self.jobs.recv().await {
            match job {
                EngineJob::Write {
                    feed,
                    applied_index,
                    members,
                    _room,
                } => self.engine.write(batch(feed, members), applied_index)?,
                EngineJob::Flush { meta } => {
                    failpoint!("engine.flush.before");
                    let durable_index = self.engine.flush()?;
                    failpoint!("engine.flush.after");
                    always!(
                        durable_index >= meta.index,
                        "node.flush-covers-what-was-written",
                        "{durable_index} before {}",
                        meta.index
                    );
                    debug!(index = durable_index, "flushed the engine");
                    // If the driver is that far behind, the next flush tells it more.
                    let _ = self.events.try_send(SnapshotEvent::Flushed { meta });
                }
                EngineJob::Replace { source, members } => {
                    fill(self.engine.as_mut(), *source, members, self.fill_bytes)?;
                }
            }
        }
        // The member stops: the next start need not apply again what it has applied.
        self.engine.flush()?;
        Ok(())
    }
}

fn batch(feed: Feed, members: Option<Bytes>) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for operation in feed {
        match operation {
            FeedOperation::Put { key, value } => batch.put(key, value),
            FeedOperation::Delete { key } => batch.delete(key),
        }
    }
    if let Some(members) = members {
        batch.put(MEMBERS_KEY, members);
    }
    batch
}
