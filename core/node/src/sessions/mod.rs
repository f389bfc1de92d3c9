//! Connections of clients that speak the pipelined protocol.

mod session;

pub use session::{NATIVE_MAGIC, SessionError, accept_clients, serve_client};
