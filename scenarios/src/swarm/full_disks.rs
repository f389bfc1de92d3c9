//! Disks that are full of what was left unfinished: a member is killed when a snapshot is written
//! and has not got its name, its disk has no room any more, and it starts again. What it finds
//! has to go before it needs room, or it does not start until somebody else makes some.

use veridical_harness::TimedFault;
use veridical_node::Limits;
use veridical_world::{CrashKind, Fault, ProcessId, Rng, Stream};

/// Seeds with such disks.
const SHARE: f64 = 0.1;

/// How often.
const TIMES: u64 = 4;

/// Snapshots are at most so many entries apart in such a seed.
const SNAPSHOT_ENTRIES_MAX: u64 = 60;

/// The next snapshot is written within this time as a rule, in ms; then the disk is full, and the
/// member, which is down for longer, finds it so.
const SNAPSHOT_WITHIN_MS: u64 = 2_000;

/// How much longer a member is down, at most, in ms.
const DOWN_MAX_MS: u64 = 1_000;

/// For how long the disk is full, in ms.
const FULL_MS: (u64, u64) = (4_000, 8_000);

/// The kills and the full disks of a seed whose members write snapshots; they draw from a stream of
/// their own.
pub(super) fn leftovers(
    seed: u64,
    members: u32,
    heal_at_ms: u64,
    knobs: &mut Limits,
) -> Vec<TimedFault> {
    let mut rng = Rng::for_part(seed, Stream::Nemesis, "full disks");
    if !rng.chance(SHARE) {
        return Vec::new();
    }
    knobs.snapshot_entries = knobs.snapshot_entries.min(SNAPSHOT_ENTRIES_MAX);
    let mut faults = Vec::new();
    for _ in 0..TIMES {
        let process = ProcessId(rng.below(u64::from(members)) as u32);
        let at_ms = rng.below(heal_at_ms - SNAPSHOT_WITHIN_MS);
        let crash = Fault::CrashAtFailpoint {
            process,
            name: "snapshot.rename.before".to_owned(),
            skip: 0,
            kind: CrashKind::Kill,
            restart_after_ms: Some(SNAPSHOT_WITHIN_MS + rng.below(DOWN_MAX_MS)),
        };
        let full = Fault::DiskFull {
            process,
            free_bytes: 0,
            duration_ms: Some(rng.between(FULL_MS.0, FULL_MS.1)),
        };
        faults.push(TimedFault {
            at_ms,
            fault: crash,
        });
        faults.push(TimedFault {
            at_ms: at_ms + SNAPSHOT_WITHIN_MS,
            fault: full,
        });
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_seeds_have_them_and_before_the_faults_end() {
        let drawn = |seed| leftovers(seed, 3, 50_000, &mut Limits::default());
        let plans: Vec<_> = (0..400).map(drawn).collect();
        let with = plans.iter().filter(|plan| !plan.is_empty()).count();
        assert!((20..70).contains(&with), "{with}");
        let mut times = plans.iter().flatten().map(|timed| timed.at_ms);
        assert!(times.all(|at_ms| at_ms < 50_000));
    }
}
