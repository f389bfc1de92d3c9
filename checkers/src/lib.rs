//! Linearizability checkers: exact, online, in bounded memory.
//!
//! Inputs: the events of a history, one by one as they happen or from a file.
//! Outputs: a [`Verdict`]: `ok`, a violation with a witness, or an honest `unknown`.
//! Dependencies: `veridical-histories` only. The crate knows no store.
//!
//! [`check_operations`] checks a `Vec` of operations; [`Checker`] checks any [`Model`]
//! while the history happens (engine A). [`etcd`] checks histories in which every answer
//! carries a revision (engine C).
#![doc = include_str!("../README.md")]
#![warn(clippy::wildcard_enum_match_arm)]

mod abridged;
pub mod brute_force;
pub mod check;
mod collections;
pub mod etcd;
mod feed;
mod frontier;
mod linearization;
mod lists;
mod model;
mod models;
mod objects;
mod online;
pub mod picture;
mod registers;
mod verdict;
mod witness;
mod zones;

pub use abridged::abridged;
pub use linearization::linearization_points;
pub use lists::ListChecker;
pub use model::Model;
pub use models::{InitialRefused, LogState, ObjectKind, ObjectModel, ObjectState};
pub use objects::{ObjectChecker, ObjectStatistics};
pub use online::{
    Checker, CheckerOptions, CheckerStatistics, Operation, check_events, check_operations,
};
pub use verdict::{
    Cause, Malformed, MalformedReason, Rejection, Undecided, Verdict, Violation, ViolationKind,
    WitnessOperation,
};
