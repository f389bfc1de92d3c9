//! Callers that wait until this member has applied a log index.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;
use veridical_probe::reachable;
use veridical_store::ApiError;

/// A caller that waits for a linearizable read: it gets `Ok` once the state of this
/// member is at least as new as the cluster's at the time of the request.
pub(crate) type ReadReply = oneshot::Sender<Result<(), ApiError>>;

/// Callers by the log index that they wait for.
#[derive(Clone, Default)]
pub(crate) struct AppliedWaiters {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    applied: u64,
    waiting: BTreeMap<u64, Vec<ReadReply>>,
}

impl AppliedWaiters {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no panic while the waiters are locked")
    }

    /// Answers the callers once `index` is applied and published; perhaps at once.
    pub(crate) fn wait(&self, index: u64, replies: Vec<ReadReply>) {
        let mut state = self.state();
        if index <= state.applied {
            drop(state);
            answer(replies, &Ok(()));
        } else {
            reachable!("node.read-waited-for-its-index-to-be-applied");
            state.waiting.entry(index).or_default().extend(replies);
        }
    }

    /// Everything up to `index` is applied and visible to readers.
    pub(crate) fn advance(&self, index: u64) {
        let mut state = self.state();
        state.applied = state.applied.max(index);
        let rest = state.waiting.split_off(&(index + 1));
        let ready = std::mem::replace(&mut state.waiting, rest);
        drop(state);
        for replies in ready.into_values() {
            answer(replies, &Ok(()));
        }
    }

    /// Answers everybody with `error`: the member stops.
    pub(crate) fn close(&self, error: &ApiError) {
        let waiting = std::mem::take(&mut self.state().waiting);
        for replies in waiting.into_values() {
            answer(replies, &Err(error.clone()));
        }
    }
}

/// Gives all callers the same answer. One that has given up does not mind.
pub(crate) fn answer(replies: Vec<ReadReply>, result: &Result<(), ApiError>) {
    for reply in replies {
        let _ = reply.send(result.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
