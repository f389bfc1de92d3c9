//! The clients of a run: each does its planned operations one after the other and
//! records what came back.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use veridical_client::record::{self, Ending};
use veridical_client::{CallError, Client, ClientConfig, Connection};
use veridical_env::{Clock, Environment};
use veridical_histories::etcd::{Outcome, Request};
use veridical_probe::Planted;
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use veridical_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use veridical_proto::etcdserverpb::request_op::Request as TxnOp;
use veridical_proto::etcdserverpb::response_op::Response as TxnOpResult;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_sim::{SimClock, SimEnvironment, SimNetwork};

use crate::cluster::client_address;
use crate::observer::Observer;
use crate::plan::{HostPlan, Op, PlannedOp};
use crate::sessions::SESSIONS_PER_CLIENT;
use crate::watching::Reached;

/// Connecting to a member.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);

/// How long a client waits before it turns to another member.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);

/// Lease slots of a client.
const LEASE_SLOTS: usize = 2;

/// The key of a number.
pub fn key(number: u32) -> Bytes {
    format!("k{number:02}").into()
}

/// A host with its clients.
#[derive(Clone, Debug)]
pub struct Host {
    /// What they do.
    pub plan: HostPlan,
    /// Members of the cluster.
    pub members: u32,
    /// The number of its first client.
    pub first_client: u64,
    /// What is planted in the clients.
    pub planted: Planted,
}

/// Runs the clients of one host until all have done what they planned.
pub async fn run_host(
    environment: SimEnvironment,
    host: Arc<Host>,
    observer: Observer,
    audited: Reached,
    left: Arc<AtomicU64>,
) {
    let port = Port::new(&environment, &host.plan, host.members, host.planted);
    let lanes: Vec<_> = (0..host.plan.lanes.len())
        .map(|number| {
            let lane = Lane {
                client: host.first_client + number as u64,
                clock: environment.clock().clone(),
                port: port.clone(),
                observer: observer.clone(),
                audited: audited.clone(),
                memory: Memory::default(),
                timeout: Duration::from_millis(host.plan.request_timeout_ms),
            };
            let (host, left) = (Arc::clone(&host), Arc::clone(&left));
            veridical_env::task::spawn(async move {
                lane.run(&host.plan.lanes[number]).await;
                left.fetch_sub(1, Ordering::Relaxed);
            })
        })
        .collect();
    for lane in lanes {
        // A panic of a lane is a panic of the host's process, which the world reports.
        let _ = lane.await;
    }
}

/// How requests of a host reach a member.
#[derive(Clone)]
enum Port {
    /// With retries, over members in turn.
    Retrying(Client<SimNetwork, SimClock>),
    /// Each request once, on a connection that is replaced when it breaks.
    Direct(Arc<Direct>),
}

struct Direct {
    network: SimNetwork,
    clock: SimClock,
    members: u32,
    state: Mutex<DirectState>,
}

struct DirectState {
    member: u32,
    connection: Option<Connection>,
    /// Counts the connections: a new one is a new session.
    session: u64,
}

impl Direct {
    /// The present connection and its number, or a new one.
    async fn connection(&self) -> Result<(Connection, u64), CallError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection
            && !connection.is_closed()
        {
            return Ok((connection.clone(), state.session));
        }
        state.connection = None;
        let address = client_address(state.member);
        match Connection::open(&self.network, &self.clock, &address, CONNECT_TIMEOUT).await {
            Ok((connection, _watches)) => {
                state.session += 1;
                state.connection = Some(connection.clone());
                Ok((connection, state.session))
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
        if state.session == session && state.connection.take().is_some() {
            state.member = (state.member + 1) % self.members;
        }
    }
}

impl Port {
    fn new(environment: &SimEnvironment, plan: &HostPlan, members: u32, planted: Planted) -> Self {
        let (network, clock) = (environment.network().clone(), environment.clock().clone());
        if plan.retries {
            let config = ClientConfig {
                connect_timeout: CONNECT_TIMEOUT,
                request_timeout: Duration::from_millis(plan.request_timeout_ms),
                retry_delay: RECONNECT_DELAY,
                first_endpoint: plan.first_member as usize,
                planted,
                ..ClientConfig::new((0..members).map(client_address).collect())
            };
            return Self::Retrying(Client::new(network, clock, config));
        }
        let state = DirectState {
            member: plan.first_member,
            connection: None,
            session: 0,
        };
        Self::Direct(Arc::new(Direct {
            network,
            clock,
            members,
            state: Mutex::new(state),
        }))
    }
}

/// What a client remembers of the answers it got.
#[derive(Default)]
struct Memory {
    /// Revision of the last change of keys, 0 if a key is not there.
    mod_revisions: BTreeMap<Bytes, i64>,
    newest_revision: i64,
    leases: [i64; LEASE_SLOTS],
    written: u64,
    granted: u64,
}

impl Memory {
    fn learn(&mut self, answer: &Answer) {
        match answer {
            Answer::Range(range) => self.learn_range(range),
            Answer::Txn(txn) => {
                self.learn_revision(&txn.header);
                for response in &txn.responses {
                    if let Some(TxnOpResult::ResponseRange(range)) = &response.response {
                        self.learn_range(range);
                    }
                }
            }
            Answer::Put(put) => self.learn_revision(&put.header),
            Answer::DeleteRange(delete) => self.learn_revision(&delete.header),
            _ => {}
        }
    }

    fn learn_revision(&mut self, header: &Option<api::ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        self.newest_revision = self.newest_revision.max(revision);
    }

    fn learn_range(&mut self, range: &api::RangeResponse) {
        self.learn_revision(&range.header);
        for kv in &range.kvs {
            let known = self.mod_revisions.entry(kv.key.clone()).or_default();
            *known = (*known).max(kv.mod_revision);
        }
    }
}

/// One client.
struct Lane {
    client: u64,
    clock: SimClock,
    port: Port,
    observer: Observer,
    /// How far the watcher of everything has been shown what was written.
    audited: Reached,
    memory: Memory,
    timeout: Duration,
}

impl Lane {
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
            let Some(ask) = self.request(&planned.op) else {
                continue;
            };
            self.observer.begins(self.client, number);
            let result = self.call(ask).await;
            match &result {
                Ok(answer) => self.memory.learn(answer),
                // Members that are down refuse at once; do not hammer them.
                Err(_) => self.clock.sleep(RECONNECT_DELAY).await,
            }
        }
    }

    /// Does one request and records it.
    async fn call(&self, ask: Ask) -> Result<Answer, CallError> {
        let input = record::request(&ask).expect("clients only do what a checker knows");
        match &self.port {
            Port::Retrying(client) => {
                let op = self.observer.called(self.client, input);
                let result = client.call(ask).await;
                self.observer
                    .ended(self.client, op, record::ending(&result));
                result
            }
            Port::Direct(direct) => self.call_once(direct, ask, input).await,
        }
    }

    async fn call_once(
        &self,
        direct: &Direct,
        ask: Ask,
        input: Request,
    ) -> Result<Answer, CallError> {
        let (connection, session) = match direct.connection().await {
            Ok(connected) => connected,
            Err(error) => {
                // Called and certainly not done: worth a line in the history.
                let op = self.observer.called(self.client, input);
                self.observer.ended(self.client, op, Ending::Failed);
                return Err(error);
            }
        };
        let client = self.client + SESSIONS_PER_CLIENT * session;
        let op = self.observer.called(client, input);
        let result = tokio::select! {
            biased;
            result = connection.call(ask) => result,
            () = self.clock.sleep(self.timeout) => {
                Err(CallError::Unknown("no answer in time".to_owned()))
            }
        };
        self.observer.ended(client, op, record::ending(&result));
        match &result {
            Err(CallError::Unknown(_) | CallError::Unavailable(_)) => direct.leave(session).await,
            // A member without a leader has nothing to offer.
            Err(CallError::Refused { .. })
                if matches!(
                    record::ending(&result),
                    Ending::Known(Outcome::Refused { .. })
                ) && self.client.is_multiple_of(2) =>
            {
                direct.leave(session).await;
            }
            _ => {}
        }
        result
    }

    fn value(&mut self) -> Bytes {
        self.memory.written += 1;
        format!("{}.{}", self.client, self.memory.written).into()
    }

    /// What an operation is now, with what the client knows; `None` if it does not know
    /// enough.
    fn request(&mut self, op: &Op) -> Option<Ask> {
        Some(match *op {
            Op::Put {
                key: number,
                prev_kv,
                lease,
            } => {
                let lease = match lease {
                    Some(slot) => match self.memory.leases[usize::from(slot) % LEASE_SLOTS] {
                        0 => return None,
                        id => id,
                    },
                    None => 0,
                };
                let value = self.value();
                let put = api::PutRequest {
                    key: key(number),
                    value,
                    lease,
                    prev_kv,
                    ..Default::default()
                };
                Ask::Put(put)
            }
            Op::Get {
                key: number,
                serializable,
            } => Ask::Range(api::RangeRequest {
                key: key(number),
                serializable,
                ..Default::default()
            }),
            Op::Range {
                from,
                to,
                limit,
                back,
                count_only,
                keys_only,
                newest_first,
                serializable,
            } => {
                let revision = if back > 0 {
                    (self.memory.newest_revision - back).max(0)
                } else {
                    0
                };
                let mut range = api::RangeRequest {
                    key: key(from),
                    range_end: key(to),
                    limit,
                    revision,
                    count_only,
                    keys_only,
                    serializable,
                    ..Default::default()
                };
                if newest_first {
                    range.set_sort_order(SortOrder::Descend);
                    range.set_sort_target(SortTarget::Mod);
                }
                Ask::Range(range)
            }
            Op::CompareAndSwap { key: number } => {
                let mod_revision = self
                    .memory
                    .mod_revisions
                    .get(&key(number))
                    .copied()
                    .unwrap_or(0);
                let mut compare = api::Compare {
                    key: key(number),
                    target_union: Some(TargetUnion::ModRevision(mod_revision)),
                    ..Default::default()
                };
                compare.set_result(CompareResult::Equal);
                compare.set_target(CompareTarget::Mod);
                let value = self.value();
                Ask::Txn(api::TxnRequest {
                    compare: vec![compare],
                    success: vec![put_op(number, value)],
                    failure: vec![get_op(number)],
                })
            }
            Op::PutBoth { first, second } => {
                let value = self.value();
                Ask::Txn(api::TxnRequest {
                    compare: Vec::new(),
                    success: vec![put_op(first, value.clone()), put_op(second, value)],
                    failure: Vec::new(),
                })
            }
            Op::GetBoth { first, second } => Ask::Txn(api::TxnRequest {
                compare: Vec::new(),
                success: vec![get_op(first), get_op(second)],
                failure: Vec::new(),
            }),
            Op::Delete {
                key: number,
                prev_kv,
            } => Ask::DeleteRange(api::DeleteRangeRequest {
                key: key(number),
                range_end: Bytes::new(),
                prev_kv,
            }),
            Op::DeleteRange { from, to } => Ask::DeleteRange(api::DeleteRangeRequest {
                key: key(from),
                range_end: key(to),
                prev_kv: false,
            }),
            // What nobody has been shown is not compacted: nobody could tell any more which
            // of the writes with unknown outcomes took effect.
            Op::Compact { back } => {
                match (self.memory.newest_revision - back).min(self.audited.revision()) {
                    revision if revision > 0 => Ask::Compaction(api::CompactionRequest {
                        revision,
                        physical: false,
                    }),
                    _ => return None,
                }
            }
            Op::LeaseGrant { slot, ttl_s } => {
                self.memory.granted += 1;
                let id = (self.client as i64 + 1) * 1_000 + self.memory.granted as i64;
                self.memory.leases[usize::from(slot) % LEASE_SLOTS] = id;
                Ask::LeaseGrant(api::LeaseGrantRequest { id, ttl: ttl_s })
            }
            Op::LeaseKeepAlive { slot } => {
                match self.memory.leases[usize::from(slot) % LEASE_SLOTS] {
                    0 => return None,
                    id => Ask::LeaseKeepAlive(api::LeaseKeepAliveRequest { id }),
                }
            }
            Op::LeaseRevoke { slot } => {
                match std::mem::take(&mut self.memory.leases[usize::from(slot) % LEASE_SLOTS]) {
                    0 => return None,
                    id => Ask::LeaseRevoke(api::LeaseRevokeRequest { id }),
                }
            }
        })
    }
}

fn put_op(number: u32, value: Bytes) -> api::RequestOp {
    let put = api::PutRequest {
        key: key(number),
        value,
        ..Default::default()
    };
    api::RequestOp {
        request: Some(TxnOp::RequestPut(put)),
    }
}

fn get_op(number: u32) -> api::RequestOp {
    let get = api::RangeRequest {
        key: key(number),
        ..Default::default()
    };
    api::RequestOp {
        request: Some(TxnOp::RequestRange(get)),
    }
}
