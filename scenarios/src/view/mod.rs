//! What is shown of a run of the store: what its messages mean, its clients' operations, what
//! members say of themselves, and the page and the trace that are made of it.
//!
//! `frames` says what messages mean; `page` packs all of it into the page, whose parts are in
//! `page/`; `chrome` writes the trace.

mod chrome;
mod frames;
mod keys;
mod operations;
mod page;
mod page_data;

use serde::{Deserialize, Serialize};
use std::io;

pub use frames::decode;
pub use operations::operations;

use crate::scenario::Store;

/// Everything that is shown of a run of the store.
pub type View<'a> = veridical_harness::view::View<'a, Store>;

/// What was recorded of a run of the store.
pub type Recording = veridical_harness::view::Recording<MemberState>;

/// A change of what a member is.
pub type StateChange = veridical_harness::view::StateChange<MemberState>;

/// What a member was at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberState {
    /// Follower, candidate, leader: the role's name, in lower case.
    pub role: String,
    /// The term.
    pub term: u64,
    /// Who leads it, as far as the member knows.
    pub leader: Option<u64>,
    /// Known to be committed.
    pub commit: u64,
    /// Applied to the state machine.
    pub applied: u64,
    /// The last index of the log.
    pub last: u64,
    /// The store's revision.
    pub revision: i64,
}

/// Writes the page.
///
/// # Errors
/// It cannot be written.
pub fn write_page(view: &View<'_>, mut sink: &mut dyn io::Write) -> io::Result<()> {
    page::write(view, &mut sink)
}

/// Writes the trace, as Chrome's trace event format has it (Google's "Trace Event Format",
/// JSON object form), which Perfetto opens.
///
/// # Errors
/// It cannot be written.
pub fn write_chrome_trace(view: &View<'_>, mut sink: &mut dyn io::Write) -> io::Result<()> {
    chrome::write(view, &mut sink)
}
