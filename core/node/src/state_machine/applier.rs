//! The task that owns the state machine: it applies committed entries in log order,
//! publishes each batch at once, and answers those who waited for it.

use prost::Message as _;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};
use veridical_env::{Clock, Environment};
use veridical_planted::PlantedBug;
use veridical_probe::{failpoint, reachable, sometimes};
use veridical_proto::command::Command;
use veridical_proto::command::command::Request as CommandRequest;
use veridical_raft::{Entry, Payload, SnapshotMeta};
use veridical_store::{Applied, LeaseChange, Restorer, Store, StoreConfig, StoreReader};

use crate::config::ms;
use crate::handles::Handles;
use crate::leases::lessor::Lessor;
use crate::limits::Limits;
use crate::membership::directory::Directory;
use crate::observe::{NodeObserver, ProposalName};
use crate::proposals::table::Proposals;
use crate::reads::waiters::AppliedWaiters;
use crate::snapshots::job::{SnapshotChunks, SnapshotJob};
use crate::state_machine::engine_content::AppliedState;
use crate::state_machine::engine_writer::EngineQueue;
use crate::state_machine::job::ApplyJob;
use crate::stop::{Stop, StopReason};

/// Where the applying task tells what it has done.
pub(crate) struct ApplyOutputs {
    pub(crate) snapshots: mpsc::Sender<SnapshotJob>,
    /// The way to the durable copy, if there is one; it takes the place of periodic
    /// snapshots.
    pub(crate) engine: Option<EngineQueue>,
    pub(crate) applied: watch::Sender<u64>,
    pub(crate) members: watch::Sender<Directory>,
}

/// An answer that is due once its command is visible to readers.
struct DueAnswer {
    incarnation: u64,
    sequence: u64,
    applied: Applied,
}

/// What the entries of one batch bring beside versions of keys.
#[derive(Default)]
struct BatchEffects {
    answers: Vec<DueAnswer>,
    lease_changes: Vec<LeaseChange>,
    /// Whether this member was removed.
    removed: bool,
}

/// Owns the state machine.
pub(crate) struct Applier<E: Environment> {
    store: Store,
    reader: StoreReader,
    store_config: StoreConfig,
    directory: Directory,
    last_term: u64,
    last_snapshot_index: u64,
    /// The size of the entries applied since then.
    log_bytes: u64,
    member_id: u64,
    limits: Limits,
    clock: E::Clock,
    jobs: mpsc::Receiver<ApplyJob>,
    outputs: ApplyOutputs,
    proposals: Proposals,
    waiters: AppliedWaiters,
    lessor: Lessor,
    observer: Option<Arc<dyn NodeObserver>>,
    stop: Stop,
}

impl<E: Environment> Applier<E> {
    /// Goes on from `state`, which was set up with `store_config`.
    pub(crate) fn new(
        handles: &Handles<E>,
        state: AppliedState,
        store_config: StoreConfig,
        jobs: mpsc::Receiver<ApplyJob>,
        outputs: ApplyOutputs,
    ) -> Self {
        let config = &handles.config;
        assert_eq!(
            state.store.applied_index(),
            state.meta.index,
            "the state is as of the last applied entry"
        );
        Self {
            store: state.store,
            reader: handles.reader.clone(),
            store_config,
            directory: state.directory,
            last_term: state.meta.term,
            last_snapshot_index: state.meta.index,
            log_bytes: 0,
            member_id: config.member_id,
            limits: config.limits.clone(),
            clock: handles.environment.clock().clone(),
            jobs,
            outputs,
            proposals: handles.proposals.clone(),
            waiters: handles.waiters.clone(),
            lessor: handles.lessor.clone(),
            observer: config.observer.clone(),
            stop: handles.stop.clone(),
        }
    }

    pub(crate) async fn run(mut self) {
        while let Some(job) = self.jobs.recv().await {
            let result = match job {
                ApplyJob::Committed(entries) => self.apply(entries).await,
                ApplyJob::SaveSnapshot => {
                    let job = self.save_job();
                    // The receiver is gone only when the member stops.
                    let _ = self.outputs.snapshots.send(job).await;
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
        let mut effects = BatchEffects::default();
        for (ordinal, entry) in entries.into_iter().enumerate() {
            self.apply_entry(entry, &mut effects)?;
            // Others of this thread's tasks get their turn; readers go on seeing the
            // last published batch.
            if (ordinal + 1) % self.limits.apply_yield_commands == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.publish(self.store.applied_index(), &effects.lease_changes);
        failpoint!("apply.published");
        for answer in effects.answers {
            self.answer(answer);
        }
        failpoint!("apply.answered");
        self.write_to_engine().await;
        if effects.removed {
            // The others have to learn of the commit from somebody.
            self.clock.sleep(ms(self.limits.election_timeout_ms)).await;
            return Err(StopReason::Removed);
        }
        self.maybe_snapshot().await;
        Ok(())
    }

    fn apply_entry(&mut self, entry: Entry, effects: &mut BatchEffects) -> Result<(), StopReason> {
        assert!(
            entry.index == self.store.applied_index() + 1 && entry.term >= self.last_term,
            "entry {} of term {} is applied after entry {} of term {}",
            entry.index,
            entry.term,
            self.store.applied_index(),
            self.last_term
        );
        self.last_term = entry.term;
        self.log_bytes += entry.size_bytes() as u64;
        match entry.payload {
            Payload::Noop => self.store.advance(entry.index),
            Payload::Command(bytes) => {
                let command = Command::decode(bytes)
                    .map_err(|error| StopReason::Log(format!("entry {}: {error}", entry.index)))?;
                let applied = self.store.apply(entry.index, &command);
                if let Some(CommandRequest::Announcement(attributes)) = &command.request
                    && matches!(applied, Applied::Response(_))
                    && self.directory.announce(command.member_id, attributes)
                {
                    self.publish_membership(entry.index);
                }
                effects
                    .lease_changes
                    .extend(LeaseChange::of(&command, &applied));
                if command.member_id == self.member_id {
                    effects.answers.push(DueAnswer {
                        incarnation: command.incarnation,
                        sequence: command.sequence,
                        applied,
                    });
                }
            }
            Payload::Membership(change) => {
                self.store.advance(entry.index);
                effects.removed |= change.kind == veridical_raft::ChangeKind::Remove
                    && change.node == self.member_id;
                self.directory.apply(&change);
                self.publish_membership(entry.index);
            }
        }
        Ok(())
    }

    fn name(&self, incarnation: u64, sequence: u64) -> ProposalName {
        ProposalName {
            member_id: self.member_id,
            incarnation,
            sequence,
        }
    }

    /// Answers the caller of an applied command.
    fn answer(&self, due: DueAnswer) {
        if let Some(observer) = &self.observer {
            let name = self.name(due.incarnation, due.sequence);
            observer.proposal_applied(name, due.applied == Applied::Duplicate);
        }
        let outcome = match due.applied {
            Applied::Response(response) => Ok(response),
            Applied::Refused(error) => Err(error),
            // The first copy has answered, or told that the outcome is unknown.
            Applied::Duplicate => {
                reachable!("node.command-came-twice-out-of-the-log");
                return;
            }
        };
        self.proposals
            .resolve(due.incarnation, due.sequence, outcome);
    }

    /// The members are others as of `index`.
    fn publish_membership(&self, index: u64) {
        self.outputs.members.send_replace(self.directory.clone());
        if let Some(observer) = &self.observer {
            observer.members_applied(self.member_id, index, &self.directory);
        }
    }

    /// Makes everything up to `index` visible to readers, and then tells those who wait for
    /// it.
    fn publish(&mut self, index: u64, lease_changes: &[LeaseChange]) {
        assert!(
            index == self.store.applied_index() && index > *self.outputs.applied.borrow(),
            "entry {index} is published after {}, and {} is applied",
            *self.outputs.applied.borrow(),
            self.store.applied_index()
        );
        self.store.publish();
        self.lessor.follow(lease_changes, self.clock.monotonic());
        self.waiters.advance(index);
        self.outputs.applied.send_replace(index);
    }

    /// Brings the durable copy up to date.
    async fn write_to_engine(&mut self) {
        if let Some(engine) = &mut self.outputs.engine {
            let feed = self.store.take_feed();
            let index = self.store.applied_index();
            engine
                .write(feed, index, self.last_term, &self.directory)
                .await;
        }
    }

    async fn maybe_snapshot(&mut self) {
        if !self.is_snapshot_due() {
            return;
        }
        if let Some(engine) = &self.outputs.engine {
            engine.flush(self.meta()).await;
            self.note_snapshot();
            return;
        }
        let job = self.save_job();
        // While the disk is busy with the last one, the next waits for a later batch.
        if self.outputs.snapshots.try_send(job).is_ok() {
            self.note_snapshot();
        }
    }

    /// Whether the log has grown so much since the last snapshot that it should be cut.
    fn is_snapshot_due(&self) -> bool {
        let entries = self.store.applied_index() - self.last_snapshot_index;
        // An engine flushes what has changed, a snapshot has everything.
        let state_bytes = match self.outputs.engine {
            Some(_) => 0,
            None => self.reader.size_bytes(),
        };
        let bytes_max = match self
            .store_config
            .planted
            .has(PlantedBug::LogBoundedByEntries)
        {
            true => u64::MAX,
            false => self.limits.snapshot_log_bytes.max(state_bytes),
        };
        sometimes!(
            entries < self.limits.snapshot_entries && self.log_bytes >= bytes_max,
            "node.snapshot-due-by-the-size-of-the-log"
        );
        entries >= self.limits.snapshot_entries || self.log_bytes >= bytes_max
    }

    /// A snapshot of the present state is on its way, or is that state.
    fn note_snapshot(&mut self) {
        self.last_snapshot_index = self.store.applied_index();
        self.log_bytes = 0;
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
        assert_eq!(
            meta.index,
            *self.outputs.applied.borrow(),
            "a snapshot is taken of what is published"
        );
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
        self.publish_membership(meta.index);
        self.last_term = meta.term;
        self.note_snapshot();
        self.publish(meta.index, &[]);
        failpoint!("snapshot.install.after");
        if let Some(engine) = &mut self.outputs.engine {
            let source = self.store.snapshot();
            self.store.take_feed();
            engine.replace(source, meta.term, &self.directory).await;
        }
        for sequence in self.proposals.forget_attempted() {
            if let Some(observer) = &self.observer {
                observer.proposal_forgotten(self.name(self.proposals.incarnation(), sequence));
            }
        }
        Ok(())
    }
}
