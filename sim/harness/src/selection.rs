//! What a command line selects: a scenario, the plan of a seed, a bug, how many jobs. All
//! commands share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::CommandError;
use crate::scenario::{Plan, Scenario};

/// The scenario of that name, or the default one.
pub(crate) fn chosen<S: Scenario>(scenario: &S, name: Option<&str>) -> String {
    match name {
        Some(name) => name.to_owned(),
        None => {
            let names = scenario.names();
            let default = names.first().expect("a program has a scenario");
            default.name.to_owned()
        }
    }
}

/// Whether the scenario knows a bug of that name.
pub(crate) fn is_bug<S: Scenario>(scenario: &S, name: &str) -> bool {
    scenario.planted_bugs().iter().any(|bug| bug.name == name)
}

/// The plan of a seed of the scenario with this name, with that bug planted.
pub(crate) fn plan_of<S: Scenario>(
    scenario: &S,
    name: &str,
    seed: u64,
    planted: Option<&str>,
) -> Result<S::Plan, CommandError> {
    let command = || scenario.about().command.to_owned();
    let Some(mut plan) = scenario.plan(name, seed) else {
        return Err(CommandError::NoScenario {
            name: name.to_owned(),
            command: command(),
        });
    };
    let identity = plan.identity();
    assert_eq!(
        (identity.scenario.as_str(), identity.seed, identity.format),
        (name, seed, S::Plan::FORMAT),
        "a plan says where it comes from"
    );
    if let Some(bug) = planted {
        if !is_bug(scenario, bug) {
            return Err(CommandError::NoBug {
                name: bug.to_owned(),
                command: command(),
            });
        }
        plan.set_planted(Some(bug.to_owned()));
    }
    Ok(plan)
}

pub(crate) fn jobs(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Set by SIGINT: no further seed is begun, and what there is gets printed.
pub(crate) fn interruption() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    // Without the handler SIGINT simply ends the program.
    let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));
    interrupted
}
