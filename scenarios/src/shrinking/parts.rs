//! What a plan consists of, as parts that can be left out one by one, and how big that is.

use std::collections::BTreeSet;
use veridical_harness::parts::{keep, steps_to};
use veridical_harness::size::Size;
use veridical_world::{DiskFaults, NetworkFaults};

use crate::plan::{LeaderNemesisPlan, Plan};

/// Elections that the leader nemesis is thought to follow before they are counted.
const ELECTIONS_MAX: u64 = 128;

/// A sort of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Faults with a time.
    Faults,
    /// Elections that the leader nemesis follows.
    Elections,
    /// Changes of the membership.
    Changes,
    /// Clients with all they do.
    Clients,
    /// Operations.
    Operations,
    /// Watchers.
    Watchers,
    /// Chosen moments of the schedule.
    Moments,
    /// What impatient operators ask for.
    HastyCalls,
    /// What is done at observed moments.
    Strikes,
    /// Rounds of leases that are kept alive.
    LeaseRounds,
    /// Rounds of callers whose calls travel in batches.
    BatchRounds,
    /// Rounds of callers of a sharded client.
    ShardRounds,
    /// Rounds of clients that take a lock from each other.
    HoldRounds,
    /// Examinations of members.
    Examinations,
    /// Crowds of strangers.
    Strangers,
    /// Altered files.
    Forgeries,
}

impl Kind {
    /// All sorts, those first that make later ones fewer.
    pub const ALL: [Self; 16] = [
        Self::Clients,
        Self::Faults,
        Self::Elections,
        Self::Changes,
        Self::HastyCalls,
        Self::Strikes,
        Self::LeaseRounds,
        Self::BatchRounds,
        Self::ShardRounds,
        Self::HoldRounds,
        Self::Examinations,
        Self::Strangers,
        Self::Forgeries,
        Self::Operations,
        Self::Watchers,
        Self::Moments,
    ];

    /// The names of [`ALL`](Self::ALL), in the same order.
    pub const NAMES: &[&str] = &[
        "clients",
        "faults",
        "elections",
        "changes",
        "hasty calls",
        "strikes",
        "lease rounds",
        "batch rounds",
        "shard rounds",
        "hold rounds",
        "examinations",
        "crowds of strangers",
        "forgeries",
        "operations",
        "watchers",
        "moments",
    ];

    /// How many parts of this sort a plan has.
    pub fn count(self, plan: &Plan) -> usize {
        match self {
            Self::Faults => plan.faults.len(),
            Self::Elections => plan
                .leader_nemesis
                .as_ref()
                .map_or(0, |nemesis| elections(nemesis).len()),
            Self::Changes => plan.changes.len(),
            Self::Clients => clients(plan).len(),
            Self::Operations => plan.operations(),
            Self::Watchers => plan.watchers.len(),
            Self::Moments => plan.schedule.moments(),
            Self::HastyCalls => plan.hasty.len(),
            Self::Strikes => plan.strikes.len(),
            Self::LeaseRounds => plan.lease_rounds.len(),
            Self::BatchRounds => plan.batch_rounds.len(),
            Self::ShardRounds => plan.shard_rounds.len(),
            Self::HoldRounds => plan.hold_rounds.len(),
            Self::Examinations => plan.examinations.len(),
            Self::Strangers => plan.strangers.len(),
            Self::Forgeries => plan.forgeries.len(),
        }
    }

    /// The plan without the parts whose numbers are in `out`.
    pub fn without(self, plan: &Plan, out: &BTreeSet<usize>) -> Plan {
        let mut less = plan.clone();
        match self {
            Self::Faults => less.faults = keep(&plan.faults, out),
            Self::Watchers => less.watchers = keep(&plan.watchers, out),
            Self::Changes => less.changes = keep(&plan.changes, out),
            Self::HastyCalls => less.hasty = keep(&plan.hasty, out),
            Self::Strikes => less.strikes = keep(&plan.strikes, out),
            Self::LeaseRounds => less.lease_rounds = keep(&plan.lease_rounds, out),
            Self::BatchRounds => less.batch_rounds = keep(&plan.batch_rounds, out),
            Self::ShardRounds => less.shard_rounds = keep(&plan.shard_rounds, out),
            Self::HoldRounds => less.hold_rounds = keep(&plan.hold_rounds, out),
            Self::Examinations => less.examinations = keep(&plan.examinations, out),
            Self::Strangers => less.strangers = keep(&plan.strangers, out),
            Self::Forgeries => less.forgeries = keep(&plan.forgeries, out),
            Self::Moments => less.schedule = plan.schedule.without(|number| out.contains(&number)),
            Self::Elections => {
                if let Some(nemesis) = &mut less.leader_nemesis {
                    let left = keep(&elections(nemesis), out);
                    if left.is_empty() {
                        less.leader_nemesis = None;
                    } else {
                        nemesis.elections = Some(left.into_iter().collect());
                    }
                }
            }
            Self::Clients => {
                for (number, (host, client)) in clients(plan).into_iter().enumerate() {
                    if out.contains(&number) {
                        less.hosts[host].clients[client].clear();
                    }
                }
            }
            Self::Operations => {
                let mut number = 0;
                for client in less.hosts.iter_mut().flat_map(|host| &mut host.clients) {
                    client.retain(|_| {
                        number += 1;
                        !out.contains(&(number - 1))
                    });
                }
            }
        }
        less
    }
}

/// Clients that do something: host and number on it.
fn clients(plan: &Plan) -> Vec<(usize, usize)> {
    let mut clients = Vec::new();
    for (host, host_plan) in plan.hosts.iter().enumerate() {
        for (client, operations) in host_plan.clients.iter().enumerate() {
            if !operations.is_empty() {
                clients.push((host, client));
            }
        }
    }
    clients
}

fn elections(nemesis: &LeaderNemesisPlan) -> Vec<u64> {
    match &nemesis.elections {
        Some(followed) => followed.iter().copied().collect(),
        None => (0..ELECTIONS_MAX).collect(),
    }
}

/// How big the plan is.
pub fn size(plan: &Plan, failed_at_ms: u64) -> Size {
    let conditions = steps_to(&plan.network, &NetworkFaults::none()).len()
        + steps_to(&plan.disk, &DiskFaults::none()).len()
        - 2;
    Size {
        operations: plan.operations(),
        faults: plan.faults.len()
            + plan.changes.len()
            + plan.hasty.len()
            + plan.strikes.len()
            + plan.forgeries.len()
            + Kind::Elections.count(plan),
        others: vec![
            ("clients", clients(plan).len()),
            ("watchers", plan.watchers.len()),
            ("members", plan.members as usize),
            ("knobs beside the default", plan.knobs.changed().count()),
            ("conditions beside the default", conditions),
            ("moments of the schedule", plan.schedule.moments()),
            ("lease rounds", plan.lease_rounds.len()),
            ("batch rounds", plan.batch_rounds.len()),
            ("shard rounds", plan.shard_rounds.len()),
            ("hold rounds", plan.hold_rounds.len()),
            ("examinations", plan.examinations.len()),
            ("crowds of strangers", plan.strangers.len()),
        ],
        failed_at_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;

    fn numbers(numbers: &[usize]) -> BTreeSet<usize> {
        numbers.iter().copied().collect()
    }

    #[test]
    fn without_parts_there_are_that_many_fewer_and_nothing_else_changes() {
        for seed in 0..40 {
            let plan = swarm::plan(seed);
            for kind in Kind::ALL {
                let count = kind.count(&plan);
                if count < 2 {
                    continue;
                }
                let less = kind.without(&plan, &numbers(&[0, count - 1]));
                assert_eq!(kind.count(&less), count - 2, "{kind:?}");
                assert_eq!(kind.without(&plan, &numbers(&[])).hosts, plan.hosts);
                assert_eq!(less.knobs, plan.knobs);
            }
        }
    }

    #[test]
    fn a_leader_nemesis_without_elections_is_none() {
        let plan = (0..200)
            .map(swarm::plan)
            .find(|plan| plan.leader_nemesis.is_some())
            .expect("some seeds have one");
        let all: BTreeSet<usize> = (0..Kind::Elections.count(&plan)).collect();
        assert_eq!(Kind::Elections.without(&plan, &all).leader_nemesis, None);
    }
}
