//! Makes a failing plan small: leaves out its parts, puts its settings back to what they
//! usually are and lets the run end sooner, as long as the run still fails in the same way (delta debugging;
//! Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE
//! Transactions on Software Engineering 28(2), 2002).
//!
//! Each trial is a run in a process of its own. A smaller plan does something else, so
//! the scheduler's picks fall differently; a candidate is therefore tried under several
//! schedules, and the one under which it fails becomes part of the plan.
//!
//! As long as the failure is larger than what one can look through, small plans are also
//! drawn at random from what it consists of ([`Plan::resampled`]).

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use veridical_world::{Rng, Stream};

use crate::artefact::failure;
use crate::isolated::IsolatedRun;
use crate::program::Program;
use crate::replay::variant;
use crate::report::{Class, RunReport};
use crate::scenario::Plan;
use crate::size::{FAULTS_GOAL, OPERATIONS_GOAL, Size};

/// Schedules for the plan as it is.
const FIRST_SCHEDULES: u32 = 32;

/// Small plans that are drawn before anything is left out.
const DRAWN_FIRST: usize = 64;

/// Small plans that are handed out to the jobs at once.
const DRAWN_AT_ONCE: usize = 32;

/// How hard a candidate is tried.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// Under how many schedules.
    schedules: u32,
    /// Parts are left out in chunks of no less than this fraction of them.
    finest: usize,
    /// How many of the simpler plans are tried; they come with the greatest gain first.
    simpler: usize,
    /// How many small plans are drawn if nothing was gained.
    drawn: usize,
}

/// One after the other; from the first again as soon as something was gained. A failure
/// that hangs on a moment of time needs many schedules, and then only great gains are
/// worth the time; single parts come last.
const EFFORTS: [Effort; 4] = [
    Effort {
        schedules: 2,
        finest: 32,
        drawn: 128,
        simpler: usize::MAX,
    },
    Effort {
        schedules: 8,
        finest: 16,
        drawn: 256,
        simpler: 12,
    },
    Effort {
        schedules: 32,
        finest: 8,
        drawn: 512,
        simpler: 4,
    },
    Effort {
        schedules: 8,
        finest: usize::MAX,
        drawn: 1_024,
        simpler: usize::MAX,
    },
];

/// A candidate that takes longer than this is not pursued.
const TRIAL_LIMIT: Duration = Duration::from_secs(60);

/// How a plan is made small.
#[derive(Debug)]
pub struct Shrink<'a> {
    /// The program that runs it: this one.
    pub program: &'a Program,
    /// Processes at once.
    pub jobs: usize,
    /// When to be content with what there is.
    pub deadline: Instant,
    /// Set from outside: be content with what there is.
    pub interrupted: &'a AtomicBool,
    /// Class and signature that have to stay.
    pub goal: (Class, String),
}

/// The smallest plan so far.
#[derive(Clone, Debug)]
pub struct Smallest<P> {
    /// The plan itself.
    pub plan: P,
    /// When it failed, in ms of simulated time.
    pub failed_at_ms: u64,
    /// Runs that were made.
    pub trials: u64,
}

impl<P: Plan> Smallest<P> {
    /// How big it is.
    pub fn size(&self) -> Size {
        self.plan.size(self.failed_at_ms)
    }
}

impl Shrink<'_> {
    /// Makes `plan` small; `None` if it does not fail in the way that is asked for.
    /// `progress` is told of each smaller plan.
    pub fn run<P: Plan>(
        &self,
        plan: &P,
        mut progress: impl FnMut(&Smallest<P>),
    ) -> Option<Smallest<P>> {
        let trials = AtomicUsize::new(0);
        let (mut best, report) =
            self.first_failing(&trials, std::slice::from_ref(plan), FIRST_SCHEDULES)?;
        let mut failed_at_ms = report.simulated_ms;
        let times = report.timetable.as_ref();
        if let Some(pinned) = times.and_then(|times| best.pinned(times))
            && let Some((pinned, report)) = self.first_failing(&trials, &[pinned], FIRST_SCHEDULES)
        {
            (best, failed_at_ms) = (pinned, report.simulated_ms);
        }
        let mut smallest = Smallest {
            plan: best,
            failed_at_ms,
            trials: 0,
        };
        let mut rng = Rng::for_part(plan.identity().seed, Stream::Nemesis, "condense");
        self.resample(&trials, &mut smallest, DRAWN_FIRST, &mut rng, &mut progress);
        let mut effort = 0;
        while effort < EFFORTS.len() && !self.is_over() {
            let before = smallest.plan.clone();
            self.simplify(&trials, &mut smallest, EFFORTS[effort], &mut progress);
            for sort in 0..P::PARTS.len() {
                self.leave_out(&trials, &mut smallest, sort, EFFORTS[effort], &mut progress);
            }
            let gained = !same_but_for_draws(&before, &smallest.plan)
                || self.resample(
                    &trials,
                    &mut smallest,
                    EFFORTS[effort].drawn,
                    &mut rng,
                    &mut progress,
                );
            effort = if gained { 0 } else { effort + 1 };
        }
        smallest.trials = trials.load(Ordering::Relaxed) as u64;
        Some(smallest)
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline || self.interrupted.load(Ordering::Relaxed)
    }

    /// Draws small plans until one of them fails in the same way; whether one did. A
    /// failure that can be looked through is left alone.
    fn resample<P: Plan>(
        &self,
        trials: &AtomicUsize,
        smallest: &mut Smallest<P>,
        draws: usize,
        rng: &mut Rng,
        progress: &mut impl FnMut(&Smallest<P>),
    ) -> bool {
        let size = smallest.size();
        if size.operations <= OPERATIONS_GOAL && size.faults <= FAULTS_GOAL {
            return false;
        }
        for _ in 0..draws.div_ceil(DRAWN_AT_ONCE) {
            let drawn: Option<Vec<P>> = (0..DRAWN_AT_ONCE)
                .map(|_| smallest.plan.resampled(rng))
                .collect();
            let Some(drawn) = drawn else { return false };
            if let Some((plan, report)) = self.first_failing(trials, &drawn, 1) {
                smallest.plan = plan;
                smallest.failed_at_ms = report.simulated_ms;
                progress(smallest);
                return true;
            }
        }
        false
    }

    fn simplify<P: Plan>(
        &self,
        trials: &AtomicUsize,
        smallest: &mut Smallest<P>,
        effort: Effort,
        progress: &mut impl FnMut(&Smallest<P>),
    ) {
        let mut from = 0;
        loop {
            let mut candidates = smallest.plan.simpler(smallest.failed_at_ms);
            candidates.truncate(effort.simpler);
            let left = candidates.get(from..).unwrap_or_default();
            let Some((number, plan, report)) = self.first_of(trials, left, effort.schedules) else {
                return;
            };
            // Those before it did not fail before and hardly do now; the next round of
            // the caller asks again.
            from += number;
            smallest.plan = plan;
            smallest.failed_at_ms = report.simulated_ms;
            progress(smallest);
        }
    }

    /// Leaves parts out in chunks of half of them, of a quarter, down to single ones.
    fn leave_out<P: Plan>(
        &self,
        trials: &AtomicUsize,
        smallest: &mut Smallest<P>,
        sort: usize,
        effort: Effort,
        progress: &mut impl FnMut(&Smallest<P>),
    ) {
        let mut chunk = smallest.plan.count(sort);
        let finest = (chunk / effort.finest).max(1);
        while chunk >= finest {
            let mut start = 0;
            while start < smallest.plan.count(sort) && !self.is_over() {
                let count = smallest.plan.count(sort);
                let starts: Vec<usize> = (start..count).step_by(chunk).take(self.jobs).collect();
                let candidates: Vec<P> = starts
                    .iter()
                    .map(|start| {
                        let out: BTreeSet<usize> = (*start..(*start + chunk).min(count)).collect();
                        smallest.plan.without(sort, &out)
                    })
                    .collect();
                match self.first_of(trials, &candidates, effort.schedules) {
                    Some((number, plan, report)) => {
                        start = starts[number];
                        smallest.plan = plan;
                        smallest.failed_at_ms = report.simulated_ms;
                        smallest.trials = trials.load(Ordering::Relaxed) as u64;
                        progress(smallest);
                    }
                    None => start += chunk * starts.len(),
                }
            }
            chunk /= 2;
        }
    }

    fn first_failing<P: Plan>(
        &self,
        trials: &AtomicUsize,
        candidates: &[P],
        schedules: u32,
    ) -> Option<(P, RunReport)> {
        let (_, plan, report) = self.first_of(trials, candidates, schedules)?;
        Some((plan, report))
    }

    /// The first of the candidates that fails in the same way under one of the schedules;
    /// with several jobs, one of the first.
    fn first_of<P: Plan>(
        &self,
        trials: &AtomicUsize,
        candidates: &[P],
        schedules: u32,
    ) -> Option<(usize, P, RunReport)> {
        let runs = candidates.len() * schedules as usize;
        let next = AtomicUsize::new(0);
        let found: Mutex<Option<(usize, P, RunReport)>> = Mutex::new(None);
        let work = || {
            while found.lock().expect("no panic holds it").is_none() && !self.is_over() {
                let run = next.fetch_add(1, Ordering::Relaxed);
                if run >= runs {
                    return;
                }
                let number = run / schedules as usize;
                let plan = variant(&candidates[number], (run % schedules as usize) as u32);
                trials.fetch_add(1, Ordering::Relaxed);
                let isolated = IsolatedRun::of_plan(self.program, &plan).within(TRIAL_LIMIT);
                let report = isolated.run(&["--timetable".to_owned()]);
                let (class, signature) = &self.goal;
                if failure(&report) == Some((*class, signature)) {
                    let mut found = found.lock().expect("no panic holds it");
                    if found.as_ref().is_none_or(|(first, ..)| number < *first) {
                        *found = Some((number, plan, report));
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.jobs {
                scope.spawn(work);
            }
            work();
        });
        found.into_inner().expect("no panic holds it")
    }
}

fn same_but_for_draws<P: Plan>(a: &P, b: &P) -> bool {
    let identity = a.identity();
    let mut b = b.clone();
    b.set_draws(identity.seed, identity.schedule_seed);
    *a == b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    #[test]
    fn variants_differ_in_their_draws_alone() {
        let plan = toy::plan(2);
        assert_eq!(variant(&plan, 0), plan);
        for number in 1..9 {
            let other = variant(&plan, number);
            assert_ne!(other, plan);
            assert!(same_but_for_draws(&plan, &other));
        }
        let less = plan.without(1, &BTreeSet::from([3]));
        assert!(!same_but_for_draws(&plan, &less));
    }
}
