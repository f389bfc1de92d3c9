//! Proposals: commands of clients from their naming to their answer.

pub(crate) mod table;
