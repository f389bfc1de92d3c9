//! The queue of scheduled events, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A queue of events ordered by time, then by the order in which they were added.
///
/// The heap holds small keys; the events themselves stay where they are in a slab,
/// so that moving a key through the heap is cheap.
pub(super) struct EventQueue<T> {
    keys: BinaryHeap<Reverse<(u64, u64, u32)>>,
    entries: Vec<Option<T>>,
    free: Vec<u32>,
    added: u64,
}

impl<T> Default for EventQueue<T> {
    fn default() -> Self {
        Self {
            keys: BinaryHeap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            added: 0,
        }
    }
}

impl<T> EventQueue<T> {
    /// Adds `entry` for `at_ns`.
    pub(super) fn add(&mut self, at_ns: u64, entry: T) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.entries.push(Some(entry));
                u32::try_from(self.entries.len() - 1)
                    .expect("fewer than 2^32 entries fit in memory")
            }
        };
        self.keys.push(Reverse((at_ns, self.added, slot)));
        self.added += 1;
    }

    /// Takes out the earliest entry and its time in ns.
    pub(super) fn pop(&mut self) -> Option<(u64, T)> {
        let Reverse((at_ns, _, slot)) = self.keys.pop()?;
        self.free.push(slot);
        let entry = self.entries[slot as usize]
            .take()
            .expect("a key has its entry");
        Some((at_ns, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_order_of_time_then_of_addition() {
        let mut queue = EventQueue::default();
        for (at, name) in [(5, "c"), (1, "a"), (5, "d"), (3, "b")] {
            queue.add(at, name);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [(1, "a"), (3, "b"), (5, "c"), (5, "d")]);
    }

    #[test]
    fn slots_are_used_again() {
        let mut queue = EventQueue::default();
        for round in 0..1_000 {
            queue.add(round, round);
            assert_eq!(queue.pop(), Some((round, round)));
        }
        assert_eq!(queue.entries.len(), 1);
    }
}
