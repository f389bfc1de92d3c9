//! One run in a process of its own: a run that aborts, leaks or hangs harms no other one,
//! and global counters of the executor start at zero for each.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::plan::Plan;
use crate::report::{Class, Finding, RunReport};

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

/// What is run.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// The plan of a seed.
    Seed {
        /// The scenario.
        scenario: &'a str,
        /// The seed.
        seed: u64,
        /// The planted bug.
        planted: Option<&'a str>,
    },
    /// This plan.
    Plan(&'a Plan),
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    /// The program that carries it out: this one.
    pub program: &'a Path,
    /// What is run.
    pub subject: Subject<'a>,
    /// The filter for the members' logs (as `RUST_LOG`).
    pub log: Option<&'a str>,
    /// It is ended after this much wall time.
    pub wall_limit: Duration,
}

impl Trial<'_> {
    /// Runs it with further arguments for `one`. Whatever goes wrong with the process is
    /// a crash of the run.
    pub fn run(&self, further: &[String]) -> RunReport {
        let mut command = Command::new(self.program);
        command.arg("one");
        let input = match self.subject {
            Subject::Seed {
                scenario,
                seed,
                planted,
            } => {
                command.args(["--scenario", scenario, "--seed", &seed.to_string()]);
                if let Some(bug) = planted {
                    command.args(["--planted", bug]);
                }
                None
            }
            Subject::Plan(plan) => {
                command.args(["--plan", "-"]);
                Some(serde_json::to_vec(plan).expect("a plan can be written"))
            }
        };
        command
            .args(further)
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // What a terminal sends to this program must not end a run and look like a crash.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        if let Some(log) = self.log {
            command.env("RUST_LOG", log);
        }
        match command.spawn() {
            Ok(mut child) => {
                if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
                    // A process that does not read it says why by its exit status.
                    let _ = stdin.write_all(&input);
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
        let (scenario, seed, planted) = match self.subject {
            Subject::Seed {
                scenario,
                seed,
                planted,
            } => (scenario, seed, planted),
            Subject::Plan(plan) => (plan.scenario.as_str(), plan.seed, plan.planted.as_deref()),
        };
        RunReport::without_result(seed, scenario, planted, finding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;

    fn trial<'a>(program: &'a str, subject: Subject<'a>) -> Trial<'a> {
        Trial {
            program: Path::new(program),
            subject,
            log: None,
            wall_limit: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_process_that_dies_is_a_crash_and_not_a_verdict() {
        let plan = swarm::plan(9);
        let report = trial("false", Subject::Plan(&plan)).run(&[]);
        assert_eq!(
            (report.verdict, report.seed),
            (Class::Crash, 9),
            "{report:?}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_process_that_somebody_stopped_says_nothing_and_one_that_aborts_is_a_crash() {
        use std::os::unix::fs::PermissionsExt;
        let plan = swarm::plan(9);
        for (signal, stopped) in [
            ("TERM", true),
            ("INT", true),
            ("ABRT", false),
            ("KILL", false),
        ] {
            let name = format!("veridical-{signal}-{}", std::process::id());
            let program = std::env::temp_dir().join(name);
            // A test that runs in the background inherits that SIGINT is ignored.
            let script =
                format!("#!/bin/sh\nexec env --default-signal=INT sh -c 'kill -{signal} $$'\n");
            std::fs::write(&program, script).expect("written");
            let executable = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(&program, executable).expect("changed");
            let path = program.to_str().expect("it is text");
            let report = trial(path, Subject::Plan(&plan)).run(&[]);
            assert_eq!(was_stopped(&report), stopped, "{signal}: {report:?}");
            std::fs::remove_file(&program).expect("removed");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_a_crash() {
        let plan = swarm::plan(9);
        let report = trial("/no/such/program", Subject::Plan(&plan)).run(&[]);
        let signature = report.finding.map(|finding| finding.signature);
        assert_eq!(signature.as_deref(), Some("cannot-start"));
    }
}
