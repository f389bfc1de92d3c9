//! Configurations of one value, in which the use of an unknown operation may be undetermined.

use rustc_hash::FxHashMap;

use super::effect::{Effect, Guard};
pub(super) use crate::frontier::configuration::Usage;
use crate::frontier::configuration::{Interner, SlotSet};

/// An obligation: some operation of unknown outcome took effect, and nobody has seen which one.
/// It is a write numbered from `from` to below `to` of a value not in `except`, or one of
/// `swaps`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Obligation {
    pub from: u32,
    pub to: u32,
    /// Values that were certainly not written, ascending.
    pub except: Vec<u32>,
    /// Indices of replacements, ascending.
    pub swaps: Vec<u32>,
}

impl Obligation {
    /// Whether every operation that can meet `other` can meet this obligation.
    fn covers(&self, other: &Self) -> bool {
        let has_blind = other.from < other.to;
        (!has_blind
            || (self.from <= other.from
                && other.to <= self.to
                && self.except.iter().all(|value| other.except.contains(value))))
            && other.swaps.iter().all(|swap| self.swaps.contains(swap))
    }

    /// Whether an operation of `class`, which writes `value`, can meet the obligation.
    fn allows(&self, class: u32, value: u32) -> bool {
        let index = class >> 1;
        if class & 1 == 0 {
            (self.from..self.to).contains(&index) && !self.except.contains(&value)
        } else {
            self.swaps.contains(&index)
        }
    }
}

/// The value that the object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// The object holds this value.
    Value(u32),
    /// The object holds what was written by the operation that met this obligation.
    Undetermined(u32),
}

/// A state that some legal order of the history so far reaches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Configuration {
    pub at: At,
    /// Open operations that have taken effect.
    pub linearized: SlotSet,
    /// Open writes that were overwritten at once or are still to take effect, whichever turns
    /// out to be needed. None of these is in `linearized`.
    pub optional: SlotSet,
    /// Unknown operations that were certainly used.
    pub used: Usage,
    /// Obligations met by operations that were overwritten, ascending.
    pub obligations: Vec<u32>,
}

/// Open operations by the kind of their effect.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenByEffect {
    /// Operations that change nothing.
    pub observers: SlotSet,
    /// Operations that write whatever was there.
    pub blind: SlotSet,
    /// Words that the longer of both sets has.
    words: usize,
}

impl OpenByEffect {
    /// The operation in `slot` was called.
    pub fn add(&mut self, slot: usize, effect: &Effect<u32>) {
        match (effect.guard, effect.set) {
            (_, None) => self.observers.insert(slot),
            (Guard::Any, Some(_)) => self.blind.insert(slot),
            (Guard::Is(_) | Guard::IsNot(_) | Guard::Never, Some(_)) => {}
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
    /// The configuration at `value` with nothing open.
    pub fn at(value: u32) -> Self {
        Self {
            at: At::Value(value),
            linearized: SlotSet::default(),
            optional: SlotSet::default(),
            used: Usage::default(),
            obligations: Vec::new(),
        }
    }

    /// A write takes effect: every other open write may have taken effect just before it.
    pub fn overwrite(&mut self, by_effect: &OpenByEffect) {
        let others = by_effect.blind.without(&self.linearized);
        self.optional = self.optional.union(&others);
    }

    /// Whether the open operations leave this at least the choices that `other` has; both
    /// have linearized the same replacements.
    fn leaves_more_open(&self, other: &Self, by_effect: &OpenByEffect) -> bool {
        // A write that may or need not take effect leaves both open; what is seen by more
        // observers is owed to fewer.
        let words = by_effect.words.max(self.optional.words());
        (0..words.max(other.optional.words())).all(|at| {
            let (optional, done) = (self.optional.word(at), self.linearized.word(at));
            let other_done = other.linearized.word(at);
            let is_less_owed = other_done & by_effect.observers.word(at) & !done == 0;
            let is_equal = (done ^ other_done) & by_effect.blind.word(at) & !optional == 0;
            other.optional.word(at) & !optional == 0 && is_less_owed && is_equal
        })
    }

    /// The configuration after the present value is overwritten or no longer of interest.
    pub fn released(&self) -> Self {
        let mut released = self.clone();
        if let At::Undetermined(obligation) = self.at {
            let at = released
                .obligations
                .partition_point(|known| *known <= obligation);
            released.obligations.insert(at, obligation);
        }
        released
    }

    /// Whether every continuation of `other` is one of this; both are at the same value and have
    /// linearized the same replacements. The answer is never wrongly true.
    fn explains(
        &self,
        other: &Self,
        by_effect: &OpenByEffect,
        obligations: &Interner<Obligation>,
        value_of: impl Fn(u32) -> u32,
    ) -> bool {
        if !self.leaves_more_open(other, by_effect) {
            return false;
        }
        if !self.used.may_be_within(&other.used) {
            return false;
        }
        if self.used == other.used && self.obligations == other.obligations {
            return true;
        }
        if self.obligations.len() > other.obligations.len() + other.used.len()
            || self.used.len() > other.used.len()
        {
            return false;
        }
        if self.obligations.is_empty() {
            return self.used.is_within(&other.used);
        }
        // `more` holds what `other` used beyond what this used.
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
        // Each obligation of this needs one of `other` that is at least as narrow, or a use.
        let mut free: Vec<u32> = other.obligations.clone();
        self.obligations.iter().all(|obligation| {
            if let Some(at) = free.iter().position(|other| other == obligation) {
                free.remove(at);
                return true;
            }
            let obligation = obligations.get(*obligation);
            if let Some(at) = free
                .iter()
                .position(|other| obligation.covers(obligations.get(*other)))
            {
                free.remove(at);
                return true;
            }
            let used = more
                .iter_mut()
                .find(|(class, left)| *left > 0 && obligation.allows(*class, value_of(*class)));
            used.map(|(_, left)| *left -= 1).is_some()
        })
    }
}

/// An antichain: configurations of which none is explained by another one.
#[derive(Debug, Default)]
pub(super) struct Antichain {
    positions: FxHashMap<(At, SlotSet), Vec<usize>>,
    /// Configurations in order of insertion, which keeps results independent of hashing.
    order: Vec<Option<Configuration>>,
    count: usize,
    /// How many pairs were compared.
    compared: usize,
}

impl Antichain {
    /// Adds a configuration, unless another one explains it.
    pub fn insert(
        &mut self,
        configuration: Configuration,
        by_effect: &OpenByEffect,
        obligations: &Interner<Obligation>,
        value_of: impl Fn(u32) -> u32 + Copy,
    ) -> bool {
        let others = by_effect.observers.union(&by_effect.blind);
        let key = (configuration.at, configuration.linearized.without(&others));
        let known = self.positions.entry(key).or_default();
        self.compared += 2 * known.len();
        let order = &mut self.order;
        let is_explained = known.iter().any(|at| {
            order[*at].as_ref().is_some_and(|other| {
                other.explains(&configuration, by_effect, obligations, value_of)
            })
        });
        if is_explained {
            return false;
        }
        let count = &mut self.count;
        known.retain(|at| {
            let is_explained = order[*at].as_ref().is_none_or(|other| {
                configuration.explains(other, by_effect, obligations, value_of)
            });
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
        let mut obligations = Interner::default();
        let wide = obligations.intern(Obligation {
            from: 0,
            to: 3,
            except: Vec::new(),
            swaps: Vec::new(),
        });
        let narrow = obligations.intern(Obligation {
            from: 0,
            to: 2,
            except: vec![7],
            swaps: Vec::new(),
        });
        let with = |used: &[u32], obligations: &[u32]| Configuration {
            at: At::Value(0),
            linearized: SlotSet::default(),
            optional: SlotSet::default(),
            used: used
                .iter()
                .fold(Usage::default(), |used, class| used.with(*class)),
            obligations: obligations.to_vec(),
        };
        let explains = |a: &Configuration, b: &Configuration| {
            a.explains(b, &OpenByEffect::default(), &obligations, |_| 7)
        };
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
        let by_effect = OpenByEffect {
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
            a.explains(b, &by_effect, &Interner::default(), |_| 0)
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
