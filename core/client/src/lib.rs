//! A client of a cluster: many requests in flight on one connection, retries of what is
//! safe to retry, watches that resume, and a history of all of it on demand.
//!
//! Comes in: requests of the etcd v3 API; frames of a server.
//! Goes out: responses, or one of three errors that never lie: refused (no effect),
//! unknown (may or may not take effect), unavailable (no effect).
//! May depend on: proto, env, histories, probe.
//!
//! [`Client`] picks a member and retries; [`Connection`] is one connection to one
//! member; [`record`] turns requests and responses into the events of a history.

mod client;
mod connection;
pub mod record;

pub use client::{Client, ClientConfig};
pub use connection::{CallError, Connection, WatchResponses};
