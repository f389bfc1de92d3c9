//! The room of the intake: what clients and watches record, before it is replayed.
//!
//! Inputs: the events of the history, one by one. Outputs: for each of them the [`Step`]
//! that it asks of the other rooms, or the contradiction that it is by itself: with real
//! time, a session, a compaction, the times of leases, or the order of a watch.
//! Dependencies: neither the store's content nor any hypothesis about it.
//!
//! What waits for revisions that are not replayed yet is kept here, and so is what it shows
//! of them.

mod backlog;
mod compactions;
mod evidence;
mod in_flight;
mod lease_queries;
mod lease_times;
mod order;
mod sessions;
#[cfg(test)]
mod tests;
mod watch;
mod watches;

use veridical_histories::etcd::{
    ErrorKind, EtcdEvent, Outcome, Request, Response, WatchNote, WatchResponse,
};
use veridical_histories::{EventKind, OperationId};

pub(super) use backlog::Backlog;
pub(super) use evidence::Evidence;
pub(super) use lease_times::LeaseTimes;
pub(super) use watch::{Delivery, Misdelivery, Watch, describe, shows};

use super::memory::CONTENT_BYTES;
use super::objection::Stop;
use super::operation::{Acknowledged, Acknowledgement, Done, Open, Refusal, is_answer_to};
use super::visit::visit_pairs;
use crate::verdict::MalformedReason;
use compactions::Compactions;
use in_flight::InFlight;
use lease_times::Asked;
use sessions::Sessions;
use watches::Watches;

/// What an event asks of the other rooms.
#[derive(Debug)]
pub(super) enum Step {
    /// The event is dealt with.
    Nothing,
    /// Revisions may have become explicable.
    Replay,
    /// The outcome of an operation stays unknown.
    Undetermined(Box<Open>),
    /// An operation certainly had no effect; it ended at `return_ns`.
    NoEffect { open: Box<Open>, return_ns: u64 },
    /// As [`Step::NoEffect`], because of this error. [`Intake::end_refused`] ends it.
    Refused { refusal: Refusal, error: ErrorKind },
    /// An operation returned that has a revision of its own.
    Written(Done),
    /// An operation returned that changed nothing.
    Observed(Done),
    /// A lease was revoked, at a revision up to the one in the answer.
    Revoked(Done),
    /// This lease was kept alive.
    KeptAlive { done: Done, lease: i64 },
    /// A watch was sent all that it wants to know of some revisions.
    Delivered(Delivery),
}

/// What clients and watches have recorded.
#[derive(Debug)]
pub(super) struct Intake {
    initial_revision: i64,
    lease_tolerance_ns: u64,
    in_flight: InFlight,
    acknowledged: Acknowledged,
    compactions: Compactions,
    leases: LeaseTimes,
    sessions: Sessions,
    watches: Watches,
    backlog: Backlog,
    /// How many operations returned with a known outcome.
    operations: u64,
    /// How many have an unknown one.
    unknown_outcomes: u64,
}

impl Intake {
    /// The intake of a history that begins at `initial_revision`; leases may end by
    /// `lease_tolerance_ns` too early.
    pub fn new(initial_revision: i64, lease_tolerance_ns: u64) -> Self {
        Self {
            initial_revision,
            lease_tolerance_ns,
            in_flight: InFlight::default(),
            acknowledged: Acknowledged {
                revision: initial_revision,
                by: None,
            },
            compactions: Compactions::default(),
            leases: LeaseTimes::new(lease_tolerance_ns),
            sessions: Sessions::default(),
            watches: Watches::default(),
            backlog: Backlog::new(initial_revision),
            operations: 0,
            unknown_outcomes: 0,
        }
    }

    /// Forgets everything and begins again; what was counted stays.
    pub fn reset(&mut self) {
        self.watches.clear();
        self.backlog.reset(self.initial_revision);
        let fresh = Self::new(self.initial_revision, self.lease_tolerance_ns);
        *self = Self {
            watches: std::mem::take(&mut self.watches),
            backlog: std::mem::replace(&mut self.backlog, Backlog::new(0)),
            operations: self.operations,
            unknown_outcomes: self.unknown_outcomes,
            ..fresh
        };
    }

    /// Takes the event with number `event` in, while revisions up to `applied` are
    /// replayed.
    ///
    /// # Errors
    /// The event cannot follow those before it, or contradicts them by itself.
    pub fn receive(&mut self, event: EtcdEvent, number: u64, applied: i64) -> Result<Step, Stop> {
        let (time_ns, client) = (event.time_ns, event.client);
        match event.kind {
            EventKind::Call { op, input } => {
                if self.in_flight.contains(op) {
                    return Err(Stop::Malformed(MalformedReason::CalledTwice(op)));
                }
                self.call(time_ns, client, op, input, number);
                Ok(Step::Nothing)
            }
            EventKind::Return { op, output } => {
                let open = self.close_returned(op, &output)?;
                self.operations += 1;
                match output {
                    Outcome::Done { header, response } => self.done(
                        Done {
                            open,
                            return_event: number,
                            return_ns: time_ns,
                            header,
                            response,
                        },
                        applied,
                    ),
                    Outcome::Refused { error } => {
                        let refusal = Refusal {
                            open,
                            return_event: number,
                            return_ns: time_ns,
                        };
                        self.refused(refusal, error)
                    }
                }
            }
            EventKind::Unknown { op } => {
                let open = self.close(op)?;
                self.unknown_outcomes += 1;
                Ok(Step::Undetermined(open))
            }
            EventKind::Failed { op } => {
                let open = self.close(op)?;
                self.had_no_effect(&open);
                Ok(Step::NoEffect {
                    open,
                    return_ns: time_ns,
                })
            }
            EventKind::Note { note } => match note {
                WatchNote::Created(created) => {
                    let result = self.watches.create(created, client, time_ns);
                    result.map_err(Stop::Malformed)?;
                    Ok(Step::Nothing)
                }
                WatchNote::Response(response) => {
                    self.watch_responded(time_ns, &response, number, applied)
                }
            },
        }
    }

    fn call(&mut self, call_ns: u64, client: u64, op: OperationId, request: Request, event: u64) {
        match &request {
            Request::Compact { revision } => self.compactions.called(*revision),
            Request::LeaseGrant { id, ttl_s } => self.leases.grant_called(Asked {
                id: *id,
                ttl_s: *ttl_s,
                call_ns,
            }),
            Request::LeaseRevoke { id } => self.leases.revoke_called(*id),
            Request::Range(_)
            | Request::Put(_)
            | Request::DeleteRange(_)
            | Request::Txn(_)
            | Request::LeaseKeepAlive { .. }
            | Request::LeaseTimeToLive { .. }
            | Request::LeaseLeases => {}
        }
        let session = if request.is_serializable() {
            self.sessions.shown_to(client)
        } else {
            Default::default()
        };
        let lease_until_ns = if let Request::LeaseTimeToLive { id, .. } = &request
            && self.leases.is_single(*id)
        {
            self.leases.alive_until_ns(*id)
        } else {
            0
        };
        self.in_flight.insert(Box::new(Open {
            op,
            client,
            call_event: event,
            call_ns,
            request,
            floor: self.acknowledged,
            compact_floor: self.compactions.acknowledged(),
            lease_until_ns,
            session,
        }));
    }

    fn close(&mut self, op: OperationId) -> Result<Box<Open>, Stop> {
        let open = self.in_flight.remove(op);
        open.ok_or(Stop::Malformed(MalformedReason::NotOpen(op)))
    }

    /// Closes an operation that returned, unless `outcome` is not one of its kind.
    fn close_returned(&mut self, op: OperationId, outcome: &Outcome) -> Result<Box<Open>, Stop> {
        if let Outcome::Done { response, .. } = outcome
            && let Some(open) = self.in_flight.get(op)
            && !is_answer_to(&open.request, response)
        {
            return Err(Stop::Malformed(MalformedReason::OutputOfOtherKind(op)));
        }
        self.close(op)
    }

    fn done(&mut self, done: Done, applied: i64) -> Result<Step, Stop> {
        match (&done.open.request, &done.response) {
            (Request::LeaseGrant { id, ttl_s }, Response::LeaseGrant { .. }) => {
                let (requested, asked_ttl_s) = (*id, *ttl_s);
                self.granted(&done, requested, asked_ttl_s)?;
                Ok(Step::Nothing)
            }
            (Request::LeaseKeepAlive { id }, Response::LeaseKeepAlive { ttl_s }) => {
                let (lease, ttl_s) = (*id, *ttl_s);
                if ttl_s <= 0 {
                    let now_ns = done.return_ns;
                    let open = &done.open;
                    lease_queries::check_lease_missing(&self.leases, open, lease, now_ns)?;
                    return Ok(Step::Nothing);
                }
                lease_queries::check_lease_there(&self.leases, &done, lease)?;
                self.leases.kept_alive(lease, ttl_s, done.open.call_ns);
                Ok(Step::KeptAlive { done, lease })
            }
            (Request::LeaseRevoke { id }, _) => {
                lease_queries::check_lease_there(&self.leases, &done, *id)?;
                self.leases.revoked(*id, done.return_event);
                self.see(done.header.revision, done.return_event, done.return_ns);
                Ok(Step::Revoked(done))
            }
            (Request::LeaseTimeToLive { id, .. }, _) => {
                lease_queries::check_time_to_live(&self.leases, &done, *id)?;
                self.answered(done, applied)
            }
            (Request::LeaseLeases, Response::LeaseLeases { ids }) => {
                lease_queries::check_list_of_leases(&self.leases, &done, ids)?;
                self.answered(done, applied)
            }
            (
                Request::Range(_)
                | Request::Put(_)
                | Request::DeleteRange(_)
                | Request::Txn(_)
                | Request::Compact { .. }
                | Request::LeaseGrant { .. }
                | Request::LeaseKeepAlive { .. }
                | Request::LeaseLeases,
                _,
            ) => self.answered(done, applied),
        }
    }

    fn granted(&mut self, done: &Done, requested: i64, asked_ttl_s: i64) -> Result<(), Stop> {
        let Response::LeaseGrant { id, ttl_s } = &done.response else {
            return Ok(());
        };
        let ttls_s = (asked_ttl_s, *ttl_s);
        lease_queries::check_granted(&self.leases, done, requested, ttls_s)?;
        let asked = Asked {
            id: requested,
            ttl_s: asked_ttl_s,
            call_ns: done.open.call_ns,
        };
        self.leases.granted(asked, *id, *ttl_s, done.return_event);
        Ok(())
    }

    /// An answer that shows the state after its revision.
    fn answered(&mut self, done: Done, applied: i64) -> Result<Step, Stop> {
        let revision = done.header.revision;
        let is_serializable = done.open.request.is_serializable();
        if is_serializable {
            order::check_session(&done)?;
        } else {
            order::check_real_time(&done)?;
        }
        order::check_compaction(&done)?;
        order::check_leases_of_puts(&self.leases, &done)?;
        self.sessions
            .show(done.open.client, done.header.member, revision);
        self.see(revision, done.return_event, done.return_ns);
        self.collect_evidence(&done, applied);
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
        match done.has_written() {
            true => Ok(Step::Written(done)),
            false => Ok(Step::Observed(done)),
        }
    }

    fn refused(&mut self, refusal: Refusal, error: ErrorKind) -> Result<Step, Stop> {
        order::check_refused(&self.compactions, &self.leases, &refusal, &error)?;
        self.had_no_effect(&refusal.open);
        Ok(Step::Refused { refusal, error })
    }

    /// Ends a refused operation once the other rooms know that it had no effect.
    ///
    /// # Errors
    /// A lease is said to exist that cannot.
    pub fn end_refused(&mut self, refusal: Refusal, error: &ErrorKind) -> Result<(), Stop> {
        lease_queries::check_lease_is_taken(&self.leases, &refusal.open, error)?;
        // No other refusal tells something about the keys.
        if matches!(error, ErrorKind::KeyNotFound) {
            self.backlog.push_refusal(refusal);
        }
        Ok(())
    }

    /// Takes back what the call of an operation announced that had no effect.
    fn had_no_effect(&mut self, open: &Open) {
        match &open.request {
            Request::Compact { revision } => self.compactions.had_no_effect(*revision),
            Request::LeaseGrant { id, ttl_s } => self.leases.grant_refused(Asked {
                id: *id,
                ttl_s: *ttl_s,
                call_ns: open.call_ns,
            }),
            Request::Range(_)
            | Request::Put(_)
            | Request::DeleteRange(_)
            | Request::Txn(_)
            | Request::LeaseRevoke { .. }
            | Request::LeaseKeepAlive { .. }
            | Request::LeaseTimeToLive { .. }
            | Request::LeaseLeases => {}
        }
    }

    fn watch_responded(
        &mut self,
        at_ns: u64,
        response: &WatchResponse,
        number: u64,
        applied: i64,
    ) -> Result<Step, Stop> {
        let delivery = self
            .watches
            .respond(response, &self.compactions, number, at_ns)?;
        for event in &response.events {
            let revision = event.kv.mod_revision;
            if revision > applied {
                self.backlog.push_evidence(revision, Evidence::of(event));
            }
            self.see(revision, number, at_ns);
        }
        let Some(delivery) = delivery else {
            self.forget_ended(response.watch);
            return Ok(Step::Replay);
        };
        self.see(delivery.upto, number, at_ns);
        Ok(Step::Delivered(delivery))
    }

    /// Forgets a watch that ended and to which no delivery waits.
    pub fn forget_ended(&mut self, watch: u64) {
        if self.watches.has_ended(watch)
            && !{ self.backlog.deliveries() }.any(|delivery| delivery.watch == watch)
        {
            self.watches.forget(watch);
        }
    }

    /// `revision` exists.
    fn see(&mut self, revision: i64, at_event: u64, at_ns: u64) {
        self.backlog.see(revision, at_event, at_ns);
    }

    fn collect_evidence(&mut self, done: &Done, applied: i64) {
        // What a write shows of its own revision may be overwritten by itself, and needs no
        // explanation.
        let own = done.has_written().then_some(done.header.revision);
        let backlog = &mut self.backlog;
        visit_pairs(&done.open.request, &done.response, &mut |kv, keys_only| {
            if kv.mod_revision > applied && Some(kv.mod_revision) != own {
                let kv = kv.clone();
                backlog.push_evidence(kv.mod_revision, Evidence::Wrote { kv, keys_only });
            }
        });
    }

    /// The compaction to `revision` that was called is acknowledged.
    pub fn acknowledge_compaction(&mut self, revision: i64) {
        self.compactions.acknowledge(revision);
    }

    /// Ends the history: takes out the next operation in flight.
    pub fn pop_in_flight(&mut self) -> Option<Box<Open>> {
        self.in_flight.pop_first()
    }

    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    pub fn leases(&self) -> &LeaseTimes {
        &self.leases
    }

    pub fn watches(&self) -> &Watches {
        &self.watches
    }

    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    pub fn backlog_mut(&mut self) -> &mut Backlog {
        &mut self.backlog
    }

    /// The greatest revision to which a compaction was called, 0 where there was none.
    pub fn compaction_called(&self) -> i64 {
        self.compactions.greatest_called()
    }

    /// The states from which on watches that exist will tell of changes.
    pub fn watched_from(&self) -> impl Iterator<Item = i64> {
        let next = self.watches.next_revisions();
        let waiting = self.backlog.deliveries().map(|delivery| delivery.from);
        next.chain(waiting).map(|revision| revision - 1)
    }

    /// Answers to come tell nothing of states before this one, unless they are asked for
    /// them.
    pub fn oldest_observable(&self) -> i64 {
        let in_flight = self.in_flight.oldest_floor();
        let refused = self.backlog.oldest_refused();
        let others = in_flight.into_iter().chain(refused);
        others
            .chain(self.watched_from())
            .fold(self.acknowledged.revision, i64::min)
    }

    /// How many operations returned with a known outcome.
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// How many operations have an unknown outcome.
    pub fn unknown_outcomes(&self) -> u64 {
        self.unknown_outcomes
    }

    /// Bytes held, estimated.
    pub fn table_bytes(&self) -> usize {
        self.in_flight.len() * (size_of::<Open>() + CONTENT_BYTES)
            + self.in_flight.place_bytes()
            + self.backlog.bytes()
            + self.watches.bytes()
            + self.sessions.bytes()
            + self.compactions.bytes()
            + self.leases.bytes()
    }
}
