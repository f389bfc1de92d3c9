//! Histories of operations: what clients called, what came back, and when.
//!
//! Inputs: events from a running workload, or a file in one of the supported formats.
//! Outputs: a stream of [`Event`]s in the order in which they happened, or a file.
//! Dependencies: nothing of this workspace. The crate knows neither the store nor a checker.
//!
//! An operation is two events: a [`EventKind::Call`], and later a
//! [`EventKind::Return`] with its result, an [`EventKind::Unknown`] when nobody can
//! tell whether it took effect, or an [`EventKind::Failed`] when it is certain that it
//! did not. [`etcd`] holds the vocabulary of an etcd-like store, watches included;
//! [`jsonl`] reads and writes one event a line.
//!
#![doc = include_str!("../README.md")]
#![warn(clippy::wildcard_enum_match_arm)]

mod event;
mod reading;

pub mod convert;
pub mod etcd;
pub mod formats;
pub mod generate;
pub mod jsonl;
pub mod merge;
pub mod native;
pub mod object;
pub mod random;
pub mod statistics;
pub mod text_bytes;

pub use event::{Event, EventKind, NoNote, OperationId};
