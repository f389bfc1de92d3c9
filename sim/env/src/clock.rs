//! Time as one process sees it.

use std::future::Future;
use std::time::Duration;

/// The clocks of one process. No two processes agree, neither on the time nor on how
/// fast it goes.
pub trait Clock: Clone + Send + Sync + 'static {
    /// Time since an arbitrary origin of this process; never goes back.
    fn monotonic(&self) -> Duration;

    /// Time since 1970-01-01 UTC by the wall clock; may jump either way. For people to
    /// read, never for a decision about safety.
    fn wall(&self) -> Duration;

    /// Waits until at least `duration` has passed by this process's monotonic clock.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}
