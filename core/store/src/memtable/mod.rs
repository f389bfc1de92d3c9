//! Where the keys are: a concurrent ordered map from key to [`KeyHistory`].
//!
//! One writer appends versions; many readers look at revisions that have been published
//! and so never see an unfinished write, whatever the writer is doing meanwhile. That is
//! why no operation here has to be atomic over more than one key.

#[cfg(test)]
mod conformance;
mod locked;
mod merge;
mod sharded;

use std::fmt::Debug;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use veridical_probe::{reachable, sometimes};

use crate::history::{KeyHistory, Version};
use crate::key_range::{KeyBounds, KeyRange};

pub use locked::LockedMemtable;
pub use merge::{KeyScan, Live, Selection, select};
pub use sharded::ShardedMemtable;

/// The revision that is later than all others.
pub const NEWEST: i64 = i64::MAX;

/// Looks at a key and its history.
pub type Visit<'a> = dyn FnMut(&Bytes, &KeyHistory) -> ControlFlow<()> + 'a;

/// A concurrent ordered map from key to history.
///
/// It may be split into partitions by key; order over partitions is made by
/// [`select`] and [`KeyScan`].
pub trait Memtable: Debug + Send + Sync {
    /// Puts `value` at a revision, which must be newer than the key's newest. Copies the
    /// key and the value, which may be slices of a larger buffer.
    fn put(&self, key: &[u8], write: &PutWrite<'_>) -> Written;

    /// Deletes a key at a revision; `None`, and nothing happens, if it does not exist.
    fn delete(&self, key: &[u8], revision: i64, sub_revision: i64) -> Option<Written>;

    /// Appends a version as it stands; returns the key as stored.
    fn load(&self, key: &[u8], version: Version) -> Bytes;

    /// Shows the history of one key, if there is one.
    fn with_history(&self, key: &[u8], visit: &mut dyn FnMut(&Bytes, &KeyHistory));

    /// Forgets what a compaction at `floor` leaves unreachable in one key.
    fn trim(&self, key: &[u8], floor: i64) -> Trimmed;

    /// Number of partitions, at least one.
    fn partitions(&self) -> usize;

    /// Visits the keys of one partition that are inside `range`, in order, until told to
    /// stop. The partition is locked meanwhile: `visit` must not come back.
    fn visit(&self, partition: usize, range: &KeyRange, visit: &mut Visit<'_>);

    /// The version of a key at `revision`, unless it does not exist there.
    fn get(&self, key: &[u8], revision: i64) -> Option<Live> {
        let mut found = None;
        self.with_history(key, &mut |key, history| {
            found = Live::at(key, history, revision);
        });
        found
    }
}

/// A put as [`Memtable::put`] takes it.
#[derive(Clone, Copy, Debug)]
pub struct PutWrite<'a> {
    /// The revision of the write.
    pub revision: i64,
    /// Its ordinal within the revision.
    pub sub_revision: i64,
    /// The value.
    pub value: &'a [u8],
    /// The lease, 0 for none.
    pub lease: i64,
}

impl PutWrite<'_> {
    /// The version that this put makes of a key with that live version before.
    pub fn version(&self, previous: Option<&Version>) -> Version {
        let previous = previous.and_then(|version| version.put.as_ref());
        Version {
            mod_revision: self.revision,
            sub_revision: self.sub_revision,
            put: Some(crate::history::Put {
                create_revision: previous.map_or(self.revision, |put| put.create_revision),
                version: previous.map_or(0, |put| put.version) + 1,
                lease: self.lease,
                value: Bytes::copy_from_slice(self.value),
            }),
        }
    }
}

/// What a write found and left.
#[derive(Clone, Debug)]
pub struct Written {
    /// The key as stored, to be kept without holding on to a larger buffer.
    pub key: Bytes,
    /// What the key was before, if it existed.
    pub previous: Option<Version>,
    /// Growth of the table in bytes.
    pub added_bytes: usize,
}

/// What [`Memtable::trim`] gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Approximate memory in bytes.
    pub bytes: usize,
}

/// The write side of one ordered map, shared by the forms of [`Memtable`].
type Map = std::collections::BTreeMap<Bytes, KeyHistory>;

/// Bounds that hold one key: BTreeMap hands out a stored key together with a mutable value
/// only by a range.
fn only(key: &[u8]) -> KeyBounds<'_> {
    (Bound::Included(key), Bound::Included(key))
}

fn map_put(map: &mut Map, key: &[u8], write: &PutWrite<'_>) -> Written {
    if let Some((stored, history)) = map.range_mut::<[u8], _>(only(key)).next() {
        let previous = history.live().cloned();
        sometimes!(previous.is_none(), "store.key-put-again-after-deletion");
        let version = write.version(previous.as_ref());
        let added_bytes = version.size_bytes();
        history.append(version);
        return Written {
            key: stored.clone(),
            previous,
            added_bytes,
        };
    }
    let version = write.version(None);
    let added_bytes = version.size_bytes() + key.len();
    let stored = Bytes::copy_from_slice(key);
    map.insert(stored.clone(), KeyHistory::new(version));
    Written {
        key: stored,
        previous: None,
        added_bytes,
    }
}

fn map_delete(map: &mut Map, key: &[u8], revision: i64, sub_revision: i64) -> Option<Written> {
    let (stored, history) = map.range_mut::<[u8], _>(only(key)).next()?;
    let previous = history.live()?.clone();
    let tombstone = Version {
        mod_revision: revision,
        sub_revision,
        put: None,
    };
    let added_bytes = tombstone.size_bytes();
    history.append(tombstone);
    Some(Written {
        key: stored.clone(),
        previous: Some(previous),
        added_bytes,
    })
}

fn map_load(map: &mut Map, key: &[u8], version: Version) -> Bytes {
    if let Some((stored, history)) = map.range_mut::<[u8], _>(only(key)).next() {
        history.append(version);
        return stored.clone();
    }
    let stored = Bytes::copy_from_slice(key);
    map.insert(stored.clone(), KeyHistory::new(version));
    stored
}

fn map_trim(map: &mut Map, key: &[u8], floor: i64) -> Trimmed {
    let mut trimmed = Trimmed::default();
    let Some(history) = map.get_mut(key) else {
        return trimmed;
    };
    trimmed.bytes = history
        .trim(floor)
        .map(|version| version.size_bytes())
        .sum();
    if history.is_empty() {
        reachable!("store.deleted-key-was-forgotten");
        trimmed.bytes += key.len();
        map.remove(key);
    }
    trimmed
}

fn map_with_history(map: &Map, key: &[u8], visit: &mut dyn FnMut(&Bytes, &KeyHistory)) {
    if let Some((stored, history)) = map.get_key_value(key) {
        visit(stored, history);
    }
}

fn map_visit(map: &Map, range: &KeyRange, visit: &mut Visit<'_>) {
    let Some(bounds) = range.bounds() else {
        return;
    };
    for (key, history) in map.range::<[u8], _>(bounds) {
        if visit(key, history).is_break() {
            return;
        }
    }
}
