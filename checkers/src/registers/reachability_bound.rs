//! An over-approximation of engine A for one value: reachability in a graph of values.
//!
//! Every open operation that changes the value, and every one of unknown outcome, is an
//! edge from one value to another that may be taken any number of times while it is open.
//! Each operation has to find the value it needs on some path through this graph, between
//! its call and its return. Every legal order is such a path, so where no path is left no
//! legal order is. Values that reach each other form one strongly connected component, and
//! whoever is in a component has visited all of it; so little is left to choose, however
//! many operations are open.

use rustc_hash::{FxHashMap, FxHashSet};
use veridical_histories::object::{Answer, Request, Value};

use super::configuration::At;
use super::configuration_set::ConfigurationSet;
use super::effect::{self, Effect, Guard};
use crate::frontier::configuration::{Interner, SlotSet};
use crate::models::ObjectModel;

/// States above which the bound gives up.
const STATES_MAX: usize = 512;
/// Effects of unknown operations above which the bound gives up.
const UNKNOWN_MAX: usize = 4096;
/// Named values above which those out of use are forgotten.
const NAMES_MIN: usize = 256;

/// What the bound says after a return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reachability {
    /// Some path is left.
    Explained,
    /// No path is left, and so no legal order.
    Contradicted,
    /// The bound has given up: it says nothing from now on.
    Limited,
}

/// All paths with the same continuations.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// The path may be at any of these values.
    at: Vec<u32>,
    /// Open operations that have found the value they need.
    answered: SlotSet,
}

/// A strongly connected component: values that reach each other.
#[derive(Debug)]
struct Component {
    values: Vec<u32>,
    /// Open operations that find the value they need in this component.
    answers: SlotSet,
    /// Components that can be reached by one edge, and from which this one cannot.
    next: Vec<usize>,
}

/// How operations lead from value to value.
#[derive(Debug, Default)]
struct Edges {
    /// Values that are written whatever is there.
    anyhow: Vec<u32>,
    /// By the value that has to be there: the values that replace it.
    from: FxHashMap<u32, Vec<u32>>,
}

impl Edges {
    /// The values that can be reached from `beginnings` by replacements.
    fn reachable(&self, beginnings: &[u32]) -> Vec<u32> {
        let mut seen: Vec<u32> = Vec::new();
        let mut known: FxHashSet<u32> = FxHashSet::default();
        let mut work = beginnings.to_vec();
        while let Some(value) = work.pop() {
            if known.insert(value) {
                seen.push(value);
                work.extend(self.from.get(&value).into_iter().flatten());
            }
        }
        seen
    }
}

/// The paths of one object.
#[derive(Debug)]
pub(crate) struct ReachabilityBound {
    states: Vec<State>,
    values: Interner<Value>,
    slots: Vec<Option<(u64, Effect<u32>)>>,
    /// The effects of operations of unknown outcome, each once.
    unknown: Vec<Effect<u32>>,
    known_unknown: FxHashSet<Effect<u32>>,
    names_max: usize,
}

impl ReachabilityBound {
    /// The bound whose paths begin at the configurations `reached`.
    pub(super) fn from_configurations(reached: &ConfigurationSet) -> Self {
        let mut bound = Self {
            states: Vec::new(),
            values: reached.values.clone(),
            slots: reached
                .slots
                .iter()
                .map(|slot| slot.map(|open| (open.token, open.effect)))
                .collect(),
            unknown: Vec::new(),
            known_unknown: FxHashSet::default(),
            names_max: NAMES_MIN.max(2 * reached.values.len()),
        };
        for (guard, set) in reached.pool.left() {
            bound.add_unknown(Effect {
                guard,
                set: Some(set),
            });
        }
        for configuration in &reached.configurations {
            let at = match configuration.at {
                At::Value(value) => vec![value],
                At::Undetermined(obligation) => reached.written_for(obligation),
            };
            let answered = configuration.linearized.union(&configuration.optional);
            for value in at {
                let state = State {
                    at: vec![value],
                    answered: answered.clone(),
                };
                if !bound.states.contains(&state) {
                    bound.states.push(state);
                }
            }
        }
        bound
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

    /// The values at which a path can be.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        let at = self.states.iter().flat_map(|state| &state.at);
        at.map(|value| self.values.get(*value))
    }

    /// Whether no path is left.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// The operation `token` returned.
    pub fn returned(&mut self, token: u64) -> Reachability {
        let slot = self
            .slots
            .iter()
            .position(|slot| slot.is_some_and(|(open, _)| open == token))
            .expect("only open operations return");
        if self.unknown.len() > UNKNOWN_MAX || self.states.len() > STATES_MAX {
            return Reachability::Limited;
        }
        let (components, component_of) = self.components();
        let mut reached: Vec<Vec<SlotSet>> = components.iter().map(|_| Vec::new()).collect();
        let mut work: Vec<(usize, SlotSet)> = Vec::new();
        for state in &self.states {
            for value in &state.at {
                work.push((component_of[value], state.answered.clone()));
            }
        }
        let mut count = 0;
        while let Some((at, answered)) = work.pop() {
            let component = &components[at];
            let answered = answered.union(&component.answers);
            let known = &mut reached[at];
            if known.iter().any(|known| answered.is_within(known)) {
                continue;
            }
            known.retain(|known| !known.is_within(&answered));
            known.push(answered.clone());
            count += 1;
            if count > STATES_MAX {
                return Reachability::Limited;
            }
            work.extend(component.next.iter().map(|next| (*next, answered.clone())));
        }
        self.states.clear();
        for (component, reached) in components.into_iter().zip(reached) {
            for mut answered in reached {
                if answered.contains(slot) {
                    answered.remove(slot);
                    let at = component.values.clone();
                    self.states.push(State { at, answered });
                }
            }
        }
        self.slots[slot] = None;
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
        self.forget_names();
        match self.states.is_empty() {
            true => Reachability::Contradicted,
            false => Reachability::Explained,
        }
    }

    /// The strongly connected components of the graph as far as they can be reached, and the
    /// component of each value.
    fn components(&self) -> (Vec<Component>, FxHashMap<u32, usize>) {
        let edges = self.edges();
        let mut component_of: FxHashMap<u32, usize> = FxHashMap::default();
        let mut components: Vec<Component> = Vec::new();
        let mut add = |values: Vec<u32>| {
            component_of.extend(values.iter().map(|value| (*value, components.len())));
            components.push(Component {
                values,
                answers: SlotSet::default(),
                next: Vec::new(),
            });
        };
        // What can be written whatever is there, and what that leads to, is one component.
        let from_anywhere = edges.reachable(&edges.anyhow);
        let mut assigned: FxHashSet<u32> = from_anywhere.iter().copied().collect();
        let reached_from_anywhere = assigned.clone();
        if !edges.anyhow.is_empty() {
            add(from_anywhere);
        }
        let at: Vec<u32> = self
            .states
            .iter()
            .flat_map(|state| state.at.clone())
            .collect();
        for value in edges.reachable(&at) {
            if assigned.contains(&value) {
                continue;
            }
            let there_and_back = edges.reachable(&[value]).into_iter().filter(|other| {
                *other == value
                    || (!reached_from_anywhere.contains(other)
                        && edges.reachable(&[*other]).contains(&value))
            });
            let values: Vec<u32> = there_and_back.collect();
            assigned.extend(&values);
            add(values);
        }
        for (at, component) in components.iter_mut().enumerate() {
            let next = &mut component.next;
            if at > 0 && !edges.anyhow.is_empty() {
                next.push(0);
            }
            for value in &component.values {
                for to in edges.from.get(value).into_iter().flatten() {
                    if component_of[to] != at && !next.contains(&component_of[to]) {
                        next.push(component_of[to]);
                    }
                }
            }
        }
        self.note_answers(&mut components, &component_of);
        (components, component_of)
    }

    /// The edges of all operations that change the value.
    fn edges(&self) -> Edges {
        let open = self.slots.iter().flatten().map(|(_, effect)| effect);
        let mut edges = Edges::default();
        for effect in open.chain(&self.unknown) {
            match (effect.guard, effect.set) {
                (Guard::Is(value), Some(set)) => edges.from.entry(value).or_default().push(set),
                (Guard::Any | Guard::IsNot(_), Some(set)) => edges.anyhow.push(set),
                (Guard::Never, _) | (_, None) => {}
            }
        }
        edges
    }

    /// Notes in each component which open operations find there what they need.
    fn note_answers(&self, components: &mut [Component], component_of: &FxHashMap<u32, usize>) {
        for (slot, open) in self.slots.iter().enumerate() {
            let Some((_, effect)) = open else { continue };
            for (at, component) in components.iter_mut().enumerate() {
                let is_here = |value: u32| component_of.get(&value) == Some(&at);
                let is_answered = match (effect.guard, effect.set) {
                    (Guard::Any, None) => true,
                    (Guard::Is(value), _) | (Guard::Any, Some(value)) => is_here(value),
                    (Guard::IsNot(value), _) => {
                        component.values.iter().any(|other| *other != value)
                    }
                    (Guard::Never, _) => false,
                };
                if is_answered {
                    component.answers.insert(slot);
                }
            }
        }
    }

    /// Forgets names of values that are out of use.
    fn forget_names(&mut self) {
        if self.values.len() <= self.names_max {
            return;
        }
        let mut values = Interner::default();
        let old = std::mem::take(&mut self.values);
        let mut name = |value: u32| values.intern(old.get(value).clone());
        for state in &mut self.states {
            state.at.iter_mut().for_each(|value| *value = name(*value));
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
        let at: usize = self
            .states
            .iter()
            .map(|state| state.at.capacity() * 4)
            .sum();
        at + self.states.capacity() * size_of::<State>()
            + self.values.len() * (2 * size_of::<Value>() + 48)
            + self.slots.capacity() * size_of::<Option<(u64, Effect<u32>)>>()
            + 2 * self.unknown.capacity() * size_of::<Effect<u32>>()
    }
}
