//! Several threads, each with the keys whose hash is its.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustc_hash::{FxHashMap, FxHasher};
use veridical_histories::EventKind;
use veridical_histories::object::ObjectEvent;

use super::{CheckError, Ended};
use crate::models::ObjectModel;
use crate::objects::{ObjectChecker, ObjectStatistics};
use crate::online::CheckerOptions;
use crate::verdict::{Malformed, MalformedReason, Rejection, Verdict};

/// Events handed over at once.
const BATCH_EVENTS: usize = 4096;
/// Batches that may wait for a thread.
const BATCHES_WAITING_MAX: usize = 4;

type Batch = Vec<(u64, ObjectEvent)>;

struct Worker {
    batches: Option<SyncSender<Batch>>,
    batch: Batch,
    thread: JoinHandle<Result<Ended, Malformed>>,
}

/// Divides a history over threads by key.
pub(super) struct ParallelChecker {
    workers: Vec<Worker>,
    /// Which worker has an open operation.
    open: FxHashMap<u64, u32>,
    events: u64,
    /// Some thread has found the history wrong.
    has_failed: Arc<AtomicBool>,
}

impl ParallelChecker {
    pub fn new(
        model: ObjectModel,
        options: &CheckerOptions,
        threads: usize,
        memory_limit_bytes: Option<u64>,
    ) -> Self {
        let has_failed = Arc::new(AtomicBool::new(false));
        let workers = (0..threads)
            .map(|_| {
                let (batches, receiver) = sync_channel(BATCHES_WAITING_MAX);
                let mut checker = ObjectChecker::new(model.clone(), options.clone());
                checker.limit_memory(memory_limit_bytes.map(|limit| limit / threads as u64));
                let has_failed = has_failed.clone();
                let thread = std::thread::spawn(move || work(checker, &receiver, &has_failed));
                Worker {
                    batches: Some(batches),
                    batch: Vec::with_capacity(BATCH_EVENTS),
                    thread,
                }
            })
            .collect();
        Self {
            workers,
            open: FxHashMap::default(),
            events: 0,
            has_failed,
        }
    }

    pub fn observe(&mut self, event: &ObjectEvent) -> Result<(), Rejection> {
        let at = self.events;
        self.events += 1;
        let malformed = |reason| Rejection::Malformed(Malformed { event: at, reason });
        let worker = match &event.kind {
            EventKind::Call { op, input } => {
                let mut hasher = FxHasher::default();
                input.key.hash(&mut hasher);
                let hash = hasher.finish();
                let worker = ((hash ^ hash >> 29) % self.workers.len() as u64) as u32;
                if self.open.insert(op.0, worker).is_some() {
                    return Err(malformed(MalformedReason::CalledTwice(*op)));
                }
                worker
            }
            EventKind::Return { op, .. } | EventKind::Unknown { op } | EventKind::Failed { op } => {
                self.open
                    .remove(&op.0)
                    .ok_or_else(|| malformed(MalformedReason::NotOpen(*op)))?
            }
            EventKind::Note { note } => match *note {},
        };
        let worker = &mut self.workers[worker as usize];
        worker.batch.push((at, event.clone()));
        if worker.batch.len() >= BATCH_EVENTS {
            let batch = std::mem::replace(&mut worker.batch, Vec::with_capacity(BATCH_EVENTS));
            // A thread that is gone has its result for `finish`.
            let _ = worker.batches.as_ref().map(|batches| batches.send(batch));
        }
        Ok(())
    }

    /// Whether some thread has found the history wrong: no more need be read.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// The violation at the earliest event counts.
    pub fn finish(mut self) -> Result<Ended, CheckError> {
        for worker in &mut self.workers {
            let batch = std::mem::take(&mut worker.batch);
            let _ = worker.batches.take().map(|batches| batches.send(batch));
        }
        let mut ended: Ended = (Verdict::Ok, ObjectStatistics::default(), None);
        for worker in self.workers {
            let (verdict, statistics, spill_error) = match worker.thread.join() {
                Ok(result) => result?,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            ended = (
                match (ended.0, verdict) {
                    (Verdict::Violation(a), Verdict::Violation(b)) => {
                        Verdict::Violation(if a.event <= b.event { a } else { b })
                    }
                    (a, b) => a.and(b),
                },
                ended.1.plus(statistics),
                ended.2.or(spill_error),
            );
        }
        Ok(ended)
    }
}

fn work(
    mut checker: ObjectChecker,
    batches: &Receiver<Batch>,
    has_failed: &AtomicBool,
) -> Result<Ended, Malformed> {
    for batch in batches {
        for (at, event) in &batch {
            match checker.observe_at(*at, event) {
                Ok(()) => {}
                Err(Rejection::Violation(_)) => {
                    has_failed.store(true, Ordering::Relaxed);
                    return Ok((checker.finish(), checker.statistics(), None));
                }
                Err(Rejection::Malformed(malformed)) => {
                    has_failed.store(true, Ordering::Relaxed);
                    return Err(malformed);
                }
            }
        }
    }
    let verdict = checker.finish();
    Ok((verdict, checker.statistics(), checker.take_spill_error()))
}
