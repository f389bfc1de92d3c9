//! What all readers share, whatever they read: events as they come, lines with a bound, what can
//! be wrong, and whether a source was cut off.

mod error;
mod lines;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use error::Place;
pub use error::{Affected, ReadError};
pub(crate) use lines::{Lines, NextLine};

/// Reads events one after the other. An error that [`ReadError::is_local`] may be followed by
/// more events.
pub trait EventReader<E>: Iterator<Item = Result<E, ReadError>> + Send {
    /// The line of the event that was read last, counted from 1; `None` for what has no lines.
    fn line(&self) -> Option<u64>;
}

/// Events as they are read.
pub type Events<E> = Box<dyn EventReader<E>>;

/// Whether a compressed source ended too early; shared by who decompresses and who reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(Arc<AtomicBool>);

impl Cut {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
