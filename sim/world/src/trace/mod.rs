//! The trace of a run: typed events, folded into the digest, kept or streamed on demand.

mod decision;
mod difference;
mod event;
mod journal;
mod listener;

#[cfg(test)]
mod decision_tests;
#[cfg(test)]
mod tests;

pub use decision::{Decision, DecisionMode, Decisions, RECORDED_DECISIONS_MAX, ReplayCounts, Site};
pub use difference::{Difference, first_difference, first_difference_of_streams};
pub use event::{DiskOperation, DropCause, Event, EventKind};
pub use journal::{Journal, Recorder, TraceMode};
pub use listener::{SentUnit, TraceListener};
