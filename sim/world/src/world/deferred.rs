//! What is deferred: the actions that cannot be done inside a timer, and what is left to be
//! undone of faults. Data only; the reaper, the lifecycle and the faults act on it.

use super::links::Link;
use crate::fault::{FaultId, ProcessId};
use crate::schedule::TaskId;
use madsim::task::NodeId;
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

/// Nanoseconds in a millisecond.
pub(super) const NS_PER_MS: u64 = 1_000_000;

/// How long after a crash a process is started again at the earliest, in ns. By then
/// madsim has dropped the tasks of the one before.
pub(super) const RESTART_NS: u64 = 1_000_000;

/// What has to be undone when a fault ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undo {
    Heal(Link),
    Unclog(Link),
    NetworkFaults,
    LinkFaults(Link),
    Resume(ProcessId),
    Release(TaskId),
    Unsuspend(ProcessId),
    Drift(ProcessId),
    Strobe(ProcessId),
    DiskFaults(ProcessId),
    Capacity(ProcessId),
    Stall(ProcessId),
    OpenFiles(ProcessId),
}

/// A fault that has not ended.
#[derive(Debug, Default)]
pub(super) struct ActiveFault {
    /// What undoes it, as far as it has come.
    pub(super) undo: Vec<Undo>,
}

/// A step of a starvation.
#[derive(Clone, Copy, Debug)]
pub(super) struct StarveStep {
    pub(super) fault: FaultId,
    pub(super) process: ProcessId,
    pub(super) run_ns: u64,
    pub(super) stop_ns: u64,
    /// Whether the process is stopped now, or goes on.
    pub(super) stops: bool,
}

impl StarveStep {
    /// The step that a starvation begins with: the process is stopped.
    pub(super) fn first(fault: FaultId, process: ProcessId, run_ms: u64, stop_ms: u64) -> Self {
        Self {
            fault,
            process,
            run_ns: (run_ms * NS_PER_MS).max(RESTART_NS),
            stop_ns: (stop_ms * NS_PER_MS).max(RESTART_NS),
            stops: true,
        }
    }
}

/// An action that was deferred, because it cannot be done inside a timer.
pub(super) enum DeferredAction {
    /// Start a process, unless it runs.
    Start(ProcessId),
    /// Stop the tasks of a node whose process has crashed.
    Stop(NodeId),
    /// End a fault, unless it has ended.
    Heal(FaultId),
    /// The next step of a swizzle: clog, or unclog, all links of a process.
    Swizzle {
        fault: FaultId,
        process: ProcessId,
        clog: bool,
    },
    /// The next step of a starvation: stop the process, or let it run.
    Starve(StarveStep),
}

/// The actions that the reaper has still to do.
#[derive(Default)]
pub(super) struct ActionQueue {
    actions: VecDeque<DeferredAction>,
    waker: Option<Waker>,
    closed: bool,
}

impl ActionQueue {
    /// Adds an action.
    pub(super) fn add(&mut self, action: DeferredAction) {
        self.actions.push_back(action);
        self.wake();
    }

    /// Has the reaper look for actions and for timers to set.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Ends the reaper.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.wake();
    }

    /// The next action; `None` when the queue is closed.
    pub(super) fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<DeferredAction>> {
        if self.closed {
            return Poll::Ready(None);
        }
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(Some(action));
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
