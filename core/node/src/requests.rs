//! What a member's own tasks and calls ask of the task that owns Raft.
//!
//! Everything that wants something of Raft goes through [`RaftHandle`]; the driver alone
//! takes the [`Request`]s. So no room of this crate has to know the driver.

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use veridical_proto::etcdserverpb::Member;
use veridical_raft::ChangeKind;
use veridical_store::ApiError;

/// A caller that waits until the driver has done something, or cannot.
pub(crate) type Reply = oneshot::Sender<Result<(), ApiError>>;

/// What somebody wants to do to the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Add a member that votes.
    AddVoter,
    /// Add a member that only learns.
    AddLearner,
    /// Let a learner vote.
    Promote,
    /// Remove a member.
    Remove,
    /// Give a member other addresses.
    Update,
}

impl Intent {
    /// The change that Raft writes to the log for it.
    pub(crate) fn kind(self) -> ChangeKind {
        match self {
            Self::AddVoter | Self::Promote => ChangeKind::AddVoter,
            Self::AddLearner => ChangeKind::AddLearner,
            Self::Remove => ChangeKind::Remove,
            Self::Update => ChangeKind::Update,
        }
    }
}

/// What is asked of the driver.
pub(crate) enum Request {
    /// Dispatch a registered proposal.
    Propose { sequence: u64, command: Bytes },
    /// Append a command if this member leads `term`, else drop it.
    ProposeInTerm { term: u64, command: Bytes },
    /// Answer once the state is as new as the cluster's is now.
    Read { reply: Reply },
    /// The same, but only if this member leads `term` all the while.
    Confirm { term: u64, reply: Reply },
    /// Change the membership.
    ChangeMembership {
        intent: Intent,
        member: Member,
        reply: Reply,
    },
    /// Transfer leadership to another member.
    Transfer { to: u64, reply: Reply },
    /// Transfer leadership to whoever can have it soonest, and say who that is.
    HandOver { reply: oneshot::Sender<Option<u64>> },
}

/// The sending end of the driver's queue of requests.
#[derive(Clone)]
pub(crate) struct RaftHandle {
    requests: mpsc::Sender<Request>,
}

impl RaftHandle {
    pub(crate) fn new(requests: mpsc::Sender<Request>) -> Self {
        Self { requests }
    }

    /// Queues a registered proposal.
    ///
    /// # Errors
    /// The queue is full or closed: nobody has seen the proposal.
    pub(crate) fn propose(&self, sequence: u64, command: Bytes) -> Result<(), ApiError> {
        self.requests
            .try_send(Request::Propose { sequence, command })
            .map_err(|_| ApiError::too_many_requests())
    }

    /// Queues a command that is appended only if this member leads `term`. Nobody is told
    /// what becomes of it.
    ///
    /// # Errors
    /// The member stops.
    pub(crate) async fn propose_in_term(&self, term: u64, command: Bytes) -> Result<(), ApiError> {
        self.send(Request::ProposeInTerm { term, command }).await
    }

    /// Waits until this member's state is as new as the cluster's is now.
    ///
    /// # Errors
    /// Too many readers wait, or the member stops.
    pub(crate) async fn read(&self) -> Result<(), ApiError> {
        let (reply, caught_up) = oneshot::channel();
        self.send(Request::Read { reply }).await?;
        caught_up.await.map_err(|_| ApiError::stopped())?
    }

    /// The same, while this member leads `term`.
    ///
    /// # Errors
    /// It does not lead that term, or as for [`read`](Self::read).
    pub(crate) async fn confirm(&self, term: u64) -> Result<(), ApiError> {
        let (reply, confirmed) = oneshot::channel();
        self.send(Request::Confirm { term, reply }).await?;
        confirmed.await.map_err(|_| ApiError::stopped())?
    }

    /// Waits until a change of the membership is committed.
    ///
    /// # Errors
    /// The change is refused, its leader was deposed, or the member stops.
    pub(crate) async fn change_membership(
        &self,
        intent: Intent,
        member: Member,
    ) -> Result<(), ApiError> {
        let (reply, changed) = oneshot::channel();
        let request = Request::ChangeMembership {
            intent,
            member,
            reply,
        };
        self.send(request).await?;
        changed.await.map_err(|_| ApiError::leader_changed())?
    }

    /// Waits until Raft has begun to transfer leadership to member `to`.
    ///
    /// # Errors
    /// This member does not lead, or it stops.
    pub(crate) async fn transfer(&self, to: u64) -> Result<(), ApiError> {
        let (reply, accepted) = oneshot::channel();
        self.send(Request::Transfer { to, reply }).await?;
        accepted.await.map_err(|_| ApiError::stopped())?
    }

    /// Waits until Raft has begun to transfer leadership to whoever can have it soonest, and
    /// says who that is: nobody, if this member does not lead or no other voter answers.
    ///
    /// # Errors
    /// The member stops.
    pub(crate) async fn hand_over(&self) -> Result<Option<u64>, ApiError> {
        let (reply, successor) = oneshot::channel();
        self.send(Request::HandOver { reply }).await?;
        successor.await.map_err(|_| ApiError::stopped())
    }

    async fn send(&self, request: Request) -> Result<(), ApiError> {
        match self.requests.try_send(request) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(ApiError::stopped()),
            // Whoever finds room, which is nearly everybody, has no use for the state of one
            // who waits.
            Err(TrySendError::Full(request)) => {
                let sending = Box::pin(self.requests.send(request));
                sending.await.map_err(|_| ApiError::stopped())
            }
        }
    }
}
