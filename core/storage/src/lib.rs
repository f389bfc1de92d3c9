//! Durable storage: the write-ahead log, snapshot files, and the engine that keeps the
//! applied state.
//!
//! Inputs: plain records of the consensus log ([`wal::WalRecord`]), chunks of a
//! snapshot, batches of ordered keys ([`engine::WriteBatch`]).
//! Outputs: after a restart, exactly what was synchronised before it plus a prefix of
//! the rest; or a refusal that names the file, the offset and the reason.
//! Dependencies: `veridical-env` (the disk as a trait), `veridical-probe`, crc32c,
//! bytes; RocksDB only behind the cargo feature `rocksdb`. It knows nothing of Raft's
//! rules, of etcd, of protobuf or of the network.
//!
//! The formats are drawn byte by byte in `docs/formats.md`.

pub mod engine;
mod file_error;
pub mod format;
pub mod snapshot;
pub mod wal;

pub use file_error::FileError;
