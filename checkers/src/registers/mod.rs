//! Engine A for objects that are one value: registers, maps, locks.
//!
//! Comes in and goes out: the same as in [`crate::frontier`], and as exactly. What is
//! known about one value makes it answer where the general search drowns in operations
//! of unknown outcome:
//!
//! - An unknown operation is used only where the next known one needs it: to be at the
//!   value that was read or replaced (found backwards from that value), or to leave a
//!   value that a refused compare-and-swap says was not there. Every legal order can be
//!   brought into this form without using more: what is overwritten unseen is left out,
//!   cycles are cut, and the rest waits until it is needed.
//! - Where a value had to be left and any of many unknown writes can have done it, the
//!   choice stays open, as a [`Duty`]; a matching tells whether all duties can have been
//!   done by different operations. Without that each such place multiplies the
//!   configurations by the number of unknown writes.
//! - Of two configurations, one whose uses can be mapped into the other's counts for both.

mod configuration;
mod effect;
mod pool;
mod search;

use veridical_histories::object::{Action, Answer, Request, Value};

use crate::frontier::configuration::{Interner, SlotSet};
use crate::frontier::{Advance, Explain};
use crate::models::{ObjectKind, ObjectModel, ObjectState};
use configuration::{At, Configuration, Duty, Usage};
use effect::{Effect, Guard};
use pool::Pool;

/// Names, classes or duties above which those out of use are looked for.
const KEPT_MIN: usize = 64;

/// An operation that is open and whose answer is known.
#[derive(Clone, Copy, Debug)]
struct OpenOperation {
    token: u64,
    effect: Effect<u32>,
}

/// What is left when nothing is open and only one configuration is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub value: Value,
    /// Operations of unknown outcome that may still take effect.
    pub unknown: Vec<Action>,
}

/// The frontier of one value.
#[derive(Debug)]
pub(crate) struct RegisterFrontier {
    configurations: Vec<Configuration>,
    /// Values by their name.
    values: Interner<Value>,
    duties: Interner<Duty>,
    pool: Pool,
    /// Open operations by slot; slots are used again.
    slots: Vec<Option<OpenOperation>>,
    nil_reads_anything: bool,
    configurations_max: usize,
    expansions: u64,
}

impl RegisterFrontier {
    /// Whether objects of this kind are one value that is only written and replaced.
    pub fn judges(kind: ObjectKind) -> bool {
        matches!(
            kind,
            ObjectKind::Register | ObjectKind::CasRegister | ObjectKind::Kv | ObjectKind::Lock
        )
    }

    fn new(values: impl IntoIterator<Item = Value>, nil_reads_anything: bool) -> Self {
        let mut names = Interner::default();
        let configurations: Vec<Configuration> = values
            .into_iter()
            .map(|value| Configuration {
                at: At::Value(names.intern(value)),
                linearized: SlotSet::default(),
                used: Usage::default(),
                duties: Vec::new(),
            })
            .collect();
        Self {
            configurations_max: configurations.len(),
            configurations,
            values: names,
            duties: Interner::default(),
            pool: Pool::default(),
            slots: Vec::new(),
            nil_reads_anything,
            expansions: 0,
        }
    }

    fn add_unknown(&mut self, effect: Effect<Value>) {
        let effect = effect.map(|value| self.values.intern(value));
        // A duty taken on earlier cannot have been done by this operation.
        let may_join = self.configurations.iter().all(|configuration| {
            configuration.duties.is_empty() && matches!(configuration.at, At::Value(_))
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
        if !only.duties.is_empty() || self.slots.iter().any(Option::is_some) {
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

    /// An over-approximation of a frontier with these configurations: every value it can
    /// be at, with every operation one that may take effect once, at any time, or never.
    fn relaxed(&self, configurations: &[Configuration]) -> Self {
        let mut values: Vec<u32> = Vec::new();
        for configuration in configurations {
            match configuration.at {
                At::Value(value) => values.push(value),
                At::Open(duty) => {
                    let none = Usage::default();
                    let duty = self.duties.get(duty);
                    let classes = self.pool.candidates(duty, &none, usize::MAX);
                    values.extend(classes.iter().map(|(class, _)| self.written_by(*class)));
                }
            }
        }
        values.sort_unstable();
        values.dedup();
        let name = |value: u32| self.values.get(value).clone();
        let mut relaxed = Self::new(values.into_iter().map(name), self.nil_reads_anything);
        let blind = self
            .pool
            .blind
            .iter()
            .map(|class| (Guard::Any, class.value, class.available));
        let swaps = self
            .pool
            .swaps
            .iter()
            .map(|class| (Guard::Is(class.from), class.to, class.available));
        let open = self
            .slots
            .iter()
            .flatten()
            .filter_map(|open| Some((open.effect.guard, open.effect.set?, 1)));
        for (guard, set, available) in blind.chain(swaps).chain(open) {
            let effect = Effect {
                guard,
                set: Some(set),
            };
            for _ in 0..available {
                relaxed.add_unknown(effect.map(name));
            }
        }
        relaxed
    }

    fn written_by(&self, class: u32) -> u32 {
        let index = (class >> 1) as usize;
        if class & 1 == 0 {
            self.pool.blind[index].value
        } else {
            self.pool.swaps[index].to
        }
    }

    /// What every configuration used is no longer to be remembered.
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

    /// Forgets names, classes and duties that are out of use.
    fn compact(&mut self) {
        let named = self.pool.len() * 2 + self.slots.len() + self.configurations.len();
        let has_idle_names = self.values.len() > KEPT_MIN + 2 * named;
        let has_idle_classes = self.pool.exhausted() > KEPT_MIN / 2 + self.pool.len() / 2;
        let has_idle_duties = self.duties.len() > KEPT_MIN + 8 * self.configurations.len();
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
        // How many are kept below an index.
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
        let mut duties: Interner<Duty> = Interner::default();
        let old_duties = std::mem::take(&mut self.duties);
        let pool = &self.pool;
        let mut duty = |number: u32, name: &mut dyn FnMut(u32) -> u32| {
            let duty = old_duties.get(number);
            let (from, to) = (below(duty.from), below(duty.to));
            let except = duty.except.iter().map(|value| name(*value));
            let mut except: Vec<u32> = except
                .filter(|value| {
                    pool.blind_of(*value)
                        .iter()
                        .any(|index| (from..to).contains(index))
                })
                .collect();
            except.sort_unstable();
            let swaps = duty.swaps.iter().filter_map(|index| swaps[*index as usize]);
            duties.intern(Duty {
                from,
                to,
                except,
                swaps: swaps.collect(),
            })
        };
        for configuration in &mut self.configurations {
            configuration.at = match configuration.at {
                At::Value(value) => At::Value(name(value)),
                At::Open(number) => At::Open(duty(number, &mut name)),
            };
            configuration.used = configuration.used.map(|class, count| (moved(class), count));
            for number in &mut configuration.duties {
                *number = duty(*number, &mut name);
            }
            configuration.duties.sort_unstable();
        }
        self.values = values;
        self.duties = duties;
    }
}

impl Explain<ObjectModel> for RegisterFrontier {
    fn begin(model: &ObjectModel, states: Vec<ObjectState>) -> Self {
        let values = states.into_iter().map(|state| match state {
            ObjectState::Value(value) => value,
            other => unreachable!("objects of this kind are one value, not {other:?}"),
        });
        Self::new(values, model.nil_is_wildcard())
    }

    fn call(&mut self, _: &ObjectModel, token: u64, input: Request, output: Answer) {
        let effect = effect::answered(&input.action, &output, self.nil_reads_anything);
        let effect = effect.map(|value| self.values.intern(value));
        let open = Some(OpenOperation { token, effect });
        match self.slots.iter().position(Option::is_none) {
            Some(slot) => self.slots[slot] = open,
            None => self.slots.push(open),
        }
    }

    fn unknown(&mut self, input: Request) {
        if let Some(effect) = effect::unanswered(&input.action) {
            self.add_unknown(effect);
        }
    }

    fn returned(&mut self, _: &ObjectModel, token: u64, limit: usize) -> Advance<Self> {
        let slot = self
            .slots
            .iter()
            .position(|slot| slot.is_some_and(|open| open.token == token));
        // A relaxed frontier does not know the operations that were open then.
        let Some(slot) = slot else {
            return Advance::Explained;
        };
        let advance = self.linearize(slot, limit);
        self.slots[slot] = None;
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
        self.configurations_max = self.configurations_max.max(self.configurations.len());
        self.exhaust_common();
        self.compact();
        advance
    }

    fn is_empty(&self) -> bool {
        self.configurations.is_empty()
    }

    fn certain_state(&self) -> Option<ObjectState> {
        let settled = self.settled()?;
        settled
            .unknown
            .is_empty()
            .then_some(ObjectState::Value(settled.value))
    }

    fn counts(&self) -> (usize, u64) {
        (self.configurations_max, self.expansions)
    }

    fn bytes(&self) -> usize {
        let duty = 2 * size_of::<Duty>() + 64;
        let value = 2 * size_of::<Value>() + 48;
        self.configurations.capacity() * (size_of::<Configuration>() + 32)
            + self.duties.len() * duty
            + self.values.len() * value
            + self.pool.len() * 96
            + self.slots.capacity() * size_of::<Option<OpenOperation>>()
    }
}
