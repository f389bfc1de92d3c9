//! One batch on its way: what was done, refused or lost is told for each operation by itself,
//! and what was certainly not done is sent again in its order.

use std::sync::Arc;

use tokio::sync::oneshot;
use veridical_env::Clock;
use veridical_planted::PlantedBug;
use veridical_probe::{reachable, sometimes};
use veridical_proto::etcdserverpb::ResponseHeader;
use veridical_proto::native::batch_operation::Operation;
use veridical_proto::native::batch_result::Result as ResultKind;
use veridical_proto::native::request::Body as RequestBody;
use veridical_proto::native::response::Body as ResponseBody;
use veridical_proto::native::{Batch, BatchOperation, BatchResult, BatchResults};

use crate::batching::{Fate as Given, Outcome, encoded_len};
use crate::connection::CallError;
use crate::connector::Connector;
use crate::core::{CODE_UNAVAILABLE, Core, Source, is_repeatable_operation};
use crate::record::ask;

/// Operations in one request; members refuse more than twice as many.
const OPERATIONS_MAX: usize = 8_192;

/// Bytes of operations in one request, far below the largest frame.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Calls at once where a member takes no batches.
const CALLS_AT_ONCE: usize = 64;

/// Does operations in their order, each by itself; in several requests where they are many.
pub(crate) async fn send_all<T: Connector, C: Clock>(
    core: &Arc<Core<T, C>>,
    operations: Vec<Operation>,
) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(operations.len());
    let mut operations = operations.into_iter().peekable();
    while operations.peek().is_some() {
        let mut bytes = 0;
        let mut piece: Vec<Operation> = Vec::new();
        while let Some(next) = operations.next_if(|next| {
            piece.is_empty()
                || piece.len() < OPERATIONS_MAX && bytes + encoded_len(next) <= BYTES_MAX
        }) {
            bytes += encoded_len(&next);
            piece.push(next);
        }
        let done = match T::TAKES_BATCHES {
            true => {
                let attended = piece.into_iter().map(|next| (next, None));
                send_batch(core, attended.collect()).await
            }
            false => call_one_by_one(core, piece).await,
        };
        let is_known = done.iter().all(is_known);
        outcomes.extend(done);
        if !is_known {
            outcomes.extend(operations.by_ref().map(|_| Err(behind_unknown())));
        }
    }
    outcomes
}

/// Sends one batch, as often as it takes, without the operations that were given up before.
pub(crate) async fn send_batch<T: Connector, C: Clock>(
    core: &Core<T, C>,
    operations: Vec<(Operation, Option<Arc<Given>>)>,
) -> Vec<Outcome> {
    let deadline = core.clock.monotonic() + core.config.request_timeout;
    let mut underway = Underway::new(operations);
    loop {
        let repeatable = underway.is_repeatable();
        let resends_all = core.config.planted.has(PlantedBug::BatchRetriedWhole);
        let timeout = core.config.request_timeout;
        let progress = match core.call_from(&mut underway, repeatable, timeout).await {
            Err(CallError::Unknown(_)) if resends_all => Progress::Left,
            Err(error) => underway.all_failed(&error),
            Ok(ResponseBody::Batch(results)) => underway.answered(results),
            Ok(other) => {
                underway.all_failed(&CallError::Unknown(format!("unexpected answer {other:?}")))
            }
        };
        match progress {
            Progress::Done => return underway.finish(),
            // The rest of a large answer.
            Progress::Some => continue,
            Progress::Left => {}
        }
        let is_late = core.clock.monotonic() + core.config.retry_delay >= deadline;
        if is_late {
            return underway.finish();
        }
        reachable!("client.rest-of-a-batch-sent-again");
        core.leave_present().await;
        core.clock.sleep(core.config.retry_delay).await;
    }
}

/// How a batch stands after an answer.
enum Progress {
    /// Each operation has its outcome.
    Done,
    /// Some have got theirs, and others are left.
    Some,
    /// None has got one.
    Left,
}

/// A batch and what is known of it.
struct Underway {
    operations: Vec<Operation>,
    /// Of those whose callers may give them up by themselves.
    fates: Vec<Option<Arc<Given>>>,
    outcomes: Vec<Option<Outcome>>,
    /// Why the operations without an outcome have none.
    refusal: CallError,
}

impl Underway {
    fn new(operations: Vec<(Operation, Option<Arc<Given>>)>) -> Self {
        let (operations, fates): (Vec<_>, Vec<_>) = operations.into_iter().unzip();
        Self {
            fates,
            outcomes: operations.iter().map(|_| None).collect(),
            operations,
            refusal: CallError::Unavailable("timed out".to_owned()),
        }
    }

    /// The places of operations without an outcome.
    fn left(&self) -> Vec<usize> {
        let outcomes = self.outcomes.iter().enumerate();
        let left = outcomes.filter(|(_, outcome)| outcome.is_none());
        left.map(|(place, _)| place).collect()
    }

    /// Whether what is left may be sent twice.
    fn is_repeatable(&self) -> bool {
        let mut left = self.left().into_iter();
        left.all(|place| is_repeatable_operation(&self.operations[place]))
    }

    /// No operation was answered by itself.
    fn all_failed(&mut self, error: &CallError) -> Progress {
        for place in self.left() {
            self.outcomes[place] = Some(Err(self.told(place, error)));
        }
        Progress::Done
    }

    /// An error as the caller of an operation is told: a read has no effect, whatever became
    /// of it.
    fn told(&self, place: usize, error: &CallError) -> CallError {
        match error {
            CallError::Unknown(reason) if is_repeatable_operation(&self.operations[place]) => {
                CallError::Unavailable(reason.clone())
            }
            error => error.clone(),
        }
    }

    /// Takes the results of the operations that were sent.
    fn answered(&mut self, results: BatchResults) -> Progress {
        let left = self.left();
        if results.results.len() != left.len() {
            return self.all_failed(&CallError::Unknown(format!(
                "{} results for {} operations",
                results.results.len(),
                left.len()
            )));
        }
        let header = results.header.unwrap_or_default();
        let mut answered = 0;
        for (place, result) in left.iter().zip(results.results) {
            match outcome_of(result, &header) {
                Fate::Outcome(outcome) => {
                    answered += 1;
                    let outcome = outcome.map_err(|error| self.told(*place, &error));
                    self.outcomes[*place] = Some(outcome);
                }
                Fate::NotNow(error) => self.refusal = error,
                Fate::Untried => {}
            }
        }
        if self
            .outcomes
            .iter()
            .flatten()
            .any(|outcome| !is_known(outcome))
        {
            // It may take effect at any later time; what is behind it must not come before.
            return self.all_failed(&behind_unknown());
        }
        sometimes!(
            answered > 0 && answered < left.len(),
            "client.batch-done-in-part"
        );
        match answered {
            _ if answered == left.len() => Progress::Done,
            0 => Progress::Left,
            _ => Progress::Some,
        }
    }

    /// The outcomes; what is left was not done.
    fn finish(self) -> Vec<Outcome> {
        let refusal = self.refusal;
        let outcomes = self.outcomes.into_iter();
        outcomes
            .map(|outcome| outcome.unwrap_or_else(|| Err(refusal.clone())))
            .collect()
    }
}

impl Source for Underway {
    fn hand_over(&mut self) -> Option<RequestBody> {
        let mut operations = Vec::new();
        for place in self.left() {
            let fate = self.fates[place].as_ref();
            if fate.is_none_or(|fate| fate.send()) {
                operations.push(BatchOperation {
                    operation: Some(self.operations[place].clone()),
                });
            } else {
                let given_up = CallError::Unavailable("timed out".to_owned());
                self.outcomes[place] = Some(Err(given_up));
            }
        }
        (!operations.is_empty()).then(|| RequestBody::Batch(Batch { operations }))
    }

    fn taken_back(&mut self) {
        for place in self.left() {
            if let Some(fate) = &self.fates[place] {
                fate.take_back();
            }
        }
    }
}

/// What a result says.
enum Fate {
    Outcome(Outcome),
    /// Nobody took it, but somebody may later.
    NotNow(CallError),
    Untried,
}

fn outcome_of(result: BatchResult, common: &ResponseHeader) -> Fate {
    let whole = |header: Option<ResponseHeader>| {
        Some(ResponseHeader {
            revision: header.map_or(0, |header| header.revision),
            ..*common
        })
    };
    let answer = match result.result {
        Some(ResultKind::Range(mut range)) => {
            range.header = whole(range.header);
            ResponseBody::Range(range)
        }
        Some(ResultKind::Put(mut put)) => {
            put.header = whole(put.header);
            ResponseBody::Put(put)
        }
        Some(ResultKind::DeleteRange(mut delete)) => {
            delete.header = whole(delete.header);
            ResponseBody::DeleteRange(delete)
        }
        Some(ResultKind::Txn(mut txn)) => {
            txn.header = whole(txn.header);
            ResponseBody::Txn(txn)
        }
        Some(ResultKind::Failure(failure)) if failure.outcome_unknown => {
            return Fate::Outcome(Err(CallError::Unknown(failure.message)));
        }
        Some(ResultKind::Failure(failure)) => {
            let refused = CallError::Refused {
                code: failure.code,
                message: failure.message,
            };
            return match failure.code {
                CODE_UNAVAILABLE => Fate::NotNow(refused),
                _ => Fate::Outcome(Err(refused)),
            };
        }
        Some(ResultKind::Untried(_)) => return Fate::Untried,
        None => return Fate::Outcome(Err(CallError::Unknown("an empty result".to_owned()))),
    };
    Fate::Outcome(Ok(answer))
}

fn is_known(outcome: &Outcome) -> bool {
    !matches!(outcome, Err(CallError::Unknown(_)))
}

fn behind_unknown() -> CallError {
    CallError::Unavailable("the outcome of an operation before it is unknown".to_owned())
}

/// Where members take no batches: neighbours that read at once, what writes one after the
/// other.
async fn call_one_by_one<T: Connector, C: Clock>(
    core: &Arc<Core<T, C>>,
    operations: Vec<Operation>,
) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(operations.len());
    let mut operations = operations.into_iter().peekable();
    while let Some(operation) = operations.next() {
        if !outcomes.iter().all(is_known) {
            outcomes.push(Err(behind_unknown()));
            continue;
        }
        if !is_repeatable_operation(&operation) {
            outcomes.push(call(core, operation).await);
            continue;
        }
        let mut reading = vec![operation];
        while reading.len() < CALLS_AT_ONCE
            && let Some(next) = operations.next_if(is_repeatable_operation)
        {
            reading.push(next);
        }
        let calls: Vec<_> = reading
            .into_iter()
            .map(|read| begin_call(core, read))
            .collect();
        for call in calls {
            let cut_off = || CallError::Unavailable("the call was cut off".to_owned());
            outcomes.push(call.await.unwrap_or_else(|_| Err(cut_off())));
        }
    }
    outcomes
}

/// Calls beside others.
fn begin_call<T: Connector, C: Clock>(
    core: &Arc<Core<T, C>>,
    operation: Operation,
) -> oneshot::Receiver<Outcome> {
    let (reply, answer) = oneshot::channel();
    let core = Arc::clone(core);
    veridical_env::task::spawn(async move {
        // The caller may have given up.
        let _ = reply.send(call(&core, operation).await);
    });
    answer
}

/// An operation by itself.
async fn call<T: Connector, C: Clock>(core: &Core<T, C>, operation: Operation) -> Outcome {
    core.call(ask(operation), core.config.request_timeout).await
}
