//! The driver's end of linearizable reads: callers' questions put to Raft in rounds, and
//! put again when nothing came of them.

use std::sync::Arc;
use std::time::Duration;
use veridical_env::Environment;
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{queue, reachable, sometimes};
use veridical_raft::{Raft, ReadError, ReadState, Role};
use veridical_store::ApiError;

use crate::config::ms;
use crate::handles::Handles;
use crate::observe::NodeObserver;
use crate::reads::waiters::{AppliedWaiters, ReadBatch, ReadBatches, answer};
use crate::requests::Reply;

/// Readers from their request to the confirmed index; behind it they wait in
/// [`AppliedWaiters`].
pub(crate) struct ReadRounds {
    batches: ReadBatches,
    waiters: AppliedWaiters,
    max_readers: usize,
    retry_after: Duration,
    planted: Planted,
    observer: Option<Arc<dyn NodeObserver>>,
}

impl ReadRounds {
    pub(crate) fn new<E: Environment>(handles: &Handles<E>) -> Self {
        let config = &handles.config;
        Self {
            batches: ReadBatches::default(),
            waiters: handles.waiters.clone(),
            max_readers: config.limits.max_pending_requests,
            retry_after: ms(config.limits.retry_ms),
            planted: config.planted,
            observer: config.observer.clone(),
        }
    }

    /// Whether one more caller may wait for a read, beside `coming` new ones.
    pub(crate) fn has_room(&self, coming: usize) -> bool {
        let waiting = self.batches.readers() + self.waiters.readers() + coming;
        let has_room = waiting < self.max_readers || self.planted.has(PlantedBug::ReadsUnbounded);
        queue!(
            "node.reads",
            waiting + usize::from(has_room),
            self.max_readers
        );
        has_room
    }

    /// Starts a round of ReadIndex for all these readers together. With `own_term` it is
    /// confirmed only if this member leads that term.
    pub(crate) fn start_read_index(
        &mut self,
        raft: &mut Raft,
        replies: Vec<Reply>,
        own_term: Option<u64>,
        now: Duration,
    ) {
        let context = self.batches.next_context();
        if let Some(observer) = &self.observer {
            observer.read_asked(raft.id(), context);
        }
        match raft.read_index(context) {
            // Without a leader the question waits for the next tick.
            Ok(()) | Err(ReadError::NoLeader) => {
                let batch = ReadBatch {
                    replies,
                    own_term,
                    asked_at: now,
                    term: raft.term(),
                };
                self.batches.insert(context, batch);
            }
            // Raft is overloaded, or has a reason that is newer than this member's code.
            Err(_) => {
                reachable!("node.read-refused-at-the-bound");
                answer(replies, &Err(ApiError::too_many_requests()));
            }
        }
    }

    /// Starts rounds again whose answer may have been lost.
    pub(crate) fn retry_read_index(&mut self, raft: &mut Raft, now: Duration) {
        let term = raft.term();
        let retry_after = self.retry_after;
        let stale = self
            .batches
            .stale(term, |asked_at| now >= asked_at.saturating_add(retry_after));
        let mut readers = Vec::new();
        for context in stale {
            let Some(mut batch) = self.batches.remove(context) else {
                continue;
            };
            sometimes!(batch.term == term, "node.read-asked-again-after-a-silence");
            sometimes!(batch.term != term, "node.read-asked-again-in-another-term");
            batch.replies.retain(|reply| !reply.is_closed());
            match batch.own_term {
                None => readers.extend(batch.replies),
                Some(own) if own == term => {
                    self.start_read_index(raft, batch.replies, Some(own), now);
                }
                Some(_) => answer(batch.replies, &Err(ApiError::not_leader())),
            }
        }
        if !readers.is_empty() {
            self.start_read_index(raft, readers, None, now);
        }
    }

    /// Hands the readers of a confirmed round on to wait for its index.
    pub(crate) fn confirmed(&mut self, raft: &Raft, read: ReadState) {
        let Some(batch) = self.batches.remove(read.context) else {
            return;
        };
        match batch.own_term {
            Some(own) if own != raft.term() || raft.role() != Role::Leader => {
                answer(batch.replies, &Err(ApiError::not_leader()));
            }
            Some(_) | None if self.planted.has(PlantedBug::ReadBeforeApplied) => {
                answer(batch.replies, &Ok(()));
            }
            Some(_) | None => self.waiters.wait(read.index, batch.replies),
        }
    }

    /// Answers everybody with `error`, because the member stops.
    pub(crate) fn close(&mut self, error: &ApiError) {
        self.waiters.close(error);
        for batch in self.batches.drain() {
            answer(batch.replies, &Err(error.clone()));
        }
    }
}
