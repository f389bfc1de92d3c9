//! The clocks of a simulated process.

use super::kernel::ProcessHandle;
use super::timer::TimerId;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use veridical_env::Clock;

/// The wall clock and the monotonic clock of a process, which may drift, jump and stop.
#[derive(Clone)]
pub struct SimClock(ProcessHandle);

impl SimClock {
    /// The clocks of a process.
    pub(super) const fn new(handle: ProcessHandle) -> Self {
        Self(handle)
    }

    /// The process whose clocks they are.
    pub(super) const fn handle(&self) -> &ProcessHandle {
        &self.0
    }

    fn monotonic_ns(&self) -> u64 {
        self.0
            .kernel
            .with(|state, now_ns| state.processes[self.0.id].clock.monotonic_ns(now_ns))
    }
}

impl Clock for SimClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.monotonic_ns())
    }

    fn wall(&self) -> Duration {
        let ns = self
            .0
            .kernel
            .with(|state, now_ns| state.processes[self.0.id].clock.wall_ns(now_ns));
        Duration::from_nanos(ns)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        let wait_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let present_ns = self.monotonic_ns();
        LocalSleep {
            handle: self.0.clone(),
            deadline_ns: present_ns.saturating_add(wait_ns),
            timer: None,
        }
    }
}

/// Waits by the monotonic clock of a process. Polling it again costs no new timer.
struct LocalSleep {
    handle: ProcessHandle,
    deadline_ns: u64,
    timer: Option<TimerId>,
}

impl Future for LocalSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let id = this.handle.id;
        this.handle.kernel.with(|state, now_ns| match this.timer {
            Some(timer) if state.timers.poll(timer, context.waker()) => Poll::Ready(()),
            Some(_) => Poll::Pending,
            None if state.processes[id].clock.monotonic_ns(now_ns) >= this.deadline_ns => {
                Poll::Ready(())
            }
            None => {
                this.timer =
                    Some(state.add_local_timer(id, this.deadline_ns, context.waker().clone()));
                Poll::Pending
            }
        })
    }
}

impl Drop for LocalSleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.handle
                .kernel
                .with(|state, _| state.timers.remove(timer));
        }
    }
}
