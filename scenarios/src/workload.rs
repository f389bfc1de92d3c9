//! The clients of a run: each does its planned operations one after the other and
//! records what came back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use veridical_client::record::{self, Ending};
use veridical_client::{BatchLimits, CallError, Client, ClientConfig, Connection, Pipelined};
use veridical_env::{Clock, Environment};
use veridical_harness::report::{Class, Finding};
use veridical_histories::etcd::{Outcome, Request};
use veridical_planted::Planted;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_world::{ProcessId, SimClock, SimEnvironment, SimNetwork};

use crate::accounting::{Accounts, Opened};
use crate::cluster::client_address;
use crate::keyspace::Keyspace;
use crate::observer::Observer;
use crate::plan::{HostPlan, PlannedOp};
use crate::requests::{Memory, Values};
use crate::sessions::SESSIONS_PER_CLIENT;
use crate::watching::Reached;

/// Connecting to a member.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);

/// How long a client waits before it turns to another member.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);

/// Why the outcome of a request is unknown whose caller has lost his patience; it may wait to be
/// sent still.
const NO_ANSWER: &str = "no answer in time";

/// A host with its clients.
#[derive(Clone)]
pub struct Host {
    /// What they do.
    pub plan: HostPlan,
    /// What its keys look like.
    pub keyspace: Keyspace,
    /// The length of a few values, in bytes; 0 for none.
    pub large_value_bytes: u32,
    /// Members of the cluster.
    pub members: u32,
    /// The number of its first client.
    pub first_client: u64,
    /// What is planted in the clients.
    pub planted: Planted,
    /// Who accounts for unknown outcomes, if anybody can.
    pub accounts: Option<Accounts>,
}

/// Runs the clients of one host until all have done what they planned.
pub async fn run_host(
    environment: SimEnvironment,
    host: Arc<Host>,
    observer: Observer,
    audited: Reached,
    left: Arc<AtomicU64>,
) {
    let port = Port::new(&environment, &host);
    let clients: Vec<_> = (0..host.plan.clients.len())
        .map(|number| {
            let client = SequentialClient {
                client: host.first_client + number as u64,
                clock: environment.clock().clone(),
                network: environment.network().clone(),
                port: port.clone(),
                observer: observer.clone(),
                audited: audited.clone(),
                memory: Memory::new(
                    host.first_client + number as u64,
                    host.keyspace,
                    Values {
                        bytes: host.plan.value_bytes,
                        large_bytes: host.large_value_bytes,
                    },
                ),
                timeout: Duration::from_millis(host.plan.request_timeout_ms),
            };
            let (host, left) = (Arc::clone(&host), Arc::clone(&left));
            veridical_env::task::spawn(async move {
                client.run(&host.plan.clients[number]).await;
                left.fetch_sub(1, Ordering::Relaxed);
            })
        })
        .collect();
    for client in clients {
        // A panic of a client is a panic of the host's process, which the world reports.
        let _ = client.await;
    }
}

/// How requests of a host reach a member.
#[derive(Clone)]
enum Port {
    /// With retries, over members in turn.
    Retrying(Client<Pipelined<SimNetwork>, SimClock>),
    /// Each request once, on a connection that is replaced when it breaks.
    Direct(Arc<Direct>),
}

struct Direct {
    network: SimNetwork,
    clock: SimClock,
    members: u32,
    /// Who accounts for unknown outcomes, if anybody can.
    accounts: Option<Accounts>,
    state: Mutex<DirectState>,
}

struct DirectState {
    member: u32,
    session: Option<Session>,
    /// Counts the connections: a new one is a new session.
    sessions: u64,
}

/// A connection.
#[derive(Clone)]
struct Session {
    number: u64,
    connection: Connection,
    /// The machine at its other end.
    member: u32,
    /// Who accounts for what is not known of its requests, if anybody can.
    account: Option<(Accounts, Opened)>,
}

impl Direct {
    /// The present connection, or a new one.
    async fn session(&self) -> Result<Session, CallError> {
        let mut state = self.state.lock().await;
        if let Some(session) = &state.session
            && !session.connection.is_closed()
        {
            return Ok(session.clone());
        }
        state.session = None;
        let member = state.member;
        let address = client_address(member);
        match Connection::open(&self.network, &self.clock, &address, CONNECT_TIMEOUT).await {
            Ok((connection, _watches)) => {
                state.sessions += 1;
                let accounts = self.accounts.clone();
                let account = accounts.map(|accounts| {
                    let opened = accounts.opened(ProcessId(member));
                    (accounts, opened)
                });
                let session = Session {
                    number: state.sessions,
                    connection,
                    member,
                    account,
                };
                state.session = Some(session.clone());
                Ok(session)
            }
            Err(error) => {
                state.member = (state.member + 1) % self.members;
                Err(error)
            }
        }
    }

    /// Leaves a connection that has disappointed.
    async fn leave(&self, session: u64) {
        let mut state = self.state.lock().await;
        if state.sessions == session && state.session.take().is_some() {
            state.member = (state.member + 1) % self.members;
        }
    }
}

impl Port {
    fn new(environment: &SimEnvironment, host: &Host) -> Self {
        let Host {
            plan,
            members,
            planted,
            accounts,
            ..
        } = host.clone();
        let (network, clock) = (environment.network().clone(), environment.clock().clone());
        if plan.retries {
            let config = ClientConfig {
                connect_timeout: CONNECT_TIMEOUT,
                request_timeout: Duration::from_millis(plan.request_timeout_ms),
                retry_delay: RECONNECT_DELAY,
                first_endpoint: plan.first_member as usize,
                batching: plan.batches.map(|batches| BatchLimits {
                    operations_max: batches.operations_max as usize,
                    bytes_max: batches.bytes_max as usize,
                    in_flight_max: batches.in_flight_max as usize,
                    delay_max: Duration::from_millis(batches.delay_max_ms),
                    ..BatchLimits::default()
                }),
                planted,
                ..ClientConfig::new((0..members).map(client_address).collect())
            };
            return Self::Retrying(Client::new(Pipelined::new(network), clock, config));
        }
        let state = DirectState {
            member: plan.first_member,
            session: None,
            sessions: 0,
        };
        Self::Direct(Arc::new(Direct {
            network,
            clock,
            members,
            accounts,
            state: Mutex::new(state),
        }))
    }
}

/// One client.
struct SequentialClient {
    client: u64,
    clock: SimClock,
    network: SimNetwork,
    port: Port,
    observer: Observer,
    /// How far the watcher of everything has been shown what was written.
    audited: Reached,
    memory: Memory,
    timeout: Duration,
}

impl SequentialClient {
    async fn run(mut self, plan: &[PlannedOp]) {
        for (number, planned) in plan.iter().enumerate() {
            if let Some(at_ms) = planned.at_ms {
                self.observer.wait_until(Duration::from_millis(at_ms)).await;
            }
            if planned.after_ms > 0 {
                self.clock
                    .sleep(Duration::from_millis(planned.after_ms))
                    .await;
            }
            if let Some(until) = self.memory.waits_until(&planned.op) {
                let now = self.clock.monotonic();
                self.clock.sleep(until.saturating_sub(now)).await;
            }
            let audited = self.audited.revision();
            let Some(ask) = self.memory.request(&planned.op, audited) else {
                continue;
            };
            let asked_at = self.clock.monotonic();
            self.observer.begins(self.client, number);
            let result = self.call(ask).await;
            match &result {
                Ok(answer) => self.memory.learn(answer, asked_at),
                // Members that are down refuse at once; do not hammer them.
                Err(_) => self.clock.sleep(RECONNECT_DELAY).await,
            }
        }
    }

    /// Does one request and records it. Where its host has sent nothing meanwhile, it has had no
    /// effect, and the client knows.
    async fn call(&self, ask: Ask) -> Result<Answer, CallError> {
        let sent_before = self.network.units_sent();
        let result = self.call_recorded(ask).await;
        if let Err(CallError::Unknown(reason)) = &result
            && reason != NO_ANSWER
            // What waits behind another write goes out when that one does.
            && !self.network.has_waiting_writer()
            && self.network.units_sent() == sent_before
        {
            let text = format!(
                "client {} is told that nobody knows what came of a request ({reason}), and its \
                 host has sent nothing since it was made",
                self.client
            );
            self.observer.report(Finding::new(
                Class::Violation,
                "never-sent-told-as-unknown",
                text,
            ));
        }
        result
    }

    async fn call_recorded(&self, ask: Ask) -> Result<Answer, CallError> {
        let input = record::request(&ask).expect("clients only do what a checker knows");
        match &self.port {
            Port::Retrying(client) => {
                let op = self.observer.called(self.client, input);
                let asked = self.observer.judge().asks(None);
                let result = client.call(ask.clone()).await;
                let result = self.observer.judged(&asked, &ask, result);
                self.observer
                    .ended(self.client, op, record::ending(&result));
                result
            }
            Port::Direct(direct) => self.call_once(direct, ask, input).await,
        }
    }

    /// The answer of a member, or that nobody knows because none has come in time.
    async fn answer(&self, session: &Session, ask: Ask) -> Result<Answer, CallError> {
        let connection = session.connection.clone();
        let called = connection.clone();
        let mut call = Box::pin(async move { called.call(ask).await });
        let in_time = tokio::select! {
            biased;
            result = &mut call => Some(result),
            () = self.clock.sleep(self.timeout) => None,
        };
        let account = session.account.clone();
        let clock = self.clock.clone();
        if let Some(result) = in_time {
            if let (Err(CallError::Unknown(_)), Some((accounts, opened))) = (&result, account) {
                veridical_env::task::spawn(accounts.answered(opened, connection, clock));
            }
            return result;
        }
        if let Some((accounts, opened)) = account {
            veridical_env::task::spawn(accounts.given_up(opened, connection, clock, call));
        }
        Err(CallError::Unknown(NO_ANSWER.to_owned()))
    }

    async fn call_once(
        &self,
        direct: &Direct,
        ask: Ask,
        input: Request,
    ) -> Result<Answer, CallError> {
        let session = match direct.session().await {
            Ok(session) => session,
            Err(error) => {
                // Called and certainly not done: worth a line in the history.
                let op = self.observer.called(self.client, input);
                self.observer.ended(self.client, op, Ending::Failed);
                return Err(error);
            }
        };
        let client = self.client + SESSIONS_PER_CLIENT * session.number;
        let op = self.observer.called(client, input);
        let asked = self.observer.judge().asks(Some(session.member));
        let result = self.answer(&session, ask.clone()).await;
        let result = self.observer.judged(&asked, &ask, result);
        self.observer.ended(client, op, record::ending(&result));
        match &result {
            Err(CallError::Unknown(_) | CallError::Unavailable(_)) => {
                direct.leave(session.number).await
            }
            // A member without a leader has nothing to offer.
            Err(CallError::Refused { .. })
                if matches!(
                    record::ending(&result),
                    Ending::Known(Outcome::Refused { .. })
                ) && self.client.is_multiple_of(2) =>
            {
                direct.leave(session.number).await;
            }
            _ => {}
        }
        result
    }
}
