//! What servers call: `node` is a running member, `batch` many operations at once, `watcher`
//! a client's stream of watches.

pub(crate) mod batch;
pub(crate) mod node;
pub(crate) mod watcher;
