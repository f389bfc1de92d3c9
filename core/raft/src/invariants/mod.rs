//! Raft's invariants, written once, as pure checks over what members show of themselves.
//!
//! Inputs: [`MemberState`], what can be seen of one member; the
//! [`Ready`](crate::Ready)s that it hands out; what its owner says of its disk.
//! Outputs: [`InvariantViolation`], the first time that an invariant does not hold.
//! Dependencies: the types of this crate, nothing of a member's inside.
//!
//! | invariant (paper: figure 3 and section) | signature | where |
//! |---|---|---|
//! | terms, commit and applied indexes never fall; a vote stands for its term; applied ≤ committed ≤ the log's end | `vote-changed`, `state-machine-safety`, `member-state` | [`member`] |
//! | election safety (5.2) | `two-leaders` | [`Leaders`] |
//! | a leader has a majority of durable votes, each for a log as long (5.4.1) | `elected-without-majority`, `voted-twice`, `vote-for-older-log` | `elections` |
//! | leader append-only (5.3) | `leader-append-only` | [`member`], [`ClusterInvariants`] |
//! | log matching (5.3) | `log-matching` | [`ClusterInvariants`], [`check_log_matching`] |
//! | leader completeness (5.4) | `leader-completeness` | [`CommittedLog`] |
//! | state machine safety (5.4.3) | `state-machine-safety` | [`CommittedLog`], [`ClusterInvariants`] |
//! | what is committed is on a majority of disks, and of the leader's term (5.4.2) | `committed-without-majority` | [`ClusterInvariants`] |
//! | what is promised is durable, and what was durable stays (figure 2) | `not-durable`, `durable-entries-lost` | `durability` |
//! | the configuration is that of the log, and changes by one voter (thesis 4.1) | `configuration-differs`, `configuration-jumps` | [`configuration`] |
//! | a read index covers what was committed when the read was asked (thesis 6.4) | `stale-read-index` | [`ReadInvariants`] |
//!
//! Who uses them:
//! - [`Raft`](crate::Raft) itself checks [`member`] after every input, also in production:
//!   a member that finds itself in an impossible state stops before it can tell others;
//! - the random scheduler (`tests/cluster`) and the simulated runs watch whole clusters
//!   with [`ClusterInvariants`] and [`ReadInvariants`];
//! - the exhaustive model (`tests/exploration`), whose states must stay few, uses
//!   [`Leaders`], [`CommittedLog`] and [`check_log_matching`].

mod cluster;
mod committed;
pub mod configuration;
mod durability;
mod elections;
mod leaders;
mod log_view;
pub mod member;
mod reads;

pub use cluster::{ClusterInvariants, LogStart};
pub use committed::CommittedLog;
pub use leaders::Leaders;
pub use log_view::{Link, LogView, check_log_matching};
pub use member::MemberState;
pub use reads::ReadInvariants;

/// An invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{signature}: {text}")]
pub struct InvariantViolation {
    /// The invariant that is violated; groups findings.
    pub signature: &'static str,
    /// What was seen, for a person.
    pub text: String,
}

impl InvariantViolation {
    /// The violation as an error, for a check to return.
    ///
    /// # Errors
    /// Always.
    pub fn new<T>(signature: &'static str, text: String) -> Result<T, Self> {
        Err(Self { signature, text })
    }
}
