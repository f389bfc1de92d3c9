//! One step of the beam search: a few configurations in which an operation has taken effect.
//!
//! What this step leaves out is not ruled out. So it need not be complete, but each
//! configuration that it finds has to be one that a legal order reaches. It prefers those that
//! owe few operations, and owe them late; it drops those that owe what nothing open, and nothing
//! called in time, can provide.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::configuration::{Antichain, At, Configuration};
use super::configuration_set::ConfigurationSet;
use super::effect::Guard;
use super::lookahead::Lookahead;

/// Replacements that are carried out in a row because they are owed.
const ROW_MAX: usize = 8;
/// Replacements that may lead to a value that is wanted.
const APPROACH_MAX: usize = 3;
/// Steps over operations of unknown outcome that one approach may take.
const UNKNOWN_STEPS_MAX: usize = 64;
/// Values that are visited because they are owed.
const VISITS_MAX: usize = 64;
/// Operations that are tried in order to leave a value.
const DEPARTURES_MAX: usize = 4;
/// The weight of owing the operation that returns next.
const WEIGHT_MAX: u64 = 1 << 10;
/// How many places later in the order of returns an operation weighs half as much.
const PLACES_PER_HALF: u64 = 8;

/// The open operations, in the order in which they return.
struct ReturnOrder {
    /// Open operations by the value that they write.
    writers: FxHashMap<u32, Vec<usize>>,
    /// Open replacements by the value that they replace.
    replacers: FxHashMap<u32, Vec<usize>>,
    /// The weight of owing an operation, by slot.
    weights: Vec<u64>,
    order: Vec<usize>,
    /// Values that are wanted later and that nothing called later writes in time.
    scarce: Vec<u32>,
    /// The position at which each value is wanted for the last time.
    wanted: FxHashMap<u32, u64>,
}

impl ReturnOrder {
    fn of(reached: &ConfigurationSet, now: u64, lookahead: &Lookahead) -> Self {
        let open = reached.slots.iter().enumerate();
        let mut order: Vec<(u64, usize)> = open
            .filter_map(|(slot, open)| open.map(|open| (open.ends_at, slot)))
            .collect();
        order.sort_unstable();
        let mut upcoming = Self {
            writers: FxHashMap::default(),
            replacers: FxHashMap::default(),
            weights: vec![0; reached.slots.len()],
            order: order.into_iter().map(|(_, slot)| slot).collect(),
            scarce: Vec::new(),
            wanted: FxHashMap::default(),
        };
        for value in lookahead.scarce(now) {
            if let Some(value) = reached.values.find(value)
                && !reached.is_in_pool(value)
                && !upcoming.scarce.contains(&value)
            {
                upcoming.scarce.push(value);
            }
        }
        for (place, slot) in upcoming.order.iter().enumerate() {
            let effect = reached.effect(*slot);
            let weight = WEIGHT_MAX * PLACES_PER_HALF / (PLACES_PER_HALF + place as u64);
            upcoming.weights[*slot] = match (effect.guard, effect.set) {
                (Guard::Is(_), Some(_)) => 4 * weight,
                (_, None) => 2 * weight,
                (Guard::Any | Guard::IsNot(_) | Guard::Never, Some(_)) => weight,
            };
            if let Some(set) = effect.set {
                upcoming.writers.entry(set).or_default().push(*slot);
                if let Guard::Is(from) = effect.guard {
                    upcoming.replacers.entry(from).or_default().push(*slot);
                }
            }
        }
        let written: Vec<u32> = (0..reached.values.len() as u32)
            .filter(|value| upcoming.is_written(*value))
            .collect();
        for value in written {
            if let Some(last) = lookahead.last_wanted(reached.values.get(value))
                && last > now
            {
                upcoming.wanted.insert(value, last);
            }
        }
        upcoming
    }

    fn is_written(&self, value: u32) -> bool {
        self.writers.contains_key(&value)
    }

    fn writers_of(&self, value: u32) -> &[usize] {
        self.writers.get(&value).map_or(&[], Vec::as_slice)
    }

    fn replacers_of(&self, value: u32) -> &[usize] {
        self.replacers.get(&value).map_or(&[], Vec::as_slice)
    }
}

impl ConfigurationSet {
    /// Replaces the configurations by at most `width` in which `slot` has taken effect, or by
    /// none where it finds none.
    pub fn beam_step(&mut self, slot: usize, width: usize, lookahead: &Lookahead) {
        let now = self.ends_at(slot);
        let upcoming = ReturnOrder::of(self, now, lookahead);
        let mut found = Antichain::default();
        for configuration in std::mem::take(&mut self.configurations) {
            for mut next in self.beam_successors(configuration, slot, &upcoming) {
                next.linearized.remove(slot);
                next.optional.remove(slot);
                self.keep(&mut found, next);
            }
        }
        let mut by_value: BTreeMap<Option<u32>, Vec<(u64, Configuration)>> = BTreeMap::new();
        for configuration in found.into_configurations() {
            if let Some(owed) = self.owed(&configuration, slot, now, &upcoming, lookahead) {
                let at = match configuration.at {
                    At::Value(value) => Some(value),
                    At::Undetermined(_) => None,
                };
                by_value.entry(at).or_default().push((owed, configuration));
            }
        }
        // The beam holds some configurations of each value, the best of them first.
        let mut chosen: Vec<(usize, u64, Configuration)> = Vec::new();
        for mut configurations in by_value.into_values() {
            configurations.sort_by_key(|(owed, _)| *owed);
            let ranked = configurations.into_iter().enumerate().take(width);
            chosen.extend(ranked.map(|(rank, (owed, configuration))| (rank, owed, configuration)));
        }
        chosen.sort_by_key(|(rank, owed, _)| (*rank, *owed));
        chosen.truncate(width);
        let chosen = chosen.into_iter().map(|(.., configuration)| configuration);
        self.configurations = chosen.collect();
    }

    /// Some configurations in which `slot` has taken effect.
    fn beam_successors(
        &mut self,
        mut configuration: Configuration,
        slot: usize,
        upcoming: &ReturnOrder,
    ) -> Vec<Configuration> {
        self.absorb_observers(&mut configuration);
        if configuration.linearized.contains(slot) {
            return vec![configuration];
        }
        let effect = self.effect(slot);
        let mut enabled = Vec::new();
        match effect.guard {
            Guard::Never => {}
            Guard::Any => {
                let is_optional = configuration.optional.contains(slot);
                let is_wanted = effect
                    .set
                    .is_some_and(|set| self.is_wanted(&configuration, set, upcoming));
                if !is_optional || is_wanted {
                    self.before_write(&configuration, effect.set, upcoming, &mut enabled);
                }
                let mut next: Vec<Configuration> =
                    enabled.iter().map(|c| self.applied(c, slot)).collect();
                if is_optional {
                    next.push(configuration);
                }
                return next;
            }
            Guard::Is(value) => {
                self.approach(&configuration, value, APPROACH_MAX, upcoming, &mut enabled);
            }
            Guard::IsNot(value) => self.depart(&configuration, value, upcoming, &mut enabled),
        }
        let is_done = |c: &Configuration| c.linearized.contains(slot);
        let next = enabled.into_iter();
        next.map(|c| {
            if is_done(&c) {
                c
            } else {
                self.applied(&c, slot)
            }
        })
        .collect()
    }

    fn applied(&self, configuration: &Configuration, slot: usize) -> Configuration {
        let mut next = self.apply(configuration, slot);
        self.absorb_observers(&mut next);
        next
    }

    /// Whether something that has to be at `value` waits for it.
    fn is_wanted(&self, configuration: &Configuration, value: u32, upcoming: &ReturnOrder) -> bool {
        let is_owed = |slot: &usize| !configuration.linearized.contains(*slot);
        let waits = |slot: usize| self.effect(slot).guard == Guard::Is(value);
        upcoming.wanted.contains_key(&value)
            || upcoming.replacers_of(value).iter().any(is_owed)
            || self
                .by_effect
                .observers
                .without(&configuration.linearized)
                .iter()
                .any(waits)
    }

    /// Configurations in which more has happened just before something is overwritten.
    fn before_write(
        &self,
        configuration: &Configuration,
        value: Option<u32>,
        upcoming: &ReturnOrder,
        found: &mut Vec<Configuration>,
    ) {
        found.push(self.settled_row(configuration, upcoming));
        found.push(configuration.clone());
        let until = value.and_then(|value| upcoming.wanted.get(&value));
        if let Some(until) = until {
            found.extend(self.with_visits(configuration, *until, upcoming));
        }
    }

    /// Visits each value that is owed before `until` and not wanted later, because the next
    /// value has to stay until then.
    fn with_visits(
        &self,
        configuration: &Configuration,
        until: u64,
        upcoming: &ReturnOrder,
    ) -> Option<Configuration> {
        let mut next = configuration.clone();
        let mut visits = 0;
        for slot in &upcoming.order {
            if self.ends_at(*slot) > until || visits == VISITS_MAX {
                break;
            }
            let Guard::Is(value) = self.effect(*slot).guard else {
                continue;
            };
            if next.linearized.contains(*slot) || upcoming.wanted.contains_key(&value) {
                continue;
            }
            let is_left = |writer: &&usize| {
                self.by_effect.blind.contains(**writer) && !next.linearized.contains(**writer)
            };
            if let Some(writer) = upcoming.writers_of(value).iter().find(is_left) {
                let visited = self.applied(&next, *writer);
                next = self.settled_row(&visited, upcoming);
                visits += 1;
            }
        }
        (visits > 0).then_some(next)
    }

    /// Carries out replacements that are owed, as long as one replaces the value that is there.
    fn settled_row(&self, configuration: &Configuration, upcoming: &ReturnOrder) -> Configuration {
        let mut next = configuration.clone();
        for _ in 0..ROW_MAX {
            let At::Value(at) = next.at else { break };
            let owed = upcoming
                .replacers_of(at)
                .iter()
                .find(|slot| !next.linearized.contains(**slot));
            match owed {
                Some(slot) => next = self.applied(&next, *slot),
                None => break,
            }
        }
        next
    }

    /// Finds configurations at `value`: over open operations, or else over unknown ones.
    fn approach(
        &mut self,
        configuration: &Configuration,
        value: u32,
        depth: usize,
        upcoming: &ReturnOrder,
        found: &mut Vec<Configuration>,
    ) {
        if configuration.at == At::Value(value) {
            found.push(configuration.clone());
            return;
        }
        let first = found.len();
        let is_left = |slot: &&usize| !configuration.linearized.contains(**slot);
        let mut tried: Vec<u32> = Vec::new();
        let mut has_written = false;
        for slot in upcoming.writers_of(value).iter().filter(is_left) {
            match self.effect(*slot).guard {
                Guard::Any if !has_written => {
                    has_written = true;
                    let mut before = Vec::new();
                    self.before_write(configuration, Some(value), upcoming, &mut before);
                    found.extend(before.iter().map(|before| self.applied(before, *slot)));
                }
                Guard::Is(from) if !tried.contains(&from) => {
                    tried.push(from);
                    if configuration.at == At::Value(from) {
                        found.push(self.applied(configuration, *slot));
                    } else if depth > 0 {
                        let mut sources = Vec::new();
                        self.approach(configuration, from, depth - 1, upcoming, &mut sources);
                        for source in sources {
                            if source.linearized.contains(*slot) {
                                continue;
                            }
                            found.push(self.applied(&source, *slot));
                        }
                    }
                }
                Guard::Any | Guard::Is(_) | Guard::IsNot(_) | Guard::Never => {}
            }
        }
        if found.len() == first {
            let mut steps = UNKNOWN_STEPS_MAX;
            self.reach(configuration, value, &mut Vec::new(), &mut steps, found);
            for next in &mut found[first..] {
                self.absorb_observers(next);
            }
        }
    }

    /// Finds configurations that are not at `value`.
    fn depart(
        &mut self,
        configuration: &Configuration,
        value: u32,
        upcoming: &ReturnOrder,
        found: &mut Vec<Configuration>,
    ) {
        if self.certainly_holds(configuration.at, Guard::IsNot(value)) {
            found.push(configuration.clone());
            return;
        }
        if let At::Value(_) = configuration.at {
            let leads_away = |slot: &&usize| {
                let effect = self.effect(**slot);
                effect.set.is_some_and(|set| set != value)
                    && !configuration.linearized.contains(**slot)
                    && self.certainly_holds(configuration.at, effect.guard)
            };
            let departures = upcoming
                .order
                .iter()
                .filter(leads_away)
                .take(DEPARTURES_MAX);
            found.extend(departures.map(|slot| self.applied(configuration, *slot)));
        }
        if found.is_empty() {
            self.leave(configuration, value, found);
            for next in found {
                self.absorb_observers(next);
            }
        }
    }

    /// The weight of what a configuration owes, in which urgent operations count for more;
    /// `None` where it owes what it cannot provide. `ended` has taken effect, at `now`.
    fn owed(
        &self,
        configuration: &Configuration,
        ended: usize,
        now: u64,
        upcoming: &ReturnOrder,
        lookahead: &Lookahead,
    ) -> Option<u64> {
        let mut owed = 0;
        let settled = configuration.linearized.union(&configuration.optional);
        for slot in &upcoming.order {
            if *slot == ended || settled.contains(*slot) {
                continue;
            }
            owed += upcoming.weights[*slot];
            if let Guard::Is(value) = self.effect(*slot).guard
                && !self.can_be_at(configuration, value, *slot, ended, upcoming)
                && !lookahead.is_written(self.values.get(value), now, self.ends_at(*slot))
            {
                return None;
            }
        }
        let is_left = |value: &u32| self.can_be_at(configuration, *value, ended, ended, upcoming);
        upcoming.scarce.iter().all(is_left).then_some(owed)
    }

    /// Whether something of unknown outcome can write `value`.
    fn is_in_pool(&self, value: u32) -> bool {
        !self.pool.blind_of(value).is_empty() || !self.pool.swaps_to(value).is_empty()
    }

    /// Whether `value` is there, or something open or unknown can write it.
    fn can_be_at(
        &self,
        configuration: &Configuration,
        value: u32,
        by: usize,
        ended: usize,
        upcoming: &ReturnOrder,
    ) -> bool {
        let is_there = match configuration.at {
            At::Value(at) => at == value,
            At::Undetermined(obligation) => {
                self.pool.can_write(self.obligations.get(obligation), value)
            }
        };
        is_there
            || upcoming.writers_of(value).iter().any(|slot| {
                *slot != by && *slot != ended && !configuration.linearized.contains(*slot)
            })
            || self.is_in_pool(value)
    }
}
