//! Small plans drawn at random from what a failing one consists of.
//!
//! Leaving parts out gets stuck where each part only serves to bring about the next one: a
//! chain of elections, or hundreds of operations of which one happens to be at the right
//! moment. What the failure itself needs is often little. So a few faults and a few
//! operations are taken together at the beginning of a short run, many times; such runs
//! cost a fraction of a whole one.

use veridical_world::{CrashKind, Fault, ProcessId, Rng};

use crate::plan::{Plan, PlannedChange, PlannedOp};
use veridical_harness::TimedFault;
use veridical_harness::size::{FAULTS_GOAL, OPERATIONS_GOAL};

/// How long after the last fault the faults end, in elections that time out one after the
/// other, so that what the faults brought about can happen.
const AFTERMATH_ELECTIONS: u64 = 5;

/// How far operations are from the faults around which they are done, in ms on average.
const DISTANCE_MEANS_MS: [u64; 3] = [2, 10, 200];

/// Times of drawn faults, in ms on average: what happens takes as long as an election, or
/// as a message and a synchronisation.
struct Pace {
    /// From the start of the run to the first fault.
    first_ms: [u64; 3],
    /// Between faults.
    gap_ms: [u64; 5],
    /// How long a fault lasts.
    duration_ms: [u64; 3],
}

impl Pace {
    const fn of(plan: &Plan) -> Self {
        let election_ms = plan.knobs.election_timeout_ms;
        Self {
            first_ms: [election_ms / 4, election_ms, 3 * election_ms],
            gap_ms: [0, 2, 20, 200, election_ms],
            duration_ms: [20, election_ms / 2, 3 * election_ms],
        }
    }
}

/// A small plan of the parts of `plan`; another one with every generator.
pub fn resampled(plan: &Plan, rng: &mut Rng) -> Plan {
    let mut small = plan.clone();
    small.seed = rng.next_u64();
    small.schedule_seed = Some(rng.next_u64());
    small.faults = faults(plan, rng);
    small.changes = changes(plan, &small.faults, rng);
    small.hasty = few(&plan.hasty, free(&small), rng);
    for call in &mut small.hasty {
        call.at_ms = small.faults[rng.index(small.faults.len())].at_ms;
    }
    small.hasty.sort_by_key(|call| call.at_ms);
    small.strikes = few(&plan.strikes, free(&small), rng);
    for strike in &mut small.strikes {
        strike.from_ms = 0;
    }
    // The leader nemesis makes a chain of elections; drawn faults stand for it most of the time.
    let free = free(&small);
    if let Some(nemesis) = &mut small.leader_nemesis {
        if free == 0 || rng.chance(0.7) {
            small.leader_nemesis = None;
        } else {
            nemesis.elections = Some((0..1 + rng.below(free as u64)).collect());
            nemesis.from_ms = 0;
        }
    }
    let last_ms = small.faults.last().map_or(0, |timed| timed.at_ms);
    small.heal_at_ms = last_ms + aftermath_ms(plan);
    small.end_at_ms = small.heal_at_ms;
    operations(&mut small, rng);
    let heal_at_ms = small.heal_at_ms;
    small.lease_rounds.retain(|at_ms| *at_ms < heal_at_ms);
    small.batch_rounds.retain(|at_ms| *at_ms < heal_at_ms);
    small.shard_rounds.retain(|at_ms| *at_ms < heal_at_ms);
    small.hold_rounds.retain(|at_ms| *at_ms < heal_at_ms);
    small.examinations.retain(|at_ms| *at_ms < heal_at_ms);
    small.strangers.retain(|crowd| crowd.at_ms < heal_at_ms);
    for watcher in &mut small.watchers {
        watcher.start_at_ms = watcher.start_at_ms.min(small.heal_at_ms);
    }
    small
}

/// How much more may be done in a plan.
fn free(small: &Plan) -> usize {
    let taken = [
        small.faults.len(),
        small.changes.len(),
        small.hasty.len(),
        small.strikes.len(),
    ];
    FAULTS_GOAL.saturating_sub(taken.iter().sum())
}

/// Some of these, up to so many.
fn few<T: Clone>(from: &[T], max: usize, rng: &mut Rng) -> Vec<T> {
    if from.is_empty() || max == 0 {
        return Vec::new();
    }
    let count = rng.below(max as u64 + 1);
    (0..count)
        .map(|_| from[rng.index(from.len())].clone())
        .collect()
}

const fn aftermath_ms(plan: &Plan) -> u64 {
    AFTERMATH_ELECTIONS * plan.knobs.election_timeout_ms
}

fn one_of<T: Copy>(from: &[T], rng: &mut Rng) -> T {
    from[rng.index(from.len())]
}

/// A time around one of these means.
fn about(means_ms: &[u64], rng: &mut Rng) -> u64 {
    let mean_ms = one_of(means_ms, rng);
    rng.exponential(mean_ms)
}

/// Up to as many faults as are aimed at, of the plan or drawn, one soon after the other.
fn faults(plan: &Plan, rng: &mut Rng) -> Vec<TimedFault> {
    // Clocks that run wrong from the beginning, and the like, come first and stay first.
    let count = 1 + rng.index(FAULTS_GOAL);
    let pace = Pace::of(plan);
    let mut at_ms = about(&pace.first_ms, rng);
    let gap_ms = one_of(&pace.gap_ms, rng);
    let together = rng.chance(0.25);
    let mut members: Vec<u32> = (0..plan.members).collect();
    rng.shuffle(&mut members);
    let mut faults = Vec::new();
    for number in 0..count {
        let fault = if together {
            // A power failure of several: the order of the draws is that of the members.
            crash(members[number % members.len()], &pace, rng)
        } else if !plan.faults.is_empty() && rng.chance(0.5) {
            plan.faults[rng.index(plan.faults.len())].fault.clone()
        } else {
            drawn(plan, &pace, rng)
        };
        faults.push(TimedFault { at_ms, fault });
        at_ms += if together {
            rng.below(2)
        } else {
            rng.exponential(gap_ms)
        };
    }
    faults
}

/// A change of the membership at the time of a fault, if there is room for one.
fn changes(plan: &Plan, faults: &[TimedFault], rng: &mut Rng) -> Vec<PlannedChange> {
    if plan.changes.is_empty() || faults.len() >= FAULTS_GOAL || rng.chance(0.5) {
        return Vec::new();
    }
    let change = plan.changes[rng.index(plan.changes.len())].clone();
    let at_ms = faults[rng.index(faults.len())].at_ms;
    vec![PlannedChange { at_ms, ..change }]
}

fn crash(member: u32, pace: &Pace, rng: &mut Rng) -> Fault {
    Fault::Crash {
        process: ProcessId(member),
        kind: one_of(&[CrashKind::PowerLoss, CrashKind::PowerLossWithReset], rng),
        restart_after_ms: Some(1 + about(&pace.duration_ms, rng)),
    }
}

/// What the leader nemesis does, and what makes elections disagree: a crash, a member that is cut
/// off, two that do not hear each other.
fn drawn(plan: &Plan, pace: &Pace, rng: &mut Rng) -> Fault {
    let mut members: Vec<ProcessId> = (0..plan.members).map(ProcessId).collect();
    rng.shuffle(&mut members);
    let duration_ms = Some(1 + about(&pace.duration_ms, rng));
    match rng.below(4) {
        0 | 1 => crash(members[0].0, pace, rng),
        2 => {
            let others = members.split_off(1);
            // Clients reach both sides.
            Fault::Partition {
                groups: vec![members, others],
                duration_ms,
            }
        }
        _ => {
            let middle = members.len() / 2;
            Fault::Bridge {
                left: members[..middle].to_vec(),
                bridge: members[middle],
                right: members[middle + 1..].to_vec(),
                duration_ms,
            }
        }
    }
}

/// Up to as many operations as are aimed at, around the faults. Whoever does one does it
/// in the plan, too.
fn operations(small: &mut Plan, rng: &mut Rng) {
    let all = small.operations();
    let count = OPERATIONS_GOAL.min(all);
    let mut left = vec![false; all];
    for _ in 0..rng.index(count + 1) {
        left[rng.index(all)] = true;
    }
    let distance_ms = one_of(&DISTANCE_MEANS_MS, rng);
    let times: Vec<u64> = small.faults.iter().map(|timed| timed.at_ms).collect();
    let mut number = 0;
    for client in small.hosts.iter_mut().flat_map(|host| &mut host.clients) {
        let mut kept: Vec<PlannedOp> = Vec::new();
        for planned in client.drain(..) {
            number += 1;
            if !left[number - 1] {
                continue;
            }
            let around_ms = times[rng.index(times.len())];
            let distance_ms = rng.exponential(distance_ms);
            let at_ms = if rng.chance(0.7) {
                around_ms.saturating_sub(distance_ms)
            } else {
                around_ms + distance_ms
            };
            kept.push(PlannedOp {
                after_ms: 0,
                at_ms: Some(at_ms),
                op: planned.op,
            });
        }
        kept.sort_by_key(|planned| planned.at_ms);
        *client = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shrinking::size;
    use crate::swarm;

    #[test]
    fn resampled_plans_are_small_short_and_each_another_one() {
        let mut rng = Rng::from_seed(3);
        for seed in 0..60 {
            let plan = swarm::plan(seed);
            let (one, other) = (resampled(&plan, &mut rng), resampled(&plan, &mut rng));
            assert_ne!(one, other);
            for small in [one, other] {
                let size = size(&small, 0);
                assert!(size.faults <= FAULTS_GOAL, "{size}");
                assert!(size.operations <= OPERATIONS_GOAL, "{size}");
                let last_ms = small.faults.last().expect("there is one").at_ms;
                assert_eq!(small.heal_at_ms, last_ms + aftermath_ms(&plan));
                let healed = |timed: &TimedFault| timed.at_ms < small.heal_at_ms;
                assert!(small.faults.iter().all(healed));
                assert_eq!((small.members, &small.knobs), (plan.members, &plan.knobs));
            }
        }
    }
}
