//! What answers that wait behind a gap show of it.
//!
//! A pair has the number of writes since its key was created. Where a later pair of the
//! same life of the key is seen, the acknowledged writes in between are counted off: the
//! others were written by gaps.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use veridical_histories::etcd::{KeyValue, Request, Response};

use crate::etcd::intake::{Backlog, Evidence};
use crate::etcd::operation::Done;
use crate::etcd::replay::View;
use crate::etcd::stored::{Change, Stored};
use crate::etcd::visit::{visit_pairs, visit_puts};

/// The most waiting answers that are searched for pairs that did not change.
const UNCHANGED_SEARCH_MAX: usize = 4096;

/// The most revisions behind a gap whose pairs and writers are looked at.
const LATER_SEARCH_MAX: usize = 4096;

/// The facts about a gap that follow from the revisions behind it.
pub(super) struct LaterAnswers<'a> {
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
    /// The revision up to which those are complete, as far as they are known at all.
    searched: i64,
}

impl<'a> LaterAnswers<'a> {
    /// The facts about the gap at `gap`.
    pub fn behind(gap: i64, backlog: &'a Backlog) -> Self {
        let mut later = Self {
            gap,
            first: BTreeMap::new(),
            created: BTreeSet::new(),
            unchanged: BTreeSet::new(),
            puts: FxHashMap::default(),
            claimed: Vec::new(),
            searched: i64::MAX,
        };
        let waiting = backlog.observers_from(gap).flat_map(|(_, waiting)| waiting);
        for done in waiting.take(UNCHANGED_SEARCH_MAX) {
            later.unchanged.extend(unchanged_since_before(done, gap));
        }
        let seen = backlog.evidence_after(gap).take(LATER_SEARCH_MAX);
        for evidence in seen.flat_map(|(_, seen)| seen) {
            let Evidence::Wrote { kv, .. } = evidence else {
                continue;
            };
            later.first.entry(&kv.key).or_insert(kv);
            if kv.create_revision == gap {
                later.created.insert(&kv.key);
            }
        }
        for (revision, done) in backlog.writers_after(gap).take(LATER_SEARCH_MAX) {
            later.claimed.push(revision);
            visit_puts(&done.open.request, &done.response, &mut |put| {
                later.puts.entry(&put.key).or_default().push(revision);
            });
            later.unchanged.extend(unchanged_before_write(done, gap));
        }
        if let Some(last) = later.claimed.last()
            && later.claimed.len() == LATER_SEARCH_MAX
        {
            later.searched = *last;
        }
        later
    }

    /// Whether `changes` at the gap agree with these facts. `view` has the state in front
    /// of it, `forced` are the keys that it changes for certain there.
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
                // The gap has not deleted the key, and has written it only if a version is
                // left.
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
    let kvs = if let (Request::Range(range), Response::Range(result)) =
        (&done.open.request, &done.response)
        && (range.revision <= 0 || range.revision >= gap)
    {
        &result.kvs[..]
    } else {
        &[]
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
