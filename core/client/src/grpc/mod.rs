//! gRPC: every store that speaks etcd's v3 API, etcd itself among them.
//!
//! A path and two messages are all that a call needs, so no stub is generated.

#[allow(
    clippy::disallowed_types,
    reason = "gRPC is of the real world, and so are its connections"
)]
mod dialer;
mod status;
mod streams;

use prost::Message;
use tonic::client::Grpc as Caller;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;

use crate::connection::CallError;
use crate::connector::{Connector, Link, WatchChannel};
use dialer::Dialer;
use status::call_error;

/// The largest answer taken unless [`Grpc::with_answer_bytes_max`] says otherwise.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Connects by gRPC.
#[derive(Clone, Copy, Debug)]
pub struct Grpc {
    answer_bytes_max: usize,
}

impl Default for Grpc {
    fn default() -> Self {
        Self::new()
    }
}

impl Grpc {
    /// With answers of at most 64 MiB.
    pub fn new() -> Self {
        Self {
            answer_bytes_max: ANSWER_BYTES_MAX,
        }
    }

    /// With answers of at most so many bytes.
    #[must_use]
    pub fn with_answer_bytes_max(mut self, answer_bytes_max: usize) -> Self {
        self.answer_bytes_max = answer_bytes_max;
        self
    }
}

impl Connector for Grpc {
    type Link = GrpcLink;

    const TAKES_BATCHES: bool = false;

    async fn connect(&self, address: &str) -> Result<GrpcLink, CallError> {
        let unavailable = |error: tonic::transport::Error| {
            let cause = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            CallError::Unavailable(format!("cannot connect to {address}: {cause}"))
        };
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .map_err(unavailable)?
            .connect_with_connector(Dialer)
            .await
            .map_err(unavailable)?;
        Ok(GrpcLink {
            channel,
            answer_bytes_max: self.answer_bytes_max,
        })
    }

    async fn watch(&self, address: &str) -> Result<WatchChannel, CallError> {
        Ok(self.connect(address).await?.watch())
    }
}

/// A connection to a member. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct GrpcLink {
    channel: Channel,
    answer_bytes_max: usize,
}

impl GrpcLink {
    fn caller(&self) -> Caller<Channel> {
        Caller::new(self.channel.clone()).max_decoding_message_size(self.answer_bytes_max)
    }

    /// One request, one response.
    async fn unary<Q, A>(&self, path: &'static str, request: Q) -> Result<A, CallError>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut caller = self.caller();
        ready(&mut caller).await?;
        let codec = ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(path);
        let answered = caller.unary(Request::new(request), path, codec).await;
        answered
            .map(tonic::Response::into_inner)
            .map_err(|status| call_error(&status))
    }
}

/// Waits until a request can be sent; before that nothing is.
async fn ready(caller: &mut Caller<Channel>) -> Result<(), CallError> {
    caller
        .ready()
        .await
        .map_err(|error| CallError::Unavailable(error.to_string()))
}

/// What is no call of the API.
fn no_call(what: &str) -> CallError {
    CallError::Refused {
        code: Code::Unimplemented as u32,
        message: format!("gRPC has no call for {what}"),
    }
}

impl Link for GrpcLink {
    async fn call(&self, request: Ask) -> Result<Answer, CallError> {
        macro_rules! unary {
            ($kind:ident, $path:literal, $request:expr) => {
                Answer::$kind(
                    self.unary(concat!("/etcdserverpb.", $path), $request)
                        .await?,
                )
            };
        }
        Ok(match request {
            Ask::Range(request) => unary!(Range, "KV/Range", request),
            Ask::Put(request) => unary!(Put, "KV/Put", request),
            Ask::DeleteRange(request) => unary!(DeleteRange, "KV/DeleteRange", request),
            Ask::Txn(request) => unary!(Txn, "KV/Txn", request),
            Ask::Compaction(request) => unary!(Compaction, "KV/Compact", request),
            Ask::LeaseGrant(request) => unary!(LeaseGrant, "Lease/LeaseGrant", request),
            Ask::LeaseRevoke(request) => unary!(LeaseRevoke, "Lease/LeaseRevoke", request),
            Ask::LeaseKeepAlive(request) => Answer::LeaseKeepAlive(self.renew(request).await?),
            Ask::LeaseTimeToLive(request) => {
                unary!(LeaseTimeToLive, "Lease/LeaseTimeToLive", request)
            }
            Ask::LeaseLeases(request) => unary!(LeaseLeases, "Lease/LeaseLeases", request),
            Ask::Status(request) => unary!(Status, "Maintenance/Status", request),
            Ask::HashKv(request) => unary!(HashKv, "Maintenance/HashKV", request),
            Ask::Hash(request) => unary!(Hash, "Maintenance/Hash", request),
            Ask::Alarm(request) => unary!(Alarm, "Maintenance/Alarm", request),
            Ask::Defragment(request) => unary!(Defragment, "Maintenance/Defragment", request),
            Ask::MoveLeader(request) => unary!(MoveLeader, "Maintenance/MoveLeader", request),
            Ask::MemberList(request) => unary!(MemberList, "Cluster/MemberList", request),
            Ask::MemberAdd(request) => unary!(MemberAdd, "Cluster/MemberAdd", request),
            Ask::MemberRemove(request) => unary!(MemberRemove, "Cluster/MemberRemove", request),
            Ask::MemberUpdate(request) => unary!(MemberUpdate, "Cluster/MemberUpdate", request),
            Ask::MemberPromote(request) => {
                unary!(MemberPromote, "Cluster/MemberPromote", request)
            }
            Ask::Batch(_) => return Err(no_call("a batch")),
            Ask::Watch(_) => return Err(no_call("a watch without a stream")),
        })
    }

    /// The connection is opened again when it is needed.
    fn is_closed(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_without_a_connection_has_certainly_no_effect() {
        let link = GrpcLink {
            channel: Endpoint::from_static("http://127.0.0.1:1").connect_lazy(),
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        let result = link.call(Ask::Put(Default::default())).await;
        assert!(
            matches!(result, Err(CallError::Unavailable(_))),
            "{result:?}"
        );
    }

    #[tokio::test]
    async fn nobody_answers_where_nobody_listens() {
        let result = Grpc::new().connect("127.0.0.1:1").await;
        let Err(CallError::Unavailable(reason)) = result else {
            panic!("{result:?}");
        };
        assert!(reason.contains("127.0.0.1:1"), "{reason}");
    }
}
