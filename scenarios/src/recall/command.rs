//! `cargo sim recall`.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Instant;
use veridical_probe::PlantedBug;

use super::{HIDE_FROM_RUNS, Recalled, Search};
use crate::command_line::RecallArguments;
use crate::commands::{CommandError, interruption, jobs, plan_of, program};
use crate::failures::file_error;
use crate::report::Class;
use crate::swarm;

/// `cargo sim recall`: returns the exit code, 1 if a bug was not found, and that of the
/// failure if a finding has nothing to do with what was planted.
///
/// # Errors
/// See [`CommandError`].
pub fn recall(arguments: &RecallArguments) -> Result<u8, CommandError> {
    let (scenario, first) = (&arguments.scenario, arguments.seed);
    plan_of(scenario, first, arguments.bug.as_deref())?;
    if arguments.guided && swarm::plan_of(scenario, first).is_none() {
        return Err(CommandError::NoScenario(scenario.clone()));
    }
    let mut json = match &arguments.json {
        Some(path) => Some((File::create(path).map_err(file_error(path))?, path)),
        None => None,
    };
    let bugs: Vec<&str> = match &arguments.bug {
        Some(bug) => vec![bug.as_str()],
        None => PlantedBug::ALL
            .iter()
            .filter(|bug| !HIDE_FROM_RUNS.contains(bug))
            .map(|bug| bug.name())
            .collect(),
    };
    let interrupted = interruption();
    let program = program()?;
    println!(
        "  {:<26} {:<6} {:>6} {:>9}  how it showed",
        "bug", "found", "runs", "wall s"
    );
    let (mut found, mut gravest) = (0, Class::Ok);
    let mut needed = Vec::new();
    let started = Instant::now();
    for bug in &bugs {
        let mut attempts = Vec::new();
        for attempt in 0..arguments.repeat.max(1) {
            let search = Search {
                bug,
                scenario,
                first: first + attempt * arguments.seeds,
                budget: arguments.seeds,
                jobs: jobs(arguments.jobs),
                program: &program,
                guided: arguments.guided,
                artefacts: &arguments.artefacts,
            };
            let recalled = search.run(&interrupted);
            println!("{}", describe(&recalled));
            if let Some(own) = &recalled.without_it {
                println!(
                    "  THE STORE ITSELF FAILS, nothing planted: {} ({}): {}",
                    own.class, own.signature, own.reproduce
                );
                gravest = gravest.min(own.class);
            }
            if let Some((file, path)) = &mut json {
                let line = serde_json::to_string(&recalled).expect("a result can be written");
                writeln!(file, "{line}").map_err(file_error(path))?;
            }
            attempts.push(recalled);
            if interrupted.load(Ordering::Relaxed) {
                break;
            }
        }
        found += usize::from(attempts.iter().any(|attempt| attempt.found));
        needed.extend(median(&attempts));
        if attempts.len() > 1 {
            println!("{}", describe_all(bug, &attempts));
        }
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    needed.sort_unstable();
    match (needed.get(needed.len() / 2), needed.last()) {
        (Some(median), Some(worst)) => println!(
            "found {found} of {}; runs needed: median {median}, at most {worst}; {:.0} s",
            bugs.len(),
            started.elapsed().as_secs_f64(),
        ),
        _ => println!("found none of {}", bugs.len()),
    }
    if arguments.bug.is_none() {
        for bug in HIDE_FROM_RUNS {
            println!("not looked for: {bug} (docs/planted-bugs.md says why)");
        }
    }
    Ok(match gravest {
        Class::Ok => u8::from(found < bugs.len()),
        own => own.exit_code(),
    })
}

fn describe(recalled: &Recalled) -> String {
    let how = match (&recalled.class, &recalled.signature, &recalled.reproduce) {
        (Some(class), Some(signature), Some(reproduce)) => {
            format!("{class} ({signature}): {reproduce}")
        }
        _ => String::new(),
    };
    format!(
        "  {:<26} {:<6} {:>6} {:>9.1}  {how}",
        recalled.bug,
        if recalled.found { "yes" } else { "no" },
        recalled.seeds,
        recalled.wall_ms as f64 / 1_000.0
    )
}

/// The median of the runs that were needed; none if half of the attempts found nothing.
fn median(attempts: &[Recalled]) -> Option<u64> {
    let mut needed: Vec<u64> = attempts
        .iter()
        .map(|attempt| {
            if attempt.found {
                attempt.seeds
            } else {
                u64::MAX
            }
        })
        .collect();
    needed.sort_unstable();
    let median = *needed.get((needed.len().checked_sub(1)?) / 2)?;
    (median != u64::MAX).then_some(median)
}

/// Several attempts in a line: found, median, each.
fn describe_all(bug: &str, attempts: &[Recalled]) -> String {
    let found = attempts.iter().filter(|attempt| attempt.found).count();
    let each: Vec<String> = attempts
        .iter()
        .map(|attempt| match attempt.found {
            true => attempt.seeds.to_string(),
            false => format!("> {}", attempt.seeds),
        })
        .collect();
    format!(
        "  {bug:<26} {found} of {}, median {} runs ({})",
        attempts.len(),
        median(attempts).map_or_else(|| "over all".to_owned(), |median| median.to_string()),
        each.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(found: bool, seeds: u64) -> Recalled {
        Recalled {
            bug: "torn-cut".to_owned(),
            found,
            first: 1,
            guided: true,
            seeds,
            wall_ms: 0,
            class: None,
            signature: None,
            reproduce: None,
            without_it: None,
        }
    }

    #[test]
    fn an_attempt_that_found_nothing_needs_more_than_any_other() {
        let attempts = [attempt(true, 9), attempt(false, 100), attempt(true, 30)];
        assert_eq!(median(&attempts), Some(30));
        assert_eq!(median(&attempts[1..2]), None);
        assert_eq!(median(&[]), None);
        let text = describe_all("torn-cut", &attempts);
        assert!(
            text.contains("2 of 3, median 30 runs (9, > 100, 30)"),
            "{text}"
        );
    }
}
