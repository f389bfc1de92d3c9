//! A task of the world itself, for what cannot be done inside a timer: starting and
//! stopping processes, ending faults, setting timers that were planned there.

use super::kernel::Kernel;
use crate::fault::{FaultId, ProcessId};
use madsim::task::NodeId;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// Something to do.
pub(super) enum Chore {
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

/// A step of a starvation.
#[derive(Clone, Copy)]
pub(super) struct StarveStep {
    pub(super) fault: FaultId,
    pub(super) process: ProcessId,
    pub(super) run_ns: u64,
    pub(super) stop_ns: u64,
    /// Whether the process is stopped now, or goes on.
    pub(super) stops: bool,
}

/// What there is to do.
#[derive(Default)]
pub(super) struct JanitorQueue {
    chores: VecDeque<Chore>,
    waker: Option<Waker>,
    closed: bool,
}

impl JanitorQueue {
    /// Adds something.
    pub(super) fn add(&mut self, chore: Chore) {
        self.chores.push_back(chore);
        self.wake();
    }

    /// Lets the janitor look.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Lets the janitor go home.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.wake();
    }
}

/// Does chores until the queue is closed.
pub(super) async fn work(kernel: Arc<Kernel>) {
    loop {
        let next = poll_fn(|context| {
            // Taking the lock this way sets the timers that wait to be set.
            kernel.with(|state, _| {
                let queue = &mut state.janitor;
                if queue.closed {
                    return Poll::Ready(None);
                }
                if let Some(chore) = queue.chores.pop_front() {
                    return Poll::Ready(Some(chore));
                }
                queue.waker = Some(context.waker().clone());
                Poll::Pending
            })
        });
        match next.await {
            None => return,
            Some(Chore::Start(id)) => kernel.start(id),
            Some(Chore::Stop(node)) => Kernel::stop_tasks(node),
            Some(Chore::Heal(id)) => kernel.heal(id),
            Some(Chore::Swizzle {
                fault,
                process,
                clog,
            }) => kernel.swizzle_step(fault, process, clog),
            Some(Chore::Starve(step)) => kernel.starve_step(step),
        }
    }
}
