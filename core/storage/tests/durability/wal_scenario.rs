//! Random use of the log, with crashes, against the model.

use super::faulty_disk::crash::Crash;
use super::faulty_disk::{Faults, FaultyDisk, Rng, run};
use super::wal_model::{Model, recovered_prefix};
use bytes::Bytes;
use proptest::prelude::*;
use std::path::Path;
use veridical_planted::Planted;
use veridical_storage::FileError;
use veridical_storage::wal::{
    HardState, LogEntry, MemberRecord, SnapshotMark, Wal, WalConfig, WalError, WalRecord,
};

pub const DIR: &str = "/wal";

#[derive(Clone, Debug)]
pub enum Step {
    Append {
        records: u8,
        seed: u64,
    },
    Sync,
    /// Fill with zeros so far ahead.
    Fill {
        bytes: u64,
    },
    /// Release up to this far behind the snapshot.
    Release {
        behind: u64,
    },
    /// Short and interrupted calls from here on.
    ShortIo,
    /// A sync after this many fails.
    FailSync {
        after: u32,
    },
    /// The process ends and is started again; a sync after this many fails while it
    /// opens its log, and it is started once more.
    Kill {
        fail_open: Option<u32>,
    },
    /// As `Kill`, but the machine stops.
    Crash {
        crash: Crash,
        fail_open: Option<u32>,
    },
}

pub fn crash_strategy() -> impl Strategy<Value = Crash> {
    (
        0..=10u64,
        prop_oneof![Just(512usize), Just(4096)],
        any::<bool>(),
    )
        .prop_map(|(tenths, sector_bytes, garbage)| Crash {
            survival_percent: 10 * tenths,
            sector_bytes,
            garbage,
        })
}

pub fn step_strategy() -> impl Strategy<Value = Step> {
    let fail_open = || prop_oneof![3 => Just(None), 1 => (0..3u32).prop_map(Some)];
    prop_oneof![
        12 => (1..6u8, any::<u64>()).prop_map(|(records, seed)| Step::Append { records, seed }),
        8 => Just(Step::Sync),
        4 => (0..20_000u64).prop_map(|bytes| Step::Fill { bytes }),
        2 => (0..4u64).prop_map(|behind| Step::Release { behind }),
        1 => Just(Step::ShortIo),
        1 => (0..4u32).prop_map(|after| Step::FailSync { after }),
        1 => fail_open().prop_map(|fail_open| Step::Kill { fail_open }),
        2 => (crash_strategy(), fail_open()).prop_map(|(crash, fail_open)| Step::Crash { crash, fail_open }),
    ]
}

/// A log in use, and what must be true of it.
pub struct Scenario {
    pub disk: FaultyDisk,
    pub config: WalConfig,
    pub wal: Option<Wal<FaultyDisk>>,
    /// Everything that was handed to the log and not lost in a crash.
    pub history: Vec<WalRecord>,
    /// How many of these records are durable for certain.
    pub synced: usize,
    /// How many of these records a later one proves to have been durable.
    pub proven: usize,
    /// Entries before this index are gone.
    pub released: u64,
    /// A release that failed half-way: entries before this index may be gone.
    releasing: u64,
    term: u64,
}

impl Scenario {
    pub fn new(seed: u64, segment_bytes: u64, planted: Planted) -> Self {
        let mut scenario = Self {
            disk: FaultyDisk::new(seed),
            config: WalConfig {
                segment_bytes,
                planted,
                ..WalConfig::default()
            },
            wal: None,
            history: Vec::new(),
            synced: 0,
            proven: 0,
            released: 0,
            releasing: 0,
            term: 1,
        };
        scenario
            .open(None)
            .expect("an empty disk holds an empty log");
        scenario
    }

    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Append { records, seed } => {
                let batch = self.batch(*records, *seed);
                self.append(batch)
            }
            Step::Sync => self.sync(),
            Step::Fill { bytes } => self.fill(*bytes),
            Step::Release { behind } => self.release(*behind),
            Step::ShortIo => {
                self.disk.set_faults(Faults {
                    short_io: true,
                    ..Faults::default()
                });
                Ok(())
            }
            Step::FailSync { after } => {
                self.disk.set_faults(Faults {
                    fail_sync_after: Some(*after),
                    ..Faults::default()
                });
                Ok(())
            }
            Step::Kill { fail_open } => {
                self.disk = self.disk.kill();
                self.open(*fail_open)
            }
            Step::Crash { crash, fail_open } => {
                self.disk = self.disk.crash(*crash);
                self.open(*fail_open)
            }
        }
    }

    fn append(&mut self, batch: Vec<WalRecord>) -> Result<(), String> {
        let Some(wal) = &mut self.wal else {
            return Ok(());
        };
        let synced = self.synced;
        self.history.extend(batch.iter().cloned());
        match run(wal.append(&batch)) {
            Ok(()) if batch.is_empty() => {}
            // Its frames claim what was synchronised before.
            Ok(()) => self.proven = synced,
            Err(error) => return self.stopped(error),
        }
        let last_index = Model::of(&self.history).last_index;
        let wal = self.wal.as_ref().expect("the log is open");
        if wal.last_index() != last_index {
            return Err(format!(
                "last index {} instead of {last_index}",
                wal.last_index()
            ));
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), String> {
        let Some(wal) = &mut self.wal else {
            return Ok(());
        };
        match run(wal.sync()) {
            Ok(()) => {
                self.synced = self.history.len();
                Ok(())
            }
            Err(error) => self.stopped(error),
        }
    }

    fn fill(&mut self, bytes: u64) -> Result<(), String> {
        let Some(wal) = &mut self.wal else {
            return Ok(());
        };
        match run(wal.fill_ahead(bytes)) {
            Ok(_) => Ok(()),
            Err(error) => self.stopped(error),
        }
    }

    fn release(&mut self, behind: u64) -> Result<(), String> {
        let Some(wal) = &mut self.wal else {
            return Ok(());
        };
        let Some(snapshot) = Model::of(&self.history).snapshot else {
            return Ok(());
        };
        let index = (snapshot.index + 1).saturating_sub(behind);
        let segments = wal.segments();
        let result = run(wal.release_before(index));
        self.releasing = if result.is_err() { index } else { 0 };
        if wal.segments() < segments {
            // Nothing is deleted before it is durable that it may be.
            self.released = self.released.max(index);
            self.proven = self.proven.max(self.synced);
            self.synced = self.history.len();
        }
        result.or_else(|error| self.stopped(error))
    }

    /// A failed call has to be the injected fault, and everything after it refused.
    fn stopped(&mut self, error: WalError) -> Result<(), String> {
        let mut wal = self.wal.take().expect("the log is open");
        if !matches!(
            error,
            WalError::File(FileError::Io {
                operation: "synchronise",
                ..
            })
        ) {
            return Err(format!("not the fault that was injected: {error:?}"));
        }
        let hard_state = WalRecord::HardState(HardState::default());
        let later = [
            run(wal.append(&[hard_state])),
            run(wal.sync()),
            run(wal.release_before(1)),
            run(wal.fill_ahead(1 << 20)).map(|_| ()),
        ];
        for result in later {
            if !matches!(result, Err(WalError::Stopped)) {
                return Err(format!("after a failure: {result:?}"));
            }
        }
        Ok(())
    }

    pub fn open(&mut self, fail_open: Option<u32>) -> Result<(), String> {
        self.wal = None;
        if let Some(after) = fail_open {
            self.disk.set_faults(Faults {
                short_io: true,
                fail_sync_after: Some(after),
                ..Faults::default()
            });
            match run(Wal::open(self.disk.clone(), Path::new(DIR), self.config)) {
                Ok((_, recovered)) => {
                    self.check(&recovered)?;
                }
                Err(WalError::File(FileError::Io {
                    operation: "synchronise",
                    ..
                })) => {}
                Err(error) => return Err(format!("opening: {error}")),
            }
            self.disk = self.disk.kill();
        }
        let opened = run(Wal::open(self.disk.clone(), Path::new(DIR), self.config));
        let (wal, recovered) = opened.map_err(|error| format!("opening: {error}"))?;
        self.check(&recovered)?;
        self.wal = Some(wal);
        Ok(())
    }

    fn check(&mut self, recovered: &veridical_storage::wal::Recovered) -> Result<(), String> {
        // A release comes after the snapshot that allows it.
        if recovered
            .snapshot
            .is_some_and(|mark| mark.index + 1 >= self.releasing)
        {
            let oldest = recovered
                .entries
                .first()
                .map_or(u64::MAX, |entry| entry.index);
            self.released = self.released.max(self.releasing.min(oldest));
        }
        self.releasing = 0;
        let prefix = recovered_prefix(&self.history, self.synced, self.released, recovered);
        let prefix = prefix.ok_or_else(|| {
            format!(
                "recovered {recovered:?}, which is no prefix of at least {} of {:?}",
                self.synced, self.history
            )
        })?;
        self.history.truncate(prefix);
        // Opening makes what it returns durable.
        self.synced = prefix;
        self.proven = prefix;
        Ok(())
    }

    /// Records that a consensus protocol could write.
    fn batch(&mut self, records: u8, seed: u64) -> Vec<WalRecord> {
        let mut rng = Rng(seed);
        let mut model = Model::of(&self.history);
        let mut batch = Vec::new();
        for _ in 0..records {
            let floor = model
                .snapshot
                .map_or(0, |mark| mark.index)
                .max(self.released.saturating_sub(1));
            let record = match rng.below(12) {
                0 => WalRecord::HardState(HardState {
                    term: self.term,
                    // One vote in a term.
                    vote: self.term % 4,
                    commit: floor,
                }),
                1 => WalRecord::Member(MemberRecord {
                    cluster_id: 7,
                    member_id: 8,
                    incarnation: model.member.map_or(0, |member| member.incarnation) + rng.below(3),
                }),
                2 => {
                    let covered = model.entries.iter().filter(|entry| entry.index > floor);
                    let covered: Vec<&LogEntry> = covered.collect();
                    let mark = match covered.len() as u64 {
                        // From another member, beyond this log.
                        _ if rng.below(6) == 0 => SnapshotMark {
                            index: model.last_index + 1 + rng.below(3),
                            term: self.term,
                        },
                        0 => continue,
                        count => {
                            let entry = covered[rng.below(count) as usize];
                            // Now and then the log turns out to be wrong.
                            SnapshotMark {
                                index: entry.index,
                                term: entry.term + rng.below(8) / 7,
                            }
                        }
                    };
                    self.term = self.term.max(mark.term);
                    WalRecord::Snapshot(mark)
                }
                _ => {
                    let mut index = model.last_index + 1;
                    if rng.below(5) == 0 {
                        index -= rng.below(4).min(model.last_index.saturating_sub(floor));
                        self.term += 1;
                    }
                    let limit = [1, 64, 700, 9000][rng.below(4) as usize];
                    let bytes: Vec<u8> = (0..rng.below(limit)).map(|_| rng.next() as u8).collect();
                    WalRecord::Entry(LogEntry {
                        term: self.term,
                        index,
                        kind: rng.below(3) as u8,
                        data: Bytes::from(bytes),
                    })
                }
            };
            model.apply(&record);
            batch.push(record);
        }
        batch
    }
}
