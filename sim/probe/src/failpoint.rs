//! Failpoints: named points at which a process can be made to crash.
//!
//! A crash between two steps that belong together is what recovery is for, and at random
//! times it hardly ever comes exactly there. So the code names these points, and the
//! simulator stops a process at the one it was asked for.

/// A point between two steps, `part.step`, at which the process may crash: then the task
/// never goes on, and the simulator stops the others. For asynchronous code.
///
/// Compiles to nothing without the feature `failpoints`.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {{
        #[allow(
            unsafe_code,
            reason = "linkme puts the failpoint into a section of its own, which only linkme reads"
        )]
        #[$crate::linkme::distributed_slice($crate::FAILPOINTS)]
        #[linkme(crate = $crate::linkme)]
        static FAILPOINT: $crate::Failpoint = $crate::Failpoint::new($name);
        if FAILPOINT.crashes_here() {
            ::core::future::pending::<()>().await;
        }
    }};
}

/// A point between two steps at which the process may crash.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {};
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Decides for the process that is running whether it crashes at the failpoint of this name.
    type Hook = Box<dyn Fn(&'static str) -> bool>;

    thread_local! {
        /// A run has a thread of its own, and so has its hook.
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// A point at which a process can be made to crash.
    #[derive(Debug)]
    pub struct Failpoint {
        name: &'static str,
        crashes: AtomicU64,
    }

    impl Failpoint {
        /// A failpoint at which nothing has crashed yet.
        #[must_use]
        pub const fn new(name: &'static str) -> Self {
            Self {
                name,
                crashes: AtomicU64::new(0),
            }
        }

        /// Whether the process that comes by has crashed here; it must not go on then.
        #[inline]
        pub fn crashes_here(&self) -> bool {
            let ends = HOOK.with_borrow(|hook| hook.as_ref().is_some_and(|hook| hook(self.name)));
            if ends {
                self.crashes.fetch_add(1, Ordering::Relaxed);
            }
            ends
        }
    }

    /// All failpoints of the program that is running.
    #[linkme::distributed_slice]
    pub static FAILPOINTS: [Failpoint];

    /// The names of all failpoints of the running program, and how often a process of this
    /// one has crashed there. Several failpoints may share a name.
    pub fn failpoints() -> BTreeMap<&'static str, u64> {
        let mut crashes = BTreeMap::new();
        for failpoint in FAILPOINTS {
            *crashes.entry(failpoint.name).or_default() +=
                failpoint.crashes.load(Ordering::Relaxed);
        }
        crashes
    }

    /// From now on `hook` decides on this thread, until the guard is dropped.
    #[must_use = "the hook is taken away when this is dropped"]
    pub fn install_failpoint_hook(hook: impl Fn(&'static str) -> bool + 'static) -> FailpointHook {
        HOOK.set(Some(Box::new(hook)));
        FailpointHook(())
    }

    /// Takes the hook of this thread away when it is dropped.
    #[derive(Debug)]
    pub struct FailpointHook(());

    impl Drop for FailpointHook {
        fn drop(&mut self) {
            HOOK.set(None);
        }
    }
}

#[cfg(feature = "failpoints")]
pub use armed::{FAILPOINTS, Failpoint, FailpointHook, failpoints, install_failpoint_hook};

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use super::{failpoints, install_failpoint_hook};
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    async fn two_steps() -> u32 {
        crate::failpoint!("probe.first");
        crate::failpoint!("probe.second");
        2
    }

    fn run() -> Poll<u32> {
        let mut steps = std::pin::pin!(two_steps());
        steps.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_task_never_goes_on_from_the_failpoint_that_the_hook_names() {
        assert_eq!(run(), Poll::Ready(2));
        let before = failpoints()["probe.second"];
        {
            let _hook = install_failpoint_hook(|name| name == "probe.second");
            assert_eq!(run(), Poll::Pending);
        }
        assert_eq!(failpoints()["probe.second"], before + 1);
        assert_eq!(run(), Poll::Ready(2), "without a hook everybody passes");
    }
}
