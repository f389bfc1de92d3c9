//! A client of a cluster: many requests in flight on one connection, retries of what is
//! safe to retry, streams of watches, and a history of all of it on demand.
//!
//! Inputs: requests of the etcd v3 API; frames of a server.
//! Outputs: responses, or one of three errors that never lie: refused (no effect),
//! unknown (may or may not take effect), unavailable (no effect).
//! Dependencies: proto, env, histories, probe.
//!
//! [`Client`] picks a member and retries; [`Connection`] is one connection to one member;
//! [`record`] turns requests and responses into the events of a history. The crate's README
//! has an example of each.

mod batching;
mod client;
mod connection;
mod connector;
mod core;
mod endpoints;
pub mod record;
mod sharding;

pub use batching::BatchLimits;
pub use client::{Client, ClientConfig};
pub use connection::{CallError, Connection, WatchResponses};
pub use connector::{Connector, Link, Pipelined, WatchChannel, WatchRequests};
pub use sharding::{MergedRange, Placement, ShardPart, ShardedClient};

/// A client of the pipelined protocol over TCP.
#[cfg(not(madsim))]
pub type PipelinedClient = Client<Pipelined<veridical_env::TcpNetwork>, veridical_env::RealClock>;

/// The examples of the README compile and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
