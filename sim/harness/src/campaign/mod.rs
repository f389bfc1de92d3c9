//! Many seeds, several at once, each in a process of its own.

pub mod command;
pub mod groups;
pub mod ledger;
pub mod outcome;
pub mod shard;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use crate::isolated::IsolatedRun;
use crate::program::Program;
use crate::report::{Class, Finding, RunReport, Subject};

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
    pub program: Program,
}

impl Campaign {
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
        let subject = Subject {
            scenario: self.scenario.clone(),
            seed,
            planted: self.planted.clone(),
        };
        IsolatedRun::of_seed(&self.program, subject)
            .with_log(self.log.as_deref())
            .run(further)
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
            program: Program {
                path: "false".into(),
                command: "cargo sim".to_owned(),
            },
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
