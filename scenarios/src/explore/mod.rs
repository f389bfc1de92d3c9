//! Exploration that is guided by what runs reach.
//!
//! Run N is the plan of the Nth seed, or that of a kept plan merged with it. Plans whose
//! runs passed are kept, and taken the more often the rarer the places that they reach.
//! The idea is that of greybox fuzzing (AFL; Böhme, Pham and Roychoudhury, "Coverage-based
//! Greybox Fuzzing as Markov Chain", CCS 2016), with the places that the store's code
//! declares instead of branches.
//!
//! Runs are made in rounds. What a round runs is decided before it from what all rounds
//! before it have reached, so an exploration is a function of its first seed and of the
//! number of runs, whatever the number of jobs.

pub mod command;
mod corpus;
mod merge;
mod mutation;
mod rarity;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use veridical_sim::{Rng, Stream};

use crate::plan::Plan;
use crate::report::{Class, RunReport};
use crate::swarm;
use crate::trial::{Subject, Trial, WALL_LIMIT};

use corpus::Corpus;
use rarity::Rarity;

/// Runs of a round; more jobs than that have nothing to do.
pub const ROUND: usize = 8;

/// So many runs are plans of seeds, before any is changed.
const SEEDS_FIRST: u64 = 8;

/// After that, one run in so many still is: what was never reached cannot be kept.
const SEEDS_EVERY: u64 = 8;

/// Where a plan comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is that of this seed.
    Seed(u64),
    /// A kept one was changed.
    Changed,
}

/// A run of an exploration.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Its number, from 1.
    pub number: u64,
    /// Where its plan comes from.
    pub origin: Origin,
    /// Its plan.
    pub plan: Plan,
    /// What came of it.
    pub report: RunReport,
    /// How much of what it reached no run had reached before.
    pub new: usize,
}

/// How far an exploration is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Places that were reached.
    pub places: usize,
    /// Places, magnitudes and pairs that were reached.
    pub features: usize,
    /// Plans that are kept.
    pub kept: usize,
}

/// What is explored.
#[derive(Clone, Debug)]
pub struct Exploration<'a> {
    /// The program that runs a plan: this one.
    pub program: &'a Path,
    /// One of the swarm's scenarios.
    pub scenario: &'a str,
    /// The planted bug, if any.
    pub planted: Option<&'a str>,
    /// The first seed; those of a whole exploration follow it, one for each run at most.
    pub first_seed: u64,
    /// Runs at most.
    pub executions: u64,
    /// Processes at once.
    pub jobs: usize,
}

impl Exploration<'_> {
    /// Explores; hands out each run in its order, until `go_on` says no or nothing is
    /// left. A round in which it says no is completed, but not handed out.
    ///
    /// # Panics
    /// If the scenario is none of the swarm's.
    pub fn run(
        &self,
        interrupted: &AtomicBool,
        mut go_on: impl FnMut(&Execution, Reach) -> bool,
    ) -> Reach {
        let mut rng = Rng::for_part(self.first_seed, Stream::Nemesis, "explore");
        let (mut corpus, mut rarity) = (Corpus::default(), Rarity::default());
        let (mut done, mut seeds) = (0, 0);
        let mut reach = Reach::default();
        while done < self.executions && !interrupted.load(Ordering::Relaxed) {
            let count = (self.executions - done).min(ROUND as u64);
            let planned: Vec<(Origin, Plan)> = (done..done + count)
                .map(|number| self.next(number, &mut seeds, &mut corpus, &rarity, &mut rng))
                .collect();
            let reports = self.round(&planned);
            for ((origin, plan), report) in planned.into_iter().zip(reports) {
                let (features, new) = rarity.note(&report.sometimes);
                if report.verdict == Class::Ok {
                    corpus.add(plan.clone(), features, &rarity);
                }
                done += 1;
                let (places, features) = rarity.reached();
                reach = Reach {
                    places,
                    features,
                    kept: corpus.count(),
                };
                let execution = Execution {
                    number: done,
                    origin,
                    plan,
                    report,
                    new,
                };
                if !go_on(&execution, reach) {
                    return reach;
                }
            }
        }
        reach
    }

    /// What the run of this number, from 0, runs.
    fn next(
        &self,
        number: u64,
        seeds: &mut u64,
        corpus: &mut Corpus,
        rarity: &Rarity,
        rng: &mut Rng,
    ) -> (Origin, Plan) {
        let is_changed = number >= SEEDS_FIRST && !number.is_multiple_of(SEEDS_EVERY);
        let seed = self.first_seed + *seeds;
        *seeds += 1;
        let plan = swarm::plan_of(self.scenario, seed).expect("the scenario is the swarm's");
        let planted = self.planted.map(str::to_owned);
        let plan = Plan { planted, ..plan };
        if is_changed && let Some(kept) = corpus.pick(rng, rarity) {
            return (Origin::Changed, mutation::changed(&kept, &plan, rng));
        }
        (Origin::Seed(seed), plan)
    }

    /// Runs all of them; the reports in their order.
    fn round(&self, planned: &[(Origin, Plan)]) -> Vec<RunReport> {
        let next = AtomicUsize::new(0);
        let reports: Mutex<Vec<Option<RunReport>>> = Mutex::new(vec![None; planned.len()]);
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((_, plan)) = planned.get(number) else {
                    return;
                };
                let report = run(self.program, plan);
                reports.lock().expect("no panic holds it")[number] = Some(report);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.jobs.min(planned.len()) {
                scope.spawn(work);
            }
            work();
        });
        let reports = reports.into_inner().expect("no panic holds it");
        let each = reports.into_iter();
        each.map(|report| report.expect("each was run")).collect()
    }
}

/// Runs a plan in a process of its own.
pub fn run(program: &Path, plan: &Plan) -> RunReport {
    let trial = Trial {
        program,
        subject: Subject::Plan(plan),
        log: None,
        wall_limit: WALL_LIMIT,
    };
    trial.run(&[])
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::report::Finding;
    use std::os::unix::fs::PermissionsExt;

    /// A program that says that all is well, and that changed plans come by a rare place.
    fn program(name: &str) -> std::path::PathBuf {
        let report = |place: &str| {
            let finding = Finding::new(Class::Ok, "", "");
            let mut report = RunReport::without_result(7, "swarm", None, finding);
            report.sometimes.insert("often".to_owned(), 3);
            report.sometimes.insert(place.to_owned(), 1);
            serde_json::to_string(&report).expect("written")
        };
        let script = format!(
            "#!/bin/sh\ncase \"$(cat)\" in\n*schedule_seed*) echo '{}';;\n*) echo '{}';;\nesac\n",
            report("rare"),
            report("usual")
        );
        let path = std::env::temp_dir().join(format!("veridical-{name}-{}", std::process::id()));
        std::fs::write(&path, script).expect("written");
        let executable = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&path, executable).expect("changed");
        path
    }

    #[test]
    fn an_exploration_is_the_same_with_any_number_of_jobs() {
        let program = program("explored");
        let explore = |jobs| {
            let exploration = Exploration {
                program: &program,
                scenario: "swarm",
                planted: None,
                first_seed: 5,
                executions: SEEDS_FIRST + 20,
                jobs,
            };
            let mut plans = Vec::new();
            let reach = exploration.run(&AtomicBool::new(false), |execution, _| {
                plans.push((execution.origin, execution.plan.clone()));
                true
            });
            (plans, reach)
        };
        let (one, several) = (explore(1), explore(3));
        std::fs::remove_file(&program).expect("removed");
        assert!(one == several);
        let (plans, reach) = one;
        assert_eq!(plans.len() as u64, SEEDS_FIRST + 20);
        assert!(plans[..SEEDS_FIRST as usize].iter().enumerate().all(
            |(number, (origin, plan))| {
                *origin == Origin::Seed(5 + number as u64)
                    && *plan == swarm::plan(5 + number as u64)
            }
        ));
        let changed = plans
            .iter()
            .filter(|(origin, _)| *origin == Origin::Changed);
        assert!(changed.count() > 10);
        assert_eq!((reach.kept, reach.places), (plans.len(), 3));
    }
}
