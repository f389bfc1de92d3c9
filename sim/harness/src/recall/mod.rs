//! How well the checks find bugs: each planted bug is looked for until a run finds it or
//! the budget ends; by one seed after the other, or by a guided exploration.
//!
//! A finding counts if the same plan is clean without the bug. If it is not, the store
//! itself is at fault, and that is what has to be said.

pub mod command;
mod comparison;

use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::campaign::{Campaign, Seeds};
use crate::explore::{self, Execution, Exploration, Origin};
use crate::isolated::{keep_run, was_stopped};
use crate::program::Program;
use crate::report::{Class, RunReport};
use crate::scenario::{Plan, Scenario};

/// How a planted bug is looked for.
#[derive(Debug)]
pub struct Search<'a, S> {
    /// The system.
    pub system: &'a S,
    /// The bug.
    pub bug: &'a str,
    /// The scenario.
    pub scenario: &'a str,
    /// The first seed.
    pub first: u64,
    /// Runs at most.
    pub budget: u64,
    /// Processes at once.
    pub jobs: usize,
    /// The program that runs them: this one.
    pub program: &'a Program,
    /// What is run is chosen by what runs have reached, and changed plans are run, too.
    pub guided: bool,
    /// Runs of seeds with nothing planted that a guided search begins with.
    pub known: &'a [RunReport],
    /// Where changed plans that found something are kept.
    pub artefacts: &'a Path,
}

/// What came of looking for one planted bug.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recalled {
    /// The bug.
    pub bug: String,
    /// Whether some run found it that shows nothing without it.
    pub found: bool,
    /// The first seed.
    #[serde(default)]
    pub first: u64,
    /// Whether changed plans were run, too.
    #[serde(default)]
    pub guided: bool,
    /// How many runs were needed, the finding one included.
    pub seeds: u64,
    /// How long it took, in ms of wall time.
    pub wall_ms: u64,
    /// How it showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The sort of finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The command that runs the finding seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reproduce: Option<String>,
    /// What a plan shows without the bug, too: a failure of the store itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_it: Option<Unplanted>,
}

/// A failure of a plan with nothing planted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unplanted {
    /// Of which kind.
    pub class: Class,
    /// Of which sort.
    pub signature: String,
    /// The command that shows it.
    pub reproduce: String,
}

impl Unplanted {
    /// What is wrong with a run that has nothing planted, if something is. A run that
    /// somebody stopped says nothing.
    fn of(report: RunReport) -> Option<Self> {
        if matches!(report.verdict, Class::Ok | Class::Stopped) || was_stopped(&report) {
            return None;
        }
        Some(Self {
            class: report.verdict,
            signature: report
                .finding
                .map(|finding| finding.signature)
                .unwrap_or_default(),
            reproduce: report.reproduce,
        })
    }
}

/// What looking for a bug has shown.
#[derive(Default)]
struct Shown {
    /// Runs that were made, up to the one that found it.
    ran: u64,
    /// The run that found it, with the command that shows it again.
    found: Option<(RunReport, String)>,
    /// The first failure of the store itself.
    without_it: Option<Unplanted>,
}

/// Whether a run shows something. What the checker could not decide is no finding, nor
/// is a run that somebody stopped.
fn shows(report: &RunReport) -> bool {
    !matches!(report.verdict, Class::Ok | Class::Unknown | Class::Stopped) && !was_stopped(report)
}

impl<S> Clone for Search<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Search<'_, S> {}

impl<S: Scenario> Search<'_, S> {
    /// Looks for the bug. A failure that shows without the bug is told, and the search
    /// goes on.
    pub fn run(&self, interrupted: &AtomicBool) -> Recalled {
        let started = Instant::now();
        let shown = if self.guided {
            self.explore(interrupted)
        } else {
            self.seeds(interrupted)
        };
        let mut recalled = Recalled {
            bug: self.bug.to_owned(),
            found: shown.found.is_some(),
            first: self.first,
            guided: self.guided,
            seeds: shown.ran,
            wall_ms: started.elapsed().as_millis() as u64,
            class: None,
            signature: None,
            reproduce: None,
            without_it: shown.without_it,
        };
        if let Some((report, reproduce)) = shown.found {
            recalled.class = Some(report.verdict);
            recalled.signature = report.finding.map(|finding| finding.signature);
            recalled.reproduce = Some(reproduce);
        }
        recalled
    }

    fn seeds(&self, interrupted: &AtomicBool) -> Shown {
        let mut shown = Shown::default();
        while shown.ran < self.budget && !interrupted.load(Ordering::Relaxed) {
            let first = self.first + shown.ran;
            let left = self.budget - shown.ran;
            let (finding, ran) = self.first_finding(first, left, interrupted);
            shown.ran += ran;
            let Some(report) = finding else { break };
            let unplanted = self.campaign(None).seed(report.seed);
            match Unplanted::of(unplanted) {
                Some(own) => shown.without_it = shown.without_it.or(Some(own)),
                None => {
                    let command = report.reproduce.clone();
                    shown.found = Some((report, command));
                    break;
                }
            }
        }
        shown
    }

    fn campaign(&self, planted: Option<&str>) -> Campaign {
        Campaign {
            scenario: self.scenario.to_owned(),
            planted: planted.map(str::to_owned),
            jobs: self.jobs,
            check_determinism: false,
            log: None,
            program: self.program.clone(),
        }
    }

    /// The first of these seeds that shows something, and how many there are up to it; or
    /// how many were run.
    fn first_finding(
        &self,
        first: u64,
        budget: u64,
        interrupted: &AtomicBool,
    ) -> (Option<RunReport>, u64) {
        let seeds = Seeds::new(first, budget);
        let stop = AtomicBool::new(false);
        let mut finding: Option<RunReport> = None;
        let mut ran = 0;
        self.campaign(Some(self.bug)).run(
            || {
                (!interrupted.load(Ordering::Relaxed))
                    .then(|| seeds.next())
                    .flatten()
            },
            &stop,
            |report| {
                ran += 1;
                let is_first = finding
                    .as_ref()
                    .is_none_or(|known| report.seed < known.seed);
                if shows(&report) && is_first {
                    stop.store(true, Ordering::Relaxed);
                    finding = Some(report);
                }
            },
        );
        let ran = finding
            .as_ref()
            .map_or(ran, |report| report.seed - first + 1);
        (finding, ran)
    }

    fn explore(&self, interrupted: &AtomicBool) -> Shown {
        let exploration = Exploration {
            program: self.program,
            system: self.system,
            scenario: self.scenario,
            planted: Some(self.bug),
            known: self.known,
            first_seed: self.first,
            executions: self.budget,
            jobs: self.jobs,
        };
        let mut shown = Shown::default();
        exploration.run(interrupted, |execution, _| {
            shown.ran = execution.number;
            if !shows(&execution.report) {
                return true;
            }
            let mut unplanted = execution.plan.clone();
            unplanted.set_planted(None);
            match Unplanted::of(explore::run(self.program, &unplanted)) {
                Some(own) if shown.without_it.is_none() => {
                    let reproduce = self.command(execution, &unplanted);
                    shown.without_it = Some(Unplanted { reproduce, ..own });
                    true
                }
                Some(_) => true,
                None => {
                    let command = self.command(execution, &execution.plan);
                    shown.found = Some((execution.report.clone(), command));
                    false
                }
            }
        });
        shown
    }

    /// The command that shows it again; a changed plan is kept for that.
    fn command(&self, execution: &Execution<S::Plan>, plan: &S::Plan) -> String {
        let planted = plan.identity().planted;
        match execution.origin {
            Origin::Seed(seed) => self
                .program
                .reproduce(self.scenario, seed, planted.as_deref()),
            Origin::Changed => {
                let what = planted.as_deref().unwrap_or("unplanted");
                let name = format!("guided-{what}-{}-{}", self.first, execution.number);
                let dir = self.artefacts.join(name);
                keep_run(self.program, plan, None, &dir).reproduce
            }
        }
    }
}

#[cfg(test)]
impl Recalled {
    /// An attempt that ended after so many seeds.
    fn attempt(found: bool, seeds: u64) -> Self {
        Self {
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
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::fake_runner;
    use crate::report::Finding;
    use crate::toy::{self, Toy};

    /// A program that fails with a bug planted, and without one as `unplanted` says.
    fn program(name: &str, unplanted: Class) -> Program {
        let report = |class: Class| {
            let finding = Finding::new(class, "sort", "");
            RunReport::of_seed(7, finding)
        };
        // The bug is on the command line, or in the plan on standard input.
        let planted = report(Class::Violation);
        fake_runner::program(name, "planted", &planted, &report(unplanted))
    }

    #[test]
    fn a_finding_is_the_planted_bug_only_if_the_plan_is_clean_without_it() {
        for (name, unplanted, found) in [
            ("clean", Class::Ok, true),
            ("also-broken", Class::Liveness, false),
        ] {
            let program = program(name, unplanted);
            for guided in [false, true] {
                let search = Search {
                    system: &Toy,
                    bug: "bug",
                    scenario: toy::NAME,
                    first: 7,
                    budget: 1,
                    jobs: 1,
                    program: &program,
                    guided,
                    known: &[],
                    artefacts: Path::new("artefacts"),
                };
                let recalled = search.run(&AtomicBool::new(false));
                assert_eq!((recalled.found, recalled.seeds), (found, 1), "{recalled:?}");
                assert_eq!(recalled.class, found.then_some(Class::Violation));
                let without_it = recalled.without_it.map(|unplanted| unplanted.class);
                assert_eq!(without_it, (!found).then_some(unplanted));
            }
            std::fs::remove_file(program.path).expect("removed");
        }
    }
}
