//! What a history of records adds up to, written down a second time and simply.

use veridical_storage::wal::{
    HardState, LogEntry, MemberRecord, Recovered, SnapshotMark, WalRecord,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub member: Option<MemberRecord>,
    pub hard_state: Option<HardState>,
    pub snapshot: Option<SnapshotMark>,
    pub entries: Vec<LogEntry>,
    pub last_index: u64,
}

impl Model {
    pub fn of(history: &[WalRecord]) -> Self {
        let mut model = Self::default();
        history.iter().for_each(|record| model.apply(record));
        model
    }

    pub fn apply(&mut self, record: &WalRecord) {
        match record {
            WalRecord::Entry(entry) => {
                self.entries.retain(|other| other.index < entry.index);
                self.entries.push(entry.clone());
                self.last_index = entry.index;
            }
            WalRecord::HardState(hard_state) => self.hard_state = Some(*hard_state),
            WalRecord::Member(member) => self.member = Some(*member),
            WalRecord::Snapshot(mark) => {
                self.snapshot = Some(*mark);
                let covered = self.entries.iter().find(|entry| entry.index == mark.index);
                let conflict = covered.is_some_and(|entry| entry.term != mark.term);
                if mark.index > self.last_index || conflict {
                    self.entries.clear();
                    self.last_index = mark.index;
                }
            }
        }
    }

    /// Whether the log gave back this, but for entries before `released`.
    pub fn matches(&self, recovered: &Recovered, released: u64) -> bool {
        let Some(missing) = self.entries.len().checked_sub(recovered.entries.len()) else {
            return false;
        };
        (self.member, self.hard_state, self.snapshot)
            == (recovered.member, recovered.hard_state, recovered.snapshot)
            && self.entries[missing..] == recovered.entries[..]
            && self.entries[..missing]
                .iter()
                .all(|entry| entry.index < released)
    }
}

/// The greatest prefix of the history, of at least `least` records, that the log gave
/// back.
pub fn recovered_prefix(
    history: &[WalRecord],
    least: usize,
    released: u64,
    recovered: &Recovered,
) -> Option<usize> {
    let mut model = Model::of(&history[..least]);
    let mut found = model.matches(recovered, released).then_some(least);
    for (index, record) in history.iter().enumerate().skip(least) {
        model.apply(record);
        if model.matches(recovered, released) {
            found = Some(index + 1);
        }
    }
    found
}
