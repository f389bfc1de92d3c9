//! The task that owns the write-ahead log: it appends what Raft wants durable, in order,
//! synchronises once for all jobs that wait, and only then sends the messages that promise
//! durability.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tracing::debug;
use veridical_env::{Clock, Environment};
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{failpoint, reachable, sometimes};
use veridical_raft::Message;
use veridical_storage::wal::{Wal, WalError, WalRecord};

use crate::config::ms;
use crate::consensus::fill_pace::FillPace;
use crate::handles::Handles;
use crate::observe::NodeObserver;
use crate::peers::transport::Transport;
use crate::stop::{Stop, StopReason};

/// Something to be made durable.
#[derive(Debug)]
pub(crate) enum DiskJob {
    /// One `Ready` of Raft.
    Persist {
        /// Its number, reported back once everything up to it is durable.
        number: u64,
        records: Vec<WalRecord>,
        /// Whether durability is needed, and not just order.
        sync: bool,
        /// To be sent once it is durable.
        messages: Vec<Message>,
    },
    /// Segments with nothing but entries below `index` may go.
    Release {
        /// The first log index that is still needed.
        index: u64,
    },
}

/// Several jobs that are made durable by one synchronisation.
#[derive(Default)]
struct GroupCommit {
    records: Vec<WalRecord>,
    must_sync: bool,
    /// Messages that promise the records' durability.
    promises: Vec<Message>,
    last_number: Option<u64>,
    release_before: Option<u64>,
}

impl GroupCommit {
    fn of(jobs: impl Iterator<Item = DiskJob>) -> Self {
        let mut group = Self::default();
        for job in jobs {
            match job {
                DiskJob::Persist {
                    number,
                    records,
                    sync,
                    messages,
                } => {
                    group.records.extend(records);
                    group.must_sync |= sync;
                    group.promises.extend(messages);
                    group.last_number = Some(number);
                }
                DiskJob::Release { index } => group.release_before = Some(index),
            }
        }
        group
    }
}

/// Owns the log until the channel closes or the disk fails.
pub(crate) struct LogWriter<E: Environment> {
    wal: Wal<E::Disk>,
    jobs: mpsc::Receiver<DiskJob>,
    persisted: watch::Sender<u64>,
    /// Jobs taken in one group commit at most.
    group_commit_jobs: usize,
    transport: Transport<E>,
    clock: E::Clock,
    fill_pace: FillPace,
    planted: Planted,
    member_id: u64,
    observer: Option<Arc<dyn NodeObserver>>,
    stop: Stop,
}

impl<E: Environment> LogWriter<E> {
    /// Takes jobs from `jobs`, and reports in `persisted` the number up to which everything
    /// is durable.
    pub(crate) fn new(
        handles: &Handles<E>,
        wal: Wal<E::Disk>,
        jobs: mpsc::Receiver<DiskJob>,
        persisted: watch::Sender<u64>,
    ) -> Self {
        let config = &handles.config;
        Self {
            wal,
            jobs,
            persisted,
            group_commit_jobs: config.limits.group_commit_jobs,
            transport: handles.transport.clone(),
            clock: handles.environment.clock().clone(),
            fill_pace: FillPace::new(
                ms(config.limits.heartbeat_ms),
                config.limits.wal_zeroed_ahead_bytes,
                config.planted,
            ),
            planted: config.planted,
            member_id: config.member_id,
            observer: config.observer.clone(),
            stop: handles.stop.clone(),
        }
    }

    pub(crate) async fn run(mut self) {
        if let Err(error) = self.serve().await {
            reachable!("node.log-could-not-be-written");
            // After a failed write or fsync nothing is known about what is on the disk
            // (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
            self.stop.now(StopReason::Disk(error.to_string()));
        }
    }

    async fn serve(&mut self) -> Result<(), WalError> {
        let mut jobs = Vec::with_capacity(self.group_commit_jobs);
        loop {
            jobs.clear();
            if self.jobs.recv_many(&mut jobs, self.group_commit_jobs).await == 0 {
                return self.wal.sync().await;
            }
            sometimes!(jobs.len() > 1, "node.one-sync-for-several-readys");
            let started = self.clock.monotonic();
            self.commit(GroupCommit::of(jobs.drain(..))).await?;
            let took = self.clock.monotonic().saturating_sub(started);
            if took > SLOW_DISK {
                reachable!("node.log-took-more-than-a-second");
                debug!(took_ms = took.as_millis() as u64, "slow disk");
            }
            self.fill_pace.committed(took);
            self.fill_ahead().await?;
        }
    }

    /// Makes later commits cheaper, once everybody has been told of this one.
    async fn fill_ahead(&mut self) -> Result<(), WalError> {
        let bytes = self.fill_pace.next_piece(self.wal.zeros_ahead_bytes());
        if bytes == 0 {
            return Ok(());
        }
        let started = self.clock.monotonic();
        if self.wal.fill_ahead(bytes).await? {
            let took = self.clock.monotonic().saturating_sub(started);
            self.fill_pace.filled(took);
        }
        Ok(())
    }

    async fn commit(&mut self, group: GroupCommit) -> Result<(), WalError> {
        failpoint!("wal.append.before");
        if !group.records.is_empty() {
            self.wal.append(&group.records).await?;
        }
        failpoint!("wal.append.after");
        if self.planted.has(PlantedBug::AckBeforeFsync) {
            self.acknowledge(&group);
            // A fast disk would hide the bug from those who look for it on real machines.
            self.clock.sleep(PLANTED_DELAY).await;
        }
        if group.must_sync {
            failpoint!("wal.sync.before");
            self.wal.sync().await?;
            failpoint!("wal.sync.after");
        }
        if !self.planted.has(PlantedBug::AckBeforeFsync) {
            self.acknowledge(&group);
        }
        if let Some(index) = group.release_before {
            failpoint!("wal.release.before");
            self.wal.release_before(index).await?;
            failpoint!("wal.release.after");
        }
        Ok(())
    }

    /// Tells everybody that a group is durable, the observer first.
    fn acknowledge(&self, group: &GroupCommit) {
        if let (Some(observer), Some(number)) = (&self.observer, group.last_number) {
            observer.log_persisted(self.member_id, number);
        }
        self.transport.send_raft(&group.promises);
        if let Some(number) = group.last_number {
            let before = self.persisted.send_replace(number);
            assert!(
                number >= before,
                "Ready {number} is durable after Ready {before}"
            );
        }
    }
}

/// What a slow disk takes.
const PLANTED_DELAY: Duration = Duration::from_millis(20);

/// A group commit above this is worth a line in the log (etcd warns at one second).
const SLOW_DISK: Duration = Duration::from_secs(1);
