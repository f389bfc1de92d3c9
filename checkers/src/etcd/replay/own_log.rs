//! The revisions of which one hypothesis has changes of its own.

use std::sync::Arc;

use super::base::{LogEntry, bytes_of_entry};
use super::metered::{Meter, Metered};

/// How many entries are shared as one. Of the last chunk, whoever adds an entry has a copy.
const CHUNK_ENTRIES: usize = 32;

type Chunk = Vec<(i64, LogEntry)>;

/// Revisions with their entries, ascending. A clone costs little and shares the entries.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnLog {
    /// None of them is empty, and all but the last are full.
    chunks: Vec<Arc<Metered<Chunk>>>,
}

impl OwnLog {
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The last revision.
    pub fn last(&self) -> Option<i64> {
        let (revision, _) = self.chunks.last()?.last()?;
        Some(*revision)
    }

    /// Adds a revision behind all others.
    pub fn push(&mut self, revision: i64, entry: LogEntry, meter: &Meter) {
        assert!(
            self.last().is_none_or(|last| last < revision),
            "a log is written forwards"
        );
        let bytes = size_of::<i64>() + bytes_of_entry(&entry.keys);
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK_ENTRIES => {
                Arc::make_mut(last).grow(bytes).push((revision, entry));
            }
            _ => {
                let mut chunk = Chunk::with_capacity(CHUNK_ENTRIES);
                chunk.push((revision, entry));
                let chunk = Metered::new(chunk, bytes, meter);
                self.chunks.push(Arc::new(chunk));
            }
        }
    }

    /// The entry of `revision`.
    pub fn get(&self, revision: i64) -> Option<&LogEntry> {
        let begun = |chunk: &Arc<Metered<Chunk>>| chunk[0].0 <= revision;
        let chunk = self.chunks.partition_point(begun).checked_sub(1)?;
        let chunk = &self.chunks[chunk];
        let place = chunk.binary_search_by_key(&revision, |(at, _)| *at).ok()?;
        Some(&chunk[place].1)
    }

    /// All entries, ascending.
    pub fn into_entries(self) -> impl Iterator<Item = (i64, LogEntry)> {
        let chunks = self.chunks.into_iter();
        chunks.flat_map(|chunk| Arc::unwrap_or_clone(chunk).into_content())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::operation::Writer;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use veridical_histories::OperationId;

    fn entry(number: u64) -> LogEntry {
        LogEntry {
            keys: [].into(),
            writer: Writer::Operation(OperationId(number)),
        }
    }

    fn writer(entry: &LogEntry) -> u64 {
        match entry.writer {
            Writer::Operation(op) => op.0,
            Writer::Expiry(_) => unreachable!("only operations write here"),
        }
    }

    proptest! {
        #[test]
        fn copies_of_a_log_are_maps_of_their_own(
            before in prop::collection::vec(1..4_i64, 0..80),
            one in prop::collection::vec(1..4_i64, 0..80),
            other in prop::collection::vec(1..4_i64, 0..80),
        ) {
            let meter = Meter::default();
            let add = |log: &mut OwnLog, map: &mut BTreeMap<i64, u64>, steps: &[i64], from| {
                for (number, step) in (from..).zip(steps) {
                    let revision = log.last().unwrap_or(0) + step;
                    log.push(revision, entry(number), &meter);
                    map.insert(revision, number);
                }
            };
            let (mut log, mut map) = (OwnLog::default(), BTreeMap::new());
            add(&mut log, &mut map, &before, 0);
            let (mut log_2, mut map_2) = (log.clone(), map.clone());
            add(&mut log, &mut map, &one, 1000);
            add(&mut log_2, &mut map_2, &other, 2000);
            for (log, map) in [(log, map), (log_2, map_2)] {
                for revision in 0..log.last().unwrap_or(0) + 2 {
                    let found = log.get(revision).map(writer);
                    prop_assert_eq!(found, map.get(&revision).copied());
                }
                let entries = log.into_entries();
                let all: BTreeMap<i64, u64> = entries.map(|(at, e)| (at, writer(&e))).collect();
                prop_assert_eq!(all, map);
            }
            prop_assert_eq!(meter.bytes(), 0);
        }
    }
}
