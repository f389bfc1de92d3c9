//! What engine C holds beside the versions of keys, and its limit.
//!
//! Versions are kept as far back as memory allows. The rest (leases, sessions, watches,
//! operations in flight and of unknown outcome, answers that wait) cannot be shortened
//! without guessing: where it takes more than its half of the limit, nothing is checked any
//! further, and the verdict is `unknown`.

use std::collections::BTreeMap;

use super::operation::{Done, Open};
use super::watch::{Delivery, Watch};
use super::world::Evidence;
use super::{EtcdChecker, Refusal, Sighting};
use crate::verdict::Cause;

/// Events between two looks at the tables.
const EVENTS_PER_LOOK: u64 = 1 << 12;
/// What requests, answers and seen pairs hold elsewhere, roughly.
const CONTENT_BYTES: usize = 128;

/// Bytes of a tree with this many entries, which are two thirds of its room.
fn tree_bytes<K, V>(tree: &BTreeMap<K, V>) -> usize {
    tree.len() * (size_of::<K>() + size_of::<V>()) * 3 / 2
}

impl EtcdChecker {
    /// Bytes held beside the versions of keys, estimated.
    pub fn table_bytes(&self) -> usize {
        // A request of unknown outcome is kept a second time, to know its equals by, and what it
        // writes a third time.
        let operations = self.open.len() + 3 * self.unknown.len();
        let answers = self.writers.len() + self.revocations.len() + self.observers_pending;
        let evidence: usize = self.evidence.values().map(Vec::len).sum();
        let deliveries: usize = self.deliveries.values().map(Vec::len).sum();
        let placed: usize = self.worlds.iter().map(|world| world.placed.len()).sum();
        let slots: usize = self.worlds.iter().map(|world| world.slots.bytes()).sum();
        let sessions: usize = self.sessions.values().map(tree_bytes).sum();
        operations * (size_of::<Open>() + CONTENT_BYTES)
            + answers * (size_of::<Done>() + size_of::<Open>() + 2 * CONTENT_BYTES)
            + evidence * (size_of::<Evidence>() + CONTENT_BYTES)
            + deliveries * (size_of::<Delivery>() + CONTENT_BYTES)
            + self.refusals.capacity() * (size_of::<Refusal>() + size_of::<Open>())
            + self.watches.len() * (size_of::<Watch>() + CONTENT_BYTES)
            + self.sightings.capacity() * size_of::<Sighting>()
            + placed * 32
            + slots
            + sessions
            + tree_bytes(&self.sessions)
            + tree_bytes(&self.ended)
            + tree_bytes(&self.open_floors)
            + tree_bytes(&self.open_writer_floors)
            + tree_bytes(&self.compactions_called)
            + self.leases.bytes()
    }

    /// Looks at the tables now and then. Whether the history is checked at all.
    pub(super) fn fits_into_memory(&mut self) -> bool {
        let is_due = self.statistics.events.is_multiple_of(EVENTS_PER_LOOK);
        if !self.has_given_up && is_due && self.table_bytes() > self.bytes_max {
            let events = self.statistics.events;
            self.undecided(
                Cause::Memory,
                events,
                "leases, sessions, watches and what is in flight do not fit into the memory \
                 allowed; nothing is checked any further",
            );
            *self = Self {
                statistics: self.statistics(),
                undecided: self.undecided.take(),
                bytes_max: self.bytes_max,
                has_given_up: true,
                ..Self::new(self.options.clone())
            };
        }
        !self.has_given_up
    }
}
