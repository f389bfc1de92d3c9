//! How a client reaches a member: one trait for both protocols and both worlds.

use std::future::Future;
use tokio::sync::mpsc;
use veridical_env::Network;
use veridical_proto::etcdserverpb as api;
use veridical_proto::native::request::Body as RequestBody;
use veridical_proto::native::response::Body as ResponseBody;

use crate::connection::{CallError, Connection, WatchResponses};

/// Opens connections to members.
///
/// Neither method bounds how long it takes: that is left to the caller, who has a clock.
pub trait Connector: Clone + Send + Sync + 'static {
    /// A connection for requests.
    type Link: Link;

    /// Whether members take many operations as one request here ([`RequestBody::Batch`]).
    const TAKES_BATCHES: bool;

    /// Connects to the member at `address` (`host:port`).
    ///
    /// # Errors
    /// [`CallError::Unavailable`]: nobody answers there.
    fn connect(&self, address: &str) -> impl Future<Output = Result<Self::Link, CallError>> + Send;

    /// Opens a stream of watches at the member at `address` (`host:port`).
    ///
    /// # Errors
    /// [`CallError::Unavailable`]: nobody answers there.
    fn watch(&self, address: &str) -> impl Future<Output = Result<WatchChannel, CallError>> + Send;
}

/// One connection to one member, with many requests in flight. Clones share it; it closes
/// with the last one.
pub trait Link: Clone + Send + Sync + 'static {
    /// Sends a request, once, and waits for its response.
    ///
    /// # Errors
    /// See [`CallError`]. Dropping the call leaves its outcome unknown.
    fn call(
        &self,
        request: RequestBody,
    ) -> impl Future<Output = Result<ResponseBody, CallError>> + Send;

    /// Whether calls have no chance any more.
    fn is_closed(&self) -> bool;
}

/// A stream of watches at one member. It ends when both halves are dropped, or with the
/// connection.
pub struct WatchChannel {
    /// Creates, cancels and asks for progress.
    pub requests: WatchRequests,
    /// What comes, in order; it ends with the connection.
    pub responses: WatchResponses,
}

/// Where requests about watches go.
#[derive(Clone)]
pub enum WatchRequests {
    /// Into a connection of the pipelined protocol.
    Pipelined(Connection),
    /// Into a stream.
    Stream(mpsc::Sender<api::WatchRequest>),
}

impl WatchRequests {
    /// Sends a request.
    ///
    /// # Errors
    /// [`CallError::Unavailable`]: the stream has ended.
    pub async fn send(&self, request: api::WatchRequest) -> Result<(), CallError> {
        match self {
            Self::Pipelined(connection) => connection.watch(request).await,
            Self::Stream(requests) => requests
                .send(request)
                .await
                .map_err(|_| CallError::Unavailable("the stream of watches has ended".to_owned())),
        }
    }
}

/// Connects by the pipelined protocol, over any network.
#[derive(Clone, Debug, Default)]
pub struct Pipelined<N> {
    network: N,
}

impl<N: Network> Pipelined<N> {
    /// Over this network.
    pub fn new(network: N) -> Self {
        Self { network }
    }
}

impl<N: Network> Connector for Pipelined<N> {
    type Link = Connection;

    const TAKES_BATCHES: bool = true;

    async fn connect(&self, address: &str) -> Result<Connection, CallError> {
        let (connection, _watches) = Connection::connect(&self.network, address).await?;
        Ok(connection)
    }

    async fn watch(&self, address: &str) -> Result<WatchChannel, CallError> {
        let (connection, responses) = Connection::connect(&self.network, address).await?;
        Ok(WatchChannel {
            requests: WatchRequests::Pipelined(connection),
            responses,
        })
    }
}

impl Link for Connection {
    async fn call(&self, request: RequestBody) -> Result<ResponseBody, CallError> {
        Connection::call(self, request).await
    }

    fn is_closed(&self) -> bool {
        Connection::is_closed(self)
    }
}
