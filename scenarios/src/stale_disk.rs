//! A scenario outside of what the store promises: a member comes back with an old image of
//! its disk, under its old id. It has forgotten votes and entries that it had promised to
//! keep, so what it had acknowledged together with one other member can be lost.
//!
//! It is there to show that the checks notice. What an operator has to do instead, the
//! default scenario does: the member is removed, and its machine joins under a new id.

use veridical_node::Limits;
use veridical_world::{
    CrashKind, DiskFaults, Fault, NetworkFaults, ProcessId, Rng, Schedule, Stream,
};

use crate::plan::Plan;
use crate::swarm;
use veridical_harness::TimedFault;

/// The scenario's name.
pub const NAME: &str = "stale-disk";

/// Bootstrap members; one of them loses what it had written.
const MEMBERS: u32 = 3;

/// From one old image put back to the next, in ms.
const EPISODE_MS: u64 = 10_000;

/// The plan of a seed: clients and watchers as in the default scenario, a calm world, and
/// in each episode a member that forgets at the moment when only it and one that lacks the
/// same writes are left.
pub fn plan(seed: u64) -> Plan {
    let mut rng = Rng::for_stream(seed, Stream::Nemesis);
    let base = swarm::drawn(seed);
    let mut faults = Vec::new();
    let mut episode_ms = 2_000 + rng.below(2_000);
    while episode_ms + EPISODE_MS < base.heal_at_ms {
        let mut members: Vec<ProcessId> = (0..MEMBERS).map(ProcessId).collect();
        rng.shuffle(&mut members);
        let (stale, lagging, last) = (members[0], members[1], members[2]);
        let cut_ms = 1_500 + rng.below(2_000);
        let cut_at_ms = episode_ms + rng.below(1_000);
        let lost_at_ms = cut_at_ms + cut_ms;
        let mut add = |at_ms, fault| faults.push(TimedFault { at_ms, fault });
        add(episode_ms, Fault::KeepDisk { process: stale });
        add(
            cut_at_ms,
            Fault::Partition {
                groups: vec![vec![lagging], vec![stale, last]],
                duration_ms: Some(cut_ms),
            },
        );
        add(
            lost_at_ms,
            Fault::RestoreDisk {
                process: stale,
                restart_after_ms: Some(10 + rng.below(200)),
            },
        );
        add(
            lost_at_ms,
            Fault::Crash {
                process: last,
                kind: CrashKind::PowerLoss,
                restart_after_ms: Some(4_000),
            },
        );
        episode_ms += EPISODE_MS;
    }
    Plan {
        scenario: NAME.to_owned(),
        members: MEMBERS,
        spares: 0,
        knobs: Limits {
            heartbeat_ms: 50,
            election_timeout_ms: 300,
            ..Limits::default()
        },
        engine: false,
        network: NetworkFaults::none(),
        disk: DiskFaults::none(),
        hosts: base
            .hosts
            .into_iter()
            .map(|mut host| {
                host.first_member %= MEMBERS;
                host
            })
            .collect(),
        watchers: base
            .watchers
            .into_iter()
            .map(|mut watcher| {
                watcher.first_member %= MEMBERS;
                watcher
            })
            .collect(),
        faults,
        previous_format: Default::default(),
        changes: Vec::new(),
        leader_nemesis: None,
        last_minority: Default::default(),
        hasty: Vec::new(),
        strikes: Vec::new(),
        strangers: Vec::new(),
        schedule: Schedule::Uniform,
        ..base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_forgets_in_every_plan_and_never_two_at_once() {
        for seed in 0..100 {
            let plan = plan(seed);
            assert!(plan.loses_disks(), "seed {seed}");
            let restored: Vec<u64> = plan
                .faults
                .iter()
                .filter(|timed| matches!(timed.fault, Fault::RestoreDisk { .. }))
                .map(|timed| timed.at_ms)
                .collect();
            assert!(restored.windows(2).all(|pair| pair[1] - pair[0] > 4_000));
            assert!(
                plan.faults
                    .windows(2)
                    .all(|pair| pair[0].at_ms <= pair[1].at_ms)
            );
        }
    }
}
