//! A scenario for the harness's own tests: its plans are real, its runs are not.

use veridical_world::{Fault, NetworkFaults, ProcessId, Rng, Stream};

use crate::scenario::{About, Named, PlantedName, Scenario};
use crate::style::ShownOperation;
use crate::timed_fault::TimedFault;
use crate::timed_plan::{TimedOperation, TimedPlan};

/// The scenario's name.
pub const NAME: &str = "toy";

/// The scenario.
pub struct Toy;

/// The plan of a seed.
pub fn plan(seed: u64) -> TimedPlan<u32> {
    let mut rng = Rng::for_stream(seed, Stream::Workload);
    let mut plan = TimedPlan::new(NAME, seed);
    plan.heal_at_ms = 800;
    plan.end_at_ms = 1_000;
    plan.network = NetworkFaults {
        drop_probability: 0.1,
        ..NetworkFaults::none()
    };
    plan.operations = (0..20)
        .map(|_| TimedOperation {
            at_ms: rng.below(1_000),
            client: rng.below(3),
            op: rng.below(9) as u32,
        })
        .collect();
    plan.faults = (0..6)
        .map(|_| TimedFault {
            at_ms: rng.below(800),
            fault: Fault::Pause {
                process: ProcessId(rng.below(3) as u32),
                duration_ms: Some(rng.below(100)),
            },
        })
        .collect();
    plan.sort();
    plan
}

impl Scenario for Toy {
    type Plan = TimedPlan<u32>;
    type Event = ();
    type State = ();

    fn about(&self) -> About {
        About {
            command: "toy",
            text: "For tests.",
            version: "0",
        }
    }

    fn names(&self) -> Vec<Named> {
        vec![Named {
            name: NAME,
            about: "nothing happens",
        }]
    }

    fn plan(&self, name: &str, seed: u64) -> Option<TimedPlan<u32>> {
        (name == NAME).then(|| plan(seed))
    }

    #[cfg(madsim)]
    fn run(&self, _: &TimedPlan<u32>, _: crate::run::Settings) -> crate::run::Run<(), ()> {
        unreachable!("tests of the harness run stand-ins")
    }

    fn planted_bugs(&self) -> Vec<PlantedName> {
        vec![PlantedName {
            name: "bug",
            hidden: None,
            scenario: None,
        }]
    }

    fn operations(&self, _: &TimedPlan<u32>, _: &[()]) -> Vec<ShownOperation> {
        Vec::new()
    }
}
