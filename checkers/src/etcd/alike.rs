//! Hypotheses that came to the same state.
//!
//! A gap that is explained by a put of one key or of another leaves two hypotheses. Once
//! both keys were deleted, nothing that is read will ever tell them apart, and every
//! further gap would double them. What is left of the difference is which operation is
//! used up, and that is a slot with two ways; so the two become one again, and nothing is
//! lost. Old revisions still differ: who reads one of those later ends the ambiguity in
//! favour of the way that is kept, and from then on a contradiction proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use veridical_histories::OperationId;
use veridical_histories::etcd::KeyRange;

use super::EtcdChecker;
use super::slots::{Blur, Way};
use super::versions::LastChanges;
use super::world::World;
use crate::verdict::Cause;

/// With so many others it is tried whether one can be merged.
const MERGES_TRIED_MAX: usize = 64;

/// A hypothesis that has grown to so many bytes is merged if it can be.
const BYTES_MAX: usize = 128 << 10;

impl EtcdChecker {
    /// Makes one of hypotheses that differ only in who wrote one revision, if nobody can
    /// see that revision any more but by asking for it.
    pub(super) fn merge_alike(&mut self, revision: i64) {
        let worlds_max = self.options.alike_worlds_max;
        let is_small = |world: &World| world.overlay.bytes() <= BYTES_MAX;
        let are_few = self.worlds.len() <= worlds_max && self.worlds.iter().all(is_small);
        if self.worlds.len() < 2 || are_few {
            return;
        }
        let seen_until = self.oldest_in_flight();
        let mut worlds = std::mem::take(&mut self.worlds);
        let all = worlds.len();
        loop {
            let before = worlds.len();
            worlds = self.merged_once(worlds, seen_until);
            if worlds.len() == before {
                break;
            }
        }
        let exact = worlds.len();
        self.statistics.merged += (all - exact) as u64;
        if exact > self.options.distinct_worlds_max {
            worlds = self.thinned(worlds);
        }
        let is_loss = worlds.len() < exact;
        self.worlds = worlds;
        if is_loss {
            let text = format!("who wrote what was overwritten by revision {revision}");
            self.narrow(Cause::Configurations, text);
        }
        self.settle_hypotheses();
    }

    /// Each is merged with the first of those before it that it can be merged with.
    fn merged_once(&self, worlds: Vec<World>, seen_until: i64) -> Vec<World> {
        let mut places: FxHashMap<AllButOne, Vec<usize>> = FxHashMap::default();
        let mut kept: Vec<World> = Vec::new();
        for world in worlds {
            let parts = self.all_but_one(&world);
            let alike = parts.iter().filter_map(|part| places.get(part)).flatten();
            let merged = alike.take(MERGES_TRIED_MAX).find_map(|number| {
                let other = &kept[*number];
                let is_same = self.state(other) == self.state(&world);
                let merged = is_same.then(|| self.merged(other, &world, seen_until));
                Some((*number, merged.flatten()?))
            });
            let (number, parts) = match merged {
                Some((number, merged)) => {
                    let parts = self.all_but_one(&merged);
                    kept[number] = merged;
                    (number, parts)
                }
                None => {
                    kept.push(world);
                    (kept.len() - 1, parts)
                }
            };
            for part in parts {
                places.entry(part).or_default().push(number);
            }
        }
        kept
    }

    /// The state of a hypothesis with how it explains all revisions but one, for each of them: two
    /// that can be merged have one of these in common.
    fn all_but_one(&self, world: &World) -> Vec<AllButOne> {
        let state = fxhash(&self.state(world));
        let ways = self.ways(world);
        let hashes: Vec<(i64, u64)> = ways.iter().map(|way| (*way.0, fxhash(&way))).collect();
        let all = hashes.iter().fold(0u64, |sum, way| sum.wrapping_add(way.1));
        let part = |(revision, hash): &(i64, u64)| AllButOne {
            state,
            revision: *revision,
            others: all.wrapping_sub(*hash),
        };
        hashes.iter().map(part).collect()
    }

    /// One of each state is left.
    fn thinned(&self, worlds: Vec<World>) -> Vec<World> {
        let mut kept: FxHashMap<State<'_>, usize> = FxHashMap::default();
        for (number, world) in worlds.iter().enumerate() {
            let place = kept.entry(self.state(world)).or_insert(number);
            // What was called long ago and had no effect so far will hardly have one yet:
            // that it is used up is the safer assumption.
            if used(world) < used(&worlds[*place]) {
                *place = number;
            }
        }
        let numbers: BTreeSet<usize> = kept.into_values().collect();
        let numbered = worlds.into_iter().enumerate();
        numbered
            .filter(|(number, _)| numbers.contains(number))
            .map(|(_, world)| world)
            .collect()
    }

    fn state<'a>(&'a self, world: &'a World) -> State<'a> {
        let placed = world.placed.iter().map(|(op, at)| (*op, *at));
        State {
            changes: world.overlay.last_changes(&self.base),
            ended: world.ended.keys().copied().collect(),
            open: placed
                .filter(|(op, _)| !self.unknown.contains(*op))
                .collect(),
        }
    }

    /// Both as one with a slot of several ways. `None` if they differ in more than one
    /// revision, or if what is in flight may still tell them apart.
    fn merged(&self, one: &World, other: &World, seen_until: i64) -> Option<World> {
        let (ways, theirs) = (self.ways(one), self.ways(other));
        let mut differing = ways
            .keys()
            .chain(theirs.keys())
            .filter(|at| ways.get(at) != theirs.get(at));
        let revision = *differing.next()?;
        if differing.any(|at| *at != revision) {
            return None;
        }
        let mut open = ways.get(&revision)?.to_vec();
        for way in theirs.get(&revision)?.iter() {
            if !open.contains(way) {
                open.push(way.clone());
            }
        }
        let (keys, until) = one.overlay.differences(&other.overlay);
        let known = [one, other].into_iter().filter_map(|world| {
            let slot = world.slots.at(revision)?;
            slot.blur.clone()
        });
        let blur = known.fold(Blur { keys, until }, |sum, blur| sum.with(&blur));
        if blur.until > seen_until {
            return None;
        }
        let mut merged = one.clone();
        let placed = merged.placed.iter().find(|(_, at)| **at == revision);
        let placed = placed.map(|(op, _)| *op);
        let op = match (placed, one.slots.at(revision)) {
            (Some(op), _) => op,
            (None, slot) => slot?.op,
        };
        merged.placed.retain(|_, at| *at != revision);
        merged.slots.open(revision, open.into(), op, Arc::new(blur));
        Some(merged)
    }

    /// By revision, how it can have been written by operations of unknown outcome.
    fn ways(&self, world: &World) -> BTreeMap<i64, Arc<[Way]>> {
        let placed = world.placed.iter();
        let placed = placed.filter(|(op, _)| self.unknown.contains(**op));
        let placed = placed.map(|(op, at)| (*at, [Way::Operation(*op)].into()));
        let slots = world.slots.iter().map(|(at, slot)| (at, slot.ways.clone()));
        placed.chain(slots).collect()
    }

    /// Answers to come tell nothing of revisions before this one, unless they are asked for
    /// them.
    fn oldest_in_flight(&self) -> i64 {
        let open = self.open_floors.values().copied();
        let refused = self.refusals.iter();
        let refused = refused.map(|refusal| refusal.open.floor.revision);
        let watched = self.watched_from();
        open.chain(refused)
            .chain(watched)
            .chain([self.acknowledged.revision])
            .min()
            .unwrap_or(i64::MAX)
    }

    /// The slots of `world` that an answer depends on which looks at these states.
    pub(super) fn blurred(world: &World, looks: &[Look<'_>]) -> Vec<i64> {
        let until = world.slots.blurred_until();
        if looks.iter().all(|look| look.first >= until) {
            return Vec::new();
        }
        let slots = world.slots.iter().filter(|(at, slot)| {
            slot.blur.as_ref().is_some_and(|blur| {
                looks.iter().any(|look| {
                    look.last >= *at
                        && look.first < blur.until
                        && blur
                            .keys
                            .iter()
                            .any(|key| look.range.is_none_or(|range| range.contains(key)))
                })
            })
        });
        slots.map(|(at, _)| at).collect()
    }

    /// The hypothesis with these slots filled in the way that its versions have.
    pub(super) fn sharpened(&self, world: &World, revisions: &[i64]) -> Option<World> {
        let mut sharp = world.clone();
        for revision in revisions {
            let filled = sharp.slots.close(self.pool(&sharp), *revision)?;
            sharp.adopt(*revision, filled);
        }
        Some(sharp)
    }
}

/// States after revisions that an answer tells of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub first: i64,
    pub last: i64,
    /// All keys where there is none.
    pub range: Option<&'a KeyRange>,
}

/// What decides what a hypothesis allows from now on, but for the operations that are left.
#[derive(PartialEq, Eq, Hash)]
struct State<'a> {
    changes: LastChanges<'a>,
    ended: Vec<i64>,
    /// What is said of operations that may still return, and tell their revision.
    open: Vec<(OperationId, i64)>,
}

/// Hashes of what a hypothesis says but for how one revision was written.
#[derive(PartialEq, Eq, Hash)]
struct AllButOne {
    state: u64,
    revision: i64,
    others: u64,
}

fn fxhash(value: &impl Hash) -> u64 {
    rustc_hash::FxBuildHasher.hash_one(value)
}

/// The operations that are used up, the latest first.
fn used(world: &World) -> Vec<OperationId> {
    world.placed.keys().rev().copied().collect()
}
