//! Engine C: histories of an etcd-like store, checked along its revisions.
//!
//! Comes in: events in the order in which they happened. Goes out: a verdict, and the
//! first contradiction. Every acknowledged operation carries a revision, and that orders
//! the history (`checking.md`, section 4). A history is linearizable iff
//!
//! 1. the revisions of writes are distinct and without gaps, where a gap may be filled
//!    by a distinct operation of unknown outcome or by the expiry of a lease;
//! 2. replaying them in order reproduces every answer;
//! 3. no operation shows a revision below one that was acknowledged before its call, and
//!    a write shows a greater one.
//!
//! [`EtcdChecker`] replays as soon as the next revision is known, so what it keeps is
//! bounded by the operations in flight, the live keys and the window of old revisions
//! that may still be read ([`EtcdOptions::retain_revisions`]).
//!
//! Where a gap has several explanations each of them is followed
//! ([`EtcdOptions::worlds_max`]). A gap that an operation still open may fill is left
//! alone until that operation ends, or until [`EtcdOptions::patience`] answers wait for
//! it; with a patience of 0 every violation is reported at the first event that makes
//! the history wrong, at the price of more hypotheses. Where there would be a crowd of
//! them, what is seen later is waited for ([`EtcdOptions::crowded_patience`]).

mod alike;
mod evaluate;
mod foretold;
mod gaps;
mod hypotheses;
mod later;
mod lease;
mod memory;
mod observe;
mod operation;
mod questions;
mod replay;
mod sidestream;
mod slots;
#[cfg(test)]
mod tests;
mod unknowns;
mod unseen;
mod versions;
mod watch;
mod world;

use std::collections::{BTreeMap, VecDeque};

use veridical_histories::OperationId;
use veridical_histories::etcd::{ErrorKind, EtcdEvent};

use crate::verdict::{
    Cause, Malformed, MalformedReason, Rejection, Undecided, Verdict, Violation, ViolationKind,
    WitnessOperation,
};
use foretold::Foretold;
use lease::Leases;
use operation::{Acknowledged, Done, Open};
use unknowns::Unknowns;
use versions::{Base, View};
use watch::{Delivery, Watch};
use world::{Evidence, LeaseEnd, World};

/// Limits and tolerances of an [`EtcdChecker`].
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// The revision of the store when the history begins, with no key in it. A fresh
    /// store has 1.
    pub initial_revision: i64,
    /// How much earlier than its time to live a lease may end, in nanoseconds: the error
    /// of the clocks involved.
    pub lease_tolerance_ns: u64,
    /// How many hypotheses are followed at once.
    pub worlds_max: usize,
    /// How many hypotheses are followed as they are. With more, those that differ in
    /// nothing but who wrote an overwritten revision become one: little is lost, for only
    /// old revisions that are asked for by number can still tell them apart.
    pub alike_worlds_max: usize,
    /// With more hypotheses than this one of each state is kept, even if they differ in more than
    /// can be kept open. A contradiction then proves nothing any more.
    pub distinct_worlds_max: usize,
    /// How many answers may wait for an open operation that might fill a gap before the
    /// gap is filled by hypothesis.
    pub patience: usize,
    /// How many answers may wait for something to be seen of a revision that several
    /// operations of unknown outcome may have written, before each of them is followed.
    /// With 0 a contradiction is found as early as can be; with more, many unknown
    /// outcomes cost no hypotheses where reads or watches tell them apart in time.
    pub evidence_patience: usize,
    /// The same where many hypotheses would be followed otherwise.
    pub crowded_patience: usize,
    /// How many revisions back reads and watches are checked. What goes further back is
    /// reported as undecided. Operations in flight and watches that exist are always
    /// covered, watches up to sixteen times as far.
    pub retain_revisions: i64,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            initial_revision: 1,
            lease_tolerance_ns: 0,
            worlds_max: 256,
            alike_worlds_max: 4,
            distinct_worlds_max: 16,
            patience: 1 << 14,
            evidence_patience: 0,
            crowded_patience: 1 << 12,
            retain_revisions: 1 << 16,
        }
    }
}

/// What an [`EtcdChecker`] has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EtcdStatistics {
    /// Events taken in.
    pub events: u64,
    /// Operations that returned with a known outcome.
    pub operations: u64,
    /// Operations with an unknown outcome.
    pub unknown_outcomes: u64,
    /// Revisions replayed.
    pub revisions: i64,
    /// Gaps that were filled by hypothesis.
    pub gaps: u64,
    /// Hypotheses that became one with another, for nobody can tell them apart any more.
    pub merged: u64,
    /// Watch responses compared.
    pub watch_responses: u64,
    /// The most hypotheses followed at once.
    pub worlds_max: usize,
    /// The most answers that waited for a revision at once.
    pub pending_max: usize,
    /// The most revisions kept at once.
    pub kept_revisions_max: usize,
}

/// The first proof that a revision, and so every one before it, exists.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    revision: i64,
    at_event: u64,
    at_ns: u64,
}

/// A refusal that has to be possible in some state between two revisions.
#[derive(Debug)]
struct Refusal {
    open: Box<Open>,
    return_event: u64,
    return_ns: u64,
}

/// The online checker. See the module's header.
#[derive(Debug)]
pub struct EtcdChecker {
    options: EtcdOptions,
    statistics: EtcdStatistics,
    /// The first contradiction; nothing is checked after it.
    violation: Option<Box<Violation>>,
    undecided: Option<Undecided>,
    /// Whether hypotheses were dropped at the limit: what is left can still prove `Ok`,
    /// but no violation.
    is_beam: bool,
    /// Where hypotheses were dropped first. If one that was kept explains the whole
    /// history, that was no loss.
    narrowed: Option<Undecided>,
    /// Whether the last of those hypotheses was contradicted: nothing is known of the
    /// content any more, and only revisions are checked.
    is_lost: bool,

    base: Base,
    /// Never empty while no violation is found.
    worlds: Vec<World>,
    /// Leases that certainly ended.
    ended: BTreeMap<i64, LeaseEnd>,
    /// How many revisions are kept now: fewer than wanted where memory is short.
    retained_revisions: i64,
    bytes_max: usize,
    /// The tables did not fit into the memory allowed, and nothing is checked any more.
    has_given_up: bool,
    /// The last revision that is replayed.
    applied: i64,

    open: BTreeMap<OperationId, Box<Open>>,
    /// Call event → `c_b` of every open operation.
    open_floors: BTreeMap<u64, i64>,
    /// The same of those that may write.
    open_writer_floors: BTreeMap<u64, i64>,
    /// Operations of unknown outcome that may write, and are not certainly placed.
    unknown: Unknowns,
    foretold: Foretold,
    /// Acknowledged revocations of leases, whose revision only has an upper bound.
    revocations: BTreeMap<OperationId, Done>,

    /// Answers above `applied`.
    writers: BTreeMap<i64, Done>,
    observers: BTreeMap<i64, Vec<Done>>,
    observers_pending: usize,
    refusals: Vec<Refusal>,
    /// What has been seen of revisions above `applied`.
    evidence: BTreeMap<i64, Vec<Evidence>>,
    /// The greatest revision seen anywhere.
    seen_revision: i64,
    /// When revisions above `applied` were first known to exist, ascending.
    sightings: VecDeque<Sighting>,
    acknowledged: Acknowledged,

    /// Revisions whose compaction was called and not refused, with their number.
    compactions_called: BTreeMap<i64, u64>,
    compaction_acknowledged: i64,
    leases: Leases,
    /// What each member has shown to each session.
    sessions: BTreeMap<u64, BTreeMap<u64, i64>>,
    watches: BTreeMap<u64, Watch>,
    deliveries: BTreeMap<i64, Vec<Delivery>>,
}

impl EtcdChecker {
    /// A checker at the start of a history.
    pub fn new(options: EtcdOptions) -> Self {
        let initial_revision = options.initial_revision;
        Self {
            statistics: EtcdStatistics {
                worlds_max: 1,
                ..EtcdStatistics::default()
            },
            violation: None,
            undecided: None,
            is_beam: false,
            narrowed: None,
            is_lost: false,
            base: Base::new(initial_revision),
            worlds: vec![World::default()],
            ended: BTreeMap::new(),
            retained_revisions: options.retain_revisions,
            bytes_max: usize::MAX,
            has_given_up: false,
            applied: initial_revision,
            open: BTreeMap::new(),
            open_floors: BTreeMap::new(),
            open_writer_floors: BTreeMap::new(),
            unknown: Unknowns::default(),
            foretold: Foretold::default(),
            revocations: BTreeMap::new(),
            writers: BTreeMap::new(),
            observers: BTreeMap::new(),
            observers_pending: 0,
            refusals: Vec::new(),
            evidence: BTreeMap::new(),
            seen_revision: initial_revision,
            sightings: VecDeque::new(),
            acknowledged: Acknowledged {
                revision: initial_revision,
                by: None,
            },
            compactions_called: BTreeMap::new(),
            compaction_acknowledged: 0,
            leases: Leases::new(options.lease_tolerance_ns),
            sessions: BTreeMap::new(),
            watches: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            options,
        }
    }

    /// Keeps fewer than [`EtcdOptions::retain_revisions`] where they would take more than
    /// half of `limit_bytes`; the other half is for tables, and for what is in flight. A
    /// read or a watch that needs what was dropped is undecided; where the tables do not
    /// fit, everything after it is.
    pub fn limit_memory(&mut self, limit_bytes: Option<u64>) {
        let limit = limit_bytes.and_then(|limit| usize::try_from(limit).ok());
        self.bytes_max = limit.map_or(usize::MAX, |limit| limit / 2);
    }

    /// Bytes held for the versions of keys, estimated.
    pub fn version_bytes(&self) -> usize {
        self.base.bytes()
    }

    /// Takes the next event in.
    ///
    /// # Errors
    /// [`Rejection::Violation`] at the first event that shows the history to be wrong,
    /// and for every event after it; [`Rejection::Malformed`] where the event cannot
    /// follow those before it, which leaves the checker as it was.
    pub fn observe(&mut self, event: &EtcdEvent) -> Result<(), Rejection> {
        self.observe_owned(event.clone())
    }

    /// As [`EtcdChecker::observe`], without the copy.
    ///
    /// # Errors
    /// As [`EtcdChecker::observe`].
    pub fn observe_owned(&mut self, event: EtcdEvent) -> Result<(), Rejection> {
        if let Some(violation) = &self.violation {
            return Err(Rejection::Violation(violation.clone()));
        }
        if !self.fits_into_memory() {
            self.statistics.events += 1;
            return Ok(());
        }
        let result = self.take_in(event);
        self.statistics.events += 1;
        match result {
            Ok(()) => Ok(()),
            Err(Stop::Malformed(reason)) => Err(Malformed {
                event: self.statistics.events - 1,
                reason,
            }
            .into()),
            Err(Stop::Violation(violation)) => {
                self.violation = Some(violation.clone());
                Err(Rejection::Violation(violation))
            }
            // What is undecided is recorded; the rest goes on being checked.
            Err(Stop::Undecided) => Ok(()),
        }
    }

    /// Ends the history: operations still open count as unknown.
    pub fn finish(&mut self) -> Verdict {
        if self.violation.is_none() {
            match self.end() {
                Ok(()) | Err(Stop::Undecided) => {}
                Err(Stop::Violation(violation)) => self.violation = Some(violation),
                Err(Stop::Malformed(reason)) => unreachable!("no event was taken in: {reason}"),
            }
        }
        match (&self.violation, &self.undecided) {
            (Some(violation), _) => Verdict::Violation(violation.clone()),
            (None, Some(undecided)) => Verdict::Unknown(undecided.clone()),
            (None, None) => Verdict::Ok,
        }
    }

    /// Counts so far.
    pub fn statistics(&self) -> EtcdStatistics {
        EtcdStatistics {
            revisions: self.applied - self.options.initial_revision,
            ..self.statistics
        }
    }

    /// Keys that exist now or did within the window of old revisions.
    pub fn live_keys(&self) -> usize {
        self.base.keys()
    }

    /// The greatest revision that has been replayed and agreed.
    pub fn revision(&self) -> i64 {
        self.applied
    }

    fn view<'a>(&'a self, world: &'a World) -> View<'a> {
        View {
            base: &self.base,
            overlay: &world.overlay,
        }
    }

    /// The violation at the current event.
    fn violated(
        &self,
        kind: ViolationKind,
        expected: impl Into<String>,
        got: impl Into<String>,
        operations: Vec<WitnessOperation>,
    ) -> Stop {
        Stop::Violation(Box::new(Violation {
            kind,
            key: None,
            event: self.statistics.events,
            expected: expected.into(),
            got: got.into(),
            operations,
        }))
    }

    /// Records that something cannot be decided; the first cause is kept.
    fn undecided(&mut self, cause: Cause, first_event: u64, text: impl Into<String>) {
        let events = (first_event, self.statistics.events);
        self.undecided.get_or_insert_with(|| Undecided {
            cause,
            key: None,
            events,
            text: text.into(),
        });
    }
}

/// Why an event could not be taken in.
#[derive(Debug)]
enum Stop {
    Violation(Box<Violation>),
    Malformed(MalformedReason),
    /// Recorded already.
    Undecided,
}

/// Checks a whole history.
///
/// # Errors
/// [`Malformed`] where the events are not a history.
pub fn check<'a>(
    events: impl IntoIterator<Item = &'a EtcdEvent>,
    options: EtcdOptions,
) -> Result<Verdict, Malformed> {
    let mut checker = EtcdChecker::new(options);
    for event in events {
        match checker.observe(event) {
            Ok(()) => {}
            Err(Rejection::Violation(violation)) => return Ok(Verdict::Violation(violation)),
            Err(Rejection::Malformed(malformed)) => return Err(malformed),
        }
    }
    Ok(checker.finish())
}

/// Whether a refusal of this kind tells something about the keys.
fn tells_of_keys(error: &ErrorKind) -> bool {
    matches!(error, ErrorKind::KeyNotFound)
}
