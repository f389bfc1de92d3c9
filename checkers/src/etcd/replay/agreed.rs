//! The part of the replay that every hypothesis assumes: what each of them says of revisions
//! behind the last certain one.
//!
//! Hypotheses differ in few keys. What they agree on is kept once, so that as many of them fit
//! into memory as there are differences, and a further one costs what is its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::etcd::operation::Writer;
use crate::etcd::stored::{Change, Stored};

use super::base::{Attached, Base, LogEntry, Version, Versions, bytes_of, bytes_of_entry};
use super::key_table::KeyTable;
use super::metered::Meter;
use super::overlay::Overlay;
use super::view::View;

/// What every hypothesis says of revisions behind the last certain one. Each has an [`Overlay`]
/// for what it says alone.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    pub(super) keys: KeyTable,
    pub(super) log: BTreeMap<i64, LogEntry>,
    /// The keys of each lease that has others than for certain; a set may be empty.
    pub(super) attached: Attached,
    /// Bytes of all that, estimated.
    bytes: usize,
    /// Counts what hypotheses have of their own.
    pub(super) meter: Meter,
}

/// The tables of what was agreed on, once a single hypothesis is left.
pub(super) struct AgreedParts {
    pub keys: KeyTable,
    pub log: BTreeMap<i64, LogEntry>,
    pub attached: Attached,
}

impl Agreed {
    /// Takes all out that was agreed on.
    pub(super) fn take_parts(&mut self) -> AgreedParts {
        self.bytes = 0;
        AgreedParts {
            keys: std::mem::take(&mut self.keys),
            log: std::mem::take(&mut self.log),
            attached: std::mem::take(&mut self.attached),
        }
    }

    /// Bytes of the content that hypotheses have of their own; what some of them share counts
    /// once.
    pub fn own_bytes(&self) -> usize {
        self.meter.bytes()
    }

    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The key's present content as far as it is certain or agreed on, with a value as it was
    /// assumed.
    pub fn last<'a>(&'a self, base: &'a Base, key: &[u8]) -> Option<&'a Stored> {
        let last = |versions: Option<&'a Versions>| versions?.back();
        let version = last(self.keys.get(key)).or_else(|| last(base.versions(key)));
        version?.stored.as_ref()
    }

    /// The first revision behind `revision` in which all change `key` to the same.
    pub fn next_change(&self, key: &[u8], revision: i64) -> Option<i64> {
        let versions = self.keys.get(key)?;
        let next = versions.partition_point(|version| version.revision <= revision);
        Some(versions.get(next)?.revision)
    }

    /// Whether the changes of the next revision, one set for each of `overlays`, mean the same
    /// in all of them.
    pub fn is_common(
        &self,
        base: &Base,
        overlays: &[&mut Overlay],
        changes_of_each: &[Vec<Change>],
    ) -> bool {
        let Some((first, others)) = changes_of_each.split_first() else {
            return false;
        };
        let mut changes = first.iter();
        others.iter().all(|changes| changes == first)
            && changes.all(|change| self.moves_alike(base, overlays, change))
    }

    /// Whether `change` moves its key from the same lease to the same lease in all hypotheses,
    /// none of which has other keys of those leases than the rest.
    fn moves_alike(&self, base: &Base, overlays: &[&mut Overlay], change: &Change) -> bool {
        let (key, new_lease) = (&change.0, lease_of(change));
        let old_lease_in = |overlay: &Overlay| {
            let view = View {
                base,
                agreed: self,
                overlay,
            };
            view.last_lease(key)
        };
        let mut old_leases = overlays.iter().map(|overlay| old_lease_in(overlay));
        let Some(old_lease) = old_leases.next() else {
            return true;
        };
        let is_own = |lease: i64| {
            let mut overlays = overlays.iter();
            overlays.any(|overlay| overlay.attached().contains_key(&lease))
        };
        old_leases.all(|lease| lease == old_lease)
            && (old_lease == new_lease || !(is_own(old_lease) || is_own(new_lease)))
    }

    /// Carries out the next revision, whose changes are the same in all hypotheses; `one` is
    /// the overlay of any of them.
    pub fn commit(
        &mut self,
        base: &Base,
        one: &Overlay,
        revision: i64,
        changes: Vec<Change>,
        writer: Writer,
    ) {
        let view = View {
            base,
            agreed: self,
            overlay: one,
        };
        let next = view.last_revision() + 1;
        assert_eq!(revision, next, "what is agreed on leaves no revision out");
        assert!(!changes.is_empty(), "revision {revision} changes a key");
        let old_leases: Vec<i64> = { changes.iter() }
            .map(|(key, _)| view.last_lease(key))
            .collect();
        let keys: Arc<[Bytes]> = changes.iter().map(|(key, _)| key.clone()).collect();
        self.bytes += bytes_of_entry(&keys);
        for (change, old_lease) in changes.into_iter().zip(old_leases) {
            let new_lease = lease_of(&change);
            let (key, stored) = change;
            let version = Version { revision, stored };
            self.bytes += bytes_of(&version);
            self.keys.get_or_add(&key).push_back(version);
            if old_lease != new_lease {
                self.attach(base, &key, old_lease, false);
                self.attach(base, &key, new_lease, true);
            }
        }
        let before = self.log.insert(revision, LogEntry { keys, writer });
        assert!(before.is_none(), "a revision is agreed on once");
    }

    /// Attaches `key` to `lease`, or detaches it; lease 0 stands for none.
    fn attach(&mut self, base: &Base, key: &Bytes, lease: i64, is_attached: bool) {
        if lease == 0 {
            return;
        }
        let certain = || base.attached().get(&lease).cloned().unwrap_or_default();
        let attached = self.attached.entry(lease).or_insert_with(certain);
        self.bytes += size_of::<Bytes>();
        if is_attached {
            attached.insert(key.clone());
        } else {
            attached.remove(key);
        }
    }
}

/// The lease to which a change attaches its key, 0 for none.
fn lease_of((_, stored): &Change) -> i64 {
    stored.as_ref().map_or(0, |stored| stored.lease)
}
