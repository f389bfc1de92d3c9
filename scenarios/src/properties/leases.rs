//! The upper bound of a lease: once nobody renews it and a leader is there, it ends when
//! its time is up. (The lower bound is the business of the checker of histories: a lease
//! that ends early shows in what clients read.)

use std::collections::BTreeMap;
use std::time::Duration;

use super::InvariantViolation;

/// How long leases may live on.
#[derive(Clone, Copy, Debug)]
pub struct LeaseBound {
    /// By how much clocks may run slow, in millionths.
    pub drift_ppm: u64,
    /// From the end of a lease's time until its end is looked for, agreed on and applied.
    pub slack: Duration,
    /// How often a leader looks for leases whose time is up, and how many of them it ends
    /// then: when the time of many is up at once, the last one waits for the others.
    pub check_period: Duration,
    /// See `check_period`.
    pub ends_per_check: usize,
}

/// Leases that nobody renews any more.
#[derive(Debug)]
pub struct LeaseDeadlines {
    bound: LeaseBound,
    /// When the last thing happened that gives leases their whole time anew: a renewal
    /// that was still under way, or a new leader.
    since: Duration,
    term: u64,
    /// The most leases that were there at a time.
    most: usize,
}

impl LeaseDeadlines {
    /// From `since` on, in simulated time, nobody renews a lease.
    pub fn new(bound: LeaseBound, since: Duration) -> Self {
        Self {
            bound,
            since,
            term: 0,
            most: 0,
        }
    }

    /// Looks at the leases that are left `now`, with their time to live in seconds, while
    /// a member leads in `term`.
    ///
    /// # Errors
    /// One of them should have ended.
    pub fn look(
        &mut self,
        now: Duration,
        term: u64,
        left: &BTreeMap<i64, i64>,
    ) -> Result<(), InvariantViolation> {
        if term > self.term {
            self.term = term;
            self.since = self.since.max(now);
        }
        self.most = self.most.max(left.len());
        for (id, ttl_s) in left {
            let deadline = self.since + self.bound.longest(*ttl_s, self.most);
            if now > deadline {
                return InvariantViolation::new(
                    "lease-outlived",
                    format!(
                        "lease {id} of {ttl_s} s is there at {} ms; since {} ms nobody can have \
                         renewed it, so that it should have ended by {} ms",
                        now.as_millis(),
                        self.since.as_millis(),
                        deadline.as_millis(),
                    ),
                );
            }
        }
        Ok(())
    }
}

impl LeaseBound {
    /// The longest that one of so many leases lives after it was renewed for the last time.
    fn longest(&self, ttl_s: i64, leases: usize) -> Duration {
        let checks = leases.div_ceil(self.ends_per_check.max(1));
        let queue = self.check_period * u32::try_from(checks).unwrap_or(u32::MAX);
        longest_time(ttl_s, self.drift_ppm) + self.slack + queue
    }
}

/// The time of a lease by a clock that runs slow by so many millionths.
fn longest_time(ttl_s: i64, drift_ppm: u64) -> Duration {
    let ttl = Duration::from_secs(ttl_s.unsigned_abs());
    ttl + Duration::from_micros(ttl.as_secs() * drift_ppm)
}

/// What a member said of a lease that nobody has renewed meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct RemainingTime {
    /// The last renewal was before.
    pub renewed_by: Duration,
    /// The question was put then.
    pub asked_at: Duration,
    /// The whole time of the lease, in seconds.
    pub granted_ttl_s: i64,
    /// What is left of it, in seconds.
    pub left_s: i64,
}

impl RemainingTime {
    /// With clocks that run slow by so many millionths, and no new leader since the renewal.
    ///
    /// # Errors
    /// More is left than can be.
    pub fn check(&self, drift_ppm: u64) -> Result<(), InvariantViolation> {
        let end = self.renewed_by + longest_time(self.granted_ttl_s, drift_ppm);
        let left = Duration::from_secs(u64::try_from(self.left_s).unwrap_or(0));
        if self.asked_at + left <= end {
            return Ok(());
        }
        InvariantViolation::new(
            "lease-outlived",
            format!(
                "at {} ms {} s of a lease of {} s were left, which nobody has renewed since {} ms",
                self.asked_at.as_millis(),
                self.left_s,
                self.granted_ttl_s,
                self.renewed_by.as_millis(),
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlines() -> LeaseDeadlines {
        let bound = LeaseBound {
            drift_ppm: 100_000,
            slack: Duration::from_millis(500),
            check_period: Duration::from_millis(500),
            ends_per_check: 2,
        };
        LeaseDeadlines::new(bound, Duration::from_secs(100))
    }

    fn leases() -> BTreeMap<i64, i64> {
        BTreeMap::from([(7, 10)])
    }

    #[test]
    fn a_lease_may_live_for_its_time_the_clocks_error_and_the_slack() {
        let mut deadlines = deadlines();
        let end = Duration::from_secs(112);
        deadlines.look(end, 0, &leases()).expect("in time");
        let violation = deadlines.look(end + Duration::from_millis(1), 0, &leases());
        assert_eq!(violation.expect_err("too late").signature, "lease-outlived");
    }

    #[test]
    fn the_last_of_many_leases_waits_for_the_others() {
        let mut deadlines = deadlines();
        let five = (1..=5).map(|id| (id, 10)).collect();
        let end = Duration::from_secs(113);
        deadlines.look(end, 0, &five).expect("in time");
        let violation = deadlines.look(end + Duration::from_millis(1), 0, &leases());
        assert_eq!(violation.expect_err("too late").signature, "lease-outlived");
    }

    #[test]
    fn a_new_leader_gives_leases_their_time_anew() {
        let mut deadlines = deadlines();
        deadlines
            .look(Duration::from_secs(105), 3, &leases())
            .expect("in time");
        deadlines
            .look(Duration::from_secs(117), 3, &leases())
            .expect("in time");
        deadlines
            .look(Duration::from_secs(118), 3, &leases())
            .expect_err("too late");
    }

    #[test]
    fn a_lease_is_not_said_to_last_longer_than_it_can() {
        let check = |asked_s, left_s| {
            let remaining = RemainingTime {
                renewed_by: Duration::from_secs(100),
                asked_at: Duration::from_secs(asked_s),
                granted_ttl_s: 10,
                left_s,
            };
            remaining.check(10_000)
        };
        check(101, 9).expect("nine are left");
        check(101, 10).expect_err("ten were left a second ago");
    }

    #[test]
    fn leases_that_are_gone_have_no_deadline() {
        let mut deadlines = deadlines();
        deadlines
            .look(Duration::from_secs(900), 0, &BTreeMap::new())
            .expect("there is none");
    }
}
