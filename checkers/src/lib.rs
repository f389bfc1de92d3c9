//! Linearizability checkers: exact, online, in bounded memory.
//!
//! Comes in: the events of a history, one by one as they happen or from a file.
//! Goes out: a [`Verdict`]: `ok`, a violation with a witness, or an honest `unknown`.
//! May depend on: `veridical-histories` only. It knows no store.
//!
//! [`etcd`] checks histories in which every answer carries a revision (engine C).

pub mod brute_force;
pub mod etcd;
mod verdict;

pub use verdict::{
    Cause, Malformed, MalformedReason, Rejection, Undecided, Verdict, Violation, ViolationKind,
    WitnessOperation,
};
