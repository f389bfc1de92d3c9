//! The versions of one key (etcd: `mvcc/key_index.go`).

use bytes::Bytes;
use veridical_probe::always;
use veridical_proto::mvccpb::KeyValue;

/// One write of one key: a put or a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Revision of the write.
    pub mod_revision: i64,
    /// Ordinal of the write within its revision.
    pub sub_revision: i64,
    /// What was put, or `None` for a deletion (a tombstone).
    pub put: Option<Put>,
}

/// What a put leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Revision of the put that created the key.
    pub create_revision: i64,
    /// Number of puts since then, this one included.
    pub version: i64,
    /// The attached lease, 0 for none.
    pub lease: i64,
    /// The value.
    pub value: Bytes,
}

impl Version {
    /// The key-value pair of a put; `None` for a tombstone.
    pub fn key_value(&self, key: &Bytes) -> Option<KeyValue> {
        let put = self.put.as_ref()?;
        Some(KeyValue {
            key: key.clone(),
            create_revision: put.create_revision,
            mod_revision: self.mod_revision,
            version: put.version,
            value: put.value.clone(),
            lease: put.lease,
        })
    }

    /// Approximate memory in bytes, apart from the key.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.put.as_ref().map_or(0, |put| put.value.len())
    }
}

/// The versions of one key that have not been compacted away, oldest first; never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHistory {
    versions: Vec<Version>,
}

impl KeyHistory {
    /// A key's first version.
    pub fn new(version: Version) -> Self {
        // Most keys have one version: `vec!` does not over-allocate.
        Self {
            versions: vec![version],
        }
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// Adds a version.
    ///
    /// # Panics
    /// If it is not newer than all others.
    pub fn append(&mut self, version: Version) {
        let newest = self.versions.last().expect("a history is never empty");
        always!(
            (version.mod_revision, version.sub_revision)
                > (newest.mod_revision, newest.sub_revision),
            "store.versions-are-in-order-of-revision",
            "{version:?} after {newest:?}"
        );
        self.versions.push(version);
    }

    /// The newest version at `revision`, a tombstone included.
    pub fn at(&self, revision: i64) -> Option<&Version> {
        self.versions[..self.count_until(revision)].last()
    }

    /// The newest version of all, if it is not a tombstone.
    pub fn live(&self) -> Option<&Version> {
        self.versions.last().filter(|version| version.put.is_some())
    }

    /// The version written at exactly this place.
    pub fn exactly(&self, mod_revision: i64, sub_revision: i64) -> Option<&Version> {
        let place = (mod_revision, sub_revision);
        self.versions
            .binary_search_by_key(&place, |version| {
                (version.mod_revision, version.sub_revision)
            })
            .ok()
            .map(|at| &self.versions[at])
    }

    /// The versions up to `revision` that a compaction at `compacted` leaves: those
    /// needed to read at any revision from `compacted` on, and to watch from it.
    pub fn retained(&self, compacted: i64, revision: i64) -> &[Version] {
        let until = self.count_until(revision);
        &self.versions[self.first_retained(compacted).min(until)..until]
    }

    /// Drops what a compaction at `floor` does not leave; returns what was dropped. The
    /// history may then be empty, and has to be removed.
    pub(crate) fn trim(&mut self, floor: i64) -> std::vec::Drain<'_, Version> {
        let first = self.first_retained(floor);
        self.versions.drain(..first)
    }

    /// The versions that a compaction at `floor` does not leave.
    pub(crate) fn forgotten(&self, floor: i64) -> &[Version] {
        &self.versions[..self.first_retained(floor)]
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// How many versions have a revision of at most `revision`.
    fn count_until(&self, revision: i64) -> usize {
        // The newest is asked for most.
        match self.versions.last() {
            Some(newest) if newest.mod_revision <= revision => self.versions.len(),
            _ => self
                .versions
                .partition_point(|version| version.mod_revision <= revision),
        }
    }

    /// Index of the first version that a compaction at `compacted` leaves.
    fn first_retained(&self, compacted: i64) -> usize {
        // Everything written at `compacted` stays, tombstones too: a watch may begin
        // there. Of what is older only the newest can still be read, unless it is a
        // tombstone or was overwritten by then.
        let older = self
            .versions
            .partition_point(|version| version.mod_revision < compacted);
        if older == 0 {
            return 0;
        }
        let overwritten = self
            .versions
            .get(older)
            .is_some_and(|next| next.mod_revision == compacted);
        if overwritten || self.versions[older - 1].put.is_none() {
            older
        } else {
            older - 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(revision: i64) -> Version {
        Version {
            mod_revision: revision,
            sub_revision: 0,
            put: Some(Put {
                create_revision: revision,
                version: 1,
                lease: 0,
                value: Bytes::new(),
            }),
        }
    }

    fn tombstone(revision: i64) -> Version {
        Version {
            mod_revision: revision,
            sub_revision: 0,
            put: None,
        }
    }

    fn history(versions: &[Version]) -> KeyHistory {
        let mut history = KeyHistory::new(versions[0].clone());
        for version in &versions[1..] {
            history.append(version.clone());
        }
        history
    }

    fn revisions(versions: &[Version]) -> Vec<i64> {
        versions
            .iter()
            .map(|version| version.mod_revision)
            .collect()
    }

    #[test]
    fn a_read_finds_the_newest_version_that_is_not_newer() {
        let history = history(&[put(2), put(5), tombstone(7), put(9)]);
        let found = |revision| history.at(revision).map(|version| version.mod_revision);
        assert_eq!(
            [1, 2, 4, 5, 6, 7, 8, 9, 100].map(found),
            [
                None,
                Some(2),
                Some(2),
                Some(5),
                Some(5),
                Some(7),
                Some(7),
                Some(9),
                Some(9)
            ]
        );
        assert!(history.at(8).expect("found").put.is_none());
    }

    #[test]
    fn compaction_leaves_what_reads_and_watches_from_its_revision_need() {
        let full = history(&[put(2), put(5), tombstone(7), put(9), tombstone(11)]);
        let left = |compacted| revisions(full.retained(compacted, i64::MAX));
        assert_eq!(left(-1), [2, 5, 7, 9, 11]);
        assert_eq!(left(3), [2, 5, 7, 9, 11]);
        assert_eq!(left(5), [5, 7, 9, 11]);
        assert_eq!(left(6), [5, 7, 9, 11]);
        assert_eq!(left(7), [7, 9, 11]);
        assert_eq!(left(8), [9, 11]);
        assert_eq!(left(10), [9, 11]);
        assert_eq!(left(11), [11]);
        assert_eq!(left(12), [0i64; 0]);
        assert_eq!(revisions(full.retained(8, 10)), [9]);
    }

    #[test]
    fn every_read_at_or_above_the_compacted_revision_is_unchanged_by_it() {
        let full = history(&[put(2), put(5), tombstone(7), put(9), tombstone(11)]);
        for compacted in 1..14 {
            let mut trimmed = full.clone();
            trimmed.trim(compacted);
            for revision in compacted..15 {
                let live = |history: &KeyHistory| {
                    history
                        .at(revision)
                        .filter(|version| version.put.is_some())
                        .cloned()
                };
                assert_eq!(live(&trimmed), live(&full), "{compacted} {revision}");
            }
        }
    }
}
