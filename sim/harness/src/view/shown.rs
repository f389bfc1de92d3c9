//! A kept run that is read back to be shown.

use std::path::Path;

use super::View;
use crate::artefact::{self, HISTORY_FILE, Kept, LOGS_DIR, RECORDING_FILE, ReadError};
use crate::kept_logs::{self, KeptLogs};
use crate::recording::Recording;
use crate::report::RunReport;
use crate::scenario::Scenario;

/// A folder as far as it is needed to be shown.
pub struct Shown<S: Scenario> {
    /// The plan.
    pub plan: S::Plan,
    /// What came of it.
    pub report: RunReport,
    /// What was recorded.
    pub recording: Recording<S::State>,
    /// The history.
    pub history: Vec<S::Event>,
    /// The logs.
    pub logs: KeptLogs,
}

impl<S: Scenario> Shown<S> {
    /// Reads a folder that holds a recording.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(dir: &Path) -> Result<Self, ReadError> {
        let kept = Kept::read(dir)?;
        let folder = dir.join(LOGS_DIR);
        let logs = kept_logs::read(&folder).map_err(|source| ReadError::File {
            path: folder,
            source,
        })?;
        Ok(Self {
            plan: kept.plan,
            report: kept.report,
            recording: artefact::read_json(&dir.join(RECORDING_FILE))?,
            history: artefact::read_lines(&dir.join(HISTORY_FILE))?,
            logs,
        })
    }

    /// To be written.
    pub fn view(&self) -> View<'_, S> {
        View {
            plan: &self.plan,
            report: &self.report,
            recording: &self.recording,
            history: &self.history,
            logs: &self.logs,
        }
    }
}
