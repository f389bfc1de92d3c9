//! A leader that no majority of its voters can answer leads no more after two election timeouts
//! (check-quorum, thesis section 6.2): whoever is connected to it alone is not kept waiting for as
//! long as the fault lasts.

use std::collections::BTreeMap;
use std::time::Duration;
use veridical_raft::{NodeId, Term};

use super::InvariantViolation;

/// How long a leader may go on.
#[derive(Clone, Copy, Debug)]
pub struct LeadershipBound {
    /// An election timeout, by clocks that are right.
    pub election_timeout: Duration,
    /// The period of heartbeats. Whoever makes no step for longer is stopped, or waits for its
    /// disk, and such time does not count.
    pub heartbeat: Duration,
}

/// What was said before the cut may still arrive for so long.
const UNDER_WAY: Duration = Duration::from_millis(1_000);

/// Clocks may be wrong by so much, in percent.
const CLOCK_PERCENT: u32 = 5;

/// Heartbeats of a leader are at most so many periods apart while nothing keeps it.
const PERIODS: u32 = 3;

/// Leaders that are cut off.
#[derive(Debug)]
pub struct LeadershipInvariants {
    bound: LeadershipBound,
    cut_off: BTreeMap<NodeId, CutOff>,
}

#[derive(Debug)]
struct CutOff {
    term: Term,
    /// How long it has gone on.
    led: Duration,
    last_step: Duration,
}

impl LeadershipInvariants {
    /// With this bound.
    pub fn new(bound: LeadershipBound) -> Self {
        Self {
            bound,
            cut_off: BTreeMap::new(),
        }
    }

    /// A member makes a step `now`, as a leader of `term` that no majority can answer; or as
    /// something else (`None`).
    ///
    /// # Errors
    /// It has led so for too long.
    pub fn stepped(
        &mut self,
        member: NodeId,
        cut_off_in: Option<Term>,
        now: Duration,
    ) -> Result<(), InvariantViolation> {
        let Some(term) = cut_off_in else {
            self.cut_off.remove(&member);
            return Ok(());
        };
        let cut_off = self.cut_off.entry(member).or_insert(CutOff {
            term,
            led: Duration::ZERO,
            last_step: now,
        });
        if cut_off.term != term {
            (cut_off.term, cut_off.led) = (term, Duration::ZERO);
        }
        let gap = now.saturating_sub(cut_off.last_step);
        if gap <= self.bound.heartbeat * PERIODS {
            cut_off.led += gap;
        }
        cut_off.last_step = now;
        let led = cut_off.led;
        let longest = self.bound.longest();
        if led <= longest {
            return Ok(());
        }
        InvariantViolation::new(
            "leads-cut-off",
            format!(
                "member {member:x} leads term {term} for {} ms in which no majority of its voters \
                 could answer; {} ms are allowed",
                led.as_millis(),
                longest.as_millis(),
            ),
        )
    }
}

impl LeadershipBound {
    fn longest(&self) -> Duration {
        self.election_timeout * 2 * (100 + CLOCK_PERCENT) / 100
            + self.heartbeat * PERIODS
            + UNDER_WAY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: LeadershipBound = LeadershipBound {
        election_timeout: Duration::from_millis(1_000),
        heartbeat: Duration::from_millis(100),
    };

    /// Steps of a leader that is cut off, one each `period_ms`, until `until_ms`.
    fn leads(
        leadership: &mut LeadershipInvariants,
        (from_ms, until_ms): (u64, u64),
        period_ms: u64,
    ) -> Result<(), InvariantViolation> {
        let times = (from_ms..=until_ms).step_by(period_ms as usize);
        for at_ms in times {
            leadership.stepped(1, Some(3), Duration::from_millis(at_ms))?;
        }
        Ok(())
    }

    #[test]
    fn a_leader_may_go_on_for_two_election_timeouts_and_what_is_under_way() {
        let mut leadership = LeadershipInvariants::new(BOUND);
        leads(&mut leadership, (0, 3_400), 100).expect("not yet");
        let violation = leads(&mut leadership, (3_450, 3_500), 50).expect_err("too long");
        assert_eq!(violation.signature, "leads-cut-off");
    }

    #[test]
    fn a_leader_that_was_answered_or_elected_again_begins_anew() {
        let mut leadership = LeadershipInvariants::new(BOUND);
        leads(&mut leadership, (0, 3_000), 100).expect("not yet");
        let healed = leadership.stepped(1, None, Duration::from_millis(3_050));
        healed.expect("it is answered");
        leads(&mut leadership, (3_100, 6_000), 100).expect("anew");
        let again = leadership.stepped(1, Some(4), Duration::from_millis(6_100));
        again.expect("elected again");
    }

    #[test]
    fn time_in_which_it_was_stopped_does_not_count() {
        let mut leadership = LeadershipInvariants::new(BOUND);
        leads(&mut leadership, (0, 60_000), 400).expect("it can do nothing");
    }
}
