//! Everything that can be done to the world on purpose.

use crate::disk::DiskFaults;
use crate::network::NetworkFaults;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The number of a process in its world, from 0 in the order of their addition. Process
/// `n` is a host of its own with one disk, one clock and the address `10.0.x.y`,
/// where `256 x + y = n + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub u32);

impl ProcessId {
    /// As an index into a list of all processes.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

/// The number of an injected fault in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(pub u64);

/// How a process is stopped from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrashKind {
    /// The machine loses power: the disk's crash rules decide what is left of what was
    /// not synchronised, and the peers hear nothing (half-open connections).
    #[default]
    PowerLoss,
    /// The same, and the peers are told by a reset (a switch that notices).
    PowerLossWithReset,
    /// The process is killed (SIGKILL) and its machine lives on: the page cache
    /// survives, and the connections are closed in an orderly way by the kernel.
    Kill,
}

/// A place in a process's doings at which it can be made to crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrashPoint {
    /// Before a write reaches the page cache.
    BeforeWrite,
    /// After a write reached the page cache.
    AfterWrite,
    /// Before a file is synchronised.
    BeforeSync,
    /// After a file was synchronised, before the caller knows.
    AfterSync,
    /// Before a rename.
    BeforeRename,
    /// After a rename, before the caller knows.
    AfterRename,
    /// Before a folder is synchronised.
    BeforeSyncDir,
    /// Before a unit is given to the network.
    BeforeSend,
    /// After a unit was given to the network.
    AfterSend,
}

/// Something that is done to the world. A fault with `duration_ms` ends by itself after
/// that much true time; without, it lasts until it is healed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Cuts every link between different groups, both ways. Processes in no group stay
    /// connected to everybody.
    Partition {
        /// The groups.
        groups: Vec<Vec<ProcessId>>,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Cuts one process off from all others, both ways.
    Isolate {
        /// Which.
        process: ProcessId,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Cuts the links from some processes to others; the way back stays open.
    OneWay {
        /// The senders.
        from: Vec<ProcessId>,
        /// The receivers.
        to: Vec<ProcessId>,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Two groups that reach each other only through `bridge`, which reaches all.
    Bridge {
        /// One side.
        left: Vec<ProcessId>,
        /// The process both sides reach.
        bridge: ProcessId,
        /// The other side.
        right: Vec<ProcessId>,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Each process of the ring reaches a majority of it, and no two the same one:
    /// itself and its neighbours on both sides.
    MajorityRing {
        /// The processes in the order of the ring.
        ring: Vec<ProcessId>,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Holds what some processes send to others; it arrives in a burst, in order, when
    /// the clog ends.
    Clog {
        /// The senders.
        from: Vec<ProcessId>,
        /// The receivers.
        to: Vec<ProcessId>,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Clogs all links of each process in turn, in a random order, and unclogs them in
    /// another (FoundationDB's "swizzle").
    Swizzle {
        /// The processes.
        processes: Vec<ProcessId>,
        /// From one clogging, or unclogging, to the next, in ms.
        interval_ms: u64,
    },
    /// Resets every connection between two processes.
    ResetConnections {
        /// One.
        a: ProcessId,
        /// The other.
        b: ProcessId,
    },
    /// Replaces the behaviour of the whole network.
    Network {
        /// By this.
        faults: NetworkFaults,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Replaces the behaviour of some links.
    Link {
        /// The senders.
        from: Vec<ProcessId>,
        /// The receivers.
        to: Vec<ProcessId>,
        /// By this.
        faults: NetworkFaults,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Stops a process without any warning.
    Crash {
        /// Which.
        process: ProcessId,
        /// How.
        #[serde(default)]
        kind: CrashKind,
        /// Start it again after so many ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_after_ms: Option<u64>,
    },
    /// Stops a process when it is at a certain place.
    CrashAt {
        /// Which.
        process: ProcessId,
        /// The place.
        point: CrashPoint,
        /// How often it passes that place before, from now.
        #[serde(default)]
        skip: u64,
        /// How.
        #[serde(default)]
        kind: CrashKind,
        /// Start it again after so many ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_after_ms: Option<u64>,
    },
    /// Stops a process when it comes by a place that its code has named
    /// (`veridical_probe::failpoint!`).
    CrashAtFailpoint {
        /// Which.
        process: ProcessId,
        /// The name of the place.
        name: String,
        /// How often it comes by before, from now.
        #[serde(default)]
        skip: u64,
        /// How.
        #[serde(default)]
        kind: CrashKind,
        /// Start it again after so many ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_after_ms: Option<u64>,
    },
    /// Starts a process that is not running.
    Restart {
        /// Which.
        process: ProcessId,
    },
    /// Empties the disk of a process. It is crashed first if it runs.
    WipeDisk {
        /// Which.
        process: ProcessId,
    },
    /// Keeps an image of what the disk of a process holds now, page cache and medium; it
    /// replaces an earlier one.
    KeepDisk {
        /// Whose.
        process: ProcessId,
    },
    /// Puts the kept image back onto the disk of a process, or nothing if none was kept
    /// (a backup restored, a virtual machine rolled back). The process is crashed first
    /// if it runs.
    RestoreDisk {
        /// Whose.
        process: ProcessId,
        /// Start it again after so many ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_after_ms: Option<u64>,
    },
    /// Pauses a process: time passes, sockets fill, timers fire late and together.
    Pause {
        /// Which.
        process: ProcessId,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Pauses a process and its monotonic clock; the wall clock goes on (a laptop's
    /// lid, a virtual machine's snapshot).
    Suspend {
        /// Which.
        process: ProcessId,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Lets a process run only now and then: a processor that others take, or a virtual
    /// machine without credit. It polls late, and its timers with it.
    Starve {
        /// Which.
        process: ProcessId,
        /// It runs for so long, in ms,
        run_ms: u64,
        /// and is stopped for so long, in ms, over and over.
        stop_ms: u64,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Lets the clocks of a process, and with them its timers, run at another rate.
    ClockDrift {
        /// Which.
        process: ProcessId,
        /// So many millionths faster than true time; more than −1,000,000.
        drift_ppm: i64,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Puts the wall clock of a process forward or back, once.
    ClockJump {
        /// Which.
        process: ProcessId,
        /// By how much, in ms.
        jump_ms: i64,
    },
    /// Lets the wall clock of a process jump forth and back all the time.
    ClockStrobe {
        /// Which.
        process: ProcessId,
        /// By how much, in ms.
        amplitude_ms: u64,
        /// From one jump to the next, in ms.
        period_ms: u64,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Replaces the behaviour of a disk.
    Disk {
        /// Whose.
        process: ProcessId,
        /// By this.
        faults: DiskFaults,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// No operation of a disk completes for a while.
    DiskStall {
        /// Whose.
        process: ProcessId,
        /// How long, in ms.
        duration_ms: u64,
    },
    /// Limits the capacity of a disk to what it holds now and a little more (ENOSPC).
    DiskFull {
        /// Whose.
        process: ProcessId,
        /// How many bytes are left.
        #[serde(default)]
        free_bytes: u64,
        /// How long, in ms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Flips bits in files at rest; they stay flipped until overwritten. Scenario only.
    BitRot {
        /// Whose disk.
        process: ProcessId,
        /// How many bits.
        bits: u32,
        /// Only in files whose name ends so; in all if empty.
        #[serde(default)]
        file_suffix: String,
    },
}

impl Fault {
    /// The name of its kind: the key of its counter.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Partition { .. } => "fault.partition",
            Self::Isolate { .. } => "fault.isolate",
            Self::OneWay { .. } => "fault.one_way",
            Self::Bridge { .. } => "fault.bridge",
            Self::MajorityRing { .. } => "fault.majority_ring",
            Self::Clog { .. } => "fault.clog",
            Self::Swizzle { .. } => "fault.swizzle",
            Self::ResetConnections { .. } => "fault.reset_connections",
            Self::Network { .. } => "fault.network",
            Self::Link { .. } => "fault.link",
            Self::Crash { .. } => "fault.crash",
            Self::CrashAt { .. } => "fault.crash_at",
            Self::CrashAtFailpoint { .. } => "fault.crash_at_failpoint",
            Self::Restart { .. } => "fault.restart",
            Self::WipeDisk { .. } => "fault.wipe_disk",
            Self::KeepDisk { .. } => "fault.keep_disk",
            Self::RestoreDisk { .. } => "fault.restore_disk",
            Self::Pause { .. } => "fault.pause",
            Self::Suspend { .. } => "fault.suspend",
            Self::Starve { .. } => "fault.starve",
            Self::ClockDrift { .. } => "fault.clock_drift",
            Self::ClockJump { .. } => "fault.clock_jump",
            Self::ClockStrobe { .. } => "fault.clock_strobe",
            Self::Disk { .. } => "fault.disk",
            Self::DiskStall { .. } => "fault.disk_stall",
            Self::DiskFull { .. } => "fault.disk_full",
            Self::BitRot { .. } => "fault.bit_rot",
        }
    }

    /// After how many ms the fault ends by itself, if it does.
    pub const fn duration_ms(&self) -> Option<u64> {
        match self {
            Self::Partition { duration_ms, .. }
            | Self::Isolate { duration_ms, .. }
            | Self::OneWay { duration_ms, .. }
            | Self::Bridge { duration_ms, .. }
            | Self::MajorityRing { duration_ms, .. }
            | Self::Clog { duration_ms, .. }
            | Self::Network { duration_ms, .. }
            | Self::Link { duration_ms, .. }
            | Self::Pause { duration_ms, .. }
            | Self::Suspend { duration_ms, .. }
            | Self::Starve { duration_ms, .. }
            | Self::ClockDrift { duration_ms, .. }
            | Self::ClockStrobe { duration_ms, .. }
            | Self::Disk { duration_ms, .. }
            | Self::DiskFull { duration_ms, .. } => *duration_ms,
            Self::DiskStall { duration_ms, .. } => Some(*duration_ms),
            Self::Swizzle { .. }
            | Self::ResetConnections { .. }
            | Self::Crash { .. }
            | Self::CrashAt { .. }
            | Self::CrashAtFailpoint { .. }
            | Self::Restart { .. }
            | Self::WipeDisk { .. }
            | Self::KeepDisk { .. }
            | Self::RestoreDisk { .. }
            | Self::ClockJump { .. }
            | Self::BitRot { .. } => None,
        }
    }
}

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
            | Self::ClockDrift { process, .. }
            | Self::ClockJump { process, .. }
            | Self::ClockStrobe { process, .. }
            | Self::Disk { process, .. }
            | Self::DiskStall { process, .. }
            | Self::DiskFull { process, .. }
            | Self::BitRot { process, .. } => *process = number(*process)?,
        }
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_its_written_form() {
        let faults = [
            Fault::Partition {
                groups: vec![vec![ProcessId(0)], vec![ProcessId(1), ProcessId(2)]],
                duration_ms: Some(500),
            },
            Fault::Crash {
                process: ProcessId(1),
                kind: CrashKind::Kill,
                restart_after_ms: None,
            },
            Fault::Disk {
                process: ProcessId(2),
                faults: DiskFaults::none(),
                duration_ms: None,
            },
            Fault::ClockDrift {
                process: ProcessId(0),
                drift_ppm: -500,
                duration_ms: Some(1),
            },
        ];
        for fault in faults {
            let text = serde_json::to_string(&fault).expect("a fault can be written");
            assert_eq!(
                serde_json::from_str::<Fault>(&text).expect("and read"),
                fault,
                "{text}"
            );
        }
    }

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
    fn a_short_form_is_enough() {
        let fault: Fault = serde_json::from_str(r#"{"fault":"crash","process":1}"#)
            .expect("defaults fill the rest");
        assert_eq!(
            fault,
            Fault::Crash {
                process: ProcessId(1),
                kind: CrashKind::PowerLoss,
                restart_after_ms: None
            }
        );
        assert!(serde_json::from_str::<Fault>(r#"{"fault":"crash","proces":1}"#).is_err());
    }
}
