//! Replaying revisions in order, and comparing every answer with the replay.

use bytes::Bytes;
use veridical_histories::etcd::{Request, TxnOp};
use veridical_histories::text_bytes::display;

use super::alike::Look;
use super::evaluate::{Evaluation, Mismatch, Objection};
use super::observe::visit_ranges;
use super::operation::{Done, Open, Writer};
use super::slots::Pool;
use super::versions::{Change, Untold, View};
use super::world::{LeaseEnd, World};
use super::{EtcdChecker, Refusal, Stop};
use crate::verdict::{Cause, Undecided, ViolationKind, WitnessOperation};

/// What hypotheses may take in bytes at most, all together, whatever limit is given. While
/// a gap is filled there are twice as many.
const WORLDS_BYTES_MAX: usize = 64 << 20;

/// What contradicted the last hypothesis.
pub(super) struct Contradiction {
    pub kind: ViolationKind,
    pub mismatch: Mismatch,
    pub operations: Vec<WitnessOperation>,
}

/// Why a hypothesis does not hold, or not as it is.
pub(super) enum Doubt {
    /// It is contradicted.
    Wrong(Contradiction),
    /// It holds at most with another value than is assumed.
    Untold {
        untold: Untold,
        operations: Vec<WitnessOperation>,
    },
    /// It was said which way these slots were filled.
    Blurred(Vec<i64>),
}

impl From<Contradiction> for Doubt {
    fn from(contradiction: Contradiction) -> Self {
        Self::Wrong(contradiction)
    }
}

impl EtcdChecker {
    /// Keeps the hypotheses that `check` allows, in their order; the last contradiction
    /// counts when none is left. One that depends on an assumed value goes on as those in
    /// which the value is known.
    pub(super) fn retain_worlds(
        &mut self,
        mut check: impl FnMut(&Self, &mut World) -> Result<(), Doubt>,
    ) -> Result<(), Stop> {
        if self.is_lost {
            return Ok(());
        }
        let mut waiting = std::mem::take(&mut self.worlds);
        waiting.reverse();
        let mut last = None;
        while let Some(mut world) = waiting.pop() {
            match check(self, &mut world) {
                Ok(()) => self.worlds.push(world),
                Err(Doubt::Wrong(contradiction)) => last = Some(contradiction),
                Err(Doubt::Untold { untold, operations }) => {
                    let ways = self.told(&world, &untold);
                    if ways.is_empty() {
                        last = Some(untellable(&untold, operations));
                    }
                    waiting.extend(ways.into_iter().rev());
                }
                Err(Doubt::Blurred(revisions)) => {
                    let text = "old revisions tell who wrote them, and one of the ways is kept";
                    self.narrow(Cause::Configurations, text.to_owned());
                    waiting.extend(self.sharpened(&world, &revisions));
                }
            }
        }
        if !self.worlds.is_empty() {
            let worlds_max = self.options.worlds_max;
            if self.worlds.len() > worlds_max {
                self.worlds.truncate(worlds_max);
                let text = format!("an assumed value leaves more than {worlds_max} explanations");
                self.narrow(Cause::Configurations, text);
            }
            self.settle_hypotheses();
            return Ok(());
        }
        self.worlds.push(World::default());
        if self.is_beam {
            return Err(self.lose());
        }
        let contradiction = last.expect("a world was dropped, so there is a contradiction");
        Err(self.violated(
            contradiction.kind,
            contradiction.mismatch.expected,
            contradiction.mismatch.got,
            contradiction.operations,
        ))
    }

    /// A hypothesis with an assumed value known: as it is said to be, or in each way that
    /// is left.
    pub(super) fn told(&self, world: &World, untold: &Untold) -> Vec<World> {
        let Untold { key, revision, .. } = untold;
        let Some(stored) = self.view(world).get(key, *revision) else {
            return Vec::new();
        };
        let pool = self.pool(world);
        let values = match &untold.value {
            Some(value) => vec![value.clone()],
            None => world.slots.values(pool, *revision),
        };
        let with = |value: Bytes| {
            let filled = world.slots.tell(pool, *revision, &value)?;
            let mut told = world.clone();
            told.adopt(*revision, filled);
            told.overlay.tell(key, stored, value);
            Some(told)
        };
        values.into_iter().filter_map(with).collect()
    }

    /// The operations that may fill slots of `world`.
    pub(super) fn pool<'a>(&'a self, world: &'a World) -> Pool<'a> {
        Pool {
            unknown: &self.unknown,
            placed: &world.placed,
        }
    }

    /// The last hypothesis is contradicted, but some were dropped at the limit: this
    /// proves nothing, and the replayed state is lost.
    pub(super) fn lose(&mut self) -> Stop {
        self.is_lost = true;
        if let Some(narrowed) = self.narrowed.take() {
            self.undecided.get_or_insert(narrowed);
        }
        self.writers.clear();
        self.observers.clear();
        self.observers_pending = 0;
        self.refusals.clear();
        self.evidence.clear();
        self.deliveries.clear();
        Stop::Undecided
    }

    /// A writer returned.
    pub(super) fn written(&mut self, done: Done) -> Result<(), Stop> {
        if self.is_lost {
            return Ok(());
        }
        let revision = done.header.revision;
        if revision > self.applied {
            if let Some(other) = self.writers.get(&revision) {
                return Err(self.violated(
                    ViolationKind::DuplicateRevision,
                    format!("revision {revision} to be written once"),
                    "two writes at this revision",
                    vec![other.witness(), done.witness()],
                ));
            }
            self.drop_worlds_with(&done.open, done.return_ns)?;
            self.writers.insert(revision, done);
            self.note_pending();
            return self.advance();
        }
        // Replayed already: right only where that was this very operation, by hypothesis.
        self.retain_worlds(|checker, world| {
            if world.placed.get(&done.open.op) != Some(&revision) {
                let writer = checker.view(world).log(revision).map(|entry| entry.writer);
                return Err(Doubt::Wrong(Contradiction {
                    kind: ViolationKind::DuplicateRevision,
                    mismatch: Mismatch {
                        expected: match writer {
                            Some(Writer::Operation(op)) => {
                                format!("revision {revision}, which {op} wrote, to be written once")
                            }
                            Some(Writer::Expiry(lease)) => format!(
                                "revision {revision}, the end of lease {lease}, to be written once"
                            ),
                            None => format!("revision {revision} to be written once"),
                        },
                        got: "a second write at this revision".to_owned(),
                    },
                    operations: vec![done.witness()],
                }));
            }
            evaluate(checker.view(world), revision - 1, &done).map(|_| ())?;
            world.placed.remove(&done.open.op);
            Ok(())
        })?;
        self.advance()
    }

    /// An operation returned that changed nothing.
    pub(super) fn observed(&mut self, done: Done) -> Result<(), Stop> {
        if self.is_lost {
            return Ok(());
        }
        self.drop_worlds_with(&done.open, done.return_ns)?;
        if let Request::Compact { revision } = &done.open.request {
            self.compaction_acknowledged = self.compaction_acknowledged.max(*revision);
        }
        let revision = done.header.revision;
        if revision > self.applied {
            self.observers.entry(revision).or_default().push(done);
            self.observers_pending += 1;
            self.note_pending();
            self.advance()
        } else {
            self.check_observer(&done)
        }
    }

    /// A lease was revoked: its revision is somewhere up to the header's.
    pub(super) fn revoked(&mut self, done: Done) -> Result<(), Stop> {
        if self.is_lost {
            return Ok(());
        }
        self.revocations.insert(done.open.op, done.clone());
        if done.header.revision > self.applied {
            self.observers
                .entry(done.header.revision)
                .or_default()
                .push(done);
            self.observers_pending += 1;
            self.advance()
        } else {
            self.advance()?;
            self.check_observer(&done)
        }
    }

    fn note_pending(&mut self) {
        let pending = self.pending();
        self.statistics.pending_max = self.statistics.pending_max.max(pending);
    }

    /// Answers that wait for a revision.
    pub(super) fn pending(&self) -> usize {
        self.writers.len() + self.observers_pending
    }

    /// An operation that certainly did not write what some hypotheses say it wrote.
    pub(super) fn drop_worlds_with(&mut self, open: &Open, return_ns: u64) -> Result<(), Stop> {
        if self
            .worlds
            .iter()
            .all(|world| !world.placed.contains_key(&open.op))
        {
            return Ok(());
        }
        self.retain_worlds(|_, world| match world.placed.get(&open.op) {
            None => Ok(()),
            Some(revision) => {
                let mut witness = open.witness();
                witness.return_ns = Some(return_ns);
                Err(Doubt::Wrong(Contradiction {
                    kind: ViolationKind::UnexplainedRevision,
                    mismatch: Mismatch {
                        expected: format!("something that wrote revision {revision}"),
                        got: "nothing did".to_owned(),
                    },
                    operations: vec![witness],
                }))
            }
        })
    }

    /// Replays as far as the next revision is known.
    pub(super) fn advance(&mut self) -> Result<(), Stop> {
        while !self.is_lost {
            let next = self.applied + 1;
            if let Some(done) = self.writers.remove(&next) {
                self.replay(done)?;
            } else if self.seen_revision >= next
                && self.may_fill(next)
                && !self.awaits_evidence(next)
            {
                self.fill_gap(next)?;
            } else {
                return Ok(());
            }
            self.applied = next;
            self.settle(next)?;
            self.collect_garbage();
        }
        Ok(())
    }

    /// Carries out an acknowledged write at the next revision.
    fn replay(&mut self, done: Done) -> Result<(), Stop> {
        if !self.refusals.is_empty() {
            self.check_refusals(Some(done.open.call_event))?;
        }
        let revision = done.header.revision;
        if let Some(sighting) = self.sightings.front()
            && sighting.at_event < done.open.call_event
        {
            return Err(self.violated(
                ViolationKind::UnexplainedRevision,
                format!(
                    "revision {revision}, seen at {} ns, to be written by then",
                    sighting.at_ns
                ),
                "it was written by an operation called later",
                vec![done.witness()],
            ));
        }
        let writer = Writer::Operation(done.open.op);
        let mut changes_of_each = Vec::with_capacity(self.worlds.len());
        self.retain_worlds(|checker, world| {
            let changes = evaluate(checker.view(world), revision - 1, &done)?;
            checker.check_ends(world, &changes, &done)?;
            changes_of_each.push(changes);
            Ok(())
        })?;
        match &mut self.worlds[..] {
            // What is left alone is certain already.
            [_] => {
                let changes = changes_of_each.pop().expect("those of the hypothesis");
                self.base.commit(changes, writer);
            }
            worlds => {
                for (world, changes) in worlds.iter_mut().zip(changes_of_each) {
                    world.overlay.commit(&self.base, revision, changes, writer);
                }
            }
        }
        self.bound_worlds(revision);
        Ok(())
    }

    /// No key is attached to a lease that ended for good.
    fn check_ends(
        &self,
        world: &World,
        changes: &[Change],
        done: &Done,
    ) -> Result<(), Contradiction> {
        for (_, stored) in changes {
            let lease = stored.as_ref().map_or(0, |stored| stored.lease);
            if lease == 0 {
                continue;
            }
            let Some(end) = self.end_of(world, lease) else {
                continue;
            };
            if self.leases.is_single(lease) {
                return Err(Contradiction {
                    kind: ViolationKind::Lease,
                    mismatch: Mismatch {
                        expected: format!(
                            "a refusal, for lease {lease} ended at revision {}",
                            end.revision
                        ),
                        got: "the put was carried out".to_owned(),
                    },
                    operations: vec![done.witness()],
                });
            }
        }
        Ok(())
    }

    pub(super) fn end_of(&self, world: &World, lease: i64) -> Option<LeaseEnd> {
        world
            .ended
            .get(&lease)
            .or_else(|| self.ended.get(&lease))
            .copied()
    }

    /// Everything that waited for `revision`.
    fn settle(&mut self, revision: i64) -> Result<(), Stop> {
        self.evidence.remove(&revision);
        while self
            .sightings
            .front()
            .is_some_and(|sighting| sighting.revision <= revision)
        {
            self.sightings.pop_front();
        }
        if let Some(observers) = self.observers.remove(&revision) {
            self.observers_pending -= observers.len();
            for done in observers {
                self.check_observer(&done)?;
            }
        }
        if let Some(deliveries) = self.deliveries.remove(&revision) {
            for delivery in deliveries {
                self.check_delivery(delivery)?;
            }
        }
        Ok(())
    }

    /// Compares an answer with the state after its revision, which is replayed.
    fn check_observer(&mut self, done: &Done) -> Result<(), Stop> {
        if let Request::LeaseRevoke { id } = &done.open.request {
            return self.check_revocation(done, *id);
        }
        if let Request::LeaseTimeToLive { id, keys: true } = &done.open.request {
            return self.check_keys_of_lease(done, *id);
        }
        let revision = done.header.revision;
        let mut oldest = revision;
        let mut ahead = None;
        visit_revisions(&done.open.request, &mut |read| {
            oldest = oldest.min(read);
            if read > revision {
                ahead = Some(read);
            }
        });
        if let Some(read) = ahead {
            return Err(self.violated(
                ViolationKind::WrongResult,
                format!("a refusal, for revision {read} does not exist at revision {revision}"),
                "an answer",
                vec![done.witness()],
            ));
        }
        if oldest < self.base.log_start() - 1 {
            let text = format!(
                "{} read revision {oldest}; those before {} are forgotten",
                done.open.op,
                self.base.log_start() - 1
            );
            self.undecided(Cause::Retention, done.open.call_event, text);
            return Ok(());
        }
        let looks = looks_of(done);
        self.retain_worlds(|checker, world| {
            let blurred = Self::blurred(world, &looks);
            if !blurred.is_empty() {
                return Err(Doubt::Blurred(blurred));
            }
            let changes = evaluate(checker.view(world), revision, done)?;
            if changes.is_empty() {
                return Ok(());
            }
            Err(Doubt::Wrong(Contradiction {
                kind: ViolationKind::WrongResult,
                mismatch: Mismatch {
                    expected: "changes with a revision of their own".to_owned(),
                    got: "an answer that reports none".to_owned(),
                },
                operations: vec![done.witness()],
            }))
        })
    }

    /// After its revocation nothing is attached to a lease.
    fn check_revocation(&mut self, done: &Done, lease: i64) -> Result<(), Stop> {
        if !self.leases.is_single(lease) {
            return Ok(());
        }
        self.retain_worlds(
            |checker, world| match checker.view(world).attached(lease).next() {
                None => Ok(()),
                Some(key) => Err(Doubt::Wrong(Contradiction {
                    kind: ViolationKind::Lease,
                    mismatch: Mismatch {
                        expected: format!("the keys of lease {lease} to be deleted"),
                        got: format!(
                            "{} is still there",
                            veridical_histories::text_bytes::display(key)
                        ),
                    },
                    operations: vec![done.witness()],
                })),
            },
        )
    }

    /// Refusals that tell of keys. Where the next revision was written by an operation
    /// called at `written_by_call`, those that returned before it have to be possible by
    /// now.
    pub(super) fn check_refusals(&mut self, written_by_call: Option<u64>) -> Result<(), Stop> {
        let (due, rest) =
            std::mem::take(&mut self.refusals)
                .into_iter()
                .partition(|refusal: &Refusal| {
                    written_by_call.is_none_or(|call| refusal.return_event < call)
                });
        self.refusals = rest;
        let due: Vec<Refusal> = due;
        for refusal in due {
            let first = refusal.open.floor.revision.min(self.applied);
            let last = self.applied;
            self.retain_worlds(|checker, world| {
                let view = checker.view(world);
                let mut witness = refusal.open.witness();
                witness.return_ns = Some(refusal.return_ns);
                match may_be_refused(view, &refusal.open.request, first, last) {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(untold) => {
                        let operations = vec![witness];
                        return Err(Doubt::Untold { untold, operations });
                    }
                }
                Err(Doubt::Wrong(Contradiction {
                    kind: ViolationKind::WrongRefusal,
                    mismatch: Mismatch {
                        expected: format!(
                            "success, for the key exists from revision {first} to {last}"
                        ),
                        got: "refused: the key does not exist".to_owned(),
                    },
                    operations: vec![witness],
                }))
            })?;
        }
        Ok(())
    }

    /// A single hypothesis is a certainty.
    pub(super) fn settle_hypotheses(&mut self) {
        if self.worlds.len() != 1 {
            return;
        }
        let world = &mut self.worlds[0];
        if world.overlay.is_empty() && world.ended.is_empty() && world.placed.is_empty() {
            return;
        }
        self.base.absorb(std::mem::take(&mut world.overlay));
        self.ended.append(&mut world.ended);
        let (unknown, revocations) = (&mut self.unknown, &mut self.revocations);
        world.placed.retain(|op, _| {
            let is_placed = unknown.remove(*op) | revocations.remove(op).is_some();
            !is_placed
        });
    }

    /// What hypotheses may take in bytes, all together.
    pub(super) fn worlds_bytes_max(&self) -> usize {
        (self.bytes_max / 4).min(WORLDS_BYTES_MAX)
    }

    /// Drops hypotheses while they take more memory than is allowed.
    pub(super) fn bound_worlds(&mut self, revision: i64) {
        let bytes_max = self.worlds_bytes_max();
        let bytes = |worlds: &[World]| worlds.iter().map(World::bytes).sum::<usize>();
        while self.worlds.len() > 1 && bytes(&self.worlds) > bytes_max {
            self.worlds.truncate(self.worlds.len() / 2);
            self.narrow(
                Cause::Memory,
                format!(
                    "the explanations that are left open up to revision {revision} do not fit into \
                     {} MiB",
                    bytes_max >> 20
                ),
            );
        }
        self.settle_hypotheses();
    }

    /// Not every explanation is followed any more.
    pub(super) fn narrow(&mut self, cause: Cause, text: String) {
        self.is_beam = true;
        let events = (self.statistics.events, self.statistics.events);
        self.narrowed.get_or_insert(Undecided {
            cause,
            key: None,
            events,
            text,
        });
    }

    /// Keeps fewer old revisions while they take more than is allowed.
    fn mind_memory(&mut self) {
        let bytes = self.base.bytes();
        if bytes > self.bytes_max {
            let kept = self
                .retained_revisions
                .min(self.base.kept_revisions() as i64);
            self.retained_revisions = (kept - kept / 8 - 1).max(0);
        } else if bytes < self.bytes_max / 2 {
            let wanted = self.options.retain_revisions;
            self.retained_revisions = wanted.min(self.retained_revisions + 1);
        }
    }

    /// The states from which on watches that exist will tell of changes.
    pub(super) fn watched_from(&self) -> impl Iterator<Item = i64> + '_ {
        let watches = self.watches.values().filter(|watch| !watch.has_ended());
        let deliveries = self.deliveries.values().flatten();
        watches
            .map(|watch| watch.next() - 1)
            .chain(deliveries.map(|delivery| delivery.from - 1))
    }

    fn collect_garbage(&mut self) {
        self.mind_memory();
        let retained = self.applied - self.retained_revisions;
        if retained <= self.base.log_start() {
            let kept = self.base.kept_revisions();
            self.statistics.kept_revisions_max = self.statistics.kept_revisions_max.max(kept);
            return;
        }
        let open = self
            .open_floors
            .values()
            .next()
            .copied()
            .unwrap_or(i64::MAX);
        let refused = self
            .refusals
            .iter()
            .map(|refusal| refusal.open.floor.revision)
            .min()
            .unwrap_or(i64::MAX);
        let watched = self.watched_from().min().unwrap_or(i64::MAX).max(
            self.applied
                .saturating_sub(self.retained_revisions.saturating_mul(16)),
        );
        let oldest = retained
            .min(open)
            .min(refused)
            .min(watched)
            .min(self.base.revision());
        self.base.collect_garbage(oldest);
        let kept = self.base.kept_revisions();
        self.statistics.kept_revisions_max = self.statistics.kept_revisions_max.max(kept);
    }

    /// Ends the history.
    pub(super) fn end(&mut self) -> Result<(), Stop> {
        while let Some((op, _)) = self.open.first_key_value() {
            let op = *op;
            let open = self.open.remove(&op).expect("the first operation is there");
            self.open_floors.remove(&open.call_event);
            self.open_writer_floors.remove(&open.call_event);
            if open.request.may_write() {
                self.unknown.insert(open);
            }
        }
        self.options.evidence_patience = 0;
        self.options.crowded_patience = 0;
        self.advance()?;
        let more_may_follow = !self.unknown.is_empty()
            || self
                .worlds
                .iter()
                .any(|world| !self.view(world).leases().is_empty());
        if more_may_follow {
            return Ok(());
        }
        self.check_refusals(None)
    }
}

/// The states that an answer tells of.
fn looks_of(done: &Done) -> Vec<Look<'_>> {
    let header = done.header.revision;
    let at = |revision: i64, range| Look {
        first: revision,
        last: revision,
        range,
    };
    let mut looks = match &done.open.request {
        Request::Range(_) => Vec::new(),
        _ => vec![at(header, None)],
    };
    visit_ranges(&done.open.request, &done.response, &mut |range| {
        let revision = match range.revision {
            ..=0 => header,
            revision => revision,
        };
        looks.push(at(revision, Some(&range.range)));
    });
    looks
}

/// Carries out `done` on the state after `revision`, and compares its answer.
fn evaluate(view: View<'_>, revision: i64, done: &Done) -> Result<Vec<Change>, Doubt> {
    let changes = Evaluation::run(view, revision, &done.open.request, Some(&done.response));
    changes.map_err(|objection| {
        let operations = vec![done.witness()];
        match *objection {
            Objection::Untold(untold) => Doubt::Untold { untold, operations },
            Objection::Wrong(mismatch) => Doubt::Wrong(Contradiction {
                kind: ViolationKind::WrongResult,
                mismatch,
                operations,
            }),
        }
    })
}

/// What is said of a value that nobody saw before, and nobody can have written.
fn untellable(untold: &Untold, operations: Vec<WitnessOperation>) -> Contradiction {
    let key = display(&untold.key);
    let got = match &untold.value {
        Some(value) => display(value),
        None => "none is left".to_owned(),
    };
    Contradiction {
        kind: ViolationKind::WrongResult,
        mismatch: Mismatch {
            expected: format!(
                "what a put of {key} of unknown outcome can have written at revision {}",
                untold.revision
            ),
            got,
        },
        operations,
    }
}

/// Whether the request can have been refused for a missing key in a state between two
/// revisions, both included.
fn may_be_refused(
    view: View<'_>,
    request: &Request,
    first: i64,
    last: i64,
) -> Result<bool, Untold> {
    match request {
        Request::Put(put) => Ok(view.absent_within(&put.key, first, last)),
        Request::Txn(_) => {
            for revision in first..=last {
                match Evaluation::run(view, revision, request, None).map_err(|it| *it) {
                    Ok(_) => {}
                    Err(Objection::Wrong(_)) => return Ok(true),
                    Err(Objection::Untold(untold)) => return Err(untold),
                }
            }
            Ok(false)
        }
        _ => Ok(true),
    }
}

/// Calls `visit` with every revision that a request names for reading.
fn visit_revisions(request: &Request, visit: &mut impl FnMut(i64)) {
    fn in_ops(ops: &[TxnOp], visit: &mut impl FnMut(i64)) {
        for op in ops {
            match op {
                TxnOp::Range(range) if range.revision > 0 => visit(range.revision),
                TxnOp::Txn(txn) => {
                    in_ops(&txn.success, visit);
                    in_ops(&txn.failure, visit);
                }
                _ => {}
            }
        }
    }
    match request {
        Request::Range(range) if range.revision > 0 => visit(range.revision),
        Request::Txn(txn) => {
            in_ops(&txn.success, visit);
            in_ops(&txn.failure, visit);
        }
        _ => {}
    }
}
