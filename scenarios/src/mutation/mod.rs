//! How a plan is changed: other draws, merging with another plan, and the changes below.
//!
//! Everything stays inside the swarm's fault envelope: changes move, repeat, aim and combine
//! what plans of the swarm have, and every fault ends with the plan's heal. Faults that
//! are harmless only where the operator put them (a lost disk) stay in their plan.

use veridical_node::KNOBS;
use veridical_world::{Fault, ProcessId, Rng, Schedule};

mod merge;

use crate::knobs;
use crate::plan::Plan;
use crate::swarm;
use merge::merged;
use veridical_harness::TimedFault;

/// Changes of a plan beside merging at once, at most.
const CHANGES_MAX: u64 = 2;

/// How many faults a plan may come to have.
const FAULTS_MAX: usize = 400;

/// How far a repeated fault is from its original on average, in ms.
const REPEAT_DISTANCE_MS: u64 = 400;

/// Operations of a burst at most.
const BURST_MAX: u64 = 12;

/// Families of changes, by how often they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Faults of another plan in a window of time are added.
    Splice,
    /// Some faults come again a little later.
    Repeat,
    /// Everything that happens at a time moves nearer together.
    Compress,
    /// Some faults are left out.
    Thin,
    /// Faults of members strike one of them, or move on to the next.
    Aim,
    /// Network or disks as in another plan.
    Conditions,
    /// Some knobs as in another plan, or drawn anew.
    Knobs,
    /// Another schedule.
    Schedule,
    /// The leader nemesis of another plan, or another pace of the own one.
    LeaderNemesis,
    /// Operations in a burst around a fault.
    Burst,
    /// The clients of another plan.
    Clients,
    /// What the operator of another plan does.
    Operator,
}

const CHANGES: [Change; 15] = [
    Change::Splice,
    Change::Splice,
    Change::Repeat,
    Change::Repeat,
    Change::Compress,
    Change::Thin,
    Change::Aim,
    Change::Conditions,
    Change::Knobs,
    Change::Knobs,
    Change::Schedule,
    Change::LeaderNemesis,
    Change::Burst,
    Change::Clients,
    Change::Operator,
];

/// How likely a kept plan is run again as it is, but for the draws.
const AS_IT_IS: f64 = 0.2;

/// How likely a merged plan is based on the kept one: it has as many machines, and what
/// its operator does to them.
const BASED_ON_KEPT: f64 = 0.6;

/// A changed plan: `kept` with the draws of `fresh`, the plan of a seed that was never
/// run, and mostly merged with it.
pub fn changed(kept: &Plan, fresh: &Plan, rng: &mut Rng) -> Plan {
    let mut child = if rng.chance(AS_IT_IS) {
        kept.clone()
    } else if rng.chance(BASED_ON_KEPT) {
        merged(kept, fresh, rng)
    } else {
        merged(fresh, kept, rng)
    };
    child.seed = fresh.seed;
    // What is promised in a calm world is not promised where faults were added.
    child.service = None;
    child.schedule_seed = Some(rng.next_u64());
    for _ in 0..rng.below(CHANGES_MAX + 1) {
        let change = CHANGES[rng.index(CHANGES.len())];
        apply(change, &mut child, fresh, rng);
    }
    swarm::fit_chunks(&mut child.knobs, &child.hosts);
    while child.faults.len() > FAULTS_MAX {
        let number = rng.index(child.faults.len());
        child.faults.swap_remove(number);
    }
    child.faults.sort_by_key(|timed| timed.at_ms);
    child
}

fn apply(change: Change, child: &mut Plan, partner: &Plan, rng: &mut Rng) {
    match change {
        Change::Splice => splice(child, partner, rng),
        Change::Repeat => repeat(child, rng),
        Change::Compress => compress(child, rng),
        Change::Thin => {
            let share = rng.unit();
            child.faults.retain(|_| !rng.chance(share));
        }
        Change::Aim => aim(child, rng),
        Change::Conditions => {
            if rng.chance(0.5) {
                child.network = partner.network;
            } else {
                child.disk = partner.disk;
            }
        }
        Change::Knobs => mix_knobs(child, partner, rng),
        Change::Schedule => {
            child.schedule = if rng.chance(0.5) {
                partner.schedule.clone()
            } else {
                swarm::plan_of(&child.scenario, rng.next_u64())
                    .map_or(Schedule::Uniform, |other| other.schedule)
            };
        }
        Change::LeaderNemesis => leader_nemesis(child, partner, rng),
        Change::Burst => burst(child, rng),
        Change::Clients => clients(child, partner),
        Change::Operator => operator(child, partner),
    }
}

/// Whether the fault may strike any member at any time before the heal.
pub(super) const fn is_free(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Partition { .. }
            | Fault::Isolate { .. }
            | Fault::OneWay { .. }
            | Fault::Bridge { .. }
            | Fault::MajorityRing { .. }
            | Fault::Clog { .. }
            | Fault::Swizzle { .. }
            | Fault::ResetConnections { .. }
            | Fault::Network { .. }
            | Fault::Link { .. }
            | Fault::Crash { .. }
            | Fault::CrashAt { .. }
            | Fault::CrashAtFailpoint { .. }
            | Fault::Pause { .. }
            | Fault::Starve { .. }
            | Fault::HoldTask { .. }
            | Fault::Suspend { .. }
            | Fault::ClockJump { .. }
            | Fault::ClockStrobe { .. }
            | Fault::Disk { .. }
            | Fault::DiskStall { .. }
            | Fault::DiskFull { .. }
            | Fault::TooManyOpenFiles { .. }
    )
}

/// Machines of members stay such in a plan with perhaps fewer of them, clients clients.
pub(super) fn moved(fault: Fault, from: &Plan, to: &Plan) -> Option<Fault> {
    let (sites, all) = (to.sites(), to.processes());
    fault.renumbered(|id| match id.0 {
        site if site < from.sites() => (site < sites).then_some(id),
        client => {
            let client = client - from.sites() + sites;
            (client < all).then_some(ProcessId(client))
        }
    })
}

fn splice(child: &mut Plan, partner: &Plan, rng: &mut Rng) {
    let from_ms = rng.below(partner.heal_at_ms);
    let until_ms = from_ms + 1 + rng.below(partner.heal_at_ms - from_ms);
    let shift_ms = rng.below(child.heal_at_ms);
    let shifts = rng.chance(0.5);
    for timed in &partner.faults {
        if !(from_ms..until_ms).contains(&timed.at_ms) || !is_free(&timed.fault) {
            continue;
        }
        let at_ms = if shifts {
            timed.at_ms - from_ms + shift_ms
        } else {
            timed.at_ms
        };
        if at_ms < child.heal_at_ms
            && let Some(fault) = moved(timed.fault.clone(), partner, child)
        {
            child.faults.push(TimedFault { at_ms, fault });
        }
    }
}

fn repeat(child: &mut Plan, rng: &mut Rng) {
    let share = rng.unit();
    let mut again = Vec::new();
    for timed in &child.faults {
        if is_free(&timed.fault) && rng.chance(share) {
            let at_ms = timed.at_ms + 1 + rng.exponential(REPEAT_DISTANCE_MS);
            if at_ms < child.heal_at_ms {
                let fault = timed.fault.clone();
                again.push(TimedFault { at_ms, fault });
            }
        }
    }
    child.faults.extend(again);
}

/// Faults of a window of time come faster upon each other.
fn compress(child: &mut Plan, rng: &mut Rng) {
    let around_ms = rng.below(child.heal_at_ms);
    let factor = 2 + rng.below(8);
    for timed in &mut child.faults {
        // What is there from the beginning is no event.
        if timed.at_ms > 0 {
            timed.at_ms = if timed.at_ms >= around_ms {
                around_ms + (timed.at_ms - around_ms) / factor
            } else {
                around_ms - (around_ms - timed.at_ms) / factor
            };
        }
    }
}

/// Faults of single members all strike the same one, or each the next one.
fn aim(child: &mut Plan, rng: &mut Rng) {
    let members = child.sites();
    let target = rng.chance(0.5).then(|| rng.below(u64::from(members)));
    let share = rng.unit();
    for timed in &mut child.faults {
        if !rng.chance(share) {
            continue;
        }
        if let Fault::Crash { process, .. }
        | Fault::CrashAt { process, .. }
        | Fault::CrashAtFailpoint { process, .. }
        | Fault::Pause { process, .. }
        | Fault::Starve { process, .. }
        | Fault::HoldTask { process, .. }
        | Fault::Isolate { process, .. }
        | Fault::DiskStall { process, .. } = &mut timed.fault
            && process.0 < members
        {
            process.0 = match target {
                Some(target) => target as u32,
                None => (process.0 + 1) % members,
            };
        }
    }
}

fn mix_knobs(child: &mut Plan, partner: &Plan, rng: &mut Rng) {
    let drawn = knobs::draw(rng.next_u64());
    let other = if rng.chance(0.5) {
        &partner.knobs
    } else {
        &drawn
    };
    let share = rng.unit();
    let mut mixed = child.knobs.clone();
    for knob in KNOBS {
        if rng.chance(share) {
            (knob.set)(&mut mixed, (knob.get)(other));
        }
    }
    mixed.repair();
    child.knobs = mixed;
}

fn leader_nemesis(child: &mut Plan, partner: &Plan, rng: &mut Rng) {
    match (&mut child.leader_nemesis, &partner.leader_nemesis) {
        (Some(_), None) if rng.chance(0.2) => child.leader_nemesis = None,
        (Some(own), _) => {
            own.delay_mean_ms = 1 + rng.exponential(own.delay_mean_ms);
            own.cut_mean_ms = 1 + rng.exponential(own.cut_mean_ms);
            own.commit_probability = rng.unit();
            own.spare_probability = rng.unit() * 0.6;
        }
        (None, other) => child.leader_nemesis.clone_from(other),
    }
}

/// Operations of one client come one right after the other from shortly before a fault.
fn burst(child: &mut Plan, rng: &mut Rng) {
    if child.faults.is_empty() {
        return;
    }
    let at_ms = child.faults[rng.index(child.faults.len())].at_ms;
    let begin_ms = at_ms.saturating_sub(rng.below(50));
    let clients: usize = child.hosts.iter().map(|host| host.clients.len()).sum();
    if clients == 0 {
        return;
    }
    let chosen = rng.index(clients);
    let client = child.hosts.iter_mut().flat_map(|host| &mut host.clients);
    let Some(client) = client.into_iter().nth(chosen) else {
        return;
    };
    // A client thinks between operations; those that it would do at about that time are
    // done at once.
    let mut thought_ms = 0;
    let first = client.iter().position(|planned| {
        thought_ms += planned.after_ms;
        thought_ms >= begin_ms
    });
    let Some(first) = first else { return };
    let count = 1 + rng.below(BURST_MAX) as usize;
    for planned in client.iter_mut().skip(first).take(count) {
        planned.after_ms = 0;
        planned.at_ms = Some(begin_ms);
    }
}

/// The clients of another plan with as many hosts, so that faults keep their targets.
fn clients(child: &mut Plan, partner: &Plan) {
    if child.hosts.len() != partner.hosts.len() || child.watchers.len() != partner.watchers.len() {
        return;
    }
    let members = child.members;
    child.hosts.clone_from(&partner.hosts);
    child.watchers.clone_from(&partner.watchers);
    for host in &mut child.hosts {
        host.first_member %= members;
    }
    for watcher in &mut child.watchers {
        watcher.first_member %= members;
    }
}

/// The changes of the membership of another plan with the same machines. The operator
/// looks at each one when it is its turn, so any list of them is safe.
fn operator(child: &mut Plan, partner: &Plan) {
    if (child.members, child.spares) != (partner.members, partner.spares) {
        return;
    }
    let heal_at_ms = child.heal_at_ms;
    child.changes.clone_from(&partner.changes);
    child.changes.retain(|planned| planned.at_ms < heal_at_ms);
    child.hasty.clone_from(&partner.hasty);
    child.hasty.retain(|hasty| hasty.at_ms < heal_at_ms);
    child.strikes.clone_from(&partner.strikes);
    child.previous_format.clone_from(&partner.previous_format);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_plan_is_a_function_of_the_draws_and_stays_inside_the_atlas() {
        let mut differ = 0;
        for number in 0..400 {
            let (plan, partner) = (swarm::plan(number), swarm::plan(number + 1_000));
            let child = changed(&plan, &partner, &mut Rng::from_seed(number));
            let again = changed(&plan, &partner, &mut Rng::from_seed(number));
            assert_eq!(child, again);
            assert_eq!(child.knobs.validate(), Ok(()));
            assert!([plan.members, partner.members].contains(&child.members));
            assert_eq!(child.seed, partner.seed);
            assert!(child.faults.len() <= FAULTS_MAX);
            let text = serde_json::to_string(&child).expect("a plan can be written");
            let read: Plan = serde_json::from_str(&text).expect("and read");
            assert_eq!(read, child);
            assert!(child.faults.is_sorted_by_key(|timed| timed.at_ms));
            let healed = |timed: &TimedFault| timed.at_ms < child.heal_at_ms;
            assert!(child.faults.iter().all(healed), "{number}");
            assert_eq!(child.validate(), Ok(()), "{number}");
            differ += u32::from(child.faults != plan.faults || child.knobs != plan.knobs);
        }
        assert!(differ > 200, "{differ}");
    }

    #[test]
    fn every_change_changes_something() {
        for change in CHANGES {
            let changes = (0..200).filter(|number| {
                let (plan, partner) = (swarm::plan(*number), swarm::plan(number + 1_000));
                let mut child = plan.clone();
                let mut rng = Rng::from_seed(*number);
                apply(change, &mut child, &partner, &mut rng);
                child != plan
            });
            assert!(changes.count() > 5, "{change:?}");
        }
    }
}
