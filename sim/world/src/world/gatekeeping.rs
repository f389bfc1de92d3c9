//! Sees to it that each task that a gated task starts gets a gate.

use super::kernel::Kernel;
use std::rc::Rc;
use std::sync::Arc;
use veridical_env::task::{Task, set_gatekeeper};

/// Puts a gate in front of each task that a gated task starts, until dropped.
pub(super) struct Gatekeeping;

impl Gatekeeping {
    /// Begins.
    pub(super) fn begin(kernel: &Arc<Kernel>) -> Self {
        let kernel = Arc::downgrade(kernel);
        let gated = move |task: Task| -> Task {
            let Some(kernel) = kernel.upgrade() else {
                return task;
            };
            match kernel.gates.process_here() {
                Some(process) => Box::pin(kernel.gated(process, task)),
                None => task,
            }
        };
        set_gatekeeper(Some(Rc::new(gated)));
        Self
    }
}

impl Drop for Gatekeeping {
    fn drop(&mut self) {
        set_gatekeeper(None);
    }
}
