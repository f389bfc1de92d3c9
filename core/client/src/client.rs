//! A client that knows several members and tries them in turn.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use veridical_env::Clock;
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{reachable, sometimes};
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::alarm_request::AlarmAction;
use veridical_proto::etcdserverpb::request_op::Request as Op;
use veridical_proto::native::batch_operation::Operation;
use veridical_proto::native::request::Body as RequestBody;
use veridical_proto::native::response::Body as ResponseBody;

use crate::connection::CallError;
use crate::connector::{Connector, Link, WatchChannel};

/// gRPC's `UNAVAILABLE`: with it a server says that it cannot serve now.
const CODE_UNAVAILABLE: u32 = 14;

/// The number that says that no endpoint was tried.
const NO_ENDPOINT: usize = usize::MAX;

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host:port` of the members.
    pub endpoints: Vec<String>,
    /// How long connecting to one member may take.
    pub connect_timeout: Duration,
    /// How long one request may take with all its retries.
    pub request_timeout: Duration,
    /// The pause between two tries.
    pub retry_delay: Duration,
    /// Which endpoint the client begins with, by its place in `endpoints`.
    pub first_endpoint: usize,
    /// Defects planted on purpose; empty in production.
    pub planted: Planted,
}

impl ClientConfig {
    /// The usual timeouts for these endpoints.
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(10),
            retry_delay: Duration::from_millis(100),
            first_endpoint: 0,
            planted: Planted::none(),
        }
    }
}

/// A client of a cluster. Cheap to clone; clones share their connection.
pub struct Client<T: Connector, C: Clock> {
    connector: T,
    clock: C,
    config: Arc<ClientConfig>,
    state: Arc<Mutex<State<T::Link>>>,
}

impl<T: Connector, C: Clock> Clone for Client<T, C> {
    fn clone(&self) -> Self {
        Self {
            connector: self.connector.clone(),
            clock: self.clock.clone(),
            config: Arc::clone(&self.config),
            state: Arc::clone(&self.state),
        }
    }
}

struct State<L> {
    endpoint: usize,
    connection: Option<L>,
}

impl<T: Connector, C: Clock> Client<T, C> {
    /// A client; it connects with the first request.
    ///
    /// # Panics
    /// If there is no endpoint.
    pub fn new(connector: T, clock: C, config: ClientConfig) -> Self {
        assert!(!config.endpoints.is_empty(), "a client needs an endpoint");
        let endpoint = config.first_endpoint % config.endpoints.len();
        let state = State {
            endpoint,
            connection: None,
        };
        Self {
            connector,
            clock,
            config: Arc::new(config),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// What it connects by.
    pub(crate) fn connector(&self) -> &T {
        &self.connector
    }

    /// Its clock.
    pub(crate) fn clock(&self) -> &C {
        &self.clock
    }

    /// How it behaves.
    pub(crate) fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The same client on the same connection, with another bound on the time of a request.
    pub fn with_request_timeout(&self, request_timeout: Duration) -> Self {
        let config = ClientConfig {
            request_timeout,
            ..(*self.config).clone()
        };
        Self {
            config: Arc::new(config),
            ..self.clone()
        }
    }

    /// The open connection, or a new one to the present endpoint, whose number goes to `tried`.
    async fn connection(&self, tried: &AtomicUsize) -> Result<T::Link, CallError> {
        let mut state = self.state.lock().await;
        tried.store(state.endpoint, Ordering::Relaxed);
        if let Some(connection) = &state.connection
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        assert!(
            state.endpoint < self.config.endpoints.len(),
            "endpoint {} of {}",
            state.endpoint,
            self.config.endpoints.len()
        );
        let address = &self.config.endpoints[state.endpoint];
        let opened = self.in_time(address, self.connector.connect(address)).await;
        match opened {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                state.endpoint = (state.endpoint + 1) % self.config.endpoints.len();
                state.connection = None;
                Err(error)
            }
        }
    }

    /// Leaves the endpoint that was tried for the next one, unless that was done already: where
    /// each call of several, or a failed connection and its caller, moved on, members would be
    /// passed over.
    async fn move_on(&self, tried: &AtomicUsize) {
        let mut state = self.state.lock().await;
        if state.endpoint == tried.load(Ordering::Relaxed) {
            state.connection = None;
            state.endpoint = (state.endpoint + 1) % self.config.endpoints.len();
        }
    }

    /// Sends a request, and sends it again as long as that is safe: always for reads
    /// and renewals, for writes only while it is certain that no member took them.
    ///
    /// # Errors
    /// See [`CallError`]. For a write `Unknown` means that it may take effect at any
    /// later time.
    pub async fn call(&self, request: RequestBody) -> Result<ResponseBody, CallError> {
        let repeatable =
            is_repeatable(&request) || self.config.planted.has(PlantedBug::UnsafeRetry);
        let deadline = self.clock.monotonic() + self.config.request_timeout;
        loop {
            let tried = AtomicUsize::new(NO_ENDPOINT);
            let left = deadline.saturating_sub(self.clock.monotonic());
            let result = tokio::select! {
                biased;
                result = self.try_once(request.clone(), &tried) => result,
                () = self.clock.sleep(left) => {
                    self.move_on(&tried).await;
                    return Err(if repeatable {
                        CallError::Unavailable("timed out".to_owned())
                    } else {
                        CallError::Unknown("timed out".to_owned())
                    });
                }
            };
            let error = match result {
                Err(error @ CallError::Unknown(_)) if !repeatable => {
                    reachable!("client.outcome-of-a-write-is-unknown");
                    self.move_on(&tried).await;
                    return Err(error);
                }
                Err(error @ CallError::Refused { code, .. }) if code != CODE_UNAVAILABLE => {
                    return Err(error);
                }
                Err(error) => {
                    assert!(
                        repeatable || !matches!(error, CallError::Unknown(_)),
                        "a write is sent again whose outcome is unknown"
                    );
                    sometimes!(
                        matches!(error, CallError::Unknown(_)),
                        "client.read-repeated-after-a-broken-connection"
                    );
                    sometimes!(!repeatable, "client.write-repeated-that-nobody-took");
                    error
                }
                Ok(answer) => return Ok(answer),
            };
            if self.clock.monotonic() + self.config.retry_delay >= deadline {
                return Err(match error {
                    // A read has no effect, whatever became of it.
                    CallError::Unknown(reason) => CallError::Unavailable(reason),
                    error @ (CallError::Refused { .. } | CallError::Unavailable(_)) => error,
                });
            }
            self.move_on(&tried).await;
            self.clock.sleep(self.config.retry_delay).await;
        }
    }

    async fn try_once(
        &self,
        request: RequestBody,
        tried: &AtomicUsize,
    ) -> Result<ResponseBody, CallError> {
        self.connection(tried).await?.call(request).await
    }

    /// Opens a stream of watches at the endpoint of that number.
    ///
    /// # Errors
    /// Nobody answers there.
    pub async fn watch_channel(&self, endpoint: usize) -> Result<WatchChannel, CallError> {
        let address = &self.config.endpoints[endpoint % self.config.endpoints.len()];
        self.in_time(address, self.connector.watch(address)).await
    }

    /// Waits for a connection, but not longer than is configured.
    async fn in_time<L>(
        &self,
        address: &str,
        connecting: impl Future<Output = Result<L, CallError>>,
    ) -> Result<L, CallError> {
        tokio::select! {
            biased;
            result = connecting => result,
            () = self.clock.sleep(self.config.connect_timeout) => {
                Err(CallError::Unavailable(format!("connect to {address}: timed out")))
            }
        }
    }
}

/// Whether sending it twice is the same as sending it once.
fn is_repeatable(request: &RequestBody) -> bool {
    match request {
        RequestBody::Range(_)
        | RequestBody::LeaseKeepAlive(_)
        | RequestBody::LeaseTimeToLive(_)
        | RequestBody::LeaseLeases(_)
        | RequestBody::Status(_)
        | RequestBody::MemberList(_)
        | RequestBody::HashKv(_)
        | RequestBody::Hash(_)
        | RequestBody::Defragment(_) => true,
        RequestBody::Alarm(alarm) => alarm.action() == AlarmAction::Get,
        RequestBody::Txn(txn) => only_reads(txn),
        RequestBody::Batch(batch) => {
            batch
                .operations
                .iter()
                .all(|operation| match &operation.operation {
                    Some(Operation::Range(_)) => true,
                    Some(Operation::Txn(txn)) => only_reads(txn),
                    Some(Operation::Put(_) | Operation::DeleteRange(_)) | None => false,
                })
        }
        RequestBody::Put(_)
        | RequestBody::DeleteRange(_)
        | RequestBody::Compaction(_)
        | RequestBody::LeaseGrant(_)
        | RequestBody::LeaseRevoke(_)
        | RequestBody::MemberAdd(_)
        | RequestBody::MemberRemove(_)
        | RequestBody::MemberPromote(_)
        | RequestBody::MemberUpdate(_)
        | RequestBody::MoveLeader(_)
        | RequestBody::Watch(_) => false,
    }
}

fn only_reads(txn: &api::TxnRequest) -> bool {
    txn.success
        .iter()
        .chain(&txn.failure)
        .all(|op| match &op.request {
            Some(Op::RequestRange(_)) => true,
            Some(Op::RequestTxn(nested)) => only_reads(nested),
            Some(Op::RequestPut(_) | Op::RequestDeleteRange(_)) | None => false,
        })
}
