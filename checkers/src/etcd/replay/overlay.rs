//! The part of the replay that one hypothesis assumes alone: its versions since the last
//! certain revision, but for those that all hypotheses agree on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;
use std::sync::Arc;

use bytes::Bytes;

use crate::etcd::operation::Writer;
use crate::etcd::stored::{Change, Content, Stored};

use super::agreed::Agreed;
use super::base::{Base, LogEntry, Version, Versions, bytes_of_entry};
use super::metered::Metered;
use super::own_log::OwnLog;
use super::view::View;

/// The bytes that a small allocation takes beside its contents, with the room that a
/// sequence has to grow.
const ALLOCATION_BYTES: usize = 64;

/// The bytes that one entry of a tree takes which is no more than a number or a name and where
/// the rest is: trees keep room for as much again.
const TREE_ENTRY_BYTES: usize = 2 * size_of::<(Bytes, usize)>();

/// The content of each key that is not what it is for certain.
pub(in crate::etcd) type LastChanges<'a> = Vec<(&'a Bytes, Option<Content<'a>>)>;

/// The content that holds in one hypothesis, on top of the certain one and of what all of them
/// agree on: its own versions that came since. A clone shares what neither of the two changes.
#[derive(Clone, Debug, Default)]
pub(in crate::etcd) struct Overlay {
    keys: BTreeMap<Bytes, Arc<Metered<Versions>>>,
    log: OwnLog,
    attached: OwnAttached,
    /// Values that were assumed once and have become known, by key and revision.
    resolved: BTreeMap<(Bytes, i64), Stored>,
    /// Bytes of all that, estimated, as if nothing was shared.
    bytes: usize,
}

/// The keys attached to each lease.
type OwnAttached = BTreeMap<i64, Arc<Metered<BTreeSet<Bytes>>>>;

/// The tables of an overlay whose hypothesis has become certain.
pub(super) struct OverlayParts {
    pub keys: BTreeMap<Bytes, Arc<Metered<Versions>>>,
    pub log: OwnLog,
    pub attached: OwnAttached,
    pub resolved: BTreeMap<(Bytes, i64), Stored>,
}

impl Overlay {
    pub fn is_empty(&self) -> bool {
        self.log.is_empty() && self.resolved.is_empty()
    }

    /// Bytes held, estimated, as if nothing of it was shared with other hypotheses.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes held beside content that may be shared, estimated.
    pub fn table_bytes(&self) -> usize {
        let entries = self.keys.len() + self.log.chunks() + self.attached.len();
        entries * TREE_ENTRY_BYTES + self.resolved_bytes()
    }

    fn resolved_bytes(&self) -> usize {
        let keys = self.resolved.keys();
        let of_each = keys.map(|(key, _)| 2 * size_of::<((Bytes, i64), Stored)>() + key.len());
        of_each.sum()
    }

    pub(super) fn into_parts(self) -> OverlayParts {
        OverlayParts {
            keys: self.keys,
            log: self.log,
            attached: self.attached,
            resolved: self.resolved,
        }
    }

    /// The revisions that this hypothesis has its own changes of.
    pub(super) fn log(&self) -> &OwnLog {
        &self.log
    }

    pub(super) fn versions(&self, key: &[u8]) -> Option<&Versions> {
        self.keys.get(key).map(|versions| &***versions)
    }

    /// The keys of a range in order.
    pub(super) fn range(
        &self,
        bounds: impl RangeBounds<Bytes>,
    ) -> impl Iterator<Item = (&Bytes, &Versions)> {
        let keys = self.keys.range::<Bytes, _>(bounds);
        keys.map(|(key, versions)| (key, &***versions))
    }

    /// The keys of each lease that has others than for certain; a set may be empty.
    pub(super) fn attached(&self) -> &OwnAttached {
        &self.attached
    }

    /// Carries out the next revision, which is `revision`, in this hypothesis alone.
    pub(super) fn commit(
        &mut self,
        base: &Base,
        agreed: &Agreed,
        revision: i64,
        changes: Vec<Change>,
        writer: Writer,
    ) {
        let next = self.on(base, agreed).last_revision() + 1;
        assert_eq!(revision, next, "hypotheses leave no revision out");
        assert!(!changes.is_empty(), "revision {revision} changes a key");
        let keys: Arc<[Bytes]> = changes.iter().map(|(key, _)| key.clone()).collect();
        self.bytes += bytes_of_entry(&keys);
        for (key, stored) in changes {
            let old_lease = self.on(base, agreed).last_lease(&key);
            let new_lease = stored.as_ref().map_or(0, |stored| stored.lease);
            let bytes = &mut self.bytes;
            let versions = self.keys.entry(key.clone()).or_insert_with(|| {
                *bytes += TREE_ENTRY_BYTES + ALLOCATION_BYTES;
                let none = Versions::new();
                Arc::new(Metered::new(none, ALLOCATION_BYTES, &agreed.meter))
            });
            // All hypotheses share the bytes of the value.
            let added = 2 * size_of::<Version>();
            *bytes += added;
            let versions = Arc::make_mut(versions).grow(added);
            versions.push_back(Version { revision, stored });
            if old_lease != new_lease {
                self.attach(base, agreed, &key, old_lease, false);
                self.attach(base, agreed, &key, new_lease, true);
            }
        }
        let entry = LogEntry { keys, writer };
        self.log.push(revision, entry, &agreed.meter);
    }

    /// The content of this hypothesis.
    fn on<'a>(&'a self, base: &'a Base, agreed: &'a Agreed) -> View<'a> {
        View {
            base,
            agreed,
            overlay: self,
        }
    }

    /// Attaches `key` to `lease`, or detaches it; lease 0 stands for none.
    fn attach(&mut self, base: &Base, agreed: &Agreed, key: &Bytes, lease: i64, is_attached: bool) {
        if lease == 0 {
            return;
        }
        let bytes = &mut self.bytes;
        let attached = self.attached.entry(lease).or_insert_with(|| {
            let shared = agreed.attached.get(&lease);
            let shared = shared.or_else(|| base.attached().get(&lease));
            let keys = shared.cloned().unwrap_or_default();
            let added = ALLOCATION_BYTES + 2 * keys.len() * size_of::<Bytes>();
            *bytes += TREE_ENTRY_BYTES + added;
            Arc::new(Metered::new(keys, added, &agreed.meter))
        });
        let added = 2 * size_of::<Bytes>();
        *bytes += added;
        let attached = Arc::make_mut(attached).grow(added);
        if is_attached {
            attached.insert(key.clone());
        } else {
            attached.remove(key);
        }
    }

    /// The value that was assumed when `stored` was written is `value`.
    pub fn resolve(&mut self, key: &Bytes, stored: &Stored, value: Bytes) {
        assert!(
            stored.is_assumed,
            "a value that is known is not resolved again"
        );
        let known = Stored {
            value,
            is_assumed: false,
            ..stored.clone()
        };
        self.bytes += 2 * size_of::<((Bytes, i64), Stored)>() + key.len();
        self.resolved
            .insert((key.clone(), stored.mod_revision), known);
    }

    /// The content with its value as it has become known since, if it has.
    pub(super) fn as_resolved<'a>(&'a self, key: &[u8], stored: &'a Stored) -> &'a Stored {
        if !stored.is_assumed || self.resolved.is_empty() {
            return stored;
        }
        let place = (Bytes::copy_from_slice(key), stored.mod_revision);
        self.resolved.get(&place).unwrap_or(stored)
    }

    /// The present contents of the keys that differ in them from what is certain or agreed on.
    pub(super) fn last_changes<'a>(
        &'a self,
        base: &'a Base,
        agreed: &'a Agreed,
    ) -> LastChanges<'a> {
        let own = self.on(base, agreed);
        let resolved = self.resolved.keys().map(|(key, _)| key);
        let touched: BTreeSet<&Bytes> = self.keys.keys().chain(resolved).collect();
        let changes = touched.into_iter().filter_map(|key| {
            let before = agreed.last(base, key).map(Content::of);
            let now = own
                .last(key)
                .map(|stored| Content::of(self.as_resolved(key, stored)));
            (before != now).then_some((key, now))
        });
        changes.collect()
    }

    /// The keys whose versions differ, and the first revision from which on both have the same
    /// ones, provided that both come to the same state.
    pub(super) fn differences(&self, other: &Self, agreed: &Agreed) -> (Vec<Bytes>, i64) {
        let keys: BTreeSet<&Bytes> = self.keys.keys().chain(other.keys.keys()).collect();
        let mut until = 0;
        let differing = keys.into_iter().filter(|key| {
            let (own, theirs) = (self.versions(key), other.versions(key));
            let is_different = differ(own, theirs);
            if is_different {
                let last = |versions: Option<&Versions>| Some(versions?.back()?.revision);
                let last = last(own).max(last(theirs)).unwrap_or(0);
                until = until.max(agreed.next_change(key, last).unwrap_or(last));
            }
            is_different
        });
        let differing = differing.cloned().collect();
        (differing, until)
    }
}

/// Whether two hypotheses have other versions of a key: other revisions, other contents, or
/// a value that only one of them assumes.
fn differ(own: Option<&Versions>, theirs: Option<&Versions>) -> bool {
    let outlines = |versions: Option<&Versions>| -> Vec<_> {
        let versions = versions.into_iter().flatten();
        versions
            .map(|v| {
                (
                    v.revision,
                    v.stored.as_ref().map(|stored| stored.is_assumed),
                )
            })
            .collect()
    };
    let pairs = own.into_iter().flatten().zip(theirs.into_iter().flatten());
    outlines(own) != outlines(theirs) || { pairs }
        .any(|(a, b)| a.stored.as_ref().map(Content::of) != b.stored.as_ref().map(Content::of))
}
