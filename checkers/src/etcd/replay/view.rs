//! The certain content, what all hypotheses agree on and what one of them says, read as one.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;
use veridical_histories::etcd::KeyRange;

use crate::etcd::stored::Stored;

use super::agreed::Agreed;
use super::base::{Base, LogEntry, Version, Versions, version_at};
use super::overlay::Overlay;

/// The certain content, what all hypotheses agree on and what one of them says, read as one.
#[derive(Clone, Copy)]
pub(in crate::etcd) struct View<'a> {
    pub(super) base: &'a Base,
    pub(super) agreed: &'a Agreed,
    pub(super) overlay: &'a Overlay,
}

impl<'a> View<'a> {
    fn history(&self, key: &[u8]) -> KeyHistory<'a> {
        KeyHistory {
            base: self.base.versions(key),
            agreed: self.agreed.keys.get(key),
            own: self.overlay.versions(key),
        }
    }

    /// The key's present content, with a value as it was assumed.
    pub(super) fn last(&self, key: &[u8]) -> Option<&'a Stored> {
        self.history(key).at(i64::MAX)
    }

    /// The lease to which the key is attached now, 0 for none.
    pub(super) fn last_lease(&self, key: &[u8]) -> i64 {
        self.last(key).map_or(0, |stored| stored.lease)
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
        let agreed = bounds.clone().map(|bounds| self.agreed.keys.range(bounds));
        let own = bounds.map(|bounds| self.overlay.range(bounds));
        let merged = Merged {
            base: base.into_iter().flatten().peekable(),
            agreed: agreed.into_iter().flatten().peekable(),
            own: own.into_iter().flatten().peekable(),
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
            .map(|keys| &***keys)
            .or_else(|| self.agreed.attached.get(&lease))
            .or_else(|| self.base.attached().get(&lease))
            .into_iter()
            .flatten()
    }

    /// Leases with attached keys now, ascending.
    pub fn leases(&self) -> BTreeSet<i64> {
        self.base
            .attached()
            .keys()
            .chain(self.agreed.attached.keys())
            .chain(self.overlay.attached().keys())
            .copied()
            .filter(|lease| self.attached(*lease).next().is_some())
            .collect()
    }

    /// The last revision that is replayed here.
    pub fn last_revision(&self) -> i64 {
        let agreed = self.agreed.log.last_key_value().map(|(at, _)| *at);
        let own = self.overlay.log().last();
        let since = agreed.max(own);
        since.unwrap_or(self.base.revision())
    }

    /// The keys and the writer of `revision`; `None` where it is not replayed or forgotten.
    pub fn log(&self, revision: i64) -> Option<&'a LogEntry> {
        if revision <= self.base.revision() {
            return self.base.log(revision);
        }
        let agreed = self.agreed.log.get(&revision);
        agreed.or_else(|| self.overlay.log().get(revision))
    }
}

/// The versions of a key: the certain ones, and behind them those that all hypotheses agree on
/// among those of one alone.
#[derive(Clone, Copy)]
struct KeyHistory<'a> {
    base: Option<&'a Versions>,
    agreed: Option<&'a Versions>,
    own: Option<&'a Versions>,
}

impl<'a> KeyHistory<'a> {
    fn at(&self, revision: i64) -> Option<&'a Stored> {
        let last = |versions: Option<&'a Versions>| version_at(versions?, revision);
        let (agreed, own) = (last(self.agreed), last(self.own));
        let since = match (agreed, own) {
            (Some(agreed), Some(own)) if agreed.revision > own.revision => Some(agreed),
            (agreed, own) => own.or(agreed),
        };
        since.or_else(|| last(self.base))?.stored.as_ref()
    }

    fn versions(&self) -> impl Iterator<Item = &'a Version> + use<'a> {
        let parts = [self.base, self.agreed, self.own];
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

/// Three ordered sequences of keys as one.
struct Merged<B: Iterator, A: Iterator, O: Iterator> {
    base: std::iter::Peekable<B>,
    agreed: std::iter::Peekable<A>,
    own: std::iter::Peekable<O>,
}

impl<'a, B, A, O> Iterator for Merged<B, A, O>
where
    B: Iterator<Item = (&'a Bytes, &'a Versions)>,
    A: Iterator<Item = (&'a Bytes, &'a Versions)>,
    O: Iterator<Item = (&'a Bytes, &'a Versions)>,
{
    type Item = (&'a Bytes, KeyHistory<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let base = self.base.peek().map(|(key, _)| *key);
        let agreed = self.agreed.peek().map(|(key, _)| *key);
        let own = self.own.peek().map(|(key, _)| *key);
        let key = [base, agreed, own].into_iter().flatten().min()?;
        let is_key = |other: &(&Bytes, &Versions)| other.0 == key;
        let base = self.base.next_if(is_key);
        let agreed = self.agreed.next_if(is_key);
        let own = self.own.next_if(is_key);
        let history = KeyHistory {
            base: base.map(|(_, versions)| versions),
            agreed: agreed.map(|(_, versions)| versions),
            own: own.map(|(_, versions)| versions),
        };
        Some((key, history))
    }
}
