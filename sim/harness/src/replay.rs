//! A kept failure, run again: event for event by the program that kept it, and from its
//! plan and its record of decisions by any other.
//!
//! What the record cannot fix is the order in which madsim picks among tasks that are
//! ready at the same time, once the code does something else: its scheduler draws from
//! one sequence that no caller can reach. So when the first run does not fail as it
//! should, the plan is run again under other schedules, some with other decisions, too.

use veridical_world::{Stream, stream_seed};

use crate::artefact::{Kept, failure};
use crate::isolated::IsolatedRun;
use crate::program::Program;
use crate::report::{Class, RunReport};
use crate::scenario::Plan;

/// How a kept failure is run again.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    /// The program that runs it: this one.
    pub program: &'a Program,
    /// How many schedules are tried at most until it fails in the same way.
    pub schedules: u32,
    /// Random decisions are taken from the seed alone, not from the record.
    pub ignore_record: bool,
    /// The filter for the members' logs (as `RUST_LOG`).
    pub log: Option<&'a str>,
}

/// What came of a kept failure.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The same run, event for event.
    Identical,
    /// Another run that failed in the same way.
    SameFailure,
    /// It failed, but never in the same way.
    OtherFailure,
    /// It did not fail.
    Passed,
}

/// A kept failure that was run again.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// What came of it.
    pub outcome: Outcome,
    /// How many schedules were run.
    pub schedules: u32,
    /// The run that decided: the one that failed in the same way, else the most severe.
    pub report: RunReport,
}

/// Variants with other draws come with seeds this far apart.
const SEED_STEP: u64 = 0x1_0000_0001;

/// The plan under another schedule; the first (0) is its own. Every other one, from the
/// fourth on, has other random decisions, too.
pub fn variant<P: Plan>(plan: &P, number: u32) -> P {
    if number == 0 {
        return plan.clone();
    }
    let identity = plan.identity();
    let own = identity
        .schedule_seed
        .unwrap_or_else(|| stream_seed(identity.seed, Stream::Schedule));
    let schedule_seed = stream_seed(own.wrapping_add(u64::from(number)), Stream::Schedule);
    let seed = if has_other_draws(number) {
        let distance = u64::from(number).wrapping_mul(SEED_STEP);
        identity.seed.wrapping_add(distance)
    } else {
        identity.seed
    };
    let mut other = plan.clone();
    other.set_draws(seed, Some(schedule_seed));
    other
}

/// Whether the random decisions of that variant are others than the plan's own.
pub const fn has_other_draws(number: u32) -> bool {
    number % 2 == 1 && number > 1
}

impl Replay<'_> {
    /// Whether that variant takes its decisions from the record.
    pub fn uses_record(&self, number: u32) -> bool {
        !self.ignore_record && !has_other_draws(number)
    }

    /// Runs it, as `plan` says, which is that of `kept` or one that was changed on purpose.
    pub fn run<P: Plan>(&self, kept: &Kept<P>, plan: &P) -> Replayed {
        let mut most_severe: Option<RunReport> = None;
        for number in 0..self.schedules.max(1) {
            let plan = variant(plan, number);
            let mut arguments = Vec::new();
            if let (Some(path), true) = (&kept.decisions, self.uses_record(number)) {
                arguments.extend(["--decisions".to_owned(), path.display().to_string()]);
            }
            let isolated = IsolatedRun::of_plan(self.program, &plan).with_log(self.log);
            let report = isolated.run(&arguments);
            let outcome = if report.digest == kept.report.digest && number == 0 {
                Some(Outcome::Identical)
            } else if failure(&report).is_some() && failure(&report) == kept.failure() {
                Some(Outcome::SameFailure)
            } else {
                None
            };
            if let Some(outcome) = outcome {
                return Replayed {
                    outcome,
                    schedules: number + 1,
                    report,
                };
            }
            if most_severe
                .as_ref()
                .is_none_or(|known| report.verdict < known.verdict)
            {
                most_severe = Some(report);
            }
        }
        let report = most_severe.expect("at least one schedule was run");
        Replayed {
            outcome: if report.verdict == Class::Ok {
                Outcome::Passed
            } else {
                Outcome::OtherFailure
            },
            schedules: self.schedules.max(1),
            report,
        }
    }
}

impl Replayed {
    /// What came of it, in words.
    pub fn describe<P: Plan>(&self, kept: &Kept<P>, same_program: bool) -> String {
        let was = match kept.failure() {
            Some((class, signature)) => format!("{class} ({signature})"),
            None => Class::Ok.to_string(),
        };
        let program = if same_program {
            "the program that kept it"
        } else {
            "another program than the one that kept it"
        };
        let mut text = match self.outcome {
            Outcome::Identical => format!(
                "the same run, event for event, by {program}: {was}, digest {}\n",
                self.report.digest
            ),
            Outcome::SameFailure => format!(
                "the same failure, by {program}: {was} at {} ms (was {} ms){}\n  digest {} (was {})\n",
                self.report.simulated_ms,
                kept.report.simulated_ms,
                match self.schedules {
                    1 => String::new(),
                    schedules => format!(", under the {schedules}. schedule"),
                },
                self.report.digest,
                kept.report.digest
            ),
            Outcome::OtherFailure => format!(
                "another failure, by {program}, under {} schedules: {} instead of {was}\n",
                self.schedules,
                match failure(&self.report) {
                    Some((class, signature)) => format!("{class} ({signature})"),
                    None => self.report.verdict.to_string(),
                }
            ),
            Outcome::Passed => format!(
                "it passes, by {program}, under {} schedules; it was {was}\n",
                self.schedules
            ),
        };
        if let Some(counts) = self.report.replay {
            let taken = counts.matched + counts.by_time + counts.diverged;
            text.push_str(&format!(
                "  decisions: {} of {} found in the record of {} ({} about the very same thing, \
                 {} by time), {} drawn anew\n",
                counts.matched + counts.by_time,
                taken,
                counts.recorded,
                counts.matched,
                counts.by_time,
                counts.diverged
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy;

    #[test]
    fn every_schedule_of_a_plan_is_another_one_and_the_first_its_own() {
        let plan = toy::plan(1);
        assert_eq!(variant(&plan, 0), plan);
        let seeds: std::collections::BTreeSet<_> = (0..50)
            .map(|number| variant(&plan, number).schedule_seed)
            .collect();
        assert_eq!(seeds.len(), 50);
        assert_eq!(variant(&plan, 2).seed, plan.seed);
        assert_ne!(variant(&plan, 3).seed, plan.seed);
    }
}
