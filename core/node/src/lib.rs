//! One member of a cluster: the thin asynchronous part around Raft, the state machine and
//! the storage.
//!
//! Inputs: requests of clients (as calls on [`Node`], or over the pipelined protocol of
//! [`sessions`]), frames of peers, ticks of a clock, completions of the disk.
//! Outputs: responses, watch events, frames to peers, records in the log, snapshot files.
//! Dependencies: raft, store, storage, proto, env, probe.
//!
//! A put goes through the rooms in this order: `api` (arguments), `proposals` (name,
//! dispatch to the leader), `consensus` (Raft and the durable log) with `peers`
//! (replication), `state_machine` (applied, published, answered), then the watches of the
//! store. `reads`, `leases`, `membership` and `snapshots` are the other topics of a member;
//! `assembly` starts its tasks.
//!
//! The crate is generic over [`veridical_env::Environment`]: the same code runs in
//! production and in the simulator.

mod api;
mod assembly;
mod codec;
mod config;
mod consensus;
mod handles;
mod leases;
mod limits;
mod membership;
mod observe;
mod peers;
mod proposals;
mod reads;
mod requests;
pub mod sessions;
mod snapshots;
mod state_machine;
mod status;
mod stop;
mod throttle;

pub use api::node::Node;
pub use api::watcher::Watcher;
pub use assembly::error::StartError;
pub use codec::{CodecError, message_from_wire, message_to_wire};
pub use config::NodeConfig;
pub use limits::{CONSTRAINTS, ConfigError, Constraint, KNOBS, Knob, Limits};
pub use membership::directory::{Directory, member_id_of, strip_scheme};
pub use observe::NodeObserver;
pub use peers::PEER_PROTOCOL_VERSION;
pub use peers::introduction::{IntroductionError, KnownCluster, ask_members};
pub use status::Status;
pub use stop::StopReason;
pub use throttle::Throttle;
pub use veridical_storage::format::DataFormat;
