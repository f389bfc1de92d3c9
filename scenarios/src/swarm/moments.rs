//! Moments that last for microseconds and that no timetable meets. Between the rename of a snapshot
//! and the synchronisation of its folder, a member is killed and started again, and finds a name
//! that the power may still take back. While a configuration entry is not committed, or a reader
//! waits for its read index, members are cut off or crash, and other operators come in between.

use veridical_harness::TimedFault;
use veridical_world::{CrashKind, Fault, ProcessId, Rng, Stream};

use crate::impatience;
use crate::plan::{Act, Moment, Strike, Whose};

/// Seeds with such crashes.
const SHARE: f64 = 0.15;

/// How many.
const CRASHES: u64 = 4;

/// How long a member is down, on average, in ms.
const DOWN_MEAN_MS: u64 = 200;

/// The crashes of a seed; they draw from a stream of their own.
pub(super) fn crashes(seed: u64, members: u32, heal_at_ms: u64) -> Vec<TimedFault> {
    let mut rng = Rng::for_part(seed, Stream::Nemesis, "moments");
    if !rng.chance(SHARE) {
        return Vec::new();
    }
    let crashes = (0..CRASHES).map(|_| TimedFault {
        at_ms: rng.below(heal_at_ms),
        fault: Fault::CrashAtFailpoint {
            process: ProcessId(rng.below(u64::from(members)) as u32),
            name: "snapshot.renamed".to_owned(),
            skip: 0,
            kind: CrashKind::Kill,
            restart_after_ms: Some(1 + rng.exponential(DOWN_MEAN_MS)),
        },
    });
    crashes.collect()
}

/// Seeds in which something is done at observed moments.
const STRIKES_SHARE: f64 = 0.3;

/// How often it is, in such a seed.
const STRIKES: (u64, u64) = (2, 8);

/// How long after the moment, on average, in µs. Half of the strikes are immediate.
const AFTER_MEAN_US: u64 = 2_000;

/// How long a member is cut off, on average, in ms: longer than it takes to elect another leader.
const CUT_MEAN_MS: u64 = 1_500;

/// Who changes the membership in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operators {
    /// Nobody.
    None,
    /// One who does one thing after the other.
    Patient,
    /// Many, who do not wait for each other.
    Impatient,
}

/// What is done at observed moments in a seed, drawn from a stream of their own.
pub(super) fn strikes(
    seed: u64,
    operators: Operators,
    members: u32,
    heal_at_ms: u64,
) -> Vec<Strike> {
    let mut rng = Rng::for_part(seed, Stream::Nemesis, "strikes");
    if !rng.chance(STRIKES_SHARE) {
        return Vec::new();
    }
    let mut strikes: Vec<Strike> = (0..rng.between(STRIKES.0, STRIKES.1))
        .map(|_| strike(&mut rng, operators, members, heal_at_ms))
        .collect();
    strikes.sort_by_key(|strike| strike.from_ms);
    strikes
}

fn strike(rng: &mut Rng, operators: Operators, members: u32, heal_at_ms: u64) -> Strike {
    let from_ms = rng.below(heal_at_ms);
    let moment = if operators != Operators::None && rng.chance(0.7) {
        Moment::ConfigurationUncommitted
    } else {
        Moment::ReadIndexAsked
    };
    let after_us = match rng.chance(0.5) {
        true => 0,
        false => rng.exponential(AFTER_MEAN_US),
    };
    let whose = [Whose::Own, Whose::Leader][rng.index(2)];
    let act = match rng.below(10) {
        // Whoever counts voters before he takes one away must be the only one who does.
        0..=4 if operators == Operators::Impatient => Act::Ask {
            call: impatience::of_bootstrap_members(rng, members),
        },
        0..=6 => Act::Cut {
            whose,
            duration_ms: 1 + rng.exponential(CUT_MEAN_MS),
        },
        _ => Act::Crash {
            whose,
            restart_after_ms: 1 + rng.exponential(DOWN_MEAN_MS),
        },
    };
    Strike {
        from_ms,
        moment,
        after_us,
        act,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_seeds_have_them_and_before_the_faults_end() {
        let plans: Vec<_> = (0..200).map(|seed| crashes(seed, 3, 50_000)).collect();
        let with = plans.iter().filter(|plan| !plan.is_empty()).count();
        assert!((10..60).contains(&with), "{with}");
        let mut times = plans.iter().flatten().map(|timed| timed.at_ms);
        assert!(times.all(|at_ms| at_ms < 50_000));
    }

    #[test]
    fn some_seeds_have_strikes_and_calls_come_only_where_operators_are_impatient() {
        let drawn = |operators| -> Vec<Strike> {
            let seeds = 0..200;
            seeds
                .flat_map(|seed| strikes(seed, operators, 3, 50_000))
                .collect()
        };
        let asks = |strike: &Strike| matches!(strike.act, Act::Ask { .. });
        let is_of_configuration =
            |strike: &Strike| strike.moment == Moment::ConfigurationUncommitted;
        for operators in [Operators::None, Operators::Patient, Operators::Impatient] {
            let strikes = drawn(operators);
            assert!((100..600).contains(&strikes.len()), "{}", strikes.len());
            assert_eq!(strikes.iter().any(asks), operators == Operators::Impatient);
            assert_eq!(
                strikes.iter().any(is_of_configuration),
                operators != Operators::None
            );
        }
    }
}
