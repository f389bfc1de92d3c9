//! Snapshot files: this member's own, and the transfers from and to other members.

pub(crate) mod task;
