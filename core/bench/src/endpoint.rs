//! A connection to a member, by either protocol.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Status};
use veridical_client::{CallError, Client, ClientConfig, Pipelined, PipelinedClient};
use veridical_env::{RealClock, TcpNetwork};
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;

use crate::api::kv_client::KvClient;

use super::flags::WireProtocol;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Above the time after which etcd and Veridical give up themselves.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The largest answer taken: a scan of large values.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One connection. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) enum Connection {
    Grpc(KvClient<Channel>),
    Native(PipelinedClient),
}

impl Connection {
    /// Connects to the member of that number.
    ///
    /// # Errors
    /// Nobody answers there (gRPC only: the other protocol connects with its first
    /// request).
    pub(crate) async fn open(
        protocol: WireProtocol,
        addresses: &[String],
        number: usize,
    ) -> Result<Self, String> {
        match protocol {
            WireProtocol::Grpc => {
                let address = &addresses[number % addresses.len()];
                let connected = async {
                    Endpoint::from_shared(format!("http://{address}"))?
                        .connect_timeout(CONNECT_TIMEOUT)
                        .tcp_nodelay(true)
                        .connect()
                        .await
                };
                let channel = connected.await.map_err(|error| {
                    let cause = std::error::Error::source(&error)
                        .map_or_else(|| error.to_string(), ToString::to_string);
                    format!("cannot connect to {address}: {cause}")
                })?;
                let client = KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
                Ok(Self::Grpc(client))
            }
            WireProtocol::Native => {
                let config = ClientConfig {
                    connect_timeout: CONNECT_TIMEOUT,
                    request_timeout: REQUEST_TIMEOUT,
                    first_endpoint: number,
                    ..ClientConfig::new(addresses.to_vec())
                };
                Ok(Self::Native(Client::new(
                    Pipelined::new(TcpNetwork),
                    RealClock::default(),
                    config,
                )))
            }
        }
    }

    /// Sends a request and waits for the answer. With gRPC nothing is sent twice.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(crate) async fn call(&mut self, ask: Ask) -> Result<Answer, CallError> {
        match self {
            Self::Native(client) => client.call(ask).await,
            Self::Grpc(client) => {
                match tokio::time::timeout(REQUEST_TIMEOUT, call_grpc(client, ask)).await {
                    Ok(Ok(answer)) => Ok(answer),
                    Ok(Err(status)) => Err(call_error(&status)),
                    Err(_) => Err(CallError::Unknown("timed out".to_owned())),
                }
            }
        }
    }
}

async fn call_grpc(client: &mut KvClient<Channel>, ask: Ask) -> Result<Answer, Status> {
    Ok(match ask {
        Ask::Range(request) => Answer::Range(client.range(request).await?.into_inner()),
        Ask::Put(request) => Answer::Put(client.put(request).await?.into_inner()),
        Ask::Txn(request) => Answer::Txn(client.txn(request).await?.into_inner()),
        other => unreachable!("no workload asks {other:?}"),
    })
}

/// What a status says about the fate of a request. Certain is only what a server says
/// after it has looked at the request, and that there was no connection to send it on; an
/// unavailable server may have done it.
fn call_error(status: &Status) -> CallError {
    let message = status.message().to_owned();
    let causes = std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    if causes.into_iter().any(|cause| cause.is::<ConnectError>()) {
        return CallError::Unavailable(message);
    }
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => CallError::Refused {
            code: status.code() as u32,
            message,
        },
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => CallError::Unknown(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_without_a_connection_has_certainly_no_effect() {
        let unreachable = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        let mut connection = Connection::Grpc(KvClient::new(unreachable));
        let result = connection.call(Ask::Range(Default::default())).await;
        assert!(
            matches!(result, Err(CallError::Unavailable(_))),
            "{result:?}"
        );
    }

    #[test]
    fn an_unavailable_server_may_have_done_it_and_a_refusal_has_not() {
        let unknown = call_error(&Status::unavailable("etcdserver: request timed out"));
        assert!(matches!(unknown, CallError::Unknown(_)));
        let refused = call_error(&Status::out_of_range("etcdserver: mvcc: ..."));
        assert!(matches!(refused, CallError::Refused { code: 11, .. }));
    }
}
