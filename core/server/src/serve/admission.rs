//! How many connections clients have at once. Above the bound a newcomer takes the place of
//! whoever has been silent for longest, and is refused where everybody has said something: idle
//! sockets must not keep clients out, nor a member from its own files.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::warn;
use veridical_env::{Clock, RealClock};
use veridical_node::Throttle;

/// At most one warning in this time says that connections are refused.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The right to keep a connection open; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// Hands out places.
#[derive(Debug)]
pub(crate) struct Admission {
    max: usize,
    places: Arc<Semaphore>,
    silent: Mutex<SilentConnections>,
    refusals: Throttle,
    clock: RealClock,
}

/// The connections that have not said yet what they speak, oldest first. Each has a place, so
/// that there are no more of them than places.
#[derive(Debug, Default)]
struct SilentConnections {
    next: u64,
    by_age: BTreeMap<u64, Silent>,
}

#[derive(Debug)]
struct Silent {
    place: Place,
    /// Dropped together with this: then the connection has lost its place.
    _keep: oneshot::Sender<()>,
}

/// The place of a connection that has not said yet what it speaks.
#[derive(Debug)]
pub(crate) struct ProvisionalPlace {
    admission: Arc<Admission>,
    number: u64,
    kept: oneshot::Receiver<()>,
}

impl Admission {
    /// With room for so many connections.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            places: Arc::new(Semaphore::new(max)),
            silent: Mutex::default(),
            refusals: Throttle::new(WARNING_INTERVAL),
            clock: RealClock::default(),
        })
    }

    /// A place for a new connection, if there is one or somebody silent has one.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<ProvisionalPlace> {
        let mut silent = self.silent();
        let free = Arc::clone(&self.places).try_acquire_owned().ok();
        let is_full = free.is_none();
        let place = free
            .map(|permit| Place { _permit: permit })
            .or_else(|| silent.by_age.pop_first().map(|(_, oldest)| oldest.place));
        if is_full && let Some(unsaid) = self.refusals.admit(self.clock.monotonic()) {
            warn!(
                max_connections = self.max,
                unsaid,
                "clients have as many connections as they may have; silent ones are closed, then new ones"
            );
        }
        let place = place?;
        let (keep, kept) = oneshot::channel();
        let number = silent.next;
        silent.next += 1;
        let newcomer = Silent { place, _keep: keep };
        silent.by_age.insert(number, newcomer);
        drop(silent);
        Some(ProvisionalPlace {
            admission: Arc::clone(self),
            number,
            kept,
        })
    }

    fn silent(&self) -> MutexGuard<'_, SilentConnections> {
        // Every change of it is one step, so that it is whole whoever panicked.
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProvisionalPlace {
    /// Waits until somebody else has got the place.
    pub(crate) async fn lost(&mut self) {
        // Nobody ever sends: it ends with the sender.
        let _ended = (&mut self.kept).await;
    }

    /// The place for good: the connection has said what it speaks. Nothing if somebody else has
    /// got it meanwhile.
    pub(crate) fn keep(self) -> Option<Place> {
        let silent = self.admission.silent().by_age.remove(&self.number);
        silent.map(|silent| silent.place)
    }
}

impl Drop for ProvisionalPlace {
    fn drop(&mut self) {
        // It is there no more if it was kept or lost.
        let left = self.admission.silent().by_age.remove(&self.number);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newcomer_takes_the_place_of_the_oldest_silent_connection() {
        let admission = Admission::new(2);
        let mut first = admission.admit().expect("there is room");
        let second = admission.admit().expect("there is room");
        let third = admission.admit().expect("the first one has to go");
        first.lost().await;
        assert!(first.keep().is_none());
        assert!(second.keep().is_some());
        assert!(third.keep().is_some());
    }

    #[tokio::test]
    async fn nobody_is_admitted_once_all_have_said_what_they_speak() {
        let admission = Admission::new(2);
        let talkers = [(); 2].map(|()| admission.admit().and_then(ProvisionalPlace::keep));
        assert!(talkers.iter().all(Option::is_some));
        assert!(admission.admit().is_none());
        drop(talkers);
        assert!(admission.admit().is_some());
    }

    #[tokio::test]
    async fn a_connection_that_ends_silently_gives_its_place_back() {
        let admission = Admission::new(1);
        drop(admission.admit());
        let place = admission.admit().and_then(ProvisionalPlace::keep);
        assert!(place.is_some());
    }
}
