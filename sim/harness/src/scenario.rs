//! What somebody writes who wants to simulate a system with a plan or checks of its own: a
//! [`Plan`] and a [`Scenario`]. For nodes and clients of one object, such as a register, there
//! is less to write: see `System`, which implements [`Scenario`].
//!
//! | an implementor writes | as | how long it is |
//! |---|---|---|
//! | the plan of a seed | [`Scenario::plan`] | what the clients do and what is done to the system, drawn from the seed: 20 to 60 lines |
//! | a run of a plan | `Scenario::run` | start the processes, let clients work, inject the faults, check: 40 to 80 lines, with `simulate` around it |
//! | the parts of a plan | [`Plan`] | for shrinking and exploring; nothing with [`TimedPlan`](crate::TimedPlan), which has operations and faults with their times |
//! | the verdict | [`Observed`](crate::run::Observed) | what the checker says; `ObjectRecorder` checks histories of registers, maps, queues, … while they are made |
//!
//! Everything else follows: a process for each seed, campaigns that can be killed and go
//! on, shards and their merging, exploration, shrinking, replay by the record of decisions,
//! kept failures, recall of planted bugs, reports, pages and traces.
//! [`main`](crate::main) makes a program of it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use veridical_world::Rng;

use crate::report::Began;
#[cfg(madsim)]
use crate::run::{Run, Settings};
use crate::size::Size;
use crate::style::{ShownOperation, Style};

/// What tells a plan from another one of the same scenario, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The version of the written form, [`Plan::FORMAT`] when the plan is made.
    pub format: u32,
    /// The scenario that it was made by.
    pub scenario: String,
    /// The seed that it was made from; it seeds the run's own draws, too.
    pub seed: u64,
    /// The seed of the scheduler, if it is not the one that follows from the run's seed.
    pub schedule_seed: Option<u64>,
    /// The planted bug, if any.
    pub planted: Option<String>,
}

/// Everything that is decided about a run before it starts. A plan is a pure function of a
/// scenario and a seed; it is data that can be printed, kept, edited and made small.
///
/// [`TimedPlan`](crate::TimedPlan) implements it for the usual case.
pub trait Plan:
    Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The version of the written form; a plan of another one is refused.
    const FORMAT: u32;

    /// The sorts of parts that can be left out, by their names, those first that make later
    /// ones fewer.
    const PARTS: &'static [&'static str];

    /// Whether what the plan names is there: a plan may have been written by hand.
    ///
    /// # Errors
    /// It names something that it does not have.
    fn check(&self) -> Result<(), InvalidPlan> {
        Ok(())
    }

    /// Where the plan comes from.
    fn identity(&self) -> Identity;

    /// The same plan under other draws of the run and of the scheduler.
    fn set_draws(&mut self, seed: u64, schedule_seed: Option<u64>);

    /// The same plan with another bug planted, or with none.
    fn set_planted(&mut self, bug: Option<String>);

    /// How many parts of the sort [`PARTS`](Self::PARTS)`[sort]` there are.
    fn count(&self, sort: usize) -> usize;

    /// The plan without the parts of that sort whose numbers are in `out`.
    #[must_use]
    fn without(&self, sort: usize, out: &BTreeSet<usize>) -> Self;

    /// Simpler plans of the same parts, the greatest gain first: settings at their defaults,
    /// a perfect network, an earlier end. `failed_at_ms` is when this one failed.
    fn simpler(&self, failed_at_ms: u64) -> Vec<Self> {
        let _ = failed_at_ms;
        Vec::new()
    }

    /// A small plan drawn at random from what this one consists of, if the scenario knows
    /// how: a way out where no single part can be left out.
    fn resampled(&self, rng: &mut Rng) -> Option<Self> {
        let _ = rng;
        None
    }

    /// The plan with each operation at the time at which it was called in a run, so that it
    /// stays there when what came before it is left out.
    fn pinned(&self, timetable: &[Began]) -> Option<Self> {
        let _ = timetable;
        None
    }

    /// How big the plan is.
    fn size(&self, failed_at_ms: u64) -> Size;

    /// What the plan consists of, in words that do not depend on how often and when: small
    /// failures of the same shape probably have the same cause.
    fn shape(&self) -> String;

    /// A plan between `kept`, whose run reached what few runs do, and `fresh`, the plan of a
    /// seed that was never run. It has the draws of `fresh`.
    #[must_use]
    fn changed(kept: &Self, fresh: &Self, rng: &mut Rng) -> Self;
}

/// Why a plan cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidPlan {
    /// What is wrong with it, for a person.
    pub reason: String,
}

/// A bug that can be planted in the system on purpose, to measure whether it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlantedName {
    /// Its name on the command line.
    pub name: &'static str,
    /// Why `recall` looks for it only when it is named, if that is so.
    pub hidden: Option<&'static str>,
    /// The scenario in which `recall` looks for it, if no other one is named: where the default
    /// one promises not to do what the bug needs.
    pub scenario: Option<&'static str>,
}

/// A scenario by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about, for people.
    pub about: &'static str,
}

/// How a person calls the program, and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The command that runs the program, as it stands in reports (`cargo sim`).
    pub command: &'static str,
    /// One line for `--help`.
    pub text: &'static str,
    /// The version of the system.
    pub version: &'static str,
}

/// A system under simulation: its scenarios by name, a run of a plan, and what is shown of
/// it.
pub trait Scenario: Sync + 'static {
    /// Its plans.
    type Plan: Plan;
    /// An event of the clients' history, one a line in `history.jsonl`.
    type Event: Serialize + DeserializeOwned + Send;
    /// What a process says of itself to a recorder; `()` if it says nothing.
    type State: Clone + Default + PartialEq + Serialize + DeserializeOwned + Send + 'static;

    /// How the program is called.
    fn about(&self) -> About;

    /// The scenarios, the default one first; there is at least one.
    fn names(&self) -> Vec<Named>;

    /// The plan of a seed of the scenario with this name, if there is one.
    fn plan(&self, name: &str, seed: u64) -> Option<Self::Plan>;

    /// Carries a plan out.
    #[cfg(madsim)]
    fn run(&self, plan: &Self::Plan, settings: Settings) -> Run<Self::Event, Self::State>;

    /// The bugs that can be planted.
    fn planted_bugs(&self) -> Vec<PlantedName> {
        Vec::new()
    }

    /// Whether changed plans of this scenario keep to its rules, so that it can be explored.
    fn can_be_explored(&self, name: &str) -> bool {
        self.names().iter().any(|known| known.name == name)
    }

    /// The operations of a history as they are shown.
    fn operations(&self, plan: &Self::Plan, history: &[Self::Event]) -> Vec<ShownOperation>;

    /// Writes what else belongs into the folder of a kept run.
    ///
    /// # Errors
    /// It cannot be written.
    fn write_further_files(&self, plan: &Self::Plan, dir: &Path) -> io::Result<()> {
        let _ = (plan, dir);
        Ok(())
    }

    /// How runs are shown.
    fn style(&self) -> Style<Self::State> {
        Style::default()
    }
}
