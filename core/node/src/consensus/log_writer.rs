//! The task that owns the write-ahead log: it appends what Raft wants durable, in
//! order, synchronises once for all jobs that wait, and only then lets go of the
//! messages that promise durability.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tracing::debug;
use veridical_env::{Clock, Environment};
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{failpoint, reachable, sometimes};
use veridical_raft::Message;
use veridical_storage::wal::{Wal, WalError, WalRecord};

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

/// Owns the log until the channel closes or the disk fails.
pub(crate) struct LogWriter<E: Environment> {
    pub(crate) wal: Wal<E::Disk>,
    pub(crate) jobs: mpsc::Receiver<DiskJob>,
    /// Jobs taken in one group commit at most.
    pub(crate) group_commit_jobs: usize,
    pub(crate) persisted: watch::Sender<u64>,
    pub(crate) transport: Transport<E>,
    pub(crate) clock: E::Clock,
    pub(crate) planted: Planted,
    pub(crate) member_id: u64,
    pub(crate) observer: Option<Arc<dyn NodeObserver>>,
    pub(crate) stop: Stop,
}

impl<E: Environment> LogWriter<E> {
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
            let mut batch = Vec::new();
            let mut must_sync = false;
            let mut release = None;
            let mut promises = Vec::new();
            let mut last_number = None;
            for job in jobs.drain(..) {
                match job {
                    DiskJob::Persist {
                        number,
                        records,
                        sync,
                        messages,
                    } => {
                        batch.extend(records);
                        must_sync |= sync;
                        promises.extend(messages);
                        last_number = Some(number);
                    }
                    DiskJob::Release { index } => release = Some(index),
                }
            }
            failpoint!("wal.append.before");
            if !batch.is_empty() {
                self.wal.append(&batch).await?;
            }
            failpoint!("wal.append.after");
            if self.planted.has(PlantedBug::AckBeforeFsync) {
                self.acknowledge(last_number, &promises);
            }
            if must_sync {
                failpoint!("wal.sync.before");
                self.wal.sync().await?;
                failpoint!("wal.sync.after");
            }
            if !self.planted.has(PlantedBug::AckBeforeFsync) {
                self.acknowledge(last_number, &promises);
            }
            if let Some(index) = release {
                failpoint!("wal.release.before");
                self.wal.release_before(index).await?;
                failpoint!("wal.release.after");
            }
            let took = self.clock.monotonic().saturating_sub(started);
            if took > SLOW_DISK {
                reachable!("node.log-took-more-than-a-second");
                debug!(took_ms = took.as_millis() as u64, "slow disk");
            }
        }
    }

    fn acknowledge(&self, number: Option<u64>, promises: &[Message]) {
        if let (Some(observer), Some(number)) = (&self.observer, number) {
            observer.log_persisted(self.member_id, number);
        }
        self.transport.send_raft(promises);
        if let Some(number) = number {
            self.persisted.send_replace(number);
        }
    }
}

/// A group commit above this is worth a line in the log (etcd warns at one second).
const SLOW_DISK: Duration = Duration::from_secs(1);
