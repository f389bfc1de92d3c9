//! The message scheduler: when messages arrive, if that is not left to chance.
//!
//! A message is a unit of a stream (or what the model of the network makes of one); a
//! directed link between two hosts is a chain. The scheduler is told what is sent, when it
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
    /// The index of its link in the list of links.
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
pub(crate) struct MessageCounts {
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

/// Whether a message that is at the end of its link may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It passes.
    Now,
    /// It waits until this time, in ns, and is looked at again then.
    At(u64),
}

/// The state of all messages under way. Streams are named by `K`.
#[derive(Debug)]
pub(crate) struct MessageScheduler<K> {
    rule: Rule,
    links: Vec<Link<K>>,
    /// The index of each link in that list.
    indices: BTreeMap<Chain, usize>,
    flights: BTreeMap<Message<K>, Flight>,
    /// Messages so far.
    messages: u64,
    lowest: Priority,
    counts: MessageCounts,
}

impl<K: Copy + Ord> MessageScheduler<K> {
    /// A scheduler that goes by this schedule.
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
            indices: BTreeMap::new(),
            flights: BTreeMap::new(),
            messages: 0,
            lowest: 0,
            counts: MessageCounts::default(),
        }
    }

    /// Whether the priority of a link has to be drawn before something is sent there.
    #[inline]
    pub(crate) fn wants_priority(&self, chain: Chain) -> bool {
        let knows = |index: &usize| self.links[*index].priority.is_some();
        matches!(self.rule, Rule::Priorities { .. }) && !self.indices.get(&chain).is_some_and(knows)
    }

    /// Gives a link its first priority.
    pub(crate) fn set_priority(&mut self, chain: Chain, priority: u32) {
        self.link(chain).priority = Some(Priority::from(priority) + 1);
    }

    /// The index of a link in the list of links.
    fn index(&mut self, chain: Chain) -> usize {
        let next = self.links.len();
        let index = *self.indices.entry(chain).or_insert(next);
        if index == next {
            self.links.push(Link {
                priority: None,
                arrivals: BTreeSet::new(),
                passed_ns: None,
            });
        }
        index
    }

    fn link(&mut self, chain: Chain) -> &mut Link<K> {
        let index = self.index(chain);
        &mut self.links[index]
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
                link: self.index(chain),
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
    pub(crate) fn arrive(&mut self, stream: K, ordinal: u64, now_ns: u64) -> Admission {
        if self.flights.is_empty() {
            return Admission::Now;
        }
        let message = (stream, ordinal);
        let Some(mut flight) = self.land(message) else {
            return Admission::Now;
        };
        let due_ns = self.settled_ns(flight.link).min(flight.deadline_ns);
        if due_ns <= now_ns {
            self.links[flight.link].passed_ns = Some(now_ns);
            return Admission::Now;
        }
        self.counts.held += u64::from(!std::mem::replace(&mut flight.held, true));
        flight.at_ns = due_ns;
        self.fly(message, flight);
        Admission::At(due_ns)
    }

    /// When, as things stand, everything on links above this one is there and has brought
    /// about what it does, in ns.
    fn settled_ns(&self, index: usize) -> u64 {
        let Rule::Priorities { settle_ns, .. } = self.rule else {
            return 0;
        };
        let priority = self.priority(&self.links[index]);
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
    pub(crate) const fn counts(&self) -> MessageCounts {
        self.counts
    }
}

impl<K: Copy + Ord> Default for MessageScheduler<K> {
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

    fn by_priorities(message_changes: Vec<u64>) -> MessageScheduler<u32> {
        let mut scheduler = MessageScheduler::by(&Schedule::Pct(Pct {
            task_changes: Vec::new(),
            message_changes,
            hold_max_ms: 1,
            settle_us: 0,
        }));
        for (chain, priority) in [(LOW, 1), (HIGH, 2)] {
            assert!(scheduler.wants_priority(chain));
            scheduler.set_priority(chain, priority);
            assert!(!scheduler.wants_priority(chain));
        }
        scheduler
    }

    fn sent(scheduler: &mut MessageScheduler<u32>, chain: Chain, stream: u32, at_ns: u64) {
        assert_eq!(scheduler.send(chain), Travel::Usual { further_ns: 0 });
        scheduler.set_out(chain, stream, 1, at_ns);
    }

    #[test]
    fn after_the_faults_no_message_waits() {
        let mut scheduler = by_priorities(Vec::new());
        scheduler.let_pass();
        assert_eq!(scheduler.send(HIGH), Travel::Usual { further_ns: 0 });
        scheduler.set_out(HIGH, 1, 0, 500_000);
        scheduler.send(LOW);
        scheduler.set_out(LOW, 0, 0, 100_000);
        assert_eq!(scheduler.arrive(0, 0, 100_000), Admission::Now);
    }

    #[test]
    fn a_low_message_waits_until_the_higher_ones_are_there() {
        let mut scheduler = by_priorities(Vec::new());
        sent(&mut scheduler, LOW, 0, 100);
        sent(&mut scheduler, HIGH, 1, 250);
        assert_eq!(scheduler.arrive(0, 1, 100), Admission::At(251));
        assert_eq!(scheduler.arrive(1, 1, 250), Admission::Now);
        assert_eq!(scheduler.arrive(0, 1, 251), Admission::Now);
        assert_eq!(scheduler.counts().held, 1);
    }

    #[test]
    fn nothing_waits_longer_than_the_bound() {
        let mut scheduler = by_priorities(Vec::new());
        sent(&mut scheduler, LOW, 0, 100);
        sent(&mut scheduler, HIGH, 1, 50_000_000);
        assert_eq!(scheduler.arrive(0, 1, 100), Admission::At(1_000_100));
        assert_eq!(scheduler.arrive(0, 1, 1_000_100), Admission::Now);
    }

    #[test]
    fn a_low_message_waits_for_what_a_higher_one_brings_about() {
        let mut scheduler = MessageScheduler::by(&Schedule::Pct(Pct {
            hold_max_ms: 1,
            settle_us: 10,
            ..Pct::default()
        }));
        scheduler.set_priority(LOW, 1);
        scheduler.set_priority(HIGH, 2);
        sent(&mut scheduler, LOW, 0, 200);
        sent(&mut scheduler, HIGH, 1, 100);
        assert_eq!(scheduler.arrive(1, 1, 100), Admission::Now);
        assert_eq!(scheduler.arrive(0, 1, 200), Admission::At(10_101));
        // This is the answer.
        scheduler.set_out(HIGH, 1, 2, 5_000);
        assert_eq!(scheduler.arrive(1, 2, 5_000), Admission::Now);
        assert_eq!(scheduler.arrive(0, 1, 10_101), Admission::At(15_001));
        assert_eq!(scheduler.arrive(0, 1, 15_001), Admission::Now);
    }

    #[test]
    fn a_change_puts_the_link_last() {
        // The second message is the one on the high link.
        let mut scheduler = by_priorities(vec![1]);
        sent(&mut scheduler, LOW, 0, 300);
        sent(&mut scheduler, HIGH, 1, 250);
        assert_eq!(scheduler.arrive(1, 1, 250), Admission::At(301));
        assert_eq!(scheduler.arrive(0, 1, 300), Admission::Now);
        assert_eq!(scheduler.arrive(1, 1, 301), Admission::Now);
        assert_eq!(scheduler.counts().changes, 1);
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
        let mut scheduler = MessageScheduler::<u32>::by(&schedule);
        let further: Vec<Travel> = (0..3).map(|_| scheduler.send(LOW)).collect();
        let usual = |further_ns| Travel::Usual { further_ns };
        assert_eq!(further, [usual(0), usual(3_000_000), usual(0)]);
        assert_eq!(scheduler.arrive(0, 1, 5), Admission::Now);
        assert_eq!(scheduler.counts().delays, 1);
    }

    #[test]
    fn chance_is_left_alone() {
        let mut scheduler = MessageScheduler::<u32>::default();
        assert!(!scheduler.wants_priority(LOW));
        assert_eq!(scheduler.send(LOW), Travel::AsDrawn);
        scheduler.set_out(LOW, 0, 1, 100);
        assert_eq!(scheduler.arrive(0, 1, 100), Admission::Now);
    }
}
