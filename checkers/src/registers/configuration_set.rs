//! A set of configurations of one value: all that legal orders reach, or some of them.

use veridical_histories::object::{Action, Value};

use super::configuration::{At, Configuration, Obligation, OpenByEffect, Usage};
use super::effect::{Effect, Guard};
use super::pool::{self, Pool};
use crate::frontier::configuration::Interner;

/// Values, classes or obligations above which those out of use are forgotten.
const KEPT_MIN: usize = 64;

/// An open operation whose answer is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenOperation {
    pub token: u64,
    pub effect: Effect<u32>,
    /// The position of its return among all calls and returns.
    pub ends_at: u64,
}

/// What is left when nothing is open and only one configuration is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub value: Value,
    /// Operations of unknown outcome that may still take effect.
    pub unknown: Vec<Action>,
}

/// A set of configurations, and the tables that their numbers refer to.
#[derive(Clone, Debug)]
pub(super) struct ConfigurationSet {
    pub configurations: Vec<Configuration>,
    /// Values by their number.
    pub values: Interner<Value>,
    pub obligations: Interner<Obligation>,
    pub pool: Pool,
    /// Open operations by slot; slots are reused.
    pub slots: Vec<Option<OpenOperation>>,
    pub by_effect: OpenByEffect,
    pub expansions: u64,
}

impl ConfigurationSet {
    pub fn new(values: impl IntoIterator<Item = Value>) -> Self {
        let mut names = Interner::default();
        let configurations = values
            .into_iter()
            .map(|v| Configuration::at(names.intern(v)));
        Self {
            configurations: configurations.collect(),
            values: names,
            obligations: Interner::default(),
            pool: Pool::default(),
            slots: Vec::new(),
            by_effect: OpenByEffect::default(),
            expansions: 0,
        }
    }

    pub fn call(&mut self, token: u64, effect: Effect<Value>, ends_at: u64) {
        let effect = effect.map(|value| self.values.intern(value));
        let open = OpenOperation {
            token,
            effect,
            ends_at,
        };
        let slot = match self.slots.iter().position(Option::is_none) {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        self.slots[slot] = Some(open);
        self.by_effect.add(slot, &effect);
    }

    pub fn slot_of(&self, token: u64) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.is_some_and(|open| open.token == token))
    }

    pub fn ends_at(&self, slot: usize) -> u64 {
        self.slots[slot].expect("only open slots are asked").ends_at
    }

    /// Whether only values matter: nothing is open, and nothing may still take effect.
    pub fn is_plain(&self) -> bool {
        self.slots.is_empty()
            && self.pool.len() == self.pool.exhausted()
            && self.configurations.iter().all(|configuration| {
                configuration.obligations.is_empty() && matches!(configuration.at, At::Value(_))
            })
    }

    /// Whether some configuration certainly is at `value`.
    pub fn is_at(&self, value: &Value) -> bool {
        self.configurations.iter().any(|configuration| {
            matches!(configuration.at, At::Value(at) if self.values.get(at) == value)
        })
    }

    /// The operation in `slot` has taken effect in every configuration, and is over.
    pub fn close(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.by_effect.remove(slot);
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
        self.exhaust_common();
        self.compact();
    }

    pub fn add_unknown(&mut self, effect: Effect<Value>) {
        let effect = effect.map(|value| self.values.intern(value));
        // This operation cannot meet an obligation that was taken on before its call.
        let may_join = self.configurations.iter().all(|configuration| {
            configuration.obligations.is_empty() && matches!(configuration.at, At::Value(_))
        });
        match (effect.guard, effect.set) {
            (Guard::Is(from), Some(to)) => self.pool.add_swap(from, to, may_join),
            (_, Some(to)) => self.pool.add_blind(to, may_join),
            (_, None) => {}
        }
    }

    /// The value that is certainly there, and what may still change it, where nothing
    /// else has to be remembered.
    pub fn settled(&self) -> Option<Settled> {
        let [only] = self.configurations.as_slice() else {
            return None;
        };
        let At::Value(value) = only.at else {
            return None;
        };
        if !only.obligations.is_empty() || self.slots.iter().any(Option::is_some) {
            return None;
        }
        let name = |value: u32| self.values.get(value).clone();
        let mut unknown = Vec::new();
        for (index, class) in self.pool.blind.iter().enumerate() {
            let left = class.available - only.used.count(pool::blind_class(index as u32));
            unknown.extend((0..left).map(|_| Action::Write(name(class.value))));
        }
        for (index, class) in self.pool.swaps.iter().enumerate() {
            let left = class.available - only.used.count(pool::swap_class(index as u32));
            unknown.extend((0..left).map(|_| Action::Cas {
                from: name(class.from),
                to: name(class.to),
            }));
        }
        Some(Settled {
            value: name(value),
            unknown,
        })
    }

    /// The values that an operation which meets an obligation can have written.
    pub fn written_for(&self, obligation: u32) -> Vec<u32> {
        let none = Usage::default();
        let classes = self
            .pool
            .candidates(self.obligations.get(obligation), &none, usize::MAX);
        let written = classes.iter().map(|(class, _)| self.written_by(*class));
        written.collect()
    }

    pub fn written_by(&self, class: u32) -> u32 {
        let index = (class >> 1) as usize;
        if class & 1 == 0 {
            self.pool.blind[index].value
        } else {
            self.pool.swaps[index].to
        }
    }

    /// Takes what every configuration used out of the pool, so that none has to remember it.
    fn exhaust_common(&mut self) {
        let Some((first, others)) = self.configurations.split_first() else {
            return;
        };
        let common: Vec<(u32, u32)> = first
            .used
            .iter()
            .map(|(class, count)| {
                let counts = others.iter().map(|other| other.used.count(class));
                (class, counts.fold(count, u32::min))
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        if common.is_empty() {
            return;
        }
        for (class, count) in &common {
            self.pool.exhaust(*class, *count);
        }
        for configuration in &mut self.configurations {
            configuration.used = configuration.used.map(|class, count| {
                let at = common.binary_search_by_key(&class, |(class, _)| *class);
                (class, count - at.map_or(0, |at| common[at].1))
            });
        }
    }

    /// Forgets values, classes and obligations that are out of use.
    fn compact(&mut self) {
        let named = self.pool.len() * 2 + self.slots.len() + self.configurations.len();
        let has_idle_names = self.values.len() > KEPT_MIN + 2 * named;
        let has_idle_classes = self.pool.exhausted() > KEPT_MIN / 2 + self.pool.len() / 2;
        let has_idle_duties = self.obligations.len() > KEPT_MIN + 8 * self.configurations.len();
        if !(has_idle_names || has_idle_classes || has_idle_duties) {
            return;
        }
        let (blind, swaps) = self.pool.compact();
        let moved = |class: u32| {
            let index = (class >> 1) as usize;
            let kept = if class & 1 == 0 {
                blind[index].map(pool::blind_class)
            } else {
                swaps[index].map(pool::swap_class)
            };
            kept.expect("what is used by some and not by all is not used up")
        };
        // `below` counts the classes that are kept below an index.
        let below = |index: u32| {
            let kept = blind[..index as usize].iter().rev().flatten().next();
            kept.map_or(0, |kept| kept + 1)
        };
        let mut values = Interner::default();
        let old = std::mem::take(&mut self.values);
        let mut name = |value: u32| values.intern(old.get(value).clone());
        self.pool.rename(&mut name);
        for slot in self.slots.iter_mut().flatten() {
            slot.effect = slot.effect.map(&mut name);
        }
        let mut obligations: Interner<Obligation> = Interner::default();
        let old_duties = std::mem::take(&mut self.obligations);
        let pool = &self.pool;
        let mut obligation = |number: u32, name: &mut dyn FnMut(u32) -> u32| {
            let obligation = old_duties.get(number);
            let (from, to) = (below(obligation.from), below(obligation.to));
            let except = obligation.except.iter().map(|value| name(*value));
            let mut except: Vec<u32> = except
                .filter(|value| {
                    pool.blind_of(*value)
                        .iter()
                        .any(|index| (from..to).contains(index))
                })
                .collect();
            except.sort_unstable();
            let swaps = obligation
                .swaps
                .iter()
                .filter_map(|index| swaps[*index as usize]);
            obligations.intern(Obligation {
                from,
                to,
                except,
                swaps: swaps.collect(),
            })
        };
        for configuration in &mut self.configurations {
            configuration.at = match configuration.at {
                At::Value(value) => At::Value(name(value)),
                At::Undetermined(number) => At::Undetermined(obligation(number, &mut name)),
            };
            configuration.used = configuration.used.map(|class, count| (moved(class), count));
            for number in &mut configuration.obligations {
                *number = obligation(*number, &mut name);
            }
            configuration.obligations.sort_unstable();
        }
        self.values = values;
        self.obligations = obligations;
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        let obligation = 2 * size_of::<Obligation>() + 64;
        let value = 2 * size_of::<Value>() + 48;
        self.configurations.capacity() * (size_of::<Configuration>() + 32)
            + self.obligations.len() * obligation
            + self.values.len() * value
            + self.pool.len() * 96
            + self.slots.capacity() * size_of::<Option<OpenOperation>>()
    }
}
