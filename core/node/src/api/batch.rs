//! Many operations of a client as one request: neighbours that read share one ReadIndex,
//! neighbours that write share one entry of the log.
//!
//! The operations take effect in their order. So whatever could not be done in time ends the
//! batch: those behind it are not begun, since it might take effect after them.

use prost::Message as _;
use veridical_env::Environment;
use veridical_planted::PlantedBug;
use veridical_probe::{reachable, sometimes};
use veridical_proto::command::command::Request as CommandRequest;
use veridical_proto::command::write::Write as WriteKind;
use veridical_proto::command::{Write, WriteBatch};
use veridical_proto::native::batch_operation::Operation;
use veridical_proto::native::batch_result::Result as BatchResultKind;
use veridical_proto::native::{Batch, BatchResult, BatchResults, Failure};
use veridical_store::{
    ApiError, CommandResponse, check_delete_range, check_put, check_range, check_txn,
    is_read_only_txn, is_serializable_txn,
};

use crate::DataFormat;
use crate::api::node::Node;

/// More operations in one batch are refused.
pub(crate) const BATCH_OPERATIONS_MAX: usize = 16_384;

/// What a command needs beside its writes.
const COMMAND_OVERHEAD_BYTES: usize = 64;

/// Others of this thread's tasks get their turn after so many reads.
const READS_PER_TURN: usize = 256;

impl<E: Environment> Node<E> {
    /// Does the operations of a batch in their order, each by itself.
    ///
    /// # Errors
    /// There are too many of them, and none was done. What becomes of a single one is told
    /// in its result.
    pub async fn batch(&self, batch: Batch) -> Result<BatchResults, ApiError> {
        if batch.operations.len() > BATCH_OPERATIONS_MAX {
            return Err(ApiError::too_many_operations_in_batch());
        }
        let mut serving = ServedBatch {
            node: self,
            results: Vec::with_capacity(batch.operations.len()),
            answer_bytes: 0,
        };
        let operations = batch.operations.into_iter();
        let mut operations = operations.map(|operation| operation.operation).peekable();
        let mut run = Vec::new();
        while let Some(operation) = operations.next() {
            let reads = is_read(operation.as_ref());
            run.push(operation);
            if operations
                .peek()
                .is_some_and(|next| is_read(next.as_ref()) == reads)
            {
                continue;
            }
            let run = std::mem::take(&mut run);
            let goes_on = match reads {
                true => serving.read(run).await,
                false => serving.write(run).await,
            };
            if !goes_on {
                reachable!("node.batch-ended-early");
                let untried = operations.by_ref().map(|_| untried());
                serving.results.extend(untried);
            }
        }
        Ok(BatchResults {
            header: Some(self.header(0)),
            results: serving.results,
        })
    }
}

/// A batch that is being served.
struct ServedBatch<'a, E: Environment> {
    node: &'a Node<E>,
    results: Vec<BatchResult>,
    answer_bytes: usize,
}

impl<E: Environment> ServedBatch<'_, E> {
    /// Reads neighbours, as of one confirmation. Returns whether to go on behind them.
    async fn read(&mut self, run: Vec<Option<Operation>>) -> bool {
        let needs_leader = run.iter().flatten().any(|operation| match operation {
            Operation::Range(range) => !range.serializable,
            Operation::Txn(txn) => !is_serializable_txn(txn),
            Operation::Put(_) | Operation::DeleteRange(_) => {
                unreachable!("a write among the reads of a batch")
            }
        });
        sometimes!(run.len() > 1, "node.batch-of-several-reads");
        if needs_leader && let Err(error) = self.node.linearizable().await {
            self.results
                .extend(run.iter().map(|_| failed(error.clone())));
            return false;
        }
        let count = run.len();
        for (ordinal, operation) in run.into_iter().flatten().enumerate() {
            if self.answer_bytes >= self.node.config().limits.batch_answer_bytes {
                let left = (ordinal..count).map(|_| untried());
                self.results.extend(left);
                return false;
            }
            let result = self.read_one(&operation).unwrap_or_else(failed);
            self.answer_bytes += result.encoded_len();
            self.results.push(result);
            if (ordinal + 1) % READS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        true
    }

    fn read_one(&self, operation: &Operation) -> Result<BatchResult, ApiError> {
        let reader = self.node.reader();
        Ok(result(match operation {
            Operation::Range(range) => {
                check_range(range)?;
                BatchResultKind::Range(reader.range(range)?)
            }
            Operation::Txn(txn) => {
                check_txn(txn, self.node.config().limits.max_txn_ops)?;
                BatchResultKind::Txn(reader.read_txn(txn)?)
            }
            Operation::Put(_) | Operation::DeleteRange(_) => {
                unreachable!("a write among the reads of a batch")
            }
        }))
    }

    /// Writes neighbours, as many at once as an entry of the log takes. Returns whether to
    /// go on behind them.
    async fn write(&mut self, run: Vec<Option<Operation>>) -> bool {
        let limits = &self.node.config().limits;
        let entry_bytes_max = limits
            .max_request_bytes
            .saturating_sub(COMMAND_OVERHEAD_BYTES);
        // A program that writes the format before knows no batches.
        let writes_max = match self.node.config().data_format {
            DataFormat::Previous => 1,
            DataFormat::Current => usize::MAX,
        };
        let mut run = run.into_iter().peekable();
        while run.peek().is_some() {
            let first = self.results.len();
            let mut chunk = Chunk::default();
            while let Some(operation) = run.peek() {
                let bytes = operation.as_ref().map_or(0, encoded_len);
                if chunk.writes.len() == writes_max
                    || !chunk.writes.is_empty() && chunk.bytes + bytes > entry_bytes_max
                {
                    sometimes!(writes_max > 1, "node.batch-in-several-entries");
                    break;
                }
                let operation = run.next().expect("it was looked at");
                match self.checked(operation) {
                    // Its place is taken by its answer.
                    Ok(write) => {
                        chunk.places.push(self.results.len());
                        chunk.writes.push(write);
                        chunk.bytes += bytes;
                        self.results.push(untried());
                    }
                    Err(error) => self.results.push(failed(error)),
                }
            }
            assert!(
                self.results.len() > first,
                "each round takes a write of the batch"
            );
            if !self.propose(chunk).await {
                self.results.extend(run.map(|_| untried()));
                return false;
            }
        }
        true
    }

    /// The write, if a member may propose it.
    fn checked(&self, operation: Option<Operation>) -> Result<WriteKind, ApiError> {
        match operation {
            Some(Operation::Put(put)) => {
                check_put(&put)?;
                Ok(WriteKind::Put(put))
            }
            Some(Operation::DeleteRange(delete)) => {
                check_delete_range(&delete)?;
                Ok(WriteKind::DeleteRange(delete))
            }
            Some(Operation::Txn(txn)) => {
                check_txn(&txn, self.node.config().limits.max_txn_ops)?;
                Ok(WriteKind::Txn(txn))
            }
            Some(Operation::Range(_)) => unreachable!("a read among the writes of a batch"),
            None => Err(ApiError::key_not_found()),
        }
    }

    /// Proposes writes as one entry and notes their answers. Returns whether it is known
    /// what became of them.
    async fn propose(&mut self, chunk: Chunk) -> bool {
        let planted = self.node.config().planted;
        let Chunk {
            mut writes,
            mut places,
            ..
        } = chunk;
        if planted.has(PlantedBug::BatchSortedByKey) {
            (writes, places) = sorted_by_key(writes, places);
        }
        let outcome = match writes.len() {
            0 => return true,
            // One by itself is no batch in the log.
            1 => {
                let write = writes.pop().expect("there is one");
                let outcome = self.node.propose(command(write)).await;
                match outcome {
                    // Refused by itself, and known to be.
                    Err(error) if !ends_batch(&error) => Ok(vec![Err(error)]),
                    outcome => outcome.map(|response| vec![Ok(response)]),
                }
            }
            _ => {
                let writes = writes.into_iter();
                let writes = writes.map(|write| Write { write: Some(write) }).collect();
                let request = CommandRequest::Batch(WriteBatch { writes });
                match self.node.propose(request).await {
                    Ok(CommandResponse::Batch(results)) => Ok(results),
                    Ok(other) => unreachable!("a batch was answered with {other:?}"),
                    Err(error) => Err(error),
                }
            }
        };
        match outcome {
            Ok(results) => {
                self.note(&places, results);
                true
            }
            Err(error) if planted.has(PlantedBug::BatchUnknownTold) && error.outcome_unknown => {
                // The places say already that nothing was tried.
                false
            }
            Err(error) => {
                for place in places {
                    self.results[place] = failed(error.clone());
                }
                false
            }
        }
    }

    /// Puts the outcomes of an entry's writes into their places.
    fn note(&mut self, places: &[usize], outcomes: Vec<Result<CommandResponse, ApiError>>) {
        assert_eq!(
            places.len(),
            outcomes.len(),
            "each write of a batch has an outcome"
        );
        let first_only = self
            .node
            .config()
            .planted
            .has(PlantedBug::BatchFirstRevision);
        let mut first_header = None;
        for (place, outcome) in places.iter().zip(outcomes) {
            let mut told = outcome.map_or_else(failed, |response| result(kind_of(response)));
            if first_only && let Some(BatchResultKind::Put(put)) = &mut told.result {
                let header = first_header.get_or_insert(put.header);
                put.header.clone_from(header);
            }
            self.results[*place] = told;
        }
    }
}

/// Writes of one entry.
#[derive(Default)]
struct Chunk {
    writes: Vec<WriteKind>,
    /// Where their results go.
    places: Vec<usize>,
    bytes: usize,
}

/// Whether an error leaves open what became of a write, or says that nothing can be written
/// now: then nothing behind it is begun.
fn ends_batch(error: &ApiError) -> bool {
    use veridical_store::Code::{Aborted, Cancelled, DeadlineExceeded, ResourceExhausted};
    error.outcome_unknown
        || matches!(
            error.code,
            veridical_store::Code::Unavailable
                | ResourceExhausted
                | DeadlineExceeded
                | Aborted
                | Cancelled
        )
}

fn is_read(operation: Option<&Operation>) -> bool {
    match operation {
        Some(Operation::Range(_)) => true,
        Some(Operation::Txn(txn)) => is_read_only_txn(txn),
        Some(Operation::Put(_) | Operation::DeleteRange(_)) | None => false,
    }
}

fn encoded_len(operation: &Operation) -> usize {
    // With the keys and lengths of the messages around it.
    const ENVELOPE_BYTES: usize = 16;
    ENVELOPE_BYTES
        + match operation {
            Operation::Range(range) => range.encoded_len(),
            Operation::Put(put) => put.encoded_len(),
            Operation::DeleteRange(delete) => delete.encoded_len(),
            Operation::Txn(txn) => txn.encoded_len(),
        }
}

fn key_of(write: &WriteKind) -> &[u8] {
    match write {
        WriteKind::Put(put) => &put.key,
        WriteKind::DeleteRange(delete) => &delete.key,
        WriteKind::Txn(_) => b"",
    }
}

/// The writes in the order of their keys, each still with its place.
fn sorted_by_key(writes: Vec<WriteKind>, places: Vec<usize>) -> (Vec<WriteKind>, Vec<usize>) {
    let mut pairs: Vec<_> = writes.into_iter().zip(places).collect();
    pairs.sort_by(|(a, _), (b, _)| key_of(a).cmp(key_of(b)));
    pairs.into_iter().unzip()
}

fn command(write: WriteKind) -> CommandRequest {
    match write {
        WriteKind::Put(put) => CommandRequest::Put(put),
        WriteKind::DeleteRange(delete) => CommandRequest::DeleteRange(delete),
        WriteKind::Txn(txn) => CommandRequest::Txn(txn),
    }
}

fn kind_of(response: CommandResponse) -> BatchResultKind {
    match response {
        CommandResponse::Put(put) => BatchResultKind::Put(put),
        CommandResponse::DeleteRange(delete) => BatchResultKind::DeleteRange(delete),
        CommandResponse::Txn(txn) => BatchResultKind::Txn(txn),
        other => unreachable!("a write was answered with {other:?}"),
    }
}

fn result(kind: BatchResultKind) -> BatchResult {
    BatchResult { result: Some(kind) }
}

fn untried() -> BatchResult {
    result(BatchResultKind::Untried(true))
}

fn failed(error: ApiError) -> BatchResult {
    result(BatchResultKind::Failure(failure(error)))
}

/// An error as the pipelined protocol tells it.
pub(crate) fn failure(error: ApiError) -> Failure {
    Failure {
        code: u32::from(error.code.number()),
        message: error.message.into_owned(),
        outcome_unknown: error.outcome_unknown,
    }
}
