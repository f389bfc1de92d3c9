//! The checker as a program: `check` judges recorded histories, `history` makes, converts,
//! merges and measures them.
//!
//! Inputs: histories in files or on standard input, in any format that
//! `veridical_histories` reads; flags; SIGINT.
//! Outputs: verdicts as text, JSON or JUnit's XML, pictures, histories, and an exit status
//! ([`ExitStatus`]).
//! Dependencies: checkers and histories. It knows no store, so whoever wants to check the
//! history of another one compiles neither gRPC nor Raft nor C.
//!
//! It is a library because two programs have these subcommands: `veridical-check`, which is
//! in this crate, and `veridical`, the store itself. Each gives its own name to [`run_check`]
//! and [`run_history`], for messages and for the command that reproduces a failure.

mod check;
mod exit;
mod history;
mod input;
mod interrupt;

pub use check::CheckFlags;
pub use check::run as run_check;
pub use exit::ExitStatus;
pub use history::HistoryCommand;
pub use history::run as run_history;
