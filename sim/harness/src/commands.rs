//! The commands that run seeds or list what there is.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::artefact;
use crate::campaign::{Campaign, Seeds};
use crate::command_line::{DEFAULT_SEEDS, RunArguments};
use crate::error::{CommandError, file_error};
use crate::junit;
use crate::output::{plural, print_line, print_text};
use crate::program::Program;
use crate::progress::Progress;
use crate::report::{Class, RunReport};
use crate::scenario::Scenario;
use crate::selection::{chosen, interruption, jobs, plan_of};
use crate::summary::{NotOk, Summary};

/// Failures whose folders are kept; the others are only reported.
const KEPT_FAILURES_MAX: usize = 5;

/// `run`: returns the exit code.
///
/// # Errors
/// See [`CommandError`].
pub fn run<S: Scenario>(scenario: &S, arguments: &RunArguments) -> Result<u8, CommandError> {
    let first_seed = arguments.seed.unwrap_or(1);
    let name = chosen(scenario, arguments.scenario.as_deref());
    let first = plan_of(scenario, &name, first_seed, arguments.planted.as_deref())?;
    if arguments.print_plan {
        let text = serde_json::to_string_pretty(&first).expect("a plan can be written");
        // Whoever reads it may have seen enough.
        let _ = writeln!(std::io::stdout(), "{text}");
        return Ok(0);
    }
    if arguments.wants_one_run() {
        return crate::inspect::run(scenario, arguments, &first);
    }
    let only_one = arguments.seed.is_some();
    let count = arguments
        .seeds
        .unwrap_or(if only_one { 1 } else { DEFAULT_SEEDS });
    let campaign = Campaign {
        scenario: name,
        planted: arguments.planted.clone(),
        jobs: jobs(arguments.jobs),
        check_determinism: arguments.check_determinism,
        log: None,
        program: Program::this(&scenario.about())?,
    };
    let interrupted = interruption();
    let started = Instant::now();
    let seeds = Seeds::new(first_seed, count);
    let mut ran = run_seeds(&campaign, arguments, &seeds, count, &interrupted)?;
    ran.failures
        .sort_by_key(|report| (report.verdict, report.seed));
    describe_failures(&campaign, arguments, &ran.failures);
    print_line!(
        "{} of scenario {}",
        plural(ran.summary.seeds, "seed"),
        campaign.scenario
    );
    print_text!("{}", ran.summary.render(started.elapsed()));
    if arguments.counters {
        print_text!("{}", ran.summary.render_counters());
    }
    let left = count - ran.summary.seeds;
    if interrupted.load(Ordering::Relaxed) {
        print_line!("  interrupted: {left} seeds were not run");
    } else if left > 0 {
        print_line!("  ended with the first failure: {left} seeds were not run");
    }
    Ok(ran.summary.most_severe().exit_code())
}

/// What came of the seeds of `run`.
#[derive(Default)]
struct Ran {
    summary: Summary,
    told: NotOk,
    /// What failed, and what is undecided.
    failures: Vec<RunReport>,
}

/// Runs the seeds and writes the reports that were asked for.
fn run_seeds(
    campaign: &Campaign,
    arguments: &RunArguments,
    seeds: &Seeds,
    count: u64,
    interrupted: &AtomicBool,
) -> Result<Ran, CommandError> {
    let mut json = match &arguments.json {
        Some(path) => Some((File::create(path).map_err(file_error(path))?, path)),
        None => None,
    };
    let mut ran = Ran::default();
    let mut reports = Vec::new();
    let mut written = Ok(());
    let mut progress = Progress::new(count);
    let has_failed = AtomicBool::new(false);
    campaign.run(
        || {
            let is_over = arguments.until_failure && has_failed.load(Ordering::Relaxed);
            if is_over { None } else { seeds.next() }
        },
        interrupted,
        |report| {
            has_failed.fetch_or(report.verdict.is_failure(), Ordering::Relaxed);
            ran.summary.add(&report);
            ran.told.add(report.verdict);
            progress.advance(|| ran.told.to_string());
            if let (Some((file, path)), true) = (&mut json, written.is_ok()) {
                let line = serde_json::to_string(&report).expect("a report can be written");
                written = writeln!(file, "{line}").map_err(file_error(path));
            }
            if report.verdict != Class::Ok {
                ran.failures.push(report.clone());
            }
            if arguments.junit.is_some() {
                reports.push(report);
            }
        },
    );
    progress.finish();
    written?;
    if let Some(path) = &arguments.junit {
        reports.sort_by_key(|report| report.seed);
        std::fs::write(path, junit::render(&campaign.scenario, &reports))
            .map_err(file_error(path))?;
    }
    Ok(ran)
}

/// Prints each failure, its reproducing command first, and keeps the first ones.
fn describe_failures(campaign: &Campaign, arguments: &RunArguments, failures: &[RunReport]) {
    for (number, report) in failures.iter().enumerate() {
        print_text!("{}", artefact::witness(report));
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
                print_line!("kept in {}\n", dir.display());
            } else {
                print_line!(
                    "could not be reproduced for {}: see `--check-determinism`\n",
                    dir.display()
                );
            }
        } else {
            print_line!();
        }
    }
}

/// `list`: the scenarios and the planted bugs.
///
/// # Errors
/// None at present.
pub fn list<S: Scenario>(scenario: &S) -> Result<u8, CommandError> {
    print_line!("scenarios:");
    for named in scenario.names() {
        print_line!("  {:<20} {}", named.name, named.about);
    }
    print_line!("planted bugs:");
    for bug in scenario.planted_bugs() {
        print_line!("  {}", bug.name);
    }
    Ok(0)
}
