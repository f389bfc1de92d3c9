//! What answers that wait behind a gap tell of it.
//!
//! A pair has the number of writes since its key was created. Where a later pair of the
//! same life is seen, the acknowledged writes in between are counted off: what is left was
//! written by gaps.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use veridical_histories::etcd::{KeyValue, Request, Response};

use super::observe::visit_puts;
use super::operation::Done;
use super::versions::{Change, Stored, View};
use super::world::{Evidence, visit_pairs};

/// How many waiting answers are searched for pairs that did not change.
const UNCHANGED_SEARCH_MAX: usize = 4096;

/// Revisions behind a gap whose pairs and writers are looked at for what they tell of it.
const LATER_SEARCH_MAX: usize = 4096;

/// What is known of the revisions behind a gap.
pub(super) struct Later<'a> {
    gap: i64,
    /// By key, the first pair written behind the gap.
    first: BTreeMap<&'a Bytes, &'a KeyValue>,
    /// Keys that the gap created.
    created: BTreeSet<&'a Bytes>,
    /// Keys that waiting answers show as unchanged since before the gap.
    unchanged: BTreeSet<&'a Bytes>,
    /// By key, the revisions behind the gap at which acknowledged operations put it,
    /// ascending.
    puts: FxHashMap<&'a Bytes, Vec<i64>>,
    /// All revisions behind the gap that acknowledged operations claim, ascending.
    claimed: Vec<i64>,
    /// Up to this revision those are complete, as far as they are known at all.
    searched: i64,
}

impl<'a> Later<'a> {
    /// Of the gap at `gap`.
    pub fn of(
        evidence: &'a BTreeMap<i64, Vec<Evidence>>,
        observers: &'a BTreeMap<i64, Vec<Done>>,
        writers: &'a BTreeMap<i64, Done>,
        gap: i64,
    ) -> Self {
        let mut unchanged = BTreeSet::new();
        let waiting = observers.range(gap..).flat_map(|(_, observers)| observers);
        for done in waiting.take(UNCHANGED_SEARCH_MAX) {
            unchanged.extend(unchanged_since_before(done, gap));
        }
        let mut first = BTreeMap::new();
        let mut created = BTreeSet::new();
        for evidence in evidence
            .range(gap + 1..)
            .take(LATER_SEARCH_MAX)
            .flat_map(|(_, seen)| seen)
        {
            let Evidence::Wrote { kv, .. } = evidence else {
                continue;
            };
            first.entry(&kv.key).or_insert(kv);
            if kv.create_revision == gap {
                created.insert(&kv.key);
            }
        }
        let mut puts: FxHashMap<&Bytes, Vec<i64>> = FxHashMap::default();
        let mut claimed = Vec::new();
        for (revision, done) in writers.range(gap + 1..).take(LATER_SEARCH_MAX) {
            claimed.push(*revision);
            visit_puts(&done.open.request, &done.response, &mut |put| {
                puts.entry(&put.key).or_default().push(*revision);
            });
            unchanged.extend(unchanged_before_write(done, gap));
        }
        let searched = match claimed.last() {
            Some(last) if claimed.len() == LATER_SEARCH_MAX => *last,
            _ => i64::MAX,
        };
        Self {
            gap,
            first,
            created,
            unchanged,
            puts,
            claimed,
            searched,
        }
    }

    /// Whether `changes` at the gap agree with it. `view` has the state in front of it,
    /// `forced` are the keys that it changes for certain there.
    pub fn allows(&self, view: View<'_>, forced: &[&Bytes], changes: &[Change]) -> bool {
        let gap = self.gap;
        let change_of = |key: &Bytes| {
            let change = changes.iter().find(|(changed, _)| changed == key)?;
            change.1.as_ref()
        };
        let creates =
            |key: &Bytes| change_of(key).is_some_and(|stored| stored.create_revision == gap);
        self.created.iter().all(|key| creates(key))
            && forced.iter().all(|key| change_of(key).is_some())
            && changes.iter().all(|(key, _)| !self.unchanged.contains(key))
            && changes.iter().all(|(key, stored)| {
                let Some((kv, before)) = self.same_life(view, key) else {
                    return true;
                };
                // The gap has not deleted it, and has written it only if a version is left.
                let behind = self.puts_up_to(key, kv.mod_revision)
                    + i64::from(self.claimed.binary_search(&kv.mod_revision).is_err());
                stored.is_some() && kv.version > before.version + behind
            })
    }

    /// The keys that the gap has written for certain: behind it there are fewer revisions
    /// that nobody claims than writes to the key that nobody has acknowledged.
    pub fn forced(&self, view: View<'_>) -> Vec<&'a Bytes> {
        let is_forced = |key: &&&'a Bytes| {
            let Some((kv, before)) = self.same_life(view, key) else {
                return false;
            };
            if kv.mod_revision > self.searched {
                return false;
            }
            let unacknowledged =
                kv.version - before.version - self.puts_up_to(key, kv.mod_revision);
            let claimed = self.claimed.partition_point(|at| *at <= kv.mod_revision) as i64;
            unacknowledged > kv.mod_revision - self.gap - claimed
        };
        self.first.keys().filter(is_forced).copied().collect()
    }

    /// The first pair behind the gap, and the content in front of it, if it is the same
    /// life of the key: it was not deleted in between.
    fn same_life<'v>(&self, view: View<'v>, key: &Bytes) -> Option<(&'a KeyValue, &'v Stored)> {
        let kv = *self.first.get(key)?;
        let before = view.get(key, self.gap - 1)?;
        // A version of 0 was not recorded.
        let is_same = kv.create_revision == before.create_revision && kv.version > 0;
        is_same.then_some((kv, before))
    }

    /// How often acknowledged operations put `key` behind the gap, up to `revision`.
    fn puts_up_to(&self, key: &Bytes, revision: i64) -> i64 {
        let puts = self.puts.get(key);
        puts.map_or(0, |puts| puts.partition_point(|at| *at <= revision) as i64)
    }
}

/// The keys that an answer shows as unchanged since before `gap`.
fn unchanged_since_before(done: &Done, gap: i64) -> impl Iterator<Item = &Bytes> {
    let kvs = match (&done.open.request, &done.response) {
        (Request::Range(range), Response::Range(result))
            if range.revision <= 0 || range.revision >= gap =>
        {
            &result.kvs[..]
        }
        _ => &[],
    };
    kvs.iter()
        .filter(move |kv| kv.mod_revision < gap)
        .map(|kv| &kv.key)
}

/// The keys that a write behind `gap` found unchanged since before it.
fn unchanged_before_write(done: &Done, gap: i64) -> Vec<&Bytes> {
    let mut keys = Vec::new();
    // A transaction may have read an old revision.
    if matches!(done.response, Response::Put(_) | Response::DeleteRange(_)) {
        visit_pairs(&done.open.request, &done.response, &mut |kv, _| {
            if kv.mod_revision < gap {
                keys.push(&kv.key);
            }
        });
    }
    keys
}
