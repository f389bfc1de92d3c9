//! The trace of a run: typed events, folded into the digest, kept or streamed on demand.

mod difference;
mod event;
mod journal;

#[cfg(test)]
mod tests;

pub use difference::{Difference, first_difference, first_difference_of_streams};
pub use event::{DiskOperation, DropCause, Event, EventKind};
pub use journal::{Journal, Recorder, TraceMode};
