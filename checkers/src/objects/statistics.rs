//! Counts of a checker of objects.

use serde::{Deserialize, Serialize};

/// Counts of an [`super::ObjectChecker`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectStatistics {
    /// Events taken in.
    pub events: u64,
    /// Operations that returned with a known outcome.
    pub operations: u64,
    /// Operations whose outcome stayed unknown.
    pub unknown_outcomes: u64,
    /// Operations that engine A judged.
    pub frontier_operations: u64,
    /// Operations that engine B judged.
    pub zones_operations: u64,
    /// Operations that engine D judged.
    #[serde(default)]
    pub collection_operations: u64,
    /// Operations that engine E judged.
    #[serde(default)]
    pub graph_operations: u64,
    /// How often a key went from engine B or D to engine A.
    pub handovers: u64,
    /// The most configurations of engine A for one key.
    pub configurations_max: usize,
    /// The most clusters of engine B, or values of engine D, for one key.
    pub clusters_max: usize,
    /// Keys in use, undecided, or ready to be used again.
    pub active_keys: usize,
    /// Keys that are packed: they hold something else than their initial value, and
    /// nothing is open.
    pub idle_keys: usize,
}

impl ObjectStatistics {
    /// The counts of two checkers that judged different keys.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            operations: self.operations + other.operations,
            unknown_outcomes: self.unknown_outcomes + other.unknown_outcomes,
            frontier_operations: self.frontier_operations + other.frontier_operations,
            zones_operations: self.zones_operations + other.zones_operations,
            collection_operations: self.collection_operations + other.collection_operations,
            graph_operations: self.graph_operations + other.graph_operations,
            handovers: self.handovers + other.handovers,
            configurations_max: self.configurations_max.max(other.configurations_max),
            clusters_max: self.clusters_max.max(other.clusters_max),
            active_keys: self.active_keys + other.active_keys,
            idle_keys: self.idle_keys + other.idle_keys,
        }
    }
}
