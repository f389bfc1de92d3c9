//! Operations that were called and have not ended.

use std::collections::BTreeMap;

use veridical_histories::OperationId;

use crate::etcd::memory::tree_bytes;
use crate::etcd::operation::Open;

/// The operations in flight, and the oldest revisions that they can speak of.
#[derive(Debug, Default)]
pub(in crate::etcd) struct InFlight {
    operations: BTreeMap<OperationId, Box<Open>>,
    /// By call event, the revision that was acknowledged before the call. Both ascend
    /// together, so the first entry has the smallest revision.
    floors: BTreeMap<u64, i64>,
    /// The same of those that may write.
    writer_floors: BTreeMap<u64, i64>,
}

impl InFlight {
    pub fn contains(&self, op: OperationId) -> bool {
        self.operations.contains_key(&op)
    }

    pub fn get(&self, op: OperationId) -> Option<&Open> {
        self.operations.get(&op).map(|open| &**open)
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Open> + Clone {
        self.operations.values().map(|open| &**open)
    }

    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// The smallest revision that was acknowledged before the call of one of them.
    pub fn oldest_floor(&self) -> Option<i64> {
        self.floors.values().next().copied()
    }

    /// The same of those that may write.
    pub fn oldest_writer_floor(&self) -> Option<i64> {
        self.writer_floors.values().next().copied()
    }

    pub fn insert(&mut self, open: Box<Open>) {
        let (event, floor) = (open.call_event, open.floor.revision);
        assert!(
            self.floors
                .last_key_value()
                .is_none_or(|(last, acknowledged)| *last < event && *acknowledged <= floor),
            "calls come in order, and what is acknowledged stays so"
        );
        self.floors.insert(event, floor);
        if open.request.may_write() {
            self.writer_floors.insert(event, floor);
        }
        let before = self.operations.insert(open.op, open);
        assert!(before.is_none(), "an operation is called once");
    }

    pub fn remove(&mut self, op: OperationId) -> Option<Box<Open>> {
        let open = self.operations.remove(&op)?;
        self.forget_floor(&open);
        Some(open)
    }

    /// Removes the first of them by number.
    pub fn pop_first(&mut self) -> Option<Box<Open>> {
        let (_, open) = self.operations.pop_first()?;
        self.forget_floor(&open);
        Some(open)
    }

    fn forget_floor(&mut self, open: &Open) {
        let floor = self.floors.remove(&open.call_event);
        assert_eq!(
            floor,
            Some(open.floor.revision),
            "each operation in flight has its floor"
        );
        self.writer_floors.remove(&open.call_event);
    }

    /// Bytes of the tables of floors, estimated.
    pub fn floor_bytes(&self) -> usize {
        tree_bytes(&self.floors) + tree_bytes(&self.writer_floors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_histories::etcd::{RangeRequest, Request};

    fn read(op: u64, floor: i64) -> Box<Open> {
        Open::example(op, floor, Request::Range(RangeRequest::get("a")))
    }

    #[test]
    fn the_oldest_floor_is_that_of_the_first_call_that_is_left() {
        let mut in_flight = InFlight::default();
        for (op, floor) in [(1, 3), (2, 3), (3, 7)] {
            in_flight.insert(read(op, floor));
        }
        assert_eq!(in_flight.oldest_floor(), Some(3));
        in_flight.remove(OperationId(1));
        in_flight.remove(OperationId(2));
        assert_eq!(in_flight.oldest_floor(), Some(7));
        assert_eq!(in_flight.oldest_writer_floor(), None);
    }

    #[test]
    #[should_panic(expected = "what is acknowledged stays so")]
    fn a_later_call_has_no_smaller_floor() {
        let mut in_flight = InFlight::default();
        in_flight.insert(read(1, 3));
        in_flight.insert(read(2, 2));
    }

    #[test]
    #[should_panic(expected = "an operation is called once")]
    fn an_operation_in_flight_is_not_called_again() {
        let mut in_flight = InFlight::default();
        in_flight.insert(read(1, 3));
        let mut again = read(1, 3);
        again.call_event = 2;
        in_flight.insert(again);
    }

    #[test]
    #[should_panic(expected = "has its floor")]
    fn a_lost_floor_is_noticed() {
        let mut in_flight = InFlight::default();
        in_flight.insert(read(1, 3));
        in_flight.floors.clear();
        in_flight.remove(OperationId(1));
    }
}
