//! The task that owns the state machine: it applies committed entries in log order,
//! publishes each batch at once, and answers those who waited for it.

use prost::Message as _;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};
use veridical_env::{Clock, Environment};
use veridical_planted::PlantedBug;
use veridical_probe::{failpoint, reachable};
use veridical_proto::command::Command;
use veridical_raft::{Entry, Payload, SnapshotMeta};
use veridical_store::{Applied, LeaseChange, Restorer, Store, StoreConfig};

use crate::config::ms;
use crate::leases::lessor::LeaseKeeper;
use crate::limits::Limits;
use crate::membership::directory::Directory;
use crate::observe::NodeObserver;
use crate::proposals::table::Proposals;
use crate::reads::waiters::AppliedWaiters;
use crate::snapshots::task::{SnapshotChunks, SnapshotJob};
use crate::state_machine::engine_writer::EngineQueue;
use crate::stop::{Stop, StopReason};

/// Something for the state machine, in log order.
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

/// Owns the state machine.
pub(crate) struct Applier<E: Environment> {
    pub(crate) store: Store,
    pub(crate) store_config: StoreConfig,
    pub(crate) directory: Directory,
    pub(crate) last_term: u64,
    pub(crate) last_snapshot_index: u64,
    pub(crate) member_id: u64,
    pub(crate) limits: Limits,
    pub(crate) clock: E::Clock,
    pub(crate) jobs: mpsc::Receiver<ApplyJob>,
    pub(crate) snapshots: mpsc::Sender<SnapshotJob>,
    /// The durable copy, if there is one; it takes the place of periodic snapshots.
    pub(crate) engine: Option<EngineQueue>,
    pub(crate) proposals: Proposals,
    pub(crate) waiters: AppliedWaiters,
    pub(crate) keeper: LeaseKeeper,
    pub(crate) observer: Option<Arc<dyn NodeObserver>>,
    pub(crate) applied: watch::Sender<u64>,
    pub(crate) members: watch::Sender<Directory>,
    pub(crate) stop: Stop,
}

impl<E: Environment> Applier<E> {
    pub(crate) async fn run(mut self) {
        while let Some(job) = self.jobs.recv().await {
            let result = match job {
                ApplyJob::Committed(entries) => self.apply(entries).await,
                ApplyJob::SaveSnapshot => {
                    let job = self.save_job();
                    // The receiver is gone only when the member stops.
                    let _ = self.snapshots.send(job).await;
                    Ok(())
                }
                ApplyJob::Install {
                    meta,
                    directory,
                    chunks,
                } => self.install(meta, directory, chunks).await,
            };
            if let Err(reason) = result {
                self.stop.now(reason);
                return;
            }
        }
    }

    async fn apply(&mut self, entries: Vec<Entry>) -> Result<(), StopReason> {
        failpoint!("apply.before");
        let mut answers = Vec::new();
        let mut lease_changes = Vec::new();
        let mut last_index = self.store.applied_index();
        let mut removed = false;
        for (ordinal, entry) in entries.into_iter().enumerate() {
            last_index = entry.index;
            self.last_term = entry.term;
            match entry.payload {
                Payload::Noop => self.store.advance(entry.index),
                Payload::Command(bytes) => {
                    let command = Command::decode(bytes).map_err(|error| {
                        StopReason::Log(format!("entry {}: {error}", entry.index))
                    })?;
                    let applied = self.store.apply(entry.index, &command);
                    lease_changes.extend(LeaseChange::of(&command, &applied));
                    answers.push((
                        command.incarnation,
                        command.member_id,
                        command.sequence,
                        applied,
                    ));
                }
                Payload::Membership(change) => {
                    self.store.advance(entry.index);
                    removed |= change.kind == veridical_raft::ChangeKind::Remove
                        && change.node == self.member_id;
                    self.directory.apply(&change);
                    self.tell_members(entry.index);
                }
            }
            // Others of this thread's tasks get their turn; readers go on seeing the
            // last published batch.
            if (ordinal + 1) % self.limits.apply_yield_commands == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.publish(last_index, &lease_changes);
        failpoint!("apply.published");
        for (incarnation, member_id, sequence, applied) in answers {
            if member_id != self.member_id {
                continue;
            }
            match applied {
                Applied::Response(response) => {
                    self.proposals.resolve(incarnation, sequence, Ok(response));
                }
                Applied::Refused(error) => {
                    self.proposals.resolve(incarnation, sequence, Err(error));
                }
                // The first copy has answered, or told that the outcome is unknown.
                Applied::Duplicate => {
                    reachable!("node.command-came-twice-out-of-the-log");
                }
            }
        }
        failpoint!("apply.answered");
        self.materialise().await;
        if removed {
            // The others have to learn of the commit from somebody.
            self.clock.sleep(ms(self.limits.election_timeout_ms)).await;
            return Err(StopReason::Removed);
        }
        self.maybe_snapshot().await;
        Ok(())
    }

    /// The members are others as of `index`.
    fn tell_members(&self, index: u64) {
        self.members.send_replace(self.directory.clone());
        if let Some(observer) = &self.observer {
            observer.members_applied(self.member_id, index, &self.directory);
        }
    }

    fn publish(&mut self, index: u64, lease_changes: &[LeaseChange]) {
        self.store.publish();
        self.keeper.follow(lease_changes, self.clock.monotonic());
        self.waiters.advance(index);
        self.applied.send_replace(index);
    }

    /// Brings the durable copy up to date.
    async fn materialise(&mut self) {
        if let Some(engine) = &mut self.engine {
            let feed = self.store.take_feed();
            let index = self.store.applied_index();
            engine
                .write(feed, index, self.last_term, &self.directory)
                .await;
        }
    }

    async fn maybe_snapshot(&mut self) {
        let index = self.store.applied_index();
        if index < self.last_snapshot_index + self.limits.snapshot_entries {
            return;
        }
        if let Some(engine) = &self.engine {
            engine.flush(self.meta()).await;
            self.last_snapshot_index = index;
            return;
        }
        let job = self.save_job();
        // While the disk is busy with the last one, the next waits for a later batch.
        if self.snapshots.try_send(job).is_ok() {
            self.last_snapshot_index = index;
        }
    }

    /// The last applied entry, and the members as of it.
    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            index: self.store.applied_index(),
            term: self.last_term,
            membership: self.directory.membership(),
        }
    }

    fn save_job(&mut self) -> SnapshotJob {
        let mut meta = self.meta();
        if self
            .store_config
            .planted
            .has(PlantedBug::SnapshotMislabelled)
        {
            meta.index = meta.index.saturating_sub(1);
        }
        SnapshotJob::Save {
            meta,
            directory: self.directory.clone(),
            source: Box::new(self.store.snapshot()),
        }
    }

    async fn install(
        &mut self,
        meta: SnapshotMeta,
        directory: Directory,
        mut chunks: SnapshotChunks,
    ) -> Result<(), StopReason> {
        if meta.index <= self.store.applied_index() {
            warn!(
                index = meta.index,
                "the state is newer than the snapshot to install"
            );
            return Ok(());
        }
        failpoint!("snapshot.install.before");
        let mut restorer = Restorer::new(self.store_config.clone());
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk.map_err(StopReason::Disk)?;
            restorer
                .push(&chunk)
                .map_err(|error| StopReason::Log(error.to_string()))?;
        }
        let restored = restorer
            .finish()
            .map_err(|error| StopReason::Log(error.to_string()))?;
        info!(index = meta.index, term = meta.term, "installed a snapshot");
        self.store.install(restored);
        self.directory = directory;
        self.tell_members(meta.index);
        self.last_term = meta.term;
        self.last_snapshot_index = meta.index;
        self.publish(meta.index, &[]);
        failpoint!("snapshot.install.after");
        if let Some(engine) = &mut self.engine {
            let source = self.store.snapshot();
            self.store.take_feed();
            engine.replace(source, meta.term, &self.directory).await;
        }
        self.proposals.forget_attempted();
        Ok(())
    }
}
