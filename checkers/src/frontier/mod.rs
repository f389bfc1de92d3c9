//! Engine A: the exact frontier of one object, for any sequential model.
//!
//! Inputs: calls whose outcome is known already (see [`crate::feed`]), operations of unknown
//! outcome, returns. Outputs: whether some legal order still explains everything.
//!
//! The frontier is the set of configurations that legal orders of the events so far reach: the
//! object's state, which open operations have taken effect, which unknown ones were used. Every
//! continuation depends on that only, so closed operations are forgotten. Two prunings are both
//! exact: an operation whose known answer is legal and changes nothing takes effect at once; of
//! two configurations that differ in the unknown operations they used, one that used a subset
//! of the other's counts for both. The page `docs/algorithms/frontier.md` proves this and works
//! an example through.

pub(crate) mod configuration;

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::model::Model;
use configuration::{Antichain, Configuration, Interner, SlotSet, Usage};

/// States above which unused ones are forgotten.
const STATES_KEPT_MIN: usize = 1024;

/// An open operation whose answer is known.
#[derive(Debug)]
struct OpenOperation<I, O> {
    token: u64,
    input: I,
    output: O,
    is_observer: bool,
}

/// Operations of unknown outcome with the same input.
#[derive(Debug)]
struct UnknownClass<I> {
    input: I,
    available: u32,
}

/// What a frontier knows after a return.
#[derive(Debug)]
pub(crate) enum Advance<F> {
    /// Some legal order explains the history so far.
    Explained,
    /// No legal order does.
    Contradicted,
    /// The limit was reached. The frontier holds the configurations found by then, which may be
    /// none: while one is left, some legal order explains the history. The variant carries an
    /// over-approximation, where there is one: once that is contradicted, no legal order does.
    Capped(Option<Box<F>>),
}

/// A frontier of one object, however it represents its configurations.
pub(crate) trait Explain<M: Model>: Sized {
    /// A frontier of an object that is in one of `states`, with nothing open.
    fn begin(model: &M, states: Vec<M::State>) -> Self;

    /// An operation that may come later was called at `position`; it is told again, in
    /// the order of positions, once its outcome is known.
    fn announce(&mut self, input: &M::Input, position: u64) {
        let _ = (input, position);
    }

    /// What was called at `position`, and announced, will return `output` at `ends_at`.
    fn foresee(&mut self, input: &M::Input, output: &M::Output, position: u64, ends_at: u64) {
        let _ = (input, output, position, ends_at);
    }

    /// The operation `token` was called and will return `output`, at the position
    /// `ends_at` among all calls and returns.
    fn call(&mut self, model: &M, token: u64, input: M::Input, output: M::Output, ends_at: u64);

    /// An operation was called whose outcome is never known.
    fn unknown(&mut self, input: M::Input);

    /// The operation `token` returned. At most `limit` configurations are looked at.
    fn returned(&mut self, model: &M, token: u64, limit: usize) -> Advance<Self>;

    /// Whether no configuration is left.
    fn is_empty(&self) -> bool;

    /// The one state the object certainly is in, if nothing else has to be remembered.
    fn certain_state(&self) -> Option<M::State>;

    /// The most configurations after any return, and the number of model steps taken.
    fn counts(&self) -> (usize, u64);

    /// Bytes held, estimated.
    fn bytes(&self) -> usize;
}

/// The frontier of one object.
#[derive(Debug)]
pub(crate) struct Frontier<M: Model> {
    configurations: Vec<Configuration>,
    states: Interner<M::State>,
    usages: Interner<Usage>,
    /// Open operations by slot; slots are reused.
    slots: Vec<Option<OpenOperation<M::Input, M::Output>>>,
    classes: Vec<UnknownClass<M::Input>>,
    class_of: FxHashMap<M::Input, u32>,
    /// The most configurations after any return.
    configurations_max: usize,
    /// Model steps taken so far.
    expansions: u64,
}

impl<M: Model> Frontier<M> {
    /// A frontier in which the object is in one of `states`, and nothing is open.
    fn new(states: impl IntoIterator<Item = M::State>) -> Self {
        let mut interner = Interner::default();
        let mut usages = Interner::default();
        let usage = usages.intern(Usage::default());
        let configurations: Vec<Configuration> = states
            .into_iter()
            .map(|state| Configuration {
                state: interner.intern(state),
                usage,
                linearized: SlotSet::default(),
            })
            .collect();
        Self {
            configurations_max: configurations.len(),
            configurations,
            states: interner,
            usages,
            slots: Vec::new(),
            classes: Vec::new(),
            class_of: FxHashMap::default(),
            expansions: 0,
        }
    }

    fn states_of(&self, configurations: &[Configuration]) -> Vec<M::State> {
        let mut seen: Vec<u32> = configurations.iter().map(|c| c.state).collect();
        seen.sort_unstable();
        seen.dedup();
        seen.into_iter()
            .map(|state| self.states.get(state).clone())
            .collect()
    }

    /// An over-approximation of a frontier with these configurations: the states it can
    /// be in, with every open operation turned into one that may take effect once, at
    /// any time, or never.
    fn relaxed(&self, configurations: &[Configuration]) -> Self {
        let mut relaxed = Self::new(self.states_of(configurations));
        for class in &self.classes {
            for _ in 0..class.available {
                relaxed.unknown(class.input.clone());
            }
        }
        for open in self.slots.iter().flatten() {
            relaxed.unknown(open.input.clone());
        }
        relaxed
    }

    /// Replaces the frontier by every configuration in which `slot` has taken effect.
    fn linearize(&mut self, model: &M, slot: usize, limit: usize) -> Advance<Self> {
        let mut found = Antichain::default();
        let mut seen = Antichain::default();
        let mut work: VecDeque<Configuration> = VecDeque::new();
        let before = std::mem::take(&mut self.configurations);
        for mut configuration in before.iter().cloned() {
            if configuration.linearized.contains(slot) {
                configuration.linearized.remove(slot);
                found.insert(configuration, &self.usages);
            } else {
                work.push_back(configuration);
            }
        }
        let mut steps = Steps {
            memo: FxHashMap::default(),
            next: Vec::new(),
        };
        let mut looked_at = found.len();
        while let Some(mut configuration) = work.pop_front() {
            self.absorb_observers(model, &mut configuration, &mut steps);
            if configuration.linearized.contains(slot) {
                configuration.linearized.remove(slot);
                found.insert(configuration, &self.usages);
                continue;
            }
            if !seen.insert(configuration.clone(), &self.usages) {
                continue;
            }
            looked_at += 1;
            if looked_at > limit {
                self.configurations = found.into_configurations();
                self.configurations.truncate(limit.div_ceil(4));
                return Advance::Capped(Some(Box::new(self.relaxed(&before))));
            }
            for other in 0..self.slots.len() {
                if self.slots[other].is_none() || configuration.linearized.contains(other) {
                    continue;
                }
                let (first, last) = self.steps(model, configuration.state, other, &mut steps);
                for index in first..last {
                    let mut next = configuration.clone();
                    next.state = steps.next[index];
                    if other == slot {
                        found.insert(next, &self.usages);
                    } else {
                        next.linearized.insert(other);
                        // Known operations come first, because they use up nothing.
                        work.push_front(next);
                    }
                }
            }
            for class in 0..self.classes.len() {
                let used = self.usages.get(configuration.usage).count(class as u32);
                if used >= self.classes[class].available {
                    continue;
                }
                let at = self.slots.len() + class;
                let (first, last) = self.steps(model, configuration.state, at, &mut steps);
                for index in first..last {
                    if steps.next[index] == configuration.state {
                        continue;
                    }
                    let usage = self.usages.get(configuration.usage).with(class as u32);
                    let mut next = configuration.clone();
                    next.state = steps.next[index];
                    next.usage = self.usages.intern(usage);
                    work.push_back(next);
                }
            }
        }
        self.configurations = found.into_configurations();
        if self.configurations.is_empty() {
            Advance::Contradicted
        } else {
            Advance::Explained
        }
    }

    /// Carries out every open operation that is legal and never changes anything.
    fn absorb_observers(
        &mut self,
        model: &M,
        configuration: &mut Configuration,
        steps: &mut Steps,
    ) {
        for slot in 0..self.slots.len() {
            let is_observer = self.slots[slot]
                .as_ref()
                .is_some_and(|open| open.is_observer);
            if !is_observer || configuration.linearized.contains(slot) {
                continue;
            }
            let (first, last) = self.steps(model, configuration.state, slot, steps);
            if first < last {
                configuration.linearized.insert(slot);
            }
        }
    }

    /// Where an operation leads from a state: a range of `steps.next`. Indices from
    /// `slots.len()` on are classes of unknown operations.
    fn steps(&mut self, model: &M, state: u32, at: usize, steps: &mut Steps) -> (usize, usize) {
        if let Some(range) = steps.memo.get(&(state, at as u32)) {
            return *range;
        }
        self.expansions += 1;
        let mut next = Vec::new();
        let from = self.states.get(state);
        match at.checked_sub(self.slots.len()) {
            None => {
                let open = self.slots[at]
                    .as_ref()
                    .expect("only open slots are stepped");
                model.step(from, &open.input, Some(&open.output), &mut next);
            }
            Some(class) => model.step(from, &self.classes[class].input, None, &mut next),
        }
        let first = steps.next.len();
        steps
            .next
            .extend(next.into_iter().map(|state| self.states.intern(state)));
        let range = (first, steps.next.len());
        steps.memo.insert((state, at as u32), range);
        range
    }

    /// Forgets states and usages that no configuration is in.
    fn forget_states(&mut self) {
        if self.states.len() + self.usages.len()
            < STATES_KEPT_MIN.max(8 * self.configurations.len())
        {
            return;
        }
        let mut states = Interner::default();
        let mut usages = Interner::default();
        for configuration in &mut self.configurations {
            configuration.state = states.intern(self.states.get(configuration.state).clone());
            configuration.usage = usages.intern(self.usages.get(configuration.usage).clone());
        }
        self.states = states;
        self.usages = usages;
    }
}

impl<M: Model> Explain<M> for Frontier<M> {
    fn begin(_: &M, states: Vec<M::State>) -> Self {
        Self::new(states)
    }

    fn call(&mut self, model: &M, token: u64, input: M::Input, output: M::Output, _: u64) {
        let is_observer = model.is_observer(&input, &output);
        let open = Some(OpenOperation {
            token,
            input,
            output,
            is_observer,
        });
        match self.slots.iter().position(Option::is_none) {
            Some(slot) => self.slots[slot] = open,
            None => self.slots.push(open),
        }
    }

    fn unknown(&mut self, input: M::Input) {
        let classes = &mut self.classes;
        let class = *self.class_of.entry(input).or_insert_with_key(|input| {
            classes.push(UnknownClass {
                input: input.clone(),
                available: 0,
            });
            classes.len() as u32 - 1
        });
        self.classes[class as usize].available += 1;
    }

    fn certain_state(&self) -> Option<M::State> {
        match self.configurations.as_slice() {
            [only] if self.slots.iter().all(Option::is_none) && self.classes.is_empty() => {
                Some(self.states.get(only.state).clone())
            }
            _ => None,
        }
    }

    fn is_empty(&self) -> bool {
        self.configurations.is_empty()
    }

    fn counts(&self) -> (usize, u64) {
        (self.configurations_max, self.expansions)
    }

    fn returned(&mut self, model: &M, token: u64, limit: usize) -> Advance<Self> {
        let slot = self
            .slots
            .iter()
            .position(|slot| slot.as_ref().is_some_and(|open| open.token == token));
        // A relaxed frontier does not know the operations that were open then.
        let Some(slot) = slot else {
            return Advance::Explained;
        };
        let advance = self.linearize(model, slot, limit);
        self.slots[slot] = None;
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
        self.configurations_max = self.configurations_max.max(self.configurations.len());
        self.forget_states();
        advance
    }

    fn bytes(&self) -> usize {
        let configuration = size_of::<Configuration>();
        let state = 2 * size_of::<M::State>() + 64;
        let class = 2 * size_of::<UnknownClass<M::Input>>() + 32;
        self.configurations.capacity() * configuration
            + (self.states.len() + self.usages.len()) * state
            + self.classes.len() * class
            + self.slots.capacity() * size_of::<Option<OpenOperation<M::Input, M::Output>>>()
    }
}

/// The model steps that were already taken during one return.
struct Steps {
    memo: FxHashMap<(u32, u32), (usize, usize)>,
    next: Vec<u32>,
}
