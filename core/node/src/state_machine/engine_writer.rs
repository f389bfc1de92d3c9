//! The task that owns the engine: a durable copy of the applied state, so that a member
//! with much in it neither writes whole snapshots from time to time nor reads one at its
//! start.
//!
//! The log remains the source of truth. Every published batch is one batch of the engine,
//! with its applied index; so whatever a crash leaves is the state as of some entry, and
//! the log is applied from there on. What the copy covers durably, the log may forget.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{debug, info};
use veridical_probe::{always, failpoint, queue, sometimes};
use veridical_raft::SnapshotMeta;
use veridical_storage::engine::{Engine, EngineError, WriteBatch};
use veridical_store::{
    FEED_PREFIX_END, Feed, FeedOperation, FeedRestorer, SnapshotSource, Store, StoreConfig,
};

use crate::assembly::recovery::StartError;
use crate::codec::{membership_from_bytes, membership_to_bytes};
use crate::config::NodeConfig;
use crate::membership::directory::Directory;
use crate::snapshots::task::SnapshotEvent;
use crate::stop::{Stop, StopReason};

/// Under this key, behind those of the store, lie the members and the term as of the
/// applied index.
const MEMBERS_KEY: &[u8] = &[FEED_PREFIX_END];

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
    owner: Owner,
    /// The members and the term that the engine has been told last.
    told: Option<(u64, Directory)>,
}

/// Owns the engine until the queue closes or the engine fails.
pub(crate) struct Materialiser {
    engine: Box<dyn Engine>,
    /// Bytes of a batch in which a whole state is handed to the engine.
    fill_bytes: usize,
    jobs: mpsc::Receiver<EngineJob>,
    events: mpsc::Sender<SnapshotEvent>,
    stop: Stop,
}

/// Both ends of a queue.
pub(crate) fn materialiser(
    engine: Box<dyn Engine>,
    config: &NodeConfig,
    events: mpsc::Sender<SnapshotEvent>,
    stop: Stop,
) -> (EngineQueue, Materialiser) {
    let (sender, jobs) = mpsc::channel(config.limits.max_engine_jobs);
    let queue = EngineQueue {
        jobs: sender,
        room: Arc::new(Semaphore::new(
            config.limits.max_engine_queue_bytes as usize,
        )),
        room_bytes: config.limits.max_engine_queue_bytes,
        owner: Owner::of(config),
        told: None,
    };
    let materialiser = Materialiser {
        engine,
        fill_bytes: config.limits.engine_fill_bytes,
        jobs,
        events,
        stop,
    };
    (queue, materialiser)
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
        let told = matches!(&self.told, Some((known_term, known)) if *known_term == term && known == directory);
        let members = (!told).then(|| {
            self.told = Some((term, directory.clone()));
            self.owner.members_record(term, directory)
        });
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
        self.send(EngineJob::Flush { meta }).await;
    }

    /// Queues the replacement of everything.
    pub(crate) async fn replace(
        &mut self,
        source: SnapshotSource,
        term: u64,
        directory: &Directory,
    ) {
        self.told = Some((term, directory.clone()));
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

impl Materialiser {
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

/// Puts a whole state in place of the engine's content, in batches of about
/// `batch_bytes`.
fn fill(
    engine: &mut dyn Engine,
    mut source: SnapshotSource,
    members: Bytes,
    batch_bytes: usize,
) -> Result<(), EngineError> {
    let applied_index = source.applied_index();
    engine.begin_replace()?;
    let mut batch = WriteBatch::new();
    batch.put(MEMBERS_KEY, members);
    while let Some((key, value)) = source.next_put() {
        batch.put(key, value);
        if batch.bytes() >= batch_bytes {
            engine.stage(std::mem::take(&mut batch))?;
        }
    }
    engine.stage(batch)?;
    engine.finish_replace(applied_index)?;
    info!(index = applied_index, "filled the engine");
    Ok(())
}

/// A state machine and what else is known of it.
pub(crate) struct AppliedState {
    pub(crate) store: Store,
    /// The last applied entry and the membership as of it.
    pub(crate) meta: SnapshotMeta,
    pub(crate) directory: Directory,
}

/// Decides between the newest snapshot file and the engine: whichever is newer holds the
/// state, and the engine has it afterwards. Tells whether it was the engine's.
pub(crate) fn reconcile(
    engine: &mut dyn Engine,
    config: &NodeConfig,
    store_config: &StoreConfig,
    mut snapshot: AppliedState,
) -> Result<(AppliedState, bool), StartError> {
    let owner = Owner::of(config);
    if let Some(members) = engine.get(MEMBERS_KEY)?
        && engine.applied_index() >= snapshot.meta.index
    {
        let materialised = load(engine, owner, members, store_config)?;
        return Ok((materialised, true));
    }
    sometimes!(
        engine.applied_index() > 0,
        "node.engine-behind-the-snapshot-file"
    );
    // It is empty, or a crash came between the file of a received snapshot and its way
    // into the engine.
    let members = owner.members_record(snapshot.meta.term, &snapshot.directory);
    let source = snapshot.store.snapshot();
    snapshot.store.take_feed();
    fill(engine, source, members, config.limits.engine_fill_bytes)?;
    Ok((snapshot, false))
}

fn load(
    engine: &dyn Engine,
    owner: Owner,
    members: Bytes,
    store_config: &StoreConfig,
) -> Result<AppliedState, StartError> {
    let index = engine.applied_index();
    let (meta, directory) = owner.read_members_record(index, members)?;
    let mut restorer = FeedRestorer::new(store_config.clone());
    let mut pushed = Ok(());
    engine.scan(
        Bound::Unbounded,
        Bound::Excluded(MEMBERS_KEY),
        &mut |key, value| {
            pushed = restorer.push(key, value);
            match pushed {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        },
    )?;
    let store = pushed
        .and_then(|()| restorer.finish())
        .map_err(|source| StartError::EngineRestore { index, source })?;
    if store.applied_index() != index {
        let reason = format!(
            "the state is as of entry {}, the content as of {index}",
            store.applied_index()
        );
        return Err(EngineError::Corrupt { reason }.into());
    }
    Ok(AppliedState {
        store,
        meta,
        directory,
    })
}

/// Whose content an engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    cluster_id: u64,
    member_id: u64,
}

/// Bytes before the membership in the record of the members.
const MEMBERS_HEAD_BYTES: usize = 24;

impl Owner {
    fn of(config: &NodeConfig) -> Self {
        Self {
            cluster_id: config.cluster_id,
            member_id: config.member_id,
        }
    }

    /// The value under [`MEMBERS_KEY`].
    fn members_record(self, term: u64, directory: &Directory) -> Bytes {
        let meta = SnapshotMeta {
            index: 0,
            term,
            membership: directory.membership(),
        };
        let membership = membership_to_bytes(&meta, directory);
        let mut out = BytesMut::with_capacity(MEMBERS_HEAD_BYTES + membership.len());
        out.put_u64_le(self.cluster_id);
        out.put_u64_le(self.member_id);
        out.put_u64_le(term);
        out.put(membership);
        out.freeze()
    }

    fn read_members_record(
        self,
        index: u64,
        mut record: Bytes,
    ) -> Result<(SnapshotMeta, Directory), StartError> {
        if record.len() < MEMBERS_HEAD_BYTES {
            let reason = format!("the record of the members has {} bytes", record.len());
            return Err(EngineError::Corrupt { reason }.into());
        }
        let found = Self {
            cluster_id: record.get_u64_le(),
            member_id: record.get_u64_le(),
        };
        if found != self {
            return Err(StartError::Foreign {
                member_id: found.member_id,
                cluster_id: found.cluster_id,
            });
        }
        let term = record.get_u64_le();
        membership_from_bytes(index, term, record)
            .map_err(|source| StartError::Membership { index, source })
    }
}
