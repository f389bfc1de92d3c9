//! Connections between members: `outgoing` is the one that a member opens to each peer,
//! `incoming` reads those that peers open to it, and `transport` knows them all.
//!
//! Frames may be lost: when an outbox is full, when a connection breaks. Raft and the
//! retries above cope with that. A corrupt frame ends its connection.

use veridical_storage::format::DataFormat;

mod error;
pub(crate) mod incoming;
pub(crate) mod introduction;
mod outgoing;
mod reception;
mod shared;
pub(crate) mod transport;

/// The newest version of the peer protocol that this program speaks. Since version 2 a
/// member says where it is reached, and is told that its greeting was taken.
pub const PEER_PROTOCOL_VERSION: u32 = DataFormat::NEWEST;

/// From this version on greetings carry an address and are answered.
const ANSWERED_VERSION: u32 = 2;
