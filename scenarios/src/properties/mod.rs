//! Properties beyond linearizability, checked while a run goes on, from what members show
//! of themselves.
//!
//! Inputs: the steps of Raft, the applied memberships, the leases that are left.
//! Outputs: [`InvariantViolation`], the first time that a property does not hold.
//! Dependencies: `veridical-raft`, whose invariants these are where they are Raft's;
//! `veridical-node` for the directory of members.
//!
//! | property | where |
//! |---|---|
//! | election safety, leader append-only, log matching, leader completeness, state machine safety (Raft paper, figure 3); what was durable stays, what is promised is durable; the configuration in force is that of the log; a read index covers what was committed when it was asked for | [`raft`] |
//! | members agree on who they are; who was removed leads no more | [`members`] |
//! | a leader that no majority of its voters can answer leads no more after two election timeouts, also while the faults last | [`leadership`] |
//! | whoever waits for a command is told what came of it once it is applied at its member, and it is applied unless it was | [`proposals`] |
//! | a lease ends when its time is up | [`leases`] |
//! | a log is bounded by bytes, once a cluster has been left in peace | [`log_size`] |
//!
//! Equal states at equal applied index are compared by the cluster itself, what clients
//! see is the business of the checker of histories, and each queue of the store compares
//! its length with its bound where it grows (`veridical_probe::queue!`).

pub mod leadership;
pub mod leases;
pub mod log_size;
pub mod members;
pub mod proposals;
pub mod raft;

pub use veridical_raft::invariants::InvariantViolation;

use veridical_harness::report::{Class, Finding};

/// A broken invariant as a finding of a run.
pub fn finding(violation: InvariantViolation) -> Finding {
    Finding::new(Class::Violation, violation.signature, violation.text)
}
