//! A client that knows several members and tries them in turn.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use veridical_env::Clock;
use veridical_planted::Planted;
use veridical_proto::native::batch_operation::Operation;
use veridical_proto::native::request::Body as RequestBody;
use veridical_proto::native::response::Body as ResponseBody;

use crate::batching::{BatchLimits, Batcher, is_operation, operation, send_all};
use crate::connection::CallError;
use crate::connector::{Connector, WatchChannel};
use crate::core::Core;
use crate::discovery::Discovery;

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host:port` of the members.
    pub endpoints: Vec<String>,
    /// How long connecting to one member may take.
    pub connect_timeout: Duration,
    /// How long one request may take with all its retries.
    pub request_timeout: Duration,
    /// The pause before the first retry; it is doubled with each, and spread.
    pub retry_delay: Duration,
    /// How long a member may take for an answer before it is asked how it is. One that does
    /// not tell within the same time again, or knows no leader, is left for another.
    pub silence_timeout: Duration,
    /// Which endpoint the client begins with, by its place in `endpoints`.
    pub first_endpoint: usize,
    /// How often the cluster is asked for its members, from the first request on; never if not
    /// given, as in etcd (`AutoSyncInterval`). It is asked at once, too, when none of those that
    /// are known is of use. Members that have no name yet, and learners, are left out; `endpoints`
    /// are tried where none of the members answers. Who answers for another cluster than the
    /// first that answered is not believed.
    pub discovery_interval: Option<Duration>,
    /// Whether operations on keys that are called at the same time travel together, and how
    /// many. Only where members take batches: over the pipelined protocol.
    pub batching: Option<BatchLimits>,
    /// Spreads the pauses of clients that fail together.
    pub jitter_seed: u64,
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
            silence_timeout: Duration::from_secs(1),
            first_endpoint: 0,
            discovery_interval: None,
            batching: None,
            jitter_seed: jitter_seed(),
            planted: Planted::none(),
        }
    }
}

/// Different in each process.
#[cfg(not(madsim))]
#[allow(
    clippy::disallowed_types,
    reason = "clients of the real world that fail together must not come back together"
)]
fn jitter_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// In the simulator everything follows from the seed of the run.
#[cfg(madsim)]
fn jitter_seed() -> u64 {
    0
}

/// A client of a cluster. Cheap to clone.
///
/// Clones share their connection. Each one is a *caller*: where operations travel together,
/// those of one handle take effect in the order in which they were called, also if none was
/// waited for. Tasks that have nothing to do with each other take a clone each.
pub struct Client<T: Connector, C: Clock> {
    shared: Arc<Shared<T, C>>,
    caller: u64,
    /// How long a request of this handle may take.
    request_timeout: Duration,
}

struct Shared<T: Connector, C: Clock> {
    core: Arc<Core<T, C>>,
    next_caller: AtomicU64,
    batcher: OnceLock<Batcher>,
    discovery: OnceLock<Discovery>,
}

impl<T: Connector, C: Clock> Clone for Client<T, C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            caller: self.shared.next_caller.fetch_add(1, Ordering::Relaxed),
            request_timeout: self.request_timeout,
        }
    }
}

impl<T: Connector, C: Clock> Client<T, C> {
    /// A client; it connects with the first request.
    ///
    /// # Panics
    /// If there is no endpoint.
    pub fn new(connector: T, clock: C, config: ClientConfig) -> Self {
        Self {
            request_timeout: config.request_timeout,
            shared: Arc::new(Shared {
                core: Arc::new(Core::new(connector, clock, config)),
                next_caller: AtomicU64::new(1),
                batcher: OnceLock::new(),
                discovery: OnceLock::new(),
            }),
            caller: 0,
        }
    }

    /// The same client on the same connection, with another bound on the time of a request.
    pub fn with_request_timeout(&self, request_timeout: Duration) -> Self {
        Self {
            request_timeout,
            ..self.clone()
        }
    }

    /// What it connects by.
    pub(crate) fn connector(&self) -> &T {
        &self.shared.core.connector
    }

    /// Its clock.
    pub fn clock(&self) -> &C {
        &self.shared.core.clock
    }

    /// What it was configured with.
    pub fn config(&self) -> &ClientConfig {
        &self.shared.core.config
    }

    /// Sends a request, and sends it again as long as that is safe: always for reads
    /// and renewals, for writes only while it is certain that no member took them.
    ///
    /// # Errors
    /// See [`CallError`]. For a write `Unknown` means that it may take effect at any
    /// later time.
    pub async fn call(&self, request: RequestBody) -> Result<ResponseBody, CallError> {
        let core = &self.shared.core;
        if let Some(interval) = core.config.discovery_interval {
            let start = || Discovery::start(core, interval);
            self.shared.discovery.get_or_init(start);
        }
        let limits = core.config.batching.filter(|_| T::TAKES_BATCHES);
        let Some(limits) = limits.filter(|_| is_operation(&request)) else {
            return core.call(request, self.request_timeout).await;
        };
        let start = || Batcher::start(Arc::clone(core), limits);
        let batcher = self.shared.batcher.get_or_init(start);
        batcher
            .call(
                &core.clock,
                self.caller,
                operation(request),
                self.request_timeout,
            )
            .await
    }

    /// Does many operations on keys in their order, each by itself: one that is refused does
    /// not keep those behind it from being done. Neighbours that read share one confirmation
    /// of the leadership, neighbours that write share an entry of the log and each has a
    /// revision of its own. Where the outcome of one is unknown, those behind it are not
    /// begun.
    ///
    /// Over gRPC, which has no such request, this makes as many calls.
    ///
    /// ```no_run
    /// # async fn example(client: veridical_client::PipelinedClient)
    /// # -> Result<(), veridical_client::CallError> {
    /// use veridical_client::{Answer, CallError, TxnOp};
    ///
    /// let keys: Vec<String> = (0..5_000).map(|number| format!("k{number}")).collect();
    /// let puts = keys.iter().map(|key| TxnOp::put(key, "v", None));
    /// for (key, outcome) in keys.iter().zip(client.batch(puts).await) {
    ///     match outcome {
    ///         Ok(Answer::Put(put)) => println!("{key} has revision {}", put.revision()),
    ///         Ok(_) => unreachable!("a put is answered with a put"),
    ///         Err(CallError::Unknown(reason)) => println!("{key} may be written: {reason}"),
    ///         Err(error) => println!("{key} is not written: {error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch<O: Into<Operation>>(
        &self,
        operations: impl IntoIterator<Item = O>,
    ) -> Vec<Result<ResponseBody, CallError>> {
        let operations = operations.into_iter().map(Into::into).collect();
        send_all(&self.shared.core, operations).await
    }

    /// Opens a stream of watches at the endpoint of that number.
    ///
    /// # Errors
    /// Nobody answers there.
    pub async fn watch_channel(&self, endpoint: usize) -> Result<WatchChannel, CallError> {
        let addresses = self.shared.core.addresses().await;
        let address = &addresses[endpoint % addresses.len()];
        self.shared.core.watch(address).await
    }

    /// `host:port` of the members in their order; behind them those that the user has named and
    /// the cluster has not.
    pub async fn endpoints(&self) -> Vec<String> {
        self.shared.core.addresses().await
    }

    /// Takes other addresses (`host:port`) for the members, as if they were configured; none
    /// changes nothing. What is known of those that stay is kept.
    pub async fn set_endpoints(&self, addresses: Vec<String>) {
        self.shared.core.replace_addresses(addresses).await;
    }
}
