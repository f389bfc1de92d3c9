//! Operations of unknown outcome, merged into classes of equal effect.

use rustc_hash::FxHashMap;

use super::configuration::{Duty, Usage};
use super::effect::Guard;

/// Writes of one value, whatever was there before.
#[derive(Clone, Debug)]
pub(super) struct Blind {
    pub value: u32,
    /// How many there are that not every configuration has used.
    pub available: u32,
}

/// Replacements of one value by another.
#[derive(Clone, Debug)]
pub(super) struct Swap {
    pub from: u32,
    pub to: u32,
    pub available: u32,
}

/// A class: even numbers are [`Blind`], odd ones [`Swap`].
pub(super) type Class = u32;

pub(super) fn blind_class(index: u32) -> Class {
    index << 1
}

pub(super) fn swap_class(index: u32) -> Class {
    index << 1 | 1
}

/// All of them. Classes are numbered in order of call, as far as duties tell them apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    pub blind: Vec<Blind>,
    pub swaps: Vec<Swap>,
    /// Indices by the value they write, ascending.
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

    /// Adds a write of `value`. It joins a class only where `may_join`: a duty taken on
    /// earlier cannot have been done by an operation called later.
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

    /// `count` operations of `class` were used whatever happened.
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

    /// What those can do that are not used up: what has to be there, and what they write.
    pub fn left(&self) -> impl Iterator<Item = (Guard<u32>, u32)> {
        let blind = self.blind.iter().filter(|class| class.available > 0);
        let swaps = self.swaps.iter().filter(|class| class.available > 0);
        blind
            .map(|class| (Guard::Any, class.value))
            .chain(swaps.map(|class| (Guard::Is(class.from), class.to)))
    }

    /// Classes, used up ones included.
    pub fn len(&self) -> usize {
        self.blind.len() + self.swaps.len()
    }

    /// Classes that are used up.
    pub fn exhausted(&self) -> usize {
        self.exhausted as usize
    }

    /// Whether a duty can have been done by writing `value`.
    pub fn can_write(&self, duty: &Duty, value: u32) -> bool {
        let is_blind = !duty.except.contains(&value)
            && self
                .blind_of(value)
                .iter()
                .any(|index| (duty.from..duty.to).contains(index));
        is_blind
            || duty
                .swaps
                .iter()
                .any(|index| self.swaps[*index as usize].to == value)
    }

    /// Classes that can have done a duty, beyond what `used` took; at most `most`.
    pub fn candidates(&self, duty: &Duty, used: &Usage, most: usize) -> Vec<(Class, u32)> {
        let blind = (duty.from..duty.to)
            .filter(|index| !duty.except.contains(&self.blind[*index as usize].value))
            .map(blind_class);
        let swaps = duty.swaps.iter().copied().map(swap_class);
        blind
            .chain(swaps)
            .map(|class| (class, self.available(class) - used.count(class)))
            .filter(|(_, left)| *left > 0)
            .take(most)
            .collect()
    }

    /// No more than the candidates of a duty, counted quickly.
    fn candidates_min(&self, duty: &Duty, used: &Usage) -> usize {
        let excepted: usize = duty
            .except
            .iter()
            .map(|value| self.blind_of(*value).len())
            .sum();
        ((duty.to - duty.from) as usize + duty.swaps.len())
            .saturating_sub(self.exhausted as usize + used.len() + excepted)
    }

    /// Whether each duty can have been done by an operation of its own, beside those that
    /// were used: a matching (Kuhn 1955).
    pub fn is_feasible(&self, duties: &[&Duty], used: &Usage) -> bool {
        let needed = duties.len();
        // One that has as many candidates as there are duties always finds one.
        let scarce: Vec<Vec<(Class, u32)>> = duties
            .iter()
            .filter(|duty| self.candidates_min(duty, used) < needed)
            .map(|duty| self.candidates(duty, used, needed))
            .filter(|candidates| candidates.len() < needed)
            .collect();
        let mut taken: FxHashMap<Class, Vec<usize>> = FxHashMap::default();
        (0..scarce.len()).all(|duty| {
            let mut visited = Vec::new();
            find_candidate(&scarce, duty, &mut taken, &mut visited)
        })
    }

    /// Forgets what is used up. Where each class went; `None` for what is gone.
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

    /// Gives values other names, and finds everything again.
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

/// Finds an operation for `duty`, moving others to other operations where needed.
fn find_candidate(
    candidates: &[Vec<(Class, u32)>],
    duty: usize,
    taken: &mut FxHashMap<Class, Vec<usize>>,
    visited: &mut Vec<Class>,
) -> bool {
    for (class, left) in &candidates[duty] {
        if visited.contains(class) {
            continue;
        }
        visited.push(*class);
        let holders = taken.entry(*class).or_default().clone();
        if holders.len() < *left as usize {
            taken.entry(*class).or_default().push(duty);
            return true;
        }
        for (at, holder) in holders.iter().enumerate() {
            if find_candidate(candidates, *holder, taken, visited) {
                if let Some(holders) = taken.get_mut(class) {
                    holders[at] = duty;
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

    fn duty(from: u32, to: u32) -> Duty {
        Duty {
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
        let (all, first, last) = (duty(0, 3), duty(0, 1), duty(2, 3));
        let none = Usage::default();
        assert!(pool.is_feasible(&[&all, &first, &last], &none));
        assert!(!pool.is_feasible(&[&all, &first, &first], &none));
        assert!(!pool.is_feasible(&[&all, &first, &last, &all], &none));
        // One more operation of the same class is enough for two.
        pool.add_blind(0, true);
        assert!(pool.is_feasible(&[&all, &first, &first], &none));
        assert!(!pool.is_feasible(&[&first, &first], &none.with(blind_class(0))));
        assert!(!pool.is_feasible(&[&duty(1, 1)], &none));
    }
}
