//! Configurations of one value, where a use of an unknown operation may be left open.

use rustc_hash::FxHashMap;

use super::effect::{Effect, Guard};
pub(super) use crate::frontier::configuration::Usage;
use crate::frontier::configuration::{Interner, SlotSet};

/// Some operation of unknown outcome took effect, and nobody has seen which one: a write
/// numbered from `from` to below `to` of a value not in `except`, or one of `swaps`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Duty {
    pub from: u32,
    pub to: u32,
    /// Ascending.
    pub except: Vec<u32>,
    /// Indices of replacements, ascending.
    pub swaps: Vec<u32>,
}

impl Duty {
    /// Whether whatever can have done `other` can have done this.
    fn covers(&self, other: &Self) -> bool {
        let has_blind = other.from < other.to;
        (!has_blind
            || (self.from <= other.from
                && other.to <= self.to
                && self.except.iter().all(|value| other.except.contains(value))))
            && other.swaps.iter().all(|swap| self.swaps.contains(swap))
    }

    /// Whether `class` can have done it; `value` is what it writes.
    fn allows(&self, class: u32, value: u32) -> bool {
        let index = class >> 1;
        if class & 1 == 0 {
            (self.from..self.to).contains(&index) && !self.except.contains(&value)
        } else {
            self.swaps.contains(&index)
        }
    }
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// This value.
    Value(u32),
    /// What the operation wrote that did this duty.
    Open(u32),
}

/// One way in which the history so far can have gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Configuration {
    pub at: At,
    /// Open operations that took effect.
    pub linearized: SlotSet,
    /// Open writes that were overwritten at once, or are still to take effect: whichever
    /// turns out to be needed. None of these is in `linearized`.
    pub optional: SlotSet,
    /// Unknown operations that were certainly used.
    pub used: Usage,
    /// Duties done by operations that were overwritten; ascending.
    pub duties: Vec<u32>,
}

/// Open operations by what they may do.
#[derive(Clone, Debug, Default)]
pub(super) struct Sorts {
    /// Those that change nothing.
    pub observers: SlotSet,
    /// Those that write, whatever was there.
    pub blind: SlotSet,
    /// Words of both.
    words: usize,
}

impl Sorts {
    /// The operation in `slot` was called.
    pub fn add(&mut self, slot: usize, effect: &Effect<u32>) {
        match effect {
            Effect { set: None, .. } => self.observers.insert(slot),
            Effect {
                guard: Guard::Any, ..
            } => self.blind.insert(slot),
            _ => {}
        }
        self.words = self.observers.words().max(self.blind.words());
    }

    /// The operation in `slot` is over.
    pub fn remove(&mut self, slot: usize) {
        self.observers.remove(slot);
        self.blind.remove(slot);
        self.words = self.observers.words().max(self.blind.words());
    }
}

impl Configuration {
    /// At `value`, with nothing open.
    pub fn at(value: u32) -> Self {
        Self {
            at: At::Value(value),
            linearized: SlotSet::default(),
            optional: SlotSet::default(),
            used: Usage::default(),
            duties: Vec::new(),
        }
    }

    /// A write takes effect: all that are open can have been overwritten by it.
    pub fn overwrite(&mut self, sorts: &Sorts) {
        let others = sorts.blind.without(&self.linearized);
        self.optional = self.optional.union(&others);
    }

    /// Whether the open operations leave this at least the choices that `other` has; both
    /// have linearized the same replacements.
    fn leaves_more_open(&self, other: &Self, sorts: &Sorts) -> bool {
        // A write that may or need not take effect leaves both open; what is seen by more
        // observers is owed to fewer.
        let words = sorts.words.max(self.optional.words());
        (0..words.max(other.optional.words())).all(|at| {
            let (optional, done) = (self.optional.word(at), self.linearized.word(at));
            let other_done = other.linearized.word(at);
            let is_less_owed = other_done & sorts.observers.word(at) & !done == 0;
            let is_equal = (done ^ other_done) & sorts.blind.word(at) & !optional == 0;
            other.optional.word(at) & !optional == 0 && is_less_owed && is_equal
        })
    }

    /// The value that is there is overwritten, or no longer of interest.
    pub fn released(&self) -> Self {
        let mut released = self.clone();
        if let At::Open(duty) = self.at {
            let at = released.duties.partition_point(|known| *known <= duty);
            released.duties.insert(at, duty);
        }
        released
    }

    /// Whether everything that can follow `other` can follow this; both are at the same
    /// value and have linearized the same replacements. Never wrongly true.
    fn explains(
        &self,
        other: &Self,
        sorts: &Sorts,
        duties: &Interner<Duty>,
        value_of: impl Fn(u32) -> u32,
    ) -> bool {
        if !self.leaves_more_open(other, sorts) {
            return false;
        }
        if !self.used.may_be_within(&other.used) {
            return false;
        }
        if self.used == other.used && self.duties == other.duties {
            return true;
        }
        if self.duties.len() > other.duties.len() + other.used.len()
            || self.used.len() > other.used.len()
        {
            return false;
        }
        if self.duties.is_empty() {
            return self.used.is_within(&other.used);
        }
        // What `other` used beyond what this used.
        let mut more: Vec<(u32, u32)> = Vec::new();
        for (class, count) in other.used.iter() {
            let own = self.used.count(class);
            if own > count {
                return false;
            }
            if own < count {
                more.push((class, count - own));
            }
        }
        if self
            .used
            .iter()
            .any(|(class, _)| other.used.count(class) == 0)
        {
            return false;
        }
        // Each duty of this has one of `other` that is at least as narrow.
        let mut free: Vec<u32> = other.duties.clone();
        self.duties.iter().all(|duty| {
            if let Some(at) = free.iter().position(|other| other == duty) {
                free.remove(at);
                return true;
            }
            let duty = duties.get(*duty);
            if let Some(at) = free
                .iter()
                .position(|other| duty.covers(duties.get(*other)))
            {
                free.remove(at);
                return true;
            }
            let used = more
                .iter_mut()
                .find(|(class, left)| *left > 0 && duty.allows(*class, value_of(*class)));
            used.map(|(_, left)| *left -= 1).is_some()
        })
    }
}

/// Configurations of which none is explained by another one.
#[derive(Debug, Default)]
pub(super) struct Antichain {
    positions: FxHashMap<(At, SlotSet), Vec<usize>>,
    /// In order of insertion, which keeps results independent of hashing.
    order: Vec<Option<Configuration>>,
    count: usize,
    /// Pairs that were compared.
    compared: usize,
}

impl Antichain {
    /// Adds a configuration, unless another one explains it.
    pub fn insert(
        &mut self,
        configuration: Configuration,
        sorts: &Sorts,
        duties: &Interner<Duty>,
        value_of: impl Fn(u32) -> u32 + Copy,
    ) -> bool {
        let others = sorts.observers.union(&sorts.blind);
        let key = (configuration.at, configuration.linearized.without(&others));
        let known = self.positions.entry(key).or_default();
        self.compared += 2 * known.len();
        let order = &mut self.order;
        let is_explained = known.iter().any(|at| {
            order[*at]
                .as_ref()
                .is_some_and(|other| other.explains(&configuration, sorts, duties, value_of))
        });
        if is_explained {
            return false;
        }
        let count = &mut self.count;
        known.retain(|at| {
            let is_explained = order[*at]
                .as_ref()
                .is_none_or(|other| configuration.explains(other, sorts, duties, value_of));
            if is_explained {
                order[*at] = None;
                *count -= 1;
            }
            !is_explained
        });
        known.push(order.len());
        order.push(Some(configuration));
        *count += 1;
        true
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// How many pairs were compared.
    pub fn compared(&self) -> usize {
        self.compared
    }

    pub fn into_configurations(self) -> Vec<Configuration> {
        self.order.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_left_open_explains_every_use_it_allows() {
        let mut duties = Interner::default();
        let wide = duties.intern(Duty {
            from: 0,
            to: 3,
            except: Vec::new(),
            swaps: Vec::new(),
        });
        let narrow = duties.intern(Duty {
            from: 0,
            to: 2,
            except: vec![7],
            swaps: Vec::new(),
        });
        let with = |used: &[u32], duties: &[u32]| Configuration {
            at: At::Value(0),
            linearized: SlotSet::default(),
            optional: SlotSet::default(),
            used: used
                .iter()
                .fold(Usage::default(), |used, class| used.with(*class)),
            duties: duties.to_vec(),
        };
        let explains =
            |a: &Configuration, b: &Configuration| a.explains(b, &Sorts::default(), &duties, |_| 7);
        assert!(explains(&with(&[], &[]), &with(&[4], &[wide])));
        assert!(explains(&with(&[], &[wide]), &with(&[4], &[])));
        assert!(explains(&with(&[], &[wide]), &with(&[], &[narrow])));
        assert!(!explains(&with(&[], &[narrow]), &with(&[], &[wide])));
        assert!(!explains(&with(&[], &[narrow]), &with(&[2], &[])));
        assert!(!explains(&with(&[], &[wide]), &with(&[6], &[])));
        assert!(!explains(&with(&[4], &[wide]), &with(&[4], &[])));
        assert!(!explains(&with(&[], &[wide, wide]), &with(&[], &[wide])));
    }

    #[test]
    fn a_write_that_is_optional_explains_one_that_is_done_or_owed() {
        let slots = |slots: &[usize]| {
            slots.iter().fold(SlotSet::default(), |mut set, slot| {
                set.insert(*slot);
                set
            })
        };
        let sorts = Sorts {
            observers: slots(&[0]),
            blind: slots(&[1]),
            words: 1,
        };
        let with = |linearized: &[usize], optional: &[usize]| Configuration {
            linearized: slots(linearized),
            optional: slots(optional),
            ..Configuration::at(0)
        };
        let explains = |a: &Configuration, b: &Configuration| {
            a.explains(b, &sorts, &Interner::default(), |_| 0)
        };
        assert!(explains(&with(&[], &[1]), &with(&[1], &[])));
        assert!(explains(&with(&[], &[1]), &with(&[], &[])));
        assert!(!explains(&with(&[1], &[]), &with(&[], &[])));
        assert!(!explains(&with(&[], &[]), &with(&[1], &[])));
        assert!(!explains(&with(&[], &[]), &with(&[], &[1])));
        // An answer that was given is owed no longer.
        assert!(explains(&with(&[0], &[]), &with(&[], &[])));
        assert!(!explains(&with(&[], &[]), &with(&[0], &[])));
        assert!(!explains(&with(&[], &[1]), &with(&[0, 1], &[])));
    }
}
