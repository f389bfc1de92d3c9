//! Which keys each revision wrote, oldest first: what watches catch up from and what
//! tells a compaction where to look.

use std::collections::VecDeque;

use bytes::Bytes;
use veridical_probe::always;

/// The keys written by each revision from some revision on. Revisions have no gaps: one
/// that writes nothing does not exist.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    /// The revision of `ends[0]`.
    first_revision: i64,
    /// For each revision, where its keys end, counted from the first key ever logged.
    ends: VecDeque<u64>,
    /// The keys; a key's place within its revision is its sub-revision.
    keys: VecDeque<Bytes>,
    /// How many keys have been dropped from the front.
    dropped: u64,
}

impl ChangeLog {
    /// An empty log whose first revision will be `first_revision`.
    pub(crate) fn new(first_revision: i64) -> Self {
        Self {
            first_revision,
            ends: VecDeque::new(),
            keys: VecDeque::new(),
            dropped: 0,
        }
    }

    /// The oldest revision that is kept.
    pub(crate) fn first_revision(&self) -> i64 {
        self.first_revision
    }

    /// The revision that will be appended next.
    pub(crate) fn next_revision(&self) -> i64 {
        self.first_revision + self.ends.len() as i64
    }

    /// Appends the next revision.
    ///
    /// # Panics
    /// If it is not the next one, or has no keys.
    pub(crate) fn append(&mut self, revision: i64, keys: impl IntoIterator<Item = Bytes>) {
        always!(
            revision == self.next_revision(),
            "store.revisions-have-no-gaps",
            "{revision} where {} is next",
            self.next_revision()
        );
        let before = self.keys.len();
        self.keys.extend(keys);
        assert!(
            self.keys.len() > before,
            "a revision writes at least one key"
        );
        self.ends.push_back(self.dropped + self.keys.len() as u64);
    }

    /// The keys of a revision by sub-revision.
    ///
    /// # Panics
    /// If the revision is not kept.
    pub(crate) fn keys(&self, revision: i64) -> impl Iterator<Item = &Bytes> {
        let at = usize::try_from(revision - self.first_revision).expect("the revision is kept");
        let start = match at {
            0 => self.dropped,
            at => self.ends[at - 1],
        };
        assert!(
            self.dropped <= start && start < self.ends[at],
            "every revision that is kept has keys"
        );
        let range = (start - self.dropped) as usize..(self.ends[at] - self.dropped) as usize;
        self.keys.range(range)
    }

    /// Forgets the oldest revision.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn drop_first(&mut self) {
        let end = self
            .ends
            .pop_front()
            .expect("there is a revision to forget");
        assert!(end > self.dropped, "keys are forgotten with their revision");
        self.keys.drain(..(end - self.dropped) as usize);
        self.dropped = end;
        self.first_revision += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_keep_their_keys_while_older_ones_are_forgotten() {
        let mut log = ChangeLog::new(2);
        log.append(2, [Bytes::from("a")]);
        log.append(3, [Bytes::from("b"), Bytes::from("c")]);
        log.append(4, [Bytes::from("a")]);
        let keys = |log: &ChangeLog, revision| log.keys(revision).cloned().collect::<Vec<_>>();
        assert_eq!(keys(&log, 3), ["b", "c"]);
        log.drop_first();
        assert_eq!(keys(&log, 3), ["b", "c"]);
        log.drop_first();
        assert_eq!((log.first_revision(), log.next_revision()), (4, 5));
        assert_eq!(keys(&log, 4), ["a"]);
    }

    #[test]
    #[should_panic(expected = "store.revisions-have-no-gaps")]
    fn a_gap_is_a_bug() {
        ChangeLog::new(2).append(3, [Bytes::from("a")]);
    }

    #[test]
    #[should_panic(expected = "keys are forgotten with their revision")]
    fn forgetting_a_revision_whose_keys_are_gone_is_a_bug() {
        let mut log = ChangeLog::new(2);
        log.append(2, [Bytes::from("a")]);
        log.dropped = 9;
        log.drop_first();
    }
}
