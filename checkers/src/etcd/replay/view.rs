//! The certain content and that of one hypothesis, read as one.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;
use veridical_histories::etcd::KeyRange;

use crate::etcd::stored::Stored;

use super::base::{Base, LogEntry, Version, Versions, at};
use super::overlay::Overlay;

/// The certain content and that of one hypothesis, read as one.
#[derive(Clone, Copy)]
pub(in crate::etcd) struct View<'a> {
    pub(super) base: &'a Base,
    pub(super) overlay: &'a Overlay,
}

impl<'a> View<'a> {
    fn history(&self, key: &[u8]) -> KeyHistory<'a> {
        KeyHistory {
            base: self.base.versions(key),
            since: self.overlay.versions(key),
        }
    }

    /// The key's content after `revision`.
    pub fn get(&self, key: &[u8], revision: i64) -> Option<&'a Stored> {
        let stored = self.history(key).at(revision)?;
        Some(self.overlay.as_resolved(key, stored))
    }

    /// Whether the key does not exist after some revision in `first..=last`.
    pub fn absent_within(&self, key: &[u8], first: i64, last: i64) -> bool {
        let history = self.history(key);
        history.at(first).is_none()
            || history
                .versions()
                .any(|v| v.stored.is_none() && (first..=last).contains(&v.revision))
    }

    /// Existing keys of `range` after `revision`, in order of key.
    pub fn range(
        &self,
        range: &KeyRange,
        revision: i64,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Stored)> + use<'a> {
        let bounds = bounds_of(range);
        let base = bounds.clone().map(|bounds| self.base.keys().range(bounds));
        let over = bounds.map(|bounds| self.overlay.keys().range::<Bytes, _>(bounds));
        let merged = Merged {
            base: base.into_iter().flatten().peekable(),
            over: over.into_iter().flatten().peekable(),
        };
        let overlay = self.overlay;
        merged.filter_map(move |(key, history)| {
            let stored = history.at(revision)?;
            Some((key, overlay.as_resolved(key, stored)))
        })
    }

    /// Keys attached to `lease` now, in order.
    pub fn attached(&self, lease: i64) -> impl Iterator<Item = &'a Bytes> + use<'a> {
        self.overlay
            .attached()
            .get(&lease)
            .or_else(|| self.base.attached().get(&lease))
            .into_iter()
            .flatten()
    }

    /// Leases with attached keys now, ascending.
    pub fn leases(&self) -> BTreeSet<i64> {
        self.base
            .attached()
            .keys()
            .chain(self.overlay.attached().keys())
            .copied()
            .filter(|lease| self.attached(*lease).next().is_some())
            .collect()
    }

    /// The last revision that is replayed here.
    pub fn last_revision(&self) -> i64 {
        self.base.revision() + self.overlay.revisions() as i64
    }

    /// The keys and the writer of `revision`; `None` where it is not replayed or forgotten.
    pub fn log(&self, revision: i64) -> Option<&'a LogEntry> {
        let behind = revision - self.base.revision() - 1;
        match usize::try_from(behind) {
            Ok(index) => self.overlay.log(index),
            Err(_) => self.base.log(revision),
        }
    }
}

/// The versions of a key: the certain ones, then those of the hypothesis.
#[derive(Clone, Copy)]
struct KeyHistory<'a> {
    base: Option<&'a Versions>,
    since: Option<&'a Versions>,
}

impl<'a> KeyHistory<'a> {
    fn at(&self, revision: i64) -> Option<&'a Stored> {
        match self.since {
            Some(since) if since.front()?.revision <= revision => at(since, revision),
            _ => at(self.base?, revision),
        }
    }

    fn versions(&self) -> impl Iterator<Item = &'a Version> + use<'a> {
        let parts = [self.base, self.since];
        parts.into_iter().flatten().flatten()
    }
}

type KeyBounds = (Bound<Bytes>, Bound<Bytes>);

/// The bounds of a range, `None` where it is empty.
fn bounds_of(range: &KeyRange) -> Option<KeyBounds> {
    let first = Bound::Included(range.key.clone());
    if range.is_single() {
        Some((first, Bound::Included(range.key.clone())))
    } else if range.is_unbounded() {
        Some((first, Bound::Unbounded))
    } else {
        (range.key < range.range_end).then(|| (first, Bound::Excluded(range.range_end.clone())))
    }
}

/// Two ordered sequences of keys as one.
struct Merged<B: Iterator, O: Iterator> {
    base: std::iter::Peekable<B>,
    over: std::iter::Peekable<O>,
}

impl<'a, B, O> Iterator for Merged<B, O>
where
    B: Iterator<Item = (&'a Bytes, &'a Versions)>,
    O: Iterator<Item = (&'a Bytes, &'a Versions)>,
{
    type Item = (&'a Bytes, KeyHistory<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        use std::cmp::Ordering;
        let order = match (self.base.peek(), self.over.peek()) {
            (_, None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((base, _)), Some((over, _))) => base.cmp(over),
        };
        let base = order.is_le().then(|| self.base.next()).flatten();
        let over = order.is_ge().then(|| self.over.next()).flatten();
        let (key, _) = base.or(over)?;
        let history = KeyHistory {
            base: base.map(|(_, versions)| versions),
            since: over.map(|(_, versions)| versions),
        };
        Some((key, history))
    }
}
