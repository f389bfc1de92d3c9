//! Gaps: revisions that no acknowledged operation claims.
//!
//! A gap is filled by an operation of unknown outcome that changes something, by a
//! revocation, or by the expiry of a lease. Whatever has been seen of the revision (pairs
//! with its number, watch events) and of later ones (pairs that did not change) rules
//! candidates out; each that is left becomes a hypothesis.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use veridical_histories::OperationId;
use veridical_histories::etcd::Request;

use crate::etcd::intake::{Evidence, Intake};
use crate::etcd::operation::{Done, Open, Writer};
use crate::etcd::replay::{Evaluation, LeaseEnd, Objection, Replay, View};
use crate::etcd::stored::{Change, Stored, Unresolved};

use super::attributions::Attributions;
use super::candidates::{CandidateWriter, DivergenceRange, Pool};
use super::hypothesis::Hypothesis;
use super::later_answers::LaterAnswers;
use super::undetermined::Filled;
use super::unknowns::Unknowns;

/// A possible writer of a gap, and what its revision did then.
pub(super) struct Candidate {
    pub writer: Writer,
    pub changes: Vec<Change>,
    /// The lease that the revision ended.
    pub ends: Option<(i64, LeaseEnd)>,
    pub place: Place,
}

impl Candidate {
    /// The operation by its number, which grows with its call; a lease that ended by
    /// itself counts as the latest.
    pub fn called(&self) -> OperationId {
        match self.writer {
            Writer::Operation(op) => op,
            Writer::Expiry(_) => OperationId(u64::MAX),
        }
    }
}

/// The operation that a candidate uses up.
pub(super) enum Place {
    /// Some put of a key.
    Undetermined(Filled),
    /// This operation, which undetermined writes had to do without.
    Own(OperationId, Vec<(i64, OperationId)>),
    /// One of these candidates, and the first one is assumed.
    AnyOf(Box<Self>, Arc<[CandidateWriter]>, Arc<DivergenceRange>),
    /// No operation wrote it: a lease ended by itself.
    None,
}

impl Place {
    /// Uses the operation up for `revision`. Returns it, if there is one.
    pub fn take(self, hypothesis: &mut Hypothesis, revision: i64) -> Option<OperationId> {
        match self {
            Self::Undetermined(filled) => {
                let op = filled.op;
                hypothesis.adopt(revision, filled);
                Some(op)
            }
            Self::Own(op, moves) => {
                hypothesis.undetermined.apply(moves);
                hypothesis.place(op, revision);
                Some(op)
            }
            Self::AnyOf(first, candidates, divergence) => {
                let op = first.take(hypothesis, revision)?;
                hypothesis.placed.remove(&op);
                let writes = &mut hypothesis.undetermined;
                writes.open(revision, candidates, op, divergence);
                Some(op)
            }
            Self::None => None,
        }
    }
}

/// The candidates for one gap in one hypothesis.
pub(super) struct Explanations {
    pub candidates: Vec<Candidate>,
    /// A lease whose expiry would explain the gap, had it lived long enough.
    pub early_lease: Option<i64>,
}

/// A revision that exists and that nobody claims, with all that decides who may have
/// written it.
pub(super) struct Gap<'a> {
    pub revision: i64,
    /// The time at which the revision was known to exist, in nanoseconds.
    known_ns: u64,
    /// Whether an operation in flight may turn out to have written it.
    speculates: bool,
    pub replay: &'a Replay,
    pub intake: &'a Intake,
    pub unknown: &'a Unknowns,
    revocations: &'a BTreeMap<OperationId, Done>,
    attributions: &'a Attributions,
    later: LaterAnswers<'a>,
    /// What has been seen of the revision itself.
    seen: &'a [Evidence],
}

/// One hypothesis in front of a gap.
struct Front<'h> {
    hypothesis: &'h Hypothesis,
    view: View<'h>,
    /// The keys that the gap changed for certain.
    forced: Vec<&'h Bytes>,
}

impl<'a> Gap<'a> {
    /// The gap at `revision`, the next one to be replayed.
    pub fn new(
        revision: i64,
        replay: &'a Replay,
        intake: &'a Intake,
        unknown: &'a Unknowns,
        revocations: &'a BTreeMap<OperationId, Done>,
        attributions: &'a Attributions,
    ) -> Self {
        let backlog = intake.backlog();
        assert_eq!(
            revision,
            replay.applied() + 1,
            "gaps are filled in order of revision"
        );
        assert!(
            revision <= backlog.seen_revision(),
            "a gap is filled once it is known to exist"
        );
        let sighting = backlog.first_sighting();
        let oldest_writer = intake.in_flight().oldest_writer_floor();
        Self {
            revision,
            known_ns: sighting.map_or(0, |sighting| sighting.at_ns),
            speculates: oldest_writer.is_some_and(|floor| floor < revision),
            replay,
            intake,
            unknown,
            revocations,
            attributions,
            later: LaterAnswers::behind(revision, backlog),
            seen: backlog.evidence_at(revision),
        }
    }

    /// The candidates in `hypothesis`.
    ///
    /// # Errors
    /// They depend on a value that the hypothesis only assumes.
    pub fn explanations(&self, hypothesis: &Hypothesis) -> Result<Explanations, Unresolved> {
        let view = hypothesis.view(self.replay);
        let front = Front {
            hypothesis,
            view,
            forced: self.later.forced(view),
        };
        let mut candidates = self.plain_puts(&front);
        self.add_operations(&front, &mut candidates)?;
        let early_lease = self.add_expiries(&front, &mut candidates);
        Ok(Explanations {
            candidates,
            early_lease,
        })
    }

    /// For each key the candidate that some plain put of it wrote the revision.
    fn plain_puts(&self, front: &Front<'_>) -> Vec<Candidate> {
        let is_shown = |key: &Bytes| self.seen.iter().all(|seen| seen.key() == key);
        let keys = self.unknown.puts_by_key().filter(|(key, puts)| {
            is_shown(key) && puts.iter().any(|put| put.floor < self.revision)
        });
        keys.filter_map(|(key, _)| self.some_put(front, key))
            .collect()
    }

    /// The candidate that some plain put of `key` wrote the revision.
    fn some_put(&self, front: &Front<'_>, key: &Bytes) -> Option<Candidate> {
        let before = front.view.get(key, self.revision - 1);
        let written = |value: Bytes, is_assumed| {
            let stored = Stored {
                value,
                create_revision: before.map_or(self.revision, |before| before.create_revision),
                mod_revision: self.revision,
                version: before.map_or(1, |before| before.version + 1),
                lease: 0,
                is_assumed,
            };
            vec![(key.clone(), Some(stored))]
        };
        let outline = written(Bytes::new(), true);
        if !self.later.allows(front.view, &front.forced, &outline) {
            return None;
        }
        let shown = self.seen.iter().find_map(Evidence::value);
        let pool = self.pool(front.hypothesis);
        let writes = &front.hypothesis.undetermined;
        let filled = writes.fill(pool, key, self.revision, shown)?;
        let is_known = shown.is_some() || filled.is_certain();
        let changes = written(filled.value.clone(), !is_known);
        if !self.is_admissible(&changes) {
            return None;
        }
        Some(Candidate {
            writer: Writer::Operation(filled.op),
            changes,
            ends: None,
            place: Place::Undetermined(filled),
        })
    }

    /// Adds the operations that are no plain puts: those of unknown outcome, acknowledged
    /// revocations, and those in flight.
    fn add_operations(
        &self,
        front: &Front<'_>,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), Unresolved> {
        let (revision, hypothesis) = (self.revision, front.hypothesis);
        let is_free = |open: &Open| {
            open.floor.revision < revision && !hypothesis.placed.contains_key(&open.op)
        };
        // Of equal requests one that no undetermined write is assumed to be.
        for is_assumed in [false, true] {
            let is_meant =
                |open: &Open| is_free(open) && hypothesis.undetermined.has(open.op) == is_assumed;
            for open in self.unknown.one_of_each(is_meant) {
                candidates.extend(self.operation(front, open)?);
            }
        }
        for done in self.revocations.values() {
            if is_free(&done.open) && revision <= done.header.revision {
                candidates.extend(self.operation(front, &done.open)?);
            }
        }
        if self.speculates {
            for open in self.intake.in_flight().iter() {
                if open.request.may_write() && is_free(open) {
                    candidates.extend(self.operation(front, open)?);
                }
            }
        }
        Ok(())
    }

    /// The candidate that `open` wrote the revision, if it can have.
    fn operation(&self, front: &Front<'_>, open: &Open) -> Result<Option<Candidate>, Unresolved> {
        let mut shown = self.seen.iter().map(Evidence::key);
        if !shown.all(|key| open.request.may_change(key))
            || !self.attributions.allows(open.op, self.revision)
        {
            return Ok(None);
        }
        let changes = Evaluation::run(front.view, self.revision - 1, &open.request, None);
        let changes = match changes.map_err(|objection| *objection) {
            Ok(changes) => changes,
            Err(Objection::Wrong(_)) => return Ok(None),
            Err(Objection::Unresolved(unresolved)) => return Err(unresolved),
        };
        if changes.is_empty()
            || !self.is_admissible(&changes)
            || !self.later.allows(front.view, &front.forced, &changes)
            || self.attaches_to_ended(front.hypothesis, &changes)
        {
            return Ok(None);
        }
        let pool = self.pool(front.hypothesis);
        let Some(moves) = front.hypothesis.undetermined.without(pool, open.op) else {
            return Ok(None);
        };
        let ends = if let Request::LeaseRevoke { id } = open.request {
            let end = LeaseEnd {
                revision: self.revision,
                expired_before_ns: None,
            };
            Some((id, end))
        } else {
            None
        };
        Ok(Some(Candidate {
            writer: Writer::Operation(open.op),
            changes,
            ends,
            place: Place::Own(open.op, moves),
        }))
    }

    /// Whether a key becomes attached to a lease that ended for good.
    fn attaches_to_ended(&self, hypothesis: &Hypothesis, changes: &[Change]) -> bool {
        changes.iter().any(|(_, stored)| {
            stored.as_ref().is_some_and(|stored| {
                stored.lease != 0
                    && self.intake.leases().is_single(stored.lease)
                    && hypothesis.end_of(self.replay, stored.lease).is_some()
            })
        })
    }

    /// Adds the expiries of leases. Returns a lease that would have to have expired too
    /// early, if there is one.
    fn add_expiries(&self, front: &Front<'_>, candidates: &mut Vec<Candidate>) -> Option<i64> {
        let mut early = None;
        for lease in front.view.leases() {
            let is_revoked = candidates
                .iter()
                .any(|candidate| candidate.ends.is_some_and(|(ended, _)| ended == lease));
            if is_revoked && !self.speculates {
                continue;
            }
            let attached = front.view.attached(lease);
            let changes: Vec<Change> = attached.map(|key| (key.clone(), None)).collect();
            if !self.is_admissible(&changes)
                || !self.later.allows(front.view, &front.forced, &changes)
            {
                continue;
            }
            if !self.intake.leases().may_have_expired(lease, self.known_ns) {
                early = Some(lease);
                continue;
            }
            let end = LeaseEnd {
                revision: self.revision,
                expired_before_ns: Some(self.known_ns),
            };
            candidates.push(Candidate {
                writer: Writer::Expiry(lease),
                changes,
                ends: Some((lease, end)),
                place: Place::None,
            });
        }
        early
    }

    /// Whether `changes` agree with all that was seen of the revision.
    fn is_admissible(&self, changes: &[Change]) -> bool {
        let mut deliveries = self.intake.backlog().deliveries_from(self.revision);
        self.seen.iter().all(|evidence| evidence.allows(changes))
            && deliveries.all(|delivery| {
                let watch = self.intake.watches().of(delivery);
                delivery.allows(watch, self.revision, changes)
            })
    }

    /// The operations that may have made undetermined writes of `hypothesis`.
    pub fn pool<'h>(&'h self, hypothesis: &'h Hypothesis) -> Pool<'h> {
        hypothesis.pool(self.unknown, self.attributions)
    }
}
