//! Taking events in: bookkeeping of open operations, and all checks that need no
//! replay.

use veridical_histories::EventKind;
use veridical_histories::OperationId;
use veridical_histories::etcd::{
    ErrorKind, EtcdEvent, Outcome, PutRequest, RangeRequest, Request, Response, TxnOp, TxnOpResult,
    TxnRequest, TxnResult,
};

use super::lease::Asked;
use super::operation::{Acknowledged, Acknowledgement, Done, Open, is_answer_to};
use super::world::{Evidence, visit_pairs};
use super::{EtcdChecker, Refusal, Sighting, Stop, tells_of_keys};
use crate::verdict::{MalformedReason, ViolationKind};

impl EtcdChecker {
    pub(super) fn take_in(&mut self, event: EtcdEvent) -> Result<(), Stop> {
        let (time_ns, client) = (event.time_ns, event.client);
        match event.kind {
            EventKind::Call { op, input } => self.call(time_ns, client, op, input),
            EventKind::Return { op, output } => {
                let Some(open) = self.open.get(&op) else {
                    return Err(Stop::Malformed(MalformedReason::NotOpen(op)));
                };
                if let Outcome::Done { response, .. } = &output
                    && !is_answer_to(&open.request, response)
                {
                    return Err(Stop::Malformed(MalformedReason::OutputOfOtherKind(op)));
                }
                let open = self.close(op)?;
                self.statistics.operations += 1;
                match output {
                    Outcome::Done { header, response } => self.done(Done {
                        open,
                        return_event: self.statistics.events,
                        return_ns: time_ns,
                        header,
                        response,
                    }),
                    Outcome::Refused { error } => self.refused(open, &error, time_ns),
                }
            }
            EventKind::Unknown { op } => {
                let open = self.close(op)?;
                self.statistics.unknown_outcomes += 1;
                if open.request.may_write() {
                    self.unknown.insert(open);
                }
                self.advance()
            }
            EventKind::Failed { op } => {
                let open = self.close(op)?;
                self.without_effect(&open, time_ns)
            }
            EventKind::Note { note } => self.note(time_ns, client, note),
        }
    }

    fn call(
        &mut self,
        call_ns: u64,
        client: u64,
        op: OperationId,
        request: Request,
    ) -> Result<(), Stop> {
        if self.open.contains_key(&op) || self.unknown.contains(op) {
            return Err(Stop::Malformed(MalformedReason::CalledTwice(op)));
        }
        match &request {
            Request::Compact { revision } => {
                *self.compactions_called.entry(*revision).or_default() += 1;
            }
            Request::LeaseGrant { id, ttl_s } => self.leases.grant_called(Asked {
                id: *id,
                ttl_s: *ttl_s,
                call_ns,
            }),
            Request::LeaseRevoke { id } => self.leases.revoke_called(*id),
            _ => {}
        }
        let session = if request.is_serializable() {
            self.sessions.get(&client).cloned().unwrap_or_default()
        } else {
            Default::default()
        };
        let lease_until_ns = match &request {
            Request::LeaseTimeToLive { id, .. } if self.leases.is_single(*id) => {
                self.leases.alive_until_ns(*id)
            }
            _ => 0,
        };
        let call_event = self.statistics.events;
        let floor = self.acknowledged;
        self.open_floors.insert(call_event, floor.revision);
        if request.may_write() {
            self.open_writer_floors.insert(call_event, floor.revision);
        }
        let open = Open {
            op,
            client,
            call_event,
            call_ns,
            request,
            floor,
            compact_floor: self.compaction_acknowledged,
            lease_until_ns,
            session,
        };
        self.open.insert(op, Box::new(open));
        Ok(())
    }

    fn close(&mut self, op: OperationId) -> Result<Box<Open>, Stop> {
        let open = self
            .open
            .remove(&op)
            .ok_or(Stop::Malformed(MalformedReason::NotOpen(op)))?;
        self.open_floors.remove(&open.call_event);
        self.open_writer_floors.remove(&open.call_event);
        Ok(open)
    }

    fn done(&mut self, done: Done) -> Result<(), Stop> {
        let revision = done.header.revision;
        match (&done.open.request, &done.response) {
            (
                Request::LeaseGrant {
                    id: requested,
                    ttl_s: asked_ttl_s,
                },
                Response::LeaseGrant { id, ttl_s },
            ) => {
                self.check_granted(&done, *requested)?;
                let asked = Asked {
                    id: *requested,
                    ttl_s: *asked_ttl_s,
                    call_ns: done.open.call_ns,
                };
                self.leases.granted(asked, *id, *ttl_s, done.return_event);
                return Ok(());
            }
            (Request::LeaseKeepAlive { id }, Response::LeaseKeepAlive { ttl_s }) => {
                return self.kept_alive(&done, *id, *ttl_s);
            }
            (Request::LeaseRevoke { id }, _) => {
                self.check_lease_there(&done, *id)?;
                self.leases.revoked(*id, done.return_event);
                self.see(revision, done.return_ns);
                return self.revoked(done);
            }
            (Request::LeaseTimeToLive { id, .. }, _) => self.check_time_to_live(&done, *id)?,
            (Request::LeaseLeases, Response::LeaseLeases { ids }) => {
                self.check_list_of_leases(&done, ids)?;
            }
            _ => {}
        }
        let is_serializable = done.open.request.is_serializable();
        if is_serializable {
            self.check_session(&done)?;
        } else {
            self.check_real_time(&done)?;
        }
        self.check_compaction(&done)?;
        self.check_leases_of_puts(&done)?;
        self.show(done.open.client, done.header.member, revision);
        self.see(revision, done.return_ns);
        self.collect_evidence(&done);
        if !is_serializable && revision > self.acknowledged.revision {
            self.acknowledged = Acknowledged {
                revision,
                by: Some(Acknowledgement {
                    op: done.open.op,
                    client: done.open.client,
                    call_ns: done.open.call_ns,
                    return_ns: done.return_ns,
                }),
            };
        }
        if done.has_written() {
            self.written(done)
        } else {
            self.observed(done)
        }
    }

    /// Condition 3: what was acknowledged before the call is seen.
    fn check_real_time(&self, done: &Done) -> Result<(), Stop> {
        let floor = done.open.floor;
        let revision = done.header.revision;
        let has_written = done.has_written();
        if revision > floor.revision || (revision == floor.revision && !has_written) {
            return Ok(());
        }
        let relation = if has_written { "above" } else { "of at least" };
        Err(self.violated(
            ViolationKind::StaleRevision,
            format!(
                "a revision {relation} {}, which was acknowledged before the call",
                floor.revision
            ),
            format!("revision {revision}"),
            floor
                .witness()
                .into_iter()
                .chain([done.witness()])
                .collect(),
        ))
    }

    fn check_session(&self, done: &Done) -> Result<(), Stop> {
        let shown = done
            .open
            .session
            .get(&done.header.member)
            .copied()
            .unwrap_or(0);
        if done.header.member == 0 || done.header.revision >= shown {
            return Ok(());
        }
        Err(self.violated(
            ViolationKind::SessionWentBack,
            format!("revision {shown} or later, which this member had shown to this session"),
            format!("revision {}", done.header.revision),
            vec![done.witness()],
        ))
    }

    fn check_compaction(&self, done: &Done) -> Result<(), Stop> {
        if let Request::Compact { revision } = &done.open.request
            && *revision > done.header.revision
        {
            return Err(self.violated(
                ViolationKind::Compaction,
                "a refusal, for the revision does not exist yet",
                format!("compacted at revision {}", done.header.revision),
                vec![done.witness()],
            ));
        }
        if done.open.request.is_serializable() {
            return Ok(());
        }
        let mut wrong = None;
        visit_ranges(&done.open.request, &done.response, &mut |range| {
            if range.revision > 0 && range.revision < done.open.compact_floor {
                wrong = Some(range.revision);
            }
        });
        match wrong {
            None => Ok(()),
            Some(revision) => Err(self.violated(
                ViolationKind::Compaction,
                format!(
                    "a refusal, for a compaction to {} was acknowledged before the call",
                    done.open.compact_floor
                ),
                format!("an answer at revision {revision}"),
                vec![done.witness()],
            )),
        }
    }

    fn check_leases_of_puts(&self, done: &Done) -> Result<(), Stop> {
        let mut missing = None;
        visit_puts(&done.open.request, &done.response, &mut |put| {
            let lease = put.lease;
            if lease != 0
                && !put.ignore_lease
                && !self.leases.may_exist(lease, done.open.call_event)
            {
                missing = Some(lease);
            }
        });
        match missing {
            None => Ok(()),
            Some(lease) => Err(self.violated(
                ViolationKind::Lease,
                format!("a refusal, for lease {lease} did not exist during the operation"),
                "the put was carried out",
                vec![done.witness()],
            )),
        }
    }

    fn kept_alive(&mut self, done: &Done, id: i64, ttl_s: i64) -> Result<(), Stop> {
        if ttl_s <= 0 {
            return self.check_lease_missing(&done.open, id, done.return_ns);
        }
        self.check_lease_there(done, id)?;
        let call_ns = done.open.call_ns;
        self.leases.kept_alive(id, ttl_s, call_ns);
        self.check_kept_alive(done, id)
    }

    pub(super) fn check_lease_missing(
        &self,
        open: &Open,
        id: i64,
        now_ns: u64,
    ) -> Result<(), Stop> {
        if self.leases.may_be_missing(id, open.call_event, now_ns) {
            return Ok(());
        }
        Err(self.violated(
            ViolationKind::Lease,
            format!(
                "lease {id} to live until {} ns",
                self.leases.alive_until_ns(id)
            ),
            format!("not found at {now_ns} ns"),
            vec![open.witness()],
        ))
    }

    fn refused(&mut self, open: Box<Open>, error: &ErrorKind, now_ns: u64) -> Result<(), Stop> {
        match (error, &open.request) {
            (
                ErrorKind::LeaseNotFound,
                Request::LeaseKeepAlive { id } | Request::LeaseRevoke { id },
            ) => {
                self.check_lease_missing(&open, *id, now_ns)?;
            }
            (ErrorKind::LeaseNotFound, Request::Put(put)) => {
                self.check_lease_missing(&open, put.lease, now_ns)?;
            }
            (
                ErrorKind::FutureRevision,
                Request::Range(RangeRequest {
                    revision,
                    serializable: false,
                    ..
                }),
            )
            | (ErrorKind::FutureRevision, Request::Compact { revision })
                if *revision <= open.floor.revision =>
            {
                return Err(self.violated(
                    ViolationKind::WrongRefusal,
                    format!(
                        "an answer, for revision {} was acknowledged",
                        open.floor.revision
                    ),
                    format!("revision {revision} is said to lie in the future"),
                    open.floor
                        .witness()
                        .into_iter()
                        .chain([open.witness()])
                        .collect(),
                ));
            }
            (ErrorKind::Compacted, Request::Range(RangeRequest { revision, .. })) => {
                self.check_may_be_compacted(&open, revision + 1)?;
            }
            (ErrorKind::Compacted, Request::Compact { revision }) => {
                self.forget_compaction(*revision);
                let result = self.check_may_be_compacted(&open, *revision);
                *self.compactions_called.entry(*revision).or_default() += 1;
                result?;
            }
            _ => {}
        }
        self.without_effect(&open, now_ns)?;
        self.check_lease_is_taken(&open, error)?;
        if tells_of_keys(error) {
            self.refusals.push(Refusal {
                open,
                return_event: self.statistics.events,
                return_ns: now_ns,
            });
        }
        Ok(())
    }

    fn check_may_be_compacted(&self, open: &Open, at_least: i64) -> Result<(), Stop> {
        if self.compactions_called.range(at_least..).next().is_some() {
            return Ok(());
        }
        Err(self.violated(
            ViolationKind::Compaction,
            format!("an answer, for no compaction to {at_least} or above was called"),
            "refused as compacted",
            vec![open.witness()],
        ))
    }

    fn forget_compaction(&mut self, revision: i64) {
        if let Some(count) = self.compactions_called.get_mut(&revision) {
            *count -= 1;
            if *count == 0 {
                self.compactions_called.remove(&revision);
            }
        }
    }

    /// An operation ended of which it is certain that it changed nothing.
    fn without_effect(&mut self, open: &Open, now_ns: u64) -> Result<(), Stop> {
        match &open.request {
            Request::Compact { revision } => self.forget_compaction(*revision),
            Request::LeaseGrant { id, ttl_s } => self.leases.grant_refused(Asked {
                id: *id,
                ttl_s: *ttl_s,
                call_ns: open.call_ns,
            }),
            _ => {}
        }
        self.drop_worlds_with(open, now_ns)?;
        self.advance()
    }

    /// A member showed `revision` to a session.
    fn show(&mut self, client: u64, member: u64, revision: i64) {
        if member != 0 {
            let shown = self
                .sessions
                .entry(client)
                .or_default()
                .entry(member)
                .or_default();
            *shown = revision.max(*shown);
        }
    }

    /// `revision` exists.
    pub(super) fn see(&mut self, revision: i64, now_ns: u64) {
        if revision > self.seen_revision {
            self.seen_revision = revision;
            let at_event = self.statistics.events;
            self.sightings.push_back(Sighting {
                revision,
                at_event,
                at_ns: now_ns,
            });
        }
    }

    fn collect_evidence(&mut self, done: &Done) {
        let applied = self.applied;
        // What a write shows of its own revision may be overwritten by itself, and needs no
        // explanation.
        let own = done.has_written().then_some(done.header.revision);
        let evidence = &mut self.evidence;
        visit_pairs(&done.open.request, &done.response, &mut |kv, keys_only| {
            if kv.mod_revision > applied && Some(kv.mod_revision) != own {
                let seen = Evidence::Wrote {
                    kv: kv.clone(),
                    keys_only,
                };
                evidence.entry(kv.mod_revision).or_default().push(seen);
            }
        });
    }
}

/// Calls `visit` with every range that was carried out.
pub(super) fn visit_ranges<'a>(
    request: &'a Request,
    response: &Response,
    visit: &mut impl FnMut(&'a RangeRequest),
) {
    fn in_txn<'a>(
        txn: &'a TxnRequest,
        result: &TxnResult,
        visit: &mut impl FnMut(&'a RangeRequest),
    ) {
        let ops = if result.succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        for (op, result) in ops.iter().zip(&result.results) {
            match (op, result) {
                (TxnOp::Range(range), _) => visit(range),
                (TxnOp::Txn(txn), TxnOpResult::Txn(result)) => in_txn(txn, result, visit),
                _ => {}
            }
        }
    }
    match (request, response) {
        (Request::Range(range), _) => visit(range),
        (Request::Txn(txn), Response::Txn(result)) => in_txn(txn, result, visit),
        _ => {}
    }
}

/// Calls `visit` with every put that was carried out.
pub(super) fn visit_puts<'a>(
    request: &'a Request,
    response: &Response,
    visit: &mut impl FnMut(&'a PutRequest),
) {
    fn in_txn<'a>(txn: &'a TxnRequest, result: &TxnResult, visit: &mut impl FnMut(&'a PutRequest)) {
        let ops = if result.succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        for (op, result) in ops.iter().zip(&result.results) {
            match (op, result) {
                (TxnOp::Put(put), _) => visit(put),
                (TxnOp::Txn(txn), TxnOpResult::Txn(result)) => in_txn(txn, result, visit),
                _ => {}
            }
        }
    }
    match (request, response) {
        (Request::Put(put), _) => visit(put),
        (Request::Txn(txn), Response::Txn(result)) => in_txn(txn, result, visit),
        _ => {}
    }
}
