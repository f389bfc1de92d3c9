//! Operations that were called and have not ended.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use veridical_histories::OperationId;

use crate::etcd::operation::Open;

/// So many places may be empty, and as many again as are taken, before they are cleared away.
const EMPTY_PLACES: usize = 1 << 10;

/// The operations in flight, and the oldest revisions that they can speak of.
///
/// Tens of thousands may be in flight, and each comes and goes: they are kept in the order of
/// their calls, in which what was acknowledged before ascends, so that the first of them has
/// the smallest revision, and nothing needs a tree.
#[derive(Debug, Default)]
pub(in crate::etcd) struct InFlight {
    /// By call. Whoever has ended leaves its place empty until all before it have ended, or
    /// many places are empty; the first one is taken.
    calls: VecDeque<Option<Box<Open>>>,
    /// The number of the first place.
    first_place: u64,
    /// The place of each operation.
    places: FxHashMap<OperationId, u64>,
    /// The places of those that may write, and of some that have ended; the first one is taken.
    writers: VecDeque<u64>,
    /// The event of the last call, and what was acknowledged before it.
    last_call: Option<(u64, i64)>,
}

impl InFlight {
    pub fn contains(&self, op: OperationId) -> bool {
        self.places.contains_key(&op)
    }

    pub fn get(&self, op: OperationId) -> Option<&Open> {
        self.at(*self.places.get(&op)?)
    }

    /// All of them, by call.
    pub fn iter(&self) -> impl Iterator<Item = &Open> + Clone {
        self.calls.iter().flatten().map(|open| &**open)
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The smallest revision that was acknowledged before the call of one of them.
    pub fn oldest_floor(&self) -> Option<i64> {
        self.floor_at(self.first_place)
    }

    /// The same of those that may write.
    pub fn oldest_writer_floor(&self) -> Option<i64> {
        self.floor_at(*self.writers.front()?)
    }

    pub fn insert(&mut self, open: Box<Open>) {
        let (event, floor) = (open.call_event, open.floor.revision);
        assert!(
            self.last_call
                .is_none_or(|(last, acknowledged)| last < event && acknowledged <= floor),
            "calls come in order, and what is acknowledged stays so"
        );
        self.last_call = Some((event, floor));
        let place = self.first_place + self.calls.len() as u64;
        if open.request.may_write() {
            self.writers.push_back(place);
        }
        let before = self.places.insert(open.op, place);
        assert!(before.is_none(), "an operation is called once");
        self.calls.push_back(Some(open));
    }

    pub fn remove(&mut self, op: OperationId) -> Option<Box<Open>> {
        let place = self.places.remove(&op)?;
        let index = (place - self.first_place) as usize;
        let open = self.calls[index].take();
        self.leave_taken_places_first();
        if self.calls.len() > 2 * self.places.len() + EMPTY_PLACES {
            self.clear_away_empty_places();
        }
        Some(open.expect("each operation in flight has its place"))
    }

    /// Removes the first of them by call.
    pub fn pop_first(&mut self) -> Option<Box<Open>> {
        let first = self.calls.front()?.as_ref();
        let op = first.expect("the first place is taken").op;
        self.remove(op)
    }

    fn at(&self, place: u64) -> Option<&Open> {
        let index = place.checked_sub(self.first_place)?;
        self.calls.get(index as usize)?.as_deref()
    }

    fn floor_at(&self, place: u64) -> Option<i64> {
        Some(self.at(place)?.floor.revision)
    }

    fn leave_taken_places_first(&mut self) {
        while self.calls.front().is_some_and(Option::is_none) {
            self.calls.pop_front();
            self.first_place += 1;
        }
        while let Some(place) = self.writers.front()
            && self.at(*place).is_none()
        {
            self.writers.pop_front();
        }
    }

    /// One that never ends would have the places of all that come after it kept.
    fn clear_away_empty_places(&mut self) {
        self.calls.retain(Option::is_some);
        self.writers.clear();
        for (place, open) in (self.first_place..).zip(self.calls.iter().flatten()) {
            self.places.insert(open.op, place);
            if open.request.may_write() {
                self.writers.push_back(place);
            }
        }
        assert_eq!(
            self.places.len(),
            self.calls.len(),
            "each operation in flight has one place"
        );
    }

    /// Bytes beside the operations themselves, estimated.
    pub fn place_bytes(&self) -> usize {
        let place = size_of::<OperationId>() + size_of::<u64>() + 1;
        (self.calls.len() + self.writers.len()) * size_of::<u64>() + self.places.len() * place * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use veridical_histories::etcd::{PutRequest, RangeRequest, Request};

    fn read(op: u64, floor: i64) -> Box<Open> {
        Open::example(op, floor, Request::Range(RangeRequest::get("a")))
    }

    fn write(op: u64, floor: i64) -> Box<Open> {
        Open::example(op, floor, Request::Put(PutRequest::of("a", "1")))
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
    #[should_panic(expected = "has its place")]
    fn a_lost_operation_is_noticed() {
        let mut in_flight = InFlight::default();
        in_flight.insert(read(1, 3));
        in_flight.calls[0] = None;
        in_flight.remove(OperationId(1));
    }

    #[test]
    fn one_that_never_ends_keeps_no_places_of_others() {
        let mut in_flight = InFlight::default();
        in_flight.insert(write(1, 3));
        for op in 2..100_000 {
            in_flight.insert(write(op, 3 + op as i64));
            if op > 10 {
                assert!(in_flight.remove(OperationId(op - 5)).is_some());
            }
            assert!(in_flight.calls.len() <= 2 * in_flight.len() + EMPTY_PLACES);
            assert!(in_flight.writers.len() <= in_flight.calls.len());
        }
        assert_eq!(in_flight.oldest_writer_floor(), Some(3));
        in_flight.remove(OperationId(1));
        assert_eq!(in_flight.oldest_floor(), Some(5));
    }

    /// An operation comes, or the one with this number among those that are there goes.
    fn steps() -> impl Strategy<Value = Vec<(bool, bool, usize)>> {
        let step = (any::<bool>(), any::<bool>(), 0..40_usize);
        prop::collection::vec(step, 1..400)
    }

    proptest! {
        #[test]
        fn it_is_a_list_of_what_has_not_ended(steps in steps()) {
            let mut in_flight = InFlight::default();
            let mut list: Vec<Open> = Vec::new();
            for (number, (comes, writes, index)) in steps.into_iter().enumerate() {
                let number = number as u64;
                // Numbers of operations need not ascend.
                let (op, floor) = (1_000 - number, number as i64 / 7);
                if comes || list.is_empty() {
                    let mut open = if writes { write(op, floor) } else { read(op, floor) };
                    open.call_event = number;
                    list.push((*open).clone());
                    in_flight.insert(open);
                } else {
                    let gone = list.remove(index % list.len());
                    prop_assert_eq!(in_flight.remove(gone.op).map(|open| open.op), Some(gone.op));
                    prop_assert!(!in_flight.contains(gone.op));
                }
                let floor = |open: &Open| open.floor.revision;
                let mut writers = list.iter().filter(|open| open.request.may_write());
                prop_assert_eq!(in_flight.oldest_floor(), list.first().map(floor));
                prop_assert_eq!(in_flight.oldest_writer_floor(), writers.next().map(floor));
                prop_assert!(in_flight.iter().map(|open| open.op).eq(list.iter().map(|open| open.op)));
                prop_assert_eq!(in_flight.len(), list.len());
            }
        }
    }
}
