//! When a member that begins to lead takes over the timing of leases.

use std::time::Duration;
use veridical_env::Environment;
use veridical_raft::{Raft, Role};
use veridical_store::StoreReader;

use crate::handles::Handles;
use crate::leases::lessor::Lessor;

/// Starts and stops the lessor as Raft's role says.
pub(crate) struct LeaseHandover {
    lessor: Lessor,
    reader: StoreReader,
    /// The first index of this member's own term, while it leads and does not yet time
    /// the leases.
    promote_at: Option<u64>,
}

impl LeaseHandover {
    pub(crate) fn new<E: Environment>(handles: &Handles<E>) -> Self {
        Self {
            lessor: handles.lessor.clone(),
            reader: handles.reader.clone(),
            promote_at: None,
        }
    }

    /// Follows a change of the role: nobody times the leases until the state of all
    /// earlier terms is applied.
    pub(crate) fn role_changed(&mut self, raft: &Raft, leads: bool, now: Duration) {
        self.lessor.demote(now);
        // The last entry is the one with which the term began; everything of earlier terms
        // lies before it.
        self.promote_at = leads.then(|| raft.last_index());
    }

    /// Everything up to `index` is applied and visible to readers.
    pub(crate) fn applied(&mut self, raft: &Raft, index: u64, now: Duration) {
        if let Some(promote_at) = self.promote_at
            && index >= promote_at
        {
            assert!(
                raft.role() == Role::Leader,
                "leases are timed by the leader alone, this member is {:?} of term {}",
                raft.role(),
                raft.term()
            );
            self.promote_at = None;
            self.lessor.promote(raft.term(), now, &self.reader);
        }
    }

    /// Stops timing, because the member stops.
    pub(crate) fn stop(&self, now: Duration) {
        self.lessor.demote(now);
    }
}
