//! The commands of `cargo sim`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use veridical_planted::PlantedBug;

use crate::artefact::{self, ReadError};
use crate::campaign::ledger::LedgerError;
use crate::campaign::shard::ShardError;
use crate::campaign::{Campaign, Seeds};
use crate::command_line::{DEFAULT_SEEDS, RunArguments};
use crate::junit;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::{Class, RunReport};
use crate::scenario;
use crate::table::Summary;

/// Failures whose folders are kept; the others are only reported.
const KEPT_FAILURES_MAX: usize = 5;

/// What keeps a command from being carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such scenario.
    #[error("there is no scenario {0:?}; `cargo sim list` names them")]
    NoScenario(String),
    /// There is no such planted bug.
    #[error("there is no planted bug {0:?}; `cargo sim list` names them")]
    NoBug(String),
    /// A file cannot be written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder or a plan cannot be used.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The ledger of a campaign cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The environment does not say which shard this is.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// A filter for logs is none.
    #[error("{0:?} is no level and no filter as in RUST_LOG: {1}")]
    LogFilter(String, String),
    /// There is nothing to merge.
    #[error("none of the folders holds a campaign, nor does a subfolder")]
    NoCampaign,
    /// What a campaign has reached says nothing about this scenario.
    #[error("the campaign ran scenario {found:?}{}; one of {scenario:?} with nothing planted is wanted", planted.as_ref().map(|bug| format!(" with {bug:?} planted")).unwrap_or_default())]
    OtherCampaign {
        /// The scenario that is wanted.
        scenario: String,
        /// That of the campaign.
        found: String,
        /// The bug that was planted there.
        planted: Option<String>,
    },
    /// A folder holds no failure, or not any more.
    #[error("{0}: it does not fail (any more) in the way it did")]
    NoFailure(PathBuf),
    /// This program's own path cannot be told.
    #[error("cannot find this program: {0}")]
    Program(std::io::Error),
    /// The simulated world is not part of this build.
    #[cfg(not(madsim))]
    #[error("this build has no simulated world; run it as `cargo sim`")]
    NoWorld,
}

pub(crate) fn plan_of(
    scenario: &str,
    seed: u64,
    planted: Option<&str>,
) -> Result<Plan, CommandError> {
    let Some(plan) = scenario::plan_of(scenario, seed) else {
        return Err(CommandError::NoScenario(scenario.to_owned()));
    };
    if let Some(bug) = planted
        && PlantedBug::from_name(bug).is_none()
    {
        return Err(CommandError::NoBug(bug.to_owned()));
    }
    Ok(Plan {
        planted: planted.map(str::to_owned),
        ..plan
    })
}

pub(crate) fn jobs(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

pub(crate) fn program() -> Result<PathBuf, CommandError> {
    std::env::current_exe().map_err(CommandError::Program)
}

/// Set by SIGINT: no further seed is begun, and what there is gets printed.
pub(crate) fn interruption() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    // Without the handler SIGINT simply ends the program.
    let _ = ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed));
    interrupted
}

/// `cargo sim run`: returns the exit code.
///
/// # Errors
/// See [`CommandError`].
pub fn run(arguments: &RunArguments) -> Result<u8, CommandError> {
    let first_seed = arguments.seed.unwrap_or(1);
    let first = plan_of(
        &arguments.scenario,
        first_seed,
        arguments.planted.as_deref(),
    )?;
    if arguments.print_plan {
        let text = serde_json::to_string_pretty(&first).expect("a plan can be written");
        // Whoever reads it may have seen enough.
        let _ = writeln!(std::io::stdout(), "{text}");
        return Ok(0);
    }
    if arguments.wants_one_run() {
        return crate::single::run(arguments, &first);
    }
    let only_one = arguments.seed.is_some();
    let count = arguments
        .seeds
        .unwrap_or(if only_one { 1 } else { DEFAULT_SEEDS });
    let mut json = arguments
        .json
        .as_ref()
        .map(|path| {
            File::create(path).map_err(|source| CommandError::File {
                path: path.clone(),
                source,
            })
        })
        .transpose()?;
    let campaign = Campaign {
        scenario: arguments.scenario.clone(),
        planted: arguments.planted.clone(),
        jobs: jobs(arguments.jobs),
        check_determinism: arguments.check_determinism,
        log: None,
        program: program()?,
    };
    let seeds = Seeds::new(first_seed, count);
    let interrupted = interruption();
    let started = Instant::now();
    let mut summary = Summary::default();
    let mut failures = Vec::new();
    let mut reports = Vec::new();
    let mut written = Ok(());
    let mut progress = Progress::new(count);
    campaign.run(
        || seeds.next(),
        &interrupted,
        |report| {
            summary.add(&report);
            progress.advance(|| format!("{} failures", failures.len()));
            if let (Some(file), true) = (&mut json, written.is_ok()) {
                let line = serde_json::to_string(&report).expect("a report can be written");
                written = writeln!(file, "{line}");
            }
            if report.verdict != Class::Ok {
                failures.push(report.clone());
            }
            if arguments.junit.is_some() {
                reports.push(report);
            }
        },
    );
    progress.finish();
    if let (Err(source), Some(path)) = (written, &arguments.json) {
        return Err(CommandError::File {
            path: path.clone(),
            source,
        });
    }
    if let Some(path) = &arguments.junit {
        reports.sort_by_key(|report| report.seed);
        std::fs::write(path, junit::render(&reports)).map_err(|source| CommandError::File {
            path: path.clone(),
            source,
        })?;
    }
    failures.sort_by_key(|report| (report.verdict, report.seed));
    describe_failures(&campaign, arguments, &failures);
    println!(
        "{} of scenario {}",
        plural(summary.seeds, "seed"),
        arguments.scenario
    );
    print!("{}", summary.render(started.elapsed()));
    if interrupted.load(Ordering::Relaxed) {
        println!(
            "  interrupted: {} seeds were not run",
            count - summary.seeds
        );
    }
    Ok(summary.gravest().exit_code())
}

pub(crate) fn plural(count: u64, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// Prints each failure, its reproducing command first, and keeps the first ones.
fn describe_failures(campaign: &Campaign, arguments: &RunArguments, failures: &[RunReport]) {
    for (number, report) in failures.iter().enumerate() {
        print!("{}", artefact::witness(report));
        if number < KEPT_FAILURES_MAX && report.verdict != Class::Nondeterminism {
            let planted = report.planted.as_deref().map(|bug| format!("-{bug}"));
            let dir = arguments.artefacts.join(format!(
                "{}-{}{}",
                report.scenario,
                report.seed,
                planted.unwrap_or_default()
            ));
            let again = campaign.keep(report.seed, &dir);
            if again.digest == report.digest {
                println!("kept in {}\n", dir.display());
            } else {
                println!(
                    "could not be reproduced for {}: see `--check-determinism`\n",
                    dir.display()
                );
            }
        } else {
            println!();
        }
    }
}

/// `cargo sim list`.
///
/// # Errors
/// None at present.
pub fn list() -> Result<u8, CommandError> {
    println!("scenarios:");
    for (name, about) in scenario::all() {
        println!("  {name:<20} {about}");
    }
    println!("planted bugs:");
    for bug in PlantedBug::ALL {
        println!("  {bug}");
    }
    Ok(0)
}
