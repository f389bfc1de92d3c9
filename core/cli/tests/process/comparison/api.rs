//! etcd's API over gRPC, as any client calls it. The stubs are not generated: a path and two
//! types are all that a call needs.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use veridical_proto::etcdserverpb as api;

/// After this time there is no answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Messages of one stream that wait, in either direction.
const MESSAGES_MAX: usize = 64;

/// What a stream brings; its end without an error ends it.
type Answers<A> = mpsc::Receiver<Result<A, Status>>;

/// A member that is spoken to.
#[derive(Clone)]
pub struct Api {
    channel: Channel,
}

impl Api {
    pub fn new(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Self {
            channel: endpoint.connect_lazy(),
        }
    }

    /// One request, one response.
    pub async fn unary<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        let call = async {
            grpc.ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = ProstCodec::<Q, A>::default();
            let path = PathAndQuery::from_static(path);
            grpc.unary(Request::new(request), path, codec).await
        };
        timeout(CALL_TIMEOUT, call)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")))
            .map(tonic::Response::into_inner)
    }

    /// A stream in both directions. A server may wait for the first request before it answers
    /// at all, so whoever asks does not wait for the stream.
    fn stream<Q, A>(&self, path: &'static str) -> (mpsc::Sender<Q>, Answers<A>)
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let (requests, received) = mpsc::channel(MESSAGES_MAX);
        let (told, answers) = mpsc::channel(MESSAGES_MAX);
        let mut grpc = Grpc::new(self.channel.clone());
        tokio::spawn(async move {
            let answering = async {
                grpc.ready()
                    .await
                    .map_err(|error| Status::unavailable(error.to_string()))?;
                let codec = ProstCodec::<Q, A>::default();
                let path = PathAndQuery::from_static(path);
                let requests = Request::new(ReceiverStream::new(received));
                let mut answers = grpc.streaming(requests, path, codec).await?.into_inner();
                while let Some(answer) = answers.message().await? {
                    // Whoever asked may have gone.
                    if told.send(Ok(answer)).await.is_err() {
                        break;
                    }
                }
                Ok(())
            };
            if let Err(status) = answering.await {
                // As above.
                let _ = told.send(Err(status)).await;
            }
        });
        (requests, answers)
    }

    /// One renewal on a stream of its own.
    pub async fn keep_alive(
        &self,
        request: api::LeaseKeepAliveRequest,
    ) -> Result<api::LeaseKeepAliveResponse, Status> {
        let (requests, mut answers) = self.stream("/etcdserverpb.Lease/LeaseKeepAlive");
        // The answer tells whether the stream was there.
        let _ = requests.send(request).await;
        match timeout(CALL_TIMEOUT, answers.recv()).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(Status::unknown("the stream ended")),
            Err(_) => Err(Status::deadline_exceeded("no answer")),
        }
    }

    pub fn watch(&self) -> Watcher {
        let (requests, answers) = self.stream("/etcdserverpb.Watch/Watch");
        Watcher {
            requests,
            answers,
            seen: BTreeMap::new(),
            end: None,
        }
    }
}

/// A stream of watches, and what came of it.
pub struct Watcher {
    requests: mpsc::Sender<api::WatchRequest>,
    answers: Answers<api::WatchResponse>,
    /// By the number of the watch.
    pub seen: BTreeMap<i64, WatchSeen>,
    /// Why the stream ended, if it did.
    pub end: Option<String>,
}

/// What came of one watch. How events are put together in messages is the server's business.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatchSeen {
    /// The message that says that there is a watch, without what differs.
    pub created: Vec<String>,
    pub events: Vec<veridical_proto::mvccpb::Event>,
    /// The message that says that there is none any more.
    pub canceled: Vec<String>,
}

impl Watcher {
    pub async fn send(&self, request: api::watch_request::RequestUnion) {
        let request = api::WatchRequest {
            request_union: Some(request),
        };
        // What comes tells whether the stream was there.
        let _ = self.requests.send(request).await;
    }

    /// Reads until nothing has come for so long.
    pub async fn read(&mut self, quiet: Duration) {
        while self.end.is_none() {
            match timeout(quiet, self.answers.recv()).await {
                Err(_) => return,
                Ok(None) => self.end = Some("end of stream".to_owned()),
                Ok(Some(Err(status))) => self.end = Some(super::answer::status(&status)),
                Ok(Some(Ok(message))) => self.take(message),
            }
        }
    }

    fn take(&mut self, mut message: api::WatchResponse) {
        let seen = self.seen.entry(message.watch_id).or_default();
        seen.events.append(&mut message.events);
        let (is_created, is_canceled) = (message.created, message.canceled);
        let text = super::answer::watch(message);
        if is_created {
            seen.created.push(text);
        } else if is_canceled {
            seen.canceled.push(text);
        }
    }
}
