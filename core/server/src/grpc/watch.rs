//! `etcdserverpb.Watch`.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use veridical_env::RealEnvironment;
use veridical_node::Watcher;
use veridical_proto::etcdserverpb::{WatchRequest, WatchResponse};
use veridical_store::ApiError;

use super::api::watch_server::Watch;
use super::conventions::conventional;
use super::gate::{Gate, Learner, requires_leader};
use super::status_of;

/// Responses that wait for one client's connection. While it is full nothing is taken
/// from the watches, which fall back to the history.
const WATCH_RESPONSES_MAX: usize = 16;

/// Streams of watches.
pub(crate) struct WatchService {
    gate: Gate,
}

impl WatchService {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { gate }
    }
}

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.gate.admit(request.metadata(), Learner::Refuses)?;
        let leader_required = requires_leader(request.metadata());
        let (responses, outgoing) = mpsc::channel(WATCH_RESPONSES_MAX);
        let session = WatchSession {
            watcher: self.gate.node().watch(),
            requests: request.into_inner(),
            responses,
        };
        let gate = self.gate.clone();
        tokio::spawn(async move {
            let closing = gate.closing();
            let responses = session.responses.clone();
            let reason = tokio::select! {
                biased;
                () = closing.cancelled() => status_of(ApiError::stopped()),
                () = gate.leader_lost(leader_required) => status_of(ApiError::no_leader()),
                ended = session.run() => match ended {
                    Ok(()) => return,
                    Err(status) => status,
                },
            };
            // The client may be gone, or may not read: then it learns it from the end
            // of the connection.
            let _ = responses.try_send(Err(reason));
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// One stream of watches.
struct WatchSession {
    watcher: Watcher<RealEnvironment>,
    requests: Streaming<WatchRequest>,
    responses: mpsc::Sender<Result<WatchResponse, Status>>,
}

impl WatchSession {
    /// Ends when the client is gone. A client that has only closed its direction goes on
    /// receiving, as with etcd.
    ///
    /// # Errors
    /// The client asks for more than it takes, or what it sends is no request.
    async fn run(mut self) -> Result<(), Status> {
        let mut is_half_closed = false;
        loop {
            let response = self.watcher.poll();
            let is_due = response.is_some();
            if let Some(response) = response {
                if self.responses.send(Ok(response)).await.is_err() {
                    return Ok(());
                }
                // A watch with much to catch up on must not keep others waiting.
                tokio::task::yield_now().await;
            }
            // Nor must it keep whoever wants to cancel it waiting.
            tokio::select! {
                biased;
                () = self.responses.closed() => return Ok(()),
                request = self.requests.message(), if !is_half_closed => match request {
                    Ok(Some(request)) => self.watcher.handle(request).map_err(status_of)?,
                    Ok(None) => is_half_closed = true,
                    Err(status) => return Err(conventional(status)),
                },
                () = std::future::ready(()), if is_due => {}
                () = self.watcher.ready() => {}
            }
        }
    }
}
