//! A scenario of disks that lie: `sync` says Ok and nothing is durable, on every machine.
//! No store survives a loss of power on such disks, but one may not lose anything either
//! as long as the machines stay up: what processes wrote is in the page cache, and a
//! process that is killed, stopped or crashes at a failpoint finds it there again.
//!
//! So this is the swarm with every loss of power turned into the death of a process.
//! Whatever the store has only in memory while it believes it to be on the disk is lost
//! here as well as there.

use veridical_world::{CrashKind, Rng, Stream};

use crate::plan::{Change, Plan};
use crate::swarm;

/// The scenario's name.
pub const NAME: &str = "lying-disk";

/// How many of the synchronisations are lies.
const LIES: [f64; 3] = [0.1, 0.5, 1.0];

/// The plan of a seed.
pub fn plan(seed: u64) -> Plan {
    let mut plan = swarm::drawn(seed);
    let mut rng = Rng::for_part(seed, Stream::Nemesis, NAME);
    let lying_sync_probability = LIES[rng.index(LIES.len())];
    plan.disk.lying_sync_probability = lying_sync_probability;
    for timed in &mut plan.faults {
        if let Some(kind) = timed.fault.crash_kind_mut() {
            *kind = CrashKind::Kill;
        }
        if let Some(faults) = timed.fault.disk_faults_mut() {
            faults.lying_sync_probability = lying_sync_probability;
        }
    }
    if let Some(nemesis) = &mut plan.leader_nemesis {
        // Those are losses of power.
        nemesis.crash_probability = 0.0;
        nemesis.voter_crash_probability = 0.0;
    }
    for planned in &mut plan.changes {
        if let Change::Leave { power_off, .. } = &mut planned.change {
            *power_off = false;
        }
    }
    Plan {
        scenario: NAME.to_owned(),
        last_power_failure: false,
        last_minority: Default::default(),
        ..plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_lie_and_no_machine_loses_its_power() {
        for seed in 0..100 {
            let plan = plan(seed);
            assert!(plan.disk.lying_sync_probability > 0.0);
            assert!(!plan.last_power_failure);
            for mut timed in plan.faults {
                if let Some(kind) = timed.fault.crash_kind_mut() {
                    assert_eq!(*kind, CrashKind::Kill);
                }
                if let Some(faults) = timed.fault.disk_faults_mut() {
                    assert!(faults.lying_sync_probability > 0.0);
                }
            }
        }
    }
}
