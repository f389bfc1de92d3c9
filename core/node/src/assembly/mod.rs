//! The start of a member: what its data folder holds, and the tasks that run from then on.

pub(crate) mod recovery;
mod start;
