//! Callers of one client whose calls travel in batches, and who do not wait for one before
//! they make the next.
//!
//! That each answer is right is for the checker to say. What it cannot say is the order: calls
//! that are open at the same time may take effect in any. A caller was promised more, so the
//! law here is: of the calls that a caller made one after the other, each later one is
//! answered as of the revision of the earlier ones or a later one, and writes each as of one
//! of their own. Some give a call up before it is answered, which changes nothing for others.

use bytes::Bytes;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use veridical_client::{BatchLimits, CallError, Client, ClientConfig, Pipelined, record};
use veridical_env::Environment;
use veridical_harness::report::{Class, Finding};
use veridical_histories::OperationId;
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::request_op::Request as Op;
use veridical_proto::etcdserverpb::response_op::Response as OpAnswer;
use veridical_proto::native::batch_operation::Operation;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_world::{Rng, SimClock, SimEnvironment, SimNetwork, Stream, World};

use crate::cluster::client_address;
use crate::observer::Observer;
use crate::plan::Plan;
use crate::sessions::{BATCH_CLIENT, BATCH_NAME};

/// How many keys there are: few, so that calls of a batch meet. They are those of everybody,
/// so that a watcher sees which writes took effect whose callers were not told.
const KEYS: u64 = 4;

/// Callers of a round.
const CALLERS: (u64, u64) = (2, 5);

/// How often each of them makes many calls, and how many.
const TURNS: (u64, u64) = (1, 4);
const CALLS: (u64, u64) = (1, 6);

/// Of the turns, those in which the calls are one batch already.
const EXPLICIT_SHARE: f64 = 0.3;

/// A call is given up early by so many.
const IMPATIENT_SHARE: f64 = 0.1;

/// A call with all its retries.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Connecting to a member.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);

/// Before a retry.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// A lease that nobody grants: a put with it is refused.
const NO_LEASE: i64 = 0x6e6f_6e65;

type BatchingClient = Client<Pipelined<SimNetwork>, SimClock>;
type Called = Result<Answer, CallError>;

/// The machine of these callers.
#[derive(Clone)]
pub struct BatchCallers {
    world: World,
    observer: Observer,
    environment: SimEnvironment,
    plan: Arc<Plan>,
}

impl BatchCallers {
    /// Callers on a machine of their own.
    pub fn new(world: World, observer: Observer, plan: Arc<Plan>) -> Self {
        Self {
            environment: world.add_host(BATCH_NAME),
            world,
            observer,
            plan,
        }
    }

    /// Begins each round at its time.
    pub async fn run(self) {
        let mut draws = self.world.rng(Stream::Workload).fork();
        let plan = Arc::clone(&self.plan);
        for (number, at_ms) in plan.batch_rounds.iter().enumerate() {
            self.observer
                .wait_until(Duration::from_millis(*at_ms))
                .await;
            self.round(number, draws.fork()).await;
        }
    }

    async fn round(&self, number: usize, mut rng: Rng) {
        let client = self.client(&mut rng);
        let callers: Vec<_> = (0..rng.between(CALLERS.0, CALLERS.1))
            .map(|caller| {
                let caller = Caller {
                    host: self.clone(),
                    client: client.clone(),
                    first_session: BATCH_CLIENT + caller * CALLS.1,
                    name: format!("batch.{number}.{caller}"),
                };
                let rng = rng.fork();
                self.world.spawn(caller.run(rng))
            })
            .collect();
        for caller in callers {
            // A panic of one is a panic of the run.
            let _ = caller.await;
        }
    }

    /// One of the first few keys that somebody watches.
    fn key(&self, rng: &mut Rng) -> Bytes {
        let watched = self.plan.watchers.first().map(|watcher| watcher.keys);
        let (first, end) = watched.unwrap_or((0, 1));
        let count = u64::from(end - first).min(KEYS);
        self.plan.keyspace.key(first + rng.below(count) as u32)
    }

    fn client(&self, rng: &mut Rng) -> BatchingClient {
        let limits = BatchLimits {
            operations_max: [1, 2, 5, 64][rng.index(4)],
            bytes_max: [64, 500, 100_000][rng.index(3)],
            in_flight_max: rng.between(1, 3) as usize,
            delay_max: Duration::from_millis(rng.below(10)),
            waiting_max: [2, 16, 1_000][rng.index(3)],
        };
        let config = ClientConfig {
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            retry_delay: RETRY_DELAY,
            silence_timeout: Duration::from_millis([100, 400, 1_000][rng.index(3)]),
            first_endpoint: rng.index(self.plan.members as usize),
            batching: Some(limits),
            jitter_seed: rng.next_u64(),
            planted: self.plan.planted(),
            ..ClientConfig::new((0..self.plan.sites()).map(client_address).collect())
        };
        let connector = Pipelined::new(self.environment.network().clone());
        Client::new(connector, self.environment.clock().clone(), config)
    }
}

/// One caller of a round.
struct Caller {
    host: BatchCallers,
    client: BatchingClient,
    /// Each of the calls that are open at the same time is a session of the history.
    first_session: u64,
    name: String,
}

impl Caller {
    async fn run(self, mut rng: Rng) {
        for turn in 0..rng.between(TURNS.0, TURNS.1) {
            let asks: Vec<Ask> = (0..rng.between(CALLS.0, CALLS.1))
                .map(|call| {
                    let key = self.host.key(&mut rng);
                    request(&mut rng, key, &format!("{}.{turn}.{call}", self.name))
                })
                .collect();
            let results = match rng.chance(EXPLICIT_SHARE) {
                true => self.batch(&asks).await,
                false => self.calls(&asks, &mut rng).await,
            };
            if let Some(text) = out_of_order(&asks, &results) {
                self.host
                    .observer
                    .report(Finding::new(Class::Violation, "caller-order", text));
            }
        }
    }

    /// One call after the other, none of them waited for before the next is made.
    async fn calls(&self, asks: &[Ask], rng: &mut Rng) -> Vec<Called> {
        let calls = asks.iter().enumerate().map(|(place, ask)| {
            let patience = match rng.chance(IMPATIENT_SHARE) {
                true => Duration::from_micros(rng.exponential(20_000)),
                false => 2 * REQUEST_TIMEOUT,
            };
            self.call(place, ask, patience)
        });
        all(calls.collect()).await
    }

    async fn call(&self, place: usize, ask: &Ask, patience: Duration) -> Called {
        let (client, op) = self.called(place, ask);
        let asked = self.host.observer.judge().asks(None);
        let result = tokio::select! {
            biased;
            result = self.client.call(ask.clone()) => result,
            () = self.host.world.sleep(patience) => {
                Err(CallError::Unknown("given up".to_owned()))
            }
        };
        let result = self.host.observer.judged(&asked, ask, result);
        self.host
            .observer
            .ended(client, op, record::ending(&result));
        result
    }

    /// All of them as one batch.
    async fn batch(&self, asks: &[Ask]) -> Vec<Called> {
        let ops: Vec<_> = asks
            .iter()
            .enumerate()
            .map(|(place, ask)| self.called(place, ask))
            .collect();
        let asked: Vec<_> = asks
            .iter()
            .map(|_| self.host.observer.judge().asks(None))
            .collect();
        let results = self.client.batch(asks.iter().map(operation)).await;
        assert_eq!(results.len(), asks.len(), "each operation has a result");
        let results = results.into_iter().zip(asks).zip(&asked);
        let results: Vec<_> = results
            .map(|((result, ask), asked)| self.host.observer.judged(asked, ask, result))
            .collect();
        for ((client, op), result) in ops.into_iter().zip(&results) {
            self.host.observer.ended(client, op, record::ending(result));
        }
        results
    }

    fn called(&self, place: usize, ask: &Ask) -> (u64, OperationId) {
        let client = self.first_session + place as u64;
        let input = record::request(ask).expect("what these callers ask is an operation");
        (client, self.host.observer.called(client, input))
    }
}

/// A request on a key.
fn request(rng: &mut Rng, key: Bytes, value: &str) -> Ask {
    let put = api::PutRequest {
        key: key.clone(),
        value: value.to_owned().into(),
        prev_kv: rng.chance(0.3),
        ..Default::default()
    };
    match rng.below(20) {
        0..=9 => Ask::Put(put),
        10..=15 => Ask::Range(api::RangeRequest {
            key,
            ..Default::default()
        }),
        16 | 17 => Ask::DeleteRange(api::DeleteRangeRequest {
            key,
            prev_kv: rng.chance(0.5),
            ..Default::default()
        }),
        18 => Ask::Put(api::PutRequest {
            lease: NO_LEASE,
            ..put
        }),
        _ => Ask::Txn(api::TxnRequest {
            success: vec![
                api::RequestOp {
                    request: Some(Op::RequestRange(api::RangeRequest {
                        key,
                        ..Default::default()
                    })),
                },
                api::RequestOp {
                    request: Some(Op::RequestPut(put)),
                },
            ],
            ..Default::default()
        }),
    }
}

fn operation(ask: &Ask) -> Operation {
    match ask.clone() {
        Ask::Range(range) => Operation::Range(range),
        Ask::Put(put) => Operation::Put(put),
        Ask::DeleteRange(delete) => Operation::DeleteRange(delete),
        Ask::Txn(txn) => Operation::Txn(txn),
        other => unreachable!("these callers do not ask {other:?}"),
    }
}

/// Which calls of a caller took effect in another order than they were made, if any did.
fn out_of_order(asks: &[Ask], results: &[Called]) -> Option<String> {
    let mut last = 0;
    for (place, (ask, result)) in asks.iter().zip(results).enumerate() {
        let Some((revision, writes)) = result.as_ref().ok().and_then(took_effect) else {
            continue;
        };
        if revision < last || writes && revision == last {
            return Some(format!(
                "call {place} of a caller was answered as of revision {revision}, and an earlier \
                 one as of {last}: {ask:?}"
            ));
        }
        last = revision;
    }
    None
}

/// The revision of an answer, and whether it is the answer's own.
fn took_effect(answer: &Answer) -> Option<(i64, bool)> {
    let (header, writes) = match answer {
        Answer::Put(put) => (&put.header, true),
        Answer::Range(range) => (&range.header, false),
        Answer::DeleteRange(delete) => (&delete.header, delete.deleted > 0),
        Answer::Txn(txn) => {
            let mut answers = txn.responses.iter();
            let writes =
                answers.any(|answer| matches!(answer.response, Some(OpAnswer::ResponsePut(_))));
            (&txn.header, writes)
        }
        other => unreachable!("these callers are not answered with {other:?}"),
    };
    Some((header.as_ref()?.revision, writes))
}

/// Waits for all of them; they begin in their order.
async fn all<F: Future>(calls: Vec<F>) -> Vec<F::Output> {
    let mut calls: Vec<Pin<Box<F>>> = calls.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<F::Output>> = calls.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (call, result) in calls.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(output) = call.as_mut().poll(context)
            {
                *result = Some(output);
            }
        }
        match results.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(revision: i64) -> Option<api::ResponseHeader> {
        Some(api::ResponseHeader {
            revision,
            ..Default::default()
        })
    }

    fn put(revision: i64) -> Called {
        Ok(Answer::Put(api::PutResponse {
            header: header(revision),
            ..Default::default()
        }))
    }

    fn read(revision: i64) -> Called {
        Ok(Answer::Range(api::RangeResponse {
            header: header(revision),
            ..Default::default()
        }))
    }

    #[test]
    fn answers_of_a_caller_go_on_and_its_writes_go_further() {
        let asks: Vec<Ask> = (0..4).map(|_| Ask::Put(Default::default())).collect();
        let law = |results: [Called; 4]| out_of_order(&asks, &results);
        assert_eq!(law([put(2), read(2), read(5), put(6)]), None);
        let lost = || Err(CallError::Unknown("lost".to_owned()));
        assert_eq!(law([put(2), lost(), lost(), put(3)]), None);
        assert!(law([put(3), put(2), read(3), read(3)]).is_some());
        assert!(law([put(3), put(3), read(3), read(3)]).is_some());
        assert!(law([put(2), lost(), read(1), read(3)]).is_some());
    }
}
