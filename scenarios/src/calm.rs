//! A calm world, for the scenarios in which one thing alone does harm.

use veridical_node::Limits;
use veridical_world::{DiskFaults, NetworkFaults, Rng, Schedule, Stream};

use crate::plan::Plan;

/// The members that begin it.
pub(crate) const BOOTSTRAP_MEMBERS: u32 = 3;

/// The plan in a world without faults and without operators, in which three members with default
/// settings bootstrap the cluster.
pub(crate) fn calm(plan: Plan) -> Plan {
    let mut plan = Plan {
        members: BOOTSTRAP_MEMBERS,
        engine: false,
        network: NetworkFaults::none(),
        disk: DiskFaults::none(),
        faults: Vec::new(),
        previous_format: Default::default(),
        spares: 0,
        knobs: Limits::default(),
        changes: Vec::new(),
        hasty: Vec::new(),
        strikes: Vec::new(),
        lease_rounds: Vec::new(),
        batch_rounds: Vec::new(),
        shard_rounds: Vec::new(),
        hold_rounds: Vec::new(),
        examinations: Vec::new(),
        leader_nemesis: None,
        last_minority: Default::default(),
        schedule: Schedule::Uniform,
        ..plan
    };
    for crowd in &mut plan.strangers {
        crowd.site %= BOOTSTRAP_MEMBERS;
    }
    for host in &mut plan.hosts {
        host.first_member %= BOOTSTRAP_MEMBERS;
    }
    for watcher in &mut plan.watchers {
        watcher.first_member %= BOOTSTRAP_MEMBERS;
    }
    plan
}

/// Whether the client of the law of service has to find the members of a seed by itself; drawn from a stream of its own.
pub(crate) fn discovers(seed: u64) -> bool {
    Rng::for_part(seed, Stream::Workload, "discovery").chance(0.5)
}
