//! One run in a process of its own: a run that aborts, leaks or hangs harms no other one,
//! and global counters of the executor start at zero for each.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::program::Program;
use crate::report::{Class, Finding, RunReport, Subject, UNDECIDED};
use crate::scenario::Plan;

/// A run that takes longer than this by the wall clock is ended.
pub const WALL_LIMIT: Duration = Duration::from_secs(300);

/// What is kept of what the process wrote to its standard error, in bytes.
const STDERR_BYTES_MAX: u64 = 16 * 1024;

/// The signature of a run that somebody stopped: it says nothing of the run.
const STOPPED: &str = "stopped-from-outside";

/// Whether the report is of a run that somebody stopped before its end (a terminal, a
/// batch system): it has to be run again.
pub fn was_stopped(report: &RunReport) -> bool {
    let finding = report.finding.as_ref();
    finding.is_some_and(|finding| finding.signature == STOPPED)
}

/// Nothing in a run sends these signals to itself.
#[cfg(unix)]
fn stopped_from_outside(status: &ExitStatus) -> bool {
    const HUP: i32 = 1;
    const INT: i32 = 2;
    const TERM: i32 = 15;
    let signal = std::os::unix::process::ExitStatusExt::signal(status);
    matches!(signal, Some(HUP | INT | TERM))
}

#[cfg(not(unix))]
fn stopped_from_outside(_: &ExitStatus) -> bool {
    false
}

/// One run in a process of its own.
#[derive(Clone, Debug)]
pub struct IsolatedRun<'a> {
    /// The program that carries it out: this one.
    program: &'a Program,
    subject: Subject,
    /// The plan as it is written, if it is not that of the seed.
    plan: Option<Vec<u8>>,
    /// The filter for the processes' logs (as `RUST_LOG`).
    log: Option<String>,
    /// The run is ended after this much wall time.
    wall_limit: Duration,
}

impl<'a> IsolatedRun<'a> {
    /// A run of the plan of a seed.
    pub const fn of_seed(program: &'a Program, subject: Subject) -> Self {
        Self {
            program,
            subject,
            plan: None,
            log: None,
            wall_limit: WALL_LIMIT,
        }
    }

    /// A run of this plan.
    pub fn of_plan(program: &'a Program, plan: &impl Plan) -> Self {
        let identity = plan.identity();
        let subject = Subject {
            scenario: identity.scenario,
            seed: identity.seed,
            planted: identity.planted,
        };
        let plan = serde_json::to_vec(plan).expect("a plan can be written");
        Self {
            plan: Some(plan),
            ..Self::of_seed(program, subject)
        }
    }

    /// With this filter for the processes' logs.
    #[must_use]
    pub fn with_log(mut self, filter: Option<&str>) -> Self {
        self.log = filter.map(str::to_owned);
        self
    }

    /// Ended after this much wall time.
    #[must_use]
    pub const fn within(mut self, wall_limit: Duration) -> Self {
        self.wall_limit = wall_limit;
        self
    }

    /// Carries it out with further arguments for `one`; a run that a checker could not decide
    /// once more, with larger limits. Whatever goes wrong with the process is a crash of the
    /// run.
    pub fn run(&self, further: &[String]) -> RunReport {
        let report = self.run_once(further);
        let finding = report.finding.as_ref();
        let is_undecided = finding.is_some_and(|finding| {
            finding.class == Class::Unknown && finding.signature == UNDECIDED
        });
        match is_undecided {
            true => {
                let larger = [further, &["--larger-limits".to_owned()]].concat();
                self.run_once(&larger)
            }
            false => report,
        }
    }

    fn run_once(&self, further: &[String]) -> RunReport {
        let mut command = Command::new(&self.program.path);
        command.arg("one");
        if self.plan.is_some() {
            command.args(["--plan", "-"]);
        } else {
            let Subject {
                scenario,
                seed,
                planted,
            } = &self.subject;
            command.args(["--scenario", scenario, "--seed", &seed.to_string()]);
            if let Some(bug) = planted {
                command.args(["--planted", bug]);
            }
        }
        command
            .args(further)
            .stdin(if self.plan.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // What a terminal sends to this program must not end a run and look like a crash.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        if let Some(log) = &self.log {
            command.env("RUST_LOG", log);
        }
        match command.spawn() {
            Ok(mut child) => {
                if let (Some(plan), Some(mut stdin)) = (&self.plan, child.stdin.take()) {
                    // A process that does not read it says why by its exit status.
                    let _ = stdin.write_all(plan);
                }
                self.outcome(child)
            }
            Err(error) => self.failure("cannot-start", format!("cannot start: {error}")),
        }
    }

    fn outcome(&self, mut child: Child) -> RunReport {
        let mut stdout = child.stdout.take().expect("it was piped");
        let mut stderr = child.stderr.take().expect("it was piped");
        let child = Arc::new(Mutex::new(child));
        let watched = Arc::clone(&child);
        let (done, over) = mpsc::channel::<()>();
        let limit = self.wall_limit;
        let watchdog = std::thread::spawn(move || {
            let late = over.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if late {
                // It may have ended just now.
                let _ = watched.lock().expect("nobody panics with the child").kill();
            }
            late
        });
        let complaints = std::thread::spawn(move || {
            let mut text = Vec::new();
            // What cannot be read is not there; the exit status tells the rest.
            let _ = (&mut stderr).take(STDERR_BYTES_MAX).read_to_end(&mut text);
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text);
        let status = child.lock().expect("nobody panics with the child").wait();
        drop(done);
        let late = watchdog.join().expect("the watchdog does not panic");
        let complaints = complaints.join().expect("the reader does not panic");
        if late {
            let text = format!("not done after {} s of wall time", limit.as_secs());
            return self.failure("hang", text);
        }
        let parsed = read
            .ok()
            .and_then(|_| serde_json::from_str(text.trim()).ok());
        match parsed {
            Some(report) => report,
            None => {
                let stopped = status.as_ref().is_ok_and(stopped_from_outside);
                let status = status.map_or_else(|error| error.to_string(), |s| s.to_string());
                let text = format!("{status}\n{complaints}");
                if stopped {
                    return self.report(Finding::new(Class::Unknown, STOPPED, text));
                }
                self.failure("process", text)
            }
        }
    }

    fn failure(&self, signature: &str, text: String) -> RunReport {
        self.report(Finding::new(Class::Crash, signature, text))
    }

    fn report(&self, finding: Finding) -> RunReport {
        let Subject {
            scenario,
            seed,
            planted,
        } = &self.subject;
        let reproduce = self.program.reproduce(scenario, *seed, planted.as_deref());
        RunReport::without_result(self.subject.clone(), reproduce, finding)
    }
}

/// Runs a plan and keeps all of it in `dir`.
pub fn keep_run(
    program: &Program,
    plan: &impl Plan,
    decisions: Option<&Path>,
    dir: &Path,
) -> RunReport {
    let mut arguments = vec!["--artefact".to_owned(), dir.display().to_string()];
    if let Some(path) = decisions {
        arguments.extend(["--decisions".to_owned(), path.display().to_string()]);
    }
    IsolatedRun::of_plan(program, plan).run(&arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(unix)]
    use crate::fake_runner::script;
    use crate::toy;

    /// The report of seed 9 by a program that stands in for this one.
    fn report(program: &str) -> RunReport {
        let program = Program {
            path: program.into(),
            command: "cargo sim".to_owned(),
        };
        IsolatedRun::of_plan(&program, &toy::plan(9))
            .within(Duration::from_secs(1))
            .run(&[])
    }

    #[test]
    fn a_process_that_dies_is_a_crash_and_not_a_verdict() {
        let report = report("false");
        assert_eq!(
            (report.verdict, report.seed),
            (Class::Crash, 9),
            "{report:?}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_run_that_was_undecided_is_tried_again_with_larger_limits_and_only_that() {
        let of = |finding| {
            let subject = Subject {
                scenario: "toy".to_owned(),
                seed: 9,
                planted: None,
            };
            let report = RunReport::without_result(subject, String::new(), finding);
            serde_json::to_string(&report).expect("a report can be written")
        };
        let larger = of(Finding::new(Class::Violation, "seen-now", String::new()));
        for (signature, expected) in [(UNDECIDED, "seen-now"), ("another", "another")] {
            let usual = of(Finding::new(Class::Unknown, signature, String::new()));
            let text = format!(
                "cat >/dev/null\ncase \"$*\" in *--larger-limits*) echo '{larger}';; *) echo '{usual}';; esac"
            );
            let program = script(signature, &text);
            let finding = report(program.to_str().expect("it is text")).finding;
            let signature = finding.map(|finding| finding.signature);
            assert_eq!(signature.as_deref(), Some(expected));
            std::fs::remove_file(&program).expect("removed");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_process_that_somebody_stopped_says_nothing_and_one_that_aborts_is_a_crash() {
        for (signal, stopped) in [
            ("TERM", true),
            ("INT", true),
            ("ABRT", false),
            ("KILL", false),
        ] {
            // A test that runs in the background inherits that SIGINT is ignored.
            let text = format!("exec env --default-signal=INT sh -c 'kill -{signal} $$'");
            let program = script(signal, &text);
            let path = program.to_str().expect("it is text");
            let report = report(path);
            assert_eq!(was_stopped(&report), stopped, "{signal}: {report:?}");
            std::fs::remove_file(&program).expect("removed");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_a_crash() {
        let report = report("/no/such/program");
        let signature = report.finding.map(|finding| finding.signature);
        assert_eq!(signature.as_deref(), Some("cannot-start"));
    }
}
