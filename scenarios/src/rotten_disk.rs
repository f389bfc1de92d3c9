//! A scenario beyond what the swarm may do: the disk of one member decays while faults of
//! all kinds go on. Bits flip at rest and in what reads return, and reads return what is in
//! another place; bytes and ranges of a file become something else, or what they were once.
//! Checksums have to find it: the member refuses to go on with what it
//! cannot trust and says so, and nobody ever gets a wrong answer.
//!
//! A member that refuses is down for good; an operator would replace it. The others are a
//! majority, and have to make progress without it.

use veridical_world::{CrashKind, Damage, DamagedByte, DiskFaults, Fault, ProcessId, Rng, Stream};

use crate::plan::{Change, Plan};
use crate::swarm;
use veridical_harness::TimedFault;

/// The scenario's name.
pub const NAME: &str = "rotten-disk";

/// So that what decays is drawn apart from what the swarm draws.
const OWN_STREAM: u64 = u64::from_le_bytes(*b"rot-disk");

/// Bits that decay at once, at most.
const BITS_MAX: u64 = 8;

/// Lengths of ranges that decay: a field, and sectors.
const RANGE_BYTES: [u32; 3] = [8, 512, 4096];

/// What bytes become that decay.
const DAMAGED_BYTES: [DamagedByte; 5] = [
    DamagedByte::Zero,
    DamagedByte::Ones,
    DamagedByte::Neighbour,
    DamagedByte::OneMore,
    DamagedByte::OneLess,
];

/// How long reads go wrong, at most, in ms.
const BAD_READS_MAX_MS: u64 = 4_000;

/// From the decay until the member starts again and reads what is left, at most, in ms.
const UNTIL_CRASH_MAX_MS: u64 = 1_000;

/// The plan of a seed.
pub fn plan(seed: u64) -> Plan {
    let mut plan = swarm::drawn(seed);
    let mut rng = Rng::for_stream(seed ^ OWN_STREAM, Stream::Nemesis);
    let rotten = rng.below(u64::from(plan.members)) as u32;
    let process = ProcessId(rotten);
    for _ in 0..rng.between(1, 4) {
        let at_ms = rng.between(2_000, plan.heal_at_ms - UNTIL_CRASH_MAX_MS - 1);
        let fault = if rng.chance(0.6) {
            let suffix = ["", ".wal", ".snap"][rng.index(3)];
            Fault::BitRot {
                process,
                bits: rng.between(1, BITS_MAX) as u32,
                file_suffix: suffix.to_owned(),
            }
        } else {
            let probability = [0.02, 0.2][rng.index(2)];
            Fault::Disk {
                process,
                faults: DiskFaults {
                    read_flip_probability: probability,
                    misdirected_read_probability: probability,
                    ..plan.disk
                },
                duration_ms: Some(rng.between(100, BAD_READS_MAX_MS)),
            }
        };
        plan.faults.push(TimedFault { at_ms, fault });
        // A log is read when its member starts.
        let crash = Fault::Crash {
            process,
            kind: CrashKind::Kill,
            restart_after_ms: Some(5),
        };
        plan.faults.push(TimedFault {
            at_ms: at_ms + rng.between(1, UNTIL_CRASH_MAX_MS),
            fault: crash,
        });
    }
    plan.faults.extend(decays(seed, process, plan.heal_at_ms));
    plan.faults.sort_by_key(|fault| fault.at_ms);
    // Two sound disks have to be left, also for changes of the membership.
    plan.changes
        .retain(|planned| matches!(planned.change, Change::Reformat { .. }));
    plan.hasty.clear();
    plan.strikes.clear();
    Plan {
        scenario: NAME.to_owned(),
        rotten_member: Some(rotten),
        ..plan
    }
}

/// What decays in bytes and ranges, in half of the runs: it is drawn apart from bits, so
/// that those stay where they were.
fn decays(seed: u64, process: ProcessId, heal_at_ms: u64) -> Vec<TimedFault> {
    let mut rng = Rng::for_part(seed, Stream::Nemesis, "rotten-disk decay");
    if rng.chance(0.5) {
        return Vec::new();
    }
    let at_ms = rng.between(2_000, heal_at_ms - UNTIL_CRASH_MAX_MS - 1);
    let mut faults = vec![TimedFault {
        at_ms: rng.between(1_000, at_ms),
        fault: Fault::KeepDisk { process },
    }];
    for _ in 0..rng.between(1, 3) {
        let bytes = RANGE_BYTES[rng.index(RANGE_BYTES.len())];
        let damage = match rng.below(4) {
            0 => Damage::Byte {
                becomes: DAMAGED_BYTES[rng.index(DAMAGED_BYTES.len())],
            },
            1 => Damage::Zeros { bytes },
            2 => Damage::Exchange { bytes },
            _ => Damage::OlderGeneration { bytes },
        };
        let suffix = ["", ".wal", ".snap"][rng.index(3)];
        let fault = Fault::Decay {
            process,
            damage,
            file_suffix: suffix.to_owned(),
        };
        faults.push(TimedFault { at_ms, fault });
    }
    // A log is read when its member starts.
    faults.push(TimedFault {
        at_ms: at_ms + rng.between(1, UNTIL_CRASH_MAX_MS),
        fault: Fault::Crash {
            process,
            kind: CrashKind::Kill,
            restart_after_ms: Some(5),
        },
    });
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn one_disk_decays_and_no_other() {
        for seed in 0..50 {
            let plan = plan(seed);
            let rotten = plan.rotten_member.expect("there is one");
            for mut timed in plan.faults {
                let flips = timed.fault.disk_faults_mut();
                let flips = flips.is_some_and(|faults| faults.read_flip_probability > 0.0);
                let decays = matches!(timed.fault, Fault::BitRot { .. } | Fault::Decay { .. });
                if flips || decays {
                    let concerned = timed.fault.processes();
                    assert_eq!(concerned, BTreeSet::from([ProcessId(rotten)]));
                }
            }
        }
    }

    #[test]
    fn the_rest_is_the_plan_of_the_swarm() {
        let (rotten, swarm) = (plan(5), swarm::plan(5));
        assert_eq!(rotten.hosts, swarm.hosts);
        assert_eq!(rotten.knobs, swarm.knobs);
        assert!(rotten.faults.len() > swarm.faults.len());
    }
}
