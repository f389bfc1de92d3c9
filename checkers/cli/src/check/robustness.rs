//! How wrong the clients' clocks may be before a violation is none any more.
//!
//! The times of a history come from the clients. If each clock may be off by ε, an
//! operation took place somewhere within [call − ε, return + ε], and a violation is only
//! one if the history widened like that is still wrong. Widening only ever allows more
//! orders, so there is a largest ε at which it is wrong: found here by doubling and
//! bisection over the part of the history that the violation needs.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use veridical_checkers::etcd::EtcdChecker;
use veridical_checkers::{
    CheckerOptions, Model, ObjectChecker, ObjectModel, Rejection, Verdict, Violation,
};
use veridical_histories::etcd::EtcdEvent;
use veridical_histories::formats::{Events, Format, History, Opened, ReadError};
use veridical_histories::object::ObjectEvent;
use veridical_histories::{Event, EventKind, OperationId};

use super::CheckFlags;

/// Events that are kept of the part that a violation needs.
const EVENTS_MAX: usize = 1 << 20;
/// Events after the violation that are kept.
const EVENTS_AFTER_MAX: usize = 1 << 15;
/// No recorder writes events closer together than this, on average.
const NS_PER_EVENT_MIN: u64 = 16;
/// How long the search may take.
const TIME_MAX: Duration = Duration::from_secs(3);
/// Events between two looks at the clock.
const EVENTS_PER_LOOK: usize = 256;
/// Widening makes everything concurrent: what needs more configurations than this stays
/// undecided.
const CONFIGURATIONS_MAX: usize = 1 << 12;

/// How wrong clocks may be before a violation is none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Robustness {
    /// It is one up to this error of every clock, and none beyond.
    UpTo { clock_error_ns: u64 },
    /// It is one up to this error of every clock; what is beyond was not found out in
    /// the time there was.
    AtLeast { clock_error_ns: u64 },
    /// No error of the clocks explains it.
    Unlimited,
    /// It depends on the order in which events of the same time are written.
    OrderOnly,
    /// The file tells in which order things happened, but not when.
    NoTimes,
    /// Why it is not known.
    NotKnown(String),
}

impl fmt::Display for Robustness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpTo { clock_error_ns } => write!(
                f,
                "a violation while no clock is off by more than {}; not beyond",
                duration(*clock_error_ns)
            ),
            Self::AtLeast { clock_error_ns } => write!(
                f,
                "a violation while no clock is off by more than {}, maybe beyond",
                duration(*clock_error_ns)
            ),
            Self::Unlimited => f.write_str("a violation whatever the clocks said"),
            Self::OrderOnly => {
                f.write_str("a violation only if events of the same time happened as written")
            }
            Self::NoTimes => f.write_str("the file has no times, only an order"),
            Self::NotKnown(reason) => write!(f, "not looked at: {reason}"),
        }
    }
}

impl Robustness {
    /// `clock_error_ns` is null where there is no limit or none is known.
    pub(super) fn to_json(&self) -> Json {
        let (robust, clock_error_ns, reason) = match self {
            Self::UpTo { clock_error_ns } => ("up-to", Some(*clock_error_ns), None),
            Self::AtLeast { clock_error_ns } => ("at-least", Some(*clock_error_ns), None),
            Self::Unlimited => ("unlimited", None, None),
            Self::OrderOnly => ("order-only", None, None),
            Self::NoTimes => ("no-times", None, None),
            Self::NotKnown(reason) => ("not-known", None, Some(reason)),
        };
        let mut json = json!({ "robust": robust, "clock_error_ns": clock_error_ns });
        if let Some(reason) = reason {
            json["reason"] = json!(reason);
        }
        json
    }
}

fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.3} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.3} ms", ns as f64 / 1e6),
        _ => format!("{:.3} s", ns as f64 / 1e9),
    }
}

/// Reads the history again and looks for the largest error of the clocks at which
/// `violation` is one. `model` is that of single objects, `None` for an etcd-like store;
/// each call of `open` reads the history from its beginning.
///
/// # Errors
/// Why the history cannot be looked at, for a person.
pub(super) fn measure(
    open: &dyn Fn() -> Result<Opened, String>,
    flags: &CheckFlags,
    model: Option<&ObjectModel>,
    violation: &Violation,
    stop: &AtomicBool,
) -> Result<Robustness, String> {
    let search = Search {
        deadline: Instant::now() + TIME_MAX,
        stop,
    };
    let last = violation.event;
    let Some(model) = model else {
        let History::Etcd(events) = open()?.history else {
            return Err("it is another history now".to_owned());
        };
        let events = part(events, last, |_| true)?;
        return search.run(&events, || EtcdChecker::new(super::etcd_options(flags)));
    };
    let witness: Vec<OperationId> = violation.operations.iter().filter_map(|w| w.op).collect();
    let opened = open()?;
    let format = opened.format;
    let key = object_events(opened.history)?
        .find_map(|event| match event.ok()?.kind {
            EventKind::Call { op, input } if witness.contains(&op) => Some(model.key(&input)),
            EventKind::Call { .. }
            | EventKind::Return { .. }
            | EventKind::Unknown { .. }
            | EventKind::Failed { .. }
            | EventKind::Note { .. } => None,
        })
        .ok_or("the witness is not in the history")?;
    let events = object_events(open()?.history)?;
    let events = part(events, last, |input| model.key(input) == key)?;
    let times = events.events.iter().map(|event| event.time_ns);
    let last_ns = times.max().unwrap_or(0);
    let has_times = match format {
        Format::JepsenLog | Format::S2 => false,
        // Where there is no `:time`, events have their places instead.
        Format::Edn => last_ns / NS_PER_EVENT_MIN > last,
        Format::Native | Format::Jsonl | Format::EtcdOperations => true,
    };
    if !has_times {
        return Ok(Robustness::NoTimes);
    }
    let options = CheckerOptions {
        configurations_max: CONFIGURATIONS_MAX,
        ..super::checker_options(flags)
    };
    search.run(&events, || {
        ObjectChecker::new(model.clone(), options.clone())
    })
}

fn object_events(history: History) -> Result<Events<ObjectEvent>, String> {
    match history {
        History::Object(events) => Ok(events),
        History::ObjectBlocks(events) => Ok(Box::new(events)),
        History::Etcd(_) => Err("it is another history now".to_owned()),
    }
}

/// What a violation needs of a history.
struct Part<E> {
    events: Vec<E>,
    /// Nothing that may matter was left out at the end.
    is_whole: bool,
}

/// The events of operations whose input `is_needed`, those after `last` included: they tell
/// more about the order of what came before. At most [`EVENTS_AFTER_MAX`] of these.
fn part<I, O, N>(
    events: impl Iterator<Item = Result<Event<I, O, N>, ReadError>>,
    last: u64,
    is_needed: impl Fn(&I) -> bool,
) -> Result<Part<Event<I, O, N>>, String> {
    let mut kept = Vec::new();
    let mut kept_after = 0;
    let mut open = BTreeSet::new();
    let mut is_whole = true;
    let mut at = 0;
    for event in events {
        let event = match event {
            Ok(event) => event,
            Err(error) if error.is_local() => continue,
            Err(error) if error.is_truncation() => break,
            Err(error) => return Err(error.to_string()),
        };
        let is_after = at > last;
        at += 1;
        let is_kept = match &event.kind {
            EventKind::Call { op, input } => {
                let is_kept = is_needed(input) && kept_after < EVENTS_AFTER_MAX;
                if is_kept {
                    open.insert(*op);
                } else if is_needed(input) {
                    is_whole = false;
                }
                is_kept
            }
            EventKind::Return { op, .. } | EventKind::Unknown { op } | EventKind::Failed { op } => {
                open.remove(op)
            }
            EventKind::Note { .. } => kept_after < EVENTS_AFTER_MAX,
        };
        if !is_whole && open.is_empty() {
            break;
        }
        if is_kept {
            if kept.len() == EVENTS_MAX {
                return Err(format!("the violation needs more than {EVENTS_MAX} events"));
            }
            kept.push(event);
            kept_after += usize::from(is_after);
        }
    }
    Ok(Part {
        events: kept,
        is_whole,
    })
}

/// A checker that can be fed again.
trait Recheck<E> {
    fn observe(&mut self, event: &E) -> Result<(), Rejection>;
    fn finish(&mut self) -> Verdict;
}

impl Recheck<ObjectEvent> for ObjectChecker {
    fn observe(&mut self, event: &ObjectEvent) -> Result<(), Rejection> {
        Self::observe(self, event)
    }
    fn finish(&mut self) -> Verdict {
        Self::finish(self)
    }
}

impl Recheck<EtcdEvent> for EtcdChecker {
    fn observe(&mut self, event: &EtcdEvent) -> Result<(), Rejection> {
        Self::observe(self, event)
    }
    fn finish(&mut self) -> Verdict {
        Self::finish(self)
    }
}

/// What a history widened by some error is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Widened {
    Wrong,
    Explained,
    /// The checker could not tell, or there was no time to let it.
    Undecided,
}

struct Search<'a> {
    deadline: Instant,
    stop: &'a AtomicBool,
}

impl Search<'_> {
    fn run<I, O, N, C>(
        &self,
        part: &Part<Event<I, O, N>>,
        checker: impl Fn() -> C,
    ) -> Result<Robustness, String>
    where
        C: Recheck<Event<I, O, N>>,
        Event<I, O, N>: Clone,
    {
        let events = &part.events;
        let times = || events.iter().map(|event| event.time_ns);
        let span_ns = times().max().unwrap_or(0) - times().min().unwrap_or(0);
        match self.widened(events, 0, checker()) {
            Widened::Wrong => {}
            Widened::Explained => return Ok(Robustness::OrderOnly),
            Widened::Undecided => return Err("it needs more than is spent on this".to_owned()),
        }
        // Wrong at `low`; at `high` explained, or undecided.
        let (mut low, mut high, mut is_exact) = (0, None, true);
        let mut next = 1;
        while high.is_none_or(|high| high - low > 1) && !self.is_over() {
            match self.widened(events, next, checker()) {
                Widened::Wrong => low = next,
                Widened::Explained => (high, is_exact) = (Some(next), true),
                Widened::Undecided => (high, is_exact) = (Some(next), false),
            }
            next = match high {
                Some(high) => low + (high - low) / 2,
                // Everything overlaps, and it is still wrong.
                None if low > span_ns => return Ok(Robustness::Unlimited),
                None => low.saturating_mul(8).clamp(1, span_ns + 1),
            };
        }
        let is_exact = is_exact && part.is_whole && high.is_some_and(|high| high - low == 1);
        Ok(match is_exact {
            true => Robustness::UpTo {
                clock_error_ns: low,
            },
            false => Robustness::AtLeast {
                clock_error_ns: low,
            },
        })
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline || self.stop.load(Ordering::Relaxed)
    }

    fn widened<I, O, N, C>(
        &self,
        events: &[Event<I, O, N>],
        clock_error_ns: u64,
        mut checker: C,
    ) -> Widened
    where
        C: Recheck<Event<I, O, N>>,
        Event<I, O, N>: Clone,
    {
        // Moved by the error as a whole, so that no time is below zero: calls stay where
        // they are, everything else moves by twice the error.
        let moved_ns = |event: &Event<I, O, N>| {
            if event.is_call() {
                event.time_ns
            } else {
                event
                    .time_ns
                    .saturating_add(clock_error_ns.saturating_mul(2))
            }
        };
        let mut order: Vec<(u64, bool, usize)> = events
            .iter()
            .enumerate()
            .map(|(at, event)| (moved_ns(event), !event.is_call(), at))
            .collect();
        order.sort_unstable();
        for (fed, (time_ns, _, at)) in order.into_iter().enumerate() {
            if fed % EVENTS_PER_LOOK == 0 && self.is_over() {
                return Widened::Undecided;
            }
            let mut event = events[at].clone();
            event.time_ns = time_ns;
            match checker.observe(&event) {
                Ok(()) => {}
                Err(Rejection::Violation(_)) => return Widened::Wrong,
                Err(Rejection::Malformed(_)) => return Widened::Undecided,
            }
        }
        match checker.finish() {
            Verdict::Violation(_) => Widened::Wrong,
            Verdict::Ok => Widened::Explained,
            Verdict::Unknown(_) => Widened::Undecided,
        }
    }
}
