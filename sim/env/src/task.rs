//! Tasks of a process.
//!
//! In production a task is one of tokio's. In the simulator it may get a gate in front of
//! it, through which the order of tasks can be chosen; that is why everything above this
//! crate starts its tasks here.

use std::future::Future;
use tokio::task::JoinHandle;

/// Starts a task.
///
/// ```no_run
/// # async fn example(clock: impl veridical_env::Clock) {
/// veridical_env::task::spawn(async move {
///     loop {
///         clock.sleep(std::time::Duration::from_millis(100)).await;
///         // Say that this process is still there.
///     }
/// });
/// # }
/// ```
#[allow(
    clippy::disallowed_methods,
    reason = "this is what everybody else is to call, with a gate where the schedule needs one"
)]
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    #[cfg(madsim)]
    if let Some(gated) = gates::gatekeeper() {
        return tokio::spawn(gated(Box::pin(task)));
    }
    tokio::spawn(task)
}

#[cfg(madsim)]
pub use gates::{Gatekeeper, Task, set_gatekeeper};

#[cfg(madsim)]
mod gates {
    use std::cell::RefCell;
    use std::future::Future;
    use std::pin::Pin;
    use std::rc::Rc;

    /// A task that has not been started.
    pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Puts a gate in front of a task.
    pub type Gatekeeper = Rc<dyn Fn(Task) -> Task>;

    thread_local! {
        // A simulated world has a thread of its own, and all its tasks run there.
        static GATEKEEPER: RefCell<Option<Gatekeeper>> = const { RefCell::new(None) };
    }

    /// Through whose hands tasks go that are started on this thread from now on.
    pub fn set_gatekeeper(gatekeeper: Option<Gatekeeper>) {
        GATEKEEPER.with(|slot| *slot.borrow_mut() = gatekeeper);
    }

    pub(super) fn gatekeeper() -> Option<Gatekeeper> {
        GATEKEEPER.with(|slot| slot.borrow().clone())
    }
}
