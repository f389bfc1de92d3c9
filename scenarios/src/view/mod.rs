//! A run as one looks at it: a page that stands alone, or a trace for Perfetto.
//!
//! Inputs: the recording of a run with its plan, report, history and logs, from a run
//! that has just been made or from the folder of a failure.
//! Outputs: HTML, and JSON in Chrome's trace event format.
//!
//! `recorder` watches the run from outside and makes the `recording`, `frames` says what
//! its messages mean; `timeline` hands all of it to the viewer, `veridical-timeline`.

pub mod command;
mod draft;
mod faults;
mod frames;
mod keys;
mod operations;
mod recorder;
mod recording;
mod timeline;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use veridical_histories::etcd::EtcdEvent;
use veridical_histories::jsonl;

use crate::artefact::{Logs, ReadError};
use crate::plan::Plan;
use crate::report::RunReport;

pub use faults::{class, describe, processes};
pub use operations::{Ending, ShownOperation, operations};
pub use recorder::Recorder;
pub use recording::{
    Fate, Frame, FrameKind, Incident, InjectedFault, LeftOut, Life, MESSAGES_MAX, MemberState,
    Message, Recording, StateChange, Turn,
};

/// What was recorded of the run.
pub const RECORDING_FILE: &str = "recording.json";

/// The page.
pub const PAGE_FILE: &str = "run.html";

/// Everything that is shown of a run.
pub struct View<'a> {
    /// Its plan.
    pub plan: &'a Plan,
    /// What came of it.
    pub report: &'a RunReport,
    /// What was recorded.
    pub recording: &'a Recording,
    /// Its history.
    pub history: &'a [EtcdEvent],
    /// What its processes logged.
    pub logs: &'a Logs,
}

impl View<'_> {
    /// Writes the page.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_page(&self, sink: &mut impl io::Write) -> io::Result<()> {
        timeline::timeline(self).write_page(sink)
    }

    /// Writes the trace, as Chrome's trace event format has it (Google's "Trace Event
    /// Format", JSON object form), which Perfetto opens.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_chrome_trace(&self, sink: &mut impl io::Write) -> io::Result<()> {
        timeline::timeline(self).write_chrome_trace(sink)
    }
}

/// A folder as far as it is needed to be shown.
pub struct Shown {
    /// The plan.
    pub plan: Plan,
    /// What came of it.
    pub report: RunReport,
    /// What was recorded.
    pub recording: Recording,
    /// The history.
    pub history: Vec<EtcdEvent>,
    /// The logs.
    pub logs: Logs,
}

impl Shown {
    /// Reads a folder that holds a recording.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(dir: &Path) -> Result<Self, ReadError> {
        let kept = crate::artefact::Kept::read(dir)?;
        let recording = crate::artefact::read_json(&dir.join(RECORDING_FILE))?;
        let path = dir.join("history.jsonl");
        let failed = |path: &Path, source| ReadError::File {
            path: path.to_owned(),
            source,
        };
        let file = fs::File::open(&path).map_err(|source| failed(&path, source))?;
        let events = jsonl::Reader::new(io::BufReader::new(file));
        let history = events.collect::<Result<Vec<_>, _>>().map_err(|error| {
            let source = io::Error::new(io::ErrorKind::InvalidData, error.to_string());
            failed(&path, source)
        })?;
        let folder = dir.join("logs");
        let logs = read_logs(&folder).map_err(|source| failed(&folder, source))?;
        Ok(Self {
            plan: kept.plan,
            report: kept.report,
            recording,
            history,
            logs,
        })
    }

    /// To be written.
    pub fn view(&self) -> View<'_> {
        View {
            plan: &self.plan,
            report: &self.report,
            recording: &self.recording,
            history: &self.history,
            logs: &self.logs,
        }
    }
}

fn read_logs(folder: &Path) -> io::Result<Logs> {
    let mut logs = Logs::new();
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    paths.sort_unstable();
    for path in paths {
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        let text = fs::read_to_string(&path)?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let dropped = lines
            .first()
            .and_then(|line| crate::artefact::dropped_lines(line));
        if dropped.is_some() {
            lines.remove(0);
        }
        logs.insert(name.to_owned(), (lines, dropped.unwrap_or(0)));
    }
    Ok(logs)
}
