//! The log after its last compaction, in memory.

use std::collections::VecDeque;
use std::ops::Range;

use veridical_probe::always;

use crate::entry::{Entry, LogIndex, Term};
use crate::snapshot::SnapshotMeta;

/// Entries `first_index..=last_index`, and the index and term right before them.
/// Invariant: indexes are consecutive, terms never fall.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    base_index: LogIndex,
    base_term: Term,
    entries: VecDeque<Entry>,
    /// The first index that no Ready has carried to the owner yet.
    first_unhanded: LogIndex,
}

impl Log {
    /// A log that is durable as it is.
    pub(crate) fn new(snapshot: &SnapshotMeta, entries: Vec<Entry>) -> Self {
        let mut log = Self {
            base_index: snapshot.index,
            base_term: snapshot.term,
            entries: entries.into(),
            first_unhanded: 0,
        };
        log.first_unhanded = log.last_index() + 1;
        log
    }

    /// The index that the log begins after.
    pub(crate) fn base_index(&self) -> LogIndex {
        self.base_index
    }

    pub(crate) fn first_index(&self) -> LogIndex {
        self.base_index + 1
    }

    pub(crate) fn last_index(&self) -> LogIndex {
        self.base_index + self.entries.len() as u64
    }

    pub(crate) fn last_term(&self) -> Term {
        self.entries.back().map_or(self.base_term, |last| last.term)
    }

    /// The term at `index`, known from the base on up to the end.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base_index {
            return Some(self.base_term);
        }
        Some(self.entries.get(self.offset(index)?)?.term)
    }

    /// Whether the log has an entry of `term` at `index`.
    pub(crate) fn matches(&self, index: LogIndex, term: Term) -> bool {
        self.term_at(index) == Some(term)
    }

    /// Whether a log that ends with (`index`, `term`) is at least as up to date as this
    /// one (paper section 5.4.1).
    pub(crate) fn is_up_to_date(&self, index: LogIndex, term: Term) -> bool {
        (term, index) >= (self.last_term(), self.last_index())
    }

    /// The last index, up to `index`, whose term is at most `term`; the base index if
    /// there is none after it.
    pub(crate) fn last_index_of_term_at_most(&self, index: LogIndex, term: Term) -> LogIndex {
        let below = self.entries.partition_point(|entry| entry.term <= term) as u64;
        (self.base_index + below).min(index).max(self.base_index)
    }

    /// The entries of `range` that exist.
    pub(crate) fn range(&self, range: Range<LogIndex>) -> impl DoubleEndedIterator<Item = &Entry> {
        let start = range.start.clamp(self.first_index(), self.last_index() + 1);
        let end = range.end.clamp(start, self.last_index() + 1);
        let offset = |index: LogIndex| (index - self.first_index()) as usize;
        self.entries.range(offset(start)..offset(end))
    }

    /// The entries of `range` as far as `max_bytes` allows, but at least one, and their
    /// size in bytes.
    pub(crate) fn batch(&self, range: Range<LogIndex>, max_bytes: usize) -> (Vec<Entry>, usize) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for entry in self.range(range) {
            let size = entry.size_bytes();
            if !batch.is_empty() && bytes + size > max_bytes {
                break;
            }
            bytes += size;
            batch.push(entry.clone());
        }
        (batch, bytes)
    }

    /// The size of the entries of `range`, in bytes.
    pub(crate) fn size_bytes(&self, range: Range<LogIndex>) -> usize {
        self.range(range).map(Entry::size_bytes).sum()
    }

    /// Adds the next entry.
    pub(crate) fn push(&mut self, entry: Entry) {
        always!(
            entry.index == self.last_index() + 1,
            "raft.log-has-no-gaps",
            "{} after {}",
            entry.index,
            self.last_index()
        );
        always!(
            entry.term >= self.last_term(),
            "raft.terms-rise-along-the-log",
            "{} after {}",
            entry.term,
            self.last_term()
        );
        self.entries.push_back(entry);
    }

    /// Removes `index` and everything after it.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        let keep = self.offset(index).expect("only entries are truncated");
        assert!(
            keep < self.entries.len(),
            "only entries that are there are truncated"
        );
        self.entries.truncate(keep);
        self.first_unhanded = self.first_unhanded.min(index);
    }

    /// Forgets `index` and everything before it; its term stays known.
    pub(crate) fn compact_to(&mut self, index: LogIndex) {
        always!(
            index > self.base_index && index < self.first_unhanded,
            "raft.only-handed-out-entries-are-forgotten",
            "up to {index} of {} to {}",
            self.first_index(),
            self.first_unhanded
        );
        self.base_term = self.term_at(index).expect("within the log");
        self.entries.drain(..(index - self.base_index) as usize);
        self.base_index = index;
    }

    /// Forgets everything; the log begins after a snapshot.
    pub(crate) fn reset(&mut self, index: LogIndex, term: Term) {
        self.entries.clear();
        self.base_index = index;
        self.base_term = term;
        self.first_unhanded = index + 1;
    }

    /// Whether some entries were not carried to the owner yet.
    pub(crate) fn has_unhanded(&self) -> bool {
        self.first_unhanded <= self.last_index()
    }

    /// Takes the entries that were not carried to the owner yet.
    pub(crate) fn take_unhanded(&mut self) -> Vec<Entry> {
        let end = self.last_index() + 1;
        let entries: Vec<Entry> = self.range(self.first_unhanded..end).cloned().collect();
        assert!(
            self.first_unhanded + entries.len() as u64 == end,
            "entries are handed out without a gap"
        );
        self.first_unhanded = end;
        entries
    }

    fn offset(&self, index: LogIndex) -> Option<usize> {
        index
            .checked_sub(self.base_index + 1)
            .map(|offset| offset as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{ENTRY_OVERHEAD_BYTES, Payload};

    fn log(terms: &[Term]) -> Log {
        let mut log = Log::new(&SnapshotMeta::default(), Vec::new());
        for (offset, term) in terms.iter().enumerate() {
            log.push(Entry {
                term: *term,
                index: offset as u64 + 1,
                payload: Payload::Noop,
            });
        }
        log
    }

    #[test]
    fn terms_are_known_from_the_base_to_the_end() {
        let mut log = log(&[1, 1, 2, 4]);
        log.take_unhanded();
        log.compact_to(3);
        assert_eq!(log.term_at(2), None);
        assert_eq!(log.term_at(3), Some(2));
        assert_eq!(log.term_at(4), Some(4));
        assert_eq!(log.term_at(5), None);
        assert_eq!((log.first_index(), log.last_index()), (4, 4));
    }

    #[test]
    fn whole_terms_are_skipped() {
        let log = log(&[1, 1, 2, 4, 4]);
        assert_eq!(log.last_index_of_term_at_most(5, 3), 3);
        assert_eq!(log.last_index_of_term_at_most(5, 4), 5);
        assert_eq!(log.last_index_of_term_at_most(2, 4), 2);
        assert_eq!(log.last_index_of_term_at_most(5, 0), 0);
    }

    #[test]
    fn a_batch_respects_the_limit_but_never_starves() {
        let log = log(&[1, 1, 1]);
        assert_eq!(log.batch(1..4, 1).0.len(), 1);
        assert_eq!(log.batch(1..4, 2 * ENTRY_OVERHEAD_BYTES).0.len(), 2);
        assert_eq!(log.batch(1..4, usize::MAX).0.len(), 3);
        assert_eq!(log.batch(4..4, usize::MAX).0.len(), 0);
    }

    #[test]
    fn an_overwritten_suffix_is_handed_out_again() {
        let mut log = log(&[1, 1, 1]);
        assert_eq!(log.take_unhanded().len(), 3);
        assert!(!log.has_unhanded());
        log.truncate_from(2);
        assert!(!log.has_unhanded());
        log.push(Entry {
            term: 2,
            index: 2,
            payload: Payload::Noop,
        });
        let handed = log.take_unhanded();
        assert_eq!(handed.len(), 1);
        assert_eq!((handed[0].index, handed[0].term), (2, 2));
    }

    #[test]
    fn up_to_date_compares_terms_first() {
        let log = log(&[1, 3]);
        assert!(log.is_up_to_date(2, 3));
        assert!(log.is_up_to_date(1, 4));
        assert!(!log.is_up_to_date(9, 2));
        assert!(!log.is_up_to_date(1, 3));
    }
}
