//! The calls of `Cluster` that change the membership.

use std::time::Duration;
use tokio::sync::watch;
use veridical_env::Environment;
use veridical_planted::{Planted, PlantedBug};
use veridical_proto::etcdserverpb as api;
use veridical_store::ApiError;

use crate::config::ms;
use crate::handles::Handles;
use crate::membership::directory::{Directory, member_id_of};
use crate::proposals::proposer::within;
use crate::requests::{Intent, RaftHandle};

/// Changes the membership for callers and knows the members.
pub(crate) struct MembershipService<E: Environment> {
    environment: E,
    cluster_id: u64,
    member_id: u64,
    timeout: Duration,
    planted: Planted,
    raft: RaftHandle,
    /// The members as of the applied log.
    members: watch::Receiver<Directory>,
}

impl<E: Environment> MembershipService<E> {
    pub(crate) fn new(
        handles: &Handles<E>,
        raft: RaftHandle,
        members: watch::Receiver<Directory>,
    ) -> Self {
        Self {
            environment: handles.environment.clone(),
            cluster_id: handles.config.cluster_id,
            member_id: handles.config.member_id,
            timeout: ms(handles.config.limits.request_timeout_ms),
            planted: handles.config.planted,
            raft,
            members,
        }
    }

    /// The members as of the applied log.
    pub(crate) fn directory(&self) -> Directory {
        self.members.borrow().clone()
    }

    /// The same, as etcd's API shows them.
    pub(crate) fn members(&self) -> Vec<api::Member> {
        let directory = self.members.borrow();
        directory
            .iter()
            .map(|(id, member)| api::Member {
                id,
                ..member.clone()
            })
            .collect()
    }

    /// Adds a member under an id that nobody had, and returns it.
    ///
    /// # Errors
    /// As for [`change`](Self::change).
    pub(crate) async fn add(
        &self,
        peer_urls: Vec<String>,
        is_learner: bool,
    ) -> Result<api::Member, ApiError> {
        // Never the id of a member that was here before: its log and its proposals are
        // not the newcomer's.
        let salt = self.environment.random_seed();
        let member = api::Member {
            id: member_id_of(self.cluster_id ^ salt, &peer_urls),
            peer_ur_ls: peer_urls,
            is_learner,
            ..Default::default()
        };
        let intent = if is_learner {
            Intent::AddLearner
        } else {
            Intent::AddVoter
        };
        self.change(intent, member.clone()).await?;
        Ok(member)
    }

    /// Removes or promotes a member that is known.
    ///
    /// # Errors
    /// There is no such member, or as for [`change`](Self::change).
    pub(crate) async fn change_known(&self, intent: Intent, id: u64) -> Result<(), ApiError> {
        let member = self.known(id)?;
        self.change(intent, member).await
    }

    /// Gives a member that is known other peer addresses.
    ///
    /// # Errors
    /// There is no such member, or as for [`change`](Self::change).
    pub(crate) async fn update(&self, id: u64, peer_urls: Vec<String>) -> Result<(), ApiError> {
        let mut member = self.known(id)?;
        if self.planted.has(PlantedBug::UpdateKeepsAddresses) {
            member.peer_ur_ls.extend(peer_urls);
        } else {
            member.peer_ur_ls = peer_urls;
        }
        self.change(Intent::Update, member).await
    }

    fn known(&self, id: u64) -> Result<api::Member, ApiError> {
        let directory = self.members.borrow();
        directory
            .get(id)
            .cloned()
            .ok_or_else(ApiError::member_not_found)
    }

    /// Proposes a change and waits until it is applied here.
    ///
    /// # Errors
    /// The leader refuses it, or the outcome is unknown.
    async fn change(&self, intent: Intent, member: api::Member) -> Result<(), ApiError> {
        let leaves = intent == Intent::Remove && member.id == self.member_id;
        let changed = async {
            self.raft.change_membership(intent, member).await?;
            if leaves {
                // Nobody confirms anything to it any more.
                return Ok(());
            }
            self.linearizable().await
        };
        within(
            self.environment.clock(),
            self.timeout,
            changed,
            ApiError::timeout,
        )
        .await
    }

    async fn linearizable(&self) -> Result<(), ApiError> {
        within(
            self.environment.clock(),
            self.timeout,
            self.raft.read(),
            ApiError::timeout,
        )
        .await
    }
}
