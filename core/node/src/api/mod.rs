//! What servers call: a running member and its streams of watches.

pub(crate) mod node;
