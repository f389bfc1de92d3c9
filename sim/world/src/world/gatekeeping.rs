//! Sees to it that each task that a gated task starts gets a gate.

use super::kernel::Kernel;
use std::rc::Rc;
use std::sync::Arc;
use veridical_env::task::{Task, set_gatekeeper};

/// Puts a gate in front of each task that a gated task starts, until dropped.
pub(super) struct Gatekeeping;

impl Gatekeeping {
    /// Begins, if the world has gates.
    pub(super) fn begin(kernel: &Arc<Kernel>) -> Self {
        let has_gates = kernel.gates.is_some();
        let kernel = Arc::downgrade(kernel);
        let gated = move |task: Task| -> Task {
            let Some(kernel) = kernel.upgrade() else {
                return task;
            };
            let process = kernel.gates.as_ref().and_then(|gates| gates.process_here());
            let Some(process) = process else {
                return task;
            };
            match kernel.gated(process, task) {
                Ok(gated) => Box::pin(gated),
                Err(task) => task,
            }
        };
        if has_gates {
            set_gatekeeper(Some(Rc::new(gated)));
        }
        Self
    }
}

impl Drop for Gatekeeping {
    fn drop(&mut self) {
        set_gatekeeper(None);
    }
}
