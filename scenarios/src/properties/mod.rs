//! Properties beyond linearizability, checked while a run goes on, from what members show
//! of themselves.
//!
//! Comes in: the steps of Raft, the applied memberships, the leases that are left.
//! Goes out: [`Broken`], the first time that a property does not hold.
//!
//! | property | where |
//! |---|---|
//! | election safety, leader append-only, log matching, leader completeness, state machine safety (Raft paper, figure 3); what was durable stays, what is promised is durable; the configuration in force is that of the log | [`raft`] |
//! | a read index covers what was committed when it was asked for | [`reads`] |
//! | members agree on who they are; who was removed leads no more | [`members`] |
//! | a lease ends when its time is up | [`leases`] |
//!
//! Equal states at equal applied index are compared by the cluster itself, what clients
//! see is the business of the checker of histories, and each queue of the store compares
//! its length with its bound where it grows (`veridical_probe::queue!`).

pub mod leases;
pub mod members;
pub mod raft;
pub mod reads;

use veridical_harness::report::{Class, Finding};

/// A property does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{signature}: {text}")]
pub struct Broken {
    /// Which one; groups findings.
    pub signature: &'static str,
    /// For a person.
    pub text: String,
}

impl From<Broken> for Finding {
    fn from(broken: Broken) -> Self {
        Self::new(Class::Violation, broken.signature, broken.text)
    }
}

impl Broken {
    fn new<T>(signature: &'static str, text: String) -> Result<T, Self> {
        Err(Self { signature, text })
    }
}
