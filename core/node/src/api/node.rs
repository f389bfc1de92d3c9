//! A running member, as its servers see it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use veridical_env::{Clock, Environment};
use veridical_planted::PlantedBug;
use veridical_proto::command::command::Request as CommandRequest;
use veridical_proto::etcdserverpb as api;
use veridical_store::{
    ApiError, CommandResponse, StoreReader, WatchStream, check_delete_range, check_put,
    check_range, check_txn, is_read_only_txn, is_serializable_txn,
};

use crate::config::{NodeConfig, ms};
use crate::consensus::driver::Request;
use crate::leases::service::{LeaseDesk, LeaseState};
use crate::membership::directory::Directory;
use crate::proposals::table::Proposals;
use crate::status::Status;
use crate::stop::{Stop, StopReason};

/// A running member. Cheap to clone; dropping every clone does not stop it.
pub struct Node<E: Environment> {
    pub(crate) shared: Arc<Shared<E>>,
}

impl<E: Environment> Clone for Node<E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

pub(crate) struct Shared<E: Environment> {
    pub(crate) config: NodeConfig,
    pub(crate) environment: E,
    pub(crate) reader: StoreReader,
    pub(crate) proposals: Proposals,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) desk: LeaseDesk<E>,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) members: watch::Receiver<Directory>,
    pub(crate) stop: Stop,
    pub(crate) stopped: watch::Receiver<bool>,
    /// Whether the engine, if there is one, has everything and is closed.
    pub(crate) materialised: watch::Receiver<bool>,
    pub(crate) next_lease: AtomicU64,
    /// Where peers really reach this member (a port of 0 has been resolved).
    pub(crate) peer_address: String,
}

impl<E: Environment> Node<E> {
    /// This member's id.
    pub fn member_id(&self) -> u64 {
        self.shared.config.member_id
    }

    /// What it was configured with.
    pub fn config(&self) -> &NodeConfig {
        &self.shared.config
    }

    /// Its surroundings.
    pub fn environment(&self) -> &E {
        &self.shared.environment
    }

    /// The address that peers reach it on.
    pub fn peer_address(&self) -> &str {
        &self.shared.peer_address
    }

    /// What it knows of itself and its leader.
    pub fn raft_status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// The same, to be followed.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.shared.status.clone()
    }

    /// Its state, as far as it has got, without asking anybody.
    pub fn reader(&self) -> &StoreReader {
        &self.shared.reader
    }

    /// The members as of the applied log.
    pub fn directory(&self) -> Directory {
        self.shared.members.borrow().clone()
    }

    /// Asks it to stop.
    pub fn stop(&self) {
        self.shared.stop.now(StopReason::Requested);
    }

    /// Waits until it has stopped and its disk has everything; says why.
    pub async fn stopped(&self) -> StopReason {
        let reason = self.shared.stop.stopped().await;
        let mut stopped = self.shared.stopped.clone();
        // An error means that the tasks are gone, which is as good.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        let mut materialised = self.shared.materialised.clone();
        let _ = materialised.wait_for(|done| *done).await;
        reason
    }

    /// The header of a response.
    pub fn header(&self, revision: i64) -> api::ResponseHeader {
        api::ResponseHeader {
            cluster_id: self.shared.config.cluster_id,
            member_id: self.shared.config.member_id,
            revision,
            raft_term: self.shared.status.borrow().term,
        }
    }

    fn fill(&self, header: &mut Option<api::ResponseHeader>) {
        let revision = header
            .as_ref()
            .map_or_else(|| self.shared.reader.revision(), |h| h.revision);
        *header = Some(self.header(revision));
    }

    pub(crate) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, ApiError>>,
        late: impl FnOnce() -> ApiError,
    ) -> Result<T, ApiError> {
        let timeout = ms(self.shared.config.limits.request_timeout_ms);
        tokio::select! {
            biased;
            result = work => result,
            () = self.shared.environment.clock().sleep(timeout) => Err(late()),
        }
    }

    /// Waits until this member's state is as new as the cluster's is now (ReadIndex,
    /// Raft thesis section 6.4).
    ///
    /// # Errors
    /// No leader answers in time, or the member stops.
    pub async fn linearizable(&self) -> Result<(), ApiError> {
        let (reply, caught_up) = oneshot::channel();
        let asked = async {
            self.shared
                .requests
                .send(Request::Read { reply })
                .await
                .map_err(|_| ApiError::stopped())?;
            caught_up.await.map_err(|_| ApiError::stopped())?
        };
        self.within(asked, ApiError::timeout).await
    }

    /// Proposes a command and waits until it is applied here.
    async fn propose(&self, request: CommandRequest) -> Result<CommandResponse, ApiError> {
        let limits = &self.shared.config.limits;
        let mut ticket = self
            .shared
            .proposals
            .register(request, limits.max_request_bytes)?;
        let request = Request::Propose {
            sequence: ticket.sequence,
            command: ticket.command.clone(),
        };
        // A full queue: nobody has seen the proposal yet.
        self.shared
            .requests
            .try_send(request)
            .map_err(|_| ApiError::too_many_requests())?;
        let timeout = ms(limits.request_timeout_ms);
        let planted = self.shared.config.planted;
        let answer = tokio::select! {
            biased;
            answer = &mut ticket.reply => Some(answer),
            () = self.shared.environment.clock().sleep(timeout) => None,
        };
        match answer {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(ApiError::stopped().with_unknown_outcome()),
            None if ticket.give_up() && !planted.has(PlantedBug::UnknownToldAsFailed) => {
                Err(ApiError::timeout())
            }
            None => Err(ApiError::no_leader()),
        }
    }

    /// Reads keys (`KV.Range`).
    ///
    /// # Errors
    /// Bad arguments, a compacted or future revision, no leader.
    pub async fn range(&self, request: &api::RangeRequest) -> Result<api::RangeResponse, ApiError> {
        check_range(request)?;
        if !request.serializable {
            self.linearizable().await?;
        }
        let mut response = self.shared.reader.range(request)?;
        self.fill(&mut response.header);
        Ok(response)
    }

    /// Writes a key (`KV.Put`).
    ///
    /// # Errors
    /// Bad arguments, or the outcome is unknown.
    pub async fn put(&self, request: api::PutRequest) -> Result<api::PutResponse, ApiError> {
        check_put(&request)?;
        match self.propose(CommandRequest::Put(request)).await? {
            CommandResponse::Put(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            other => unreachable!("a put was answered with {other:?}"),
        }
    }

    /// Deletes keys (`KV.DeleteRange`).
    ///
    /// # Errors
    /// Bad arguments, or the outcome is unknown.
    pub async fn delete_range(
        &self,
        request: api::DeleteRangeRequest,
    ) -> Result<api::DeleteRangeResponse, ApiError> {
        check_delete_range(&request)?;
        match self.propose(CommandRequest::DeleteRange(request)).await? {
            CommandResponse::DeleteRange(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            other => unreachable!("a delete was answered with {other:?}"),
        }
    }

    /// Runs a transaction (`KV.Txn`); one that only reads does not go through the log.
    ///
    /// # Errors
    /// Bad arguments, a compacted or future revision, or the outcome is unknown.
    pub async fn txn(&self, request: api::TxnRequest) -> Result<api::TxnResponse, ApiError> {
        check_txn(&request, self.shared.config.limits.max_txn_ops)?;
        if is_read_only_txn(&request) {
            if !is_serializable_txn(&request) {
                self.linearizable().await?;
            }
            let mut response = self.shared.reader.read_txn(&request)?;
            self.fill(&mut response.header);
            return Ok(response);
        }
        match self.propose(CommandRequest::Txn(request)).await? {
            CommandResponse::Txn(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            other => unreachable!("a transaction was answered with {other:?}"),
        }
    }

    /// Forgets history (`KV.Compact`).
    ///
    /// # Errors
    /// A revision that is compacted already or lies in the future.
    pub async fn compact(
        &self,
        request: api::CompactionRequest,
    ) -> Result<api::CompactionResponse, ApiError> {
        match self.propose(CommandRequest::Compaction(request)).await? {
            CommandResponse::Compaction(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            other => unreachable!("a compaction was answered with {other:?}"),
        }
    }

    /// Grants a lease (`Lease.LeaseGrant`); an id of 0 lets the member choose.
    ///
    /// # Errors
    /// A lease of that id exists, a time to live out of range.
    pub async fn lease_grant(
        &self,
        mut request: api::LeaseGrantRequest,
    ) -> Result<api::LeaseGrantResponse, ApiError> {
        if request.id == 0 {
            request.id = self.choose_lease_id();
        }
        match self.propose(CommandRequest::LeaseGrant(request)).await? {
            CommandResponse::LeaseGrant(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            other => unreachable!("a lease grant was answered with {other:?}"),
        }
    }

    /// Unlikely to be taken: the upper bits from the environment's randomness at the
    /// start, the lower ones counted. Should it be taken all the same, the grant fails.
    fn choose_lease_id(&self) -> i64 {
        let raw = self.shared.next_lease.fetch_add(1, Ordering::Relaxed);
        ((raw & i64::MAX as u64) as i64).max(1)
    }

    /// Ends a lease and deletes its keys (`Lease.LeaseRevoke`).
    ///
    /// # Errors
    /// There is no such lease, or the outcome is unknown.
    pub async fn lease_revoke(
        &self,
        request: api::LeaseRevokeRequest,
    ) -> Result<api::LeaseRevokeResponse, ApiError> {
        match self.propose(CommandRequest::LeaseRevoke(request)).await? {
            CommandResponse::LeaseRevoke(mut response) => {
                self.fill(&mut response.header);
                Ok(response)
            }
            other => unreachable!("a lease revocation was answered with {other:?}"),
        }
    }

    /// Renews a lease (`Lease.LeaseKeepAlive`). A time to live of 0 in the answer says
    /// that the lease is gone.
    ///
    /// # Errors
    /// No leader answers in time.
    pub async fn lease_keep_alive(&self, id: i64) -> Result<api::LeaseKeepAliveResponse, ApiError> {
        let state = self.ask_leader(id, true).await?;
        Ok(api::LeaseKeepAliveResponse {
            header: Some(self.header(self.shared.reader.revision())),
            id,
            ttl: state.map_or(0, |state| state.granted_ttl_s),
        })
    }

    /// How long a lease lasts (`Lease.LeaseTimeToLive`); -1 if there is none.
    ///
    /// # Errors
    /// No leader answers in time.
    pub async fn lease_time_to_live(
        &self,
        request: &api::LeaseTimeToLiveRequest,
    ) -> Result<api::LeaseTimeToLiveResponse, ApiError> {
        let state = self.ask_leader(request.id, false).await?;
        self.linearizable().await?;
        let keys = match self.shared.reader.lease(request.id) {
            Some(lease) if request.keys => lease.keys,
            _ => Vec::new(),
        };
        Ok(api::LeaseTimeToLiveResponse {
            header: Some(self.header(self.shared.reader.revision())),
            id: request.id,
            ttl: state.map_or(-1, |state| state.remaining_ttl_s),
            granted_ttl: state.map_or(0, |state| state.granted_ttl_s),
            keys,
        })
    }

    /// Asks who times the leases, until somebody answers.
    async fn ask_leader(&self, id: i64, renew: bool) -> Result<Option<LeaseState>, ApiError> {
        let asked = async {
            loop {
                let leader = self.shared.status.borrow().leader;
                let answer = match leader {
                    None => Err(ApiError::no_leader()),
                    Some(leader) if leader == self.member_id() => {
                        self.shared.desk.own(id, renew).await
                    }
                    Some(leader) => self.shared.desk.ask(leader, id, renew).await,
                };
                match answer {
                    Ok(state) => return Ok(state),
                    Err(_) => {
                        let pause = ms(self.shared.config.limits.heartbeat_ms);
                        self.shared.environment.clock().sleep(pause).await;
                    }
                }
            }
        };
        self.within(asked, ApiError::timeout).await
    }

    /// All leases (`Lease.LeaseLeases`).
    ///
    /// # Errors
    /// No leader answers in time.
    pub async fn lease_leases(&self) -> Result<api::LeaseLeasesResponse, ApiError> {
        self.linearizable().await?;
        let leases = self.shared.reader.leases();
        Ok(api::LeaseLeasesResponse {
            header: Some(self.header(self.shared.reader.revision())),
            leases: leases
                .into_iter()
                .map(|(id, _)| api::LeaseStatus { id })
                .collect(),
        })
    }

    /// Opens a stream of watches (`Watch.Watch`).
    pub fn watch(&self) -> Watcher<E> {
        let notify = Arc::new(Notify::new());
        let waker = Arc::clone(&notify);
        let stream = self
            .shared
            .reader
            .open_watch_stream(Arc::new(move || waker.notify_one()));
        Watcher {
            stream,
            notify,
            node: self.clone(),
        }
    }

    /// What this member is doing (`Maintenance.Status`).
    pub fn status(&self) -> api::StatusResponse {
        let status = self.raft_status();
        let size = self.shared.reader.size_bytes() as i64;
        let errors = match status.leader {
            Some(_) => Vec::new(),
            None => vec![ApiError::no_leader().message.into_owned()],
        };
        api::StatusResponse {
            header: Some(self.header(self.shared.reader.revision())),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            db_size: size,
            leader: status.leader.unwrap_or(0),
            raft_index: status.last_index,
            raft_term: status.term,
            raft_applied_index: self.shared.reader.applied_index(),
            errors,
            db_size_in_use: size,
            is_learner: status.learner,
        }
    }

    /// A hash over the keys of this member (`Maintenance.HashKV`).
    ///
    /// # Errors
    /// A compacted or future revision.
    pub fn hash_kv(&self, request: &api::HashKvRequest) -> Result<api::HashKvResponse, ApiError> {
        let (hash, compact_revision) = self.shared.reader.hash_kv(request.revision)?;
        Ok(api::HashKvResponse {
            header: Some(self.header(self.shared.reader.revision())),
            hash,
            compact_revision,
        })
    }

    pub(crate) fn members(&self) -> Vec<api::Member> {
        let directory = self.shared.members.borrow();
        directory
            .iter()
            .map(|(id, member)| api::Member {
                id,
                ..member.clone()
            })
            .collect()
    }

    /// Who the members are (`Cluster.MemberList`).
    ///
    /// # Errors
    /// With `linearizable`: no leader answers in time.
    pub async fn member_list(
        &self,
        request: &api::MemberListRequest,
    ) -> Result<api::MemberListResponse, ApiError> {
        if request.linearizable {
            self.linearizable().await?;
        }
        Ok(api::MemberListResponse {
            header: Some(self.header(self.shared.reader.revision())),
            members: self.members(),
        })
    }

    /// Hands leadership over (`Maintenance.MoveLeader`). To be asked of the leader.
    ///
    /// # Errors
    /// This member does not lead, or the target did not take over in time.
    pub async fn move_leader(&self, target: u64) -> Result<api::MoveLeaderResponse, ApiError> {
        let (reply, accepted) = oneshot::channel();
        let moved = async {
            self.shared
                .requests
                .send(Request::Transfer { to: target, reply })
                .await
                .map_err(|_| ApiError::stopped())?;
            accepted.await.map_err(|_| ApiError::stopped())??;
            let mut status = self.shared.status.clone();
            status
                .wait_for(|status| status.leader == Some(target))
                .await
                .map_err(|_| ApiError::stopped())?;
            Ok(())
        };
        self.within(moved, ApiError::timeout).await?;
        let header = Some(self.header(self.shared.reader.revision()));
        Ok(api::MoveLeaderResponse { header })
    }
}

/// The id of a member: the same for the same cluster and addresses, wherever computed
/// (etcd derives its ids from the addresses, too).
pub fn member_id_of(cluster_id: u64, peer_urls: &[String]) -> u64 {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    // FNV-1a: short, well known, and stable over versions and platforms.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in cluster_id
        .to_be_bytes()
        .into_iter()
        .chain(sorted.join(",").into_bytes())
    {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash.max(1)
}

/// A stream of watches of one client.
pub struct Watcher<E: Environment> {
    stream: WatchStream,
    notify: Arc<Notify>,
    node: Node<E>,
}

impl<E: Environment> Watcher<E> {
    /// Takes a request of the client: create, cancel or ask for progress.
    ///
    /// # Errors
    /// Too many answers wait to be taken, or the request is empty.
    pub fn handle(&mut self, request: api::WatchRequest) -> Result<(), ApiError> {
        self.stream.handle(request)?;
        self.notify.notify_one();
        Ok(())
    }

    /// The next response for the client, if there is one now.
    pub fn poll(&mut self) -> Option<api::WatchResponse> {
        let mut response = self.stream.poll()?;
        self.node.fill(&mut response.header);
        Some(response)
    }

    /// Waits until [`Watcher::poll`] may have something. From time to time it wakes to
    /// tell idle watches that asked for it how far they are.
    pub async fn ready(&mut self) {
        let period = ms(self.node.shared.config.limits.watch_progress_ms);
        tokio::select! {
            biased;
            () = self.notify.notified() => {}
            () = self.node.shared.environment.clock().sleep(period) => {
                self.stream.tick_progress();
            }
        }
    }

    /// What to wait on before the next [`Watcher::poll`], for those who wait on more
    /// than that.
    pub fn notify(&self) -> Arc<Notify> {
        Arc::clone(&self.notify)
    }
}
