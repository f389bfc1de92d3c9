//! The schedule of a seed: by chance, by priorities, or first come, first served with a
//! few exceptions.

use veridical_world::{DelayBounded, MessageDelay, Pct, Rng, Schedule, Stream};

use crate::swarm::draw::{NAME, pick};

/// A sort of schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Uniform,
    Pct,
    DelayBounded,
}

/// The swarm by its schedules, under the names of its scenarios.
pub(super) const SORTS: [(&str, Option<Sort>); 4] = [
    (NAME, None),
    ("swarm-uniform", Some(Sort::Uniform)),
    ("swarm-pct", Some(Sort::Pct)),
    ("swarm-delay-bounded", Some(Sort::DelayBounded)),
];

/// About as many messages as a run has: moments are chosen among them.
const MESSAGES: u64 = 12_000;

/// About as many choices between runnable tasks.
const CHOICES: u64 = 12_000;

/// How many moments are chosen, of either kind. A bug that needs few events in a certain
/// order is found with few; what a long run is made to go through grows with many.
const MOMENTS: [usize; 8] = [0, 1, 2, 4, 16, 64, 256, 1_024];

/// The schedule of a seed; of this sort, if one is asked for.
pub(super) fn schedule(seed: u64, only: Option<Sort>) -> Schedule {
    let mut rng = Rng::for_part(seed, Stream::Schedule, "plan");
    let drawn = pick(
        &mut rng,
        &[Sort::Uniform, Sort::Uniform, Sort::Pct, Sort::DelayBounded],
    );
    match only.unwrap_or(drawn) {
        Sort::Uniform => Schedule::Uniform,
        Sort::Pct => Schedule::Pct(Pct {
            task_changes: moments(&mut rng, CHOICES),
            message_changes: moments(&mut rng, MESSAGES),
            hold_max_ms: pick(&mut rng, &[2, 10, 50, 200]),
            settle_us: pick(&mut rng, &[20, 1_000, 10_000]),
        }),
        Sort::DelayBounded => Schedule::DelayBounded(DelayBounded {
            task_delays: moments(&mut rng, CHOICES),
            message_delays: moments(&mut rng, MESSAGES)
                .into_iter()
                .map(|message| MessageDelay {
                    message,
                    delay_ms: delay_ms(&mut rng),
                })
                .collect(),
        }),
    }
}

/// Some numbers below `end`, ascending.
fn moments(rng: &mut Rng, end: u64) -> Vec<u64> {
    let count = pick(rng, &MOMENTS);
    let mut moments: Vec<u64> = (0..count).map(|_| rng.below(end)).collect();
    moments.sort_unstable();
    moments.dedup();
    moments
}

/// From less than a round trip to more than an election, by magnitude.
fn delay_ms(rng: &mut Rng) -> u64 {
    let magnitude = rng.between(3, 10);
    rng.between(1 << magnitude, 2 << magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_seeds_are_left_to_chance_and_the_others_to_either_sort() {
        let drawn: Vec<Schedule> = (0..400).map(|seed| schedule(seed, None)).collect();
        let count = |of: fn(&Schedule) -> bool| drawn.iter().filter(|one| of(one)).count();
        assert!((150..250).contains(&count(Schedule::is_uniform)));
        assert!((60..140).contains(&count(|one| matches!(one, Schedule::Pct(_)))));
        assert!((60..140).contains(&count(|one| matches!(one, Schedule::DelayBounded(_)))));
    }

    #[test]
    fn moments_ascend_and_a_sort_that_is_asked_for_is_given() {
        for seed in 0..100 {
            assert_eq!(schedule(seed, Some(Sort::Uniform)), Schedule::Uniform);
            let Schedule::Pct(pct) = schedule(seed, Some(Sort::Pct)) else {
                panic!("priorities were asked for");
            };
            assert!(pct.task_changes.is_sorted() && pct.message_changes.is_sorted());
            let Schedule::DelayBounded(delays) = schedule(seed, Some(Sort::DelayBounded)) else {
                panic!("delays were asked for");
            };
            assert!(
                delays
                    .message_delays
                    .is_sorted_by_key(|delay| delay.message)
            );
        }
    }
}
