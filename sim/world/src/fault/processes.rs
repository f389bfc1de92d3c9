//! The processes that a fault names.

use super::{Fault, ProcessId};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Gives the processes of a list other numbers; leaves those out that have none.
fn renumber_all(processes: &mut Vec<ProcessId>, number: &impl Fn(ProcessId) -> Option<ProcessId>) {
    *processes = processes.iter().filter_map(|id| number(*id)).collect();
}

impl Fault {
    /// The same fault in a world whose processes have other numbers, or are missing
    /// (`None`); nothing if it concerned those alone.
    #[must_use]
    pub fn renumbered(mut self, number: impl Fn(ProcessId) -> Option<ProcessId>) -> Option<Self> {
        match &mut self {
            Self::Partition { groups, .. } => {
                for group in groups.iter_mut() {
                    renumber_all(group, &number);
                }
                groups.retain(|group| !group.is_empty());
                if groups.is_empty() {
                    return None;
                }
            }
            Self::OneWay { from, to, .. }
            | Self::Clog { from, to, .. }
            | Self::Link { from, to, .. } => {
                renumber_all(from, &number);
                renumber_all(to, &number);
                if from.is_empty() || to.is_empty() {
                    return None;
                }
            }
            Self::Bridge {
                left,
                bridge,
                right,
                ..
            } => {
                *bridge = number(*bridge)?;
                renumber_all(left, &number);
                renumber_all(right, &number);
                if left.is_empty() || right.is_empty() {
                    return None;
                }
            }
            Self::MajorityRing { ring: list, .. }
            | Self::Swizzle {
                processes: list, ..
            } => {
                renumber_all(list, &number);
                if list.is_empty() {
                    return None;
                }
            }
            Self::ResetConnections { a, b } => {
                *a = number(*a)?;
                *b = number(*b)?;
            }
            Self::Network { .. } => {}
            Self::Isolate { process, .. }
            | Self::Crash { process, .. }
            | Self::CrashAt { process, .. }
            | Self::CrashAtFailpoint { process, .. }
            | Self::Restart { process }
            | Self::WipeDisk { process }
            | Self::KeepDisk { process }
            | Self::RestoreDisk { process, .. }
            | Self::Pause { process, .. }
            | Self::Suspend { process, .. }
            | Self::Starve { process, .. }
            | Self::HoldTask { process, .. }
            | Self::ClockDrift { process, .. }
            | Self::ClockJump { process, .. }
            | Self::ClockStrobe { process, .. }
            | Self::Disk { process, .. }
            | Self::DiskStall { process, .. }
            | Self::DiskFull { process, .. }
            | Self::TooManyOpenFiles { process, .. }
            | Self::BitRot { process, .. }
            | Self::Decay { process, .. } => *process = number(*process)?,
        }
        Some(self)
    }

    /// All processes that the fault names.
    #[must_use]
    pub fn processes(&self) -> BTreeSet<ProcessId> {
        let named = RefCell::new(BTreeSet::new());
        // Whoever gives each process its own number sees all of them.
        let _ = self.clone().renumbered(|id| {
            named.borrow_mut().insert(id);
            Some(id)
        });
        named.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_follows_its_processes_and_ends_with_the_last_of_them() {
        let without_3 = |id: ProcessId| match id.0 {
            3 => None,
            above if above > 3 => Some(ProcessId(above - 1)),
            _ => Some(id),
        };
        let cut = Fault::Partition {
            groups: vec![vec![ProcessId(3)], vec![ProcessId(1), ProcessId(4)]],
            duration_ms: None,
        };
        assert_eq!(
            cut.renumbered(without_3),
            Some(Fault::Partition {
                groups: vec![vec![ProcessId(1), ProcessId(3)]],
                duration_ms: None,
            })
        );
        let crash = |process| Fault::Restart {
            process: ProcessId(process),
        };
        assert_eq!(crash(3).renumbered(without_3), None);
        assert_eq!(crash(5).renumbered(without_3), Some(crash(4)));
    }

    #[test]
    fn a_fault_knows_the_processes_of_all_its_lists() {
        let p = ProcessId;
        let bridge = Fault::Bridge {
            left: vec![p(4)],
            bridge: p(2),
            right: vec![p(0), p(4)],
            duration_ms: None,
        };
        assert_eq!(bridge.processes(), BTreeSet::from([p(0), p(2), p(4)]));
        let nobody = Fault::Clog {
            from: Vec::new(),
            to: vec![p(3)],
            duration_ms: None,
        };
        assert_eq!(nobody.processes(), BTreeSet::from([p(3)]));
    }
}
