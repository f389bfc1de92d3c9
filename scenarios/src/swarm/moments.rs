//! Crashes in moments that last for microseconds and that no timetable meets: between the rename
//! of a snapshot and the synchronisation of its folder, a member is killed and started again, and
//! finds a name that the power may still take back.

use veridical_harness::TimedFault;
use veridical_world::{CrashKind, Fault, ProcessId, Rng, Stream};

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
}
