//! Several threads, each with the keys whose hash is its.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustc_hash::{FxHashMap, FxHasher};
use veridical_histories::EventKind;
use veridical_histories::object::ObjectEvent;

use crate::models::ObjectModel;
use crate::objects::{ObjectChecker, ObjectStatistics};
use crate::online::CheckerOptions;
use crate::verdict::{Cause, Malformed, MalformedReason, Rejection, Undecided, Verdict};

/// What a checker ends with: its verdict, what it counted, why idle keys could not be moved to
/// disk.
pub(super) type Ended = (Verdict, ObjectStatistics, Option<std::io::Error>);

/// Events handed over at once.
const BATCH_EVENTS: usize = 4096;
/// Batches that may wait for a thread.
const BATCHES_WAITING_MAX: usize = 4;

/// An event with its number, and the line that it was read from.
type Numbered = (u64, Option<u64>, ObjectEvent);
type Batch = Vec<Numbered>;
/// Why a worker could not go on, and in which line.
type Stopped = (Malformed, Option<u64>);

struct Worker {
    batches: Option<SyncSender<Batch>>,
    batch: Batch,
    thread: JoinHandle<(Ended, Option<Stopped>)>,
}

/// Divides a history over threads by key.
pub(super) struct ParallelChecker {
    model: ObjectModel,
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
            model,
            workers,
            open: FxHashMap::default(),
            events: 0,
            has_failed,
        }
    }

    pub fn observe(&mut self, event: &ObjectEvent, line: Option<u64>) -> Result<(), Rejection> {
        let at = self.events;
        self.events += 1;
        let malformed = |reason| Rejection::Malformed(Malformed { event: at, reason });
        let worker = match &event.kind {
            EventKind::Call { op, input } => {
                if !self.model.knows(&input.action) {
                    return Err(malformed(MalformedReason::InputOfOtherKind(*op)));
                }
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
        worker.batch.push((at, line, event.clone()));
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

    /// The violation at the earliest event counts. Beside it, what kept a thread from going on,
    /// in two forms.
    pub fn finish(mut self) -> (Ended, Option<(Undecided, String)>) {
        for worker in &mut self.workers {
            let batch = std::mem::take(&mut worker.batch);
            let _ = worker.batches.take().map(|batches| batches.send(batch));
        }
        let mut ended: Ended = (Verdict::Ok, ObjectStatistics::default(), None);
        let mut stopped: Option<Stopped> = None;
        for worker in self.workers {
            let ((verdict, statistics, spill_error), why) = match worker.thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            stopped = match (stopped, why) {
                (Some(a), Some(b)) => Some(if a.0.event <= b.0.event { a } else { b }),
                (a, b) => a.or(b),
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
        let stopped = stopped.map(|(malformed, line)| {
            let what = match line {
                Some(line) => format!("line {line}: {}", malformed.reason),
                None => malformed.to_string(),
            };
            let undecided = Undecided {
                cause: Cause::Unreadable,
                key: None,
                events: (malformed.event, malformed.event),
                text: what.clone(),
            };
            (undecided, what)
        });
        (ended, stopped)
    }
}

fn work(
    mut checker: ObjectChecker,
    batches: &Receiver<Batch>,
    has_failed: &AtomicBool,
) -> (Ended, Option<Stopped>) {
    let mut stopped = None;
    'batches: for batch in batches {
        for (at, line, event) in &batch {
            match checker.observe_at(*at, event) {
                Ok(()) => {}
                Err(Rejection::Violation(_)) => {
                    has_failed.store(true, Ordering::Relaxed);
                    break 'batches;
                }
                Err(Rejection::Malformed(malformed)) => {
                    has_failed.store(true, Ordering::Relaxed);
                    stopped = Some((malformed, *line));
                    break 'batches;
                }
            }
        }
    }
    let verdict = checker.finish();
    let ended = (verdict, checker.statistics(), checker.take_spill_error());
    (ended, stopped)
}
