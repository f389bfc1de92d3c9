//! Events of one time count as concurrent, whatever the order in which they are written.
//!
//! Who reads a clock twice within its resolution gets the same time, and two clients that do so
//! tell nothing about which of them was first. So calls of a time come before ends of it; only
//! the events of one client keep their order, as a client waits for an end before it goes on.

use rustc_hash::FxHashMap;
use veridical_histories::{Event, EventKind};

/// Events of one time that are looked at together; more are taken in the order in which they are
/// written.
pub(super) const SIMULTANEOUS_MAX: usize = 1 << 16;

/// What is ordered: an event, with or without the place where it was read.
pub(super) trait Timed {
    /// What calls ask.
    type Input;
    /// What ends answer.
    type Output;
    /// Records of side streams.
    type Note;
    /// The event.
    fn event(&self) -> &Event<Self::Input, Self::Output, Self::Note>;
}

impl<I, O, N> Timed for Event<I, O, N> {
    type Input = I;
    type Output = O;
    type Note = N;

    fn event(&self) -> &Event<I, O, N> {
        self
    }
}

impl<I, O, N> Timed for (Event<I, O, N>, Option<u64>) {
    type Input = I;
    type Output = O;
    type Note = N;

    fn event(&self) -> &Event<I, O, N> {
        &self.0
    }
}

/// Where the events of the last time begin: more of that time may follow.
pub(super) fn last_time_begins<T: Timed>(items: &[T]) -> usize {
    let Some(last) = items.last() else {
        return 0;
    };
    let time_ns = last.event().time_ns;
    let before = items
        .iter()
        .rposition(|item| item.event().time_ns != time_ns);
    before.map_or(0, |at| at + 1)
}

/// Moves calls before the ends of the same time, those of one client excepted.
pub(super) fn order<T: Timed>(items: &mut [T]) {
    let same_time = |a: &T, b: &T| a.event().time_ns == b.event().time_ns;
    for run in items.chunk_by_mut(same_time) {
        if run.len() > 1 && has_call_after_end(run) {
            order_run(run);
        }
    }
}

fn has_call_after_end<T: Timed>(run: &[T]) -> bool {
    let first_end = run.iter().position(|item| !item.event().is_call());
    first_end.is_some_and(|at| run[at..].iter().any(|item| item.event().is_call()))
}

/// Rounds of calls and ends: a client's next call is in the round after its last end.
fn order_run<T: Timed>(run: &mut [T]) {
    let mut rounds: FxHashMap<u64, u32> = FxHashMap::default();
    let mut keyed: Vec<u32> = Vec::with_capacity(run.len());
    for item in run.iter() {
        let event = item.event();
        let is_end = u32::from(!matches!(event.kind, EventKind::Call { .. }));
        let round = rounds.entry(event.client).or_insert(is_end);
        // Calls are in even rounds, ends in odd ones.
        *round += u32::from(*round % 2 != is_end);
        keyed.push(*round);
    }
    let mut order: Vec<usize> = (0..run.len()).collect();
    order.sort_by_key(|at| keyed[*at]);
    permute(run, order);
}

/// Moves what stands at `order[i]` to `i`.
fn permute<T>(items: &mut [T], mut order: Vec<usize>) {
    for start in 0..items.len() {
        let mut at = start;
        while order[at] != start {
            let from = order[at];
            items.swap(at, from);
            order[at] = at;
            at = from;
        }
        order[at] = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use veridical_histories::OperationId;

    type TestEvent = Event<(), ()>;

    fn event((time_ns, client, op, is_call): (u64, u64, u64, bool)) -> TestEvent {
        match is_call {
            true => Event::call(time_ns, client, OperationId(op), ()),
            false => Event::returned(time_ns, client, OperationId(op), ()),
        }
    }

    fn ordered(events: &[(u64, u64, u64, bool)]) -> Vec<(u64, bool)> {
        let mut events: Vec<TestEvent> = events.iter().copied().map(event).collect();
        order(&mut events);
        let shown = events
            .iter()
            .map(|event| (event.operation().unwrap().0, event.is_call()));
        shown.collect()
    }

    #[test]
    fn ends_wait_for_the_calls_of_other_clients_at_the_same_time() {
        let events = [
            (5, 1, 1, true),
            (7, 1, 1, false),
            (7, 2, 2, true),
            (8, 2, 2, false),
        ];
        assert_eq!(
            ordered(&events),
            [(1, true), (2, true), (1, false), (2, false)]
        );
        let apart = [
            (5, 1, 1, true),
            (6, 1, 1, false),
            (7, 2, 2, true),
            (8, 2, 2, false),
        ];
        assert_eq!(
            ordered(&apart),
            [(1, true), (1, false), (2, true), (2, false)]
        );
    }

    #[test]
    fn a_client_goes_on_only_after_its_end() {
        let events = [
            (7, 1, 1, false),
            (7, 1, 3, true),
            (7, 2, 2, true),
            (7, 1, 3, false),
            (7, 2, 2, false),
        ];
        let expected = [(2, true), (1, false), (2, false), (3, true), (3, false)];
        assert_eq!(ordered(&events), expected);
    }

    #[test]
    fn the_events_of_the_last_time_may_get_more() {
        let events = [(5, 1, 1, true), (7, 1, 1, false), (7, 2, 2, true)].map(event);
        assert_eq!(last_time_begins(&events), 1);
        assert_eq!(last_time_begins(&events[..1]), 0);
        assert_eq!(last_time_begins::<TestEvent>(&[]), 0);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_the_order_of_each_client_stays(
            clients in prop::collection::vec((0..4u64, 0..3u64), 0..40)
        ) {
            let mut open = [None; 4];
            let mut events = Vec::new();
            let mut time_ns = 0;
            for (op, (client, step_ns)) in clients.into_iter().enumerate() {
                time_ns += step_ns / 2;
                let ended: Option<u64> = open[client as usize].take();
                events.push((time_ns, client, ended.unwrap_or(op as u64), ended.is_none()));
                if ended.is_none() {
                    open[client as usize] = Some(op as u64);
                }
            }
            let before: Vec<TestEvent> = events.iter().copied().map(event).collect();
            let mut after = before.clone();
            order(&mut after);
            prop_assert!(after.is_sorted_by_key(|event| event.time_ns));
            for client in 0..4 {
                let of = |events: &[TestEvent]| -> Vec<TestEvent> {
                    events.iter().filter(|event| event.client == client).cloned().collect()
                };
                prop_assert_eq!(of(&before), of(&after));
            }
        }
    }
}
