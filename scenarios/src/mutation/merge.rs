//! How two plans become one.
//!
//! A plan that reaches what is rare mostly does so by a few of its conditions: a knob, a
//! sort of fault, what its clients do. A bug waits for several at once. So a kept plan is
//! not changed alone but merged with the plan of a seed that was never run: the child has
//! conditions of both, and whatever the seed alone could find it is still likely to find.

use std::mem::discriminant;
use veridical_node::KNOBS;
use veridical_world::Rng;

use super::{is_free, moved};
use crate::plan::Plan;
use veridical_harness::TimedFault;

/// How likely a knob stays changed that only one of the plans has changed. Merged with new
/// plans again and again, three of four knobs are changed; half of them are in a seed.
const CHANGED_KNOB_KEPT: f64 = 0.75;

/// Watchers of a merged plan at most.
const WATCHERS_MAX: usize = 4;

/// How long a cluster may take after the faults, in ms: longer than in the swarm. With
/// the settings of two plans it can be slow, and only one that is stuck is of interest.
const HEAL_BOUND_MS: u64 = 240_000;

/// `base` with parts of `other`: what depends on the number of machines is that of
/// `base`, everything else is taken from either, or from both.
pub fn merged(base: &Plan, other: &Plan, rng: &mut Rng) -> Plan {
    let mut child = base.clone();
    clients(&mut child, other, rng);
    knobs(&mut child, other, rng);
    pace(&mut child, if rng.chance(0.5) { base } else { other });
    if rng.chance(0.5) {
        child.schedule.clone_from(&other.schedule);
    }
    if child.leader_nemesis.is_none() || (other.leader_nemesis.is_some() && rng.chance(0.5)) {
        child.leader_nemesis.clone_from(&other.leader_nemesis);
    }
    faults(&mut child, other, rng);
    child.heal_bound_ms = HEAL_BOUND_MS;
    child
}

/// Some hosts are those of the other plan, and its watchers are added. What is there keeps
/// its number: faults name it.
fn clients(child: &mut Plan, other: &Plan, rng: &mut Rng) {
    for host in &mut child.hosts {
        if rng.chance(0.5) {
            host.clone_from(&other.hosts[rng.index(other.hosts.len())]);
        }
        host.first_member %= child.members;
    }
    // The first watcher of a plan of the swarm follows all keys: what it is shown tells
    // which writes of unknown outcome took effect.
    let keys = |plan: &Plan| plan.watchers.iter().map(|watcher| watcher.keys.1).max();
    let keys_end = keys(child).max(keys(other));
    if let (Some(first), Some(keys_end)) = (child.watchers.first_mut(), keys_end) {
        first.keys.1 = keys_end;
    }
    // The one of both in which the numbers of all keys have a meaning.
    child.keyspace = child.keyspace.max(other.keyspace);
    let room = WATCHERS_MAX.saturating_sub(child.watchers.len());
    child
        .watchers
        .extend(other.watchers.iter().take(room).cloned());
    for watcher in &mut child.watchers {
        watcher.first_member %= child.members;
    }
}

/// What one of the plans has changed mostly stays changed: a knob at its default is seldom
/// what a bug waits for.
fn knobs(child: &mut Plan, other: &Plan, rng: &mut Rng) {
    for knob in KNOBS {
        let (own, theirs) = ((knob.get)(&child.knobs), (knob.get)(&other.knobs));
        let is_taken = match (own == knob.default, theirs == knob.default) {
            (true, true) => false,
            (true, false) => rng.chance(CHANGED_KNOB_KEPT),
            (false, true) => !rng.chance(CHANGED_KNOB_KEPT),
            (false, false) => rng.chance(0.5),
        };
        if is_taken {
            (knob.set)(&mut child.knobs, theirs);
        }
    }
}

/// Network, disks and the times that elections take are those of one plan: together they
/// decide whether a leader can stay one after the faults.
fn pace(child: &mut Plan, from: &Plan) {
    child.network = from.network;
    child.disk = from.disk;
    child.knobs.election_timeout_ms = from.knobs.election_timeout_ms;
    child.knobs.heartbeat_ms = from.knobs.heartbeat_ms;
    child.knobs.repair();
}

/// Of each sort of fault those of one of the plans, or all.
fn faults(child: &mut Plan, other: &Plan, rng: &mut Rng) {
    let mut sorts = Vec::new();
    for timed in child.faults.iter().chain(&other.faults) {
        let sort = discriminant(&timed.fault);
        if is_free(&timed.fault) && !sorts.contains(&sort) {
            sorts.push(sort);
        }
    }
    for sort in sorts {
        let (keeps, takes) = match rng.below(3) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        if !keeps {
            let is_other = |timed: &TimedFault| discriminant(&timed.fault) != sort;
            child.faults.retain(is_other);
        }
        if !takes {
            continue;
        }
        for timed in &other.faults {
            if discriminant(&timed.fault) == sort
                && timed.at_ms < child.heal_at_ms
                && let Some(fault) = moved(timed.fault.clone(), other, child)
            {
                let at_ms = timed.at_ms;
                child.faults.push(TimedFault { at_ms, fault });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;

    #[test]
    fn a_merged_plan_has_something_of_both_and_its_first_watcher_sees_every_key() {
        let mut of_both = 0;
        for number in 0..200 {
            let (base, other) = (swarm::plan(number), swarm::plan(number + 1_000));
            let child = merged(&base, &other, &mut Rng::from_seed(number));
            assert_eq!(child.knobs.validate(), Ok(()));
            assert_eq!(child.sites(), base.sites());
            assert_eq!(child.hosts.len(), base.hosts.len());
            assert!(child.watchers.len() >= base.watchers.len());
            let end = |plan: &Plan| plan.watchers[0].keys.1;
            assert_eq!(end(&child), end(&base).max(end(&other)));
            let has = |part: &Plan| {
                let host = child.hosts.iter().any(|host| part.hosts.contains(host));
                let fault = child.faults.iter().any(|timed| part.faults.contains(timed));
                host || fault
            };
            of_both += u32::from(has(&base) && has(&other));
        }
        assert!(of_both > 150, "{of_both}");
    }
}
