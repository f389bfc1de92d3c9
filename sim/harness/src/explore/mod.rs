//! Exploration that is guided by what runs reach.
//!
//! A run is the plan of a seed, or that of a kept plan merged with one. Plans whose runs
//! passed are kept, and taken the more often the rarer the places that they reach. The idea
//! is that of greybox fuzzing (AFL; Böhme, Pham and Roychoudhury, "Coverage-based Greybox
//! Fuzzing as Markov Chain", CCS 2016), with the places that the store's code declares
//! instead of branches. Of several plans that come of that the one is run of which most is
//! predicted by what was run before (`forecast`).
//!
//! Runs are made in rounds. What a round runs is decided before it from what all rounds
//! before it have reached, so an exploration is a function of its first seed and of the
//! number of runs, whatever the number of jobs.

pub mod command;
mod corpus;
mod forecast;
mod rarity;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use veridical_world::{Rng, Stream};

use crate::isolated::IsolatedRun;
use crate::program::Program;
use crate::report::{Class, RunReport};
use crate::scenario::{Plan, Scenario};

use corpus::Corpus;
use forecast::Forecast;
use rarity::Rarity;

/// Runs of a round; more jobs than that have nothing to do.
pub const ROUND: usize = 8;

/// So many runs are plans of seeds, before any is changed.
const SEEDS_FIRST: u64 = 8;

/// After that, one run in so many still is, whatever is predicted of it.
const SEEDS_EVERY: u64 = 8;

/// Plans that are drawn for each of the others; the most promising one is run.
pub const CANDIDATES: u64 = 8;

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
pub struct Execution<P> {
    /// Its number, from 1.
    pub number: u64,
    /// Where its plan comes from.
    pub origin: Origin,
    /// Its plan.
    pub plan: P,
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
pub struct Exploration<'a, S> {
    /// The program that runs a plan: this one.
    pub program: &'a Program,
    /// The system.
    pub system: &'a S,
    /// One of its scenarios that can be explored.
    pub scenario: &'a str,
    /// The planted bug, if any.
    pub planted: Option<&'a str>,
    /// Runs of seeds of the scenario that are known already, with nothing planted.
    pub known: &'a [RunReport],
    /// The first seed; those of a whole exploration follow it, [`CANDIDATES`] for each run at
    /// most.
    pub first_seed: u64,
    /// Runs at most.
    pub executions: u64,
    /// Processes at once.
    pub jobs: usize,
}

impl<S: Scenario> Exploration<'_, S> {
    /// Explores; hands out each run in its order, until `go_on` says no or nothing is
    /// left. A round in which it says no is completed, but not handed out.
    ///
    /// # Panics
    /// If there is no such scenario.
    pub fn run(
        &self,
        interrupted: &AtomicBool,
        mut go_on: impl FnMut(&Execution<S::Plan>, Reach) -> bool,
    ) -> Reach {
        let mut explorer = Explorer::new(self);
        let mut done = 0;
        let mut reach = Reach::default();
        while done < self.executions && !interrupted.load(Ordering::Relaxed) {
            let count = (self.executions - done).min(ROUND as u64);
            explorer.forecast.learn();
            let planned: Vec<(Origin, S::Plan)> = (done..done + count)
                .map(|number| explorer.next(number))
                .collect();
            let reports = self.round(&planned);
            for ((origin, plan), report) in planned.into_iter().zip(reports) {
                let new = explorer.note(&plan, &report);
                done += 1;
                reach = explorer.reach();
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

    /// Runs all of them; the reports in their order.
    fn round(&self, planned: &[(Origin, S::Plan)]) -> Vec<RunReport> {
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

/// What an exploration knows, and how it decides what to run.
struct Explorer<'a, S: Scenario> {
    exploration: &'a Exploration<'a, S>,
    rng: Rng,
    corpus: Corpus<S::Plan>,
    rarity: Rarity,
    forecast: Forecast,
    /// Seeds that were drawn.
    seeds: u64,
}

impl<'a, S: Scenario> Explorer<'a, S> {
    fn new(exploration: &'a Exploration<'a, S>) -> Self {
        let mut explorer = Self {
            exploration,
            rng: Rng::for_part(exploration.first_seed, Stream::Nemesis, "explore"),
            corpus: Corpus::default(),
            rarity: Rarity::default(),
            forecast: Forecast::default(),
            seeds: 0,
        };
        for report in exploration.known {
            let plan = explorer.plan_of(report.seed);
            explorer.note(&plan, report);
        }
        explorer
    }

    fn plan_of(&self, seed: u64) -> S::Plan {
        let plan = self
            .exploration
            .system
            .plan(self.exploration.scenario, seed);
        let mut plan = plan.expect("the scenario was asked for a plan before");
        plan.set_planted(self.exploration.planted.map(str::to_owned));
        plan
    }

    /// The plan of the next seed.
    fn fresh(&mut self) -> S::Plan {
        let seed = self.exploration.first_seed + self.seeds;
        self.seeds += 1;
        self.plan_of(seed)
    }

    /// What the run of this number, from 0, runs.
    fn next(&mut self, number: u64) -> (Origin, S::Plan) {
        let is_plain = number < SEEDS_FIRST && self.exploration.known.is_empty()
            || number.is_multiple_of(SEEDS_EVERY);
        if is_plain {
            let plan = self.fresh();
            return (Origin::Seed(plan.identity().seed), plan);
        }
        let kept = self.corpus.pick(&mut self.rng, &self.rarity);
        let candidates = (0..CANDIDATES).map(|_| {
            let plan = self.fresh();
            match &kept {
                Some(kept) => Plan::changed(kept, &plan, &mut self.rng),
                None => plan,
            }
        });
        let candidates: Vec<S::Plan> = candidates.collect();
        let promise = |plan: &S::Plan| self.forecast.surprise(&forecast::traits(plan));
        let plan = candidates
            .into_iter()
            .map(|plan| (promise(&plan), plan))
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, plan)| plan)
            .expect("there are candidates");
        match kept {
            Some(_) => (Origin::Changed, plan),
            None => (Origin::Seed(plan.identity().seed), plan),
        }
    }

    /// Learns from a run; how much of what it has reached no run had before.
    fn note(&mut self, plan: &S::Plan, report: &RunReport) -> usize {
        let (features, new) = self.rarity.note(&report.sometimes);
        // A run that failed ended early.
        if report.verdict == Class::Ok {
            let places = features.iter().filter_map(|feature| feature.place());
            self.forecast.note(forecast::traits(plan), places.collect());
            self.corpus.add(plan.clone(), features, &self.rarity);
        }
        new
    }

    fn reach(&self) -> Reach {
        let (places, features) = self.rarity.reached();
        Reach {
            places,
            features,
            kept: self.corpus.count(),
        }
    }
}

/// Runs a plan in a process of its own.
pub fn run(program: &Program, plan: &impl Plan) -> RunReport {
    IsolatedRun::of_plan(program, plan).run(&[])
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::fake_runner;
    use crate::report::Finding;
    use crate::toy::{self, Toy};

    /// A program that says that all is well, and that changed plans come by a rare place.
    fn program(name: &str) -> Program {
        let report = |place: &str| {
            let finding = Finding::new(Class::Ok, "", "");
            let mut report = RunReport::of_seed(7, finding);
            report.sometimes.insert("often".to_owned(), 3);
            report.sometimes.insert(place.to_owned(), 1);
            report
        };
        fake_runner::program(name, "schedule_seed", &report("rare"), &report("usual"))
    }

    #[test]
    fn what_a_campaign_has_reached_is_begun_with() {
        let program = program("known");
        let known: Vec<RunReport> = (100..120)
            .map(|seed| {
                let finding = Finding::new(Class::Ok, "", "");
                let mut report = RunReport::of_seed(seed, finding);
                report.sometimes.insert("before".to_owned(), 1);
                report
            })
            .collect();
        let exploration = Exploration {
            program: &program,
            system: &Toy,
            scenario: toy::NAME,
            planted: None,
            known: &known,
            first_seed: 5,
            executions: 2,
            jobs: 1,
        };
        let mut origins = Vec::new();
        let reach = exploration.run(&AtomicBool::new(false), |execution, _| {
            origins.push(execution.origin);
            true
        });
        std::fs::remove_file(&program.path).expect("removed");
        assert_eq!(origins, [Origin::Seed(5), Origin::Changed]);
        assert_eq!((reach.kept, reach.places), (22, 4));
    }

    #[test]
    fn an_exploration_is_the_same_with_any_number_of_jobs() {
        let program = program("explored");
        let explore = |jobs| {
            let exploration = Exploration {
                program: &program,
                system: &Toy,
                scenario: toy::NAME,
                planted: None,
                known: &[],
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
        std::fs::remove_file(&program.path).expect("removed");
        assert!(one == several);
        let (plans, reach) = one;
        assert_eq!(plans.len() as u64, SEEDS_FIRST + 20);
        assert!(plans[..SEEDS_FIRST as usize].iter().enumerate().all(
            |(number, (origin, plan))| {
                *origin == Origin::Seed(5 + number as u64) && *plan == toy::plan(5 + number as u64)
            }
        ));
        let changed = plans
            .iter()
            .filter(|(origin, _)| *origin == Origin::Changed);
        assert!(changed.count() > 10);
        assert_eq!((reach.kept, reach.places), (plans.len(), 3));
    }
}
