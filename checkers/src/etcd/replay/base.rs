//! The part of the replay that is certain: every key's versions over a window of
//! revisions, the keys changed by each revision, and the keys attached to each lease.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::etcd::operation::Writer;
use crate::etcd::stored::{Change, Stored};

use super::agreed::{Agreed, AgreedParts};
use super::key_table::KeyTable;
use super::overlay::{Overlay, OverlayParts};

/// The content of a key from one revision on; `None` where it was deleted.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub revision: i64,
    pub stored: Option<Stored>,
}

/// The versions of a key, ascending by revision.
pub(super) type Versions = VecDeque<Version>;

/// The keys attached to each lease.
pub(super) type Attached = BTreeMap<i64, BTreeSet<Bytes>>;

/// One revision as it was replayed.
#[derive(Clone, Debug)]
pub(in crate::etcd) struct LogEntry {
    pub keys: Arc<[Bytes]>,
    pub writer: Writer,
}

pub(super) fn bytes_of(version: &Version) -> usize {
    let value = version
        .stored
        .as_ref()
        .map_or(0, |stored| stored.value.len());
    size_of::<Version>() + value
}

fn bytes_of_all(versions: &Versions) -> usize {
    versions.iter().map(bytes_of).sum()
}

pub(super) fn bytes_of_entry(keys: &[Bytes]) -> usize {
    let lengths: usize = keys.iter().map(Bytes::len).sum();
    size_of::<LogEntry>() + std::mem::size_of_val(keys) + lengths
}

/// The last of these versions that is there after `revision`.
pub(super) fn version_at(versions: &Versions, revision: i64) -> Option<&Version> {
    let last = versions.back()?;
    if last.revision <= revision {
        return Some(last);
    }
    let newer = versions.partition_point(|version| version.revision <= revision);
    versions.get(newer.checked_sub(1)?)
}

/// The lease of the last version, 0 where there is none.
pub(super) fn last_lease(versions: Option<&Versions>) -> i64 {
    versions
        .and_then(|versions| versions.back()?.stored.as_ref())
        .map_or(0, |stored| stored.lease)
}

/// The revisions that are certain.
#[derive(Debug, Default)]
pub(super) struct Base {
    keys: KeyTable,
    log: VecDeque<LogEntry>,
    /// The revision of the first entry of `log`.
    log_start: i64,
    attached: Attached,
    /// Bytes of versions and log, estimated.
    bytes: usize,
}

impl Base {
    pub fn new(initial_revision: i64) -> Self {
        Self {
            log_start: initial_revision + 1,
            ..Self::default()
        }
    }

    /// The last certain revision.
    pub fn revision(&self) -> i64 {
        self.log_start + self.log.len() as i64 - 1
    }

    /// The first revision whose log entry is kept; states from the one before it on can
    /// be read.
    pub fn log_start(&self) -> i64 {
        self.log_start
    }

    /// The entry of a certain revision that is kept.
    pub fn log(&self, revision: i64) -> Option<&LogEntry> {
        self.log
            .get(usize::try_from(revision - self.log_start).ok()?)
    }

    pub fn versions(&self, key: &[u8]) -> Option<&Versions> {
        self.keys.get(key)
    }

    /// All keys.
    pub fn keys(&self) -> &KeyTable {
        &self.keys
    }

    /// The keys attached to each lease; none of the sets is empty.
    pub fn attached(&self) -> &Attached {
        &self.attached
    }

    /// Bytes held, estimated; without those of the tables.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many revisions are held.
    pub fn kept_revisions(&self) -> usize {
        self.log.len()
    }

    /// Takes in a key that was there before the first revision that is replayed.
    pub fn insert_initial(&mut self, key: Bytes, stored: Stored) {
        assert!(self.log.is_empty(), "what was there comes before the log");
        assert!(
            stored.mod_revision < self.log_start,
            "what was there is not from the future"
        );
        let version = Version {
            revision: stored.mod_revision,
            stored: Some(stored),
        };
        self.bytes += bytes_of(&version);
        let versions = self.keys.get_or_add(&key);
        assert!(versions.is_empty(), "a key is there once");
        versions.push_back(version);
    }

    /// Carries out the next revision.
    pub fn commit(&mut self, changes: Vec<Change>, writer: Writer) {
        let revision = self.revision() + 1;
        assert!(
            !changes.is_empty(),
            "revision {revision} exists, so it changes a key"
        );
        let keys: Arc<[Bytes]> = changes.iter().map(|(key, _)| key.clone()).collect();
        self.bytes += bytes_of_entry(&keys);
        for (key, stored) in changes {
            let new_lease = stored.as_ref().map_or(0, |stored| stored.lease);
            let versions = self.keys.get_or_add(&key);
            let old_lease = last_lease(Some(versions));
            let version = Version { revision, stored };
            self.bytes += bytes_of(&version);
            versions.push_back(version);
            if old_lease != new_lease {
                self.move_between_leases(key, old_lease, new_lease);
            }
        }
        self.log.push_back(LogEntry { keys, writer });
    }

    /// Attaches `key` to another lease; 0 stands for none.
    fn move_between_leases(&mut self, key: Bytes, from: i64, to: i64) {
        if from != 0
            && let Some(keys) = self.attached.get_mut(&from)
        {
            keys.remove(&key);
            if keys.is_empty() {
                self.attached.remove(&from);
            }
        }
        if to != 0 {
            self.attached.entry(to).or_default().insert(key);
        }
    }

    /// Takes over a hypothesis that turned out to be the only one left, and what all have
    /// agreed on.
    pub fn absorb(&mut self, agreed: &mut Agreed, overlay: Overlay) {
        let OverlayParts {
            keys,
            log,
            attached,
            resolved,
        } = overlay.into_parts();
        let AgreedParts {
            keys: agreed_keys,
            log: mut all,
            attached: agreed_attached,
        } = agreed.take_parts();
        for (key, versions) in agreed_keys {
            self.extend(&key, versions);
        }
        for (key, versions) in keys {
            self.extend(&key, Arc::unwrap_or_clone(versions).into_content());
        }
        all.extend(log.into_entries());
        for (revision, entry) in all {
            let next = self.revision() + 1;
            assert_eq!(revision, next, "a hypothesis begins behind what is certain");
            self.bytes += bytes_of_entry(&entry.keys);
            self.log.push_back(entry);
        }
        let attached = attached.into_iter();
        let own = attached.map(|(lease, keys)| (lease, Arc::unwrap_or_clone(keys).into_content()));
        for (lease, keys) in agreed_attached.into_iter().chain(own) {
            if keys.is_empty() {
                self.attached.remove(&lease);
            } else {
                self.attached.insert(lease, keys);
            }
        }
        for ((key, revision), known) in resolved {
            let versions = self.keys.get_mut(&key);
            let version = versions.and_then(|versions| {
                let number = versions.partition_point(|version| version.revision < revision);
                versions.get_mut(number).filter(|v| v.revision == revision)
            });
            // A version that was forgotten meanwhile need not be known any more.
            if let Some(version) = version {
                self.bytes -= bytes_of(version);
                version.stored = Some(known);
                self.bytes += bytes_of(version);
            }
        }
    }

    /// Adds versions of a key, each where its revision puts it.
    fn extend(&mut self, key: &Bytes, versions: Versions) {
        self.bytes += bytes_of_all(&versions);
        let all = self.keys.get_or_add(key);
        for version in versions {
            let place = all.partition_point(|other| other.revision < version.revision);
            all.insert(place, version);
        }
    }

    /// Forgets what only reads below `oldest` could see. The cost is amortised over the
    /// commits.
    pub fn collect_garbage(&mut self, oldest: i64) {
        while self.log_start <= oldest {
            let Some(entry) = self.log.pop_front() else {
                break;
            };
            let revision = self.log_start;
            self.log_start += 1;
            self.bytes -= bytes_of_entry(&entry.keys);
            for key in entry.keys.iter() {
                let Some(versions) = self.keys.get_mut(key) else {
                    continue;
                };
                // All before the newest version that is not above `revision` is dead.
                let dead = versions
                    .partition_point(|v| v.revision <= revision)
                    .saturating_sub(1);
                self.bytes -= versions
                    .drain(..dead)
                    .map(|dead| bytes_of(&dead))
                    .sum::<usize>();
                if versions.len() == 1
                    && versions[0].stored.is_none()
                    && versions[0].revision <= revision
                {
                    self.bytes -= bytes_of_all(versions);
                    self.keys.remove(key);
                }
            }
        }
    }
}
