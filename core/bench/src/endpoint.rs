//! A connection to a member, by either protocol.

use std::time::Duration;

use veridical_client::{
    CallError, Client, ClientConfig, Connector, Grpc, GrpcLink, Link, Pipelined, PipelinedClient,
};
use veridical_env::{RealClock, TcpNetwork};
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;

use super::flags::WireProtocol;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Above the time after which etcd and Veridical give up themselves.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// One connection. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) enum Connection {
    Grpc(GrpcLink),
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
                let grpc = Grpc::new();
                match tokio::time::timeout(CONNECT_TIMEOUT, grpc.connect(address)).await {
                    Ok(Ok(link)) => Ok(Self::Grpc(link)),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err(format!("cannot connect to {address}: timed out")),
                }
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
            Self::Grpc(link) => tokio::time::timeout(REQUEST_TIMEOUT, link.call(ask))
                .await
                .unwrap_or_else(|_| Err(CallError::Unknown("timed out".to_owned()))),
        }
    }
}
