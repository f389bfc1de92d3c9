//! A calm world in which one member after the other is told to end, as SIGTERM does, and
//! starts again: what everybody does who brings a new version out. Nothing is lost by it, and
//! nobody has to wait for an election timeout, for a leader hands leadership over before it
//! ends.

use veridical_world::{Rng, Stream};

use crate::calm::{calm, discovers};
use crate::plan::{Change, Plan, PlannedChange, ServicePlan, Who};

/// The scenario's name.
pub const NAME: &str = "rolling-restarts";

/// The share of the swarm's plans that are of this sort.
const SWARM_SHARE: f64 = 0.03;

/// Until when members are restarted, in ms.
const BUSY_MS: u64 = 40_000;

/// From one end to the next, in ms: a member is back, and follows, by then.
const GAP_MS: u64 = 3_000;

/// How long a member is down, in ms.
const DOWN_MS: u64 = 500;

/// Between two acknowledged writes there may be this share of an election timeout, in percent.
/// Where leadership is not handed over it takes a whole one, and more.
const GAP_MAX_PERCENT: u64 = 80;

/// Whether the swarm's plan of a seed is of this sort.
pub(crate) fn is_in_swarm(seed: u64) -> bool {
    Rng::for_part(seed, Stream::Nemesis, "rolling restarts in the swarm").chance(SWARM_SHARE)
}

/// The clients of a plan of the swarm, in the scenario of this name.
pub fn plan(drawn: Plan) -> Plan {
    Plan {
        scenario: NAME.to_owned(),
        ..of(drawn)
    }
}

/// The clients of a plan of the swarm, in a calm world with rolling restarts.
pub(crate) fn of(drawn: Plan) -> Plan {
    let mut rng = Rng::for_part(drawn.seed, Stream::Nemesis, NAME);
    let mut changes = Vec::new();
    let mut at_ms = 4_000 + rng.below(GAP_MS);
    while at_ms + GAP_MS < BUSY_MS {
        let who = if rng.chance(0.6) {
            Who::Leader
        } else {
            Who::Site(rng.below(3) as u32)
        };
        changes.push(PlannedChange::new(at_ms, Change::Terminate { who }));
        at_ms += GAP_MS + rng.below(GAP_MS);
    }
    Plan {
        changes,
        service: Some(ServicePlan {
            write_every_ms: 20,
            gap_max_percent: GAP_MAX_PERCENT,
            discovers: discovers(drawn.seed),
        }),
        restart_delay_ms: DOWN_MS,
        ..calm(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;

    #[test]
    fn members_end_one_after_the_other() {
        for seed in 0..50 {
            let plan = plan(swarm::drawn(seed));
            assert!(plan.changes.len() > 3);
            let times: Vec<u64> = plan.changes.iter().map(|change| change.at_ms).collect();
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= GAP_MS));
            assert!(plan.faults.is_empty() && plan.hasty.is_empty());
        }
    }

    #[test]
    fn a_few_plans_of_the_swarm_are_of_this_sort() {
        let steady = (0..500).filter(|seed| is_in_swarm(*seed));
        let count = steady.clone().count();
        assert!((5..30).contains(&count), "{count}");
        for seed in steady {
            assert!(swarm::plan(seed).service.is_some());
        }
    }
}
