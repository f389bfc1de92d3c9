//! One run: a plan carried out in the simulated world, with all that is kept of it.

use std::collections::BTreeMap;
use std::time::Duration;
use veridical_world::{Decision, DiskFaults, Event, NetworkFaults, Schedule};

use crate::recording::{DecodeUnit, Recording};
use crate::report::{Began, Finding, RunReport};

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
    /// How far a checker goes before it calls something undecided.
    pub limits: Limits,
}

/// How far a checker goes before it calls something undecided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limits {
    /// What nearly every run is decided with.
    #[default]
    Usual,
    /// What a run that was undecided is tried again with.
    Larger,
}

impl Limits {
    /// What a limit of a checker becomes.
    pub const fn of(self, usual: usize) -> usize {
        match self {
            Self::Usual => usual,
            Self::Larger => usual.saturating_mul(8),
        }
    }
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
