//! Consensus: `driver` is the task that owns Raft, `log_writer` the task that makes its
//! records durable, and `log_queue` lies between the two; `fill_pace` says how far ahead the
//! log is filled with zeros.

pub(crate) mod driver;
mod fill_pace;
pub(crate) mod log_queue;
pub(crate) mod log_writer;
