//! Snapshot files: `task` writes this member's own, sends and receives them (`transfer`),
//! `coordinator` decides for the driver, `job` is what the two say to each other.

pub(crate) mod coordinator;
pub(crate) mod job;
pub(crate) mod task;
mod transfer;
