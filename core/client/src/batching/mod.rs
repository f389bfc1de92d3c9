//! Operations of many callers in few round trips.
//!
//! `queue` decides which operations go together, `send` sends them and gives each its own
//! outcome; this file is the task between both and the callers.

mod queue;
mod send;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use veridical_env::Clock;
use veridical_planted::PlantedBug;
use veridical_probe::reachable;
use veridical_proto::native::batch_operation::Operation;
use veridical_proto::native::request::Body as RequestBody;
use veridical_proto::native::response::Body as ResponseBody;

use crate::connection::CallError;
use crate::connector::Connector;
use crate::core::{Core, is_repeatable_operation};

pub use queue::BatchLimits;
use queue::{BatchQueue, Lane, Sent, Waiting};
pub(crate) use send::send_all;
use send::send_batch;

/// What became of an operation.
pub(crate) type Outcome = Result<ResponseBody, CallError>;

/// Operations that were handed over and not looked at yet.
const HANDED_OVER_MAX: usize = 1_024;

/// An operation and its caller.
pub(crate) struct Queued {
    operation: Operation,
    fate: Arc<Fate>,
    reply: oneshot::Sender<Outcome>,
}

/// Whether an operation was sent or given up, whichever came first.
#[derive(Default)]
pub(crate) struct Fate(AtomicU8);

impl Fate {
    const WAITS: u8 = 0;
    const SENT: u8 = 1;
    const GIVEN_UP: u8 = 2;

    fn change(&self, from: u8, to: u8) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// It is about to be sent, perhaps once more. Returns whether it still may.
    pub(crate) fn send(&self) -> bool {
        self.change(Self::WAITS, Self::SENT) || self.0.load(Ordering::SeqCst) == Self::SENT
    }

    /// Nobody has taken it: it waits again.
    pub(crate) fn take_back(&self) {
        self.change(Self::SENT, Self::WAITS);
    }

    /// Its caller gives it up. Returns whether it certainly has had no effect.
    fn give_up(&self) -> bool {
        self.change(Self::WAITS, Self::GIVEN_UP)
    }
}

/// The way into the batches of a client; the task that makes them ends with the last clone.
#[derive(Clone)]
pub(crate) struct Batcher {
    operations: mpsc::Sender<Waiting<Queued>>,
}

impl Batcher {
    /// Starts the task that makes batches.
    pub(crate) fn start<T: Connector, C: Clock>(
        core: Arc<Core<T, C>>,
        limits: BatchLimits,
    ) -> Self {
        let (operations, incoming) = mpsc::channel(HANDED_OVER_MAX);
        veridical_env::task::spawn(make_batches(core, limits, incoming));
        Self { operations }
    }

    /// Lets an operation travel with others and waits for its own outcome, but not longer
    /// than `timeout`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(crate) async fn call<C: Clock>(
        &self,
        clock: &C,
        caller: u64,
        operation: Operation,
        timeout: Duration,
    ) -> Outcome {
        let repeatable = is_repeatable_operation(&operation);
        let (reply, answer) = oneshot::channel();
        let fate = Arc::new(Fate::default());
        let waiting = Waiting {
            caller,
            lane: if repeatable { Lane::Read } else { Lane::Write },
            bytes: encoded_len(&operation),
            since: clock.monotonic(),
            item: Queued {
                operation,
                fate: Arc::clone(&fate),
                reply,
            },
        };
        let answered = async {
            if self.operations.send(waiting).await.is_err() {
                return Err(CallError::Unavailable("the client has ended".to_owned()));
            }
            answer
                .await
                .unwrap_or_else(|_| Err(CallError::Unknown("the task of batches ended".to_owned())))
        };
        tokio::select! {
            biased;
            outcome = answered => outcome,
            () = clock.sleep(timeout) => {
                if fate.give_up() || repeatable {
                    reachable!("client.operation-given-up-before-it-was-sent");
                    return Err(CallError::Unavailable("timed out".to_owned()));
                }
                Err(CallError::Unknown("timed out".to_owned()))
            }
        }
    }
}

/// Makes batches of what comes in, until nobody can call any more.
async fn make_batches<T: Connector, C: Clock>(
    core: Arc<Core<T, C>>,
    limits: BatchLimits,
    mut incoming: mpsc::Receiver<Waiting<Queued>>,
) {
    let keeps_order = !core.config.planted.has(PlantedBug::BatchOvertakes);
    let mut queue: BatchQueue<Queued> = BatchQueue::new(limits, keeps_order);
    let (ends, mut ended) = mpsc::channel::<Sent>(2 * limits.in_flight_max);
    let mut handed_over = Vec::new();
    let mut is_open = true;
    while is_open || !queue.is_idle() {
        let now = core.clock.monotonic();
        queue.retain(|queued| !queued.reply.is_closed());
        for lane in Lane::ALL {
            while let Some((sent, batch)) = queue.next(lane, now) {
                let (core, ends) = (Arc::clone(&core), ends.clone());
                veridical_env::task::spawn(async move {
                    deal(&core, batch).await;
                    // The other end waits for it.
                    let _ = ends.send(sent).await;
                });
            }
        }
        let room = queue.room();
        let due_in = queue.due_at().map(|at| at.saturating_sub(now));
        tokio::select! {
            biased;
            sent = ended.recv() => {
                queue.ended(sent.expect("this task has a sender itself"));
            }
            taken = incoming.recv_many(&mut handed_over, room), if is_open && room > 0 =>
            {
                is_open = taken > 0;
                for waiting in handed_over.drain(..) {
                    queue.push(waiting);
                }
            }
            () = core.clock.sleep(due_in.unwrap_or_default()), if due_in.is_some() => {}
        }
    }
}

/// Sends a batch and deals its outcomes to the callers.
async fn deal<T: Connector, C: Clock>(core: &Core<T, C>, batch: Vec<Queued>) {
    let mut callers = Vec::with_capacity(batch.len());
    let operations = batch.into_iter().map(|queued| {
        callers.push(queued.reply);
        (queued.operation, Some(queued.fate))
    });
    let operations = operations.collect();
    let outcomes = send_batch(core, operations).await;
    if core.config.planted.has(PlantedBug::BatchAnswersShift) {
        callers.retain(|reply| !reply.is_closed());
    } else {
        assert_eq!(callers.len(), outcomes.len(), "each caller has an outcome");
    }
    for (reply, outcome) in callers.into_iter().zip(outcomes) {
        // The caller may have given up.
        let _ = reply.send(outcome);
    }
}

/// Whether a request is an operation that can travel with others.
pub(crate) fn is_operation(request: &RequestBody) -> bool {
    matches!(
        request,
        RequestBody::Range(_)
            | RequestBody::Put(_)
            | RequestBody::DeleteRange(_)
            | RequestBody::Txn(_)
    )
}

/// The operation that a request is.
///
/// # Panics
/// If it is none.
pub(crate) fn operation(request: RequestBody) -> Operation {
    match request {
        RequestBody::Range(range) => Operation::Range(range),
        RequestBody::Put(put) => Operation::Put(put),
        RequestBody::DeleteRange(delete) => Operation::DeleteRange(delete),
        RequestBody::Txn(txn) => Operation::Txn(txn),
        other => unreachable!("no operation of a batch: {other:?}"),
    }
}

/// The size of an operation in bytes.
pub(crate) fn encoded_len(operation: &Operation) -> usize {
    match operation {
        Operation::Range(range) => range.encoded_len(),
        Operation::Put(put) => put.encoded_len(),
        Operation::DeleteRange(delete) => delete.encoded_len(),
        Operation::Txn(txn) => txn.encoded_len(),
    }
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;
    use crate::client::ClientConfig;
    use crate::connector::{Link, WatchChannel};
    use veridical_env::RealClock;
    use veridical_planted::Planted;
    use veridical_proto::etcdserverpb::{PutRequest, PutResponse, ResponseHeader};
    use veridical_proto::native::batch_result::Result as ResultKind;
    use veridical_proto::native::{BatchResult, BatchResults};

    /// A member that tells each put its key for a revision.
    #[derive(Clone)]
    struct KeysForRevisions;

    impl Connector for KeysForRevisions {
        type Link = Self;

        const TAKES_BATCHES: bool = true;

        async fn connect(&self, _address: &str) -> Result<Self, CallError> {
            Ok(Self)
        }

        async fn watch(&self, _address: &str) -> Result<WatchChannel, CallError> {
            Err(CallError::Unavailable("no watches here".to_owned()))
        }
    }

    impl Link for KeysForRevisions {
        async fn call(&self, request: RequestBody) -> Outcome {
            let RequestBody::Batch(batch) = request else {
                return Err(CallError::Unavailable("only batches here".to_owned()));
            };
            let results = batch.operations.into_iter().map(|operation| {
                let Some(Operation::Put(put)) = operation.operation else {
                    panic!("only puts here");
                };
                let key = std::str::from_utf8(&put.key).expect("a number");
                let header = ResponseHeader {
                    revision: key.parse().expect("a number"),
                    ..ResponseHeader::default()
                };
                BatchResult {
                    result: Some(ResultKind::Put(PutResponse {
                        header: Some(header),
                        prev_kv: None,
                    })),
                }
            });
            Ok(ResponseBody::Batch(BatchResults {
                header: None,
                results: results.collect(),
            }))
        }

        fn is_closed(&self) -> bool {
            false
        }
    }

    fn queued(key: &str) -> (Queued, oneshot::Receiver<Outcome>) {
        let (reply, answer) = oneshot::channel();
        let put = PutRequest {
            key: key.to_owned().into(),
            ..PutRequest::default()
        };
        let queued = Queued {
            operation: Operation::Put(put),
            fate: Arc::default(),
            reply,
        };
        (queued, answer)
    }

    /// The revision that the last of three callers is told, of whom the second has given up.
    async fn last_revision(planted: Planted) -> i64 {
        let config = ClientConfig {
            planted,
            ..ClientConfig::new(vec!["a:1".to_owned()])
        };
        let core = Core::new(KeysForRevisions, RealClock::default(), config);
        let (first, first_answer) = queued("1");
        let (second, second_answer) = queued("2");
        let (third, third_answer) = queued("3");
        drop(second_answer);
        deal(&core, vec![first, second, third]).await;
        assert!(first_answer.await.expect("an answer").is_ok());
        let Ok(Ok(ResponseBody::Put(put))) = third_answer.await else {
            panic!("the third caller has no answer to its put");
        };
        put.header.expect("a header").revision
    }

    #[tokio::test]
    async fn a_caller_that_gave_up_does_not_shift_the_answers_of_others() {
        assert_eq!(last_revision(Planted::none()).await, 3);
    }

    #[cfg(feature = "planted-bugs")]
    #[tokio::test]
    async fn the_planted_bug_gives_a_caller_the_answer_of_another() {
        let planted = Planted::only(PlantedBug::BatchAnswersShift);
        assert_eq!(last_revision(planted).await, 2);
    }

    #[test]
    fn an_operation_is_sent_or_given_up_and_never_both() {
        let fate = Fate::default();
        assert!(fate.give_up());
        assert!(!fate.send(), "its caller goes by it");
        let fate = Fate::default();
        assert!(fate.send());
        assert!(!fate.give_up(), "somebody may have it");
        assert!(fate.send(), "once more, where that is safe");
        fate.take_back();
        assert!(fate.give_up(), "nobody has taken it");
    }
}
