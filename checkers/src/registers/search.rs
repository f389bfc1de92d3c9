//! The search at a return: every configuration in which the operation has taken effect.

use std::collections::VecDeque;

use super::configuration::{Antichain, At, Configuration, Obligation};
use super::configuration_set::{ConfigurationSet, OpenOperation};
use super::effect::{Effect, Guard};
use super::pool::{self, Class};
use crate::frontier::configuration::SlotSet;

/// Steps that the search for a value may take, for each configuration that may be looked at.
const STEPS_PER_CONFIGURATION: usize = 16;
/// Comparisons of configurations that are allowed for each one that may be looked at.
const COMPARISONS_PER_CONFIGURATION: usize = 64;

/// What a search ended with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// Every configuration was found.
    Complete,
    /// The limit was reached, and nothing has changed.
    Limited,
}

impl ConfigurationSet {
    /// Replaces the configurations by every one in which `slot` has taken effect. At most
    /// `budget` are looked at, and `budget` is lowered by that number.
    pub fn linearize(&mut self, slot: usize, budget: &mut usize) -> Search {
        let mut found = Antichain::default();
        let mut seen = Antichain::default();
        let mut work: VecDeque<Configuration> = VecDeque::new();
        for mut configuration in self.configurations.iter().cloned() {
            if configuration.linearized.contains(slot) {
                configuration.linearized.remove(slot);
                self.keep(&mut found, configuration);
                continue;
            }
            work.push_back(configuration.clone());
            if configuration.optional.contains(slot) {
                configuration.optional.remove(slot);
                self.keep(&mut found, configuration);
            }
        }
        let limit = *budget;
        *budget = budget.saturating_sub(found.len());
        let mut steps = limit.saturating_mul(STEPS_PER_CONFIGURATION);
        let twins = self.twins_before();
        while let Some(mut configuration) = work.pop_front() {
            self.absorb_observers(&mut configuration);
            if configuration.linearized.contains(slot) {
                configuration.linearized.remove(slot);
                self.keep(&mut found, configuration);
                continue;
            }
            if !self.keep(&mut seen, configuration.clone()) {
                continue;
            }
            let compared = found.compared() + seen.compared();
            if *budget == 0
                || steps == 0
                || compared > limit.saturating_mul(COMPARISONS_PER_CONFIGURATION)
            {
                return Search::Limited;
            }
            *budget -= 1;
            for (other, twins) in twins.iter().enumerate() {
                let is_open = self.slots[other].is_some();
                if !is_open
                    || configuration.linearized.contains(other)
                    || !twins.is_within(&configuration.linearized)
                {
                    continue;
                }
                for mut next in self.successors(&configuration, other, &mut steps) {
                    if other == slot {
                        next.linearized.remove(slot);
                        self.keep(&mut found, next);
                        continue;
                    }
                    // Configurations that use up nothing come first.
                    if next.used == configuration.used
                        && next.obligations == configuration.obligations
                    {
                        work.push_front(next);
                    } else {
                        work.push_back(next);
                    }
                }
            }
        }
        if steps == 0 {
            // Some configurations may not have been looked at.
            return Search::Limited;
        }
        self.configurations = found.into_configurations();
        Search::Complete
    }

    /// For each slot, the operations of the same effect that end before it: of several that do
    /// the same, the one that has to end first may as well take effect first.
    fn twins_before(&self) -> Vec<SlotSet> {
        let open = || self.slots.iter().enumerate();
        let before = |of: &Option<OpenOperation>| {
            let mut twins = SlotSet::default();
            for (slot, other) in open() {
                if let (Some(of), Some(other)) = (of, other)
                    && other.effect == of.effect
                    && other.ends_at < of.ends_at
                {
                    twins.insert(slot);
                }
            }
            twins
        };
        self.slots.iter().map(before).collect()
    }

    pub fn keep(&self, chain: &mut Antichain, configuration: Configuration) -> bool {
        chain.insert(configuration, &self.by_effect, &self.obligations, |class| {
            self.written_by(class)
        })
    }

    /// Carries out every open operation that is legal and changes nothing. A write of what
    /// is there may take effect now or later.
    pub fn absorb_observers(&self, configuration: &mut Configuration) {
        for slot in self
            .by_effect
            .observers
            .without(&configuration.linearized)
            .iter()
        {
            if self.certainly_holds(configuration.at, self.effect(slot).guard) {
                configuration.linearized.insert(slot);
            }
        }
        let At::Value(at) = configuration.at else {
            return;
        };
        let owed = self.by_effect.blind.without(&configuration.linearized);
        for slot in owed.without(&configuration.optional).iter() {
            if self.effect(slot).set == Some(at) {
                configuration.optional.insert(slot);
            }
        }
    }

    pub fn effect(&self, slot: usize) -> Effect<u32> {
        self.slots[slot].expect("only open slots are asked").effect
    }

    pub fn certainly_holds(&self, at: At, guard: Guard<u32>) -> bool {
        match (guard, at) {
            (Guard::Any, _) => true,
            (Guard::Never, _) | (Guard::Is(_), At::Undetermined(_)) => false,
            (Guard::Is(value), At::Value(at)) => at == value,
            (Guard::IsNot(value), At::Value(at)) => at != value,
            (Guard::IsNot(value), At::Undetermined(obligation)) => {
                !self.pool.can_write(self.obligations.get(obligation), value)
            }
        }
    }

    /// An open operation that is legal takes effect.
    pub fn apply(&self, configuration: &Configuration, slot: usize) -> Configuration {
        let Some(set) = self.effect(slot).set else {
            let mut next = configuration.clone();
            next.linearized.insert(slot);
            return next;
        };
        let mut next = configuration.released();
        next.at = At::Value(set);
        next.linearized.insert(slot);
        next.optional.remove(slot);
        if self.by_effect.blind.contains(slot) {
            next.overwrite(&self.by_effect);
        }
        next
    }

    /// The configurations after an open operation, which may use unknown ones to become legal.
    fn successors(
        &mut self,
        configuration: &Configuration,
        slot: usize,
        steps: &mut usize,
    ) -> Vec<Configuration> {
        let effect = self.effect(slot);
        self.expansions += 1;
        let mut enabled = Vec::new();
        match effect.guard {
            Guard::Any => enabled.push(configuration.clone()),
            Guard::Never => {}
            Guard::Is(value) => {
                self.reach(configuration, value, &mut Vec::new(), steps, &mut enabled);
            }
            Guard::IsNot(value) => self.leave(configuration, value, &mut enabled),
        }
        for next in &mut enabled {
            *next = self.apply(next, slot);
        }
        enabled
    }

    /// Finds the shortest paths to `value` over unknown operations. `path` holds the values that
    /// come after it, which no shortest path passes twice.
    pub fn reach(
        &mut self,
        from: &Configuration,
        value: u32,
        path: &mut Vec<u32>,
        steps: &mut usize,
        found: &mut Vec<Configuration>,
    ) {
        *steps = steps.saturating_sub(1);
        if *steps == 0 {
            return;
        }
        self.expansions += 1;
        match from.at {
            At::Value(at) if at == value => {
                found.push(from.clone());
                return;
            }
            At::Undetermined(obligation) => self.resolve(from, obligation, value, found),
            At::Value(_) => {}
        }
        let released = from.released();
        let blind = self.newest_blind(&released, value, 0..u32::MAX);
        if let Some(class) = blind {
            let next = self.using(&released, class, At::Value(value));
            found.extend(next.map(|mut next| {
                next.overwrite(&self.by_effect);
                next
            }));
        }
        path.push(value);
        for at in 0..self.pool.swaps_to(value).len() {
            let index = self.pool.swaps_to(value)[at];
            let class = pool::swap_class(index);
            let source = self.pool.swaps[index as usize].from;
            if path.contains(&source) || self.left(from, class) == 0 {
                continue;
            }
            let mut sources = Vec::new();
            self.reach(from, source, path, steps, &mut sources);
            let next = sources
                .iter()
                .filter_map(|source| self.using(source, class, At::Value(value)));
            found.extend(next);
        }
        path.pop();
    }

    fn left(&self, configuration: &Configuration, class: Class) -> u32 {
        self.pool.available(class) - configuration.used.count(class)
    }

    /// The write of `value` that was called last, among those left. An earlier write can meet
    /// more obligations than a later one, so the earlier one is saved.
    fn newest_blind(
        &self,
        configuration: &Configuration,
        value: u32,
        range: std::ops::Range<u32>,
    ) -> Option<Class> {
        let classes = self.pool.blind_of(value).iter().rev();
        classes
            .filter(|index| range.contains(index))
            .map(|index| pool::blind_class(*index))
            .find(|class| self.left(configuration, *class) > 0)
    }

    /// `configuration` with one more operation of `class` used, if one is left.
    fn using(&self, configuration: &Configuration, class: Class, at: At) -> Option<Configuration> {
        if self.left(configuration, class) == 0 {
            return None;
        }
        let mut next = configuration.clone();
        next.used = next.used.with(class);
        next.at = at;
        self.is_feasible(&next).then_some(next)
    }

    fn is_feasible(&self, configuration: &Configuration) -> bool {
        if configuration.obligations.is_empty() && matches!(configuration.at, At::Value(_)) {
            return true;
        }
        let mut obligations: Vec<&Obligation> = configuration
            .obligations
            .iter()
            .map(|obligation| self.obligations.get(*obligation))
            .collect();
        if let At::Undetermined(obligation) = configuration.at {
            obligations.push(self.obligations.get(obligation));
        }
        self.pool.is_feasible(&obligations, &configuration.used)
    }

    /// Resolves an undetermined choice: it was `value` that was written.
    fn resolve(
        &self,
        from: &Configuration,
        obligation: u32,
        value: u32,
        found: &mut Vec<Configuration>,
    ) {
        let obligation = self.obligations.get(obligation);
        if !obligation.except.contains(&value)
            && let Some(class) = self.newest_blind(from, value, obligation.from..obligation.to)
        {
            found.extend(self.using(from, class, At::Value(value)));
        }
        for index in &obligation.swaps {
            if self.pool.swaps[*index as usize].to == value {
                let class = pool::swap_class(*index);
                found.extend(self.using(from, class, At::Value(value)));
            }
        }
    }

    /// Finds the configurations that are not at `value`.
    pub fn leave(&mut self, from: &Configuration, value: u32, found: &mut Vec<Configuration>) {
        if self.certainly_holds(from.at, Guard::IsNot(value)) {
            found.push(from.clone());
            return;
        }
        let blind = self.pool.blind.len() as u32;
        match from.at {
            At::Value(_) => self.replaced(from, value, 0..blind, found),
            At::Undetermined(obligation) => {
                let obligation = self.obligations.get(obligation).clone();
                // Either something else was written.
                let mut narrower = obligation.clone();
                if let Err(at) = narrower.except.binary_search(&value) {
                    narrower.except.insert(at, value);
                }
                narrower
                    .swaps
                    .retain(|index| self.pool.swaps[*index as usize].to != value);
                let mut next = from.clone();
                next.at = At::Undetermined(self.obligations.intern(narrower));
                if self.is_feasible(&next) {
                    found.push(next);
                }
                // Or `value` was written and replaced in turn, by something that cannot have
                // been there instead of it: called later, or of a value left before.
                let At::Undetermined(number) = from.at else {
                    unreachable!("matched above")
                };
                let mut resolved = Vec::new();
                self.resolve(from, number, value, &mut resolved);
                for resolved in resolved {
                    for before in obligation.except.iter().filter(|before| **before != value) {
                        if let Some(class) = self.newest_blind(&resolved, *before, 0..obligation.to)
                        {
                            found.extend(self.using(&resolved, class, At::Value(*before)));
                        }
                    }
                    self.replaced(&resolved, value, obligation.to..blind, found);
                }
            }
        }
    }

    /// Replaces `value`, which is there, by one of the writes in `range` or by an operation that
    /// replaces only it.
    fn replaced(
        &mut self,
        from: &Configuration,
        value: u32,
        range: std::ops::Range<u32>,
        found: &mut Vec<Configuration>,
    ) {
        let except = self.pool.blind_of(value).iter().any(|i| range.contains(i));
        let swaps = self.pool.swaps_from(value).iter().copied();
        let swaps = swaps.filter(|index| self.left(from, pool::swap_class(*index)) > 0);
        let obligation = Obligation {
            from: range.start,
            to: range.end,
            except: if except { vec![value] } else { Vec::new() },
            swaps: swaps.collect(),
        };
        let mut next = from.clone();
        next.at = At::Undetermined(self.obligations.intern(obligation));
        if self.is_feasible(&next) {
            found.push(next);
        }
    }
}
