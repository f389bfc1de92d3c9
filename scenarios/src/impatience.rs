//! Operators who are many, impatient and wrong: they change the membership at the same
//! time, do not wait for what the others have begun, give their calls up, name members that
//! there are not, and add machines on which nothing ever starts.
//!
//! Whatever they ask for, a healthy majority must not lose its progress by it: the cluster
//! refuses what could cost that.

use veridical_node::Limits;
use veridical_world::{Rng, Stream};

use crate::calm::{BOOTSTRAP_MEMBERS, calm, discovers};
use crate::plan::{Act, AdminCall, HastyCall, Moment, Plan, ServicePlan, Strike, Who, Whom, Whose};
use crate::swarm::held_task_number;

/// The scenario's name.
pub const NAME: &str = "impatient-operators";

/// The share of the swarm's plans with such operators, of those in which nobody else changes
/// the membership.
const SWARM_SHARE: f64 = 0.15;

/// Machines that are named and of which there is none.
const MISSING_MACHINES: u64 = 6;

/// The share of calls that somebody makes again at once, and how soon at the latest, in ms: who
/// was not told what came of a call may not wait to find out.
const AGAIN_SHARE: f64 = 0.3;
const AGAIN_MAX_MS: u64 = 100;

/// Calls that are made at about the same time.
const BURST_CALLS: (u64, u64) = (2, 7);

/// The last calls are made this long before the faults end, so that they are over then, in ms.
const LAST_CALL_MS: u64 = 1_500;

/// Its machines on which a newcomer can be started.
const SPARES: u32 = 2;

/// How long its operators are at work, in ms.
const BUSY_MS: u64 = 20_000;

/// How often a task of a leader is held at a change, and for how long at most, in ms: less than it
/// takes to elect another one.
const HOLDS: u64 = 8;
const HOLD_MAX_MS: u64 = 250;

/// In a calm cluster whose leaders may be removed, acknowledged writes are at most so many
/// election timeouts apart, in percent.
const GAP_MAX_PERCENT: u64 = 1_200;

/// The machines of a cluster: those of the bootstrap members come first, then the spare ones.
#[derive(Clone, Copy, Debug)]
struct Machines {
    bootstrap_members: u32,
    sites: u32,
}

/// What such operators do to the swarm's plan of a seed, if there are any. They draw from a
/// stream of their own, and nothing else in a plan moves.
pub(crate) fn of_swarm(seed: u64, bootstrap_members: u32, heal_at_ms: u64) -> Vec<HastyCall> {
    let mut rng = Rng::for_part(seed, Stream::Nemesis, NAME);
    if !rng.chance(SWARM_SHARE) {
        return Vec::new();
    }
    let machines = Machines {
        bootstrap_members,
        sites: bootstrap_members,
    };
    bursts(&mut rng, machines, heal_at_ms)
}

/// Calls in bursts until shortly before the faults end.
fn bursts(rng: &mut Rng, machines: Machines, heal_at_ms: u64) -> Vec<HastyCall> {
    let gap_ms = [1_500, 6_000][rng.index(2)];
    let mut calls = Vec::new();
    let mut at_ms = 1_000 + rng.exponential(gap_ms);
    while at_ms + 2 * LAST_CALL_MS < heal_at_ms {
        let width_ms = [1, 50, 1_000][rng.index(3)];
        for _ in 0..rng.between(BURST_CALLS.0, BURST_CALLS.1) {
            let hasty = HastyCall {
                at_ms: at_ms + rng.below(width_ms),
                asked: if rng.chance(0.8) {
                    Who::Leader
                } else {
                    Who::Site(rng.below(u64::from(machines.bootstrap_members)) as u32)
                },
                call: call(rng, machines),
                patience_ms: [20, 300, 8_000][rng.index(3)],
            };
            if rng.chance(AGAIN_SHARE) {
                calls.push(HastyCall {
                    at_ms: hasty.at_ms + rng.below(AGAIN_MAX_MS),
                    ..hasty.clone()
                });
            }
            calls.push(hasty);
        }
        at_ms += width_ms + rng.exponential(gap_ms);
    }
    calls.sort_by_key(|call| call.at_ms);
    calls
}

/// A call in a cluster whose machines are those of its bootstrap members.
pub(crate) fn of_bootstrap_members(rng: &mut Rng, bootstrap_members: u32) -> AdminCall {
    let machines = Machines {
        bootstrap_members,
        sites: bootstrap_members,
    };
    call(rng, machines)
}

fn call(rng: &mut Rng, machines: Machines) -> AdminCall {
    match rng.below(20) {
        0..=7 => AdminCall::Add {
            machine: machine(rng, machines),
            is_learner: false,
        },
        8..=10 => AdminCall::Add {
            machine: machine(rng, machines),
            is_learner: true,
        },
        11..=14 => AdminCall::Remove {
            whom: whom(rng, machines),
        },
        15 | 16 => AdminCall::Promote {
            whom: whom(rng, machines),
        },
        17 => AdminCall::HandOver {
            whom: whom(rng, machines),
        },
        _ => AdminCall::Start {
            machine: machine(rng, machines),
        },
    }
}

/// Mostly one that has no member; a few callers mistake a bootstrap member's for one.
fn machine(rng: &mut Rng, machines: Machines) -> u32 {
    let Machines {
        bootstrap_members,
        sites,
    } = machines;
    if rng.chance(0.05) {
        return rng.below(u64::from(bootstrap_members)) as u32;
    }
    bootstrap_members + rng.below(u64::from(sites - bootstrap_members) + MISSING_MACHINES) as u32
}

fn whom(rng: &mut Rng, machines: Machines) -> Whom {
    match rng.below(10) {
        0..=3 => Whom::BootstrapMember(rng.below(u64::from(machines.bootstrap_members)) as u32),
        4..=7 => Whom::Newcomer(rng.below(4) as u32),
        8 => Whom::Nobody,
        _ => Whom::Zero,
    }
}

/// The clients of a plan of the swarm, in a calm world in which nothing but the operators does
/// any harm, so that the cluster may never be without service for long.
pub fn plan(drawn: Plan) -> Plan {
    let mut rng = Rng::for_part(
        drawn.seed,
        Stream::Nemesis,
        "impatient operators in a calm world",
    );
    let machines = Machines {
        bootstrap_members: BOOTSTRAP_MEMBERS,
        sites: BOOTSTRAP_MEMBERS + SPARES,
    };
    let hasty = bursts(&mut rng, machines, BUSY_MS);
    let knobs = Limits {
        heartbeat_ms: 50,
        election_timeout_ms: 300,
        ..Limits::default()
    };
    let service = Some(ServicePlan {
        write_every_ms: 50,
        gap_max_percent: GAP_MAX_PERCENT,
        discovers: discovers(drawn.seed),
    });
    Plan {
        scenario: NAME.to_owned(),
        spares: SPARES,
        knobs,
        hasty,
        strikes: at_changes(drawn.seed),
        service,
        heal_at_ms: BUSY_MS,
        end_at_ms: BUSY_MS + 10_000,
        ..calm(drawn)
    }
}

/// While a change is not committed, a task of its leader gets no time for a while: others ask for
/// what the leader has agreed on with the others and does not know of yet.
fn at_changes(seed: u64) -> Vec<Strike> {
    let mut rng = Rng::for_part(seed, Stream::Nemesis, "held tasks at changes");
    let mut strikes: Vec<Strike> = (0..HOLDS)
        .map(|_| Strike {
            from_ms: rng.below(BUSY_MS),
            moment: Moment::ConfigurationUncommitted,
            after_us: 0,
            act: Act::Hold {
                whose: Whose::Own,
                task: held_task_number(&mut rng),
                duration_ms: 1 + rng.below(HOLD_MAX_MS),
            },
        })
        .collect();
    strikes.sort_by_key(|strike| strike.from_ms);
    strikes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;

    #[test]
    fn operators_come_in_bursts_and_are_done_before_the_faults_end() {
        let mut has_burst = false;
        for seed in 0..100 {
            let plan = plan(swarm::drawn(seed));
            let times: Vec<u64> = plan.hasty.iter().map(|call| call.at_ms).collect();
            assert!(times.is_sorted());
            assert!(times.iter().all(|at_ms| at_ms + LAST_CALL_MS < BUSY_MS));
            has_burst |= times.windows(3).any(|three| three[2] - three[0] < 10);
        }
        assert!(has_burst);
    }

    #[test]
    fn some_plans_of_the_swarm_have_them_and_no_other_operator_then() {
        let plans = (0..400).map(swarm::plan);
        let hasty: Vec<Plan> = plans.filter(|plan| !plan.hasty.is_empty()).collect();
        assert!((15..80).contains(&hasty.len()), "{}", hasty.len());
        assert!(hasty.iter().all(|plan| plan.spares == 0));
    }
}
