//! Members that have too many files open for a while: they can neither open a segment or a
//! snapshot nor accept or make a connection.

use veridical_harness::TimedFault;
use veridical_world::{Fault, ProcessId, Rng, Stream};

/// Seeds with such members.
const SHARE: f64 = 0.08;

/// How often.
const TIMES: (u64, u64) = (1, 4);

/// How many more files and connections a member may open, at most.
const SPARE_MAX: u64 = 3;

/// How long it lasts, on average and at most, in ms.
const MEAN_MS: u64 = 2_000;
const MAX_MS: u64 = 10_000;

/// The limits of a seed; they draw from a stream of their own.
pub(super) fn limits(seed: u64, members: u32, heal_at_ms: u64) -> Vec<TimedFault> {
    let mut rng = Rng::for_part(seed, Stream::Nemesis, "open files");
    if !rng.chance(SHARE) {
        return Vec::new();
    }
    let times = rng.between(TIMES.0, TIMES.1);
    let limits = (0..times).map(|_| TimedFault {
        at_ms: rng.below(heal_at_ms),
        fault: Fault::TooManyOpenFiles {
            process: ProcessId(rng.below(u64::from(members)) as u32),
            spare: rng.below(SPARE_MAX + 1) as u32,
            duration_ms: Some(1 + rng.exponential(MEAN_MS).min(MAX_MS)),
        },
    });
    limits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_seeds_have_them_and_before_the_faults_end() {
        let plans: Vec<_> = (0..400).map(|seed| limits(seed, 3, 50_000)).collect();
        let with = plans.iter().filter(|plan| !plan.is_empty()).count();
        assert!((16..60).contains(&with), "{with}");
        let mut times = plans.iter().flatten().map(|timed| timed.at_ms);
        assert!(times.all(|at_ms| at_ms < 50_000));
    }
}
