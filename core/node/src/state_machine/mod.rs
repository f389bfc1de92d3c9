//! The replicated state: the task that applies committed entries, and the task that keeps
//! a durable copy of the state in an engine.

pub(crate) mod applier;
pub(crate) mod engine_writer;
