//! How many connections the peer port has at once.
//!
//! Whoever connects is a stranger until it has greeted. There are only so many strangers, and the
//! one that came first makes room for a newcomer: members greet at once, idle sockets never do. Of
//! each caller that has greeted there is one connection, the newest; so a member that lost its
//! power, or was cut off, is not kept out by what it left behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{queue, reachable};

use crate::peers::error::PeerError;

/// Callers at most that the list of members does not name: a newcomer may know more than this
/// member, and there are never many of them.
const UNNAMED_CALLERS_MAX: usize = 16;

/// Hands out places to the connections of the peer port.
#[derive(Debug)]
pub(crate) struct Reception {
    strangers_max: usize,
    guests: Mutex<Guests>,
    planted: Planted,
}

/// Who is connected. Who is taken out of it is told so by the end of its sender.
#[derive(Debug, Default)]
struct Guests {
    /// How many there have been.
    count: u64,
    /// Connections without a greeting, by number: the oldest first.
    strangers: BTreeMap<u64, oneshot::Sender<()>>,
    /// The connection of each caller that has greeted, by its id.
    callers: BTreeMap<u64, Caller>,
}

#[derive(Debug)]
struct Caller {
    number: u64,
    is_named: bool,
    _keep: oneshot::Sender<()>,
}

/// The place of a connection, which it has until this is dropped, or until it is told that
/// another one has it.
#[derive(Debug)]
pub(crate) struct Place {
    reception: Arc<Reception>,
    number: u64,
    /// Who has greeted.
    caller: Option<u64>,
}

/// Tells a connection that another one has its place.
#[derive(Debug)]
pub(crate) struct Displacement(oneshot::Receiver<()>);

impl Displacement {
    /// Waits until another connection has the place.
    pub(crate) async fn happens(self) {
        // Nobody ever sends: it ends with the sender.
        let _ended = self.0.await;
    }
}

impl Reception {
    /// With room for so many strangers.
    pub(crate) fn new(strangers_max: usize, planted: Planted) -> Arc<Self> {
        Arc::new(Self {
            strangers_max,
            guests: Mutex::default(),
            planted,
        })
    }

    /// A place for a new connection, if need be that of the oldest stranger; and whether it was.
    pub(crate) fn admit(self: &Arc<Self>) -> (Place, Displacement, bool) {
        let (keep, kept) = oneshot::channel();
        let mut guests = self.guests();
        let is_full = guests.strangers.len() >= self.strangers_max
            && !self.planted.has(PlantedBug::SilentPeersKept);
        if is_full {
            reachable!("node.stranger-made-room");
            guests.strangers.pop_first();
        }
        let number = guests.count;
        guests.count += 1;
        guests.strangers.insert(number, keep);
        queue!("node.strangers", guests.strangers.len(), self.strangers_max);
        let place = Place {
            reception: Arc::clone(self),
            number,
            caller: None,
        };
        (place, Displacement(kept), is_full)
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        // Every change of it is one step, so that it is whole whoever panicked.
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The connection has greeted as `caller`, which the list of members names or not.
    ///
    /// # Errors
    /// The caller has a newer connection, there are too many callers that nobody names, or the
    /// place is gone.
    pub(crate) fn greeted(&mut self, caller: u64, is_named: bool) -> Result<(), PeerError> {
        assert!(self.caller.is_none(), "a connection greets once");
        let mut guests = self.reception.guests();
        let Some(keep) = guests.strangers.remove(&self.number) else {
            return Err(PeerError::Displaced);
        };
        match guests.callers.get(&caller) {
            Some(other) if other.number > self.number => return Err(PeerError::Displaced),
            Some(_) => {
                reachable!("node.caller-came-again");
            }
            None if is_named => {}
            None => {
                let mut unnamed = guests.callers.values();
                if unnamed.by_ref().filter(|other| !other.is_named).count() >= UNNAMED_CALLERS_MAX {
                    return Err(PeerError::Crowded);
                }
            }
        }
        let newest = Caller {
            number: self.number,
            is_named,
            _keep: keep,
        };
        guests.callers.insert(caller, newest);
        self.caller = Some(caller);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guests = self.reception.guests();
        guests.strangers.remove(&self.number);
        if let Some(caller) = self.caller
            && guests
                .callers
                .get(&caller)
                .is_some_and(|newest| newest.number == self.number)
        {
            guests.callers.remove(&caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_displaced(displacement: &mut Displacement) -> bool {
        displacement.0.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    fn reception(strangers_max: usize) -> Arc<Reception> {
        Reception::new(strangers_max, Planted::none())
    }

    #[test]
    fn the_oldest_stranger_makes_room_and_callers_stay() {
        let reception = reception(2);
        let (mut member, mut of_member, _) = reception.admit();
        member.greeted(7, true).expect("it is the first one");
        let (mut first, mut of_first, _) = reception.admit();
        let (_second, mut of_second, _) = reception.admit();
        assert!(!is_displaced(&mut of_first));
        let (_third, _of_third, is_full) = reception.admit();
        assert!(is_full);
        assert!(is_displaced(&mut of_first));
        assert!(!is_displaced(&mut of_second) && !is_displaced(&mut of_member));
        assert!(matches!(first.greeted(8, true), Err(PeerError::Displaced)));
    }

    #[test]
    fn the_newest_connection_of_a_caller_takes_the_place_of_the_older_one() {
        let reception = reception(4);
        let (mut older, mut of_older, _) = reception.admit();
        let (mut late, _of_late, _) = reception.admit();
        let (mut newer, mut of_newer, _) = reception.admit();
        older.greeted(7, true).expect("it is the first one");
        newer.greeted(7, true).expect("it is newer");
        assert!(is_displaced(&mut of_older));
        drop(older);
        assert!(!is_displaced(&mut of_newer));
        // It was opened before, and its greeting was under way for longer.
        assert!(matches!(late.greeted(7, true), Err(PeerError::Displaced)));
        drop(late);
        assert!(!is_displaced(&mut of_newer));
    }

    #[test]
    fn members_are_let_in_however_many_others_have_greeted() {
        let reception = reception(1);
        let mut places = Vec::new();
        for caller in 1..=UNNAMED_CALLERS_MAX as u64 {
            let (mut place, displacement, _) = reception.admit();
            place.greeted(caller, false).expect("there is room");
            places.push((place, displacement));
        }
        let (mut place, _displacement, _) = reception.admit();
        assert!(matches!(
            place.greeted(1_000, false),
            Err(PeerError::Crowded)
        ));
        let (mut place, _displacement, _) = reception.admit();
        place.greeted(2_000, true).expect("a member");
    }

    #[test]
    fn a_connection_that_ends_gives_its_place_back() {
        let reception = reception(1);
        drop(reception.admit());
        let (mut caller, of_caller, is_full) = reception.admit();
        assert!(!is_full);
        caller.greeted(7, true).expect("it is the first one");
        drop((caller, of_caller));
        assert!(reception.guests().callers.is_empty());
    }
}
