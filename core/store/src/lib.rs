//! The replicated state machine: an etcd-v3 store with revisions, transactions, leases
//! and watches.
//!
//! Inputs: committed commands in log order, through the one [`Store`]; reads and watch
//! requests, through any number of [`StoreReader`]s and [`WatchStream`]s; snapshots.
//! Outputs: the outcome of each command; consistent reads; events; snapshots; the feed
//! that keeps a durable copy up to date. All of it is
//! a pure function of the inputs: no clock, no randomness, no input or output.
//! Dependencies: `proto`, `probe`.
//!
//! The path of a put: [`Store::apply`] (session table, `apply`, [`Memtable`], change log)
//! → [`Store::publish`] (what readers see, watches) → [`StoreReader::range`].

mod apply;
mod change_log;
mod check;
mod config;
mod digest;
mod error;
mod feed;
mod feed_restore;
mod history;
mod key_range;
mod lease;
mod lease_clock;
mod memtable;
mod outcome;
mod pins;
mod reader;
mod restore;
mod session;
mod siphash;
mod snapshot;
mod state;
mod store;
mod txn;
mod txn_visitor;
mod view;
mod watch;

pub use check::{
    check_delete_range, check_put, check_range, check_request_bytes, check_txn, is_read_only_txn,
    is_serializable_txn,
};
pub use config::{MemtableKind, StoreConfig, WatchLimits};
pub use digest::StateHash;
pub use error::{ApiError, Code};
pub use feed::{FEED_PREFIX_END, Feed, FeedOperation};
pub use feed_restore::FeedRestorer;
pub use history::{KeyHistory, Put, Version};
pub use key_range::{KeyBounds, KeyRange, RangeEnd};
pub use lease::{LEASE_TTL_S_MAX, LEASE_TTL_S_MIN, LeaseChange, LeaseView};
pub use lease_clock::{LeaseClock, LeaseRetry};
pub use memtable::{
    KeyScan, Live, LockedMemtable, Memtable, NEWEST, PutWrite, Selection, ShardedMemtable, Trimmed,
    Visit, Written, select,
};
pub use outcome::{Applied, CommandResponse};
pub use reader::StoreReader;
pub use restore::{RestoreError, Restorer, SNAPSHOT_RECORD_BYTES_MAX};
pub use session::SESSION_WINDOW_MAX;
pub use snapshot::SnapshotSource;
pub use store::Store;
pub use watch::{Notify, WATCH_ID_NONE, WatchStream};
