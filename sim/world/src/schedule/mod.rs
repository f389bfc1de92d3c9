//! In which order ready tasks run and messages arrive.
//!
//! Inputs: the schedule of a run, as data that can be written and made smaller.
//! Outputs: `TaskScheduler` says which runnable task goes next, `MessageScheduler` when a
//! message arrives. Both are plain state machines; the world asks them.
//! Dependencies: none.
//!
//! - **Uniform**: any ready task is as likely as any other, messages take random times.
//! - **Priorities** (PCT; Burckhardt, Kothari, Musuvathi and Nagarakatte, "A Randomized
//!   Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010): each task
//!   has a random priority and the highest one goes; at a few chosen moments the one that
//!   would go becomes the lowest. Messages likewise, each directed link being a chain
//!   (Ozkan, Majumdar, Niksic, Tabaei Befrouei and Weissenbacher, "Randomized Testing of
//!   Distributed Systems with Probabilistic Guarantees", OOPSLA 2018): what is on its way
//!   on a low link waits while something is on its way on a higher one. A bug that needs
//!   d events in a certain order is found with a probability that falls with the number
//!   of events to the power of d − 1, and not exponentially.
//! - **Delay-bounded** (Emmi, Qadeer and Rakamarić, "Delay-Bounded Scheduling", POPL
//!   2011): tasks run first come, first served, and all messages take the same time, but
//!   for a few chosen ones that are put off.

mod messages;
#[cfg(any(madsim, test))]
mod tasks;

pub(crate) use messages::{Admission, MessageScheduler, Travel};
#[cfg(madsim)]
pub(crate) use tasks::{TaskCounts, TaskId, TaskScheduler};

use serde::{Deserialize, Serialize};
use std::fmt;

/// In which order a run's tasks run and its messages arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Everything is left to chance.
    #[default]
    Uniform,
    /// Tasks and links have priorities.
    Pct(Pct),
    /// Tasks run first come, first served, with exceptions.
    DelayBounded(DelayBounded),
}

/// A schedule by priorities. Its depth is one more than its changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pct {
    /// At which choices between runnable tasks, by their numbers from 0, the task that
    /// would go gets the lowest priority. The numbers are ascending.
    pub task_changes: Vec<u64>,
    /// At which messages, by their numbers from 0 over the whole network, the link gets
    /// the lowest priority. The numbers are ascending.
    pub message_changes: Vec<u64>,
    /// A message on a low link waits for those on higher ones at most this long, in ms.
    pub hold_max_ms: u64,
    /// After a message on a higher link it waits this long, in µs, for what that one
    /// brings about: the answer of a host, or that of its disk.
    pub settle_us: u64,
}

/// A schedule that puts off what is named here and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelayBounded {
    /// At which choices between runnable tasks, by their numbers from 0, the task that
    /// would go is put behind the others. The numbers are ascending.
    pub task_delays: Vec<u64>,
    /// Which messages are put off, ascending by number.
    pub message_delays: Vec<MessageDelay>,
}

/// A message that is put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageDelay {
    /// Its number from 0 over the whole network.
    pub message: u64,
    /// By how much, in ms. What follows it on its stream waits, too.
    pub delay_ms: u64,
}

impl Schedule {
    /// Whether it leaves everything to chance.
    pub const fn is_uniform(&self) -> bool {
        matches!(self, Self::Uniform)
    }

    /// Of how many chosen moments it consists.
    pub fn moments(&self) -> usize {
        match self {
            Self::Uniform => 0,
            Self::Pct(pct) => pct.task_changes.len() + pct.message_changes.len(),
            Self::DelayBounded(delays) => delays.task_delays.len() + delays.message_delays.len(),
        }
    }

    /// The schedule without the moments for whose numbers `out` holds; those of tasks
    /// come first.
    #[must_use]
    pub fn without(&self, out: impl Fn(usize) -> bool) -> Self {
        fn keep<T: Copy>(all: &[T], first: usize, out: impl Fn(usize) -> bool) -> Vec<T> {
            let numbered = all.iter().enumerate();
            let kept = numbered.filter(|(number, _)| !out(first + number));
            kept.map(|(_, moment)| *moment).collect()
        }
        match self {
            Self::Uniform => Self::Uniform,
            Self::Pct(pct) => Self::Pct(Pct {
                task_changes: keep(&pct.task_changes, 0, &out),
                message_changes: keep(&pct.message_changes, pct.task_changes.len(), &out),
                ..*pct
            }),
            Self::DelayBounded(delays) => Self::DelayBounded(DelayBounded {
                task_delays: keep(&delays.task_delays, 0, &out),
                message_delays: keep(&delays.message_delays, delays.task_delays.len(), &out),
            }),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Pct(pct) => write!(
                f,
                "pct: {} task and {} message priorities change, messages wait up to {} ms",
                pct.task_changes.len(),
                pct.message_changes.len(),
                pct.hold_max_ms
            ),
            Self::DelayBounded(delays) => write!(
                f,
                "delay-bounded: {} tasks and {} messages are put off",
                delays.task_delays.len(),
                delays.message_delays.len()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedules() -> [Schedule; 3] {
        [
            Schedule::Uniform,
            Schedule::Pct(Pct {
                task_changes: vec![3, 9],
                message_changes: vec![4],
                hold_max_ms: 5,
                settle_us: 20,
            }),
            Schedule::DelayBounded(DelayBounded {
                task_delays: vec![1],
                message_delays: vec![MessageDelay {
                    message: 7,
                    delay_ms: 40,
                }],
            }),
        ]
    }

    #[test]
    fn a_schedule_survives_its_written_form() {
        for schedule in schedules() {
            let text = serde_json::to_string(&schedule).expect("it can be written");
            let read: Schedule = serde_json::from_str(&text).expect("and read");
            assert_eq!(read, schedule);
        }
    }

    #[test]
    fn each_moment_can_be_left_out_and_leaves_the_others() {
        for schedule in schedules() {
            for number in 0..schedule.moments() {
                let less = schedule.without(|moment| moment == number);
                assert_eq!(less.moments(), schedule.moments() - 1);
            }
            assert_eq!(schedule.without(|_| false), schedule);
        }
    }
}
