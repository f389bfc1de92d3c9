//! The synced watches, found by the key of an event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::WatchSpec;
use super::queue::StreamQueue;
use crate::key_range::{KeyRange, RangeEnd};

/// Names a watch: its stream's number and its identifier there.
pub(super) type WatchKey = (u64, i64);

/// A watch that has been given everything published.
#[derive(Clone, Debug)]
pub(super) struct SyncedWatch {
    pub(super) spec: Arc<WatchSpec>,
    pub(super) queue: Arc<StreamQueue>,
    /// It is not interested in anything before; may lie in the future.
    pub(super) min_revision: i64,
}

/// The synced watches of all streams.
#[derive(Debug, Default)]
pub(super) struct SyncedIndex {
    watches: BTreeMap<WatchKey, SyncedWatch>,
    /// Watches of one key.
    by_key: BTreeMap<Bytes, BTreeSet<WatchKey>>,
    /// Watches of a range; many watches share few ranges.
    by_range: BTreeMap<KeyRange, BTreeSet<WatchKey>>,
}

impl SyncedIndex {
    pub(super) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// Adds a watch.
    ///
    /// # Panics
    /// If it is there already.
    pub(super) fn insert(&mut self, key: WatchKey, watch: SyncedWatch) {
        let range = &watch.spec.range;
        match range.end {
            RangeEnd::Single => self.by_key.entry(range.start.clone()).or_default(),
            RangeEnd::Until(_) | RangeEnd::Unbounded => {
                self.by_range.entry(range.clone()).or_default()
            }
        }
        .insert(key);
        let old = self.watches.insert(key, watch);
        assert!(old.is_none(), "a watch is synced once");
    }

    /// Removes a watch, if it is there.
    pub(super) fn remove(&mut self, key: WatchKey) -> Option<SyncedWatch> {
        let watch = self.watches.remove(&key)?;
        let range = &watch.spec.range;
        if range.end == RangeEnd::Single {
            let keys = self.by_key.get_mut(&range.start);
            let keys = keys.expect("every synced watch is indexed");
            assert!(keys.remove(&key), "every synced watch is indexed");
            if keys.is_empty() {
                self.by_key.remove(&range.start);
            }
        } else {
            let keys = self.by_range.get_mut(range);
            let keys = keys.expect("every synced watch is indexed");
            assert!(keys.remove(&key), "every synced watch is indexed");
            if keys.is_empty() {
                self.by_range.remove(range);
            }
        }
        Some(watch)
    }

    /// Removes and returns everything.
    pub(super) fn take_all(&mut self) -> BTreeMap<WatchKey, SyncedWatch> {
        self.by_key.clear();
        self.by_range.clear();
        std::mem::take(&mut self.watches)
    }

    pub(super) fn get(&self, key: WatchKey) -> Option<&SyncedWatch> {
        self.watches.get(&key)
    }

    /// The watches whose range holds `key`.
    pub(super) fn matching(&self, key: &Bytes) -> impl Iterator<Item = WatchKey> {
        let last = KeyRange {
            start: key.clone(),
            end: RangeEnd::Unbounded,
        };
        let ranges = self
            .by_range
            .range(..=last)
            .filter(|(range, _)| range.contains(key))
            .flat_map(|(_, keys)| keys);
        self.by_key
            .get(key)
            .into_iter()
            .flatten()
            .chain(ranges)
            .copied()
    }
}
