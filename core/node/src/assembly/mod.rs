//! The start of a member: `recovery` reads what its data folder holds, `channels` are the
//! queues between its tasks, `start` starts them.

mod channels;
pub(crate) mod error;
mod recovery;
pub(crate) mod start;
