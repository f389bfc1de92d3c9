//! Consensus: the task that owns Raft, and the task that makes its records durable.

pub(crate) mod driver;
pub(crate) mod log_writer;
