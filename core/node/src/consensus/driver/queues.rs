//! How full the queues around the driver are.

use tokio::sync::mpsc;
use veridical_env::Environment;
use veridical_probe::queue;

use super::{Driver, MEMBERSHIP_CHANGES_MAX};

impl<E: Environment> Driver<E> {
    /// Says how full the queues of this member are.
    pub(super) fn note_queues(&self) {
        let limits = &self.limits;
        let inputs = &self.inputs;
        queue!(
            "node.inbox",
            inputs.inbound.len(),
            limits.max_inbox_messages
        );
        queue!(
            "node.requests",
            inputs.requests.len(),
            limits.max_pending_requests
        );
        queue!(
            "node.snapshot-events",
            inputs.snapshot_events.len(),
            inputs.snapshot_events.max_capacity()
        );
        let outputs = &self.outputs;
        queue!(
            "node.disk-jobs",
            waiting(&outputs.disk),
            limits.max_disk_jobs
        );
        queue!(
            "node.apply-batches",
            waiting(&outputs.apply),
            limits.max_apply_batches
        );
        queue!(
            "node.snapshot-jobs",
            waiting(&outputs.snapshots),
            outputs.snapshots.max_capacity()
        );
        queue!(
            "node.lease-frames",
            waiting(&outputs.lease_frames),
            outputs.lease_frames.max_capacity()
        );
        queue!(
            "node.membership-changes",
            self.turn.changes.len(),
            MEMBERSHIP_CHANGES_MAX
        );
    }
}

/// What a channel holds.
fn waiting<T>(sender: &mpsc::Sender<T>) -> usize {
    sender.max_capacity() - sender.capacity()
}
