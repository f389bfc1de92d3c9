//! Settings of a plan, put back to what they usually are.

use std::collections::BTreeSet;
use veridical_harness::parts::steps_to;
use veridical_harness::timed_fault::merged;
use veridical_node::Limits;
use veridical_world::{DiskFaults, NetworkFaults, ProcessId, Schedule};

use crate::keyspace::Keyspace;
use crate::knobs;
use crate::plan::{Act, Plan, PlannedChange, Strike};

/// The least cluster that tolerates a failure.
const MEMBERS_MIN: u32 = 3;

/// Simpler plans of the same parts, the simplest first: settings at their defaults, a
/// perfect network, healthy disks, fewer members, no idle machines, an earlier end.
pub fn simpler(plan: &Plan, failed_at_ms: u64) -> Vec<Plan> {
    let mut simpler = Vec::new();
    simpler.extend(shorter(plan, failed_at_ms));
    simpler.extend(fewer_members(plan));
    simpler.extend(without_spares(plan));
    simpler.extend(without_idle_hosts(plan));
    simpler.extend(without_batches(plan));
    let calm = Plan {
        knobs: Limits::default(),
        network: NetworkFaults::none(),
        disk: DiskFaults::none(),
        ..plan.clone()
    };
    simpler.push(calm);
    simpler.push(Plan {
        last_power_failure: false,
        ..plan.clone()
    });
    simpler.push(Plan {
        last_minority: BTreeSet::new(),
        ..plan.clone()
    });
    simpler.push(Plan {
        knobs: Limits::default(),
        ..plan.clone()
    });
    simpler.push(Plan {
        schedule: Schedule::Uniform,
        ..plan.clone()
    });
    for network in steps_to(&plan.network, &NetworkFaults::none()) {
        simpler.push(Plan {
            network,
            ..plan.clone()
        });
    }
    for disk in steps_to(&plan.disk, &DiskFaults::none()) {
        simpler.push(Plan {
            disk,
            ..plan.clone()
        });
    }
    for knobs in knobs::steps_to_default(&plan.knobs) {
        simpler.push(Plan {
            knobs,
            ..plan.clone()
        });
    }
    simpler.push(Plan {
        previous_format: BTreeSet::new(),
        ..plan.clone()
    });
    simpler.push(Plan {
        engine: false,
        ..plan.clone()
    });
    simpler.push(Plan {
        service: None,
        ..plan.clone()
    });
    simpler.extend(simpler_keys(plan));
    simpler.extend(smaller_values(plan));
    simpler.extend(plainer_watches(plan));
    simpler.extend(sound_disk(plan));
    simpler.extend(merged(&plan.faults).into_iter().map(|faults| Plan {
        faults,
        ..plan.clone()
    }));
    simpler.retain(|candidate| candidate != plan);
    simpler
}

/// With keys that nobody takes for something else. The numbers stay, so what they look like
/// follows from how many there are.
fn simpler_keys(plan: &Plan) -> Vec<Plan> {
    let simpler = [Keyspace::Names, Keyspace::Numbers].into_iter();
    let simpler = simpler.filter(|keyspace| is_plainer(*keyspace, plan.keyspace));
    let plans = simpler.map(|keyspace| Plan {
        keyspace,
        ..plan.clone()
    });
    plans.filter(|plan| plan.validate().is_ok()).collect()
}

/// Names are plainer than numbers, and both than what is adversarial.
const fn is_plainer(one: Keyspace, than: Keyspace) -> bool {
    match (one, than) {
        (Keyspace::Names, Keyspace::Numbers | Keyspace::Adversarial)
        | (Keyspace::Numbers, Keyspace::Adversarial) => true,
        (Keyspace::Names, Keyspace::Names)
        | (Keyspace::Numbers, Keyspace::Names | Keyspace::Numbers)
        | (Keyspace::Adversarial, _) => false,
    }
}

/// With values as short as tells them apart.
fn smaller_values(plan: &Plan) -> [Plan; 2] {
    let mut short = Plan {
        large_value_bytes: 0,
        ..plan.clone()
    };
    let few_large = short.clone();
    for host in &mut short.hosts {
        host.value_bytes = 0;
    }
    [short, few_large]
}

/// With one watch for each watcher, which asks for nothing special. Whether deletions or puts
/// are left out stays: without either, nothing is behind.
fn plainer_watches(plan: &Plan) -> [Plan; 2] {
    let mut alone = plan.clone();
    for watcher in &mut alone.watchers {
        watcher.beside = None;
    }
    let mut plain = alone.clone();
    for watcher in &mut plain.watchers {
        watcher.prev_kv = false;
        watcher.fragment = false;
        watcher.progress = false;
        watcher.ask_progress_ms = None;
    }
    [plain, alone]
}

/// Without the exception for a member whose disk decays, if nothing decays any more.
fn sound_disk(plan: &Plan) -> Option<Plan> {
    let is_sound = plan.forgeries.is_empty() && !plan.disk_decays();
    is_sound.then(|| Plan {
        rotten_member: None,
        ..plan.clone()
    })
}

/// The faults end right after the failure, or at half the time if it came later still.
fn shorter(plan: &Plan, failed_at_ms: u64) -> Vec<Plan> {
    let ends = if failed_at_ms < plan.heal_at_ms {
        vec![failed_at_ms + 1]
    } else {
        vec![
            plan.heal_at_ms / 4,
            plan.heal_at_ms / 2,
            plan.heal_at_ms * 3 / 4,
        ]
    };
    let ended = |heal_at_ms: u64| {
        let mut shorter = Plan {
            heal_at_ms,
            end_at_ms: heal_at_ms,
            ..plan.clone()
        };
        shorter.faults.retain(|fault| fault.at_ms < heal_at_ms);
        shorter.changes.retain(|change| change.at_ms < heal_at_ms);
        shorter.hasty.retain(|call| call.at_ms < heal_at_ms);
        let strikes = &mut shorter.strikes;
        strikes.retain(|strike| strike.from_ms < heal_at_ms);
        shorter.lease_rounds.retain(|at_ms| *at_ms < heal_at_ms);
        shorter.batch_rounds.retain(|at_ms| *at_ms < heal_at_ms);
        shorter.shard_rounds.retain(|at_ms| *at_ms < heal_at_ms);
        shorter.hold_rounds.retain(|at_ms| *at_ms < heal_at_ms);
        shorter.examinations.retain(|at_ms| *at_ms < heal_at_ms);
        shorter.strangers.retain(|crowd| crowd.at_ms < heal_at_ms);
        let forgeries = &mut shorter.forgeries;
        forgeries.retain(|forgery| forgery.at_ms < heal_at_ms);
        shorter
    };
    let prompt = Plan {
        end_at_ms: plan.heal_at_ms,
        ..plan.clone()
    };
    ends.into_iter()
        .filter(|end| *end < plan.heal_at_ms)
        .map(ended)
        .chain([prompt])
        .collect()
}

/// Each operation travels alone.
fn without_batches(plan: &Plan) -> Option<Plan> {
    let mut alone = plan.clone();
    for host in &mut alone.hosts {
        host.batches = None;
    }
    (alone != *plan).then_some(alone)
}

fn fewer_members(plan: &Plan) -> Option<Plan> {
    let gone = plan
        .members
        .checked_sub(MEMBERS_MIN)
        .filter(|gone| *gone > 0)?;
    let number = |id: ProcessId| match id.0 {
        kept if kept < MEMBERS_MIN => Some(id),
        other if other < plan.members => None,
        client => Some(ProcessId(client - gone)),
    };
    let asks = |strike: &Strike| matches!(strike.act, Act::Ask { .. });
    if !plan.hasty.is_empty() || plan.strikes.iter().any(asks) {
        // They name bootstrap members, and addresses of machines that may not exist.
        return None;
    }
    let mut fewer = renumbered(plan, number);
    fewer.members = MEMBERS_MIN;
    fewer.rotten_member = plan.rotten_member.filter(|rotten| *rotten < MEMBERS_MIN);
    if fewer.rotten_member.is_none() {
        fewer.forgeries.clear();
    }
    fewer.last_minority.retain(|site| *site < MEMBERS_MIN);
    for crowd in &mut fewer.strangers {
        crowd.site %= MEMBERS_MIN;
    }
    for host in &mut fewer.hosts {
        host.first_member %= MEMBERS_MIN;
    }
    for watcher in &mut fewer.watchers {
        watcher.first_member %= MEMBERS_MIN;
    }
    Some(fewer)
}

/// Without machines whose clients do nothing.
fn without_idle_hosts(plan: &Plan) -> Option<Plan> {
    let idle: Vec<bool> = plan
        .hosts
        .iter()
        .map(|host| host.clients.iter().all(Vec::is_empty))
        .collect();
    if !idle.contains(&true) {
        return None;
    }
    let number = |id: ProcessId| {
        let Some(host) = id.0.checked_sub(plan.sites()) else {
            return Some(id);
        };
        if idle.get(host as usize) == Some(&true) {
            return None;
        }
        let before = idle.iter().take(host as usize).filter(|idle| **idle);
        Some(ProcessId(id.0 - before.count() as u32))
    };
    let mut busy = renumbered(plan, number);
    busy.hosts
        .retain(|host| !host.clients.iter().all(Vec::is_empty));
    for host in &mut busy.hosts {
        host.clients.retain(|client| !client.is_empty());
    }
    Some(busy)
}

fn renumbered(plan: &Plan, number: impl Fn(ProcessId) -> Option<ProcessId>) -> Plan {
    let mut other = plan.clone();
    other.faults = plan
        .faults
        .iter()
        .filter_map(|timed| {
            let fault = timed.fault.clone().renumbered(&number)?;
            Some(veridical_harness::TimedFault {
                fault,
                ..timed.clone()
            })
        })
        .collect();
    other.previous_format = plan
        .previous_format
        .iter()
        .filter_map(|site| number(ProcessId(*site)).map(|process| process.0))
        .collect();
    other.changes = plan
        .changes
        .iter()
        .filter_map(|planned| {
            let change = planned.change.clone().renumbered(&number)?;
            Some(PlannedChange {
                change,
                ..planned.clone()
            })
        })
        .collect();
    other
}

/// Without the machines that nobody is installed on.
fn without_spares(plan: &Plan) -> Option<Plan> {
    if plan.spares == 0 || !plan.changes.is_empty() || !plan.hasty.is_empty() {
        return None;
    }
    let number = |id: ProcessId| match id.0 {
        member if member < plan.members => Some(id),
        spare if spare < plan.sites() => None,
        client => Some(ProcessId(client - plan.spares)),
    };
    Some(Plan {
        spares: 0,
        ..renumbered(plan, number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shrinking::{Kind, size};
    use crate::swarm;

    /// What a plan consists of, field by field: a field that is new does not compile here until
    /// somebody says how it is made smaller, or why not.
    #[test]
    fn every_field_of_a_plan_can_be_taken_away_or_has_a_reason_why_not() {
        let Plan {
            // Parts that are left out one by one.
            faults: _,
            changes: _,
            hasty: _,
            strikes: _,
            lease_rounds: _,
            batch_rounds: _,
            shard_rounds: _,
            hold_rounds: _,
            examinations: _,
            strangers: _,
            // What the scenario is about; without it there is nothing to be seen.
            lost_majority: _,
            forgeries: _,
            watchers: _,
            leader_nemesis: _,
            schedule: _,
            // Operations, clients, idle machines and the length of values.
            hosts: _,
            // Settings that are put back to what is usual.
            members: _,
            spares: _,
            knobs: _,
            engine: _,
            network: _,
            disk: _,
            previous_format: _,
            keyspace: _,
            large_value_bytes: _,
            service: _,
            heal_at_ms: _,
            end_at_ms: _,
            last_power_failure: _,
            last_minority: _,
            rotten_member: _,
            // What the plan is, not what happens in it.
            format: _,
            scenario: _,
            seed: _,
            planted: _,
            // The shrinker tries several schedules by itself.
            schedule_seed: _,
            // Laws: another value would make another failure of it.
            heal_bound_ms: _,
            claimed_drift_ppm: _,
            // Without a supervisor's pause a member that stops would be back at once, in a
            // circle; the pause takes no time of whoever reads the failure.
            restart_delay_ms: _,
        } = swarm::plan(1);
    }

    /// A plan with something in every field that can be made smaller.
    fn full() -> Plan {
        let mut full = crate::impatience::plan(swarm::drawn(1));
        let forged = crate::forged_disk::plan(3);
        (full.rotten_member, full.forgeries) = (Some(0), forged.forgeries);
        full.keyspace = Keyspace::Adversarial;
        full.large_value_bytes = 100_000;
        full.last_minority = BTreeSet::from([1]);
        full.engine = true;
        full.service = Some(crate::plan::ServicePlan {
            write_every_ms: 10,
            gap_max_percent: 500,
            discovers: true,
        });
        full.lease_rounds = vec![5, 6];
        full.batch_rounds = vec![5, 6];
        full.shard_rounds = vec![5, 6];
        full.hold_rounds = vec![5, 6];
        full.examinations = vec![7, 8];
        full.strangers = vec![crate::plan::Strangers {
            at_ms: 9,
            site: 0,
            connections: 3,
            for_ms: 10,
        }];
        full.strikes = vec![Strike {
            from_ms: 9,
            moment: crate::plan::Moment::ReadIndexAsked,
            after_us: 0,
            act: Act::Cut {
                whose: crate::plan::Whose::Own,
                duration_ms: 10,
            },
        }];
        full
    }

    #[test]
    fn a_plan_full_of_everything_comes_down_to_nothing() {
        let mut plan = full();
        assert_eq!(plan.validate(), Ok(()));
        for kind in Kind::ALL {
            let all = (0..kind.count(&plan)).collect();
            plan = kind.without(&plan, &all);
            assert_eq!(kind.count(&plan), 0, "{kind:?}");
        }
        let mut steps = 0;
        while let Some(next) = simpler(&plan, 100).into_iter().next() {
            plan = next;
            steps += 1;
            assert!(steps < 100);
        }
        let least = Plan {
            keyspace: Keyspace::Names,
            large_value_bytes: 0,
            engine: false,
            service: None,
            rotten_member: None,
            ..plan.clone()
        };
        assert_eq!(plan, least);
        let parts = size(&plan, 100);
        assert_eq!((parts.operations, parts.faults), (0, 0));
    }

    #[test]
    fn five_members_become_three_and_the_faults_follow() {
        let plan = (0..200)
            .map(swarm::plan)
            .find(|plan| plan.members == 5)
            .expect("some seeds have five members");
        let fewer = fewer_members(&plan).expect("five are more than three");
        assert_eq!(fewer.members, 3);
        assert!(fewer.hosts.iter().all(|host| host.first_member < 3));
        assert!(fewer.faults.len() <= plan.faults.len());
        assert_eq!(fewer_members(&fewer), None);
    }

    #[test]
    fn idle_hosts_go_and_the_others_keep_what_they_do() {
        let plan = swarm::plan(5);
        let clients = plan.hosts[0].clients.len();
        let idle = Kind::Clients.without(&plan, &(0..clients).collect());
        let busy = without_idle_hosts(&idle).expect("the first host is idle");
        assert_eq!(busy.hosts[..], plan.hosts[1..]);
        assert_eq!(without_idle_hosts(&busy), None);
    }

    #[test]
    fn simpler_plans_lead_to_the_simplest() {
        let mut plan = swarm::plan_of("swarm-pct", 11).expect("it is one of the swarm's");
        assert!(plan.schedule.moments() > 0);
        let mut steps = 0;
        while let Some(simpler) = simpler(&plan, 100).into_iter().next() {
            plan = simpler;
            assert_eq!(plan.validate(), Ok(()));
            steps += 1;
            assert!(steps < 100);
        }
        let size = size(&plan, 100);
        for (name, count) in size.others {
            assert!(count == 0 || !name.contains("default"), "{count} {name}");
        }
        assert_eq!(plan.schedule.moments(), 0);
        assert!(plan.schedule.is_uniform());
        assert_eq!((plan.members, plan.heal_at_ms), (3, 101));
    }
}
