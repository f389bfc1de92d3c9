//! Configurations, and sets of them.

use std::hash::Hash;

use rustc_hash::FxHashMap;

/// Words of a set that need no allocation, which are 256 slots.
const INLINE_WORDS: usize = 2;

/// A set of slots, of which the first 256 need no allocation.
///
/// It is written out here because it is copied and hashed for each configuration: with
/// `fixedbitset` 0.5, which allocates for every copy, the same steps (copy, insert, compare,
/// subtract, hash) took 2.3 to 4 times as long, for 8, 64 and 250 slots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SlotSet {
    low: [u128; INLINE_WORDS],
    /// Slots from 256 on, without trailing zero words, so that equal sets compare equal.
    high: Vec<u128>,
}

impl SlotSet {
    pub fn words(&self) -> usize {
        INLINE_WORDS + self.high.len()
    }

    pub fn word(&self, at: usize) -> u128 {
        match at.checked_sub(INLINE_WORDS) {
            None => self.low[at],
            Some(high) => self.high.get(high).copied().unwrap_or(0),
        }
    }

    fn word_mut(&mut self, at: usize) -> &mut u128 {
        match at.checked_sub(INLINE_WORDS) {
            None => &mut self.low[at],
            Some(high) => {
                if self.high.len() <= high {
                    self.high.resize(high + 1, 0);
                }
                &mut self.high[high]
            }
        }
    }

    fn trim(&mut self) {
        while self.high.last() == Some(&0) {
            self.high.pop();
        }
    }

    pub fn contains(&self, slot: usize) -> bool {
        self.word(slot / 128) >> (slot % 128) & 1 == 1
    }

    pub fn insert(&mut self, slot: usize) {
        *self.word_mut(slot / 128) |= 1 << (slot % 128);
    }

    pub fn remove(&mut self, slot: usize) {
        if slot / 128 < self.words() {
            *self.word_mut(slot / 128) &= !(1 << (slot % 128));
            self.trim();
        }
    }

    /// Whether every slot in this is in `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        (0..self.words()).all(|at| self.word(at) & !other.word(at) == 0)
    }

    /// The slots that `choose` picks, given whole words of this and of `other`.
    fn combine(&self, other: &Self, choose: impl Fn(u128, u128) -> u128) -> Self {
        let mut combined = Self::default();
        for at in 0..self.words().max(other.words()) {
            *combined.word_mut(at) = choose(self.word(at), other.word(at));
        }
        combined.trim();
        combined
    }

    pub fn union(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a | b)
    }

    pub fn without(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a & !b)
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.words()).flat_map(|at| {
            let mut left = self.word(at);
            std::iter::from_fn(move || {
                let slot = left.trailing_zeros() as usize;
                let is_there = left != 0;
                left &= left.wrapping_sub(1);
                is_there.then_some(at * 128 + slot)
            })
        })
    }
}

/// How many operations of each class of unknown ones were used; ascending by class, no
/// zero counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Usage {
    /// One bit for each class, shared by classes that are equal modulo 64.
    signature: u64,
    counts: Vec<(u32, u32)>,
}

fn signature(class: u32) -> u64 {
    1 << (class % 64)
}

impl Usage {
    pub fn count(&self, class: u32) -> u32 {
        if self.signature & signature(class) == 0 {
            return 0;
        }
        match self
            .counts
            .binary_search_by_key(&class, |(class, _)| *class)
        {
            Ok(at) => self.counts[at].1,
            Err(_) => 0,
        }
    }

    pub fn with(&self, class: u32) -> Self {
        let mut used = self.clone();
        used.signature |= signature(class);
        match used
            .counts
            .binary_search_by_key(&class, |(class, _)| *class)
        {
            Ok(at) => used.counts[at].1 += 1,
            Err(at) => used.counts.insert(at, (class, 1)),
        }
        used
    }

    /// Classes with their counts, ascending by class.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.counts.iter().copied()
    }

    /// How many classes were used.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// The usage with other counts under other numbers; classes without a use are dropped.
    pub fn map(&self, mut map: impl FnMut(u32, u32) -> (u32, u32)) -> Self {
        let counts = self.counts.iter().map(|(class, count)| map(*class, *count));
        let mut counts: Vec<(u32, u32)> = counts.filter(|(_, count)| *count > 0).collect();
        counts.sort_unstable();
        let bits = counts.iter().map(|(class, _)| signature(*class));
        Self {
            signature: bits.fold(0, |all, bit| all | bit),
            counts,
        }
    }

    /// A quick test that is false only where this used what `other` did not.
    pub fn may_be_within(&self, other: &Self) -> bool {
        self.signature & !other.signature == 0 && self.counts.len() <= other.counts.len()
    }

    /// Whether `other` used all that this used.
    pub fn is_within(&self, other: &Self) -> bool {
        self.may_be_within(other)
            && self
                .counts
                .iter()
                .all(|(class, count)| *count <= other.count(*class))
    }
}

/// A state that some legal order of the history so far reaches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Configuration {
    pub state: u32,
    pub usage: u32,
    pub linearized: SlotSet,
}

/// A table that gives equal things the same number.
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

    pub fn find(&self, thing: &T) -> Option<u32> {
        self.numbers.get(thing).copied()
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
    /// Configurations in order of insertion, which keeps results independent of hashing.
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
    fn sets_of_slots_combine_like_sets() {
        use std::collections::BTreeSet;
        let sets = [
            vec![],
            vec![0, 5, 127, 128],
            vec![5, 255, 256, 700],
            vec![700],
        ];
        for a in &sets {
            for b in &sets {
                let (x, y) = (BTreeSet::from_iter(a), BTreeSet::from_iter(b));
                let set = |slots: &[usize]| {
                    slots.iter().fold(SlotSet::default(), |mut set, slot| {
                        set.insert(*slot);
                        set
                    })
                };
                let (p, q) = (set(a), set(b));
                let same = |found: SlotSet, expected: BTreeSet<usize>| {
                    assert!(found.iter().eq(expected.iter().copied()));
                    assert_eq!(found, set(&expected.into_iter().collect::<Vec<_>>()));
                };
                same(p.union(&q), x.union(&y).map(|slot| **slot).collect());
                same(p.without(&q), x.difference(&y).map(|slot| **slot).collect());
                assert_eq!(p.is_within(&q), x.is_subset(&y));
            }
        }
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
