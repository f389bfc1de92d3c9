//! Renewals, queries and the end of leases: answered by the leader, asked of it by the
//! others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tracing::debug;
use veridical_env::{Clock, Environment};
use veridical_planted::PlantedBug;
use veridical_probe::{queue, reachable, sometimes};
use veridical_proto::command::command::Request as CommandRequest;
use veridical_proto::etcdserverpb::LeaseRevokeRequest;
use veridical_proto::peer::peer_frame::Body;
use veridical_proto::peer::{LeaseCall, LeaseReply};
use veridical_store::{ApiError, StoreReader};

use crate::config::ms;
use crate::handles::Handles;
use crate::leases::lessor::Lessor;
use crate::limits::Limits;
use crate::peers::transport::Transport;
use crate::proposals::proposer::within;
use crate::proposals::table::Proposals;
use crate::requests::RaftHandle;
use crate::status::Status;

/// What the leader says of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseState {
    pub(crate) granted_ttl_s: i64,
    pub(crate) remaining_ttl_s: i64,
}

/// What members say to each other about leases.
#[derive(Debug)]
pub(crate) enum LeaseFrame {
    /// A member asks the leader.
    Call(LeaseCall),
    /// The leader answers.
    Reply(LeaseReply),
}

/// Answers for the leases that this member times, and asks the leader for the others.
pub(crate) struct LeaseService<E: Environment> {
    member_id: u64,
    lessor: Lessor,
    raft: RaftHandle,
    status: watch::Receiver<Status>,
    proposals: Proposals,
    transport: Transport<E>,
    reader: StoreReader,
    clock: E::Clock,
    limits: Limits,
    calls: Arc<Mutex<Calls>>,
}

impl<E: Environment> Clone for LeaseService<E> {
    fn clone(&self) -> Self {
        Self {
            member_id: self.member_id,
            lessor: self.lessor.clone(),
            raft: self.raft.clone(),
            status: self.status.clone(),
            proposals: self.proposals.clone(),
            transport: self.transport.clone(),
            reader: self.reader.clone(),
            clock: self.clock.clone(),
            limits: self.limits.clone(),
            calls: Arc::clone(&self.calls),
        }
    }
}

/// Calls to other members that wait for a reply, by number.
struct Calls {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<LeaseReply>>,
}

impl<E: Environment> LeaseService<E> {
    /// `first_call` numbers the calls from a random beginning, so that a reply to a call of
    /// an earlier incarnation finds nobody.
    pub(crate) fn new(
        handles: &Handles<E>,
        raft: RaftHandle,
        status: watch::Receiver<Status>,
        first_call: u64,
    ) -> Self {
        let calls = Calls {
            next: first_call,
            waiting: BTreeMap::new(),
        };
        Self {
            member_id: handles.config.member_id,
            lessor: handles.lessor.clone(),
            raft,
            status,
            proposals: handles.proposals.clone(),
            transport: handles.transport.clone(),
            reader: handles.reader.clone(),
            clock: handles.environment.clock().clone(),
            limits: handles.config.limits.clone(),
            calls: Arc::new(Mutex::new(calls)),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls
            .lock()
            .expect("no panic while the calls are locked")
    }

    /// Renews or queries a lease at whoever leads, until somebody answers. `Ok(None)` says
    /// that there is no such lease.
    ///
    /// # Errors
    /// No leader answers in time.
    pub(crate) async fn query_leader(
        &self,
        id: i64,
        renew: bool,
    ) -> Result<Option<LeaseState>, ApiError> {
        let answered = async {
            loop {
                let leader = self.status.borrow().leader;
                let answer = match leader {
                    None => Err(ApiError::no_leader()),
                    Some(leader) if leader == self.member_id => self.query_own(id, renew).await,
                    Some(leader) => self.query_member(leader, id, renew).await,
                };
                match answer {
                    Ok(state) => return Ok(state),
                    Err(_) => self.clock.sleep(ms(self.limits.heartbeat_ms)).await,
                }
            }
        };
        let timeout = ms(self.limits.request_timeout_ms);
        // A call about a lease that finds no leader says so, unlike others (etcd: `waitLeader`).
        let late = || match self.status.borrow().leader {
            Some(_) => ApiError::timeout(),
            None => ApiError::no_leader().with_unknown_outcome(),
        };
        within(&self.clock, timeout, answered, late).await
    }

    /// Renews or queries a lease as the leader of the present term. `Ok(None)` says that
    /// there is no such lease.
    async fn query_own(&self, id: i64, renew: bool) -> Result<Option<LeaseState>, ApiError> {
        let term = self.lessor.term().ok_or_else(ApiError::not_leader)?;
        if self.reader.lease(id).is_none() {
            reachable!("node.lease-asked-for-that-is-not-applied-here");
            // It may have been granted by an entry that is not applied here yet.
            self.raft.confirm(term).await?;
        }
        let now = self.clock.monotonic();
        let is_over = renew && self.lessor.renew(id, now).is_none();
        // Only now: whoever leads later has started its clock after the renewal.
        let confirmed = match self.lessor.is_planted(PlantedBug::RenewalUnconfirmed) {
            true => Ok(()),
            false => self.raft.confirm(term).await,
        };
        sometimes!(
            renew && confirmed.is_err(),
            "node.renewal-by-a-leader-that-was-deposed"
        );
        confirmed?;
        let Some(lease) = self.reader.lease(id) else {
            return Ok(None);
        };
        if is_over {
            // Its time is up, and its end is not applied. Another leader may come before that
            // is committed, and give it all its time anew: nobody knows yet whether it is gone.
            reachable!("node.renewal-waits-for-the-end-of-its-lease");
            return Err(ApiError::timeout());
        }
        let remaining = self.lessor.remaining(id, now).unwrap_or_default();
        Ok(Some(LeaseState {
            granted_ttl_s: lease.granted_ttl_s,
            remaining_ttl_s: remaining.as_secs() as i64,
        }))
    }

    /// Renews or queries a lease at another member, which should be the leader, once.
    async fn query_member(
        &self,
        leader: u64,
        id: i64,
        renew: bool,
    ) -> Result<Option<LeaseState>, ApiError> {
        let (call, reply) = self.open_call()?;
        self.transport.send(
            leader,
            Body::LeaseCall(LeaseCall {
                id: call,
                lease: id,
                renew,
            }),
        );
        let answer = tokio::select! {
            biased;
            reply = reply => reply.map_err(|_| ApiError::not_leader())?,
            () = self.clock.sleep(ms(self.limits.retry_ms)) => return Err(ApiError::timeout()),
        };
        if answer.refused {
            return Err(ApiError::not_leader());
        }
        Ok(answer.found.then_some(LeaseState {
            granted_ttl_s: answer.granted_ttl_s,
            remaining_ttl_s: answer.remaining_ttl_s,
        }))
    }

    /// A number for a call, and where its reply will come.
    fn open_call(&self) -> Result<(u64, oneshot::Receiver<LeaseReply>), ApiError> {
        let mut calls = self.calls();
        calls.waiting.retain(|_, waiting| !waiting.is_closed());
        if calls.waiting.len() >= self.limits.max_lease_calls {
            return Err(ApiError::too_many_requests());
        }
        calls.next += 1;
        let call = calls.next;
        let (sender, reply) = oneshot::channel();
        let other = calls.waiting.insert(call, sender);
        assert!(other.is_none(), "two lease calls have the number {call}");
        queue!(
            "node.lease-calls",
            calls.waiting.len(),
            self.limits.max_lease_calls
        );
        Ok((call, reply))
    }

    /// Serves the calls of other members and passes their replies on, until the queue
    /// closes.
    pub(crate) async fn serve(self, mut frames: mpsc::Receiver<(u64, LeaseFrame)>) {
        let permits = Arc::new(Semaphore::new(self.limits.max_served_lease_calls));
        while let Some((from, frame)) = frames.recv().await {
            match frame {
                LeaseFrame::Call(call) => {
                    let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                        debug!(peer = from, "passed over a lease call");
                        continue;
                    };
                    queue!(
                        "node.lease-calls-served",
                        self.limits.max_served_lease_calls - permits.available_permits(),
                        self.limits.max_served_lease_calls
                    );
                    veridical_env::task::spawn(self.clone().serve_call(from, call, permit));
                }
                LeaseFrame::Reply(reply) => {
                    let waiting = self.calls().waiting.remove(&reply.id);
                    if let Some(waiting) = waiting {
                        // The caller may have given up.
                        let _ = waiting.send(reply);
                    }
                }
            }
        }
    }

    async fn serve_call(self, from: u64, call: LeaseCall, permit: OwnedSemaphorePermit) {
        let answer = tokio::select! {
            biased;
            answer = self.query_own(call.lease, call.renew) => answer,
            () = self.clock.sleep(ms(self.limits.retry_ms)) => Err(ApiError::timeout()),
        };
        let state = answer.as_ref().ok().copied().flatten();
        let reply = LeaseReply {
            id: call.id,
            refused: answer.is_err(),
            found: state.is_some(),
            granted_ttl_s: state.map_or(0, |state| state.granted_ttl_s),
            remaining_ttl_s: state.map_or(0, |state| state.remaining_ttl_s),
        };
        self.transport.send(from, Body::LeaseReply(reply));
        drop(permit);
    }

    /// Proposes the revocation of expired leases while this member leads.
    pub(crate) async fn expire(self) {
        loop {
            self.clock.sleep(ms(self.limits.lease_check_ms)).await;
            let now = self.clock.monotonic();
            let most = self.limits.lease_revokes_per_check;
            let Some((term, expired)) = self.lessor.expired(now, most) else {
                continue;
            };
            for id in expired {
                let revoke = CommandRequest::LeaseRevoke(LeaseRevokeRequest { id });
                let command = self.proposals.unattended(revoke);
                // It never goes through another leader: only who times a lease may end it.
                if self.raft.propose_in_term(term, command).await.is_err() {
                    return;
                }
            }
        }
    }
}
