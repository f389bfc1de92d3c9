//! A run as one looks at it: a page that stands alone, or a trace for Perfetto.
//!
//! What is shown beside the [`Recording`] are the plan, the report, the history of the
//! clients and the logs, from a run that has just been made or from the folder of a kept
//! one. `timeline` hands all of it to the viewer, `veridical-timeline`; a scenario's
//! [`Style`](crate::style::Style) says what its processes are.

pub mod command;
mod faults;
mod shown;
mod timeline;

use crate::kept_logs::KeptLogs;
use crate::recording::Recording;
use crate::report::RunReport;
use crate::scenario::Scenario;

pub use faults::{class, describe, processes};

/// Everything that is shown of a run.
pub struct View<'a, S: Scenario> {
    /// Its plan.
    pub plan: &'a S::Plan,
    /// What came of it.
    pub report: &'a RunReport,
    /// What was recorded.
    pub recording: &'a Recording<S::State>,
    /// Its history.
    pub history: &'a [S::Event],
    /// What its processes logged.
    pub logs: &'a KeptLogs,
}
