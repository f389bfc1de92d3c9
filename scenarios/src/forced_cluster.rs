//! A calm world in which the majority is lost for good: the disks of all members but one are gone,
//! and the operator lets the last one go on alone (`--force-new-cluster`). It serves, newcomers
//! join, and clients go on. What was acknowledged before is there, since nothing was under way
//! when the others were lost; and one of them that comes back with its old disk, which must not
//! happen, has no say.

use veridical_world::{Rng, Stream};

use crate::calm::{BOOTSTRAP_MEMBERS, calm};
use crate::plan::{Change, HostPlan, LostMajority, OldMember, Plan, PlannedChange};

/// The scenario's name.
pub const NAME: &str = "forced-cluster";

/// When the others are lost, in ms.
const LOST_AT_MS: (u64, u64) = (10_000, 16_000);

/// Clients are silent for so long before, in ms: then all members have everything.
const QUIET_MS: u64 = 2_000;

/// How long after that they go on, at most, in ms: before anybody serves, or afterwards.
const RESUMED_WITHIN_MS: u64 = 5_000;

/// How long the last member stays without a majority, in ms.
const HELPLESS_MS: (u64, u64) = (200, 4_000);

/// From when it goes on alone until the first newcomer, in ms, and from one to the next.
const JOIN_GAP_MS: (u64, u64) = (1_000, 6_000);

/// The share of plans in which an old member comes back, and how long it stays, in ms.
const RETURN_SHARE: f64 = 0.7;
const RETURN_MS: (u64, u64) = (2_000, 10_000);

/// The clients of a plan of the swarm, in this scenario.
pub fn plan(drawn: Plan) -> Plan {
    let mut rng = Rng::for_part(drawn.seed, Stream::Nemesis, NAME);
    let engine = drawn.engine;
    let snapshots = (
        drawn.knobs.snapshot_entries,
        drawn.knobs.snapshot_keep_entries,
    );
    let mut plan = calm(drawn);
    (
        plan.knobs.snapshot_entries,
        plan.knobs.snapshot_keep_entries,
    ) = snapshots;
    let mut sites: Vec<u32> = (0..BOOTSTRAP_MEMBERS).collect();
    rng.shuffle(&mut sites);
    let (survivor, old, gone) = (sites[0], sites[1], sites[2]);
    let at_ms = rng.between(LOST_AT_MS.0, LOST_AT_MS.1);
    let alone_at_ms = at_ms + rng.between(HELPLESS_MS.0, HELPLESS_MS.1);
    let resumed_at_ms = at_ms + rng.below(RESUMED_WITHIN_MS);
    for host in &mut plan.hosts {
        pause(host, at_ms - QUIET_MS, resumed_at_ms);
    }
    let old_member = rng.chance(RETURN_SHARE).then(|| OldMember {
        site: old,
        at_ms: alone_at_ms + rng.between(JOIN_GAP_MS.0, 2 * JOIN_GAP_MS.1),
        for_ms: rng.between(RETURN_MS.0, RETURN_MS.1),
    });
    // One on a machine that is new, one on that of a member whose disk is gone.
    let mut newcomers = [BOOTSTRAP_MEMBERS, gone];
    rng.shuffle(&mut newcomers);
    let mut join_at_ms = alone_at_ms;
    let changes = newcomers.map(|site| {
        join_at_ms += rng.between(JOIN_GAP_MS.0, JOIN_GAP_MS.1);
        PlannedChange::new(join_at_ms, Change::Join { site })
    });
    Plan {
        scenario: NAME.to_owned(),
        spares: 1,
        engine,
        changes: changes.into(),
        lost_majority: Some(LostMajority {
            at_ms,
            survivor,
            alone_at_ms,
            old_member,
        }),
        ..plan
    }
}

/// Clients of a machine do nothing from one time to another.
fn pause(host: &mut HostPlan, from_ms: u64, until_ms: u64) {
    for client in &mut host.clients {
        let mut begins_ms = 0;
        let first_after = client.iter_mut().find(|planned| {
            begins_ms += planned.after_ms;
            begins_ms >= from_ms
        });
        if let Some(planned) = first_after {
            planned.at_ms = Some(until_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;

    #[test]
    fn the_others_are_lost_before_anybody_joins_and_all_is_over_before_the_heal() {
        for seed in 0..200 {
            let plan = plan(swarm::drawn(seed));
            let lost = plan.lost_majority.expect("this is what it is about");
            assert!(lost.at_ms < lost.alone_at_ms);
            assert!(plan.changes.len() == 2 && plan.faults.is_empty());
            let mut times = plan.changes.iter().map(|change| change.at_ms);
            assert!(times.all(|at_ms| lost.alone_at_ms < at_ms && at_ms < plan.heal_at_ms));
            if let Some(old) = lost.old_member {
                assert!(lost.alone_at_ms < old.at_ms && old.site != lost.survivor);
                assert!(old.at_ms + old.for_ms < plan.heal_at_ms, "seed {seed}");
                let joins = Change::Join { site: old.site };
                assert!(plan.changes.iter().all(|change| change.change != joins));
            }
        }
    }

    #[test]
    fn clients_are_silent_when_the_others_are_lost() {
        for seed in 0..50 {
            let plan = plan(swarm::drawn(seed));
            let lost_at_ms = plan.lost_majority.expect("it is").at_ms;
            for client in plan.hosts.iter().flat_map(|host| &host.clients) {
                let mut now_ms = 0;
                for planned in client {
                    now_ms = now_ms.max(planned.at_ms.unwrap_or_default()) + planned.after_ms;
                    let is_silent = !(lost_at_ms - QUIET_MS..lost_at_ms).contains(&now_ms);
                    assert!(is_silent, "seed {seed}: {now_ms} of {lost_at_ms}");
                }
            }
        }
    }
}
