//! When the operations of a plan were really called.
//!
//! A plan says how long a client thinks between operations. How long an operation takes
//! depends on everything else, so taking one out of the plan would move all behind it.
//! With the timetable of a run each operation gets a time of its own and stays there.

use std::collections::BTreeMap;
use veridical_harness::report::Began;

use crate::plan::{Plan, PlannedOp};

/// The plan with each operation at the time at which it was called. Operations that were
/// not called are left out.
pub fn pin(plan: &Plan, timetable: &[Began]) -> Plan {
    let times: BTreeMap<(u64, usize), u64> = timetable
        .iter()
        .map(|began| ((began.client, began.number), began.at_ms))
        .collect();
    let mut pinned = plan.clone();
    let clients = pinned.hosts.iter_mut().flat_map(|host| &mut host.clients);
    for (client, operations) in clients.enumerate() {
        let planned = std::mem::take(operations);
        *operations = planned
            .into_iter()
            .enumerate()
            .filter_map(|(number, planned)| {
                let at_ms = *times.get(&(client as u64, number))?;
                Some(PlannedOp {
                    after_ms: 0,
                    at_ms: Some(at_ms),
                    ..planned
                })
            })
            .collect();
    }
    pinned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;

    #[test]
    fn operations_get_their_times_and_those_never_called_are_left_out() {
        let plan = swarm::plan(3);
        let first_client = plan.hosts[0].clients.len() as u64;
        let called = [
            Began {
                client: 0,
                number: 0,
                at_ms: 5,
            },
            Began {
                client: first_client,
                number: 2,
                at_ms: 70,
            },
        ];
        let pinned = pin(&plan, &called);
        assert_eq!(pinned.operations(), 2);
        let second = &pinned.hosts[1].clients[0][0];
        assert_eq!((second.at_ms, second.after_ms), (Some(70), 0));
        assert_eq!(second.op, plan.hosts[1].clients[0][2].op);
    }
}
