//! The write-ahead log of one member.
//!
//! [`Wal::open`] reads back what is there; [`Wal::append`] writes a batch of records
//! with one contiguous write; [`Wal::sync`] makes all appended batches durable at once
//! (group commit); [`Wal::release_before`] deletes segments that a snapshot covers.
//!
//! After any failed write or fsync the log is *stopped*: nothing is known about what is
//! on the disk then, and a later success would not repair that.
//!
//! The modules build on each other in this order: `record` (what is logged), `frame` (one
//! record as bytes), `shape` (what records add up to), `promises` (what none may take back),
//! `segment` (files), `scan` (reading one), `recovery` (reading all), `writer` (appending).

mod error;
mod frame;
mod promises;
mod record;
mod recovery;
mod scan;
mod segment;
mod shape;
mod writer;
mod zeros;

pub use error::WalError;
pub use record::{
    HardState, LogEntry, MAX_ENTRY_DATA_BYTES, MemberRecord, SnapshotMark, WalRecord,
};
pub use recovery::Recovered;
pub use scan::TruncatedTail;
pub use writer::{Wal, WalConfig};
