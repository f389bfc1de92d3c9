//! The commands that work on kept failures: replay, shrink, bugbase.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use veridical_checkers::abridged;

use crate::artefact::{self, Kept, Version};
use crate::bugbase;
use crate::command_line::{BugbaseArguments, ReplayArguments, ShrinkArguments};
use crate::error::{CommandError, file_error};
use crate::isolated::keep_run;
use crate::output::{print_line, print_note, print_text};
use crate::program::Program;
use crate::replay::{Outcome, Replay, variant};
use crate::report::Class;
use crate::scenario::{Plan, Scenario};
use crate::selection::{interruption, is_bug, jobs};
use crate::shrink::Shrink;

/// How often a long work says how far it is.
const PROGRESS_PERIOD: Duration = Duration::from_secs(5);

/// What `--planted` says when no bug is to be planted.
const NO_BUG: &str = "none";

/// `replay`: returns the exit code, that of the run.
///
/// # Errors
/// See [`CommandError`].
pub fn replay<S: Scenario>(scenario: &S, arguments: &ReplayArguments) -> Result<u8, CommandError> {
    let kept: Kept<S::Plan> = Kept::read(&arguments.dir)?;
    let mut plan = kept.plan.clone();
    if let Some(bug) = &arguments.planted {
        plan.set_planted(match bug.as_str() {
            NO_BUG => None,
            name if is_bug(scenario, name) => Some(name.to_owned()),
            _ => {
                return Err(CommandError::NoBug {
                    name: bug.clone(),
                    command: scenario.about().command.to_owned(),
                });
            }
        });
    }
    let program = Program::this(&scenario.about())?;
    let replay = Replay {
        program: &program,
        schedules: arguments.schedules,
        ignore_record: arguments.ignore_record,
        log: None,
    };
    let replayed = replay.run(&kept, &plan);
    let version = Version::of_this_program(scenario).map_err(file_error(&program.path))?;
    print_line!("{} replay {}", program.command, arguments.dir.display());
    let (planted, before) = (plan.identity().planted, kept.plan.identity().planted);
    if planted != before {
        print_line!(
            "planted: {} instead of {}",
            planted.as_deref().unwrap_or(NO_BUG),
            before.as_deref().unwrap_or(NO_BUG)
        );
    }
    let same_program = kept.version.as_ref() == Some(&version);
    print_text!("{}", replayed.describe(&kept, same_program));
    if replayed.outcome != Outcome::Passed
        && let Some(finding) = &replayed.report.finding
    {
        print_line!("{}", abridged(&finding.text));
    }
    if let Some(out) = &arguments.out {
        let number = match replayed.outcome {
            Outcome::Identical | Outcome::SameFailure => replayed.schedules - 1,
            Outcome::OtherFailure | Outcome::Passed => 0,
        };
        let decisions = kept.decisions.as_ref();
        let decisions = decisions.filter(|_| replay.uses_record(number));
        keep_run(
            &program,
            &variant(&plan, number),
            decisions.map(PathBuf::as_path),
            out,
        );
        print_line!("kept in {}", out.display());
    }
    Ok(replayed.report.verdict.exit_code())
}

/// `shrink`: returns the exit code, 0 if there is a small failure now.
///
/// # Errors
/// See [`CommandError`].
pub fn shrink<S: Scenario>(scenario: &S, arguments: &ShrinkArguments) -> Result<u8, CommandError> {
    let kept: Kept<S::Plan> = Kept::read(&arguments.dir)?;
    let nothing = || CommandError::NoFailure(arguments.dir.clone());
    let (class, signature) = kept.failure().ok_or_else(nothing)?;
    let program = Program::this(&scenario.about())?;
    let interrupted = interruption();
    let started = Instant::now();
    let shrink = Shrink {
        program: &program,
        jobs: jobs(arguments.jobs),
        deadline: started + Duration::from_secs(arguments.time_limit),
        interrupted: &interrupted,
        goal: (class, signature.to_owned()),
    };
    print_line!("{class} ({signature})");
    print_line!("before  {}", kept.plan.size(kept.report.simulated_ms));
    let mut said_at = Instant::now();
    let smallest = shrink.run(&kept.plan, |smallest| {
        if said_at.elapsed() >= PROGRESS_PERIOD {
            said_at = Instant::now();
            print_note!("{:>6} s  {}", started.elapsed().as_secs(), smallest.size());
        }
    });
    let smallest = smallest.ok_or_else(nothing)?;
    print_line!(
        "after   {}  ({} runs, {:.1} s)",
        smallest.size(),
        smallest.trials,
        started.elapsed().as_secs_f64()
    );
    let out = arguments.out.clone().unwrap_or_else(|| {
        let mut name = arguments.dir.clone().into_os_string();
        name.push("-shrunk");
        name.into()
    });
    let report = keep_run(&program, &smallest.plan, None, &out);
    print_text!("{}", artefact::witness(&report));
    print_line!("kept in {}", out.display());
    Ok(0)
}

/// `bugbase`: returns the exit code, 1 if a failure is not what it should be.
///
/// # Errors
/// See [`CommandError`].
pub fn bugbase<S: Scenario>(
    scenario: &S,
    arguments: &BugbaseArguments,
) -> Result<u8, CommandError> {
    let program = Program::this(&scenario.about())?;
    if let Some(from) = &arguments.add {
        let name = match (&arguments.name, from.file_name()) {
            (Some(name), _) => name.into(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => "failure".into(),
        };
        add::<S::Plan>(&program, from, &arguments.dir.join(name))?;
    }
    let entries = bugbase::entries(&arguments.dir).map_err(file_error(&arguments.dir))?;
    let replay = Replay {
        program: &program,
        schedules: arguments.schedules,
        ignore_record: false,
        log: None,
    };
    let mut expected = 0;
    for entry in &entries {
        let revisited = bugbase::revisit::<S::Plan>(entry, &replay)?;
        print_line!(
            "  {:<4} {:<24} {:<34} {}",
            if revisited.as_expected { "ok" } else { "BAD" },
            revisited.name,
            revisited.was,
            revisited.now
        );
        expected += usize::from(revisited.as_expected);
    }
    print_line!(
        "{expected} of {} kept failures are as they should be",
        entries.len()
    );
    Ok(u8::from(expected < entries.len()))
}

/// Adds a failure, as this program runs it.
fn add<P: Plan>(program: &Program, from: &Path, to: &Path) -> Result<(), CommandError> {
    let kept: Kept<P> = Kept::read(from)?;
    let whole = std::env::temp_dir().join(format!("veridical-add-{}", std::process::id()));
    let report = keep_run(program, &kept.plan, kept.decisions.as_deref(), &whole);
    if report.verdict == Class::Ok {
        return Err(CommandError::NoFailure(from.to_owned()));
    }
    bugbase::write(program, &whole, to, &kept.plan, &report).map_err(file_error(to))?;
    std::fs::remove_dir_all(&whole).map_err(file_error(&whole))
}
