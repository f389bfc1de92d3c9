//! Proposals: commands of clients from their naming to their answer.
//!
//! `proposer` is the caller's end, `dispatcher` the driver's; `table` holds what waits
//! between them; `unapplied_commands` keeps a leader from appending a command twice.

pub(crate) mod dispatcher;
pub(crate) mod proposer;
pub(crate) mod table;
mod unapplied_commands;
