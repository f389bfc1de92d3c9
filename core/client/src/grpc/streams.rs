//! The calls of the API that are streams.

use tokio::sync::mpsc;
use tonic::Request;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic_prost::ProstCodec;
use veridical_proto::etcdserverpb as api;

use super::status::call_error;
use super::{GrpcLink, ready};
use crate::connection::CallError;
use crate::connector::{WatchChannel, WatchRequests};

/// Requests about watches that wait to be sent.
const WATCH_REQUESTS_MAX: usize = 16;

/// Watch responses that were received and not taken; above it the stream is not read, and the
/// server falls back to its history.
const WATCH_RESPONSES_MAX: usize = 256;

/// Metadata with which a stream asks to be ended while its member knows no leader, rather than
/// to be kept without news (etcd: `rpctypes.MetadataRequireLeaderKey`).
const REQUIRE_LEADER_KEY: &str = "hasleader";
const REQUIRE_LEADER_VALUE: &str = "true";

impl GrpcLink {
    /// One renewal, on a stream of its own.
    pub(super) async fn renew(
        &self,
        request: api::LeaseKeepAliveRequest,
    ) -> Result<api::LeaseKeepAliveResponse, CallError> {
        let mut caller = self.caller();
        ready(&mut caller).await?;
        let codec = ProstCodec::default();
        let path = PathAndQuery::from_static("/etcdserverpb.Lease/LeaseKeepAlive");
        let requests = Request::new(tokio_stream::once(request));
        let answers = caller.streaming(requests, path, codec).await;
        let mut answers = answers.map_err(|status| call_error(&status))?.into_inner();
        match answers.message().await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(CallError::Unknown("the stream has ended".to_owned())),
            Err(status) => Err(call_error(&status)),
        }
    }

    /// A stream of watches.
    pub(super) fn watch(self) -> WatchChannel {
        let (requests, outgoing) = mpsc::channel(WATCH_REQUESTS_MAX);
        let (incoming, responses) = mpsc::channel(WATCH_RESPONSES_MAX);
        // A server may wait for the first request before it answers at all, so the stream is
        // not waited for here.
        veridical_env::task::spawn(async move {
            let closed = incoming.clone();
            tokio::select! {
                biased;
                () = closed.closed() => {}
                () = self.receive(outgoing, incoming) => {}
            }
        });
        WatchChannel {
            requests: WatchRequests::Stream(requests),
            responses,
        }
    }

    /// Hands on what the stream brings, until it ends.
    async fn receive(
        &self,
        outgoing: mpsc::Receiver<api::WatchRequest>,
        incoming: mpsc::Sender<api::WatchResponse>,
    ) {
        let mut caller = self.caller();
        if ready(&mut caller).await.is_err() {
            return;
        }
        let mut requests = Request::new(ReceiverStream::new(outgoing));
        requests.metadata_mut().insert(
            REQUIRE_LEADER_KEY,
            MetadataValue::from_static(REQUIRE_LEADER_VALUE),
        );
        let codec = ProstCodec::<api::WatchRequest, api::WatchResponse>::default();
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let Ok(responses) = caller.streaming(requests, path, codec).await else {
            return;
        };
        let mut responses = responses.into_inner();
        // The end of the stream says the same, whatever its reason: the watches have to go on
        // somewhere else.
        while let Ok(Some(response)) = responses.message().await {
            if incoming.send(response).await.is_err() {
                return;
            }
        }
    }
}
