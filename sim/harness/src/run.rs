//! One run: a plan carried out in the simulated world, with all that is kept of it.

use std::collections::BTreeMap;
use std::time::Duration;
use veridical_world::{Decision, DiskFaults, Event, NetworkFaults, Schedule};

use crate::report::{Began, Finding, RunReport};
use crate::view::{DecodeUnit, Recording};

#[cfg(madsim)]
pub use simulated::{simulate, stop_at};

/// What is kept of a run beside its report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// The history of the clients.
    pub history: bool,
    /// The trace of the world.
    pub trace: bool,
    /// The random decisions.
    pub decisions: bool,
    /// When planned operations were called.
    pub timetable: bool,
    /// What a page or a trace shows of it.
    pub recording: bool,
}

/// How a run is made, beside its plan.
#[derive(Debug, Default)]
pub struct Settings {
    /// What is kept.
    pub keep: Keep,
    /// Where random decisions are taken from, where that has a counterpart.
    pub record: Option<Vec<Decision>>,
    /// Stop at this simulated time.
    pub until: Option<Duration>,
}

/// What a plan says of the world that the run takes place in.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// The network when no fault is on top of it.
    pub network: NetworkFaults,
    /// Each disk when no fault is on top of it.
    pub disk: DiskFaults,
    /// In which order tasks run and messages arrive.
    pub schedule: Schedule,
    /// Nodes of the system that are simulated, for the report.
    pub nodes: u32,
    /// Settings of the system that are not at their defaults, for the report.
    pub knobs: BTreeMap<String, u64>,
    /// What a recording understands of the messages.
    pub decode: DecodeUnit,
}

/// What the driver of a run has observed at its end: the verdict and what goes with it.
#[derive(Clone, Debug)]
pub struct Observed<E> {
    /// Operations that clients called.
    pub operations: u64,
    /// Of these, those whose outcome nobody can tell.
    pub unknown_outcomes: u64,
    /// The first thing that was wrong.
    pub finding: Option<Finding>,
    /// What a checker could not decide.
    pub undecided: Option<String>,
    /// What else clients observed, by name (`watch responses`).
    pub observations: BTreeMap<String, u64>,
    /// What was done to the system beside faults, by name.
    pub counts: BTreeMap<&'static str, u64>,
    /// All events of the history, if they were kept.
    pub history: Option<Vec<E>>,
    /// When planned operations were called, if it was kept.
    pub timetable: Option<Vec<Began>>,
    /// What the nodes were doing at the end, for a run that was stopped.
    pub nodes_at_end: Option<String>,
}

impl<E> Observed<E> {
    /// Of a run that did not come to an end.
    pub const fn nothing() -> Self {
        Self {
            operations: 0,
            unknown_outcomes: 0,
            finding: None,
            undecided: None,
            observations: BTreeMap::new(),
            counts: BTreeMap::new(),
            history: None,
            timetable: None,
            nodes_at_end: None,
        }
    }
}

/// A run with what was kept of it.
#[derive(Debug)]
pub struct Run<E, S> {
    /// What came of it.
    pub report: RunReport,
    /// The history, if it was kept.
    pub history: Vec<E>,
    /// The trace, if it was kept.
    pub trace: Vec<Event>,
    /// The random decisions, if they were kept.
    pub decisions: Vec<Decision>,
    /// What was recorded, if it was.
    pub recording: Option<Recording<S>>,
    /// What the nodes were doing when the run was stopped, if it was to be stopped.
    pub nodes_at_end: Option<String>,
}

#[cfg(madsim)]
mod simulated {
    use std::time::{Duration, Instant};
    use veridical_checkers::check::peak_memory_bytes;
    use veridical_world::{
        DecisionMode, ProcessExit, RunOutcome, TraceListener, TraceMode, World, WorldConfig,
    };

    use super::{Conditions, Observed, Run, Settings};
    use crate::program::reproduce;
    use crate::report::{Class, Finding, QueueFilling, RunReport};
    use crate::scenario::{About, Identity, Plan};
    use crate::view::{RecordedState, Recorder};

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
        let mut outcome =
            World::run_catching(identity.seed, config, |world| drive(world, handed_over));
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
                Some(Finding::new(Class::Unknown, "undecided", undecided))
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
}
