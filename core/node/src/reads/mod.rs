//! Linearizable reads (ReadIndex, Raft thesis section 6.4).

pub(crate) mod waiters;
