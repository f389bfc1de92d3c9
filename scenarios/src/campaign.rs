//! Many seeds, each in a process of its own: a seed that aborts, leaks or hangs harms no
//! other one, and global counters of the executor start at zero for each.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::report::{Class, Finding, RunReport};

/// A seed that takes longer than this by the wall clock is ended.
const SEED_LIMIT: Duration = Duration::from_secs(300);

/// What is kept of what a seed's process wrote to its standard error, in bytes.
const STDERR_BYTES_MAX: u64 = 16 * 1024;

/// What all seeds of a campaign have in common.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The scenario.
    pub scenario: String,
    /// The planted bug, if any.
    pub planted: Option<String>,
    /// How many processes run at once.
    pub jobs: usize,
    /// Run each seed twice and compare.
    pub check_determinism: bool,
    /// The filter for the members' logs (as `RUST_LOG`).
    pub log: Option<String>,
    /// The program that runs one seed: this one.
    pub program: PathBuf,
}

impl Campaign {
    /// The arguments that run one seed.
    fn arguments(&self, seed: u64) -> Vec<String> {
        let mut arguments = vec![
            "one".to_owned(),
            "--scenario".to_owned(),
            self.scenario.clone(),
            "--seed".to_owned(),
            seed.to_string(),
        ];
        if let Some(bug) = &self.planted {
            arguments.extend(["--planted".to_owned(), bug.clone()]);
        }
        arguments
    }

    /// Runs the seeds that `next` hands out until it has no more, or until `stop` is set;
    /// hands each report on as it comes.
    pub fn run(
        &self,
        next: impl Fn() -> Option<u64> + Sync,
        stop: &AtomicBool,
        mut report: impl FnMut(RunReport),
    ) {
        let (sender, reports) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let Some(seed) = next() else { return };
                        let report = self.seed(seed);
                        if sender.send(report).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            for one in reports {
                report(one);
            }
        });
    }

    /// Runs one seed, twice if determinism is checked.
    pub fn seed(&self, seed: u64) -> RunReport {
        let report = self.once(seed, &[]);
        if !self.check_determinism {
            return report;
        }
        let again = self.once(seed, &[]);
        if report.digest == again.digest {
            return report;
        }
        self.nondeterminism(report, &again)
    }

    /// Runs one seed with further arguments.
    fn once(&self, seed: u64, further: &[String]) -> RunReport {
        let mut command = Command::new(&self.program);
        command
            .args(self.arguments(seed))
            .args(further)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(log) = &self.log {
            command.env("RUST_LOG", log);
        }
        match command.spawn() {
            Ok(child) => self.outcome(seed, child),
            Err(error) => self.failure(seed, "cannot-start", format!("cannot start: {error}")),
        }
    }

    fn outcome(&self, seed: u64, mut child: Child) -> RunReport {
        let mut stdout = child.stdout.take().expect("it was piped");
        let mut stderr = child.stderr.take().expect("it was piped");
        let child = Arc::new(Mutex::new(child));
        let watched = Arc::clone(&child);
        let (done, over) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            let late = over.recv_timeout(SEED_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout);
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
            let text = format!("not done after {} s of wall time", SEED_LIMIT.as_secs());
            return self.failure(seed, "hang", text);
        }
        let parsed = read
            .ok()
            .and_then(|_| serde_json::from_str(text.trim()).ok());
        match parsed {
            Some(report) => report,
            None => {
                let status = status.map_or_else(|error| error.to_string(), |s| s.to_string());
                self.failure(seed, "process", format!("{status}\n{complaints}"))
            }
        }
    }

    fn failure(&self, seed: u64, signature: &str, text: String) -> RunReport {
        RunReport::without_result(
            seed,
            &self.scenario,
            self.planted.as_deref(),
            Finding::new(Class::Crash, signature, text),
        )
    }

    /// Runs a seed whose digests differ twice more, with traces, and says where they part.
    fn nondeterminism(&self, report: RunReport, again: &RunReport) -> RunReport {
        let difference = self
            .traces(report.seed)
            .unwrap_or_else(|error| error.to_string());
        let text = format!(
            "two runs of seed {} have the digests {} and {}\n{difference}",
            report.seed, report.digest, again.digest
        );
        RunReport {
            verdict: Class::Nondeterminism,
            finding: Some(Finding::new(Class::Nondeterminism, "digests-differ", text)),
            ..report
        }
    }

    fn traces(&self, seed: u64) -> std::io::Result<String> {
        let dir = std::env::temp_dir().join(format!("veridical-{}-{seed}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let paths = [dir.join("first.jsonl"), dir.join("second.jsonl")];
        for path in &paths {
            self.once(seed, &["--trace".to_owned(), path.display().to_string()]);
        }
        let difference = first_difference(&paths[0], &paths[1])?;
        std::fs::remove_dir_all(&dir)?;
        Ok(difference)
    }

    /// Runs a seed that failed once more and keeps all of it in `dir`.
    pub fn keep(&self, seed: u64, dir: &Path) -> RunReport {
        self.once(seed, &["--artefact".to_owned(), dir.display().to_string()])
    }
}

/// Where two traces part, in words.
fn first_difference(first: &Path, second: &Path) -> std::io::Result<String> {
    use std::io::{BufRead, BufReader};
    let mut lines = BufReader::new(std::fs::File::open(first)?).lines();
    let mut others = BufReader::new(std::fs::File::open(second)?).lines();
    let mut number = 0;
    loop {
        let (line, other) = (lines.next().transpose()?, others.next().transpose()?);
        match (line, other) {
            (None, None) => return Ok("with traces kept, two runs were the same".to_owned()),
            (line, other) if line != other => {
                let show = |line: Option<String>| line.unwrap_or_else(|| "(the end)".to_owned());
                return Ok(format!(
                    "first difference at event {number}:\n  {}\n  {}",
                    show(line),
                    show(other)
                ));
            }
            _ => number += 1,
        }
    }
}

/// Hands out seeds one after the other, from any thread.
pub struct Seeds {
    next: AtomicU64,
    end: u64,
}

impl Seeds {
    /// `count` seeds from `first` on.
    pub fn new(first: u64, count: u64) -> Self {
        Self {
            next: AtomicU64::new(first),
            end: first.saturating_add(count),
        }
    }

    /// The next one.
    pub fn next(&self) -> Option<u64> {
        let seed = self.next.fetch_add(1, Ordering::Relaxed);
        (seed < self.end).then_some(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_handed_out_once_each() {
        let seeds = Seeds::new(5, 3);
        let handed: Vec<u64> = std::iter::from_fn(|| seeds.next()).collect();
        assert_eq!(handed, [5, 6, 7]);
    }

    #[test]
    fn a_process_that_dies_is_a_crash_and_not_a_verdict() {
        let campaign = Campaign {
            scenario: "swarm".to_owned(),
            planted: None,
            jobs: 1,
            check_determinism: false,
            log: None,
            program: "false".into(),
        };
        let report = campaign.seed(7);
        assert_eq!(report.verdict, Class::Crash);
        assert!(report.reproduce.contains("--seed 7"));
    }

    #[test]
    fn the_first_differing_line_of_two_traces_is_named() {
        let dir = std::env::temp_dir().join(format!("veridical-test-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let (first, second) = (dir.join("a"), dir.join("b"));
        std::fs::write(&first, "one\ntwo\nthree\n").expect("written");
        std::fs::write(&second, "one\ntwo\nfour\n").expect("written");
        let text = first_difference(&first, &second).expect("read");
        assert!(text.contains("event 2") && text.contains("three") && text.contains("four"));
        let same = first_difference(&first, &first).expect("read");
        assert!(same.contains("the same"));
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
