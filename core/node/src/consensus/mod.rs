//! Consensus: `driver` is the task that owns Raft, `log_writer` the task that makes its
//! records durable, and `log_queue` lies between the two.

pub(crate) mod driver;
pub(crate) mod log_queue;
pub(crate) mod log_writer;
