//! A running member, as its servers see it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;
use tracing::info;
use veridical_env::{Clock, Environment};
use veridical_planted::PlantedBug;
use veridical_probe::{reachable, sometimes};
use veridical_proto::command::command::Request as CommandRequest;
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::alarm_request::AlarmAction;
use veridical_raft::Role;
use veridical_storage::engine::Engine;
use veridical_store::{
    ApiError, CommandResponse, StoreReader, check_delete_range, check_put, check_range, check_txn,
    is_read_only_txn, is_serializable_txn,
};

use crate::api::watcher::Watcher;
use crate::assembly::error::StartError;
use crate::assembly::start::{RunningMember, start_member};
use crate::config::{NodeConfig, ms};
use crate::membership::directory::Directory;
use crate::proposals::proposer::within;
use crate::requests::Intent;
use crate::status::Status;
use crate::stop::StopReason;

/// In headers of answers about the members: as with etcd, these do not tell of the keys.
const REVISION_NONE: i64 = 0;

/// A running member. Cheap to clone; dropping every clone does not stop it.
pub struct Node<E: Environment> {
    member: Arc<RunningMember<E>>,
}

impl<E: Environment> Clone for Node<E> {
    fn clone(&self) -> Self {
        Self {
            member: Arc::clone(&self.member),
        }
    }
}

impl<E: Environment> Node<E> {
    /// Recovers the member from its data folder (or begins one), listens for peers and
    /// starts its tasks. Reads the disk: call it where that may block.
    ///
    /// # Errors
    /// The data folder cannot be used or is somebody else's, or the address is taken.
    pub async fn start(environment: E, config: NodeConfig) -> Result<Self, StartError> {
        Self::start_with_engine(environment, config, None).await
    }

    /// The same with an engine that keeps a durable copy of the applied state: instead of
    /// writing a snapshot every `snapshot_entries`, the member flushes the engine, and it
    /// starts from what the engine has. An engine belongs to one data folder; one that is
    /// empty, or behind the folder's newest snapshot, is filled from that.
    ///
    /// # Errors
    /// As above, and the engine cannot be used.
    pub async fn start_with_engine(
        environment: E,
        config: NodeConfig,
        engine: Option<Box<dyn Engine>>,
    ) -> Result<Self, StartError> {
        let member = start_member(environment, config, engine).await?;
        Ok(Self {
            member: Arc::new(member),
        })
    }

    /// This member's id.
    pub fn member_id(&self) -> u64 {
        self.member.config.member_id
    }

    /// What it was configured with.
    pub fn config(&self) -> &NodeConfig {
        &self.member.config
    }

    /// Its surroundings.
    pub fn environment(&self) -> &E {
        &self.member.environment
    }

    /// The address that peers reach it on.
    pub fn peer_address(&self) -> &str {
        &self.member.peer_address
    }

    /// What it knows of itself and its leader.
    pub fn raft_status(&self) -> Status {
        self.member.status.borrow().clone()
    }

    /// The same, to be followed.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.member.status.clone()
    }

    /// Its state, as far as it has got, without asking anybody.
    pub fn reader(&self) -> &StoreReader {
        &self.member.reader
    }

    /// The members as of the applied log.
    pub fn directory(&self) -> Directory {
        self.member.membership.directory()
    }

    /// Hands leadership over to another voter, if this member has it, before it is asked to
    /// stop: until somebody else leads, for an election timeout at most. Meanwhile it serves.
    pub async fn hand_over(&self) {
        if self.config().planted.has(PlantedBug::StopsWithoutHandOver) {
            return;
        }
        let own = self.member_id();
        let handed_over = async {
            let Ok(Some(successor)) = self.member.raft.hand_over().await else {
                return;
            };
            info!(
                successor = format_args!("{successor:x}"),
                "handing leadership over"
            );
            let mut status = self.member.status.clone();
            let is_over = |status: &Status| status.leader.is_some_and(|leader| leader != own);
            let handed_over = status.wait_for(is_over).await.is_ok();
            sometimes!(handed_over, "node.leadership-handed-over-before-the-end");
        };
        let patience = ms(self.config().limits.election_timeout_ms);
        tokio::select! {
            biased;
            () = handed_over => {}
            () = self.member.environment.clock().sleep(patience) => {
                reachable!("node.leadership-kept-until-the-end", rare: "the successor answers no more, or the log moves on faster than it follows");
            }
        }
    }

    /// Asks it to stop.
    pub fn stop(&self) {
        self.member.stop.now(StopReason::Requested);
    }

    /// Waits until it has stopped and its disk has everything; says why.
    pub async fn stopped(&self) -> StopReason {
        let reason = self.member.stop.stopped().await;
        let mut log_closed = self.member.log_closed.clone();
        // An error means that the tasks are gone, which is as good.
        let _ = log_closed.wait_for(|closed| *closed).await;
        let mut engine_closed = self.member.engine_closed.clone();
        let _ = engine_closed.wait_for(|closed| *closed).await;
        reason
    }

    /// The header of a response.
    pub fn header(&self, revision: i64) -> api::ResponseHeader {
        let (role, term) = {
            let status = self.member.status.borrow();
            (status.role, status.term)
        };
        let planted = self.config().planted;
        let has_term = role == Role::Leader || !planted.has(PlantedBug::HeaderWithoutTerm);
        api::ResponseHeader {
            cluster_id: self.member.config.cluster_id,
            member_id: self.member.config.member_id,
            revision,
            raft_term: if has_term { term } else { 0 },
        }
    }

    pub(crate) fn fill(&self, header: &mut Option<api::ResponseHeader>) {
        let revision = header
            .as_ref()
            .map_or_else(|| self.member.reader.revision(), |h| h.revision);
        *header = Some(self.header(revision));
    }

    async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let timeout = ms(self.member.config.limits.request_timeout_ms);
        let clock = self.member.environment.clock();
        within(clock, timeout, work, ApiError::timeout).await
    }

    /// Waits until this member's state is as new as the cluster's is now (ReadIndex,
    /// Raft thesis section 6.4).
    ///
    /// # Errors
    /// No leader answers in time, or the member stops.
    pub async fn linearizable(&self) -> Result<(), ApiError> {
        self.within(self.member.raft.read()).await
    }

    /// Proposes a command and waits until it is applied here.
    pub(crate) async fn propose(
        &self,
        request: CommandRequest,
    ) -> Result<CommandResponse, ApiError> {
        self.member.proposer.propose(request).await
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
        let mut response = self.member.reader.range(request)?;
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
        check_txn(&request, self.member.config.limits.max_txn_ops)?;
        if is_read_only_txn(&request) {
            if !is_serializable_txn(&request) {
                self.linearizable().await?;
            }
            let mut response = self.member.reader.read_txn(&request)?;
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

    /// Grants a lease (`Lease.LeaseGrant`); an id of 0 lets the member choose. It lasts for
    /// [`lease_ttl_s_min`](crate::Limits::lease_ttl_s_min) at least, as this member is set up.
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
        let least_s = self.config().limits.lease_ttl_s_min();
        request.ttl = request.ttl.max(least_s);
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
        let planted = self.config().planted;
        let step = u64::from(!planted.has(PlantedBug::LeaseNumberChosenTwice));
        let raw = self.member.next_lease.fetch_add(step, Ordering::Relaxed);
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
        // As of before the leader is asked: a lease that lives when it answers has not ended
        // with this revision or an earlier one. As of afterwards, it might have.
        let mut revision = self.member.reader.revision();
        let state = self.member.leases.query_leader(id, true).await?;
        if self.config().planted.has(PlantedBug::RenewalHeaderLate) {
            revision = self.member.reader.revision();
        }
        Ok(api::LeaseKeepAliveResponse {
            header: Some(self.header(revision)),
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
        let state = self.member.leases.query_leader(request.id, false).await?;
        self.linearizable().await?;
        let lease = self.member.reader.lease(request.id);
        let keys = lease
            .filter(|_| request.keys)
            .map_or_else(Vec::new, |lease| lease.keys);
        Ok(api::LeaseTimeToLiveResponse {
            header: Some(self.header(self.member.reader.revision())),
            id: request.id,
            ttl: state.map_or(-1, |state| state.remaining_ttl_s),
            granted_ttl: state.map_or(0, |state| state.granted_ttl_s),
            keys,
        })
    }

    /// All leases (`Lease.LeaseLeases`).
    ///
    /// # Errors
    /// No leader answers in time.
    pub async fn lease_leases(&self) -> Result<api::LeaseLeasesResponse, ApiError> {
        self.linearizable().await?;
        let leases = self.member.reader.leases();
        Ok(api::LeaseLeasesResponse {
            header: Some(self.header(self.member.reader.revision())),
            leases: leases
                .into_iter()
                .map(|(id, _)| api::LeaseStatus { id })
                .collect(),
        })
    }

    /// Opens a stream of watches (`Watch.Watch`).
    pub fn watch(&self) -> Watcher<E> {
        Watcher::open(self.clone())
    }

    /// What this member is doing (`Maintenance.Status`).
    pub fn status(&self) -> api::StatusResponse {
        let status = self.raft_status();
        let size = self.member.reader.size_bytes() as i64;
        let errors = match status.leader {
            Some(_) => Vec::new(),
            None => vec![ApiError::no_leader().message.into_owned()],
        };
        api::StatusResponse {
            header: Some(self.header(self.member.reader.revision())),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            db_size: size,
            leader: status.leader.unwrap_or(0),
            raft_index: status.last_index,
            raft_term: status.term,
            raft_applied_index: self.member.reader.applied_index(),
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
        let (hash, compact_revision) = self.member.reader.hash_kv(request.revision)?;
        Ok(api::HashKvResponse {
            header: Some(self.header(self.member.reader.revision())),
            hash,
            compact_revision,
        })
    }

    /// A hash over the keys of this member at its newest revision (`Maintenance.Hash`): the same
    /// on members that have got equally far.
    ///
    /// # Errors
    /// See [`Node::hash_kv`].
    pub fn hash(&self) -> Result<api::HashResponse, ApiError> {
        let hashed = self.hash_kv(&api::HashKvRequest { revision: 0 })?;
        Ok(api::HashResponse {
            header: hashed.header,
            hash: hashed.hash,
        })
    }

    /// The alarms (`Maintenance.Alarm`). There are none: a member whose disk fails stops, and no
    /// quota is enforced. The answer has a header as from etcd 3.5 on.
    ///
    /// # Errors
    /// An alarm is to be raised.
    pub fn alarm(&self, request: &api::AlarmRequest) -> Result<api::AlarmResponse, ApiError> {
        if request.action() == AlarmAction::Activate {
            return Err(ApiError::alarms_not_raised());
        }
        Ok(api::AlarmResponse {
            header: Some(self.header(self.member.reader.revision())),
            alarms: Vec::new(),
        })
    }

    /// Nothing to do (`Maintenance.Defragment`): there is no file with holes in it. As from etcd,
    /// the answer has no header.
    pub fn defragment(&self) -> api::DefragmentResponse {
        api::DefragmentResponse { header: None }
    }

    /// Who the members are (`Cluster.MemberList`). A newcomer that has not been told yet waits for
    /// it: clients that go by an empty list would know no endpoint any more.
    ///
    /// # Errors
    /// With `linearizable`, and of such a newcomer: no leader answers in time.
    pub async fn member_list(
        &self,
        request: &api::MemberListRequest,
    ) -> Result<api::MemberListResponse, ApiError> {
        if request.linearizable || self.member.membership.members().is_empty() {
            self.linearizable().await?;
        }
        let members = self.member.membership.members();
        assert!(
            !members.is_empty(),
            "whoever has applied what the leader has knows the members"
        );
        Ok(api::MemberListResponse {
            header: Some(self.header(REVISION_NONE)),
            members,
        })
    }

    /// Adds a member (`Cluster.MemberAdd`). To be asked of the leader.
    ///
    /// # Errors
    /// Its address is taken, a majority could be lost, a change is under way, the outcome is
    /// unknown.
    pub async fn member_add(
        &self,
        request: api::MemberAddRequest,
    ) -> Result<api::MemberAddResponse, ApiError> {
        let membership = &self.member.membership;
        let member = membership
            .add(request.peer_ur_ls, request.is_learner)
            .await?;
        Ok(api::MemberAddResponse {
            header: Some(self.header(REVISION_NONE)),
            member: Some(member),
            members: membership.members(),
        })
    }

    /// Removes a member (`Cluster.MemberRemove`). To be asked of the leader.
    ///
    /// # Errors
    /// There is no such member, a majority could be lost, a change is under way, the outcome
    /// is unknown.
    pub async fn member_remove(&self, id: u64) -> Result<api::MemberRemoveResponse, ApiError> {
        let membership = &self.member.membership;
        membership.change_known(Intent::Remove, id).await?;
        let mut members = membership.members();
        members.retain(|member| member.id != id);
        Ok(api::MemberRemoveResponse {
            header: Some(self.header(REVISION_NONE)),
            members,
        })
    }

    /// Makes a learner a voter (`Cluster.MemberPromote`). To be asked of the leader.
    ///
    /// # Errors
    /// It is no learner, or one that lags behind; a change is under way; the outcome is
    /// unknown.
    pub async fn member_promote(&self, id: u64) -> Result<api::MemberPromoteResponse, ApiError> {
        let membership = &self.member.membership;
        membership.change_known(Intent::Promote, id).await?;
        Ok(api::MemberPromoteResponse {
            header: Some(self.header(REVISION_NONE)),
            members: membership.members(),
        })
    }

    /// Replaces a member's peer addresses (`Cluster.MemberUpdate`). To be asked of the
    /// leader.
    ///
    /// # Errors
    /// There is no such member, the outcome is unknown.
    pub async fn member_update(
        &self,
        request: api::MemberUpdateRequest,
    ) -> Result<api::MemberUpdateResponse, ApiError> {
        let membership = &self.member.membership;
        membership.update(request.id, request.peer_ur_ls).await?;
        Ok(api::MemberUpdateResponse {
            header: Some(self.header(REVISION_NONE)),
            members: membership.members(),
        })
    }

    /// Transfers leadership (`Maintenance.MoveLeader`). To be asked of the leader.
    ///
    /// # Errors
    /// This member does not lead, or the target did not take over in time.
    pub async fn move_leader(&self, target: u64) -> Result<api::MoveLeaderResponse, ApiError> {
        let moved = async {
            self.member.raft.transfer(target).await?;
            let mut status = self.member.status.clone();
            status
                .wait_for(|status| status.leader == Some(target))
                .await
                .map_err(|_| ApiError::stopped())?;
            Ok(())
        };
        self.within(moved).await?;
        // As from etcd, the answer has no header: whoever gives leadership away knows no more
        // what the newest revision is.
        Ok(api::MoveLeaderResponse { header: None })
    }
}
