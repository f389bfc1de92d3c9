//! One long fault instead of two of the same sort.

use veridical_world::Fault;

use crate::plan::{Plan, TimedFault};

/// The plans in which a fault lasts until the end of the next one of the same sort with
/// the same targets, which is left out.
pub fn merged(plan: &Plan) -> Vec<Plan> {
    let mut merged = Vec::new();
    for (number, first) in plan.faults.iter().enumerate() {
        let rest = plan.faults.iter().enumerate().skip(number + 1);
        let next = rest.filter_map(|(other, second)| Some((other, joined(first, second)?)));
        if let Some((other, fault)) = next.into_iter().next() {
            let mut fewer = plan.clone();
            fewer.faults[number].fault = fault;
            fewer.faults.remove(other);
            merged.push(fewer);
        }
    }
    merged
}

/// The first fault until the end of the second one, if they differ in nothing but when
/// and how long they last.
fn joined(first: &TimedFault, second: &TimedFault) -> Option<Fault> {
    let (mut one, mut other) = (first.fault.clone(), second.fault.clone());
    let (ends, goes_on) = (end(&mut one)?, end(&mut other)?);
    let (until, lasts) = (ends.take(), goes_on.take());
    if one != other {
        return None;
    }
    // One that never ends by itself goes on; else from the first's beginning.
    let lasts = match (until, lasts) {
        (Some(first_ms), Some(second_ms)) => {
            let second_ms = second.at_ms.saturating_sub(first.at_ms) + second_ms;
            Some(first_ms.max(second_ms))
        }
        (None, _) | (_, None) => None,
    };
    let mut fault = first.fault.clone();
    *end(&mut fault)? = lasts;
    Some(fault)
}

/// After how many ms the fault ends, or the process is there again.
const fn end(fault: &mut Fault) -> Option<&mut Option<u64>> {
    match fault {
        Fault::Crash {
            restart_after_ms, ..
        } => Some(restart_after_ms),
        Fault::Partition { duration_ms, .. }
        | Fault::Isolate { duration_ms, .. }
        | Fault::OneWay { duration_ms, .. }
        | Fault::Bridge { duration_ms, .. }
        | Fault::MajorityRing { duration_ms, .. }
        | Fault::Clog { duration_ms, .. }
        | Fault::Pause { duration_ms, .. }
        | Fault::Suspend { duration_ms, .. }
        | Fault::Disk { duration_ms, .. }
        | Fault::DiskFull { duration_ms, .. } => Some(duration_ms),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;
    use veridical_world::{CrashKind, ProcessId};

    fn pause(at_ms: u64, process: u32, duration_ms: Option<u64>) -> TimedFault {
        let process = ProcessId(process);
        let fault = Fault::Pause {
            process,
            duration_ms,
        };
        TimedFault { at_ms, fault }
    }

    fn crash(at_ms: u64, kind: CrashKind) -> TimedFault {
        let fault = Fault::Crash {
            process: ProcessId(1),
            kind,
            restart_after_ms: Some(50),
        };
        TimedFault { at_ms, fault }
    }

    #[test]
    fn two_faults_with_the_same_targets_become_one_and_others_stay() {
        let faults = vec![
            pause(100, 0, Some(50)),
            crash(120, CrashKind::Kill),
            pause(130, 1, Some(10)),
            pause(200, 0, Some(30)),
            crash(400, CrashKind::PowerLoss),
            pause(500, 1, None),
            crash(600, CrashKind::PowerLoss),
        ];
        let plan = Plan {
            faults: faults.clone(),
            ..swarm::plan(1)
        };
        let merged = merged(&plan);
        let of = |number: usize| merged[number].faults.clone();
        assert_eq!(merged.len(), 3);
        assert_eq!(of(0)[0], pause(100, 0, Some(130)));
        assert_eq!(of(0).len(), faults.len() - 1);
        assert_eq!(of(1)[2], pause(130, 1, None));
        let Fault::Crash {
            restart_after_ms, ..
        } = of(2)[4].fault
        else {
            panic!("it was a crash");
        };
        assert_eq!(restart_after_ms, Some(250));
    }
}
