//! The replicated state: `applier` is the task that applies committed entries, and
//! `engine_writer` the task that keeps a durable copy of the state in an engine.

pub(crate) mod applier;
pub(crate) mod engine_content;
pub(crate) mod engine_writer;
pub(crate) mod job;
