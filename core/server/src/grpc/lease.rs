//! `etcdserverpb.Lease`.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use veridical_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use veridical_store::ApiError;

use super::api::lease_server::Lease;
use super::gate::{Gate, Learner, requires_leader};
use super::status_of;

/// Renewals of one stream that are under way at once; they are answered in the order in
/// which they came.
const RENEWALS_IN_FLIGHT_MAX: usize = 64;

/// Leases.
pub(crate) struct LeaseService {
    gate: Gate,
}

impl LeaseService {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { gate }
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().lease_grant(request.into_inner()).await;
        answer.map(Response::new).map_err(status_of)
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().lease_revoke(request.into_inner()).await;
        answer.map(Response::new).map_err(status_of)
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let leader_required = requires_leader(request.metadata());
        let node = self.gate.node().clone();
        let renewals = request
            .into_inner()
            .map(move |request| {
                let node = node.clone();
                async move {
                    let id = request?.id;
                    node.lease_keep_alive(id).await.map_err(status_of)
                }
            })
            .buffered(RENEWALS_IN_FLIGHT_MAX);
        let gate = self.gate.clone();
        let ended = async move {
            let closing = gate.closing();
            tokio::select! {
                biased;
                () = closing.cancelled() => ApiError::stopped(),
                () = gate.leader_lost(leader_required) => ApiError::no_leader(),
            }
        };
        Ok(Response::new(Box::pin(until_failure(renewals, ended))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().lease_time_to_live(request.get_ref()).await;
        answer.map(Response::new).map_err(status_of)
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let answer = self.gate.node().lease_leases().await;
        answer.map(Response::new).map_err(status_of)
    }
}

/// The items up to the first error, or up to `ended`, whose reason is the last item.
fn until_failure<T: Send + 'static>(
    items: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ended: impl Future<Output = ApiError> + Send + 'static,
) -> impl Stream<Item = Result<T, Status>> + Send {
    let state = Some((Box::pin(items), Box::pin(ended)));
    futures_util::stream::unfold(state, |state| async move {
        let (mut items, mut ended) = state?;
        let item = tokio::select! {
            biased;
            reason = &mut ended => Err(status_of(reason)),
            item = items.next() => item?,
        };
        let rest = item.is_ok().then_some((items, ended));
        Some((item, rest))
    })
}
