//! Gates in front of the tasks of processes, at which a task can be held, and where schedules
//! that are not left to chance choose which one runs.
//!
//! The executor polls a ready task at random. A gated task that is polled although the
//! scheduler has chosen another one says that it is pending and stays runnable. The chosen
//! one was woken, so that it is polled at the same instant: the executor lets no time pass,
//! but for some nanoseconds a poll, while a task is ready. Tasks of the driver of a run have
//! no gates.

use crate::fault::ProcessId;
use crate::schedule::{Schedule, TaskCounts, TaskId, TaskScheduler};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// All gates of a world.
pub(super) struct Gates {
    scheduler: Mutex<TaskScheduler>,
}

/// Wakes whoever is to be woken. Never called with a lock held: a waker may be the last
/// that holds its task, and the task's gate closes in its destructor.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Gates {
    /// The gates of this schedule.
    pub(super) fn by(schedule: &Schedule) -> Arc<Self> {
        let scheduler = Mutex::new(TaskScheduler::by(schedule));
        Arc::new(Self { scheduler })
    }

    /// Whether tasks have no priorities.
    pub(super) fn leave_order_to_chance(&self) -> bool {
        self.scheduler().leaves_order_to_chance()
    }

    fn scheduler(&self) -> MutexGuard<'_, TaskScheduler> {
        // A panic while the lock was held is on its way up already; what is dropped on
        // its way must not panic again.
        self.scheduler
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The process of the gated task that runs now, if one does.
    pub(super) fn process_here(&self) -> Option<ProcessId> {
        self.scheduler().process_here()
    }

    /// A gate in front of a task of this process.
    pub(super) fn gate<F>(self: &Arc<Self>, process: ProcessId, priority: u32, task: F) -> Gate<F> {
        let id = self.scheduler().add(process, priority);
        let gates = Arc::clone(self);
        let waker = (!gates.leave_order_to_chance()).then(|| {
            let gates = Arc::clone(self);
            Waker::from(Arc::new(GateWaker { id, gates }))
        });
        Gate {
            task,
            id,
            gates,
            waker,
        }
    }

    /// Holds a task of a process, if it has one.
    pub(super) fn hold(&self, process: ProcessId, number: u32) -> Option<TaskId> {
        let (held, next) = self.scheduler().hold(process, number);
        wake(next);
        held
    }

    /// Takes one hold of a task back.
    pub(super) fn release(&self, id: TaskId) {
        let next = self.scheduler().release(id);
        wake(next);
    }

    /// A process is paused or goes on. A paused one holds nobody up.
    pub(super) fn pause(&self, process: ProcessId, paused: bool) {
        let next = self.scheduler().pause(process, paused);
        wake(next);
    }

    /// How often something was decided.
    pub(super) fn counts(&self) -> TaskCounts {
        self.scheduler().counts()
    }

    /// Forgets all tasks, at the end of the run.
    pub(super) fn dismantle(&self) {
        let forgotten = self.scheduler().dismantle();
        drop(forgotten);
    }
}

/// The waker of a gated task: it tells the scheduler, and wakes whichever task comes next.
struct GateWaker {
    id: TaskId,
    gates: Arc<Gates>,
}

impl Wake for GateWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = self.gates.scheduler().wake(self.id);
        wake(woken);
    }
}

/// A task behind a gate.
pub(super) struct Gate<F> {
    task: F,
    id: TaskId,
    gates: Arc<Gates>,
    /// What wakes the task, where it has to be known who is runnable.
    waker: Option<Waker>,
}

impl<F: Future<Output = ()> + Unpin> Future for Gate<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let offered = self.gates.scheduler().offer(self.id, context.waker());
        if let Err(next) = offered {
            wake(next);
            return Poll::Pending;
        }
        let Self { task, waker, .. } = &mut *self;
        let waker = waker.as_ref().unwrap_or_else(|| context.waker());
        let polled = Pin::new(task).poll(&mut Context::from_waker(waker));
        if polled.is_pending() {
            let next = self.gates.scheduler().end_run();
            wake(next);
        }
        polled
    }
}

impl<F> Drop for Gate<F> {
    fn drop(&mut self) {
        let next = self.gates.scheduler().remove(self.id);
        wake(next);
    }
}
