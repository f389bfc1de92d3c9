//! The start of a member: `recovery` reads what its data folder holds, `channels` are the
//! queues between its tasks, `start` starts them; `lone_member` has one go on without the others.

mod channels;
pub(crate) mod error;
mod lone_member;
mod recovery;
pub(crate) mod start;
