//! Open operations by their number: numbers mostly ascend, so they are their own hash.

/// Room at first.
const CAPACITY_MIN: usize = 64;

/// A table of open operations, linear probing.
#[derive(Debug)]
pub(super) struct OpenTable<T> {
    /// A power of two long.
    entries: Vec<Option<(u64, T)>>,
    used: usize,
}

impl<T> OpenTable<T> {
    pub fn new() -> Self {
        Self {
            entries: (0..CAPACITY_MIN).map(|_| None).collect(),
            used: 0,
        }
    }

    #[inline]
    fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    /// Where `op` is, or where it would go.
    #[inline]
    fn find(&self, op: u64) -> usize {
        let mut at = op as usize & self.mask();
        while let Some((found, _)) = &self.entries[at] {
            if *found == op {
                break;
            }
            at = (at + 1) & self.mask();
        }
        at
    }

    pub fn contains(&self, op: u64) -> bool {
        self.entries[self.find(op)].is_some()
    }

    /// Adds `op`, which is not there.
    #[inline]
    pub fn insert(&mut self, op: u64, open: T) {
        if (self.used + 1) * 2 > self.entries.len() {
            let larger = (0..2 * self.entries.len()).map(|_| None).collect();
            for (op, open) in std::mem::replace(&mut self.entries, larger)
                .into_iter()
                .flatten()
            {
                let at = self.find(op);
                self.entries[at] = Some((op, open));
            }
        }
        let at = self.find(op);
        self.entries[at] = Some((op, open));
        self.used += 1;
    }

    #[inline]
    pub fn remove(&mut self, op: u64) -> Option<T> {
        let mut hole = self.find(op);
        let (_, removed) = self.entries[hole].take()?;
        self.used -= 1;
        // Moves up what was pushed past the hole, so that probing needs no tombstones.
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask();
            let Some((op, _)) = &self.entries[at] else {
                break;
            };
            let home = *op as usize & self.mask();
            let distance = |from: usize| at.wrapping_sub(from) & self.mask();
            if distance(home) >= distance(hole) {
                self.entries.swap(hole, at);
                hole = at;
            }
        }
        Some(removed)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Option<(u64, T)>>()
    }

    pub fn iter(&self) -> impl Iterator<Item = &(u64, T)> {
        self.entries.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use veridical_histories::random::Random;

    #[test]
    fn it_behaves_like_a_map() {
        let mut random = Random::new(5);
        let (mut table, mut map) = (OpenTable::new(), BTreeMap::new());
        for step in 0..100_000 {
            let op = random.below(300) * if random.chance(0.3) { 64 } else { 1 };
            if table.contains(op) {
                assert_eq!(table.remove(op), map.remove(&op));
            } else {
                assert_eq!(table.remove(op), None);
                table.insert(op, step);
                map.insert(op, step);
            }
        }
        let mut all: Vec<(u64, i32)> = table.iter().copied().collect();
        all.sort_unstable();
        assert_eq!(all, map.into_iter().collect::<Vec<_>>());
    }
}
