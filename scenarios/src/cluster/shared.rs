//! What the parts of a cluster share: the state of its sites, and who leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use veridical_node::{DataFormat, Node, NodeConfig};
use veridical_storage::engine::MemoryEngine;
use veridical_world::SimEnvironment;

use crate::cluster::seen::Seen;

/// What a site has.
pub(super) struct Site {
    /// The member that runs here, if any.
    pub config: Option<NodeConfig>,
    /// Its engine, if members have one.
    pub engine: Option<MemoryEngine>,
    /// The version of the data formats that is written here.
    pub format: DataFormat,
    /// The member was asked to stop.
    pub stop_asked: bool,
    /// Whether the disk may hold something of a member.
    pub is_used: bool,
}

impl Site {
    /// What the member is started with.
    pub fn config(&self) -> Option<NodeConfig> {
        let mut config = self.config.clone()?;
        config.data_format = self.format;
        Some(config)
    }
}

/// Everything about the members that changes.
pub(super) struct Shared {
    pub sites: Vec<Site>,
    /// By site.
    pub nodes: BTreeMap<u32, Node<SimEnvironment>>,
    /// Members that somebody asked to be removed.
    pub removals: BTreeSet<u64>,
    pub seen: Seen,
}

/// A member has become leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Election {
    /// Of this term.
    pub term: u64,
    /// The site of this member.
    pub leader: u32,
}

/// What is known of the members, locked.
pub(super) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared
        .lock()
        .expect("no panic while what is known of the members is locked")
}
