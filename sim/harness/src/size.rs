//! How big a plan is, and how small one has to be.

use serde::Serialize;
use std::fmt;

/// A failure of no more operations and faults than these can be looked through.
pub const OPERATIONS_GOAL: usize = 10;
/// See [`OPERATIONS_GOAL`].
pub const FAULTS_GOAL: usize = 3;

/// How big a plan is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Operations of clients.
    pub operations: usize,
    /// What is done to the system: faults, and whatever else counts like one.
    pub faults: usize,
    /// What else there is, by name, in the order in which it is told.
    #[serde(serialize_with = "as_map")]
    pub others: Vec<(&'static str, usize)>,
    /// When the failure showed, in ms of simulated time.
    pub failed_at_ms: u64,
}

fn as_map<S: serde::Serializer>(
    others: &[(&'static str, usize)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(others.iter().copied())
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} operations, {} faults", self.operations, self.faults)?;
        for (name, count) in &self.others {
            write!(f, ", {count} {name}")?;
        }
        write!(f, ", {} ms", self.failed_at_ms)
    }
}
