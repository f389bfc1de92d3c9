//! Raft consensus without I/O.
//!
//! Inputs: ticks of the owner's clock, messages of other members, proposals, reads, and
//! the owner's word that something has become durable or was applied ([`Raft`]'s methods).
//! Outputs: [`Ready`], a batch of effects that the owner carries out: what to persist,
//! what to send before and after that, what to apply, which reads may be served.
//! [`invariants`]: what must hold of members and clusters, for whoever watches them.
//! Dependencies: `veridical-probe` (names of planted bugs). No clock, no thread, no
//! async, no source of randomness but the seed it is given. A [`Raft`] is a value
//! (`Clone + Eq + Hash`), so that a model checker can explore the code that serves.
//!
//! The owner's loop:
//!
//! 1. feed inputs: [`Raft::tick`], [`Raft::step`], [`Raft::propose`], [`Raft::read_index`];
//! 2. take [`Raft::ready`] until it is `None`; send [`Ready::messages`] at once;
//! 3. persist `install_snapshot` and `hard_state` in either order, then `entries`; Readys
//!    in the order of their numbers; then send [`Ready::persisted_messages`] and call
//!    [`Raft::persisted`]. Several Readys may be under way at once;
//! 4. apply [`Ready::committed`], then call [`Raft::applied`].
//!
//! Sources: Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm*
//! (extended version, 2014), named "paper" in this crate; Ongaro, *Consensus: Bridging
//! Theory and Practice* (2014), named "thesis".

mod config;
mod entry;
mod error;
pub mod invariants;
mod log;
mod membership;
mod message;
mod persistence;
mod progress;
mod raft;
mod random;
mod reads;
mod ready;
mod snapshot;

pub use crate::config::{BLANK_ELECTION_TIMEOUTS, Config, ConfigError, Initial};
pub use crate::entry::{
    ChangeKind, ENTRY_OVERHEAD_BYTES, Entry, HardState, LogIndex, MAX_INDEX, MAX_TERM,
    MembershipChange, NodeId, Payload, Term,
};
pub use crate::error::{
    ChangeRefused, CompactError, ProposeError, ReadError, StepError, TransferError,
};
pub use crate::membership::Membership;
pub use crate::message::{AppendOutcome, Message, MessageBody};
pub use crate::progress::{Progress, ProgressState};
pub use crate::raft::{MAX_QUEUED_MESSAGES, Raft};
pub use crate::ready::{ReadState, Ready, Role, SnapshotOutcome, SnapshotRequest, SoftState};
pub use crate::snapshot::SnapshotMeta;
