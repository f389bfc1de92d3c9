//! `etcdserverpb.Lease`.

use std::collections::HashMap;
use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};
use veridical_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use veridical_store::ApiError;

use super::api::lease_server::Lease;
use super::conventions::conventional;
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
        let mut turns = Turns::default();
        let renewals = request
            .into_inner()
            .map(move |request| {
                let node = node.clone();
                let request = request.map(|request| (request.id, turns.next(request.id)));
                async move {
                    let (id, turn) = request.map_err(conventional)?;
                    turn.take(node.lease_keep_alive(id))
                        .await
                        .map_err(status_of)
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

/// The turns of one stream: renewals of different leases are under way at once, those of one
/// lease one after the other. A later answer would otherwise tell of an earlier state: that the
/// lease lives, after one that it is gone.
#[derive(Default)]
struct Turns {
    /// The end of the last turn of each lease; at most as many as renewals are under way,
    /// and the last ones of leases that nobody renews now.
    last: HashMap<i64, oneshot::Receiver<()>>,
}

/// A renewal's turn.
struct Turn {
    before: Option<oneshot::Receiver<()>>,
    /// Ends the turn when it is dropped.
    _end: oneshot::Sender<()>,
}

impl Turns {
    /// The turn after all those that were given out for the lease.
    fn next(&mut self, lease: i64) -> Turn {
        if self.last.len() >= RENEWALS_IN_FLIGHT_MAX {
            self.last
                .retain(|_, end| end.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        }
        let (end, ended) = oneshot::channel();
        Turn {
            before: self.last.insert(lease, ended),
            _end: end,
        }
    }
}

impl Turn {
    /// Begins when those before it have ended.
    async fn take<T>(self, renewal: impl Future<Output = T>) -> T {
        if let Some(before) = self.before {
            // A turn ends by being dropped, so this is an error each time.
            let _ = before.await;
        }
        renewal.await
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn renewals_of_one_lease_are_asked_for_in_turn_and_those_of_others_meanwhile() {
        let asked = Mutex::new(Vec::new());
        let (first_answer, first_waits) = oneshot::channel::<()>();
        let mut turns = Turns::default();
        let (first, second, other) = (turns.next(7), turns.next(7), turns.next(8));
        let note = |name| asked.lock().unwrap().push(name);
        let renewals = async {
            tokio::join!(
                second.take(async { note("second") }),
                first.take(async {
                    note("first");
                    first_waits.await.unwrap();
                }),
                async {
                    other.take(async { note("other") }).await;
                    first_answer.send(()).unwrap();
                },
            )
        };
        renewals.await;
        assert_eq!(*asked.lock().unwrap(), ["first", "other", "second"]);
    }

    #[tokio::test]
    async fn a_renewal_that_is_given_up_ends_its_turn() {
        let mut turns = Turns::default();
        drop(turns.next(7));
        turns.next(7).take(async {}).await;
        for lease in 0..2 * RENEWALS_IN_FLIGHT_MAX as i64 {
            turns.next(lease);
        }
        assert!(turns.last.len() <= RENEWALS_IN_FLIGHT_MAX);
    }
}
