//! What may befall a member.

use clap::ValueEnum;

use super::partition::Cut;

/// What may befall a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum FaultKind {
    /// SIGKILL, and a start after a while
    Kill,
    /// SIGSTOP, and SIGCONT after a while
    Pause,
    /// SIGTERM, and a start after a while
    Restart,
    /// Packets between the member and others are lost for a while
    Partition,
}

impl FaultKind {
    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::Partition => "partition",
        }
    }

    /// Whether it can only be had in namespaces of the benchmark's own.
    pub(crate) fn needs_isolation(self) -> bool {
        match self {
            Self::Kill | Self::Pause | Self::Restart => false,
            Self::Partition => true,
        }
    }
}

/// A fault with all that was drawn for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    Pause,
    Restart,
    Partition(Cut),
}

impl Fault {
    /// What it is one of.
    pub(crate) fn kind(self) -> FaultKind {
        match self {
            Self::Kill => FaultKind::Kill,
            Self::Pause => FaultKind::Pause,
            Self::Restart => FaultKind::Restart,
            Self::Partition(_) => FaultKind::Partition,
        }
    }

    /// Which one of its kind it is, for reports.
    pub(super) fn detail(self) -> Option<String> {
        match self {
            Self::Kill | Self::Pause | Self::Restart => None,
            Self::Partition(cut) => Some(cut.to_string()),
        }
    }
}
