//! One request on its way to some member: connections, retries, and turning away from members
//! that are of no use.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use veridical_env::Clock;
use veridical_planted::PlantedBug;
use veridical_probe::{reachable, sometimes};
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::alarm_request::AlarmAction;
use veridical_proto::etcdserverpb::request_op::Request as Op;
use veridical_proto::native::batch_operation::Operation;
use veridical_proto::native::request::Body as RequestBody;
use veridical_proto::native::response::Body as ResponseBody;

use crate::client::ClientConfig;
use crate::connection::CallError;
use crate::connector::{Connector, Link, WatchChannel};
use crate::endpoints::Endpoints;

/// gRPC's `UNAVAILABLE`: with it a server says that it cannot serve now.
pub(crate) const CODE_UNAVAILABLE: u32 = 14;

/// The pause between tries is doubled with each try up to this factor.
const PAUSE_FACTOR_MAX: u32 = 8;

/// A request that is made when there is a connection for it: until then its callers may give it up,
/// and know that it has had no effect.
pub(crate) trait Source {
    /// The request as it is now; it is about to be sent. `None` if nobody wants it any more.
    fn hand_over(&mut self) -> Option<RequestBody>;

    /// Nobody has taken it.
    fn taken_back(&mut self);
}

/// A request with a caller who drops it when he gives it up.
struct Plain(RequestBody);

impl Source for Plain {
    fn hand_over(&mut self) -> Option<RequestBody> {
        Some(self.0.clone())
    }

    fn taken_back(&mut self) {}
}

/// What all handles of a client share.
pub(crate) struct Core<T: Connector, C: Clock> {
    pub(crate) connector: T,
    pub(crate) clock: C,
    pub(crate) config: ClientConfig,
    state: Mutex<State<T::Link>>,
    /// Whether any member failed since it last answered; only then an answer is news.
    any_failed: AtomicBool,
    /// Told when all members have failed since they last answered.
    pub(crate) none_is_of_use: Arc<Notify>,
    /// The state of the generator that spreads pauses.
    jitter: AtomicU64,
}

struct State<L> {
    endpoints: Endpoints,
    open: Option<Open<L>>,
}

impl<L> State<L> {
    /// Closes the connection unless it is one to the present member.
    fn close_unless_present(&mut self) {
        let present = self.endpoints.present();
        if let Some(open) = &self.open
            && *open.address != *present
        {
            self.open = None;
        }
    }
}

/// A connection and the member at its other end.
#[derive(Clone)]
struct Open<L> {
    address: Arc<str>,
    link: L,
}

impl<T: Connector, C: Clock> Core<T, C> {
    /// # Panics
    /// If there is no endpoint.
    pub(crate) fn new(connector: T, clock: C, config: ClientConfig) -> Self {
        let endpoints = Endpoints::new(config.endpoints.clone(), config.first_endpoint);
        Self {
            connector,
            clock,
            jitter: AtomicU64::new(config.jitter_seed),
            config,
            state: Mutex::new(State {
                endpoints,
                open: None,
            }),
            any_failed: AtomicBool::new(false),
            none_is_of_use: Arc::default(),
        }
    }

    /// Sends a request, and sends it again as long as that is safe: always for reads and
    /// renewals, for writes only while it is certain that no member took them.
    /// All tries together take no longer than `timeout`.
    pub(crate) async fn call(
        &self,
        request: RequestBody,
        timeout: Duration,
    ) -> Result<ResponseBody, CallError> {
        let repeatable = is_repeatable(&request);
        self.call_from(&mut Plain(request), repeatable, timeout)
            .await
    }

    /// The same for a request that is made when it can be sent.
    pub(crate) async fn call_from(
        &self,
        source: &mut impl Source,
        repeatable: bool,
        timeout: Duration,
    ) -> Result<ResponseBody, CallError> {
        let repeatable = repeatable || self.config.planted.has(PlantedBug::UnsafeRetry);
        let deadline = self.clock.monotonic() + timeout;
        let mut tries = 0;
        loop {
            let error = match self.try_once(source, repeatable, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match &error {
                CallError::Unknown(_) if !repeatable => {
                    reachable!("client.outcome-of-a-write-is-unknown");
                    return Err(error);
                }
                CallError::Refused { code, .. } if *code != CODE_UNAVAILABLE => return Err(error),
                CallError::Unknown(_) | CallError::Refused { .. } | CallError::Unavailable(_) => {}
            }
            sometimes!(
                matches!(error, CallError::Unknown(_)),
                "client.read-repeated-after-a-broken-connection"
            );
            sometimes!(!repeatable, "client.write-repeated-that-nobody-took");
            let pause = self.pause(tries);
            tries += 1;
            if self.clock.monotonic() + pause >= deadline {
                return Err(match error {
                    // A read has no effect, whatever became of it.
                    CallError::Unknown(reason) => CallError::Unavailable(reason),
                    error @ (CallError::Refused { .. } | CallError::Unavailable(_)) => error,
                });
            }
            self.clock.sleep(pause).await;
        }
    }

    /// Sends a request to the present member. Leaves that member if it was of no use.
    async fn try_once(
        &self,
        source: &mut impl Source,
        repeatable: bool,
        deadline: Duration,
    ) -> Result<ResponseBody, CallError> {
        let open = match self.present() {
            Some(open) => open,
            None => match self.until(deadline, pin!(self.open())).await {
                Some(open) => open?,
                None => return Err(CallError::Unavailable("timed out".to_owned())),
            },
        };
        let Some(request) = source.hand_over() else {
            return Err(CallError::Unavailable("it was given up".to_owned()));
        };
        let mut attempt = pin!(open.link.call(request));
        let soon = self.clock.monotonic() + self.config.silence_timeout;
        let result = match self.until(deadline.min(soon), &mut attempt).await {
            Some(result) => result,
            None => {
                let waiting = self.wait_for(&open, attempt, repeatable, deadline);
                // Few calls come here, and all would carry its state.
                Box::pin(waiting).await?
            }
        };
        if let Err(CallError::Unavailable(_)) = &result {
            source.taken_back();
        }
        match &result {
            Ok(_) => self.answered(&open.address).await,
            Err(CallError::Refused { code, .. }) if *code != CODE_UNAVAILABLE => {
                self.answered(&open.address).await;
            }
            Err(_) => self.leave(&open.address).await,
        }
        result
    }

    /// Waits for the answer of a member that is slow, up to the deadline. Fails in the place of
    /// a call that may be repeated when the member is silent.
    async fn wait_for(
        &self,
        open: &Open<T::Link>,
        mut attempt: impl Future<Output = Result<ResponseBody, CallError>> + Unpin,
        repeatable: bool,
        deadline: Duration,
    ) -> Result<Result<ResponseBody, CallError>, CallError> {
        let mut silence = pin!(self.falls_silent(open));
        let mut is_left = false;
        loop {
            let left = deadline.saturating_sub(self.clock.monotonic());
            tokio::select! {
                biased;
                result = &mut attempt => return Ok(result),
                () = self.clock.sleep(left) => {
                    self.leave(&open.address).await;
                    let timed_out = "timed out".to_owned();
                    return Err(if repeatable {
                        CallError::Unavailable(timed_out)
                    } else {
                        CallError::Unknown(timed_out)
                    });
                }
                () = &mut silence, if !is_left => {
                    self.leave(&open.address).await;
                    if repeatable {
                        reachable!("client.silent-member-left");
                        return Err(CallError::Unavailable("the member is silent".to_owned()));
                    }
                    // Only this member can still tell what became of it.
                    is_left = true;
                }
            }
        }
    }

    /// Ends when the member at the other end, which has not answered for a while, tells nothing
    /// of itself any more, or that it knows no leader.
    async fn falls_silent(&self, open: &Open<T::Link>) {
        let patience = self.config.silence_timeout;
        loop {
            let asked = open.link.call(RequestBody::Status(api::StatusRequest {}));
            let told = tokio::select! {
                biased;
                told = asked => told.ok(),
                () = self.clock.sleep(patience) => None,
            };
            match told {
                Some(ResponseBody::Status(status)) if status.leader != 0 => {}
                _ => return,
            }
            self.clock.sleep(patience).await;
        }
    }

    /// The open connection, if there is one and nobody is opening another.
    fn present(&self) -> Option<Open<T::Link>> {
        let state = self.state.try_lock().ok()?;
        let open = state.open.as_ref();
        open.filter(|open| !open.link.is_closed()).cloned()
    }

    /// The open connection, or a new one to the present member.
    async fn open(&self) -> Result<Open<T::Link>, CallError> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open
            && !open.link.is_closed()
        {
            return Ok(open.clone());
        }
        let address: Arc<str> = state.endpoints.present().into();
        match self
            .connected(&address, self.connector.connect(&address))
            .await
        {
            Ok(link) => {
                let open = Open { address, link };
                state.open = Some(open.clone());
                Ok(open)
            }
            Err(error) => {
                state.open = None;
                self.failed(&mut state, &address);
                Err(error)
            }
        }
    }

    /// Turns to another member, unless that was done already: where each call of several
    /// moved on, members would be passed over.
    async fn leave(&self, address: &str) {
        let mut state = self.state.lock().await;
        self.failed(&mut state, address);
        if state
            .open
            .as_ref()
            .is_some_and(|open| &*open.address == address)
        {
            state.open = None;
        }
    }

    fn failed(&self, state: &mut State<T::Link>, address: &str) {
        let now = self.clock.monotonic();
        state.endpoints.failed(address, now, self.pause(0));
        self.any_failed.store(true, Ordering::Relaxed);
        if state.endpoints.all_failed() {
            self.none_is_of_use.notify_one();
        }
    }

    /// Turns to another member than the present one.
    pub(crate) async fn leave_present(&self) {
        let address = self.state.lock().await.endpoints.present().to_owned();
        self.leave(&address).await;
    }

    async fn answered(&self, address: &str) {
        if !self.any_failed.load(Ordering::Relaxed) {
            return;
        }
        // Whoever fails stores it while he has the lock.
        let mut state = self.state.lock().await;
        state.endpoints.answered(address);
        let any_failed = state.endpoints.any_failed();
        self.any_failed.store(any_failed, Ordering::Relaxed);
    }

    /// The addresses of the members in their order.
    pub(crate) async fn addresses(&self) -> Vec<String> {
        let state = self.state.lock().await;
        state.endpoints.addresses().map(str::to_owned).collect()
    }

    /// Takes other addresses for the members.
    pub(crate) async fn replace_addresses(&self, addresses: Vec<String>) {
        let mut state = self.state.lock().await;
        state.endpoints.replace(addresses);
        state.close_unless_present();
    }

    /// Takes the addresses that the cluster has named for the members.
    pub(crate) async fn learn_addresses(&self, addresses: Vec<String>) {
        let mut state = self.state.lock().await;
        state.endpoints.learn(addresses);
        state.close_unless_present();
    }

    /// Opens a stream of watches.
    pub(crate) async fn watch(&self, address: &str) -> Result<WatchChannel, CallError> {
        self.connected(address, self.connector.watch(address)).await
    }

    /// Waits for a connection, but not longer than is configured.
    async fn connected<L>(
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

    async fn until<R>(
        &self,
        deadline: Duration,
        work: impl Future<Output = R> + Unpin,
    ) -> Option<R> {
        let left = deadline.saturating_sub(self.clock.monotonic());
        tokio::select! {
            biased;
            result = work => Some(result),
            () = self.clock.sleep(left) => None,
        }
    }

    /// The pause behind that many tries: doubled with each, and spread by half of itself to
    /// both sides, so that clients that failed together do not come back together.
    fn pause(&self, tries: u32) -> Duration {
        let factor = 1_u32 << tries.min(PAUSE_FACTOR_MAX.ilog2());
        let state = self
            .jitter
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        spread(self.config.retry_delay.saturating_mul(factor), state)
    }
}

/// Half to one and a half of a pause, as `state` decides (SplitMix64).
fn spread(pause: Duration, state: u64) -> Duration {
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let thousandths = ((mixed ^ (mixed >> 31)) % 1_001) as u32;
    pause / 2 + pause / 1_000 * thousandths
}

/// Whether sending it twice is the same as sending it once.
pub(crate) fn is_repeatable(request: &RequestBody) -> bool {
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
            let operations = batch.operations.iter();
            operations
                .map(|operation| operation.operation.as_ref())
                .all(|operation| operation.is_some_and(is_repeatable_operation))
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

/// The same for an operation of a batch.
pub(crate) fn is_repeatable_operation(operation: &Operation) -> bool {
    match operation {
        Operation::Range(_) => true,
        Operation::Txn(txn) => only_reads(txn),
        Operation::Put(_) | Operation::DeleteRange(_) => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_spread_around_what_was_configured() {
        let pause = Duration::from_millis(100);
        let spread: Vec<_> = (0..1_000_u64)
            .map(|step| spread(pause, step.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        let (least, most) = (spread.iter().min().unwrap(), spread.iter().max().unwrap());
        assert!((50..55).contains(&least.as_millis()), "{least:?}");
        assert!((145..=150).contains(&most.as_millis()), "{most:?}");
    }
}
