//! The commands of `cargo sim`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use veridical_probe::PlantedBug;

use crate::artefact::{self, ReadError};
use crate::campaign::ledger::LedgerError;
use crate::campaign::shard::ShardError;
use crate::campaign::{Campaign, Seeds};
use crate::command_line::{DEFAULT_SEEDS, OneArguments, RecallArguments, RunArguments};
use crate::junit;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::{Class, RunReport};
use crate::stale_disk;
use crate::swarm;
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
    /// There is nothing to merge.
    #[error("none of the folders holds a campaign, nor does a subfolder")]
    NoCampaign,
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
    let plan = match scenario {
        stale_disk::NAME => Some(stale_disk::plan(seed)),
        other => swarm::plan_of(other, seed),
    };
    let Some(plan) = plan else {
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
    if let Some(filter) = &arguments.log {
        return logged(arguments, first_seed, filter);
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

/// One seed in this process, with the members' logs on standard error.
fn logged(arguments: &RunArguments, seed: u64, filter: &str) -> Result<u8, CommandError> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .init();
    one(&OneArguments {
        scenario: arguments.scenario.clone(),
        seed,
        planted: arguments.planted.clone(),
        ..OneArguments::default()
    })
}

/// `cargo sim list`.
///
/// # Errors
/// None at present.
pub fn list() -> Result<u8, CommandError> {
    println!("scenarios:");
    for name in swarm::names().chain([stale_disk::NAME]) {
        println!("  {name}");
    }
    println!("planted bugs:");
    for bug in PlantedBug::ALL {
        println!("  {bug}");
    }
    Ok(0)
}

/// `cargo sim recall`: returns the exit code, 1 if a bug was not found.
///
/// # Errors
/// See [`CommandError`].
pub fn recall(arguments: &RecallArguments) -> Result<u8, CommandError> {
    plan_of(
        &arguments.scenario,
        arguments.seed,
        arguments.bug.as_deref(),
    )?;
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
    let bugs: Vec<&str> = match &arguments.bug {
        Some(bug) => vec![bug.as_str()],
        None => PlantedBug::ALL
            .iter()
            .filter(|bug| !crate::recall::HIDE_FROM_RUNS.contains(bug))
            .map(|bug| bug.name())
            .collect(),
    };
    let interrupted = interruption();
    println!(
        "  {:<22} {:<6} {:>6} {:>9}  how it showed",
        "bug", "found", "seeds", "wall s"
    );
    let mut found = 0;
    let mut needed = Vec::new();
    let started = Instant::now();
    for bug in &bugs {
        let recalled = crate::recall::recall(
            bug,
            &arguments.scenario,
            arguments.seed,
            arguments.seeds,
            jobs(arguments.jobs),
            program()?,
            &interrupted,
        );
        println!(
            "  {:<22} {:<6} {:>6} {:>9.1}  {}",
            recalled.bug,
            if recalled.found { "yes" } else { "no" },
            recalled.seeds,
            recalled.wall_ms as f64 / 1_000.0,
            match (&recalled.class, &recalled.signature, &recalled.reproduce) {
                (Some(class), Some(signature), Some(reproduce)) => {
                    format!("{class} ({signature}): {reproduce}")
                }
                _ => String::new(),
            }
        );
        found += usize::from(recalled.found);
        if recalled.found {
            needed.push(recalled.seeds);
        }
        if let (Some(file), Some(path)) = (&mut json, &arguments.json) {
            let line = serde_json::to_string(&recalled).expect("a result can be written");
            writeln!(file, "{line}").map_err(|source| CommandError::File {
                path: path.clone(),
                source,
            })?;
        }
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    needed.sort_unstable();
    match (needed.get(needed.len() / 2), needed.last()) {
        (Some(median), Some(worst)) => println!(
            "found {found} of {}; seeds needed: median {median}, at most {worst}; {:.0} s",
            bugs.len(),
            started.elapsed().as_secs_f64(),
        ),
        _ => println!("found none of {}", bugs.len()),
    }
    if arguments.bug.is_none() {
        for bug in crate::recall::HIDE_FROM_RUNS {
            println!("not looked for: {bug} (docs/planted-bugs.md says why)");
        }
    }
    Ok(u8::from(found < bugs.len()))
}

/// The plan in a file, or on standard input.
#[cfg(madsim)]
fn given_plan(path: &std::path::Path) -> Result<Plan, CommandError> {
    if path.as_os_str() != "-" {
        return Ok(artefact::read_plan(path)?);
    }
    serde_json::from_reader(std::io::stdin().lock())
        .map_err(|source| ReadError::Content {
            path: path.to_owned(),
            source,
        })
        .map_err(CommandError::from)
}

/// `one`: a single run in this process; prints its report as a line of JSON.
///
/// # Errors
/// See [`CommandError`].
#[cfg(madsim)]
pub fn one(arguments: &OneArguments) -> Result<u8, CommandError> {
    use crate::run::{Keep, run};
    // Unset, RUST_LOG means silence here: formatting costs more than the run.
    if std::env::var_os("RUST_LOG").is_some() {
        // A subscriber that is there already, of `--log`, stays.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(std::io::stderr)
            .try_init();
    }
    let plan = match &arguments.plan {
        Some(path) => given_plan(path)?,
        None => plan_of(
            &arguments.scenario,
            arguments.seed,
            arguments.planted.as_deref(),
        )?,
    };
    let record = arguments
        .decisions
        .as_ref()
        .map(|path| artefact::read_decisions(path))
        .transpose()?;
    let kept = arguments.artefact.is_some();
    let logs = kept.then(crate::member_log::MemberLogs::collect);
    let keep = Keep {
        history: kept,
        trace: kept || arguments.trace.is_some(),
        decisions: kept,
        timetable: arguments.timetable,
    };
    let mut result = run(&plan, keep, record);
    if arguments.plan.is_some() {
        // No seed leads to it.
        let dir = arguments.artefact.as_deref();
        let dir = dir.map_or_else(|| "DIR".to_owned(), |dir| dir.display().to_string());
        result.report.reproduce = format!("cargo sim replay {dir}");
    }
    if let Some(path) = &arguments.trace {
        let failed = |source| CommandError::File {
            path: path.clone(),
            source,
        };
        let mut file = std::io::BufWriter::new(File::create(path).map_err(failed)?);
        for event in &result.trace {
            let line = serde_json::to_string(event).expect("an event can be written");
            writeln!(file, "{line}").map_err(failed)?;
        }
        file.flush().map_err(failed)?;
    }
    if let Some(dir) = &arguments.artefact {
        let logs = logs
            .map(|logs| logs.take())
            .unwrap_or_default()
            .into_iter()
            .map(|(process, log)| (process, (log.lines.into(), log.dropped)))
            .collect();
        let contents = artefact::Contents {
            plan: &plan,
            report: &result.report,
            history: &result.history,
            trace: &result.trace,
            decisions: &result.decisions,
            logs: &logs,
        };
        artefact::write(dir, &contents).map_err(|source| CommandError::File {
            path: dir.clone(),
            source,
        })?;
    }
    println!(
        "{}",
        serde_json::to_string(&result.report).expect("a report can be written")
    );
    Ok(result.report.verdict.exit_code())
}

/// `one` in a build without the simulated world.
///
/// # Errors
/// Always.
#[cfg(not(madsim))]
pub fn one(_: &OneArguments) -> Result<u8, CommandError> {
    Err(CommandError::NoWorld)
}
