//! Engine C: histories of an etcd-like store, checked along its revisions.
//!
//! Inputs: events in the order in which they happened. Outputs: a verdict, and the first
//! contradiction. Dependencies: the vocabulary of `veridical-histories`.
//!
//! Every acknowledged operation carries a revision, and that orders the history. A history
//! is linearizable iff
//!
//! 1. the revisions of writes are distinct and without gaps, where a gap may be filled
//!    by a distinct operation of unknown outcome or by the expiry of a lease;
//! 2. replaying them in order reproduces every answer;
//! 3. no operation shows a revision below one that was acknowledged before its call, and
//!    a write shows a greater one.
//!
//! Why that is so, with an example worked through, stands in
//! `docs/algorithms/revisions.md`. Three rooms share the work, each the owner of its state:
//!
//! - `intake`: what clients and watches record, and what waits for later revisions;
//! - `replay`: the store after each revision, and whether an answer fits it;
//! - `hypotheses`: the explanations of revisions that no answer claims.
//!
//! The intake knows neither of the others; the replay reads records of the intake; the
//! hypotheses read both. [`EtcdChecker`] leads each event through the three.
//!
//! It replays as soon as the next revision is known, so what it keeps is bounded by the
//! operations in flight, the live keys and the window of old revisions that may still be
//! read ([`EtcdOptions::retain_revisions`]).
//!
//! Where a gap has several explanations each of them is followed
//! ([`EtcdOptions::hypotheses_max`]). A gap that an operation in flight may fill is left
//! alone until that operation ends, or until [`EtcdOptions::patience`] answers wait for
//! it; with a patience of 0 every violation is reported at the first event that makes
//! the history wrong, at the price of more hypotheses. Where there would be a crowd of
//! them, the checker waits for what is seen later ([`EtcdOptions::crowded_patience`]).

mod checker;
mod comparisons;
mod hypotheses;
mod initial;
mod intake;
mod memory;
mod objection;
mod operation;
mod replay;
mod stored;
#[cfg(test)]
mod tests;
mod visit;

use veridical_histories::etcd::EtcdEvent;

use crate::verdict::{Malformed, Rejection, Verdict};
pub use checker::EtcdChecker;
pub use initial::InitialContentError;

/// Limits and tolerances of an [`EtcdChecker`].
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// The revision of the store when the history begins. A fresh store has 1.
    pub initial_revision: i64,
    /// How much earlier than its time to live a lease may end, in nanoseconds: the error
    /// of the clocks involved.
    pub lease_tolerance_ns: u64,
    /// How many hypotheses are followed at once.
    pub hypotheses_max: usize,
    /// How many hypotheses are followed as they are. With more, those that differ in
    /// nothing but who wrote an overwritten revision become one: little is lost, for only
    /// old revisions that are asked for by number can still distinguish them.
    pub equivalent_hypotheses_max: usize,
    /// With more hypotheses than this one of each state is kept, even if they differ in more than
    /// can be kept open. A contradiction then proves nothing any more.
    pub distinct_hypotheses_max: usize,
    /// How many answers may wait for an open operation that might fill a gap before the
    /// gap is filled by hypothesis.
    pub patience: usize,
    /// How many answers may wait for something to be seen of a revision that several
    /// operations of unknown outcome may have written, before each of them is followed.
    /// With 0 a contradiction is found as early as can be; with more, many unknown
    /// outcomes cost no hypotheses where reads or watches distinguish them in time.
    pub evidence_patience: usize,
    /// How many may wait for the same where many hypotheses would be followed otherwise.
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
            hypotheses_max: 256,
            equivalent_hypotheses_max: 4,
            distinct_hypotheses_max: 16,
            patience: 1 << 14,
            evidence_patience: 0,
            crowded_patience: 1 << 14,
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
    /// Hypotheses that became one with another, for nobody can distinguish them any more.
    pub merged: u64,
    /// Watch responses compared.
    pub watch_responses: u64,
    /// The most hypotheses followed at once.
    pub hypotheses_max: usize,
    /// The most answers that waited for a revision at once.
    pub pending_max: usize,
    /// The most revisions kept at once.
    pub kept_revisions_max: usize,
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
