//! Faults with the times at which they begin, as plans have them.

use serde::{Deserialize, Serialize};
use veridical_world::Fault;

/// A fault and when it begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimedFault {
    /// In ms of simulated time.
    pub at_ms: u64,
    /// What is done.
    pub fault: Fault,
}

/// The lists of faults in which one lasts until the end of the next one of the same sort with
/// the same targets, which is left out.
pub fn merged(faults: &[TimedFault]) -> Vec<Vec<TimedFault>> {
    let mut merged = Vec::new();
    for (number, first) in faults.iter().enumerate() {
        let mut rest = faults.iter().enumerate().skip(number + 1);
        let next = rest.find_map(|(other, second)| Some((other, joined(first, second)?)));
        if let Some((other, fault)) = next {
            let mut fewer = faults.to_vec();
            fewer[number].fault = fault;
            fewer.remove(other);
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
        | Fault::DiskFull { duration_ms, .. }
        | Fault::TooManyOpenFiles { duration_ms, .. } => Some(duration_ms),
        // These have no end of their own that two of them could share.
        Fault::Swizzle { .. }
        | Fault::ResetConnections { .. }
        | Fault::Network { .. }
        | Fault::Link { .. }
        | Fault::CrashAt { .. }
        | Fault::CrashAtFailpoint { .. }
        | Fault::Restart { .. }
        | Fault::WipeDisk { .. }
        | Fault::Starve { .. }
        | Fault::HoldTask { .. }
        | Fault::ClockDrift { .. }
        | Fault::ClockJump { .. }
        | Fault::ClockStrobe { .. }
        | Fault::DiskStall { .. }
        | Fault::BitRot { .. }
        | Fault::Decay { .. }
        | Fault::KeepDisk { .. }
        | Fault::RestoreDisk { .. } => None,
    }
}

#[cfg(madsim)]
mod simulated {
    use std::time::Duration;
    use veridical_world::World;

    use super::TimedFault;

    /// Injects the faults at their times and returns at `heal_at`, when the caller heals.
    /// The faults have to be in the order of their times.
    pub async fn inject_at_times(world: &World, faults: &[TimedFault], heal_at: Duration) {
        for timed in faults {
            sleep_until(world, Duration::from_millis(timed.at_ms)).await;
            world.inject(&timed.fault);
        }
        sleep_until(world, heal_at).await;
    }

    /// Waits until that time of the run; not at all if it has passed.
    pub async fn sleep_until(world: &World, at: Duration) {
        let left = at.saturating_sub(world.now());
        if !left.is_zero() {
            world.sleep(left).await;
        }
    }
}

#[cfg(madsim)]
pub use simulated::{inject_at_times, sleep_until};

#[cfg(test)]
mod tests {
    use super::*;
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
        let merged = merged(&faults);
        let of = |number: usize| merged[number].clone();
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
