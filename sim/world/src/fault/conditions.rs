//! What scenarios change in faults that another one has drawn: how a process crashes, and
//! how a disk behaves.

use super::{CrashKind, Fault};
use crate::disk::DiskFaults;

impl Fault {
    /// How the process crashes, if the fault says so.
    pub fn crash_kind_mut(&mut self) -> Option<&mut CrashKind> {
        match self {
            Self::Crash { kind, .. }
            | Self::CrashAt { kind, .. }
            | Self::CrashAtFailpoint { kind, .. } => Some(kind),
            Self::Partition { .. }
            | Self::Isolate { .. }
            | Self::OneWay { .. }
            | Self::Bridge { .. }
            | Self::MajorityRing { .. }
            | Self::Clog { .. }
            | Self::Swizzle { .. }
            | Self::ResetConnections { .. }
            | Self::Network { .. }
            | Self::Link { .. }
            | Self::Restart { .. }
            | Self::WipeDisk { .. }
            | Self::KeepDisk { .. }
            | Self::RestoreDisk { .. }
            | Self::Pause { .. }
            | Self::Suspend { .. }
            | Self::Starve { .. }
            | Self::HoldTask { .. }
            | Self::ClockDrift { .. }
            | Self::ClockJump { .. }
            | Self::ClockStrobe { .. }
            | Self::Disk { .. }
            | Self::DiskStall { .. }
            | Self::DiskFull { .. }
            | Self::TooManyOpenFiles { .. }
            | Self::BitRot { .. }
            | Self::Decay { .. } => None,
        }
    }

    /// How a disk behaves while the fault lasts, if the fault says so.
    pub fn disk_faults_mut(&mut self) -> Option<&mut DiskFaults> {
        match self {
            Self::Disk { faults, .. } => Some(faults),
            Self::Partition { .. }
            | Self::Isolate { .. }
            | Self::OneWay { .. }
            | Self::Bridge { .. }
            | Self::MajorityRing { .. }
            | Self::Clog { .. }
            | Self::Swizzle { .. }
            | Self::ResetConnections { .. }
            | Self::Network { .. }
            | Self::Link { .. }
            | Self::Crash { .. }
            | Self::CrashAt { .. }
            | Self::CrashAtFailpoint { .. }
            | Self::Restart { .. }
            | Self::WipeDisk { .. }
            | Self::KeepDisk { .. }
            | Self::RestoreDisk { .. }
            | Self::Pause { .. }
            | Self::Suspend { .. }
            | Self::Starve { .. }
            | Self::HoldTask { .. }
            | Self::ClockDrift { .. }
            | Self::ClockJump { .. }
            | Self::ClockStrobe { .. }
            | Self::DiskStall { .. }
            | Self::DiskFull { .. }
            | Self::TooManyOpenFiles { .. }
            | Self::BitRot { .. }
            | Self::Decay { .. } => None,
        }
    }
}
