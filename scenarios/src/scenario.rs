//! The scenarios by name.

use crate::plan::Plan;
use crate::{lying_disk, rotten_disk, stale_disk, swarm};

/// All scenarios with what they are about, the default one first.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let swarms = swarm::names().map(|name| {
        let about = match name {
            swarm::NAME => "a random subset of all faults that a majority has to survive",
            _ => "the same under one sort of schedule",
        };
        (name, about)
    });
    swarms.chain([
        (
            rotten_disk::NAME,
            "the swarm, and one member's disk that decays: no wrong answer, and the member says so",
        ),
        (
            lying_disk::NAME,
            "the swarm on disks that synchronise nothing, and no loss of power: nothing may be lost",
        ),
        (
            stale_disk::NAME,
            "a member with an old copy of its disk: beyond what is promised, to see that it is noticed",
        ),
    ])
}

/// The plan of a seed of the scenario with this name, if there is one.
pub fn plan_of(scenario: &str, seed: u64) -> Option<Plan> {
    match scenario {
        rotten_disk::NAME => Some(rotten_disk::plan(seed)),
        lying_disk::NAME => Some(lying_disk::plan(seed)),
        stale_disk::NAME => Some(stale_disk::plan(seed)),
        _ => swarm::plan_of(scenario, seed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_which_scenario_made_it() {
        for (name, _) in all() {
            assert_eq!(
                plan_of(name, 7).map(|plan| plan.scenario).as_deref(),
                Some(name)
            );
        }
        assert!(plan_of("no-such-scenario", 7).is_none());
    }
}
