//! Renewals and remaining times of leases: answered by the leader, asked of it by the
//! others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::debug;
use veridical_env::{Clock, Environment};
use veridical_probe::{queue, reachable, sometimes};
use veridical_proto::command::command::Request as CommandRequest;
use veridical_proto::etcdserverpb::LeaseRevokeRequest;
use veridical_proto::peer::peer_frame::Body;
use veridical_proto::peer::{LeaseCall, LeaseReply};
use veridical_store::{ApiError, StoreReader};

use crate::config::ms;
use crate::consensus::driver::Request;
use crate::leases::lessor::LeaseKeeper;
use crate::limits::Limits;
use crate::peers::transport::Transport;
use crate::proposals::table::Proposals;

/// What the leader says of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseState {
    pub(crate) granted_ttl_s: i64,
    pub(crate) remaining_ttl_s: i64,
}

/// Answers for the leases that this member times, and asks the leader for the others.
pub(crate) struct LeaseDesk<E: Environment> {
    pub(crate) keeper: LeaseKeeper,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) proposals: Proposals,
    pub(crate) transport: Transport<E>,
    pub(crate) reader: StoreReader,
    pub(crate) clock: E::Clock,
    pub(crate) limits: Limits,
    calls: Arc<Mutex<Calls>>,
}

impl<E: Environment> Clone for LeaseDesk<E> {
    fn clone(&self) -> Self {
        Self {
            keeper: self.keeper.clone(),
            requests: self.requests.clone(),
            proposals: self.proposals.clone(),
            transport: self.transport.clone(),
            reader: self.reader.clone(),
            clock: self.clock.clone(),
            limits: self.limits.clone(),
            calls: Arc::clone(&self.calls),
        }
    }
}

struct Calls {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<LeaseReply>>,
}

impl<E: Environment> LeaseDesk<E> {
    #[allow(
        clippy::too_many_arguments,
        reason = "the desk is put together in one place"
    )]
    pub(crate) fn new(
        keeper: LeaseKeeper,
        requests: mpsc::Sender<Request>,
        proposals: Proposals,
        transport: Transport<E>,
        reader: StoreReader,
        clock: E::Clock,
        limits: Limits,
        first_call: u64,
    ) -> Self {
        let calls = Calls {
            next: first_call,
            waiting: BTreeMap::new(),
        };
        Self {
            keeper,
            requests,
            proposals,
            transport,
            reader,
            clock,
            limits,
            calls: Arc::new(Mutex::new(calls)),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls
            .lock()
            .expect("no panic while the calls are locked")
    }

    /// Asks as the leader of the present term. `Ok(None)`: there is no such lease.
    pub(crate) async fn own(&self, id: i64, renew: bool) -> Result<Option<LeaseState>, ApiError> {
        let term = self.keeper.term().ok_or_else(ApiError::not_leader)?;
        if self.reader.lease(id).is_none() {
            reachable!("node.lease-asked-for-that-is-not-applied-here");
            // It may have been granted by an entry that is not applied here yet.
            self.confirm(term).await?;
        }
        let now = self.clock.monotonic();
        if renew && self.keeper.renew(id, now).is_none() {
            self.confirm(term).await?;
            return Ok(None);
        }
        // Only now: whoever leads later has started its clock after the renewal.
        let confirmed = self.confirm(term).await;
        sometimes!(
            renew && confirmed.is_err(),
            "node.renewal-by-a-leader-that-was-deposed"
        );
        confirmed?;
        let Some(lease) = self.reader.lease(id) else {
            return Ok(None);
        };
        let remaining = self.keeper.remaining(id, now).unwrap_or_default();
        Ok(Some(LeaseState {
            granted_ttl_s: lease.granted_ttl_s,
            remaining_ttl_s: remaining.as_secs() as i64,
        }))
    }

    async fn confirm(&self, term: u64) -> Result<(), ApiError> {
        let (reply, confirmed) = oneshot::channel();
        let request = Request::Confirm { term, reply };
        self.requests
            .send(request)
            .await
            .map_err(|_| ApiError::stopped())?;
        confirmed.await.map_err(|_| ApiError::stopped())?
    }

    /// Asks another member, which should be the leader, once.
    pub(crate) async fn ask(
        &self,
        leader: u64,
        id: i64,
        renew: bool,
    ) -> Result<Option<LeaseState>, ApiError> {
        let (call, reply) = {
            let mut calls = self.calls();
            calls.waiting.retain(|_, waiting| !waiting.is_closed());
            if calls.waiting.len() >= self.limits.max_lease_calls {
                return Err(ApiError::too_many_requests());
            }
            calls.next += 1;
            let call = calls.next;
            let (sender, reply) = oneshot::channel();
            calls.waiting.insert(call, sender);
            queue!(
                "node.lease-calls",
                calls.waiting.len(),
                self.limits.max_lease_calls
            );
            (call, reply)
        };
        self.transport.send(
            leader,
            Body::LeaseCall(LeaseCall {
                id: call,
                lease: id,
                renew,
            }),
        );
        tokio::select! {
            biased;
            reply = reply => match reply {
                Ok(reply) if !reply.refused => Ok(reply.found.then_some(LeaseState {
                    granted_ttl_s: reply.granted_ttl_s,
                    remaining_ttl_s: reply.remaining_ttl_s,
                })),
                _ => Err(ApiError::not_leader()),
            },
            () = self.clock.sleep(ms(self.limits.retry_ms)) => Err(ApiError::timeout()),
        }
    }

    /// Serves the calls of other members and hands on their replies.
    pub(crate) async fn serve(self, mut frames: mpsc::Receiver<(u64, Body)>) {
        let permits = Arc::new(Semaphore::new(self.limits.max_served_lease_calls));
        while let Some((from, body)) = frames.recv().await {
            match body {
                Body::LeaseCall(call) => {
                    let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                        debug!(peer = from, "passed over a lease call");
                        continue;
                    };
                    queue!(
                        "node.lease-calls-served",
                        self.limits.max_served_lease_calls - permits.available_permits(),
                        self.limits.max_served_lease_calls
                    );
                    let desk = self.clone();
                    veridical_env::task::spawn(async move {
                        let answer = tokio::select! {
                            biased;
                            answer = desk.own(call.lease, call.renew) => answer,
                            () = desk.clock.sleep(ms(desk.limits.retry_ms)) => {
                                Err(ApiError::timeout())
                            }
                        };
                        let state = answer.as_ref().ok().copied().flatten();
                        let reply = LeaseReply {
                            id: call.id,
                            refused: answer.is_err(),
                            found: state.is_some(),
                            granted_ttl_s: state.map_or(0, |state| state.granted_ttl_s),
                            remaining_ttl_s: state.map_or(0, |state| state.remaining_ttl_s),
                        };
                        desk.transport.send(from, Body::LeaseReply(reply));
                        drop(permit);
                    });
                }
                Body::LeaseReply(reply) => {
                    let waiting = self.calls().waiting.remove(&reply.id);
                    if let Some(waiting) = waiting {
                        let _ = waiting.send(reply);
                    }
                }
                _ => {}
            }
        }
    }

    /// Proposes the revocation of expired leases while this member leads.
    pub(crate) async fn expire(self) {
        loop {
            self.clock.sleep(ms(self.limits.lease_check_ms)).await;
            let now = self.clock.monotonic();
            let most = self.limits.lease_revokes_per_check;
            let Some((term, expired)) = self.keeper.expired(now, most) else {
                continue;
            };
            for id in expired {
                let revoke = CommandRequest::LeaseRevoke(LeaseRevokeRequest { id });
                let command = self.proposals.unattended(revoke);
                // Never through another leader: only who times a lease may end it.
                if self
                    .requests
                    .send(Request::ProposeInTerm { term, command })
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }
    }
}
