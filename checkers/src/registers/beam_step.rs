//! The step of a pursuit: a few configurations in which an operation has taken effect.
//!
//! What is not looked at here is not ruled out by that. So nothing has to be exact, but
//! that each configuration found is one that a legal order reaches. Those are preferred
//! that owe little, and that little late; those that owe what nothing open, and nothing
//! called in time, can give are dropped.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::configuration::{Antichain, At, Configuration};
use super::configuration_set::Ways;
use super::effect::Guard;
use super::lookahead::Coming;

/// Replacements carried out in a row because they are owed.
const ROW_MAX: usize = 8;
/// Replacements that lead to a value that is wanted.
const APPROACH_MAX: usize = 3;
/// Steps over operations of unknown outcome, for one approach.
const UNKNOWN_STEPS_MAX: usize = 64;
/// Values that are visited because they are owed.
const VISITS_MAX: usize = 64;
/// Ways of leaving a value that are tried.
const DEPARTURES_MAX: usize = 4;
/// What an operation that returns next weighs.
const WEIGHT_MAX: u64 = 1 << 10;
/// By how many places later one weighs half.
const PLACES_PER_HALF: u64 = 8;

/// The open operations, in the order in which they return.
struct Ahead {
    /// By the value they write.
    writers: FxHashMap<u32, Vec<usize>>,
    /// Replacements, by the value they replace.
    replacers: FxHashMap<u32, Vec<usize>>,
    /// What it weighs to owe it, by slot.
    weights: Vec<u64>,
    order: Vec<usize>,
    /// Values that are wanted later, and that nothing called later writes in time.
    scarce: Vec<u32>,
    /// Values that are wanted later, and when at last.
    wanted: FxHashMap<u32, u64>,
}

impl Ahead {
    fn of(ways: &Ways, now: u64, coming: &Coming) -> Self {
        let open = ways.slots.iter().enumerate();
        let mut order: Vec<(u64, usize)> = open
            .filter_map(|(slot, open)| open.map(|open| (open.ends_at, slot)))
            .collect();
        order.sort_unstable();
        let mut ahead = Self {
            writers: FxHashMap::default(),
            replacers: FxHashMap::default(),
            weights: vec![0; ways.slots.len()],
            order: order.into_iter().map(|(_, slot)| slot).collect(),
            scarce: Vec::new(),
            wanted: FxHashMap::default(),
        };
        for value in coming.scarce(now) {
            if let Some(value) = ways.values.find(value)
                && !ways.is_in_pool(value)
                && !ahead.scarce.contains(&value)
            {
                ahead.scarce.push(value);
            }
        }
        for (place, slot) in ahead.order.iter().enumerate() {
            let effect = ways.effect(*slot);
            let weight = WEIGHT_MAX * PLACES_PER_HALF / (PLACES_PER_HALF + place as u64);
            ahead.weights[*slot] = match (effect.guard, effect.set) {
                (Guard::Is(_), Some(_)) => 4 * weight,
                (_, None) => 2 * weight,
                _ => weight,
            };
            if let Some(set) = effect.set {
                ahead.writers.entry(set).or_default().push(*slot);
                if let Guard::Is(from) = effect.guard {
                    ahead.replacers.entry(from).or_default().push(*slot);
                }
            }
        }
        let written: Vec<u32> = (0..ways.values.len() as u32)
            .filter(|value| ahead.is_written(*value))
            .collect();
        for value in written {
            if let Some(last) = coming.last_wanted(ways.values.get(value))
                && last > now
            {
                ahead.wanted.insert(value, last);
            }
        }
        ahead
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

impl Ways {
    /// Replaces the configurations by at most `width` in which `slot` has taken effect;
    /// by none where none is found.
    pub fn pursue(&mut self, slot: usize, width: usize, coming: &Coming) {
        let now = self.ends_at(slot);
        let ahead = Ahead::of(self, now, coming);
        let mut found = Antichain::default();
        for configuration in std::mem::take(&mut self.configurations) {
            for mut next in self.pursued(configuration, slot, &ahead) {
                next.linearized.remove(slot);
                next.optional.remove(slot);
                self.keep(&mut found, next);
            }
        }
        let mut by_value: BTreeMap<Option<u32>, Vec<(u64, Configuration)>> = BTreeMap::new();
        for configuration in found.into_configurations() {
            if let Some(owed) = self.owed(&configuration, slot, now, &ahead, coming) {
                let at = match configuration.at {
                    At::Value(value) => Some(value),
                    At::Open(_) => None,
                };
                by_value.entry(at).or_default().push((owed, configuration));
            }
        }
        // Some of each value, the best of them first.
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

    /// Configurations after `slot` has taken effect.
    fn pursued(
        &mut self,
        mut configuration: Configuration,
        slot: usize,
        ahead: &Ahead,
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
                    .is_some_and(|set| self.is_wanted(&configuration, set, ahead));
                if !is_optional || is_wanted {
                    self.before_write(&configuration, effect.set, ahead, &mut enabled);
                }
                let mut next: Vec<Configuration> =
                    enabled.iter().map(|c| self.applied(c, slot)).collect();
                if is_optional {
                    next.push(configuration);
                }
                return next;
            }
            Guard::Is(value) => {
                self.approach(&configuration, value, APPROACH_MAX, ahead, &mut enabled);
            }
            Guard::IsNot(value) => self.depart(&configuration, value, ahead, &mut enabled),
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
    fn is_wanted(&self, configuration: &Configuration, value: u32, ahead: &Ahead) -> bool {
        let is_owed = |slot: &usize| !configuration.linearized.contains(*slot);
        let waits = |slot: usize| self.effect(slot).guard == Guard::Is(value);
        ahead.wanted.contains_key(&value)
            || ahead.replacers_of(value).iter().any(is_owed)
            || self
                .sorts
                .observers
                .without(&configuration.linearized)
                .iter()
                .any(waits)
    }

    /// What may as well happen just before something is overwritten.
    fn before_write(
        &self,
        configuration: &Configuration,
        value: Option<u32>,
        ahead: &Ahead,
        ways: &mut Vec<Configuration>,
    ) {
        ways.push(self.settled_row(configuration, ahead));
        ways.push(configuration.clone());
        let until = value.and_then(|value| ahead.wanted.get(&value));
        if let Some(until) = until {
            ways.extend(self.with_visits(configuration, *until, ahead));
        }
    }

    /// Goes to each value that is owed before `until`, and not wanted later: what comes
    /// next has to stay till then.
    fn with_visits(
        &self,
        configuration: &Configuration,
        until: u64,
        ahead: &Ahead,
    ) -> Option<Configuration> {
        let mut next = configuration.clone();
        let mut visits = 0;
        for slot in &ahead.order {
            if self.ends_at(*slot) > until || visits == VISITS_MAX {
                break;
            }
            let Guard::Is(value) = self.effect(*slot).guard else {
                continue;
            };
            if next.linearized.contains(*slot) || ahead.wanted.contains_key(&value) {
                continue;
            }
            let is_left = |writer: &&usize| {
                self.sorts.blind.contains(**writer) && !next.linearized.contains(**writer)
            };
            if let Some(writer) = ahead.writers_of(value).iter().find(is_left) {
                let visited = self.applied(&next, *writer);
                next = self.settled_row(&visited, ahead);
                visits += 1;
            }
        }
        (visits > 0).then_some(next)
    }

    /// Carries out replacements that are owed, as long as there are some of what is there.
    fn settled_row(&self, configuration: &Configuration, ahead: &Ahead) -> Configuration {
        let mut next = configuration.clone();
        for _ in 0..ROW_MAX {
            let At::Value(at) = next.at else { break };
            let owed = ahead
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

    /// Ways to `value`: over open operations, or else over unknown ones.
    fn approach(
        &mut self,
        configuration: &Configuration,
        value: u32,
        depth: usize,
        ahead: &Ahead,
        ways: &mut Vec<Configuration>,
    ) {
        if configuration.at == At::Value(value) {
            ways.push(configuration.clone());
            return;
        }
        let first = ways.len();
        let is_left = |slot: &&usize| !configuration.linearized.contains(**slot);
        let mut tried: Vec<u32> = Vec::new();
        let mut has_written = false;
        for slot in ahead.writers_of(value).iter().filter(is_left) {
            match self.effect(*slot).guard {
                Guard::Any if !has_written => {
                    has_written = true;
                    let mut before = Vec::new();
                    self.before_write(configuration, Some(value), ahead, &mut before);
                    ways.extend(before.iter().map(|before| self.applied(before, *slot)));
                }
                Guard::Is(from) if !tried.contains(&from) => {
                    tried.push(from);
                    if configuration.at == At::Value(from) {
                        ways.push(self.applied(configuration, *slot));
                    } else if depth > 0 {
                        let mut sources = Vec::new();
                        self.approach(configuration, from, depth - 1, ahead, &mut sources);
                        for source in sources {
                            if source.linearized.contains(*slot) {
                                continue;
                            }
                            ways.push(self.applied(&source, *slot));
                        }
                    }
                }
                _ => {}
            }
        }
        if ways.len() == first {
            let mut steps = UNKNOWN_STEPS_MAX;
            self.reach(configuration, value, &mut Vec::new(), &mut steps, ways);
            for way in &mut ways[first..] {
                self.absorb_observers(way);
            }
        }
    }

    /// Ways to be somewhere else than at `value`.
    fn depart(
        &mut self,
        configuration: &Configuration,
        value: u32,
        ahead: &Ahead,
        ways: &mut Vec<Configuration>,
    ) {
        if self.certainly_holds(configuration.at, Guard::IsNot(value)) {
            ways.push(configuration.clone());
            return;
        }
        if let At::Value(_) = configuration.at {
            let leads_away = |slot: &&usize| {
                let effect = self.effect(**slot);
                effect.set.is_some_and(|set| set != value)
                    && !configuration.linearized.contains(**slot)
                    && self.certainly_holds(configuration.at, effect.guard)
            };
            let departures = ahead.order.iter().filter(leads_away).take(DEPARTURES_MAX);
            ways.extend(departures.map(|slot| self.applied(configuration, *slot)));
        }
        if ways.is_empty() {
            self.leave(configuration, value, ways);
            for way in ways {
                self.absorb_observers(way);
            }
        }
    }

    /// What a configuration owes, the urgent more; `None` where it owes what it cannot
    /// give. `ended` has taken effect, at `now`.
    fn owed(
        &self,
        configuration: &Configuration,
        ended: usize,
        now: u64,
        ahead: &Ahead,
        coming: &Coming,
    ) -> Option<u64> {
        let mut owed = 0;
        let settled = configuration.linearized.union(&configuration.optional);
        for slot in &ahead.order {
            if *slot == ended || settled.contains(*slot) {
                continue;
            }
            owed += ahead.weights[*slot];
            if let Guard::Is(value) = self.effect(*slot).guard
                && !self.can_be_at(configuration, value, *slot, ended, ahead)
                && !coming.is_written(self.values.get(value), now, self.ends_at(*slot))
            {
                return None;
            }
        }
        let is_left = |value: &u32| self.can_be_at(configuration, *value, ended, ended, ahead);
        ahead.scarce.iter().all(is_left).then_some(owed)
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
        ahead: &Ahead,
    ) -> bool {
        let is_there = match configuration.at {
            At::Value(at) => at == value,
            At::Open(duty) => self.pool.can_write(self.duties.get(duty), value),
        };
        is_there
            || ahead.writers_of(value).iter().any(|slot| {
                *slot != by && *slot != ended && !configuration.linearized.contains(*slot)
            })
            || self.is_in_pool(value)
    }
}
