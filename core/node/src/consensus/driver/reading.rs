//! Linearizable reads: callers' questions put to Raft, and put again when nothing came of them.

use std::time::Duration;
use veridical_env::Environment;
use veridical_planted::PlantedBug;
use veridical_probe::{queue, reachable, sometimes};
use veridical_raft::ReadError;
use veridical_store::ApiError;

use super::Driver;
use crate::config::ms;
use crate::reads::waiters::{ReadBatch, ReadReply, answer};

impl<E: Environment> Driver<E> {
    /// Puts read questions again whose answer may have been lost.
    pub(super) fn ask_again(&mut self, now: Duration) {
        let retry = ms(self.limits.retry_ms);
        let term = self.raft.term();
        let stale = self
            .turn
            .reads
            .stale(term, |asked_at| now >= asked_at.saturating_add(retry));
        let mut readers = Vec::new();
        for context in stale {
            let Some(mut batch) = self.turn.reads.remove(context) else {
                continue;
            };
            sometimes!(batch.term == term, "node.read-asked-again-after-a-silence");
            sometimes!(batch.term != term, "node.read-asked-again-in-another-term");
            batch.replies.retain(|reply| !reply.is_closed());
            match batch.own_term {
                None => readers.extend(batch.replies),
                Some(own) if own == term => self.ask(batch.replies, Some(own), now),
                Some(_) => answer(batch.replies, &Err(ApiError::not_leader())),
            }
        }
        if !readers.is_empty() {
            self.ask(readers, None, now);
        }
    }

    /// Whether one more caller may wait for a read, beside `coming` new ones.
    pub(super) fn has_room_to_read(&self, coming: usize) -> bool {
        let waiting = self.turn.reads.readers() + self.waiters.readers() + coming;
        let bound = self.limits.max_pending_requests;
        let has_room = waiting < bound || self.planted.has(PlantedBug::ReadsUnbounded);
        queue!("node.reads", waiting + usize::from(has_room), bound);
        has_room
    }

    /// Puts a read question for all these readers together.
    pub(super) fn ask(&mut self, replies: Vec<ReadReply>, own_term: Option<u64>, now: Duration) {
        let context = self.turn.reads.next_context();
        if let Some(observer) = &self.observer {
            observer.read_asked(self.raft.id(), context);
        }
        match self.raft.read_index(context) {
            // Without a leader the question waits for the next tick.
            Ok(()) | Err(ReadError::NoLeader) => {
                let batch = ReadBatch {
                    replies,
                    own_term,
                    asked_at: now,
                    term: self.raft.term(),
                };
                self.turn.reads.insert(context, batch);
            }
            Err(_) => {
                reachable!("node.read-refused-at-the-bound");
                answer(replies, &Err(ApiError::too_many_requests()));
            }
        }
    }
}
