//! Faults as one reads them: a class, a line of text, and whom they concern.

use std::collections::BTreeSet;
use veridical_world::{Fault, ProcessId};

/// What a fault is done to; each class has one colour.
pub const fn class(fault: &Fault) -> &'static str {
    match fault {
        Fault::Partition { .. }
        | Fault::Isolate { .. }
        | Fault::OneWay { .. }
        | Fault::Bridge { .. }
        | Fault::MajorityRing { .. } => "partition",
        Fault::Crash { .. }
        | Fault::CrashAt { .. }
        | Fault::CrashAtFailpoint { .. }
        | Fault::Restart { .. }
        | Fault::WipeDisk { .. } => "crash",
        Fault::Pause { .. }
        | Fault::Suspend { .. }
        | Fault::Starve { .. }
        | Fault::HoldTask { .. } => "pause",
        Fault::ClockDrift { .. } | Fault::ClockJump { .. } | Fault::ClockStrobe { .. } => "clock",
        Fault::Disk { .. }
        | Fault::DiskStall { .. }
        | Fault::DiskFull { .. }
        | Fault::TooManyOpenFiles { .. }
        | Fault::BitRot { .. }
        | Fault::Decay { .. }
        | Fault::KeepDisk { .. }
        | Fault::RestoreDisk { .. } => "disk",
        Fault::Clog { .. }
        | Fault::Swizzle { .. }
        | Fault::ResetConnections { .. }
        | Fault::Network { .. }
        | Fault::Link { .. } => "network",
    }
}

/// Whom a fault concerns; nobody in particular if it is empty.
pub fn processes(fault: &Fault) -> BTreeSet<u32> {
    let one = |process: &ProcessId| BTreeSet::from([process.0]);
    let many = |lists: &[&[ProcessId]]| {
        let all = lists.iter().flat_map(|list| list.iter());
        all.map(|process| process.0).collect()
    };
    match fault {
        Fault::Partition { groups, .. } => smaller_side(groups),
        Fault::OneWay { from, to, .. }
        | Fault::Clog { from, to, .. }
        | Fault::Link { from, to, .. } => many(&[from, to]),
        Fault::Bridge {
            left,
            bridge,
            right,
            ..
        } => many(&[left, &[*bridge], right]),
        Fault::MajorityRing { ring, .. } => many(&[ring]),
        Fault::Swizzle { processes, .. } => many(&[processes]),
        Fault::ResetConnections { a, b } => many(&[&[*a, *b]]),
        Fault::Isolate { process, .. }
        | Fault::Crash { process, .. }
        | Fault::CrashAt { process, .. }
        | Fault::Restart { process }
        | Fault::WipeDisk { process }
        | Fault::Pause { process, .. }
        | Fault::Suspend { process, .. }
        | Fault::ClockDrift { process, .. }
        | Fault::ClockJump { process, .. }
        | Fault::ClockStrobe { process, .. }
        | Fault::Disk { process, .. }
        | Fault::DiskStall { process, .. }
        | Fault::DiskFull { process, .. }
        | Fault::TooManyOpenFiles { process, .. }
        | Fault::BitRot { process, .. }
        | Fault::Decay { process, .. }
        | Fault::CrashAtFailpoint { process, .. }
        | Fault::KeepDisk { process }
        | Fault::RestoreDisk { process, .. }
        | Fault::Starve { process, .. }
        | Fault::HoldTask { process, .. } => one(process),
        Fault::Network { .. } => BTreeSet::new(),
    }
}

/// Of a partition the side that is cut off: everybody but the largest group.
fn smaller_side(groups: &[Vec<ProcessId>]) -> BTreeSet<u32> {
    let largest =
        (0..groups.len()).max_by_key(|index| (groups[*index].len(), groups.len() - index));
    let others = groups
        .iter()
        .enumerate()
        .filter(|(index, _)| Some(*index) != largest);
    others
        .flat_map(|(_, group)| group.iter().map(|process| process.0))
        .collect()
}

/// A fault as a line of text.
pub fn describe(fault: &Fault, names: &[String]) -> String {
    let name = |process: &ProcessId| {
        let name = names.get(process.0 as usize);
        name.cloned().unwrap_or_else(|| process.to_string())
    };
    let list = |processes: &[ProcessId]| -> String {
        let names: Vec<String> = processes.iter().map(name).collect();
        names.join(", ")
    };
    match fault {
        Fault::Partition { groups, .. } => {
            let groups: Vec<String> = groups.iter().map(|group| list(group)).collect();
            format!("partition: {}", groups.join(" | "))
        }
        Fault::Isolate { process, .. } => format!("{} isolated", name(process)),
        Fault::OneWay { from, to, .. } => format!("cut one way: {} → {}", list(from), list(to)),
        Fault::Bridge {
            left,
            bridge,
            right,
            ..
        } => format!(
            "bridge: {} | {} | {}",
            list(left),
            name(bridge),
            list(right)
        ),
        Fault::MajorityRing { ring, .. } => format!("majority ring: {}", list(ring)),
        Fault::Clog { from, to, .. } => format!("clog: {} → {}", list(from), list(to)),
        Fault::Swizzle { processes, .. } => format!("swizzle: {}", list(processes)),
        Fault::ResetConnections { a, b } => {
            format!("connections reset: {} – {}", name(a), name(b))
        }
        Fault::Network { .. } => "network misbehaves".to_owned(),
        Fault::Link { from, to, .. } => {
            format!("links misbehave: {} → {}", list(from), list(to))
        }
        Fault::Crash { process, kind, .. } => format!("{}: {}", name(process), word(kind)),
        Fault::CrashAt { process, point, .. } => {
            format!("{}: crash {}", name(process), word(point))
        }
        Fault::Restart { process } => format!("{}: restart", name(process)),
        Fault::WipeDisk { process } => format!("{}: disk wiped", name(process)),
        Fault::Pause { process, .. } => format!("{} paused", name(process)),
        Fault::Suspend { process, .. } => format!("{} suspended", name(process)),
        Fault::ClockDrift {
            process, drift_ppm, ..
        } => format!("{}: clock drifts by {drift_ppm} ppm", name(process)),
        Fault::ClockJump { process, jump_ms } => {
            format!("{}: clock jumps by {jump_ms} ms", name(process))
        }
        Fault::ClockStrobe {
            process,
            amplitude_ms,
            ..
        } => format!("{}: clock strobes by {amplitude_ms} ms", name(process)),
        Fault::Disk { process, .. } => format!("{}: disk misbehaves", name(process)),
        Fault::DiskStall { process, .. } => format!("{}: disk stalls", name(process)),
        Fault::DiskFull { process, .. } => format!("{}: disk full", name(process)),
        Fault::BitRot { process, bits, .. } => format!("{}: {bits} bits rot", name(process)),
        Fault::TooManyOpenFiles { process, .. } => {
            format!("{}: too many open files", name(process))
        }
        Fault::Decay { process, .. } => format!("{}: a file decays", name(process)),
        Fault::CrashAtFailpoint { process, .. } => {
            format!("{}: crash at a failpoint", name(process))
        }
        Fault::KeepDisk { process } => format!("{}: image of the disk kept", name(process)),
        Fault::RestoreDisk { process, .. } => {
            format!("{}: image of the disk put back", name(process))
        }
        Fault::Starve { process, .. } => format!("{} starved", name(process)),
        Fault::HoldTask { process, task, .. } => format!("{}: task {task} held", name(process)),
    }
}

/// The written name of a variant, with spaces.
fn word(value: &impl serde::Serialize) -> String {
    let written = serde_json::to_value(value).ok();
    let word = written.as_ref().and_then(serde_json::Value::as_str);
    word.unwrap_or_default().replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_world::CrashKind;

    #[test]
    fn a_partition_concerns_the_side_that_is_cut_off_and_a_crash_says_how() {
        let names: Vec<String> = (1..=3).map(|number| format!("member-{number}")).collect();
        let partition = Fault::Partition {
            groups: vec![vec![ProcessId(2)], vec![ProcessId(0), ProcessId(1)]],
            duration_ms: None,
        };
        assert_eq!(processes(&partition), BTreeSet::from([2]));
        assert_eq!(
            describe(&partition, &names),
            "partition: member-3 | member-1, member-2"
        );
        let crash = Fault::Crash {
            process: ProcessId(0),
            kind: CrashKind::PowerLoss,
            restart_after_ms: None,
        };
        assert_eq!(describe(&crash, &names), "member-1: power loss");
        assert_eq!(class(&crash), "crash");
    }
}
