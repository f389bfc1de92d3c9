//! The leader's timing of leases, shared between the tasks that grant, renew and expire.
//!
//! Only the leader times leases. On becoming leader it gives every lease its full time
//! anew, because it cannot know what the former leader has promised; a renewal is
//! answered only after leadership was confirmed *after* the renewal, so that no later
//! leader's clock can have started before it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::sometimes;
use veridical_store::{LeaseChange, LeaseClock, LeaseRetry, StoreReader};

use crate::limits::Limits;

/// The lease clock of one member; silent unless it leads.
#[derive(Clone)]
pub(crate) struct Lessor {
    state: Arc<Mutex<State>>,
    planted: Planted,
}

/// A lease with less than this left is about to expire.
const NEARLY_EXPIRED: Duration = Duration::from_millis(500);

struct State {
    clock: LeaseClock,
    /// The term in which this member leads and times the leases.
    term: Option<u64>,
    /// The last such term.
    last_term: u64,
}

impl Lessor {
    /// A lessor that times nothing yet.
    pub(crate) fn new(limits: &Limits, planted: Planted) -> Self {
        let retry = LeaseRetry {
            first_ms: limits.lease_revoke_retry_ms,
            max_ms: limits.lease_revoke_retry_max_ms,
        };
        let state = State {
            clock: LeaseClock::new(retry),
            term: None,
            last_term: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            planted,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no panic while the lease clock is locked")
    }

    /// Begins to time all leases of the store. To be called when everything of earlier
    /// terms is applied and visible to `reader`.
    pub(crate) fn promote(&self, term: u64, now: Duration, reader: &StoreReader) {
        let mut state = self.state();
        assert!(
            state.term.is_none() && term > state.last_term,
            "the leases of term {term} are timed after those of term {}, which is {:?}",
            state.last_term,
            state.term
        );
        // Read under the lock: a lease that is granted meanwhile is reported through
        // `follow` after it became visible, so it is in one of the two or in both.
        let leases = reader.leases();
        sometimes!(!leases.is_empty(), "node.leases-taken-over-by-a-new-leader");
        let goes_on = self.planted.has(PlantedBug::LeaseClockKept) && state.clock.is_promoted();
        if !goes_on {
            state.clock.promote(now, leases);
        }
        state.term = Some(term);
        state.last_term = term;
        assert!(
            state.clock.is_promoted(),
            "a clock that stands times leases"
        );
    }

    /// Stops timing.
    pub(crate) fn demote(&self, now: Duration) {
        let mut state = self.state();
        let next_expiry = state.clock.next_expiry();
        sometimes!(
            next_expiry.is_some_and(|expiry| expiry <= now + NEARLY_EXPIRED),
            "node.lease-about-to-expire-when-its-leader-was-deposed"
        );
        if !self.planted.has(PlantedBug::LeaseClockKept) {
            state.clock.demote();
        }
        state.term = None;
    }

    /// Follows what the state machine has applied *and published*.
    pub(crate) fn follow(&self, changes: &[LeaseChange], now: Duration) {
        if changes.is_empty() {
            return;
        }
        let mut state = self.state();
        if state.term.is_none() {
            return;
        }
        for change in changes {
            match *change {
                LeaseChange::Granted { id, granted_ttl_s } => {
                    state.clock.granted(id, granted_ttl_s, now);
                }
                LeaseChange::Revoked { id } => state.clock.revoked(id),
            }
        }
    }

    /// Whether this member has the planted bug.
    pub(crate) fn is_planted(&self, bug: PlantedBug) -> bool {
        self.planted.has(bug)
    }

    /// The term in which this member times the leases.
    pub(crate) fn term(&self) -> Option<u64> {
        self.state().term
    }

    /// Renews a lease; its granted time to live in seconds, or `None` if there is no
    /// such lease or it is expiring. The caller has to confirm leadership of `term`
    /// before it tells anybody.
    pub(crate) fn renew(&self, id: i64, now: Duration) -> Option<i64> {
        let renewed = self.state().clock.renew(id, now);
        sometimes!(renewed.is_none(), "node.renewal-came-too-late");
        renewed
    }

    /// How long a lease still lasts if nobody renews it.
    pub(crate) fn remaining(&self, id: i64, now: Duration) -> Option<Duration> {
        self.state().clock.remaining(id, now)
    }

    /// Leases to revoke now, with the term in which that may be proposed.
    pub(crate) fn expired(&self, now: Duration, limit: usize) -> Option<(u64, Vec<i64>)> {
        let mut state = self.state();
        let term = state.term?;
        let expired = state.clock.expired(now, limit);
        assert!(
            expired.len() <= limit,
            "{} leases end at once, {limit} may",
            expired.len()
        );
        (!expired.is_empty()).then_some((term, expired))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_store::{Store, StoreConfig};

    /// Whether a lease that was granted in this member's former term, and renewed at
    /// another leader since, is over when this member leads again.
    fn is_over_when_leadership_returns(planted: Planted) -> bool {
        let store = Store::new(StoreConfig::default());
        let reader = store.reader();
        let lessor = Lessor::new(&Limits::default(), planted);
        let granted = LeaseChange::Granted {
            id: 7,
            granted_ttl_s: 5,
        };
        lessor.promote(1, Duration::ZERO, &reader);
        lessor.follow(&[granted], Duration::ZERO);
        lessor.demote(Duration::from_secs(1));
        lessor.promote(3, Duration::from_secs(6), &reader);
        lessor.expired(Duration::from_secs(6), 1).is_some()
    }

    #[test]
    fn a_lease_has_its_full_time_anew_when_leadership_returns() {
        assert!(!is_over_when_leadership_returns(Planted::none()));
    }

    #[cfg(feature = "planted-bugs")]
    #[test]
    fn planted_a_lease_is_over_when_leadership_returns() {
        let planted = Planted::only(PlantedBug::LeaseClockKept);
        assert!(is_over_when_leadership_returns(planted));
    }

    #[test]
    fn no_more_leases_end_at_once_than_may() {
        let store = Store::new(StoreConfig::default());
        let lessor = Lessor::new(&Limits::default(), Planted::none());
        lessor.promote(1, Duration::ZERO, &store.reader());
        let granted = [1, 2, 3].map(|id| LeaseChange::Granted {
            id,
            granted_ttl_s: 5,
        });
        lessor.follow(&granted, Duration::ZERO);
        let expired = || lessor.expired(Duration::from_secs(6), 2);
        assert_eq!(expired(), Some((1, vec![1, 2])));
        assert_eq!(expired(), Some((1, vec![3])));
    }

    #[test]
    #[should_panic(expected = "the leases of term 2 are timed after those of term 3")]
    fn leases_are_timed_once_in_a_term_and_in_no_earlier_one() {
        let store = Store::new(StoreConfig::default());
        let lessor = Lessor::new(&Limits::default(), Planted::none());
        lessor.promote(3, Duration::ZERO, &store.reader());
        lessor.demote(Duration::ZERO);
        lessor.promote(2, Duration::ZERO, &store.reader());
    }
}
