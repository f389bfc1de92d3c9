//! Configurations, and sets of them.

use std::hash::Hash;

use rustc_hash::FxHashMap;

/// A set of slots. The first 128 need no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SlotSet {
    low: u128,
    /// Slots from 128 on; no trailing zero words, so that equal sets are equal.
    high: Vec<u128>,
}

impl SlotSet {
    pub fn contains(&self, slot: usize) -> bool {
        match slot.checked_sub(128) {
            None => self.low >> slot & 1 == 1,
            Some(high) => self
                .high
                .get(high / 128)
                .is_some_and(|word| word >> (high % 128) & 1 == 1),
        }
    }

    pub fn insert(&mut self, slot: usize) {
        match slot.checked_sub(128) {
            None => self.low |= 1 << slot,
            Some(high) => {
                if self.high.len() <= high / 128 {
                    self.high.resize(high / 128 + 1, 0);
                }
                self.high[high / 128] |= 1 << (high % 128);
            }
        }
    }

    pub fn remove(&mut self, slot: usize) {
        match slot.checked_sub(128) {
            None => self.low &= !(1 << slot),
            Some(high) => {
                if let Some(word) = self.high.get_mut(high / 128) {
                    *word &= !(1 << (high % 128));
                }
                while self.high.last() == Some(&0) {
                    self.high.pop();
                }
            }
        }
    }
}

/// How many operations of each class of unknown ones were used; ascending by class, no
/// zero counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Usage(Vec<(u32, u32)>);

impl Usage {
    pub fn count(&self, class: u32) -> u32 {
        match self.0.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(at) => self.0[at].1,
            Err(_) => 0,
        }
    }

    pub fn with(&self, class: u32) -> Self {
        let mut used = self.clone();
        match used.0.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(at) => used.0[at].1 += 1,
            Err(at) => used.0.insert(at, (class, 1)),
        }
        used
    }

    /// Ascending by class.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().copied()
    }

    /// Classes of which any was used.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Other counts under other names; what has none left is dropped.
    pub fn map(&self, mut map: impl FnMut(u32, u32) -> (u32, u32)) -> Self {
        let counts = self.0.iter().map(|(class, count)| map(*class, *count));
        let mut counts: Vec<(u32, u32)> = counts.filter(|(_, count)| *count > 0).collect();
        counts.sort_unstable();
        Self(counts)
    }

    /// Whether `other` used all that this used.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.len() <= other.0.len()
            && self
                .0
                .iter()
                .all(|(class, count)| *count <= other.count(*class))
    }
}

/// One way in which the history so far can have gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Configuration {
    pub state: u32,
    pub usage: u32,
    pub linearized: SlotSet,
}

/// Gives equal things the same number.
#[derive(Clone, Debug)]
pub(crate) struct Interner<T> {
    numbers: FxHashMap<T, u32>,
    things: Vec<T>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            numbers: FxHashMap::default(),
            things: Vec::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    pub fn intern(&mut self, thing: T) -> u32 {
        if let Some(number) = self.numbers.get(&thing) {
            return *number;
        }
        let number = u32::try_from(self.things.len()).expect("fewer than 2^32 states are kept");
        self.things.push(thing.clone());
        self.numbers.insert(thing, number);
        number
    }

    pub fn get(&self, number: u32) -> &T {
        &self.things[number as usize]
    }

    pub fn len(&self) -> usize {
        self.things.len()
    }
}

/// Configurations of which none is explained by another one that used fewer unknown
/// operations.
#[derive(Debug, Default)]
pub(super) struct Antichain {
    /// The position of each in `order`, by state and linearized operations.
    usages: FxHashMap<(u32, SlotSet), Vec<(u32, usize)>>,
    /// In order of insertion, which keeps results independent of hashing.
    order: Vec<Option<Configuration>>,
    count: usize,
}

impl Antichain {
    /// Adds a configuration, unless another one explains it.
    pub fn insert(&mut self, configuration: Configuration, usages: &Interner<Usage>) -> bool {
        let key = (configuration.state, configuration.linearized.clone());
        let known = self.usages.entry(key).or_default();
        let usage = usages.get(configuration.usage);
        for (other, _) in known.iter() {
            if *other == configuration.usage || usages.get(*other).is_within(usage) {
                return false;
            }
        }
        let (order, count) = (&mut self.order, &mut self.count);
        known.retain(|(other, at)| {
            let stays = !usage.is_within(usages.get(*other));
            if !stays {
                order[*at] = None;
                *count -= 1;
            }
            stays
        });
        known.push((configuration.usage, order.len()));
        order.push(Some(configuration));
        *count += 1;
        true
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn into_configurations(self) -> Vec<Configuration> {
        self.order.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_of_slots_are_equal_whatever_was_in_them() {
        let mut set = SlotSet::default();
        set.insert(3);
        set.insert(300);
        assert!(set.contains(3) && set.contains(300) && !set.contains(4) && !set.contains(301));
        set.remove(300);
        let mut other = SlotSet::default();
        other.insert(3);
        assert_eq!(set, other);
    }

    #[test]
    fn a_subset_of_used_unknowns_replaces_its_supersets() {
        let mut usages = Interner::default();
        let none = usages.intern(Usage::default());
        let one = usages.intern(Usage::default().with(4));
        let other = usages.intern(Usage::default().with(5));
        let both = usages.intern(Usage::default().with(5).with(4));
        let with = |usage| Configuration {
            state: 0,
            usage,
            linearized: SlotSet::default(),
        };
        let mut antichain = Antichain::default();
        assert!(antichain.insert(with(both), &usages));
        assert!(antichain.insert(with(one), &usages));
        assert!(antichain.insert(with(other), &usages));
        assert!(!antichain.insert(with(both), &usages));
        assert_eq!(antichain.len(), 2);
        assert!(antichain.insert(with(none), &usages));
        assert_eq!(antichain.into_configurations(), vec![with(none)]);
    }
}
