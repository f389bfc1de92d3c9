//! How a member comes to an end.

use std::sync::Arc;
use tokio::sync::watch;

/// Why a member stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// It was asked to.
    #[error("stopped on request")]
    Requested,
    /// Its disk failed; what is on it is not known.
    #[error("the disk failed: {0}")]
    Disk(String),
    /// It was removed from the cluster.
    #[error("this member was removed from the cluster")]
    Removed,
    /// The leader has acknowledgements of this member for entries that its log does not
    /// have: its disk was emptied, or is an old copy. What it promised is forgotten, too,
    /// so it must not vote. Remove it, and add it again under a new id.
    #[error("this member's disk has lost what the member had acknowledged: {0}")]
    DurabilityLost(String),
    /// A leader contradicts what is committed here, this member leads and another has more that
    /// is committed, or a term has two leaders. Somewhere a majority has forgotten what it had
    /// promised, so what this member has and what the others have are two histories. Which of
    /// them clients were told of, only people can find out: a member that went on would take in,
    /// and give out, either.
    #[error("the members contradict each other: {0}")]
    SafetyLost(String),
    /// The log holds something that this version cannot apply.
    #[error("the log cannot be applied: {0}")]
    Log(String),
}

/// A latch that every task of a member can set and all watch.
#[derive(Clone)]
pub(crate) struct Stop {
    sender: Arc<watch::Sender<Option<StopReason>>>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self {
            sender: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Stops the member. The first reason stays.
    pub(crate) fn now(&self, reason: StopReason) {
        self.sender.send_if_modified(|state| {
            let first = state.is_none();
            if first {
                *state = Some(reason);
            }
            first
        });
    }

    /// Waits until the member stops.
    pub(crate) async fn stopped(&self) -> StopReason {
        let mut receiver = self.sender.subscribe();
        loop {
            if let Some(reason) = receiver.borrow_and_update().clone() {
                return reason;
            }
            if receiver.changed().await.is_err() {
                return StopReason::Requested;
            }
        }
    }
}
