//! When messages arrive, if that is not left to chance.
//!
//! A message is a unit of a stream (or what the model of the network makes of one); a
//! directed link between two hosts is a chain. The courier is told what is sent, when it
//! would arrive at the earliest, and when it is there; it answers whether it may pass.

use super::Schedule;
use crate::fault::ProcessId;
use std::collections::{BTreeMap, BTreeSet};

/// A directed link.
pub(crate) type Chain = (ProcessId, ProcessId);

/// A priority: the higher, the sooner. Those that are given at first are above 0.
type Priority = i64;

/// A message: its stream and its number on the link.
type Message<K> = (K, u64);

#[derive(Clone, Copy, Debug)]
struct Flight {
    /// The place of its link in the list of links.
    link: usize,
    /// When it arrives, as things stand, in ns.
    at_ns: u64,
    /// When it passes at the latest, in ns.
    deadline_ns: u64,
    held: bool,
}

/// What is known of a directed link.
#[derive(Debug)]
struct Link<K> {
    /// None for a link that counts as one of the lowest.
    priority: Option<Priority>,
    /// When the messages under way arrive, as things stand, in ns.
    arrivals: BTreeSet<(u64, Message<K>)>,
    /// When the last message passed, in ns.
    passed_ns: Option<u64>,
}

impl<K: Ord> Link<K> {
    /// When the last of what was sent so far is there, as things stand, in ns.
    fn last_ns(&self) -> Option<u64> {
        let under_way = self.arrivals.last().map(|(at_ns, _)| *at_ns);
        under_way.max(self.passed_ns)
    }
}

#[derive(Debug)]
enum Rule {
    Chance,
    Priorities {
        changes: BTreeSet<u64>,
        hold_max_ns: u64,
        settle_ns: u64,
    },
    FirstCome {
        /// By message, in ns.
        delays: BTreeMap<u64, u64>,
    },
}

/// How often something was decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CourierCounts {
    /// Messages that waited for those on higher links.
    pub(crate) held: u64,
    /// Links that were put last.
    pub(crate) changes: u64,
    /// Messages that were put off.
    pub(crate) delays: u64,
}

/// What the schedule says of a message that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Travel {
    /// It takes the time that was drawn for it.
    AsDrawn,
    /// It takes the usual time of the network, and so much longer, in ns.
    Usual {
        /// How much longer.
        further_ns: u64,
    },
}

/// Whether a message that is there may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It may.
    Now,
    /// It has to come again at this time, in ns.
    At(u64),
}

/// The state of all messages under way. Streams are named by `K`.
#[derive(Debug)]
pub(crate) struct Courier<K> {
    rule: Rule,
    links: Vec<Link<K>>,
    /// Where a link is in that list.
    places: BTreeMap<Chain, usize>,
    flights: BTreeMap<Message<K>, Flight>,
    /// Messages so far.
    messages: u64,
    lowest: Priority,
    counts: CourierCounts,
}

impl<K: Copy + Ord> Courier<K> {
    /// A courier that goes by this schedule.
    pub(crate) fn by(schedule: &Schedule) -> Self {
        let rule = match schedule {
            Schedule::Uniform => Rule::Chance,
            Schedule::Pct(pct) => Rule::Priorities {
                changes: pct.message_changes.iter().copied().collect(),
                hold_max_ns: pct.hold_max_ms * 1_000_000,
                // At least the next moment.
                settle_ns: pct.settle_us * 1_000 + 1,
            },
            Schedule::DelayBounded(delays) => Rule::FirstCome {
                delays: delays
                    .message_delays
                    .iter()
                    .map(|delay| (delay.message, delay.delay_ms * 1_000_000))
                    .collect(),
            },
        };
        Self {
            rule,
            links: Vec::new(),
            places: BTreeMap::new(),
            flights: BTreeMap::new(),
            messages: 0,
            lowest: 0,
            counts: CourierCounts::default(),
        }
    }

    /// Whether the priority of a link has to be drawn before something is sent there.
    #[inline]
    pub(crate) fn wants_priority(&self, chain: Chain) -> bool {
        let knows = |place: &usize| self.links[*place].priority.is_some();
        matches!(self.rule, Rule::Priorities { .. }) && !self.places.get(&chain).is_some_and(knows)
    }

    /// Gives a link its first priority.
    pub(crate) fn set_priority(&mut self, chain: Chain, priority: u32) {
        self.link(chain).priority = Some(Priority::from(priority) + 1);
    }

    /// The place of a link in the list of links.
    fn place(&mut self, chain: Chain) -> usize {
        let next = self.links.len();
        let place = *self.places.entry(chain).or_insert(next);
        if place == next {
            self.links.push(Link {
                priority: None,
                arrivals: BTreeSet::new(),
                passed_ns: None,
            });
        }
        place
    }

    fn link(&mut self, chain: Chain) -> &mut Link<K> {
        let place = self.place(chain);
        &mut self.links[place]
    }

    /// A message is sent.
    #[inline]
    pub(crate) fn send(&mut self, chain: Chain) -> Travel {
        if matches!(self.rule, Rule::Chance) {
            return Travel::AsDrawn;
        }
        let number = self.messages;
        self.messages += 1;
        match &self.rule {
            Rule::Chance => Travel::AsDrawn,
            Rule::Priorities { changes, .. } => {
                if changes.contains(&number) {
                    self.counts.changes += 1;
                    self.lowest -= 1;
                    let lowest = self.lowest;
                    self.link(chain).priority = Some(lowest);
                }
                Travel::Usual { further_ns: 0 }
            }
            Rule::FirstCome { delays } => {
                let further_ns = delays.get(&number).copied();
                self.counts.delays += u64::from(further_ns.is_some());
                Travel::Usual {
                    further_ns: further_ns.unwrap_or(0),
                }
            }
        }
    }

    /// A message that was sent is under way and arrives at `at_ns`.
    #[inline]
    pub(crate) fn set_out(&mut self, chain: Chain, stream: K, ordinal: u64, at_ns: u64) {
        if let Rule::Priorities { hold_max_ns, .. } = self.rule {
            let flight = Flight {
                link: self.place(chain),
                at_ns,
                deadline_ns: at_ns + hold_max_ns,
                held: false,
            };
            self.fly((stream, ordinal), flight);
        }
    }

    fn fly(&mut self, message: Message<K>, flight: Flight) {
        self.land(message);
        let link = &mut self.links[flight.link];
        link.arrivals.insert((flight.at_ns, message));
        self.flights.insert(message, flight);
    }

    fn land(&mut self, message: Message<K>) -> Option<Flight> {
        let flight = self.flights.remove(&message)?;
        let link = &mut self.links[flight.link];
        link.arrivals.remove(&(flight.at_ns, message));
        Some(flight)
    }

    /// Something is at the end of its link at `now_ns`. What never set out passes.
    #[inline]
    pub(crate) fn arrive(&mut self, stream: K, ordinal: u64, now_ns: u64) -> Passage {
        if self.flights.is_empty() {
            return Passage::Now;
        }
        let message = (stream, ordinal);
        let Some(mut flight) = self.land(message) else {
            return Passage::Now;
        };
        let due_ns = self.settled_ns(flight.link).min(flight.deadline_ns);
        if due_ns <= now_ns {
            self.links[flight.link].passed_ns = Some(now_ns);
            return Passage::Now;
        }
        self.counts.held += u64::from(!std::mem::replace(&mut flight.held, true));
        flight.at_ns = due_ns;
        self.fly(message, flight);
        Passage::At(due_ns)
    }

    /// When, as things stand, everything on links above this one is there and has brought
    /// about what it does, in ns.
    fn settled_ns(&self, place: usize) -> u64 {
        let Rule::Priorities { settle_ns, .. } = self.rule else {
            return 0;
        };
        let priority = self.priority(&self.links[place]);
        self.links
            .iter()
            .filter(|other| self.priority(other) > priority)
            .filter_map(|other| Some(other.last_ns()? + settle_ns))
            .max()
            .unwrap_or(0)
    }

    fn priority(&self, link: &Link<K>) -> Priority {
        link.priority.unwrap_or(self.lowest)
    }

    /// Lets every message pass from now on: holding it up is a fault like others, and
    /// those have ended.
    pub(crate) fn let_pass(&mut self) {
        match &mut self.rule {
            Rule::Chance => {}
            Rule::Priorities { hold_max_ns, .. } => *hold_max_ns = 0,
            Rule::FirstCome { delays } => delays.clear(),
        }
    }

    /// How often something was decided.
    pub(crate) const fn counts(&self) -> CourierCounts {
        self.counts
    }
}

impl<K: Copy + Ord> Default for Courier<K> {
    fn default() -> Self {
        Self::by(&Schedule::Uniform)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{DelayBounded, MessageDelay, Pct};

    const LOW: Chain = (ProcessId(0), ProcessId(1));
    const HIGH: Chain = (ProcessId(2), ProcessId(1));

    fn by_priorities(message_changes: Vec<u64>) -> Courier<u32> {
        let mut courier = Courier::by(&Schedule::Pct(Pct {
            task_changes: Vec::new(),
            message_changes,
            hold_max_ms: 1,
            settle_us: 0,
        }));
        for (chain, priority) in [(LOW, 1), (HIGH, 2)] {
            assert!(courier.wants_priority(chain));
            courier.set_priority(chain, priority);
            assert!(!courier.wants_priority(chain));
        }
        courier
    }

    fn sent(courier: &mut Courier<u32>, chain: Chain, stream: u32, at_ns: u64) {
        assert_eq!(courier.send(chain), Travel::Usual { further_ns: 0 });
        courier.set_out(chain, stream, 1, at_ns);
    }

    #[test]
    fn after_the_faults_no_message_waits() {
        let mut courier = by_priorities(Vec::new());
        courier.let_pass();
        assert_eq!(courier.send(HIGH), Travel::Usual { further_ns: 0 });
        courier.set_out(HIGH, 1, 0, 500_000);
        courier.send(LOW);
        courier.set_out(LOW, 0, 0, 100_000);
        assert_eq!(courier.arrive(0, 0, 100_000), Passage::Now);
    }

    #[test]
    fn a_low_message_waits_until_the_higher_ones_are_there() {
        let mut courier = by_priorities(Vec::new());
        sent(&mut courier, LOW, 0, 100);
        sent(&mut courier, HIGH, 1, 250);
        assert_eq!(courier.arrive(0, 1, 100), Passage::At(251));
        assert_eq!(courier.arrive(1, 1, 250), Passage::Now);
        assert_eq!(courier.arrive(0, 1, 251), Passage::Now);
        assert_eq!(courier.counts().held, 1);
    }

    #[test]
    fn nothing_waits_longer_than_the_bound() {
        let mut courier = by_priorities(Vec::new());
        sent(&mut courier, LOW, 0, 100);
        sent(&mut courier, HIGH, 1, 50_000_000);
        assert_eq!(courier.arrive(0, 1, 100), Passage::At(1_000_100));
        assert_eq!(courier.arrive(0, 1, 1_000_100), Passage::Now);
    }

    #[test]
    fn a_low_message_waits_for_what_a_higher_one_brings_about() {
        let mut courier = Courier::by(&Schedule::Pct(Pct {
            hold_max_ms: 1,
            settle_us: 10,
            ..Pct::default()
        }));
        courier.set_priority(LOW, 1);
        courier.set_priority(HIGH, 2);
        sent(&mut courier, LOW, 0, 200);
        sent(&mut courier, HIGH, 1, 100);
        assert_eq!(courier.arrive(1, 1, 100), Passage::Now);
        assert_eq!(courier.arrive(0, 1, 200), Passage::At(10_101));
        // The answer.
        courier.set_out(HIGH, 1, 2, 5_000);
        assert_eq!(courier.arrive(1, 2, 5_000), Passage::Now);
        assert_eq!(courier.arrive(0, 1, 10_101), Passage::At(15_001));
        assert_eq!(courier.arrive(0, 1, 15_001), Passage::Now);
    }

    #[test]
    fn a_change_puts_the_link_last() {
        // The second message is the one on the high link.
        let mut courier = by_priorities(vec![1]);
        sent(&mut courier, LOW, 0, 300);
        sent(&mut courier, HIGH, 1, 250);
        assert_eq!(courier.arrive(1, 1, 250), Passage::At(301));
        assert_eq!(courier.arrive(0, 1, 300), Passage::Now);
        assert_eq!(courier.arrive(1, 1, 301), Passage::Now);
        assert_eq!(courier.counts().changes, 1);
    }

    #[test]
    fn only_the_chosen_messages_are_put_off() {
        let delay = MessageDelay {
            message: 1,
            delay_ms: 3,
        };
        let schedule = Schedule::DelayBounded(DelayBounded {
            task_delays: Vec::new(),
            message_delays: vec![delay],
        });
        let mut courier = Courier::<u32>::by(&schedule);
        let further: Vec<Travel> = (0..3).map(|_| courier.send(LOW)).collect();
        let usual = |further_ns| Travel::Usual { further_ns };
        assert_eq!(further, [usual(0), usual(3_000_000), usual(0)]);
        assert_eq!(courier.arrive(0, 1, 5), Passage::Now);
        assert_eq!(courier.counts().delays, 1);
    }

    #[test]
    fn chance_is_left_alone() {
        let mut courier = Courier::<u32>::default();
        assert!(!courier.wants_priority(LOW));
        assert_eq!(courier.send(LOW), Travel::AsDrawn);
        courier.set_out(LOW, 0, 1, 100);
        assert_eq!(courier.arrive(0, 1, 100), Passage::Now);
    }
}
