//! The pool of operations of unknown outcome, merged into classes of equal effect.

use rustc_hash::FxHashMap;

use super::configuration::{Obligation, Usage};
use super::effect::Guard;

/// A class of writes of one value, whatever was there before.
#[derive(Clone, Debug)]
pub(super) struct Blind {
    pub value: u32,
    /// How many operations there are that not every configuration has used.
    pub available: u32,
}

/// A class of replacements of one value by another.
#[derive(Clone, Debug)]
pub(super) struct Swap {
    pub from: u32,
    pub to: u32,
    pub available: u32,
}

/// The number of a class: even numbers are [`Blind`], odd ones [`Swap`].
pub(super) type Class = u32;

pub(super) fn blind_class(index: u32) -> Class {
    index << 1
}

pub(super) fn swap_class(index: u32) -> Class {
    index << 1 | 1
}

/// All classes, numbered in order of call as far as obligations tell them apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    pub blind: Vec<Blind>,
    pub swaps: Vec<Swap>,
    /// Indices of writes by the value that they write, ascending.
    blind_of: FxHashMap<u32, Vec<u32>>,
    swaps_to: FxHashMap<u32, Vec<u32>>,
    swaps_from: FxHashMap<u32, Vec<u32>>,
    /// Classes of which every configuration has used all.
    exhausted: u32,
}

fn listed(index: &FxHashMap<u32, Vec<u32>>, value: u32) -> &[u32] {
    index.get(&value).map_or(&[], Vec::as_slice)
}

impl Pool {
    pub fn blind_of(&self, value: u32) -> &[u32] {
        listed(&self.blind_of, value)
    }

    pub fn swaps_to(&self, value: u32) -> &[u32] {
        listed(&self.swaps_to, value)
    }

    pub fn swaps_from(&self, value: u32) -> &[u32] {
        listed(&self.swaps_from, value)
    }

    /// Adds a write of `value`. It joins a class only where `may_join` says so: an operation
    /// cannot meet an obligation that was taken on before its call.
    pub fn add_blind(&mut self, value: u32, may_join: bool) {
        if let Some(last) = self.blind_of(value).last().copied()
            && may_join
        {
            let class = &mut self.blind[last as usize];
            self.exhausted -= u32::from(class.available == 0);
            class.available += 1;
            return;
        }
        let index = self.blind.len() as u32;
        self.blind.push(Blind {
            value,
            available: 1,
        });
        self.blind_of.entry(value).or_default().push(index);
    }

    /// Adds a replacement; see [`Pool::add_blind`].
    pub fn add_swap(&mut self, from: u32, to: u32, may_join: bool) {
        let same = self
            .swaps_to(to)
            .iter()
            .rev()
            .find(|index| self.swaps[**index as usize].from == from);
        if let Some(last) = same.copied()
            && may_join
        {
            let class = &mut self.swaps[last as usize];
            self.exhausted -= u32::from(class.available == 0);
            class.available += 1;
            return;
        }
        let index = self.swaps.len() as u32;
        self.swaps.push(Swap {
            from,
            to,
            available: 1,
        });
        self.swaps_to.entry(to).or_default().push(index);
        self.swaps_from.entry(from).or_default().push(index);
    }

    pub fn available(&self, class: Class) -> u32 {
        let index = (class >> 1) as usize;
        if class & 1 == 0 {
            self.blind[index].available
        } else {
            self.swaps[index].available
        }
    }

    /// Every configuration used `count` operations of `class`.
    pub fn exhaust(&mut self, class: Class, count: u32) {
        let index = (class >> 1) as usize;
        let available = if class & 1 == 0 {
            &mut self.blind[index].available
        } else {
            &mut self.swaps[index].available
        };
        *available -= count;
        self.exhausted += u32::from(*available == 0);
    }

    /// What the operations that are not used up need, and what they write.
    pub fn left(&self) -> impl Iterator<Item = (Guard<u32>, u32)> {
        let blind = self.blind.iter().filter(|class| class.available > 0);
        let swaps = self.swaps.iter().filter(|class| class.available > 0);
        blind
            .map(|class| (Guard::Any, class.value))
            .chain(swaps.map(|class| (Guard::Is(class.from), class.to)))
    }

    /// How many classes there are, used up ones included.
    pub fn len(&self) -> usize {
        self.blind.len() + self.swaps.len()
    }

    /// How many classes are used up.
    pub fn exhausted(&self) -> usize {
        self.exhausted as usize
    }

    /// Whether an operation that writes `value` can meet an obligation.
    pub fn can_write(&self, obligation: &Obligation, value: u32) -> bool {
        let is_blind = !obligation.except.contains(&value)
            && self
                .blind_of(value)
                .iter()
                .any(|index| (obligation.from..obligation.to).contains(index));
        is_blind
            || obligation
                .swaps
                .iter()
                .any(|index| self.swaps[*index as usize].to == value)
    }

    /// At most `most` classes that can meet an obligation with more than `used` took of them.
    pub fn candidates(
        &self,
        obligation: &Obligation,
        used: &Usage,
        most: usize,
    ) -> Vec<(Class, u32)> {
        let blind = (obligation.from..obligation.to)
            .filter(|index| {
                !obligation
                    .except
                    .contains(&self.blind[*index as usize].value)
            })
            .map(blind_class);
        let swaps = obligation.swaps.iter().copied().map(swap_class);
        blind
            .chain(swaps)
            .map(|class| (class, self.available(class) - used.count(class)))
            .filter(|(_, left)| *left > 0)
            .take(most)
            .collect()
    }

    /// A lower bound on the number of candidates of an obligation, counted quickly.
    fn candidates_min(&self, obligation: &Obligation, used: &Usage) -> usize {
        let excepted: usize = obligation
            .except
            .iter()
            .map(|value| self.blind_of(*value).len())
            .sum();
        ((obligation.to - obligation.from) as usize + obligation.swaps.len())
            .saturating_sub(self.exhausted as usize + used.len() + excepted)
    }

    /// Whether each obligation can be met by an operation of its own, beside those that were
    /// used: a matching (Kuhn 1955).
    pub fn is_feasible(&self, obligations: &[&Obligation], used: &Usage) -> bool {
        let needed = obligations.len();
        // An obligation with as many candidates as there are obligations always finds one.
        let scarce: Vec<Vec<(Class, u32)>> = obligations
            .iter()
            .filter(|obligation| self.candidates_min(obligation, used) < needed)
            .map(|obligation| self.candidates(obligation, used, needed))
            .filter(|candidates| candidates.len() < needed)
            .collect();
        let mut taken: FxHashMap<Class, Vec<usize>> = FxHashMap::default();
        (0..scarce.len()).all(|obligation| {
            let mut visited = Vec::new();
            find_candidate(&scarce, obligation, &mut taken, &mut visited)
        })
    }

    /// Forgets what is used up, and tells where each class went; `None` stands for what is gone.
    pub fn compact(&mut self) -> (Vec<Option<u32>>, Vec<Option<u32>>) {
        fn renumber(is_kept: impl Iterator<Item = bool>) -> Vec<Option<u32>> {
            let mut next = 0;
            is_kept
                .map(|is_kept| {
                    next += u32::from(is_kept);
                    is_kept.then(|| next - 1)
                })
                .collect()
        }
        let blind = renumber(self.blind.iter().map(|class| class.available > 0));
        let swaps = renumber(self.swaps.iter().map(|class| class.available > 0));
        self.blind.retain(|class| class.available > 0);
        self.swaps.retain(|class| class.available > 0);
        self.exhausted = 0;
        (blind, swaps)
    }

    /// Gives values other numbers, and builds the indices anew.
    pub fn rename(&mut self, mut name: impl FnMut(u32) -> u32) {
        self.blind_of.clear();
        self.swaps_to.clear();
        self.swaps_from.clear();
        for (index, class) in self.blind.iter_mut().enumerate() {
            class.value = name(class.value);
            let list = self.blind_of.entry(class.value).or_default();
            list.push(index as u32);
        }
        for (index, class) in self.swaps.iter_mut().enumerate() {
            (class.from, class.to) = (name(class.from), name(class.to));
            let list = self.swaps_to.entry(class.to).or_default();
            list.push(index as u32);
            let list = self.swaps_from.entry(class.from).or_default();
            list.push(index as u32);
        }
    }
}

/// Finds an operation for `obligation`, moving others to other operations where needed.
fn find_candidate(
    candidates: &[Vec<(Class, u32)>],
    obligation: usize,
    taken: &mut FxHashMap<Class, Vec<usize>>,
    visited: &mut Vec<Class>,
) -> bool {
    for (class, left) in &candidates[obligation] {
        if visited.contains(class) {
            continue;
        }
        visited.push(*class);
        let holders = taken.entry(*class).or_default().clone();
        if holders.len() < *left as usize {
            taken.entry(*class).or_default().push(obligation);
            return true;
        }
        for (at, holder) in holders.iter().enumerate() {
            if find_candidate(candidates, *holder, taken, visited) {
                if let Some(holders) = taken.get_mut(class) {
                    holders[at] = obligation;
                }
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obligation(from: u32, to: u32) -> Obligation {
        Obligation {
            from,
            to,
            except: Vec::new(),
            swaps: Vec::new(),
        }
    }

    #[test]
    fn duties_need_an_operation_each() {
        let mut pool = Pool::default();
        (0..3).for_each(|value| pool.add_blind(value, true));
        let (all, first, last) = (obligation(0, 3), obligation(0, 1), obligation(2, 3));
        let none = Usage::default();
        assert!(pool.is_feasible(&[&all, &first, &last], &none));
        assert!(!pool.is_feasible(&[&all, &first, &first], &none));
        assert!(!pool.is_feasible(&[&all, &first, &last, &all], &none));
        // One more operation of the same class is enough for two.
        pool.add_blind(0, true);
        assert!(pool.is_feasible(&[&all, &first, &first], &none));
        assert!(!pool.is_feasible(&[&first, &first], &none.with(blind_class(0))));
        assert!(!pool.is_feasible(&[&obligation(1, 1)], &none));
    }
}
