//! The shape of the log: what the records written so far add up to, without the data.
//!
//! The writer and the recovery fold the same records through the same rules, so that
//! the state which a segment's header repeats can be compared with what was read.

use super::frame::Payload;
use super::record::{HardState, LogEntry, MemberRecord, SnapshotMark, WalRecord};
use veridical_probe::sometimes;

/// What the head of every segment repeats, so that older segments can be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CarriedState {
    pub member: Option<MemberRecord>,
    pub hard_state: Option<HardState>,
    pub snapshot: Option<SnapshotMark>,
    /// Index of the log's last entry; 0 if there never was one.
    pub last_index: u64,
    /// Term of that entry (or of the snapshot which replaced it).
    pub last_term: u64,
}

/// Entries from `start` up to the next run have this term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TermRun {
    start: u64,
    term: u64,
}

/// The fold over all records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogShape {
    state: CarriedState,
    /// Terms of the entries that are known, by index; ends at `state.last_index`.
    runs: Vec<TermRun>,
}

/// What a record does to the entries before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Keep,
    /// Entries from this index on are replaced by the record's.
    ReplaceFrom(u64),
    /// A snapshot replaced the whole log.
    Clear,
}

/// A record that does not follow the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    /// The index is not the next one.
    #[error("entry {index} does not follow entry {last_index}")]
    Skipped { index: u64, last_index: u64 },
    /// What a snapshot covers is committed and never changes.
    #[error("entry {index} is covered by snapshot {snapshot_index}")]
    Covered { index: u64, snapshot_index: u64 },
    /// The snapshot contradicts the log, and the record does not say that it replaces it.
    #[error("the mark of snapshot {0} contradicts the log")]
    Mark(u64),
    /// Indexes start at 1, and the last one is kept free.
    #[error("{0} is no index of an entry")]
    NoIndex(u64),
}

impl LogShape {
    /// The shape of a log of which only this is known.
    pub fn from_state(state: CarriedState) -> Self {
        Self {
            state,
            runs: Vec::new(),
        }
    }

    /// What a segment that starts here has to repeat.
    pub fn state(&self) -> CarriedState {
        self.state
    }

    /// What has to be written for a record.
    pub fn payload_of(&self, record: &WalRecord) -> Payload {
        match record {
            WalRecord::Snapshot(mark) if self.is_replaced_by(*mark) => Payload::Restart(*mark),
            record => Payload::Record(record.clone()),
        }
    }

    /// Raft §7: if the log holds the snapshot's last entry, what follows it stays;
    /// otherwise the snapshot replaces the whole log.
    fn is_replaced_by(&self, mark: SnapshotMark) -> bool {
        let conflicts = self
            .term_at(mark.index)
            .is_some_and(|term| term != mark.term);
        mark.index > self.state.last_index || conflicts
    }

    /// Takes in what was written or read.
    pub fn apply(&mut self, payload: &Payload) -> Result<Effect, Misfit> {
        match payload {
            Payload::Record(WalRecord::Entry(entry)) => return self.apply_entry(entry),
            Payload::Record(WalRecord::HardState(hard_state)) => {
                self.state.hard_state = Some(*hard_state)
            }
            Payload::Record(WalRecord::Member(member)) => self.state.member = Some(*member),
            Payload::Record(WalRecord::Snapshot(mark)) if !self.is_outdated(*mark) => {
                if self.is_replaced_by(*mark) {
                    return Err(Misfit::Mark(mark.index));
                }
                self.state.snapshot = Some(*mark);
            }
            Payload::Restart(mark) if !self.is_outdated(*mark) => {
                if mark.index == u64::MAX {
                    return Err(Misfit::NoIndex(mark.index));
                }
                sometimes!(
                    mark.index <= self.state.last_index,
                    "wal.snapshot-replaced-a-log-that-contradicts-it"
                );
                sometimes!(
                    mark.index > self.state.last_index && self.state.last_index > 0,
                    "wal.snapshot-replaced-a-log-that-was-shorter"
                );
                self.state.snapshot = Some(*mark);
                self.runs.clear();
                self.state.last_index = mark.index;
                self.state.last_term = mark.term;
                return Ok(Effect::Clear);
            }
            Payload::Record(WalRecord::Snapshot(_))
            | Payload::Restart(_)
            | Payload::OldestSegment(_) => {}
        }
        Ok(Effect::Keep)
    }

    fn is_outdated(&self, mark: SnapshotMark) -> bool {
        self.state
            .snapshot
            .is_some_and(|newest| mark.index < newest.index)
    }

    fn apply_entry(&mut self, entry: &LogEntry) -> Result<Effect, Misfit> {
        let &LogEntry { index, term, .. } = entry;
        if index == 0 || index == u64::MAX {
            return Err(Misfit::NoIndex(index));
        }
        if let Some(snapshot) = self.state.snapshot
            && index <= snapshot.index
        {
            return Err(Misfit::Covered {
                index,
                snapshot_index: snapshot.index,
            });
        }
        let last_index = self.state.last_index;
        // A log that never held an entry may start anywhere.
        if last_index != 0 && index > last_index + 1 {
            return Err(Misfit::Skipped { index, last_index });
        }
        sometimes!(index <= last_index, "wal.suffix-was-replaced");
        while self.runs.last().is_some_and(|run| run.start >= index) {
            self.runs.pop();
        }
        if self.runs.last().is_none_or(|run| run.term != term) {
            self.runs.push(TermRun { start: index, term });
        }
        self.state.last_index = index;
        self.state.last_term = term;
        assert!(
            self.runs.last().is_some_and(|run| run.start <= index),
            "the term of the last entry is known"
        );
        Ok(Effect::ReplaceFrom(index))
    }

    /// The term of the entry at `index`, if it is known.
    pub fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.state.last_index {
            return Some(self.state.last_term);
        }
        if index > self.state.last_index {
            return None;
        }
        self.runs
            .iter()
            .rev()
            .find(|run| run.start <= index)
            .map(|run| run.term)
    }

    /// Forgets the terms of entries before `index`, whose segments are gone.
    pub fn release_before(&mut self, index: u64) {
        let keep_from = self
            .runs
            .iter()
            .rposition(|run| run.start <= index)
            .unwrap_or(0);
        self.runs.drain(..keep_from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entry(term: u64, index: u64) -> Payload {
        Payload::Record(WalRecord::Entry(LogEntry {
            term,
            index,
            kind: 0,
            data: Bytes::new(),
        }))
    }

    fn write(shape: &mut LogShape, mark: SnapshotMark) -> Result<Effect, Misfit> {
        let payload = shape.payload_of(&WalRecord::Snapshot(mark));
        shape.apply(&payload)
    }

    fn shape(entries: &[(u64, u64)]) -> LogShape {
        let mut shape = LogShape::default();
        for (term, index) in entries {
            shape.apply(&entry(*term, *index)).expect("contiguous");
        }
        shape
    }

    #[test]
    fn a_snapshot_of_an_entry_in_the_log_keeps_what_follows_it() {
        let mut shape = shape(&[(1, 1), (1, 2), (2, 3)]);
        let mark = SnapshotMark { index: 2, term: 1 };
        assert_eq!(write(&mut shape, mark), Ok(Effect::Keep));
        assert_eq!(shape.state().last_index, 3);
    }

    #[test]
    fn a_snapshot_that_contradicts_the_log_replaces_it() {
        let mut shape = shape(&[(1, 1), (1, 2), (1, 3)]);
        let mark = SnapshotMark { index: 2, term: 5 };
        assert_eq!(write(&mut shape, mark), Ok(Effect::Clear));
        assert_eq!((shape.state().last_index, shape.state().last_term), (2, 5));
        assert_eq!(shape.apply(&entry(5, 3)), Ok(Effect::ReplaceFrom(3)));
    }

    #[test]
    fn a_snapshot_beyond_the_log_replaces_it() {
        let mut shape = shape(&[(1, 1)]);
        assert_eq!(
            write(&mut shape, SnapshotMark { index: 9, term: 2 }),
            Ok(Effect::Clear)
        );
        assert_eq!(
            shape.apply(&entry(2, 11)),
            Err(Misfit::Skipped {
                index: 11,
                last_index: 9
            })
        );
        assert_eq!(shape.apply(&entry(2, 10)), Ok(Effect::ReplaceFrom(10)));
    }

    #[test]
    fn a_late_older_snapshot_changes_nothing() {
        let mut shape = shape(&[(1, 1), (1, 2), (1, 3)]);
        write(&mut shape, SnapshotMark { index: 3, term: 1 }).expect("no entry");
        let before = shape.clone();
        assert_eq!(
            write(&mut shape, SnapshotMark { index: 1, term: 9 }),
            Ok(Effect::Keep)
        );
        assert_eq!(shape, before);
    }

    #[test]
    fn terms_are_known_after_a_suffix_was_replaced() {
        let mut shape = shape(&[(1, 1), (1, 2), (2, 3), (3, 4), (4, 3)]);
        assert_eq!(
            [1, 2, 3, 4].map(|index| shape.term_at(index)),
            [Some(1), Some(1), Some(4), None]
        );
        shape.release_before(3);
        assert_eq!([2, 3].map(|index| shape.term_at(index)), [None, Some(4)]);
    }
}
