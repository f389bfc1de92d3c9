//! Replaying revisions in order, and comparing every answer with the replay.

use veridical_histories::etcd::{Request, TxnOp};

use super::alike::Look;
use super::evaluate::{Evaluation, Mismatch, Objection};
use super::hypotheses::{Contradiction, Doubt};
use super::observe::visit_ranges;
use super::operation::{Done, Writer};
use super::versions::{Change, Untold, View};
use super::world::{LeaseEnd, World};
use super::{EtcdChecker, Refusal, Stop};
use crate::verdict::{Cause, ViolationKind};

impl EtcdChecker {
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
        self.retain_worlds(|checker, world| {
            if oldest < world.slots.blurred_until() {
                let blurred = Self::blurred(world, &looks_of(done));
                if !blurred.is_empty() {
                    return Err(Doubt::Blurred(blurred));
                }
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
