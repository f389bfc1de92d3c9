//! What servers call: `node` is a running member, `watcher` a client's stream of watches.

pub(crate) mod node;
pub(crate) mod watcher;
