//! One member of a cluster: the thin asynchronous part around Raft, the state machine
//! and the storage.
//!
//! Comes in: requests of clients (as calls on [`Node`], or over the pipelined protocol
//! of [`sessions`]), frames of peers, ticks of a clock, completions of the disk.
//! Goes out: responses, watch events, frames to peers, records to the log.
//! May depend on: raft, store, storage, proto, env, probe.
//!
//! The way of a put: `node` (arguments, proposal) → `proposals` (name, retries) →
//! `driver` (Raft) → `log_writer` (durable) and `transport` (peers) → `driver`
//! (committed) → `apply` (state machine, answer) → the store's watches, and with an engine
//! `materialise` (a durable copy of the state).
//!
//! Generic over [`veridical_env::Environment`]: the same code runs in production and in
//! the simulator.

mod api;
mod assembly;
mod codec;
mod config;
mod consensus;
mod leases;
mod limits;
mod membership;
mod observe;
mod peers;
mod proposals;
mod reads;
pub mod sessions;
mod snapshots;
mod state_machine;
mod status;
mod stop;

pub use api::node::{Node, Watcher, member_id_of};
pub use assembly::recovery::StartError;
pub use codec::{CodecError, message_from_wire, message_to_wire};
pub use config::{ConfigError, NodeConfig};
pub use limits::{CONSTRAINTS, Constraint, KNOBS, Knob, Limits};
pub use membership::directory::{Directory, strip_scheme};
pub use observe::NodeObserver;
pub use peers::transport::PEER_PROTOCOL_VERSION;
pub use status::Status;
pub use stop::StopReason;
pub use veridical_storage::format::DataFormat;
