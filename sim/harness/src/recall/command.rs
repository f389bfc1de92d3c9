//! `recall`.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::comparison::{self, Comparison, median};
use super::{Recalled, Search};
use crate::command_line::RecallArguments;
use crate::error::{CommandError, file_error};
use crate::explore::CANDIDATES;
use crate::explore::command::{check_can_be_explored, known};
use crate::output::print_line;
use crate::program::Program;
use crate::report::Class;
use crate::scenario::{PlantedName, Scenario};
use crate::selection::{chosen, interruption, jobs, plan_of};

/// A file for programs, and its path.
type Json<'a> = Option<(File, &'a Path)>;

/// `recall`: returns the exit code, 1 if a bug was not found, and that of the
/// failure if a finding has nothing to do with what was planted.
///
/// # Errors
/// See [`CommandError`].
pub fn recall<S: Scenario>(system: &S, arguments: &RecallArguments) -> Result<u8, CommandError> {
    let name = chosen(system, arguments.scenario.as_deref());
    let (scenario, first) = (&*name, arguments.seed);
    plan_of(system, scenario, first, None)?;
    for bug in &arguments.bug {
        plan_of(system, scenario, first, Some(bug))?;
    }
    if arguments.guided || arguments.compare {
        // A bug that is named may have a scenario of its own, which then does not count.
        check_can_be_explored(system, scenario)?;
    }
    let mut json = match &arguments.json {
        Some(path) => Some((File::create(path).map_err(file_error(path))?, &**path)),
        None => None,
    };
    let all = system.planted_bugs();
    let is_guided = arguments.guided || arguments.compare;
    let scenario_of = |bug: &str| {
        let known = all.iter().find(|known| known.name == bug);
        let own = known.and_then(|known| known.scenario);
        own.filter(|_| arguments.scenario.is_none())
            .unwrap_or(scenario)
    };
    let why_not = |bug: &PlantedName| match bug.hidden {
        None if is_guided && !system.can_be_explored(scenario_of(bug.name)) => {
            Some("its scenario cannot be explored")
        }
        why => why,
    };
    let bugs: Vec<&str> = if arguments.bug.is_empty() {
        let looked_for = all.iter().filter(|bug| why_not(bug).is_none());
        looked_for.map(|bug| bug.name).collect()
    } else {
        arguments.bug.iter().map(String::as_str).collect()
    };
    let interrupted = interruption();
    let program = Program::this(&system.about())?;
    let known = known(&arguments.learn, scenario)?;
    print_line!(
        "  {:<26} {:<6} {:>6} {:>9}  how it showed",
        "bug",
        "found",
        "runs",
        "wall s"
    );
    let mut tally = Tally::default();
    let started = Instant::now();
    for bug in &bugs {
        let search = Search {
            system,
            bug,
            scenario: scenario_of(bug),
            first,
            budget: arguments.seeds,
            jobs: jobs(arguments.jobs),
            program: &program,
            guided: false,
            known: &known,
            artefacts: &arguments.artefacts,
        };
        let mut attempts = Vec::new();
        for guided in ways(arguments) {
            let search = Search {
                guided: *guided,
                ..search
            };
            attempts.push(repeat(&search, arguments.repeat, &mut json, &interrupted)?);
        }
        tally.add(bug, attempts);
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    tally.print(bugs.len(), started.elapsed());
    let left_out = all.iter().filter(|_| arguments.bug.is_empty());
    for (bug, why) in left_out.filter_map(|bug| Some((bug, why_not(bug)?))) {
        print_line!("not looked for: {} ({why})", bug.name);
    }
    Ok(tally.exit_code(bugs.len()))
}

/// How each bug is looked for: by seeds alone, guided, or both ways.
const fn ways(arguments: &RecallArguments) -> &'static [bool] {
    match (arguments.compare, arguments.guided) {
        (true, _) => &[false, true],
        (false, true) => &[true],
        (false, false) => &[false],
    }
}

/// What all attempts have come to.
struct Tally {
    /// Bugs that some attempt has found.
    found: usize,
    /// The most severe failure of the system itself, with nothing planted.
    most_severe: Class,
    /// The median of the runs that were needed, of each bug and each way.
    needed: Vec<u64>,
    comparisons: Vec<Comparison>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            found: 0,
            most_severe: Class::Ok,
            needed: Vec::new(),
            comparisons: Vec::new(),
        }
    }
}

impl Tally {
    /// Adds the attempts at a bug, by the ways in which it was looked for.
    fn add(&mut self, bug: &str, attempts: Vec<Vec<Recalled>>) {
        for attempt in attempts.iter().flatten() {
            if let Some(own) = &attempt.without_it {
                self.most_severe = self.most_severe.min(own.class);
            }
        }
        let is_found = attempts.iter().flatten().any(|attempt| attempt.found);
        self.found += usize::from(is_found);
        self.needed
            .extend(attempts.iter().filter_map(|way| median(way)));
        if let Ok([alone, guided]) = <[_; 2]>::try_from(attempts) {
            self.comparisons.push(Comparison {
                bug: bug.to_owned(),
                alone,
                guided,
            });
        }
    }

    fn print(&mut self, bugs: usize, elapsed: Duration) {
        if !self.comparisons.is_empty() {
            print_line!("\n{}", comparison::table(&self.comparisons));
        }
        self.needed.sort_unstable();
        match (self.needed.get(self.needed.len() / 2), self.needed.last()) {
            (Some(median), Some(worst)) => print_line!(
                "found {} of {bugs}; runs needed: median {median}, at most {worst}; {:.0} s",
                self.found,
                elapsed.as_secs_f64(),
            ),
            (None, _) | (_, None) => print_line!("found none of {bugs}"),
        }
    }

    /// 1 if a bug was not found, or that of the failure if the system itself has one.
    fn exit_code(&self, bugs: usize) -> u8 {
        match self.most_severe {
            Class::Ok => u8::from(self.found < bugs),
            own => own.exit_code(),
        }
    }
}

/// Looks for a bug `times` times, each time among the seeds after those of the time before.
fn repeat<S: Scenario>(
    search: &Search<'_, S>,
    times: u64,
    json: &mut Json<'_>,
    interrupted: &AtomicBool,
) -> Result<Vec<Recalled>, CommandError> {
    let mut attempts = Vec::new();
    for attempt in 0..times.max(1) {
        let search = Search {
            first: search.first + attempt * search.budget * CANDIDATES,
            ..*search
        };
        let recalled = search.run(interrupted);
        print_line!("{}", describe(&recalled));
        if let Some(own) = &recalled.without_it {
            print_line!(
                "  THE SYSTEM ITSELF FAILS, nothing planted: {} ({}): {}",
                own.class,
                own.signature,
                own.reproduce
            );
        }
        if let Some((file, path)) = json {
            let line = serde_json::to_string(&recalled).expect("a result can be written");
            writeln!(file, "{line}").map_err(file_error(path))?;
        }
        attempts.push(recalled);
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
    }
    if attempts.len() > 1 {
        print_line!("{}", describe_all(search.bug, &attempts));
    }
    Ok(attempts)
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

    #[test]
    fn several_attempts_are_told_in_a_line() {
        let attempts = [
            Recalled::attempt(true, 9),
            Recalled::attempt(false, 100),
            Recalled::attempt(true, 30),
        ];
        let text = describe_all("torn-cut", &attempts);
        assert!(
            text.contains("2 of 3, median 30 runs (9, > 100, 30)"),
            "{text}"
        );
    }
}
