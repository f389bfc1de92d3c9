//! Which of the waiting operations go into the next batch.
//!
//! One rule keeps the order of each caller: an operation may be sent when no earlier one of
//! its caller waits or is under way, other than in the very batch that it goes into.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use veridical_probe::{queue, sometimes};

/// Operations of one kind travel together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Those that only read: they may be sent again.
    Read,
    /// Those that write.
    Write,
}

impl Lane {
    /// Both of them.
    pub(crate) const ALL: [Self; 2] = [Self::Read, Self::Write];
}

/// How large batches become, and how long operations wait for company.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Operations in one batch.
    pub operations_max: usize,
    /// Bytes in one batch; a larger operation travels alone.
    pub bytes_max: usize,
    /// Batches of one lane that are under way at once. With one, everything that comes
    /// meanwhile makes up the next.
    pub in_flight_max: usize,
    /// How long an operation waits for company while a batch of its lane is under way and
    /// another may be. While none is under way nothing waits.
    pub delay_max: Duration,
    /// Operations that wait; above it callers wait before they are taken.
    pub waiting_max: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            operations_max: 1_024,
            bytes_max: 1024 * 1024,
            in_flight_max: 1,
            delay_max: Duration::from_millis(1),
            waiting_max: 16_384,
        }
    }
}

/// An operation that waits, with whatever its owner needs to answer it.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    pub(crate) caller: u64,
    pub(crate) lane: Lane,
    pub(crate) bytes: usize,
    pub(crate) since: Duration,
    pub(crate) item: T,
}

/// What a batch was made of, to be given back when it has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    lane: Lane,
    callers: Vec<u64>,
}

/// The waiting operations of one client, and what is under way.
pub(crate) struct BatchQueue<T> {
    limits: BatchLimits,
    waiting: VecDeque<Waiting<T>>,
    /// Batches under way by lane.
    in_flight: BTreeMap<Lane, usize>,
    /// Operations under way by caller.
    callers: BTreeMap<u64, usize>,
    /// Whether the order of callers is kept; the planted bug breaks it.
    keeps_order: bool,
}

impl<T> BatchQueue<T> {
    /// An empty queue.
    ///
    /// # Panics
    /// If a limit is zero.
    pub(crate) fn new(limits: BatchLimits, keeps_order: bool) -> Self {
        assert!(
            limits.operations_max > 0 && limits.in_flight_max > 0 && limits.waiting_max > 0,
            "a batch holds something: {limits:?}"
        );
        Self {
            limits,
            waiting: VecDeque::new(),
            in_flight: BTreeMap::new(),
            callers: BTreeMap::new(),
            keeps_order,
        }
    }

    /// Takes an operation.
    pub(crate) fn push(&mut self, waiting: Waiting<T>) {
        assert!(self.room() > 0, "callers wait while the queue is full");
        self.waiting.push_back(waiting);
        queue!(
            "client.batch-queue",
            self.waiting.len(),
            self.limits.waiting_max
        );
    }

    /// How many operations may come before callers have to wait.
    pub(crate) fn room(&self) -> usize {
        self.limits.waiting_max - self.waiting.len()
    }

    /// Whether nothing waits and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.callers.is_empty()
    }

    /// Drops operations that nobody waits for any more.
    pub(crate) fn retain(&mut self, mut is_wanted: impl FnMut(&T) -> bool) {
        self.waiting.retain(|waiting| is_wanted(&waiting.item));
    }

    /// The next batch of a lane, if one is due at `now`. It is under way from then on.
    pub(crate) fn next(&mut self, lane: Lane, now: Duration) -> Option<(Sent, Vec<T>)> {
        let in_flight = self.in_flight.get(&lane).copied().unwrap_or(0);
        if in_flight >= self.limits.in_flight_max {
            return None;
        }
        let Chosen {
            places,
            is_full,
            oldest,
        } = self.choose(lane);
        let has_waited = now >= oldest?.saturating_add(self.limits.delay_max);
        if in_flight > 0 && !is_full && !has_waited {
            return None;
        }
        sometimes!(places.len() > 1, "client.several-operations-in-a-batch");
        let mut callers = Vec::with_capacity(places.len());
        let mut items = Vec::with_capacity(places.len());
        let mut rest = VecDeque::with_capacity(self.waiting.len() - places.len());
        let mut chosen = places.into_iter().peekable();
        for (place, waiting) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            if chosen.next_if_eq(&place).is_none() {
                rest.push_back(waiting);
                continue;
            }
            *self.callers.entry(waiting.caller).or_default() += 1;
            callers.push(waiting.caller);
            items.push(waiting.item);
        }
        self.waiting = rest;
        *self.in_flight.entry(lane).or_default() += 1;
        Some((Sent { lane, callers }, items))
    }

    /// A batch has ended.
    pub(crate) fn ended(&mut self, sent: Sent) {
        let in_flight = self.in_flight.get_mut(&sent.lane);
        let in_flight = in_flight.expect("a batch of this lane is under way");
        assert!(*in_flight > 0, "more batches end than begin");
        *in_flight -= 1;
        for caller in sent.callers {
            let left = self
                .callers
                .get_mut(&caller)
                .expect("the operation is under way");
            *left -= 1;
            if *left == 0 {
                self.callers.remove(&caller);
            }
        }
    }

    /// When a batch is due that is not now.
    pub(crate) fn due_at(&self) -> Option<Duration> {
        let has_room = |lane| {
            let in_flight = self.in_flight.get(&lane).copied().unwrap_or(0);
            (1..self.limits.in_flight_max).contains(&in_flight)
        };
        let lanes = Lane::ALL.into_iter().filter(|lane| has_room(*lane));
        let oldest = lanes.filter_map(|lane| self.choose(lane).oldest).min()?;
        Some(oldest.saturating_add(self.limits.delay_max))
    }

    /// Which of the waiting ones may go together now.
    fn choose(&self, lane: Lane) -> Chosen {
        let mut chosen = Chosen::default();
        // Callers with an earlier operation that this one would overtake.
        let mut blocked = BTreeSet::new();
        let mut bytes = 0;
        for (place, waiting) in self.waiting.iter().enumerate() {
            let is_behind =
                self.callers.contains_key(&waiting.caller) || blocked.contains(&waiting.caller);
            if waiting.lane != lane || self.keeps_order && is_behind {
                blocked.insert(waiting.caller);
                continue;
            }
            let fits = chosen.places.is_empty() || bytes + waiting.bytes <= self.limits.bytes_max;
            if !fits || chosen.places.len() == self.limits.operations_max {
                chosen.is_full = true;
                break;
            }
            bytes += waiting.bytes;
            chosen.oldest.get_or_insert(waiting.since);
            chosen.places.push(place);
        }
        chosen.is_full |=
            chosen.places.len() == self.limits.operations_max || bytes >= self.limits.bytes_max;
        chosen
    }
}

/// The places of operations that may go together.
#[derive(Default)]
struct Chosen {
    places: Vec<usize>,
    is_full: bool,
    /// Since when the first of them has waited.
    oldest: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits() -> BatchLimits {
        BatchLimits {
            operations_max: 3,
            bytes_max: 100,
            in_flight_max: 2,
            delay_max: Duration::from_millis(5),
            waiting_max: 1_000,
        }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn waiting(caller: u64, lane: Lane, item: usize) -> Waiting<usize> {
        Waiting {
            caller,
            lane,
            bytes: 10,
            since: at(0),
            item,
        }
    }

    #[test]
    fn nothing_waits_while_its_lane_is_idle() {
        let mut queue = BatchQueue::new(limits(), true);
        queue.push(waiting(1, Lane::Write, 0));
        queue.push(waiting(2, Lane::Read, 1));
        let (_, writes) = queue.next(Lane::Write, at(0)).expect("the lane is idle");
        let (_, reads) = queue.next(Lane::Read, at(0)).expect("this one, too");
        assert_eq!((writes, reads), (vec![0], vec![1]));
    }

    #[test]
    fn beside_a_batch_under_way_operations_wait_for_company_but_not_for_ever() {
        let mut queue = BatchQueue::new(limits(), true);
        queue.push(waiting(1, Lane::Write, 0));
        queue.next(Lane::Write, at(0)).expect("the lane is idle");
        queue.push(waiting(2, Lane::Write, 1));
        assert!(queue.next(Lane::Write, at(4)).is_none());
        assert_eq!(queue.due_at(), Some(at(5)));
        let (_, late) = queue.next(Lane::Write, at(5)).expect("it has waited");
        assert_eq!(late, [1]);
        // Two are under way: that is as many as may be.
        queue.push(waiting(3, Lane::Write, 2));
        assert!(queue.next(Lane::Write, at(50)).is_none());
        assert_eq!(queue.due_at(), None);
    }

    #[test]
    fn a_full_batch_goes_at_once_beside_another() {
        let mut queue = BatchQueue::new(limits(), true);
        queue.push(waiting(1, Lane::Read, 0));
        queue.next(Lane::Read, at(0)).expect("the lane is idle");
        for caller in 2..6 {
            queue.push(waiting(caller, Lane::Read, caller as usize));
        }
        let (_, full) = queue.next(Lane::Read, at(0)).expect("three fill it");
        assert_eq!(full, [2, 3, 4]);
    }

    #[test]
    fn an_operation_that_is_larger_than_a_batch_travels_alone() {
        let mut queue = BatchQueue::new(limits(), true);
        for (number, bytes) in [(0, 90), (1, 500), (2, 10)] {
            queue.push(Waiting {
                bytes,
                ..waiting(number, Lane::Write, number as usize)
            });
        }
        let mut batches = Vec::new();
        while let Some((sent, items)) = queue.next(Lane::Write, at(0)) {
            queue.ended(sent);
            batches.push(items);
        }
        assert_eq!(batches, [vec![0], vec![1], vec![2]]);
    }

    #[test]
    #[should_panic(expected = "more batches end than begin")]
    fn a_batch_ends_once() {
        let mut queue = BatchQueue::new(limits(), true);
        queue.push(waiting(1, Lane::Write, 0));
        let (sent, _) = queue.next(Lane::Write, at(0)).expect("the lane is idle");
        let copy = Sent {
            lane: sent.lane,
            callers: sent.callers.clone(),
        };
        queue.ended(sent);
        queue.ended(copy);
    }

    /// Something that happens to a queue.
    #[derive(Clone, Debug)]
    enum Step {
        Push {
            caller: u64,
            write: bool,
            bytes: usize,
        },
        Next {
            write: bool,
        },
        End {
            which: usize,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u64..4, any::<bool>(), 1usize..80)
                .prop_map(|(caller, write, bytes)| Step::Push { caller, write, bytes }),
            2 => any::<bool>().prop_map(|write| Step::Next { write }),
            2 => (0usize..4).prop_map(|which| Step::End { which }),
        ]
    }

    /// Runs the steps; returns what was violated of the rule, if anything.
    fn overtaking(steps: &[Step], keeps_order: bool) -> Option<String> {
        let lane = |write| if write { Lane::Write } else { Lane::Read };
        let mut queue = BatchQueue::new(limits(), keeps_order);
        let (mut pushed, mut under_way) = (0, Vec::new());
        // Of each caller what has not ended, in the order of its calls.
        let mut open: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for step in steps {
            match *step {
                Step::Push {
                    caller,
                    write,
                    bytes,
                } => {
                    let item = (caller, pushed);
                    open.entry(caller).or_default().push(pushed);
                    let (lane, since) = (lane(write), at(0));
                    queue.push(Waiting {
                        caller,
                        lane,
                        bytes,
                        since,
                        item,
                    });
                    pushed += 1;
                }
                Step::Next { write } => {
                    let Some((sent, items)) = queue.next(lane(write), at(9)) else {
                        continue;
                    };
                    for caller in 0..4 {
                        let own: Vec<_> = items.iter().filter(|item| item.0 == caller).collect();
                        let earliest = &open[&caller];
                        let expected = earliest.iter().take(own.len());
                        if !own.iter().map(|item| &item.1).eq(expected) {
                            return Some(format!("{caller} sends {own:?}, open {earliest:?}"));
                        }
                    }
                    under_way.push((sent, items));
                }
                Step::End { which } if which < under_way.len() => {
                    let (sent, items) = under_way.remove(which);
                    for (caller, item) in items {
                        open.entry(caller).or_default().retain(|open| *open != item);
                    }
                    queue.ended(sent);
                }
                Step::End { .. } => {}
            }
        }
        None
    }

    proptest! {
        #[test]
        fn no_operation_overtakes_an_earlier_one_of_its_caller(steps in prop::collection::vec(step(), 0..60)) {
            let begun: Vec<Step> = (0..4)
                .map(|caller| Step::Push { caller, write: true, bytes: 1 })
                .chain(steps)
                .collect();
            prop_assert_eq!(overtaking(&begun, true), None);
        }
    }

    #[test]
    fn without_the_rule_a_read_overtakes_the_write_before_it() {
        let push = |caller, write| Step::Push {
            caller,
            write,
            bytes: 1,
        };
        let steps: Vec<_> = (0..4).map(|caller| push(caller, true)).collect();
        let steps = [steps, vec![push(0, false), Step::Next { write: false }]].concat();
        assert!(overtaking(&steps, false).is_some());
        assert_eq!(overtaking(&steps, true), None);
    }

    proptest! {
        #[test]
        fn everything_is_sent_once_and_in_bounds(operations in prop::collection::vec((0u64..5, any::<bool>(), 1usize..60), 1..80)) {
            let mut queue = BatchQueue::new(limits(), true);
            for (item, (caller, write, bytes)) in operations.iter().enumerate() {
                let lane = if *write { Lane::Write } else { Lane::Read };
                queue.push(Waiting { caller: *caller, lane, bytes: *bytes, since: at(0), item });
            }
            let mut seen = BTreeSet::new();
            while !queue.is_idle() {
                let due: Vec<_> = Lane::ALL.into_iter().filter_map(|lane| queue.next(lane, at(9))).collect();
                prop_assert!(!due.is_empty(), "something waits and nothing is sent");
                for (sent, items) in due {
                    let bytes: usize = items.iter().map(|item| operations[*item].2).sum();
                    prop_assert!(items.len() <= 3 && (bytes <= 100 || items.len() == 1));
                    for item in items {
                        prop_assert!(seen.insert(item), "{item} is sent twice");
                    }
                    queue.ended(sent);
                }
            }
            prop_assert_eq!(seen.len(), operations.len());
        }
    }
}
