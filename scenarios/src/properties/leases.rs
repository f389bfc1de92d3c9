//! The upper bound of a lease: once nobody renews it and a leader is there, it ends when
//! its time is up. (The lower bound is the business of the checker of histories: a lease
//! that ends early shows in what clients read.)

use std::collections::BTreeMap;
use std::time::Duration;

use super::Broken;

/// How long leases may live on.
#[derive(Clone, Copy, Debug)]
pub struct LeaseBound {
    /// By how much clocks may run slow, in millionths.
    pub drift_ppm: u64,
    /// From the end of a lease's time until its end is looked for, agreed on and applied.
    pub slack: Duration,
}

/// Leases that nobody renews any more.
#[derive(Debug)]
pub struct LeaseDeadlines {
    bound: LeaseBound,
    /// When the last thing happened that gives leases their whole time anew: a renewal
    /// that was still under way, or a new leader.
    since: Duration,
    term: u64,
}

impl LeaseDeadlines {
    /// From `since` on, in simulated time, nobody renews a lease.
    pub fn new(bound: LeaseBound, since: Duration) -> Self {
        Self {
            bound,
            since,
            term: 0,
        }
    }

    /// Looks at the leases that are left `now`, with their time to live in seconds, while
    /// `term` has a leader or is about to get one.
    ///
    /// # Errors
    /// One of them should have ended.
    pub fn look(
        &mut self,
        now: Duration,
        term: u64,
        left: &BTreeMap<i64, i64>,
    ) -> Result<(), Broken> {
        if term > self.term {
            self.term = term;
            self.since = self.since.max(now);
        }
        for (id, ttl_s) in left {
            let deadline = self.since + self.bound.longest(*ttl_s);
            if now > deadline {
                return Broken::new(
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
    /// A member that was asked at `asked_at` said that `left_s` seconds of a lease of
    /// `granted_ttl_s` seconds are left; it was renewed for the last time before
    /// `renewed_by`, and nobody has become leader since.
    ///
    /// # Errors
    /// More is left than can be.
    pub fn check_told(
        &self,
        renewed_by: Duration,
        asked_at: Duration,
        granted_ttl_s: i64,
        left_s: i64,
    ) -> Result<(), Broken> {
        let end = renewed_by + self.longest(granted_ttl_s);
        let left = Duration::from_secs(u64::try_from(left_s).unwrap_or(0));
        if asked_at + left <= end {
            return Ok(());
        }
        Broken::new(
            "lease-outlived",
            format!(
                "at {} ms {left_s} s of a lease of {granted_ttl_s} s were left, which nobody has \
                 renewed since {} ms",
                asked_at.as_millis(),
                renewed_by.as_millis(),
            ),
        )
    }

    /// The longest that a lease lives after it was renewed for the last time.
    fn longest(&self, ttl_s: i64) -> Duration {
        let ttl = Duration::from_secs(ttl_s.unsigned_abs());
        let drift_us = ttl.as_secs() * self.drift_ppm;
        ttl + Duration::from_micros(drift_us) + self.slack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlines() -> LeaseDeadlines {
        let bound = LeaseBound {
            drift_ppm: 100_000,
            slack: Duration::from_secs(1),
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
        let broken = deadlines.look(end + Duration::from_millis(1), 0, &leases());
        assert_eq!(broken.expect_err("too late").signature, "lease-outlived");
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
        let bound = LeaseBound {
            drift_ppm: 10_000,
            slack: Duration::ZERO,
        };
        let told = |asked_s, left_s| {
            let asked = Duration::from_secs(asked_s);
            bound.check_told(Duration::from_secs(100), asked, 10, left_s)
        };
        told(101, 9).expect("nine are left");
        told(101, 10).expect_err("ten were left a second ago");
    }

    #[test]
    fn leases_that_are_gone_have_no_deadline() {
        let mut deadlines = deadlines();
        deadlines
            .look(Duration::from_secs(900), 0, &BTreeMap::new())
            .expect("there is none");
    }
}
