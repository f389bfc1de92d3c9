//! Callers that wait for a linearizable read: first until Raft has confirmed it, then
//! until this member has applied its index.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use veridical_probe::reachable;
use veridical_store::ApiError;

use crate::requests::Reply;

/// Readers whose question was put to Raft together.
pub(crate) struct ReadBatch {
    pub(crate) replies: Vec<Reply>,
    /// The term in which this member has to lead, if the question was for that.
    pub(crate) own_term: Option<u64>,
    pub(crate) asked_at: Duration,
    pub(crate) term: u64,
}

/// Questions without an answer, by the context that Raft knows them under.
#[derive(Default)]
pub(crate) struct ReadBatches {
    batches: BTreeMap<u64, ReadBatch>,
    next_context: u64,
    readers: usize,
}

impl ReadBatches {
    /// A context for another question.
    pub(crate) fn next_context(&mut self) -> u64 {
        self.next_context += 1;
        self.next_context
    }

    /// Keeps a question that was put to Raft under `context`, which no other question has.
    pub(crate) fn insert(&mut self, context: u64, batch: ReadBatch) {
        self.readers += batch.replies.len();
        let other = self.batches.insert(context, batch);
        assert!(other.is_none(), "two questions have the context {context}");
    }

    /// Takes a question that was answered or has to be put again.
    pub(crate) fn remove(&mut self, context: u64) -> Option<ReadBatch> {
        let batch = self.batches.remove(&context)?;
        assert!(
            batch.replies.len() <= self.readers,
            "{} readers of {} go at once",
            batch.replies.len(),
            self.readers
        );
        self.readers -= batch.replies.len();
        Some(batch)
    }

    /// Questions that were put in another term than `term`, or before `before`.
    pub(crate) fn stale(&self, term: u64, before: impl Fn(Duration) -> bool) -> Vec<u64> {
        self.batches
            .iter()
            .filter(|(_, batch)| batch.term != term || before(batch.asked_at))
            .map(|(context, _)| *context)
            .collect()
    }

    /// How many callers wait here.
    pub(crate) fn readers(&self) -> usize {
        self.readers
    }

    /// Takes all of them.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = ReadBatch> {
        self.readers = 0;
        std::mem::take(&mut self.batches).into_values()
    }
}

/// Callers by the log index that they wait for.
#[derive(Clone, Default)]
pub(crate) struct AppliedWaiters {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    applied: u64,
    waiting: BTreeMap<u64, Vec<Reply>>,
    readers: usize,
}

impl AppliedWaiters {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no panic while the waiters are locked")
    }

    /// Answers the callers once `index` is applied and published; perhaps at once.
    pub(crate) fn wait(&self, index: u64, replies: Vec<Reply>) {
        let mut state = self.state();
        if index <= state.applied {
            drop(state);
            answer(replies, &Ok(()));
        } else {
            reachable!("node.read-waited-for-its-index-to-be-applied");
            state.readers += replies.len();
            state.waiting.entry(index).or_default().extend(replies);
        }
    }

    /// Everything up to `index` is applied and visible to readers.
    pub(crate) fn advance(&self, index: u64) {
        let mut state = self.state();
        assert!(
            index >= state.applied,
            "entry {index} is applied after entry {}",
            state.applied
        );
        state.applied = index;
        let rest = state.waiting.split_off(&(index + 1));
        let ready = std::mem::replace(&mut state.waiting, rest);
        state.readers -= ready.values().map(Vec::len).sum::<usize>();
        assert!(
            state
                .waiting
                .first_key_value()
                .is_none_or(|(next, _)| *next > index),
            "nobody waits for what is applied"
        );
        drop(state);
        for replies in ready.into_values() {
            answer(replies, &Ok(()));
        }
    }

    /// How many callers wait here.
    pub(crate) fn readers(&self) -> usize {
        self.state().readers
    }

    /// Answers everybody with `error`: the member stops.
    pub(crate) fn close(&self, error: &ApiError) {
        let mut state = self.state();
        state.readers = 0;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for replies in waiting.into_values() {
            answer(replies, &Err(error.clone()));
        }
    }
}

/// Gives all callers the same answer. One that has given up does not mind.
pub(crate) fn answer(replies: Vec<Reply>, result: &Result<(), ApiError>) {
    for reply in replies {
        let _ = reply.send(result.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    /// A question of so many callers.
    fn batch(replies: usize) -> ReadBatch {
        ReadBatch {
            replies: (0..replies).map(|_| oneshot::channel().0).collect(),
            own_term: None,
            asked_at: Duration::ZERO,
            term: 1,
        }
    }

    #[test]
    fn callers_are_counted_from_the_question_to_the_answer() {
        let mut batches = ReadBatches::default();
        for replies in [2, 3] {
            let context = batches.next_context();
            batches.insert(context, batch(replies));
        }
        assert_eq!(batches.readers(), 5);
        assert_eq!(batches.stale(2, |_| false), [1, 2]);
        let first = batches.remove(1).expect("it was inserted");
        assert_eq!(batches.readers(), 3);
        let waiters = AppliedWaiters::default();
        waiters.wait(7, first.replies);
        assert_eq!(waiters.readers(), 2);
        waiters.advance(7);
        assert_eq!(waiters.readers(), 0);
        assert_eq!(batches.drain().count(), 1);
        assert_eq!(batches.readers(), 0);
    }

    #[test]
    fn a_caller_is_answered_exactly_when_its_index_is_applied() {
        let waiters = AppliedWaiters::default();
        let (early, mut early_reply) = oneshot::channel();
        let (late, mut late_reply) = oneshot::channel();
        waiters.wait(5, vec![early]);
        waiters.wait(6, vec![late]);
        waiters.advance(4);
        assert!(early_reply.try_recv().is_err());
        waiters.advance(5);
        assert_eq!(early_reply.try_recv(), Ok(Ok(())));
        assert!(late_reply.try_recv().is_err());
        waiters.advance(9);
        assert_eq!(late_reply.try_recv(), Ok(Ok(())));
        let (past, mut past_reply) = oneshot::channel();
        waiters.wait(7, vec![past]);
        assert_eq!(past_reply.try_recv(), Ok(Ok(())));
    }

    #[test]
    #[should_panic(expected = "two questions have the context 1")]
    fn each_question_has_a_context_of_its_own() {
        let mut batches = ReadBatches::default();
        batches.insert(1, batch(1));
        batches.insert(1, batch(1));
    }

    #[test]
    #[should_panic(expected = "2 readers of 1 go at once")]
    fn no_more_callers_go_than_came() {
        let mut batches = ReadBatches::default();
        batches.insert(1, batch(2));
        batches.readers = 1;
        batches.remove(1);
    }

    #[test]
    #[should_panic(expected = "entry 4 is applied after entry 5")]
    fn the_applied_index_never_falls() {
        let waiters = AppliedWaiters::default();
        waiters.advance(5);
        waiters.advance(4);
    }
}
