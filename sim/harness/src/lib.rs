//! Everything that follows from a scenario: for any system, not only for our store.
//!
//! Inputs: a [`Scenario`], which makes a [`Plan`] of a seed and carries it out in the
//! simulated world, and a command line.
//! Outputs: a report for each seed (verdict, digest, faults that took effect), on a failure
//! the command that reproduces it and a folder with everything there is; campaigns,
//! explorations, small failures, recall of planted bugs, pages, traces, JUnit, JSON.
//! Dependencies: `world`, `probe`, `checkers`, `histories`; nothing of any system.
//!
//! [`main`] is the whole program of a scenario. `System` is the easy door for whoever
//! implements one, [`scenario`] the one behind it;
//! `campaign` runs many seeds, each in a process of its own ([`isolated`]); `explore` also
//! changes the plans that reach what others do not; `shrink` makes failures small, `replay`
//! and `bugbase` run kept ones again, `recall` looks for planted bugs, `view` shows a run.
//!
//! What runs in the simulated world exists only under `--cfg madsim`.

pub mod artefact;
pub mod bugbase;
pub mod campaign;
pub mod command_line;
mod commands;
pub mod coverage;
pub mod error;
pub mod explore;
mod failures;
pub mod inspect;
pub mod isolated;
pub mod junit;
pub mod kept_logs;
#[cfg(madsim)]
pub mod object_recorder;
mod output;
pub mod parts;
#[cfg(madsim)]
pub mod process_log;
pub mod program;
mod progress;
pub mod recall;
pub mod recording;
pub mod replay;
pub mod report;
pub mod run;
pub mod scenario;
mod selection;
pub mod shrink;
#[cfg(madsim)]
pub mod simulate;
pub mod size;
pub mod style;
pub mod summary;
#[cfg(madsim)]
pub mod system;
pub mod timed_fault;
pub mod timed_plan;
pub mod view;

#[cfg(all(test, unix))]
mod fake_runner;
#[cfg(test)]
mod toy;

/// The examples of the README are compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use std::process::ExitCode;

use command_line::{Command, CommandLine, RunArguments};
use error::CommandError;

#[cfg(madsim)]
pub use object_recorder::{Ending, ObjectRecorder};
pub use scenario::{About, Identity, InvalidPlan, Named, Plan, PlantedName, Scenario};
#[cfg(madsim)]
pub use system::{Load, System};
pub use timed_fault::TimedFault;
pub use timed_plan::{TimedOperation, TimedPlan};

/// The exit code for wrong usage and bad input.
const EXIT_USAGE: u8 = 2;

/// The program of a scenario: reads the command line, does what it says, and tells the exit
/// code.
pub fn main<S: Scenario>(scenario: &S) -> ExitCode {
    let about = scenario.about();
    let parser = CommandLine::command()
        .name(about.command)
        .bin_name(about.command)
        .about(about.text)
        .version(about.version);
    let parsed = parser
        .try_get_matches()
        .and_then(|matches| CommandLine::from_arg_matches(&matches));
    let command_line = match parsed {
        Ok(command_line) => command_line,
        Err(error) => {
            // Help that was asked for is no error. Output that cannot be printed is lost.
            let _ = error.print();
            let was_asked_for = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            return if was_asked_for {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(EXIT_USAGE)
            };
        }
    };
    let command = command_line
        .command
        .unwrap_or_else(|| Command::Run(RunArguments::default_campaign()));
    match execute(scenario, &command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::print_note!("{error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn execute<S: Scenario>(scenario: &S, command: &Command) -> Result<u8, CommandError> {
    match command {
        Command::Run(arguments) => commands::run(scenario, arguments),
        Command::List => commands::list(scenario),
        Command::Recall(arguments) => recall::command::recall(scenario, arguments),
        Command::Campaign(arguments) => campaign::command::campaign(scenario, arguments),
        Command::Explore(arguments) => explore::command::explore(scenario, arguments),
        Command::Replay(arguments) => failures::replay(scenario, arguments),
        Command::Shrink(arguments) => failures::shrink(scenario, arguments),
        Command::Bugbase(arguments) => failures::bugbase(scenario, arguments),
        Command::View(arguments) => view::command::view(scenario, arguments),
        Command::One(arguments) => inspect::one(scenario, arguments),
    }
}
