//! `explore`.

use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Execution, Exploration, Origin, ROUND, Reach};
use crate::artefact::{self, write_json};
use crate::campaign::ledger::merge;
use crate::command_line::ExploreArguments;
use crate::coverage::{Coverage, PointCoverage};
use crate::error::{CommandError, file_error};
use crate::isolated::{keep_run, was_stopped};
use crate::output::{print_line, print_text};
use crate::program::Program;
use crate::progress::Progress;
use crate::report::{Class, RunReport};
use crate::scenario::{Plan, Scenario};
use crate::selection::{chosen, interruption, jobs, plan_of};
use crate::summary::Summary;

/// Failures of a sort that are kept; the others are only counted.
const KEPT_PER_SORT: usize = 3;

/// Failures of one class and signature.
#[derive(Default, Serialize)]
struct Sort {
    /// The number of runs.
    runs: u64,
    /// The numbers of those that were kept, and their folders.
    kept: Vec<(u64, PathBuf)>,
}

/// What is written for programs.
#[derive(Serialize)]
struct AsJson<'a> {
    scenario: &'a str,
    planted: Option<&'a str>,
    first_seed: u64,
    executions: u64,
    changed: u64,
    features: usize,
    kept: usize,
    places: &'a [PointCoverage],
    failures: BTreeMap<String, Sort>,
}

/// `explore`: returns the exit code, that of the most severe run.
///
/// # Errors
/// See [`CommandError`].
pub fn explore<S: Scenario>(system: &S, arguments: &ExploreArguments) -> Result<u8, CommandError> {
    let name = chosen(system, arguments.scenario.as_deref());
    let (scenario, planted) = (&*name, arguments.planted.as_deref());
    check_can_be_explored(system, scenario)?;
    plan_of(system, scenario, arguments.seed, planted)?;
    let program = Program::this(&system.about())?;
    let known = known(&arguments.learn, scenario)?;
    let exploration = Exploration {
        program: &program,
        system,
        scenario,
        planted,
        known: &known,
        first_seed: arguments.seed,
        executions: arguments.executions,
        jobs: jobs(arguments.jobs).min(ROUND),
    };
    let interrupted = interruption();
    let started = Instant::now();
    let mut progress = Progress::new(arguments.executions);
    let mut summary = Summary::default();
    let mut failures: BTreeMap<(Class, String), Vec<Execution<S::Plan>>> = BTreeMap::new();
    let (mut changed, mut failed) = (0, 0);
    let reach = exploration.run(&interrupted, |execution, reach| {
        if was_stopped(&execution.report) {
            return true;
        }
        changed += u64::from(execution.origin == Origin::Changed);
        // Seeds of changed plans may meet; their numbers tell runs apart.
        summary.add(&RunReport {
            seed: execution.number,
            ..execution.report.clone()
        });
        if let Some(finding) = &execution.report.finding {
            failed += u64::from(finding.class.is_failure());
            let sort = (finding.class, finding.signature.clone());
            failures.entry(sort).or_default().push(execution.clone());
        }
        progress.advance(|| status(reach, failed));
        !(arguments.until_failure && failed > 0)
    });
    progress.finish();
    let mut sorts = BTreeMap::new();
    for ((class, signature), executions) in failures {
        let name = format!("{class}-{signature}");
        let sort = keep(&program, &arguments.out, &name, &executions);
        sorts.insert(name, sort);
    }
    let coverage = Coverage::of(&summary.points);
    let json = AsJson {
        scenario,
        planted,
        first_seed: arguments.seed,
        executions: summary.seeds,
        changed,
        features: reach.features,
        kept: reach.kept,
        places: coverage.points(),
        failures: sorts,
    };
    let path = arguments.out.join("summary.json");
    std::fs::create_dir_all(&arguments.out).map_err(file_error(&arguments.out))?;
    write_json(&path, &json).map_err(file_error(&path))?;
    print_line!(
        "{} runs of scenario {scenario}, {changed} of them of changed plans; {}",
        summary.seeds,
        status(reach, failed)
    );
    print_text!("{}", summary.render(started.elapsed()));
    if arguments.counters {
        print_text!("{}", summary.render_counters());
    }
    print_line!("written to {}", arguments.out.display());
    Ok(summary.most_severe().exit_code())
}

/// Refuses a scenario whose changed plans may break its rules.
///
/// # Errors
/// [`CommandError::NoScenario`].
pub fn check_can_be_explored<S: Scenario>(system: &S, scenario: &str) -> Result<(), CommandError> {
    if system.can_be_explored(scenario) {
        return Ok(());
    }
    Err(CommandError::NoScenario {
        name: scenario.to_owned(),
        command: system.about().command.to_owned(),
    })
}

/// The runs of campaigns of this scenario, with nothing planted.
///
/// # Errors
/// One of the folders holds no campaign, or another one.
pub fn known(campaigns: &[PathBuf], scenario: &str) -> Result<Vec<RunReport>, CommandError> {
    let mut known = Vec::new();
    for dir in campaigns {
        let merged = merge(std::slice::from_ref(dir))?.ok_or(CommandError::NoCampaign)?;
        let header = merged.header;
        if header.scenario != scenario || header.planted.is_some() {
            return Err(CommandError::OtherCampaign {
                scenario: scenario.to_owned(),
                found: header.scenario,
                planted: header.planted,
            });
        }
        known.extend(merged.reports.into_values());
    }
    Ok(known)
}

fn status(reach: Reach, failed: u64) -> String {
    format!(
        "{} places, {} features, {} plans kept, {failed} failures",
        reach.places, reach.features, reach.kept
    )
}

/// Keeps the first failures of a sort and says how to run them again.
fn keep<P: Plan>(program: &Program, out: &Path, name: &str, executions: &[Execution<P>]) -> Sort {
    let mut kept = Vec::new();
    for execution in executions.iter().take(KEPT_PER_SORT) {
        let folder = out
            .join("failures")
            .join(name)
            .join(execution.number.to_string());
        let report = keep_run(program, &execution.plan, None, &folder);
        print_line!(
            "run {}, {}",
            execution.number,
            match execution.origin {
                Origin::Seed(seed) => format!("the plan of seed {seed}"),
                Origin::Changed => "a changed plan".to_owned(),
            }
        );
        print_text!("{}", artefact::witness(&report));
        print_line!();
        kept.push((execution.number, folder));
    }
    let runs = executions.len() as u64;
    Sort { runs, kept }
}
