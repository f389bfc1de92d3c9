//! What may befall a member.

use clap::ValueEnum;

use super::partition::Cut;

/// What `--nemesis` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FaultWord {
    /// SIGKILL, and a start after a while
    Kill,
    /// SIGSTOP, and SIGCONT after a while
    Pause,
    /// SIGTERM, and a start after a while
    Restart,
    /// Packets between a member and others are lost for a while
    Partition,
    /// SIGTERM, and a start with other monotonic clocks
    Clock,
    /// disk-full and power-loss
    Disk,
    /// A member's disk has no room left for a while
    DiskFull,
    /// SIGKILL of one member or of all at once, and a start with what was synchronised
    PowerLoss,
}

impl FaultWord {
    /// The faults that it means.
    pub(crate) fn kinds(self) -> &'static [FaultKind] {
        match self {
            Self::Kill => &[FaultKind::Kill],
            Self::Pause => &[FaultKind::Pause],
            Self::Restart => &[FaultKind::Restart],
            Self::Partition => &[FaultKind::Partition],
            Self::Clock => &[FaultKind::Clock],
            Self::Disk => &[FaultKind::DiskFull, FaultKind::PowerLoss],
            Self::DiskFull => &[FaultKind::DiskFull],
            Self::PowerLoss => &[FaultKind::PowerLoss],
        }
    }
}

/// What may befall a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FaultKind {
    Kill,
    Pause,
    Restart,
    Partition,
    PowerLoss,
    DiskFull,
    Clock,
}

impl FaultKind {
    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::Partition => "partition",
            Self::PowerLoss => "power-loss",
            Self::DiskFull => "disk-full",
            Self::Clock => "clock",
        }
    }

    /// Whether it can only be had in namespaces of the benchmark's own.
    pub(crate) fn needs_isolation(self) -> bool {
        match self {
            Self::Kill | Self::Pause | Self::Restart => false,
            Self::Partition | Self::PowerLoss | Self::DiskFull | Self::Clock => true,
        }
    }
}

/// Whose power is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    One,
    /// That of all members at once. A majority is gone, but all that it has synchronised comes
    /// back with it.
    All,
}

/// A fault with all that was drawn for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    Pause,
    Restart,
    Partition(Cut),
    PowerLoss(Reach),
    DiskFull,
    Clock {
        /// How far its monotonic clocks are ahead of the machine's afterwards.
        ahead_seconds: u64,
    },
}

impl Fault {
    /// What it is one of.
    pub(crate) fn kind(self) -> FaultKind {
        match self {
            Self::Kill => FaultKind::Kill,
            Self::Pause => FaultKind::Pause,
            Self::Restart => FaultKind::Restart,
            Self::Partition(_) => FaultKind::Partition,
            Self::PowerLoss(_) => FaultKind::PowerLoss,
            Self::DiskFull => FaultKind::DiskFull,
            Self::Clock { .. } => FaultKind::Clock,
        }
    }

    /// Which one of its kind it is, for reports.
    pub(super) fn detail(self) -> Option<String> {
        match self {
            Self::Kill | Self::Pause | Self::Restart | Self::DiskFull => None,
            Self::Partition(cut) => Some(cut.to_string()),
            Self::PowerLoss(Reach::One) => None,
            Self::PowerLoss(Reach::All) => Some("all members at once".to_owned()),
            Self::Clock { ahead_seconds } => Some(format!("{ahead_seconds} s ahead")),
        }
    }
}
