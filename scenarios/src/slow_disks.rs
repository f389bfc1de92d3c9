//! A world in which nothing is wrong but the disks, which become so slow that they write a few
//! thousand bytes a second; and one member after the other is paused for a while, so that others
//! have to lead. Little is done there, but it is done: whatever a member has to write before it
//! can vote, or lead, is small.

use veridical_world::{DiskFaults, Fault, ProcessId, Rng, Stream};

use crate::calm::{calm, discovers};
use crate::plan::{Plan, ServicePlan};
use veridical_harness::TimedFault;

/// The scenario's name.
pub const NAME: &str = "slow-disks";

/// The share of the swarm's plans that are of this sort.
const SWARM_SHARE: f64 = 0.02;

/// What a disk writes in a second, in bytes. An election takes a vote of a few hundred.
const BYTES_PER_S: (u64, u64) = (3_000, 5_000);

/// When the disks become slow, in ms: there is a leader by then.
const SLOW_FROM_MS: u64 = 5_000;

/// When the first member is paused, and from one to the next, in ms.
const PAUSE_FROM_MS: u64 = 20_000;
const PAUSE_EVERY_MS: u64 = 12_000;

/// How long a member is paused, in ms: longer than it takes the others to miss it.
const PAUSE_MS: u64 = 5_000;

/// When the disks are quick again, in ms.
const HEAL_AT_MS: u64 = 75_000;

/// Acknowledged writes are at most so many election timeouts apart, in percent. Several elections
/// may fail, but not all.
const GAP_MAX_PERCENT: u64 = 3_000;

/// Operations of each client that are left: more of them are more than such disks can take, and
/// then nothing is wrong if it takes long.
const OPERATIONS_MAX: usize = 3;

/// Clients of each machine that are left.
const CLIENTS_MAX: usize = 2;

/// Whether the swarm's plan of a seed is of this sort.
pub(crate) fn is_in_swarm(seed: u64) -> bool {
    Rng::for_part(seed, Stream::Nemesis, "slow disks in the swarm").chance(SWARM_SHARE)
}

/// The clients of a plan of the swarm, in the scenario of this name.
pub fn plan(drawn: Plan) -> Plan {
    Plan {
        scenario: NAME.to_owned(),
        ..of(drawn)
    }
}

/// A few of the clients of a plan of the swarm, on disks that become slow.
pub(crate) fn of(drawn: Plan) -> Plan {
    let mut rng = Rng::for_part(drawn.seed, Stream::Nemesis, NAME);
    let mut plan = Plan {
        service: Some(ServicePlan {
            write_every_ms: 500,
            gap_max_percent: GAP_MAX_PERCENT,
            discovers: discovers(drawn.seed),
        }),
        heal_at_ms: HEAL_AT_MS,
        end_at_ms: HEAL_AT_MS + 1_000,
        ..calm(drawn)
    };
    for host in &mut plan.hosts {
        host.value_bytes = 0;
        host.clients.truncate(CLIENTS_MAX);
        for client in &mut host.clients {
            client.truncate(OPERATIONS_MAX);
        }
    }
    let faults = DiskFaults {
        throttle_bytes_per_s: rng.between(BYTES_PER_S.0, BYTES_PER_S.1),
        ..plan.disk
    };
    let members = (0..plan.members).map(ProcessId);
    let slow = members.clone().map(|process| TimedFault {
        at_ms: SLOW_FROM_MS,
        fault: Fault::Disk {
            process,
            faults,
            duration_ms: None,
        },
    });
    let paused = members.zip(0..).map(|(process, number)| TimedFault {
        at_ms: PAUSE_FROM_MS + number * PAUSE_EVERY_MS,
        fault: Fault::Pause {
            process,
            duration_ms: Some(PAUSE_MS),
        },
    });
    plan.faults = slow.chain(paused).collect();
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;

    #[test]
    fn all_disks_become_slow_and_then_one_member_after_the_other_is_paused() {
        for seed in 0..50 {
            let plan = plan(swarm::drawn(seed));
            let names: Vec<&str> = plan.faults.iter().map(|timed| timed.fault.name()).collect();
            assert_eq!(names[..3], ["fault.disk"; 3]);
            assert_eq!(names[3..], ["fault.pause"; 3]);
            assert!(plan.faults.is_sorted_by_key(|timed| timed.at_ms));
            assert!(plan.operations() <= plan.hosts.len() * CLIENTS_MAX * OPERATIONS_MAX);
        }
    }

    #[test]
    fn a_few_plans_of_the_swarm_are_of_this_sort() {
        let count = (0..500).filter(|seed| is_in_swarm(*seed)).count();
        assert!((3..25).contains(&count), "{count}");
    }
}
