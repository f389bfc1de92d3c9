//! An over-approximation: walks from value to value.
//!
//! Every open operation that changes the value, and every one of unknown outcome, is a way
//! from one value to another that can be taken any number of times while it is open. Each
//! operation has to find what it needs somewhere on the walk, between its call and its
//! return. What is legal is such a walk, so where there is none nothing is. Values between
//! which one can go to and fro are one place, and who is there has been everywhere in it;
//! so there is little to choose, however much is open.

use rustc_hash::{FxHashMap, FxHashSet};
use veridical_histories::object::{Answer, Request, Value};

use super::configuration::At;
use super::configuration_set::Ways;
use super::effect::{self, Effect, Guard};
use crate::frontier::configuration::{Interner, SlotSet};
use crate::models::ObjectModel;

/// Walks above which this gives up.
const WALKS_MAX: usize = 512;
/// Values that operations of unknown outcome may write, above which this gives up.
const UNKNOWN_MAX: usize = 4096;
/// Values named before those out of use are looked for.
const NAMES_MIN: usize = 256;

/// What a return comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    /// There are walks.
    Explained,
    /// There is none.
    Contradicted,
    /// Too many; nothing can be said from now on.
    Limited,
}

/// All walks that are equal from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Walk {
    /// The walk is at one of these values, whichever is wanted.
    at: Vec<u32>,
    /// Open operations that found what they need.
    answered: SlotSet,
}

/// Values between which one can go to and fro.
#[derive(Debug)]
struct Place {
    values: Vec<u32>,
    /// Open operations that find here what they need.
    answers: SlotSet,
    /// Places to which one can go, but not back.
    next: Vec<usize>,
}

/// The walks of one value.
#[derive(Debug)]
pub(crate) struct WalkFrontier {
    walks: Vec<Walk>,
    values: Interner<Value>,
    slots: Vec<Option<(u64, Effect<u32>)>>,
    /// What operations of unknown outcome do, each once.
    unknown: Vec<Effect<u32>>,
    known_unknown: FxHashSet<Effect<u32>>,
    names_max: usize,
}

impl WalkFrontier {
    /// The walks that begin at configurations.
    pub(super) fn from_ways(ways: &Ways) -> Self {
        let mut frontier = Self {
            walks: Vec::new(),
            values: ways.values.clone(),
            slots: ways
                .slots
                .iter()
                .map(|slot| slot.map(|open| (open.token, open.effect)))
                .collect(),
            unknown: Vec::new(),
            known_unknown: FxHashSet::default(),
            names_max: NAMES_MIN.max(2 * ways.values.len()),
        };
        for (guard, set) in ways.pool.left() {
            frontier.add_unknown(Effect {
                guard,
                set: Some(set),
            });
        }
        for configuration in &ways.configurations {
            let at = match configuration.at {
                At::Value(value) => vec![value],
                At::Open(duty) => ways.written_for(duty),
            };
            let answered = configuration.linearized.union(&configuration.optional);
            for value in at {
                let walk = Walk {
                    at: vec![value],
                    answered: answered.clone(),
                };
                if !frontier.walks.contains(&walk) {
                    frontier.walks.push(walk);
                }
            }
        }
        frontier
    }

    /// See [`crate::frontier::Explain::call`].
    pub fn call(&mut self, model: &ObjectModel, token: u64, input: &Request, output: &Answer) {
        let effect = effect::answered(&input.action, output, model.nil_is_wildcard());
        self.open(token, effect);
    }

    /// See [`crate::frontier::Explain::unknown`].
    pub fn unknown(&mut self, input: &Request) {
        if let Some(effect) = effect::unanswered(&input.action) {
            self.may_happen(effect);
        }
    }

    /// The operation `token` was called, and does `effect`.
    pub(super) fn open(&mut self, token: u64, effect: Effect<Value>) {
        let effect = effect.map(|value| self.values.intern(value));
        let open = Some((token, effect));
        match self.slots.iter().position(Option::is_none) {
            Some(slot) => self.slots[slot] = open,
            None => self.slots.push(open),
        }
    }

    /// An operation was called that does `effect` at any time, or never.
    pub(super) fn may_happen(&mut self, effect: Effect<Value>) {
        let effect = effect.map(|value| self.values.intern(value));
        self.add_unknown(effect);
    }

    fn add_unknown(&mut self, effect: Effect<u32>) {
        if self.known_unknown.insert(effect) {
            self.unknown.push(effect);
        }
    }

    /// Values at which a walk can be.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        let at = self.walks.iter().flat_map(|walk| &walk.at);
        at.map(|value| self.values.get(*value))
    }

    /// Whether there is no walk.
    pub fn is_empty(&self) -> bool {
        self.walks.is_empty()
    }

    /// The operation `token` returned.
    pub fn returned(&mut self, token: u64) -> Walked {
        let slot = self
            .slots
            .iter()
            .position(|slot| slot.is_some_and(|(open, _)| open == token))
            .expect("only open operations return");
        if self.unknown.len() > UNKNOWN_MAX || self.walks.len() > WALKS_MAX {
            return Walked::Limited;
        }
        let (places, place_of) = self.places();
        let mut reached: Vec<Vec<SlotSet>> = places.iter().map(|_| Vec::new()).collect();
        let mut work: Vec<(usize, SlotSet)> = Vec::new();
        for walk in &self.walks {
            for value in &walk.at {
                work.push((place_of[value], walk.answered.clone()));
            }
        }
        let mut count = 0;
        while let Some((at, answered)) = work.pop() {
            let place = &places[at];
            let answered = answered.union(&place.answers);
            let known = &mut reached[at];
            if known.iter().any(|known| answered.is_within(known)) {
                continue;
            }
            known.retain(|known| !known.is_within(&answered));
            known.push(answered.clone());
            count += 1;
            if count > WALKS_MAX {
                return Walked::Limited;
            }
            work.extend(place.next.iter().map(|next| (*next, answered.clone())));
        }
        self.walks.clear();
        for (place, reached) in places.into_iter().zip(reached) {
            for mut answered in reached {
                if answered.contains(slot) {
                    answered.remove(slot);
                    let at = place.values.clone();
                    self.walks.push(Walk { at, answered });
                }
            }
        }
        self.slots[slot] = None;
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
        self.forget_names();
        match self.walks.is_empty() {
            true => Walked::Contradicted,
            false => Walked::Explained,
        }
    }

    /// The values that matter, by place, and the place of each.
    fn places(&self) -> (Vec<Place>, FxHashMap<u32, usize>) {
        let open = self.slots.iter().flatten().map(|(_, effect)| effect);
        let mut anyhow: Vec<u32> = Vec::new();
        let mut from: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
        for effect in open.chain(&self.unknown) {
            match (effect.guard, effect.set) {
                (Guard::Is(value), Some(set)) => from.entry(value).or_default().push(set),
                (Guard::Any | Guard::IsNot(_), Some(set)) => anyhow.push(set),
                _ => {}
            }
        }
        let reachable = |beginnings: &[u32]| {
            let mut seen: Vec<u32> = Vec::new();
            let mut known: FxHashSet<u32> = FxHashSet::default();
            let mut work = beginnings.to_vec();
            while let Some(value) = work.pop() {
                if known.insert(value) {
                    seen.push(value);
                    work.extend(from.get(&value).into_iter().flatten());
                }
            }
            seen
        };
        let mut place_of: FxHashMap<u32, usize> = FxHashMap::default();
        let mut places: Vec<Place> = Vec::new();
        let mut add = |values: Vec<u32>, places: &mut Vec<Place>| {
            place_of.extend(values.iter().map(|value| (*value, places.len())));
            let answers = SlotSet::default();
            let next = Vec::new();
            places.push(Place {
                values,
                answers,
                next,
            });
        };
        // What can be written whatever is there, and what that leads to, is one place.
        let open_to_all = reachable(&anyhow);
        let open_set: FxHashSet<u32> = open_to_all.iter().copied().collect();
        if !anyhow.is_empty() {
            add(open_to_all, &mut places);
        }
        let at: Vec<u32> = self.walks.iter().flat_map(|walk| walk.at.clone()).collect();
        let mut placed: FxHashSet<u32> = open_set.clone();
        for value in reachable(&at) {
            if !placed.contains(&value) {
                let there = reachable(&[value]).into_iter();
                let to_and_fro = there.filter(|other| {
                    *other == value
                        || (!open_set.contains(other) && reachable(&[*other]).contains(&value))
                });
                let values: Vec<u32> = to_and_fro.collect();
                placed.extend(&values);
                add(values, &mut places);
            }
        }
        for (at, place) in places.iter_mut().enumerate() {
            let next = &mut place.next;
            if at > 0 && !anyhow.is_empty() {
                next.push(0);
            }
            for value in &place.values {
                for to in from.get(value).into_iter().flatten() {
                    if place_of[to] != at && !next.contains(&place_of[to]) {
                        next.push(place_of[to]);
                    }
                }
            }
        }
        for (slot, open) in self.slots.iter().enumerate() {
            let Some((_, effect)) = open else { continue };
            for (at, place) in places.iter_mut().enumerate() {
                let is_here = |value: u32| place_of.get(&value) == Some(&at);
                let is_answered = match (effect.guard, effect.set) {
                    (Guard::Any, None) => true,
                    (Guard::Is(value), _) | (Guard::Any, Some(value)) => is_here(value),
                    (Guard::IsNot(value), _) => place.values.iter().any(|other| *other != value),
                    (Guard::Never, _) => false,
                };
                if is_answered {
                    place.answers.insert(slot);
                }
            }
        }
        (places, place_of)
    }

    /// Forgets names of values that are out of use.
    fn forget_names(&mut self) {
        if self.values.len() <= self.names_max {
            return;
        }
        let mut values = Interner::default();
        let old = std::mem::take(&mut self.values);
        let mut name = |value: u32| values.intern(old.get(value).clone());
        for walk in &mut self.walks {
            walk.at.iter_mut().for_each(|value| *value = name(*value));
        }
        for (_, effect) in self.slots.iter_mut().flatten() {
            *effect = effect.map(&mut name);
        }
        for effect in &mut self.unknown {
            *effect = effect.map(&mut name);
        }
        self.known_unknown = self.unknown.iter().copied().collect();
        self.names_max = NAMES_MIN.max(2 * values.len());
        self.values = values;
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        let at: usize = self.walks.iter().map(|walk| walk.at.capacity() * 4).sum();
        at + self.walks.capacity() * size_of::<Walk>()
            + self.values.len() * (2 * size_of::<Value>() + 48)
            + self.slots.capacity() * size_of::<Option<(u64, Effect<u32>)>>()
            + 2 * self.unknown.capacity() * size_of::<Effect<u32>>()
    }
}
