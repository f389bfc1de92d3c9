//! Connections between members.

pub(crate) mod transport;
