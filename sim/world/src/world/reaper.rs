//! The reaper: a task of the world itself, for what cannot be done inside a timer. It starts
//! processes, drops the tasks of those that crashed, ends faults, and sets timers.

use super::deferred::DeferredAction;
use super::kernel::Kernel;
use std::future::poll_fn;
use std::sync::Arc;

/// Does deferred actions until the queue is closed.
pub(super) async fn run(kernel: Arc<Kernel>) {
    loop {
        let next = poll_fn(|context| {
            // Taking the lock this way sets the timers that wait to be set.
            kernel.with(|state, _| state.reaper.poll_next(context))
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
