//! The flags for members that the benchmark starts itself.

use clap::Args;

use super::isolation::Isolation;
use super::program::ProgramKind;
use crate::nemesis::{FaultKind, FaultWord};

/// Most members; etcd's documentation advises against more than seven.
const MEMBERS_MAX: i64 = 9;

/// The flags for members that the benchmark starts itself.
#[derive(Args, Clone, Debug)]
pub(crate) struct LocalClusterFlags {
    /// Start so many members in a temporary folder (see TMPDIR), measure them, and remove
    /// them again
    #[arg(
        long,
        value_name = "MEMBERS",
        conflicts_with = "endpoints",
        value_parser = clap::value_parser!(u8).range(1..=MEMBERS_MAX)
    )]
    local_cluster: Option<u8>,

    /// What these members run; of several programs (comma-separated) each is measured in its
    /// turn, with members of its own
    #[arg(
        long,
        value_name = "PROGRAMS",
        value_delimiter = ',',
        default_value = "veridical",
        requires = "local_cluster"
    )]
    pub(crate) program: Vec<ProgramKind>,

    /// What befalls these members while it is measured (comma-separated), by --seed and never
    /// more than a minority at once, but for a loss of all power
    #[arg(
        long,
        value_name = "FAULTS",
        value_delimiter = ',',
        requires = "local_cluster"
    )]
    pub(crate) nemesis: Vec<FaultWord>,

    /// Where the benchmark runs, as far as `nemesis` needs to know.
    #[arg(skip)]
    pub(crate) isolation: Isolation,
}

impl LocalClusterFlags {
    /// How many members are to be started, if any.
    pub(crate) fn members(&self) -> Option<usize> {
        self.local_cluster.map(usize::from)
    }

    /// The faults that are asked for, each once.
    pub(crate) fn faults(&self) -> Vec<FaultKind> {
        let words = self.nemesis.iter();
        let mut kinds: Vec<_> = words.flat_map(|word| word.kinds()).copied().collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// Goes where the faults can be had that are asked for: see [`Isolation::enter`].
    pub(crate) fn enter_isolation(&mut self) {
        self.isolation = Isolation::enter(&self.faults());
    }
}
