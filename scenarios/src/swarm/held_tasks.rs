//! Tasks of members that get no time for a while, as threads of a busy machine. What a member has
//! committed and not applied, won and not announced, read and not answered, is so for no simulated
//! time otherwise.

use veridical_harness::TimedFault;
use veridical_world::{Fault, ProcessId, Rng, Stream};

use crate::plan::{Act, Moment, Strike, Whose};
use crate::swarm::moments::Operators;

/// Seeds with such tasks.
const SHARE: f64 = 0.25;

/// How often a task is held.
const TIMES: (u64, u64) = (2, 16);

/// How long tasks are held in a seed, on average, in ms: less than a heartbeat, or as long as it
/// takes to elect a leader, or longer than the patience of clients.
const MEANS_MS: [u64; 4] = [5, 50, 500, 2_000];

/// How long a task is held from an observed moment on, on average, in ms.
const MOMENT_MEAN_MS: u64 = 500;

/// A task is held for at most so long, in ms.
const MAX_MS: u64 = 10_000;

/// How many tasks a member starts before it serves anybody: its log, its snapshots, its state
/// machine, its leases, its driver.
const OWN_TASKS: u64 = 10;

/// How many tasks there are with those of its connections, about.
const ALL_TASKS: u64 = 50;

/// Which task of a member, by its number.
pub(crate) fn number(rng: &mut Rng) -> u32 {
    let tasks = if rng.chance(0.7) {
        OWN_TASKS
    } else {
        ALL_TASKS
    };
    rng.below(tasks) as u32
}

/// The tasks that a seed holds; they draw from a stream of their own.
pub(super) fn holds(seed: u64, members: u32, heal_at_ms: u64) -> Vec<TimedFault> {
    let mut rng = Rng::for_part(seed, Stream::Nemesis, "held tasks");
    if !rng.chance(SHARE) {
        return Vec::new();
    }
    let mean_ms = MEANS_MS[rng.index(MEANS_MS.len())];
    let times = rng.between(TIMES.0, TIMES.1);
    let holds = (0..times).map(|_| TimedFault {
        at_ms: rng.below(heal_at_ms),
        fault: Fault::HoldTask {
            process: ProcessId(rng.below(u64::from(members)) as u32),
            task: number(&mut rng),
            duration_ms: Some(1 + rng.exponential(mean_ms).min(MAX_MS)),
        },
    });
    holds.collect()
}

/// Seeds that hold tasks at observed moments.
const STRIKES_SHARE: f64 = 0.12;

/// How often they do.
const STRIKES: (u64, u64) = (2, 8);

/// What a seed holds at observed moments, from a stream of its own.
pub(super) fn strikes(seed: u64, operators: Operators, heal_at_ms: u64) -> Vec<Strike> {
    let mut rng = Rng::for_part(seed, Stream::Nemesis, "held tasks at moments");
    if !rng.chance(STRIKES_SHARE) {
        return Vec::new();
    }
    let times = rng.between(STRIKES.0, STRIKES.1);
    let strikes = (0..times).map(|_| Strike {
        from_ms: rng.below(heal_at_ms),
        moment: match operators != Operators::None && rng.chance(0.7) {
            true => Moment::ConfigurationUncommitted,
            false => Moment::ReadIndexAsked,
        },
        after_us: 0,
        act: Act::Hold {
            whose: [Whose::Own, Whose::Leader][rng.index(2)],
            task: number(&mut rng),
            duration_ms: 1 + rng.exponential(MOMENT_MEAN_MS).min(MAX_MS),
        },
    });
    strikes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_seeds_hold_tasks_and_before_the_faults_end() {
        let plans: Vec<_> = (0..400).map(|seed| holds(seed, 3, 50_000)).collect();
        let with = plans.iter().filter(|plan| !plan.is_empty()).count();
        assert!((60..150).contains(&with), "{with}");
        let mut times = plans.iter().flatten().map(|timed| timed.at_ms);
        assert!(times.all(|at_ms| at_ms < 50_000));
    }
}
