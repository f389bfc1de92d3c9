//! Callers of a sharded client, and the small clusters that have its shards: members alone,
//! which crash now and then and come back.
//!
//! Each shard has a history of its own, since their revisions have nothing to do with each
//! other, and a checker for it. What no history of one shard can show is checked besides: that
//! a range over shards has the order, the limit and the counts that were asked for, and that
//! no transaction takes place over two of them.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use veridical_checkers::etcd::{EtcdChecker, EtcdOptions};
use veridical_checkers::{Rejection, Verdict};
use veridical_client::record::{self, Ending};
use veridical_client::{
    BatchLimits, CallError, Client, ClientConfig, MergedRange, Pipelined, Placement, PutOptions,
    ShardedClient, Txn,
};
use veridical_env::{Environment, Network};
use veridical_harness::object_recorder::violation_finding;
use veridical_harness::report::{Class, Finding};
use veridical_histories::{Event, OperationId};
use veridical_node::sessions::accept_clients;
use veridical_node::{DataFormat, Limits, Node, NodeConfig};
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::request_op::Request as Op;
use veridical_proto::native::batch_operation::Operation;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_world::{
    CrashKind, Fault, ProcessId, Rng, SimClock, SimEnvironment, SimNetwork, Stream, World,
};

use crate::observer::Observer;
use crate::plan::Plan;

/// Shards of a run.
const SHARDS: (u64, u64) = (2, 3);

/// Keys of all shards together.
const KEYS: u64 = 10;

/// Callers of a round, and how much each of them does.
const CALLERS: (u64, u64) = (1, 3);
const STEPS: (u64, u64) = (2, 6);

/// Operations of a batch.
const BATCH: (u64, u64) = (2, 6);

/// Rounds in which a shard crashes.
const CRASH_SHARE: f64 = 0.3;

/// Until then, and until it is back, on average, in ms.
const CRASH_MEAN_MS: u64 = 40;

/// Operations of a caller that are open at the same time have sessions of their own.
const SESSIONS_PER_CALLER: u64 = 16;

/// A request with its retries.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The machine of the callers.
const CALLERS_NAME: &str = "sharded-callers";

/// Until a shard that has ended by itself is started again.
const RESTART_DELAY: Duration = Duration::from_millis(50);

/// gRPC's `INVALID_ARGUMENT`.
const CODE_INVALID_ARGUMENT: u32 = 3;

type Sharded = ShardedClient<Pipelined<SimNetwork>, SimClock>;
type Called = Result<Answer, CallError>;

/// The callers and the shards.
#[derive(Clone)]
pub struct ShardedCallers {
    world: World,
    observer: Observer,
    environment: SimEnvironment,
    plan: Arc<Plan>,
    shards: Vec<Shard>,
    /// The seed of the keys' placement, the same in all rounds.
    placement_seed: u64,
}

/// A cluster of one member.
#[derive(Clone)]
struct Shard {
    process: ProcessId,
    history: Arc<Mutex<ShardHistory>>,
}

impl ShardedCallers {
    /// Starts the shards, and callers on a machine of their own.
    pub fn start(world: World, observer: Observer, plan: Arc<Plan>) -> (Self, Rng) {
        let mut rng = world.rng(Stream::Workload).fork();
        let planted = plan.planted();
        let shards = (0..rng.between(SHARDS.0, SHARDS.1) as usize).map(|number| {
            let process = world.add_process(&shard_name(number), move |environment| {
                run_shard(environment, number, planted)
            });
            Shard {
                process,
                history: Arc::default(),
            }
        });
        let shards = shards.collect();
        let callers = Self {
            environment: world.add_host(CALLERS_NAME),
            placement_seed: rng.next_u64(),
            shards,
            world,
            observer,
            plan,
        };
        (callers, rng)
    }

    /// Begins each round at its time; at the end the histories are judged.
    pub async fn run(self, mut rng: Rng) {
        let supervisors: Vec<_> = self
            .shards
            .iter()
            .map(|shard| {
                let supervised = supervise(self.world.clone(), shard.process);
                self.world.spawn(supervised)
            })
            .collect();
        let plan = Arc::clone(&self.plan);
        for (number, at_ms) in plan.shard_rounds.iter().enumerate() {
            self.observer
                .wait_until(Duration::from_millis(*at_ms))
                .await;
            self.round(number, rng.fork()).await;
        }
        for supervisor in supervisors {
            supervisor.abort();
        }
        for shard in &self.shards {
            let finding = shard.history().finish();
            self.report(finding);
        }
    }

    fn report(&self, finding: Option<Finding>) {
        if let Some(finding) = finding {
            self.observer.report(finding);
        }
    }

    async fn round(&self, number: usize, mut rng: Rng) {
        let client = self.client(&mut rng);
        if rng.chance(CRASH_SHARE) {
            let shard = &self.shards[rng.index(self.shards.len())];
            let world = self.world.clone();
            let after = Duration::from_millis(rng.exponential(CRASH_MEAN_MS));
            let crash = Fault::Crash {
                process: shard.process,
                kind: match rng.chance(0.5) {
                    true => CrashKind::PowerLoss,
                    false => CrashKind::Kill,
                },
                restart_after_ms: Some(rng.exponential(CRASH_MEAN_MS)),
            };
            self.world.spawn(async move {
                world.sleep(after).await;
                world.inject(&crash);
            });
        }
        let callers: Vec<_> = (0..rng.between(CALLERS.0, CALLERS.1))
            .map(|caller| {
                let caller = Caller {
                    host: self.clone(),
                    client: client.clone(),
                    first_session: caller * SESSIONS_PER_CALLER,
                    name: format!("shard.{number}.{caller}"),
                };
                self.world.spawn(caller.run(rng.fork()))
            })
            .collect();
        for caller in callers {
            // A panic of one is a panic of the run.
            let _ = caller.await;
        }
        self.look_at_ranges(&client, &mut rng).await;
    }

    /// While nobody writes, a range with a limit is the beginning of the one without.
    async fn look_at_ranges(&self, client: &Sharded, rng: &mut Rng) {
        let (descend, by_version) = (rng.chance(0.5), rng.chance(0.3));
        let whole = api::RangeRequest {
            sort_order: if descend { 2 } else { 1 },
            sort_target: i32::from(by_version),
            ..everything()
        };
        let limited = api::RangeRequest {
            limit: rng.between(1, KEYS) as i64,
            ..whole.clone()
        };
        let (Ok(all), Ok(first)) = (
            client.range(whole).await,
            client.range(limited.clone()).await,
        ) else {
            return;
        };
        // A write whose caller gave up may have come in between.
        let revisions = |range: &MergedRange| -> Vec<i64> {
            let headers = range.parts.iter().filter_map(|part| part.header.as_ref());
            headers.map(|header| header.revision).collect()
        };
        if revisions(&all) != revisions(&first) {
            return;
        }
        self.observer.count("shards.ranges-compared");
        self.report(
            wrong_range(&all, &first, &limited)
                .map(|text| Finding::new(Class::Violation, "range-over-shards", text)),
        );
    }

    fn client(&self, rng: &mut Rng) -> Sharded {
        let batching = rng.chance(0.5).then(|| BatchLimits {
            operations_max: [1, 3, 100][rng.index(3)],
            in_flight_max: rng.between(1, 2) as usize,
            ..BatchLimits::default()
        });
        let shards = (0..self.shards.len()).map(|number| {
            let config = ClientConfig {
                request_timeout: REQUEST_TIMEOUT,
                batching,
                jitter_seed: rng.next_u64(),
                planted: self.plan.planted(),
                ..ClientConfig::new(vec![client_address(number)])
            };
            let connector = Pipelined::new(self.environment.network().clone());
            Client::new(connector, self.environment.clock().clone(), config)
        });
        ShardedClient::new(shards.collect(), self.placement_seed)
    }
}

/// What is wrong with a range with a limit, beside the whole one.
fn wrong_range(
    all: &MergedRange,
    first: &MergedRange,
    limited: &api::RangeRequest,
) -> Option<String> {
    let limit = limited.limit as usize;
    let key = |place: usize| all.kvs.get(place).map(|kv| &kv.key);
    let descends = limited.sort_order == 2;
    let by_key = limited.sort_target == 0;
    let is_sorted = all.kvs.is_sorted_by(|a, b| match (by_key, descends) {
        (true, false) => a.key < b.key,
        (true, true) => a.key > b.key,
        (false, false) => a.version <= b.version,
        (false, true) => a.version >= b.version,
    });
    let is_beginning = first.kvs[..] == all.kvs[..limit.min(all.kvs.len())];
    let is_counted = all.count == all.kvs.len() as i64 && first.count == all.count;
    let tells_more = first.more == (limit < all.kvs.len()) && !all.more;
    if is_sorted && is_beginning && is_counted && tells_more {
        return None;
    }
    Some(format!(
        "a range of {} keys from {:?} over shards, sorted: {is_sorted}, its first {limit} the \
         same: {is_beginning}, counted: {is_counted}, more told: {tells_more}",
        all.kvs.len(),
        key(0)
    ))
}

fn everything() -> api::RangeRequest {
    api::RangeRequest {
        key: vec![0].into(),
        range_end: vec![0].into(),
        ..Default::default()
    }
}

/// One caller of a round.
struct Caller {
    host: ShardedCallers,
    client: Sharded,
    first_session: u64,
    name: String,
}

impl Caller {
    async fn run(self, mut rng: Rng) {
        for step in 0..rng.between(STEPS.0, STEPS.1) {
            let name = format!("{}.{step}", self.name);
            match rng.below(8) {
                0..=2 => self.batch(&mut rng, &name).await,
                3 => self.range().await,
                4 => self.txn(&mut rng, &name).await,
                _ => self.one(&mut rng, &name).await,
            }
        }
    }

    fn placement(&self) -> Placement {
        self.client.placement()
    }

    /// An operation of one shard.
    async fn one(&self, rng: &mut Rng, name: &str) {
        let operation = operation(rng, name);
        let ask = record::ask(operation);
        let called = self.called(0, &ask);
        let result = match ask {
            Ask::Put(put) => {
                let options = match put.prev_kv {
                    true => PutOptions::new().with_prev_kv(),
                    false => PutOptions::new(),
                };
                let answer = self.client.put(put.key, put.value, options).await;
                answer.map(Answer::Put)
            }
            Ask::Range(range) => self.client.range(range).await.map(|merged| {
                let part = merged.parts.into_iter().next();
                let part = part.expect("the shard of a key has answered");
                Answer::Range(api::RangeResponse {
                    header: part.header,
                    kvs: merged.kvs,
                    more: merged.more,
                    count: merged.count,
                })
            }),
            Ask::DeleteRange(delete) => {
                let mut answers = self.client.delete_range(delete).await;
                let (_, answer) = answers.pop().expect("the shard of a key has answered");
                answer.map(Answer::DeleteRange)
            }
            other => unreachable!("no caller asks {other:?}"),
        };
        self.ended(called, &result);
    }

    /// Many at once.
    async fn batch(&self, rng: &mut Rng, name: &str) {
        let operations: Vec<_> = (0..rng.between(BATCH.0, BATCH.1))
            .map(|number| operation(rng, &format!("{name}.{number}")))
            .collect();
        let called: Vec<_> = operations
            .iter()
            .enumerate()
            .map(|(place, operation)| self.called(place, &record::ask(operation.clone())))
            .collect();
        let results = self.client.batch(operations).await;
        assert_eq!(results.len(), called.len(), "each operation has a result");
        for (called, result) in called.into_iter().zip(&results) {
            self.ended(called, result);
        }
    }

    /// All keys of all shards.
    async fn range(&self) {
        let ask = Ask::Range(everything());
        let called: Vec<_> = (0..self.host.shards.len())
            .map(|shard| self.called_at(shard, 0, &ask))
            .collect();
        let result = self.client.range(everything()).await;
        for (shard, called) in called.into_iter().enumerate() {
            let part = match &result {
                Err(error) => Err(error.clone()),
                Ok(merged) => Ok(self.part(merged, shard)),
            };
            self.ended(called, &part);
        }
    }

    /// What a shard has told for a range over all of them.
    fn part(&self, merged: &MergedRange, shard: usize) -> Answer {
        let placement = self.placement();
        let own = merged.kvs.iter();
        let own = own.filter(|kv| placement.shard_of(&kv.key) == shard);
        Answer::Range(api::RangeResponse {
            header: merged.parts[shard].header,
            kvs: own.cloned().collect(),
            more: merged.more,
            count: merged.parts[shard].count,
        })
    }

    /// A transaction on two keys: it takes place if they are of one shard, and is refused
    /// otherwise.
    async fn txn(&self, rng: &mut Rng, name: &str) {
        let (first, second) = (key(rng), key(rng));
        if first == second {
            return;
        }
        let put = |key: &str| api::RequestOp {
            request: Some(Op::RequestPut(api::PutRequest {
                key: key.to_owned().into(),
                value: name.to_owned().into(),
                ..Default::default()
            })),
        };
        let txn = api::TxnRequest {
            success: vec![put(&first), put(&second)],
            ..Default::default()
        };
        let shard = |key: &str| self.placement().shard_of(key.as_bytes());
        if shard(&first) == shard(&second) {
            let ask = Ask::Txn(txn.clone());
            let called = self.called_at(shard(&first), 0, &ask);
            let result = self.client.txn(Txn::from(txn)).await.map(Answer::Txn);
            self.ended(called, &result);
            return;
        }
        let result = self.client.txn(Txn::from(txn)).await;
        let is_refused = matches!(
            &result,
            Err(CallError::Refused { code, .. }) if *code == CODE_INVALID_ARGUMENT
        );
        if !is_refused {
            let text = format!("of the shards of {first:?} and {second:?}: {result:?}");
            self.host.report(Some(Finding::new(
                Class::Violation,
                "txn-across-shards",
                text,
            )));
        }
    }

    /// An operation begins in the shard of its key.
    fn called(&self, place: usize, ask: &Ask) -> CalledAt {
        let key = match ask {
            Ask::Put(put) => &put.key,
            Ask::Range(range) => &range.key,
            Ask::DeleteRange(delete) => &delete.key,
            other => unreachable!("no caller asks {other:?}"),
        };
        self.called_at(self.placement().shard_of(key), place, ask)
    }

    fn called_at(&self, shard: usize, place: usize, ask: &Ask) -> CalledAt {
        let session = self.first_session + place as u64;
        let input = record::request(ask).expect("what is asked of shards is an operation");
        let mut history = self.host.shards[shard].history();
        let op = OperationId(history.operations);
        history.operations += 1;
        let finding = history.observe(&Event::call(self.now_ns(), session, op, input));
        drop(history);
        self.host.report(finding);
        CalledAt { shard, session, op }
    }

    fn ended(&self, called: CalledAt, result: &Called) {
        let CalledAt { shard, session, op } = called;
        let now_ns = self.now_ns();
        let event = match record::ending(result) {
            Ending::Known(outcome) => Event::returned(now_ns, session, op, outcome),
            Ending::Unknown => Event::unknown(now_ns, session, op),
            Ending::Failed => Event::failed(now_ns, session, op),
        };
        let finding = self.host.shards[shard].history().observe(&event);
        self.host.report(finding);
    }

    fn now_ns(&self) -> u64 {
        self.host.world.now().as_nanos() as u64
    }
}

/// An operation that has begun in a shard.
struct CalledAt {
    shard: usize,
    session: u64,
    op: OperationId,
}

fn key(rng: &mut Rng) -> String {
    format!("s{}", rng.below(KEYS))
}

fn operation(rng: &mut Rng, value: &str) -> Operation {
    let key = key(rng).into();
    match rng.below(10) {
        0..=4 => Operation::Put(api::PutRequest {
            key,
            value: value.to_owned().into(),
            prev_kv: rng.chance(0.3),
            ..Default::default()
        }),
        5..=8 => Operation::Range(api::RangeRequest {
            key,
            ..Default::default()
        }),
        _ => Operation::DeleteRange(api::DeleteRangeRequest {
            key,
            ..Default::default()
        }),
    }
}

/// What happened at a shard, checked while it happens.
struct ShardHistory {
    checker: EtcdChecker,
    operations: u64,
}

impl Default for ShardHistory {
    fn default() -> Self {
        Self {
            checker: EtcdChecker::new(EtcdOptions::default()),
            operations: 0,
        }
    }
}

impl Shard {
    fn history(&self) -> MutexGuard<'_, ShardHistory> {
        self.history
            .lock()
            .expect("no panic while a history is locked")
    }
}

impl ShardHistory {
    fn observe(&mut self, event: &veridical_histories::etcd::EtcdEvent) -> Option<Finding> {
        match self.checker.observe(event) {
            Ok(()) => None,
            Err(Rejection::Violation(violation)) => Some(violation_finding(&violation)),
            Err(Rejection::Malformed(malformed)) => Some(Finding::new(
                Class::Violation,
                "answer-of-another-kind",
                format!("the history of a shard makes no sense: {malformed}"),
            )),
        }
    }

    fn finish(&mut self) -> Option<Finding> {
        match self.checker.finish() {
            Verdict::Ok => None,
            Verdict::Violation(violation) => Some(violation_finding(&violation)),
            Verdict::Unknown(unknown) => Some(Finding::new(
                Class::Unknown,
                "shard-undecided",
                unknown.to_string(),
            )),
        }
    }
}

fn shard_name(number: usize) -> String {
    format!("shard-{}", number + 1)
}

fn client_address(number: usize) -> String {
    format!("{}:2379", shard_name(number))
}

/// Why a shard's process ended.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard}: {reason}")]
struct ShardExit {
    shard: usize,
    reason: String,
}

/// The process of a shard: a member alone.
async fn run_shard(
    environment: SimEnvironment,
    shard: usize,
    planted: veridical_planted::Planted,
) -> Result<(), ShardExit> {
    let exit = |reason: String| ShardExit { shard, reason };
    let name = shard_name(shard);
    let member = api::Member {
        id: 1,
        name: name.clone(),
        peer_ur_ls: vec![format!("http://{name}:2380")],
        ..Default::default()
    };
    let config = NodeConfig {
        member_id: 1,
        cluster_id: 0x5ad + shard as u64,
        initial_members: [(1, member)].into(),
        attributes: Default::default(),
        join: false,
        force_new_cluster: false,
        data_dir: "/data".into(),
        listen_peer_address: format!("{name}:2380"),
        limits: Limits::default(),
        data_format: DataFormat::default(),
        planted,
        observer: None,
    };
    let node = Node::start(environment.clone(), config).await;
    let node = node.map_err(|error| exit(error.to_string()))?;
    let listener = environment.network().listen(&client_address(shard)).await;
    let listener = listener.map_err(|error| exit(error.to_string()))?;
    veridical_env::task::spawn(accept_clients(node.clone(), listener));
    Err(exit(node.stopped().await.to_string()))
}

/// Starts a shard again whenever it has ended.
async fn supervise(world: World, process: ProcessId) {
    loop {
        world.exited(process).await;
        world.sleep(RESTART_DELAY).await;
        if !world.is_running(process) {
            world.restart(process);
            world.sleep(RESTART_DELAY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_proto::mvccpb::KeyValue;

    fn range(keys: &[&str], more: bool, count: i64) -> MergedRange {
        let kv = |key: &&str| KeyValue {
            key: (*key).to_owned().into(),
            ..Default::default()
        };
        MergedRange {
            kvs: keys.iter().map(kv).collect(),
            more,
            count,
            parts: Vec::new(),
        }
    }

    #[test]
    fn a_range_with_a_limit_is_the_beginning_of_the_whole() {
        let limited = api::RangeRequest {
            limit: 2,
            sort_order: 1,
            ..Default::default()
        };
        let all = range(&["a", "b", "c"], false, 3);
        let wrong = |first: MergedRange| wrong_range(&all, &first, &limited).is_some();
        assert!(!wrong(range(&["a", "b"], true, 3)));
        assert!(wrong(range(&["a", "c"], true, 3)));
        assert!(wrong(range(&["a", "b"], false, 3)));
        assert!(wrong(range(&["a", "b"], true, 2)));
        let unsorted = range(&["a", "c", "b"], false, 3);
        assert!(wrong_range(&unsorted, &range(&["a", "c"], true, 3), &limited).is_some());
    }
}
