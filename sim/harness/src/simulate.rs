//! Carries out a plan in the simulated world, and puts together what came of it.

use std::time::{Duration, Instant};
use veridical_checkers::check::peak_memory_bytes;
use veridical_world::{
    DecisionMode, ProcessExit, RunOutcome, TraceListener, TraceMode, World, WorldConfig,
};

use crate::program::reproduce;
use crate::recording::{RecordedState, Recorder};
use crate::report::{Class, Finding, QueueFilling, RunReport, UNDECIDED};
use crate::run::{Conditions, Observed, Run, Settings};
use crate::scenario::{About, Identity, Plan};

/// Runs `drive` in a world as the plan and its conditions say, and puts together what
/// came of it. `drive` starts the processes, injects the faults, waits for the clients,
/// and returns what was observed; a panic of it is a finding, and so is one of a process
/// that nothing else was made of.
pub fn simulate<P, E, S, F, Fut>(
    about: About,
    plan: &P,
    conditions: Conditions,
    settings: Settings,
    drive: F,
) -> Run<E, S>
where
    P: Plan,
    E: Send,
    S: RecordedState,
    F: FnOnce(World, Option<Recorder<S>>) -> Fut + Send,
    Fut: Future<Output = Observed<E>>,
{
    let Settings {
        keep,
        record,
        until,
        limits: _,
    } = settings;
    let identity = plan.identity();
    let recorder = keep
        .recording
        .then(|| Recorder::<S>::new(conditions.decode));
    let started = Instant::now();
    let config = WorldConfig {
        network: conditions.network,
        disk: conditions.disk,
        trace: if keep.trace {
            TraceMode::Full
        } else {
            TraceMode::Off
        },
        decisions: DecisionMode {
            keep: keep.decisions,
            record,
        },
        schedule_seed: identity.schedule_seed,
        trace_listener: recorder
            .clone()
            .map(|recorder| Box::new(recorder) as Box<dyn TraceListener>),
        schedule: conditions.schedule.clone(),
        quiet_panics: !keep.trace,
        ..WorldConfig::default()
    };
    let handed_over = recorder.clone();
    let mut outcome = World::run_catching(identity.seed, config, |world| drive(world, handed_over));
    let wall = started.elapsed();
    let end_ns = outcome.simulated.as_nanos() as u64;
    let trace = std::mem::take(&mut outcome.trace);
    let decisions = std::mem::take(&mut outcome.decisions);
    let is_stopped = until.is_some_and(|until| outcome.simulated >= until);
    let (report, history, nodes_at_end) =
        report(about, identity, conditions, outcome, (is_stopped, wall));
    Run {
        report,
        history: history.unwrap_or_default(),
        trace,
        decisions,
        recording: recorder.map(|recorder| recorder.take(end_ns)),
        nodes_at_end,
    }
}

/// The report of a run, its history and what its nodes were doing at the end.
fn report<E>(
    about: About,
    identity: Identity,
    conditions: Conditions,
    outcome: RunOutcome<Result<Observed<E>, String>>,
    (is_stopped, wall): (bool, Duration),
) -> (RunReport, Option<Vec<E>>, Option<String>) {
    let exits = outcome.exits;
    let (observed, driver_panic) = match outcome.output {
        Ok(observed) => (observed, None),
        Err(text) => {
            let finding = Finding::new(Class::Crash, "driver", text);
            (Observed::nothing(), Some(finding))
        }
    };
    let finding = driver_panic
        .or(observed.finding)
        .or_else(|| process_panic(&exits))
        .or_else(|| {
            let undecided = observed.undecided.filter(|_| !is_stopped)?;
            Some(Finding::new(Class::Unknown, UNDECIDED, undecided))
        });
    let report = RunReport {
        seed: identity.seed,
        scenario: identity.scenario.clone(),
        planted: identity.planted.clone(),
        digest: format!("{:032x}", outcome.digest),
        verdict: match &finding {
            Some(finding) => finding.class,
            None if is_stopped => Class::Stopped,
            None => Class::Ok,
        },
        members: conditions.nodes,
        knobs: conditions.knobs,
        schedule: conditions.schedule.to_string(),
        operations: observed.operations,
        unknown_outcomes: observed.unknown_outcomes,
        observations: observed.observations,
        simulated_ms: outcome.simulated.as_millis() as u64,
        wall_ms: wall.as_secs_f64() * 1_000.0,
        faults: outcome
            .counters
            .into_iter()
            .chain(observed.counts)
            .map(|(name, count)| (name.to_owned(), count))
            .chain(crashes_by_failpoint())
            .collect(),
        // A process runs one seed, so what its coverage points have counted is this run's.
        sometimes: veridical_probe::coverage()
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .collect(),
        queues: veridical_probe::queues()
            .into_iter()
            .map(|(name, filling)| {
                let filling = QueueFilling {
                    longest: filling.longest,
                    bound: filling.bound,
                };
                (name.to_owned(), filling)
            })
            .collect(),
        peak_memory_bytes: peak_memory_bytes(),
        reproduce: reproduce(
            about.command,
            &identity.scenario,
            identity.seed,
            identity.planted.as_deref(),
        ),
        finding,
        replay: outcome.replay,
        timetable: observed.timetable,
    };
    (report, observed.history, observed.nodes_at_end)
}

/// The first panic of a process that is known of at the end of the run.
fn process_panic(exits: &[(veridical_world::ProcessId, ProcessExit)]) -> Option<Finding> {
    exits.iter().find_map(|(process, exit)| match exit {
        ProcessExit::Panicked(text) => Some(Finding::new(
            Class::Crash,
            "panic",
            format!("process {} panicked: {text}", process.0),
        )),
        ProcessExit::Returned(_) => None,
    })
}

/// Where the run's processes have crashed in their code.
fn crashes_by_failpoint() -> impl Iterator<Item = (String, u64)> {
    veridical_probe::failpoints()
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (format!("failpoint.{name}"), count))
}

/// Waits until that time of the run, or for ever if there is none.
pub async fn stop_at(world: &World, until: Option<Duration>) {
    match until {
        Some(until) => {
            while world.now() < until {
                world.sleep(until - world.now()).await;
            }
        }
        None => std::future::pending().await,
    }
}
