//! Everything that can be done to the world on purpose.

mod conditions;
mod processes;

use crate::disk::{Damage, DiskFaults};
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

/// A process was named that the world does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownProcess {
    /// The number that was named.
    pub process: ProcessId,
    /// How many processes the world has, numbered from 0.
    pub processes: usize,
}

impl fmt::Display for UnknownProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = self.process;
        match self.processes {
            0 => write!(f, "there is no process {process}: the world has none"),
            1 => write!(f, "there is no process {process}: the world has only p0"),
            count => write!(
                f,
                "there is no process {process}: the world has {count}, p0 to p{}",
                count - 1
            ),
        }
    }
}

impl std::error::Error for UnknownProcess {}

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

/// An operation of a process before or after which it can be made to crash.
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
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Cuts one process off from all others, both ways.
    Isolate {
        /// The process.
        process: ProcessId,
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Cuts the links from some processes to others; the way back stays open.
    OneWay {
        /// The senders.
        from: Vec<ProcessId>,
        /// The receivers.
        to: Vec<ProcessId>,
        /// How long it lasts, in ms; until it is healed if not given.
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
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Each process of the ring reaches itself and its neighbours on both sides. In a ring of
    /// 4, 5, 8 or 9 that is a majority, and no two processes reach the same one; in one of 6 or
    /// 7 it is one process less, and in one of 3 nobody reaches anybody.
    MajorityRing {
        /// The processes in the order of the ring.
        ring: Vec<ProcessId>,
        /// How long it lasts, in ms; until it is healed if not given.
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
        /// How long it lasts, in ms; until it is healed if not given.
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
        /// One of the two processes.
        a: ProcessId,
        /// The other one.
        b: ProcessId,
    },
    /// Replaces the behaviour of the whole network.
    Network {
        /// The behaviour that replaces the usual one.
        faults: NetworkFaults,
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Replaces the behaviour of some links.
    Link {
        /// The senders.
        from: Vec<ProcessId>,
        /// The receivers.
        to: Vec<ProcessId>,
        /// The behaviour that replaces the usual one.
        faults: NetworkFaults,
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Stops a process without any warning.
    Crash {
        /// The process.
        process: ProcessId,
        /// How it is stopped.
        #[serde(default)]
        kind: CrashKind,
        /// After how many ms it is started again, if it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_after_ms: Option<u64>,
    },
    /// Stops a process when it comes to a certain operation.
    CrashAt {
        /// The process.
        process: ProcessId,
        /// The operation.
        point: CrashPoint,
        /// How often it passes that operation before, from now.
        #[serde(default)]
        skip: u64,
        /// How it is stopped.
        #[serde(default)]
        kind: CrashKind,
        /// After how many ms it is started again, if it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_after_ms: Option<u64>,
    },
    /// Stops a process when it passes a failpoint that its code has named
    /// (`veridical_probe::failpoint!`).
    CrashAtFailpoint {
        /// The process.
        process: ProcessId,
        /// The name of the failpoint.
        name: String,
        /// How often it passes the failpoint before, from now.
        #[serde(default)]
        skip: u64,
        /// How it is stopped.
        #[serde(default)]
        kind: CrashKind,
        /// After how many ms it is started again, if it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_after_ms: Option<u64>,
    },
    /// Starts a process that is not running.
    Restart {
        /// The process.
        process: ProcessId,
    },
    /// Empties the disk of a process. It is crashed first if it runs.
    WipeDisk {
        /// The process.
        process: ProcessId,
    },
    /// Keeps an image of what the disk of a process holds now, page cache and medium; it
    /// replaces an earlier one.
    KeepDisk {
        /// The process whose disk or clock it is.
        process: ProcessId,
    },
    /// Puts the kept image back onto the disk of a process, or nothing if none was kept
    /// (a backup restored, a virtual machine rolled back). The process is crashed first
    /// if it runs.
    RestoreDisk {
        /// The process whose disk or clock it is.
        process: ProcessId,
        /// After how many ms it is started again, if it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart_after_ms: Option<u64>,
    },
    /// Pauses a process: time passes, sockets fill, timers fire late and together.
    Pause {
        /// The process.
        process: ProcessId,
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Pauses a process and its monotonic clock; the wall clock goes on (a laptop's
    /// lid, a virtual machine's snapshot).
    Suspend {
        /// The process.
        process: ProcessId,
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Lets a process run only now and then: a processor that others take, or a virtual
    /// machine without credit. It polls late, and its timers with it.
    Starve {
        /// The process.
        process: ProcessId,
        /// It runs for so long, in ms,
        run_ms: u64,
        /// and is stopped for so long, in ms, over and over.
        stop_ms: u64,
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Gives one task of a process no time, while its others go on: a thread that its machine
    /// has put aside. What is between two steps of a process for no time otherwise lasts then.
    HoldTask {
        /// The process.
        process: ProcessId,
        /// Which of its tasks: its number from 0 among those that there are when the fault
        /// begins, in the order in which they were made, counted round. The first is the
        /// program of the process itself.
        task: u32,
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Lets the clocks of a process, and with them its timers, run at another rate.
    ClockDrift {
        /// The process.
        process: ProcessId,
        /// So many millionths faster than true time; more than −1,000,000.
        drift_ppm: i64,
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Puts the wall clock of a process forward or back, once.
    ClockJump {
        /// The process.
        process: ProcessId,
        /// By how much it jumps, in ms.
        jump_ms: i64,
    },
    /// Lets the wall clock of a process jump forth and back all the time.
    ClockStrobe {
        /// The process.
        process: ProcessId,
        /// By how much it jumps, in ms.
        amplitude_ms: u64,
        /// From one jump to the next, in ms.
        period_ms: u64,
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Replaces the behaviour of a disk.
    Disk {
        /// The process whose disk or clock it is.
        process: ProcessId,
        /// The behaviour that replaces the usual one.
        faults: DiskFaults,
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// No operation of a disk completes for a while.
    DiskStall {
        /// The process whose disk or clock it is.
        process: ProcessId,
        /// How long it lasts, in ms; until it is healed if not given.
        duration_ms: u64,
    },
    /// Limits the capacity of a disk to what it holds now and a little more (ENOSPC).
    DiskFull {
        /// The process whose disk or clock it is.
        process: ProcessId,
        /// How many bytes are left.
        #[serde(default)]
        free_bytes: u64,
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Limits how many files and connections a process may have open to what it has now and a few
    /// more (EMFILE). What is open stays so.
    TooManyOpenFiles {
        /// The process.
        process: ProcessId,
        /// How many more it may open.
        #[serde(default)]
        spare: u32,
        /// How long it lasts, in ms; until it is healed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// Flips bits in files at rest; they stay flipped until overwritten. Scenario only.
    BitRot {
        /// The process whose disk it is.
        process: ProcessId,
        /// How many bits are flipped.
        bits: u32,
        /// Only files whose names end so decay; all files if it is empty.
        #[serde(default)]
        file_suffix: String,
    },
    /// Damages a file at rest: a byte, or a range; it stays so until overwritten. Scenario
    /// only.
    Decay {
        /// The process whose disk it is.
        process: ProcessId,
        /// How it is damaged.
        damage: Damage,
        /// Only files whose names end so decay; all files if it is empty.
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
            Self::HoldTask { .. } => "fault.hold_task",
            Self::ClockDrift { .. } => "fault.clock_drift",
            Self::ClockJump { .. } => "fault.clock_jump",
            Self::ClockStrobe { .. } => "fault.clock_strobe",
            Self::Disk { .. } => "fault.disk",
            Self::DiskStall { .. } => "fault.disk_stall",
            Self::DiskFull { .. } => "fault.disk_full",
            Self::TooManyOpenFiles { .. } => "fault.too_many_open_files",
            Self::BitRot { .. } => "fault.bit_rot",
            Self::Decay { .. } => "fault.decay",
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
            | Self::HoldTask { duration_ms, .. }
            | Self::ClockDrift { duration_ms, .. }
            | Self::ClockStrobe { duration_ms, .. }
            | Self::Disk { duration_ms, .. }
            | Self::DiskFull { duration_ms, .. }
            | Self::TooManyOpenFiles { duration_ms, .. } => *duration_ms,
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
            | Self::BitRot { .. }
            | Self::Decay { .. } => None,
        }
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
