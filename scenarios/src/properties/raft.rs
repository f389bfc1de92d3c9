//! Raft's own invariants, which the crate of Raft defines; the runs here watch members
//! with them, from the observers of the members' tasks.

pub use veridical_raft::invariants::{ClusterInvariants, LogStart, MemberState, ReadInvariants};
