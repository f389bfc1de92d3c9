//! Configurations of one value, where a use of an unknown operation may be left open.

use rustc_hash::FxHashMap;

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
    pub linearized: SlotSet,
    /// Unknown operations that were certainly used.
    pub used: Usage,
    /// Duties done by operations that were overwritten; ascending.
    pub duties: Vec<u32>,
}

impl Configuration {
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
    /// value and have linearized the same. Never wrongly true.
    fn explains(
        &self,
        other: &Self,
        duties: &Interner<Duty>,
        value_of: impl Fn(u32) -> u32,
    ) -> bool {
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
        duties: &Interner<Duty>,
        value_of: impl Fn(u32) -> u32 + Copy,
    ) -> bool {
        let key = (configuration.at, configuration.linearized.clone());
        let known = self.positions.entry(key).or_default();
        self.compared += 2 * known.len();
        let order = &mut self.order;
        let is_explained = known.iter().any(|at| {
            order[*at]
                .as_ref()
                .is_some_and(|other| other.explains(&configuration, duties, value_of))
        });
        if is_explained {
            return false;
        }
        let count = &mut self.count;
        known.retain(|at| {
            let is_explained = order[*at]
                .as_ref()
                .is_none_or(|other| configuration.explains(other, duties, value_of));
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
            used: used
                .iter()
                .fold(Usage::default(), |used, class| used.with(*class)),
            duties: duties.to_vec(),
        };
        let explains = |a: &Configuration, b: &Configuration| a.explains(b, &duties, |_| 7);
        assert!(explains(&with(&[], &[]), &with(&[4], &[wide])));
        assert!(explains(&with(&[], &[wide]), &with(&[4], &[])));
        assert!(explains(&with(&[], &[wide]), &with(&[], &[narrow])));
        assert!(!explains(&with(&[], &[narrow]), &with(&[], &[wide])));
        assert!(!explains(&with(&[], &[narrow]), &with(&[2], &[])));
        assert!(!explains(&with(&[], &[wide]), &with(&[6], &[])));
        assert!(!explains(&with(&[4], &[wide]), &with(&[4], &[])));
        assert!(!explains(&with(&[], &[wide, wide]), &with(&[], &[wide])));
    }
}
