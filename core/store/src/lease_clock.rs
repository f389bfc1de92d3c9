//! Time as leases know it: kept by the leader alone (etcd: `lease/lessor.go`).
//!
//! The clock only ever says that a lease *may* be revoked; it ends by a command in the
//! log. After a change of leader every lease begins its full time again, because the new
//! leader cannot know what the old one renewed: a lease may live longer than granted,
//! never shorter, as far as the leaders' clocks keep pace with the client's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use veridical_probe::{reachable, sometimes};

/// When a lease that was reported and still exists is reported again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRetry {
    /// The first time after so many ms; doubles each time.
    pub first_ms: u64,
    /// The longest such time in ms.
    pub max_ms: u64,
}

impl Default for LeaseRetry {
    fn default() -> Self {
        Self {
            first_ms: 500,
            max_ms: 8_000,
        }
    }
}

/// When leases expire, by the leader's monotonic clock. Every `now` is that clock's time.
#[derive(Clone, Debug, Default)]
pub struct LeaseClock {
    retry: LeaseRetry,
    /// Whether this member keeps the time.
    promoted: bool,
    leases: BTreeMap<i64, Timer>,
    /// The leases by the time at which something is to be done about them: a heap from
    /// which any element can be taken.
    deadlines: BTreeSet<(Duration, i64)>,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    granted_ttl_s: i64,
    expiry: Duration,
    /// The expiry, or when to report again.
    deadline: Duration,
    /// How often it has been reported.
    reports: u32,
}

impl LeaseClock {
    /// A clock of a member that is not the leader: it keeps no time.
    pub fn new(retry: LeaseRetry) -> Self {
        Self {
            retry,
            ..Self::default()
        }
    }

    /// Begins to keep the time of `leases` (identifier and granted time in seconds), all
    /// of which get their full time from `now`: on becoming leader.
    pub fn promote(&mut self, now: Duration, leases: impl IntoIterator<Item = (i64, i64)>) {
        self.demote();
        self.promoted = true;
        for (id, granted_ttl_s) in leases {
            self.granted(id, granted_ttl_s, now);
        }
        sometimes!(
            !self.leases.is_empty(),
            "store.leases-were-timed-anew-by-a-new-leader"
        );
    }

    /// Stops keeping time: on ceasing to be leader.
    pub fn demote(&mut self) {
        sometimes!(
            self.leases.values().any(|timer| timer.reports > 0),
            "store.leader-changed-while-a-lease-was-ending"
        );
        *self = Self::new(self.retry);
        assert!(
            !self.promoted && self.leases.is_empty(),
            "who does not lead times no lease"
        );
    }

    /// Whether this member keeps the time.
    pub fn is_promoted(&self) -> bool {
        self.promoted
    }

    /// Follows a grant that was applied. Without effect unless promoted.
    pub fn granted(&mut self, id: i64, granted_ttl_s: i64, now: Duration) {
        if self.promoted {
            self.start(id, granted_ttl_s, now);
        }
    }

    /// Follows a revocation that was applied.
    pub fn revoked(&mut self, id: i64) {
        if let Some(timer) = self.leases.remove(&id) {
            let had = self.deadlines.remove(&(timer.deadline, id));
            assert!(had, "every timed lease has one deadline");
        }
    }

    /// Gives a lease its full time again and returns that time in seconds; `None` if it
    /// does not exist, has expired, or this member does not keep the time. An expired one
    /// is not revived: its revocation may be under way.
    pub fn renew(&mut self, id: i64, now: Duration) -> Option<i64> {
        let timer = self.leases.get(&id)?;
        if now >= timer.expiry {
            reachable!("store.renewal-came-after-expiry");
            return None;
        }
        let granted_ttl_s = timer.granted_ttl_s;
        self.start(id, granted_ttl_s, now);
        Some(granted_ttl_s)
    }

    /// How long a lease has still to live: zero if it has expired and is not revoked yet.
    /// `None` as for [`renew`](Self::renew).
    pub fn remaining(&self, id: i64, now: Duration) -> Option<Duration> {
        self.leases
            .get(&id)
            .map(|timer| timer.expiry.saturating_sub(now))
    }

    /// Leases that have expired, those first that expired first, at most `limit` of them:
    /// their revocation is to be proposed. A lease that still exists some time later is
    /// returned again, after longer and longer times.
    pub fn expired(&mut self, now: Duration, limit: usize) -> Vec<i64> {
        let mut expired = Vec::new();
        while expired.len() < limit {
            let Some((deadline, id)) = self.deadlines.first().copied() else {
                break;
            };
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            let timer = self.leases.get_mut(&id).expect("deadlines are of leases");
            assert!(
                timer.expiry <= now,
                "no lease is reported before its time is up"
            );
            let retry_ms = self.retry.first_ms << timer.reports.min(16);
            timer.deadline = now + Duration::from_millis(retry_ms.min(self.retry.max_ms));
            timer.reports += 1;
            sometimes!(timer.reports > 1, "store.expired-lease-was-reported-again");
            self.deadlines.insert((timer.deadline, id));
            expired.push(id);
        }
        expired
    }

    /// When [`expired`](Self::expired) should be called next.
    pub fn next_expiry(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn start(&mut self, id: i64, granted_ttl_s: i64, now: Duration) {
        self.revoked(id);
        let ttl = Duration::from_secs(u64::try_from(granted_ttl_s).unwrap_or(0));
        let expiry = now.saturating_add(ttl);
        self.leases.insert(
            id,
            Timer {
                granted_ttl_s,
                expiry,
                deadline: expiry,
                reports: 0,
            },
        );
        self.deadlines.insert((expiry, id));
        assert!(
            self.promoted && self.deadlines.len() == self.leases.len(),
            "only a leader times leases, each by one deadline"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn promoted(leases: &[(i64, i64)]) -> LeaseClock {
        let mut clock = LeaseClock::new(LeaseRetry::default());
        clock.promote(at(1000), leases.iter().copied());
        clock
    }

    #[test]
    fn a_lease_expires_its_granted_time_after_it_was_granted_or_renewed() {
        let mut clock = promoted(&[(1, 5)]);
        assert_eq!(clock.next_expiry(), Some(at(6000)));
        assert_eq!(clock.renew(1, at(4000)), Some(5));
        assert_eq!(clock.expired(at(8999), 10), [0i64; 0]);
        assert_eq!(clock.remaining(1, at(8000)), Some(at(1000)));
        assert_eq!(clock.expired(at(9000), 10), [1]);
        assert_eq!(clock.remaining(1, at(9500)), Some(at(0)));
    }

    #[test]
    fn an_expired_lease_is_not_revived() {
        let mut clock = promoted(&[(1, 5)]);
        assert_eq!(clock.renew(1, at(6000)), None);
        assert_eq!(clock.renew(2, at(1000)), None);
    }

    #[test]
    fn what_is_not_revoked_is_reported_again_with_growing_pauses() {
        let mut clock = promoted(&[(1, 1)]);
        let mut reports = Vec::new();
        for ms in (1000..40_000).step_by(100) {
            if !clock.expired(at(ms), 1).is_empty() {
                reports.push(ms);
            }
        }
        assert_eq!(
            reports,
            [2000, 2500, 3500, 5500, 9500, 17_500, 25_500, 33_500]
        );
        clock.revoked(1);
        assert_eq!(clock.expired(at(1_000_000), 1), [0i64; 0]);
        assert_eq!(clock.next_expiry(), None);
    }

    #[test]
    fn the_limit_reports_the_longest_expired_first() {
        let mut clock = promoted(&[(1, 3), (2, 1), (3, 2)]);
        assert_eq!(clock.expired(at(10_000), 2), [2, 3]);
        assert_eq!(clock.expired(at(10_000), 2), [1]);
    }

    #[test]
    fn only_the_leader_keeps_time_and_a_new_one_starts_from_the_full_time() {
        let mut clock = promoted(&[(1, 5)]);
        clock.demote();
        clock.granted(2, 5, at(1000));
        assert_eq!(clock.next_expiry(), None);
        assert_eq!(clock.renew(1, at(1001)), None);
        clock.promote(at(5000), [(1, 5), (2, 5)]);
        assert_eq!(clock.next_expiry(), Some(at(10_000)));
    }

    #[test]
    #[should_panic(expected = "every timed lease has one deadline")]
    fn a_lease_without_its_deadline_is_a_bug() {
        let mut clock = promoted(&[(1, 5)]);
        clock.deadlines = BTreeSet::from([(at(1), 1)]);
        clock.revoked(1);
    }
}
