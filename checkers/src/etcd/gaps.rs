//! Gaps: revisions that no acknowledged operation claims.
//!
//! A gap is filled by an operation of unknown outcome that changes something, by a
//! revocation, or by the expiry of a lease. Whatever has been seen of the revision
//! (pairs with its number, watch events) and of later ones (pairs that did not change)
//! rules candidates out; each that is left becomes a hypothesis.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use bytes::Bytes;
use veridical_histories::OperationId;
use veridical_histories::etcd::Request;

use super::evaluate::{Evaluation, Mismatch, Objection};
use super::foretold::Foretold;
use super::hypotheses::{Contradiction, Doubt};
use super::later::Later;
use super::operation::{Done, Open, Writer};
use super::slots::{Blur, Filled, Way};
use super::versions::{Change, Stored, Untold};
use super::world::{Evidence, LeaseEnd, World};
use super::{EtcdChecker, Stop};
use crate::verdict::{Cause, ViolationKind, WitnessOperation};

/// More hypotheses than this for one gap are a crowd.
const CROWD: usize = 64;

/// What may have written a revision.
pub(super) struct Candidate {
    pub writer: Writer,
    pub changes: Vec<Change>,
    pub ends: Option<(i64, LeaseEnd)>,
    pub place: Place,
}

impl Candidate {
    /// The operation by its number, which grows with its call; a lease that ended by
    /// itself counts as the latest.
    fn called(&self) -> OperationId {
        match self.writer {
            Writer::Operation(op) => op,
            Writer::Expiry(_) => OperationId(u64::MAX),
        }
    }
}

/// What a candidate uses up.
pub(super) enum Place {
    /// Some put of a key.
    Slot(Filled),
    /// This operation, which slots had to do without.
    Own(OperationId, Vec<(i64, OperationId)>),
    /// One of these ways, and the first one is assumed.
    Any(Box<Self>, Arc<[Way]>, Arc<Blur>),
    /// Nothing: a lease ended by itself.
    None,
}

impl Place {
    /// Uses it up for `revision`. Goes out: the operation, if it is one.
    fn take(self, world: &mut World, revision: i64) -> Option<OperationId> {
        match self {
            Self::Slot(filled) => {
                let op = filled.op;
                world.adopt(revision, filled);
                Some(op)
            }
            Self::Own(op, moves) => {
                world.slots.apply(moves);
                world.placed.insert(op, revision);
                Some(op)
            }
            Self::Any(first, ways, blur) => {
                let op = first.take(world, revision)?;
                world.placed.remove(&op);
                world.slots.open(revision, ways, op, blur);
                Some(op)
            }
            Self::None => None,
        }
    }
}

impl EtcdChecker {
    /// Whether the gap at `next` is to be filled now: no operation that may still
    /// return with this revision is open, or enough answers wait for it.
    pub(super) fn may_fill(&self, next: i64) -> bool {
        let oldest_floor = self.open_writer_floors.values().next();
        oldest_floor.is_none_or(|floor| *floor >= next)
            || self.options.patience == 0
            || self.pending() > self.options.patience
    }

    /// Whether something may still be seen of revision `next` that tells its possible
    /// writers apart.
    pub(super) fn awaits_evidence(&self, next: i64) -> bool {
        let patience = match self.worlds.len().saturating_mul(self.unknown.len()) {
            ..=CROWD => self.options.evidence_patience,
            _ => self
                .options
                .crowded_patience
                .max(self.options.evidence_patience),
        };
        self.pending() <= patience
            && patience > 0
            && !self.evidence.contains_key(&next)
            && self.may_have_written(next).nth(1).is_some()
    }

    /// Operations of unknown outcome, and leases, that were there before `next`.
    fn may_have_written(&self, next: i64) -> impl Iterator<Item = ()> + '_ {
        let is_placed = |op: &OperationId| {
            self.worlds
                .iter()
                .all(|world| world.placed.contains_key(op))
        };
        let operations = self
            .unknown
            .iter()
            .filter(move |open| open.floor.revision < next && !is_placed(&open.op));
        let leases = self
            .worlds
            .iter()
            .flat_map(|world| self.view(world).leases());
        operations.map(drop).chain(leases.map(drop))
    }

    /// Follows every explanation of revision `next`, which exists.
    pub(super) fn fill_gap(&mut self, next: i64) -> Result<(), Stop> {
        let known_ns = self.sightings.front().map_or(0, |sighting| sighting.at_ns);
        let speculates = self
            .open_writer_floors
            .values()
            .next()
            .is_some_and(|f| *f < next);
        self.statistics.gaps += 1;
        let open = self.open.values().map(|open| &**open);
        self.foretold = Foretold::of(next, &self.evidence, &self.writers, &self.unknown, open);
        self.merge_alike(next);
        let mut filled = Vec::new();
        let mut early = None;
        let later = Later::of(&self.evidence, &self.observers, &self.writers, next);
        let (mut is_crowded, mut merged) = (false, 0);
        // As many as fit, for each way on is a copy; but none is dropped here.
        let largest = self.worlds.iter().map(World::bytes).max().unwrap_or(0);
        let fitting = self.worlds_bytes_max() / largest.max(1);
        let worlds_max = self.options.worlds_max.min(fitting.max(self.worlds.len()));
        let mut waiting: Vec<Cow<'_, World>> =
            self.worlds.iter().rev().map(Cow::Borrowed).collect();
        while let Some(world) = waiting.pop() {
            let candidates =
                self.candidates(&world, next, known_ns, speculates, &later, &mut early);
            let mut candidates = match candidates {
                Ok(candidates) => {
                    let all = candidates.len();
                    let joined = self.join_unseen(&world, next, candidates);
                    merged += all - joined.len();
                    joined
                }
                Err(untold) => {
                    let ways = self.told(&world, &untold);
                    waiting.extend(ways.into_iter().rev().map(Cow::Owned));
                    continue;
                }
            };
            // Each hypothesis is to go on in one way at least.
            let room = worlds_max.saturating_sub(filled.len());
            let room = room.saturating_sub(waiting.len()).max(1);
            if candidates.len() > room {
                is_crowded = true;
                // What has an effect has it soon after its call, as a rule.
                candidates.sort_by_key(|candidate| Reverse(candidate.called()));
                candidates.truncate(room);
            }
            for candidate in candidates {
                let mut world = World::clone(&world);
                candidate.place.take(&mut world, next);
                world.ended.extend(candidate.ends);
                world
                    .overlay
                    .commit(&self.base, next, candidate.changes, candidate.writer);
                filled.push(world);
            }
        }
        if filled.is_empty() {
            if self.is_beam {
                return Err(self.lose());
            }
            return Err(self.unexplained(next, early));
        }
        if is_crowded {
            let text = format!("revision {next} leaves more than {worlds_max} explanations open");
            let cause = match worlds_max < self.options.worlds_max {
                true => Cause::Memory,
                false => Cause::Configurations,
            };
            self.narrow(cause, text);
        }
        self.statistics.merged += merged as u64;
        self.statistics.worlds_max = self.statistics.worlds_max.max(filled.len());
        self.worlds = filled;
        self.settle_hypotheses();
        self.bound_worlds(next);
        Ok(())
    }

    fn candidates(
        &self,
        world: &World,
        next: i64,
        known_ns: u64,
        speculates: bool,
        later: &Later<'_>,
        early: &mut Option<i64>,
    ) -> Result<Vec<Candidate>, Untold> {
        let view = self.view(world);
        let forced = later.forced(view);
        let mut candidates: Vec<Candidate> = Vec::new();
        let shown: Vec<&Bytes> = self
            .evidence
            .get(&next)
            .into_iter()
            .flatten()
            .map(Evidence::key)
            .collect();
        let may_have_changed =
            |request: &Request| shown.iter().all(|key| request.may_change(key.as_ref()));
        let is_free =
            |open: &Open| open.floor.revision < next && !world.placed.contains_key(&open.op);
        let consider = |open: &Open, candidates: &mut Vec<Candidate>| {
            if !may_have_changed(&open.request) || !self.foretold.allows(open.op, next) {
                return Ok(());
            }
            let changes = match Evaluation::run(view, next - 1, &open.request, None) {
                Ok(changes) => changes,
                Err(objection) => {
                    return match *objection {
                        Objection::Wrong(_) => Ok(()),
                        Objection::Untold(untold) => Err(untold),
                    };
                }
            };
            if changes.is_empty()
                || !self.is_admissible(next, &changes)
                || !later.allows(view, &forced, &changes)
            {
                return Ok(());
            }
            let attaches_to_ended = changes.iter().any(|(_, stored)| {
                stored.as_ref().is_some_and(|stored| {
                    stored.lease != 0
                        && self.leases.is_single(stored.lease)
                        && self.end_of(world, stored.lease).is_some()
                })
            });
            if attaches_to_ended {
                return Ok(());
            }
            let Some(moves) = world.slots.without(self.pool(world), open.op) else {
                return Ok(());
            };
            let ends = match open.request {
                Request::LeaseRevoke { id } => Some((
                    id,
                    LeaseEnd {
                        revision: next,
                        expired_before_ns: None,
                    },
                )),
                _ => None,
            };
            candidates.push(Candidate {
                writer: Writer::Operation(open.op),
                changes,
                ends,
                place: Place::Own(open.op, moves),
            });
            Ok(())
        };
        let is_shown = |key: &Bytes| shown.iter().all(|shown| *shown == key);
        for (key, puts) in self.unknown.puts_by_key() {
            if is_shown(key) && puts.iter().any(|put| put.floor < next) {
                candidates.extend(self.some_put(world, next, key, later, &forced));
            }
        }
        // Of equal requests one that no slot is assumed to have.
        for is_assumed in [false, true] {
            let is_meant = |open: &Open| is_free(open) && world.slots.has(open.op) == is_assumed;
            for open in self.unknown.one_of_each(is_meant) {
                consider(open, &mut candidates)?;
            }
        }
        for done in self.revocations.values() {
            if is_free(&done.open) && next <= done.header.revision {
                consider(&done.open, &mut candidates)?;
            }
        }
        if speculates {
            for open in self.open.values() {
                if open.request.may_write() && is_free(open) {
                    consider(open, &mut candidates)?;
                }
            }
        }
        for lease in view.leases() {
            let is_revoked = candidates
                .iter()
                .any(|candidate| candidate.ends.is_some_and(|(ended, _)| ended == lease));
            if is_revoked && !speculates {
                continue;
            }
            let changes: Vec<Change> = view
                .attached(lease)
                .map(|key| (key.clone(), None))
                .collect();
            if !self.is_admissible(next, &changes) || !later.allows(view, &forced, &changes) {
                continue;
            }
            if !self.leases.may_have_expired(lease, known_ns) {
                *early = Some(lease);
                continue;
            }
            let end = LeaseEnd {
                revision: next,
                expired_before_ns: Some(known_ns),
            };
            candidates.push(Candidate {
                writer: Writer::Expiry(lease),
                changes,
                ends: Some((lease, end)),
                place: Place::None,
            });
        }
        Ok(candidates)
    }

    /// That some plain put of `key` wrote revision `next`.
    fn some_put(
        &self,
        world: &World,
        next: i64,
        key: &Bytes,
        later: &Later<'_>,
        forced: &[&Bytes],
    ) -> Option<Candidate> {
        let view = self.view(world);
        let before = view.get(key, next - 1);
        let written = |value: Bytes, is_guess| {
            let stored = Stored {
                value,
                create_revision: before.map_or(next, |before| before.create_revision),
                mod_revision: next,
                version: before.map_or(1, |before| before.version + 1),
                lease: 0,
                is_guess,
            };
            vec![(key.clone(), Some(stored))]
        };
        if !later.allows(view, forced, &written(Bytes::new(), true)) {
            return None;
        }
        let seen = self.evidence.get(&next);
        let told = seen.into_iter().flatten().find_map(Evidence::value);
        let filled = world.slots.fill(self.pool(world), key, next, told)?;
        let is_known = told.is_some() || filled.is_certain();
        let changes = written(filled.value.clone(), !is_known);
        if !self.is_admissible(next, &changes) {
            return None;
        }
        Some(Candidate {
            writer: Writer::Operation(filled.op),
            changes,
            ends: None,
            place: Place::Slot(filled),
        })
    }

    /// Whether `changes` at revision `next` agree with all that was seen.
    fn is_admissible(&self, next: i64, changes: &[Change]) -> bool {
        let seen = self.evidence.get(&next);
        seen.is_none_or(|seen| seen.iter().all(|evidence| evidence.allows(changes)))
            && self.deliveries.range(next..).all(|(_, deliveries)| {
                deliveries.iter().all(|delivery| {
                    let watch = &self.watches[&delivery.watch];
                    delivery.allows(watch, next, changes)
                })
            })
    }

    fn unexplained(&self, next: i64, early: Option<i64>) -> Stop {
        let mut operations: Vec<WitnessOperation> = Vec::new();
        let writer = self.writers.range(next..).next().map(|(_, done)| done);
        let observer = self
            .observers
            .range(next..)
            .next()
            .and_then(|(_, done)| done.first());
        let first = match (writer, observer) {
            (Some(writer), Some(observer)) if writer.header.revision < observer.header.revision => {
                Some(writer)
            }
            (writer, observer) => observer.or(writer),
        };
        operations.extend(first.map(Done::witness));
        if let Some(lease) = early {
            return self.violated(
                ViolationKind::Lease,
                format!(
                    "lease {lease} to live until {} ns at least",
                    self.leases.alive_until_ns(lease)
                ),
                format!("revision {next}, which nothing else explains, deleted its keys"),
                operations,
            );
        }
        self.violated(
            ViolationKind::UnexplainedRevision,
            format!("an operation that can have written revision {next}"),
            format!(
                "none of the {} with unknown outcome can have, and no lease can have expired",
                self.unknown.len()
            ),
            operations,
        )
    }

    /// An operation that is known to have kept a lease alive came before its end.
    pub(super) fn check_kept_alive(&mut self, done: &Done, lease: i64) -> Result<(), Stop> {
        if !self.leases.is_single(lease) {
            return Ok(());
        }
        self.retain_worlds(|checker, world| {
            let end = checker.end_of(world, lease);
            let Some(LeaseEnd {
                revision,
                expired_before_ns: Some(known_ns),
            }) = end
            else {
                return Ok(());
            };
            if checker.leases.may_have_expired(lease, known_ns) {
                return Ok(());
            }
            Err(Doubt::Wrong(Contradiction {
                kind: ViolationKind::Lease,
                mismatch: Mismatch {
                    expected: format!(
                        "lease {lease} to live until {} ns at least",
                        checker.leases.alive_until_ns(lease)
                    ),
                    got: format!("revision {revision}, seen at {known_ns} ns, deleted its keys"),
                },
                operations: vec![done.witness()],
            }))
        })
    }

    /// The operations of unknown outcome that are not certainly placed.
    pub fn unplaced(&self) -> impl Iterator<Item = OperationId> + '_ {
        self.unknown.ids()
    }
}
