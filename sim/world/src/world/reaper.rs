//! The reaper: a task of the world itself, for what cannot be done inside a timer. It starts
//! processes, drops the tasks of those that crashed, ends faults, and sets timers.

use super::inject::StarveStep;
use super::kernel::Kernel;
use crate::fault::{FaultId, ProcessId};
use madsim::task::NodeId;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

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
}

/// Does deferred actions until the queue is closed.
pub(super) async fn run(kernel: Arc<Kernel>) {
    loop {
        let next = poll_fn(|context| {
            // Taking the lock this way sets the timers that wait to be set.
            kernel.with(|state, _| {
                let queue = &mut state.reaper;
                if queue.closed {
                    return Poll::Ready(None);
                }
                if let Some(action) = queue.actions.pop_front() {
                    return Poll::Ready(Some(action));
                }
                queue.waker = Some(context.waker().clone());
                Poll::Pending
            })
        });
        match next.await {
            None => return,
            Some(DeferredAction::Start(id)) => kernel.start(id),
            Some(DeferredAction::Stop(node)) => Kernel::stop_tasks(node),
            Some(DeferredAction::Heal(id)) => kernel.heal(id),
            Some(DeferredAction::Swizzle {
                fault,
                process,
                clog,
            }) => kernel.swizzle_step(fault, process, clog),
            Some(DeferredAction::Starve(step)) => kernel.starve_step(step),
        }
    }
}
