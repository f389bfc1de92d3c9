//! The scenarios by name.

use crate::plan::Plan;
use crate::{rotten_disk, swarm};

/// A way to make a plan of a seed.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about, in one line.
    pub about: &'static str,
    /// The plan of a seed.
    pub plan: fn(u64) -> Plan,
}

/// All scenarios, the default one first.
pub const ALL: [Scenario; 2] = [
    Scenario {
        name: swarm::NAME,
        about: "a random subset of all faults that a majority has to survive",
        plan: swarm::plan,
    },
    Scenario {
        name: rotten_disk::NAME,
        about: "the swarm, and one member's disk that decays: no wrong answer, and it says so",
        plan: rotten_disk::plan,
    },
];

/// The scenario of this name.
pub fn by_name(name: &str) -> Option<Scenario> {
    ALL.into_iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_which_scenario_made_it() {
        for scenario in ALL {
            assert_eq!((scenario.plan)(7).scenario, scenario.name);
            assert_eq!(
                by_name(scenario.name).map(|found| found.name),
                Some(scenario.name)
            );
        }
        assert!(by_name("no-such-scenario").is_none());
    }
}
