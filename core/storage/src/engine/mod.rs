//! Engines: where the applied state is kept, as ordered keys.
//!
//! An engine is not the source of truth: the log is. A crash takes an engine back to
//! its last flush (or to a later batch boundary), and the log is replayed from
//! [`Engine::applied_index`] on. So an engine needs no log of its own, but the applied
//! index must be written atomically with the batch it belongs to.
//!
//! Engines block: call them where blocking disturbs nobody.

mod batch;
mod memory;
#[cfg(feature = "rocksdb")]
#[allow(
    clippy::disallowed_methods,
    reason = "the library reads its options from a file of the machine"
)]
mod rocks;

pub use batch::{BatchOperation, WriteBatch};
pub use memory::MemoryEngine;
#[cfg(feature = "rocksdb")]
pub use rocks::{RocksConfig, RocksEngine};

use bytes::Bytes;
use std::ops::{Bound, ControlFlow};

/// What can go wrong with an engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The storage library or the disk below it refused. After a failed write or flush
    /// the engine is stopped.
    #[error("the engine cannot {operation}: {reason}")]
    Backend {
        /// What was tried.
        operation: &'static str,
        /// The library's answer.
        reason: String,
    },
    /// What is on the disk was not written by this engine, or is damaged.
    #[error("the engine's content is corrupt: {reason}")]
    Corrupt {
        /// What is wrong.
        reason: String,
    },
    /// An earlier write or flush failed, or the process that owned this handle crashed.
    #[error("the engine is stopped after an earlier failure")]
    Stopped,
}

/// Gets each key with its value, and breaks off when it has seen enough.
pub type Visitor<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Durable, ordered storage of the applied state.
pub trait Engine: Send + 'static {
    /// The index of the last log entry that the content includes; 0 at first.
    fn applied_index(&self) -> u64;

    /// The applied index to which a crash takes the content back, at least.
    fn durable_index(&self) -> u64;

    /// Applies a batch and sets the applied index, both or neither.
    ///
    /// # Errors
    /// [`EngineError::Backend`], which stops the engine; [`EngineError::Stopped`].
    ///
    /// # Panics
    /// If `applied_index` goes back: only a bug in the caller does that.
    fn write(&mut self, batch: WriteBatch, applied_index: u64) -> Result<(), EngineError>;

    /// The value of a key.
    ///
    /// # Errors
    /// [`EngineError::Backend`], [`EngineError::Stopped`].
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Visits the keys within the bounds in order until the visitor breaks. The visitor
    /// must not call the engine.
    ///
    /// # Errors
    /// [`EngineError::Backend`], [`EngineError::Stopped`].
    fn scan(
        &self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), EngineError>;

    /// Makes everything written so far durable and returns the applied index that is.
    ///
    /// # Errors
    /// [`EngineError::Backend`], which stops the engine; [`EngineError::Stopped`].
    fn flush(&mut self) -> Result<u64, EngineError>;

    /// Starts a replacement of the whole content, as when a snapshot is installed.
    /// What an earlier replacement staged and did not finish is discarded. Reads and
    /// writes go on with the present content until [`Engine::finish_replace`].
    ///
    /// # Errors
    /// [`EngineError::Backend`], which stops the engine; [`EngineError::Stopped`].
    fn begin_replace(&mut self) -> Result<(), EngineError>;

    /// Adds to the staged content.
    ///
    /// # Errors
    /// [`EngineError::Backend`], which stops the engine; [`EngineError::Stopped`].
    ///
    /// # Panics
    /// If no replacement was started.
    fn stage(&mut self, batch: WriteBatch) -> Result<(), EngineError>;

    /// Puts the staged content and `applied_index` in place of the present ones,
    /// atomically and durably: a crash before it returns leaves either the one or the
    /// other.
    ///
    /// # Errors
    /// [`EngineError::Backend`], which stops the engine; [`EngineError::Stopped`].
    ///
    /// # Panics
    /// If no replacement was started.
    fn finish_replace(&mut self, applied_index: u64) -> Result<(), EngineError>;
}

/// Whether no key can lie within the bounds. Ordered maps panic on some of these.
fn is_empty_range(start: Bound<&[u8]>, end: Bound<&[u8]>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end))
        | (Bound::Excluded(start), Bound::Included(end)) => start >= end,
    }
}
