//! The driver's end of the log: what Raft wants durable goes into the log writer's queue,
//! and what the log writer reports durable comes back to Raft.

use tokio::sync::mpsc;
use tracing::warn;
use veridical_probe::failpoint;
use veridical_raft::{Entry, LogIndex, Raft, Ready, SnapshotMeta};
use veridical_storage::wal::{HardState, SnapshotMark, WalRecord};

use crate::codec::entry_to_log;
use crate::consensus::log_writer::DiskJob;

/// The way to the log writer, with the numbers of what is on it.
pub(crate) struct LogQueue {
    jobs: mpsc::Sender<DiskJob>,
    /// The number of the last `Ready`.
    last_number: u64,
    /// The number of the last `Ready` that was handed to the disk.
    last_disk_number: u64,
    /// The number up to which the log writer has reported everything durable.
    durable_number: u64,
}

/// How much of the log stays behind a snapshot at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptLog {
    pub(crate) entries: u64,
    pub(crate) bytes: usize,
}

impl KeptLog {
    /// The last entry that goes where there is a snapshot as of `index`.
    fn forgotten_up_to(self, raft: &Raft, index: LogIndex) -> LogIndex {
        let first = (index + 1)
            .saturating_sub(self.entries)
            .max(raft.first_index());
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.size_bytes();
            bytes <= self.bytes
        };
        let newest_first = raft.entries(first..index + 1).rev();
        index - newest_first.take_while(fits).count() as u64
    }
}

impl LogQueue {
    pub(crate) fn new(jobs: mpsc::Sender<DiskJob>) -> Self {
        Self {
            jobs,
            last_number: 0,
            last_disk_number: 0,
            durable_number: 0,
        }
    }

    /// Hands the records of a `Ready` to the log writer. Returns `false` if there was
    /// nothing to write, so that it may be durable already.
    pub(crate) async fn persist(&mut self, ready: &Ready) -> bool {
        assert!(
            ready.number > self.last_number,
            "Raft handed out Ready {} after {}",
            ready.number,
            self.last_number
        );
        self.last_number = ready.number;
        let records = records_of(ready);
        if records.is_empty() && ready.persisted_messages.is_empty() {
            return false;
        }
        // Without records it goes through the disk's queue all the same: its promises
        // may be about what earlier ones wrote.
        self.last_disk_number = ready.number;
        self.send(DiskJob::Persist {
            number: ready.number,
            records,
            sync: ready.must_sync || ready.install_snapshot.is_some(),
            messages: ready.persisted_messages.clone(),
        })
        .await;
        true
    }

    /// Tells Raft what is durable when the log writer has got as far as `written`. A
    /// `Ready` that wrote nothing is durable with those before it.
    pub(crate) fn settle_persisted(&mut self, raft: &mut Raft, written: u64) {
        assert!(
            (self.durable_number..=self.last_disk_number).contains(&written),
            "the log writer reports Ready {written} durable, after {}, of {}",
            self.durable_number,
            self.last_disk_number
        );
        self.durable_number = written;
        if written == self.last_disk_number {
            raft.persisted(self.last_number);
        } else {
            raft.persisted(written);
        }
    }

    /// Drops from the log what is durable elsewhere as of `meta.index`, but for what is kept for
    /// slow followers.
    pub(crate) async fn compact(&mut self, raft: &mut Raft, meta: &SnapshotMeta, keep: KeptLog) {
        failpoint!("log.forget.before");
        let keep_from = keep.forgotten_up_to(raft, meta.index);
        if keep_from >= raft.first_index()
            && let Err(error) = raft.compact(keep_from)
        {
            warn!(%error, "kept the log");
        }
        // The log on disk only has to bridge from the snapshot on.
        let first_needed = raft.first_index().min(meta.index + 1);
        let mark = SnapshotMark {
            index: meta.index,
            term: meta.term,
        };
        self.send(DiskJob::Persist {
            number: self.last_disk_number,
            records: vec![WalRecord::Snapshot(mark)],
            sync: true,
            messages: Vec::new(),
        })
        .await;
        self.send(DiskJob::Release {
            index: first_needed,
        })
        .await;
    }

    /// How many jobs wait.
    pub(crate) fn waiting(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    async fn send(&self, job: DiskJob) {
        // The receiver is gone only when the member stops, which ends this task too.
        let _ = self.jobs.send(job).await;
    }
}

/// The records of a `Ready`, in the order in which they have to be in the log.
fn records_of(ready: &Ready) -> Vec<WalRecord> {
    let mut records = Vec::with_capacity(ready.entries.len() + 2);
    if let Some(meta) = &ready.install_snapshot {
        records.push(WalRecord::Snapshot(SnapshotMark {
            index: meta.index,
            term: meta.term,
        }));
    }
    for (entry, next) in ready.entries.iter().zip(ready.entries.iter().skip(1)) {
        assert!(
            next.index == entry.index + 1 && next.term >= entry.term,
            "entry {} of term {} follows entry {} of term {}",
            next.index,
            next.term,
            entry.index,
            entry.term
        );
    }
    records.extend(
        ready
            .entries
            .iter()
            .map(|entry| WalRecord::Entry(entry_to_log(entry))),
    );
    // Behind the entries: a torn tail must not leave a commit index without them.
    if let Some(hard_state) = &ready.hard_state {
        records.push(WalRecord::HardState(HardState {
            term: hard_state.term,
            vote: hard_state.vote.unwrap_or(0),
            commit: hard_state.commit,
        }));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_raft::{Config, Initial, Membership, Payload};

    fn ready(number: u64, indices: &[u64]) -> Ready {
        let entry = |index: &u64| Entry {
            term: 1,
            index: *index,
            payload: Payload::Noop,
        };
        Ready {
            number,
            entries: indices.iter().map(entry).collect(),
            ..Ready::default()
        }
    }

    /// A member alone whose log has so many entries of 100 bytes and a few more each, behind the
    /// first one, which is empty.
    fn raft_with_entries(count: u64) -> Raft {
        let entry = |index| Entry {
            term: 1,
            index,
            payload: match index {
                1 => Payload::Noop,
                _ => Payload::Command(vec![7; 100].into()),
            },
        };
        let initial = Initial {
            hard_state: veridical_raft::HardState {
                term: 1,
                vote: Some(1),
                commit: count + 1,
            },
            snapshot: SnapshotMeta {
                membership: Membership::of_voters([1]),
                ..SnapshotMeta::default()
            },
            entries: (1..=count + 1).map(entry).collect(),
            applied: count + 1,
            seed: 1,
            blank: false,
        };
        Raft::new(Config::new(1), initial).expect("it can work")
    }

    #[test]
    fn of_the_log_behind_a_snapshot_stays_what_both_bounds_allow() {
        let raft = raft_with_entries(10);
        let size = raft.entries(5..6).map(Entry::size_bytes).sum::<usize>();
        let forgotten = |entries, bytes| KeptLog { entries, bytes }.forgotten_up_to(&raft, 11);
        assert_eq!(forgotten(0, usize::MAX), 11);
        assert_eq!(forgotten(4, usize::MAX), 7);
        assert_eq!(forgotten(4, 3 * size), 8);
        assert_eq!(forgotten(4, 3 * size - 1), 9);
        assert_eq!(forgotten(4, 0), 11);
        // Everything stays.
        assert_eq!(forgotten(1_000, usize::MAX), 0);
    }

    #[tokio::test]
    #[should_panic(expected = "Raft handed out Ready 2 after 3")]
    async fn readys_reach_the_log_in_their_order() {
        let (jobs, _waiting) = mpsc::channel(8);
        let mut log = LogQueue::new(jobs);
        log.persist(&ready(3, &[])).await;
        log.persist(&ready(2, &[])).await;
    }

    #[tokio::test]
    #[should_panic(expected = "entry 9 of term 1 follows entry 7 of term 1")]
    async fn entries_reach_the_log_without_gaps() {
        let (jobs, _waiting) = mpsc::channel(8);
        let mut log = LogQueue::new(jobs);
        log.persist(&ready(1, &[7, 9])).await;
    }
}
