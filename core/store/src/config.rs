//! What a store is configured with.

use veridical_planted::Planted;

/// Settings of a [`Store`](crate::Store). Members of one cluster may differ in all of
/// them except `max_txn_ops`, which decides which transactions are proposed at all.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Which map holds the keys.
    pub memtable: MemtableKind,
    /// Number of shards of [`MemtableKind::Sharded`]; at least 1. More of them let more
    /// readers pass each other and the one writer, and make ranges dearer: a range looks
    /// into every shard, and beyond about a hundred that is most of what it costs.
    pub shards: usize,
    /// Key of the hash that spreads keys over shards. A secret of the member: whoever
    /// knows it can pile keys onto one shard.
    pub hash_seed: u64,
    /// Most operations in one level of a transaction (`--max-txn-ops`).
    pub max_txn_ops: usize,
    /// Largest encoded request in bytes (`--max-request-bytes`); watch responses whose
    /// client asked for fragments are cut at about this size.
    pub max_request_bytes: usize,
    /// Bounds on watches.
    pub watch: WatchLimits,
    /// Most keys whose old versions one publish forgets, so that a big compaction does not
    /// hold up the writer: the rest follows with the next ones.
    pub trim_keys: usize,
    /// Whether the store collects the changes for a durable copy; see
    /// [`Store::take_feed`](crate::Store::take_feed), which must then be called.
    pub feed: bool,
    /// Defects planted on purpose; none in production.
    pub planted: Planted,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            memtable: MemtableKind::Sharded,
            shards: 64,
            hash_seed: 0,
            max_txn_ops: 128,
            max_request_bytes: 1536 * 1024,
            watch: WatchLimits::default(),
            trim_keys: 2048,
            feed: false,
            planted: Planted::none(),
        }
    }
}

/// The forms of [`Memtable`](crate::Memtable).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemtableKind {
    /// Many maps, each behind its own lock.
    #[default]
    Sharded,
    /// One map behind one lock: the plain twin that the sharded one is compared with.
    Locked,
}

/// Bounds on what watches may hold in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchLimits {
    /// Most events that wait in one stream's queue. A single revision with more events
    /// than this still passes as a whole when the queue is empty.
    pub max_buffered_events: usize,
    /// Most bytes of keys and values that wait in one stream's queue, likewise.
    pub max_buffered_bytes: usize,
    /// Most answers to create, cancel and progress requests that wait in one stream;
    /// above it [`WatchStream::handle`](crate::WatchStream::handle) refuses.
    pub max_control_responses: usize,
    /// Most watches on one stream.
    pub max_watches_per_stream: usize,
    /// Most distinct revisions in one response to a watch that catches up (etcd: 1000).
    pub max_catch_up_revisions: usize,
    /// Most changes of the log that one poll looks at before it gives way to others.
    pub max_catch_up_changes: usize,
}

impl Default for WatchLimits {
    fn default() -> Self {
        Self {
            max_buffered_events: 8192,
            max_buffered_bytes: 8 * 1024 * 1024,
            max_control_responses: 128,
            max_watches_per_stream: 65_536,
            max_catch_up_revisions: 1000,
            max_catch_up_changes: 65_536,
        }
    }
}
