//! A run as one looks at it: a page that stands alone, or a trace for Perfetto.
//!
//! `recorder` watches the run from outside and makes the `recording`; what is shown beside
//! it are the plan, the report, the history of the clients and the logs, from a run that
//! has just been made or from the folder of a kept one. `timeline` hands all of it to the
//! viewer, `veridical-timeline`; a scenario's [`Style`] says what its processes are.

pub mod command;
mod draft;
mod faults;
mod recorder;
mod recording;
mod style;
mod timeline;

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::artefact::{self, HISTORY_FILE, Kept, LOGS_DIR, Logs, ReadError};
use crate::report::RunReport;
use crate::scenario::Scenario;

pub use faults::{class, describe, processes};
pub use recorder::{Look, Recorder};
pub use recording::{
    Fate, Frame, FrameKind, Incident, InjectedFault, LeftOut, Life, MESSAGES_MAX, Message,
    NUMBERS_MAX, Recording, StateChange, Turn,
};

pub use style::{EmptyVariant, States, Style};

/// What was recorded of the run.
pub const RECORDING_FILE: &str = "recording.json";

/// The page.
pub const PAGE_FILE: &str = "run.html";

/// What a process can say of itself to a recorder.
pub trait RecordedState:
    Clone + Default + PartialEq + Serialize + DeserializeOwned + Send + 'static
{
}

impl<T> RecordedState for T where
    T: Clone + Default + PartialEq + Serialize + DeserializeOwned + Send + 'static
{
}

/// A sort of frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name: that of the protocol.
    pub name: &'static str,
    /// What it is for: kinds of a group have one colour.
    pub group: &'static str,
    /// The names of its numbers, [`NUMBERS_MAX`] at most.
    pub fields: &'static [&'static str],
}

/// A frame of a message that was understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What it is.
    pub kind: Kind,
    /// Its numbers, as many as its kind has fields.
    pub numbers: [u64; NUMBERS_MAX],
    /// The keys that it is about.
    pub keys: Vec<String>,
}

/// What a unit of the network means, frame by frame: from the names of the sending and the
/// receiving process and the unit's bytes. What is not understood is left out.
pub type DecodeUnit = fn(from: &str, to: &str, unit: &[u8]) -> Vec<Decoded>;

/// A [`DecodeUnit`] that understands nothing: messages are shown by their length.
pub fn no_frames(_: &str, _: &str, _: &[u8]) -> Vec<Decoded> {
    Vec::new()
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It had not ended when the run did.
    Open,
    /// With an answer.
    Done,
    /// With a refusal.
    Refused,
    /// Nobody can tell.
    Unknown,
    /// Without effect.
    Failed,
}

/// One operation, or one response of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownOperation {
    /// Its number; none for a response of a watch.
    pub op: Option<u64>,
    /// The session.
    pub session: u64,
    /// The name of the process that it belongs to.
    pub process: String,
    /// When it was called, in ns.
    pub call_ns: u64,
    /// When it ended, in ns.
    pub end_ns: Option<u64>,
    /// How.
    pub ending: Ending,
    /// Whether it only reads.
    pub is_read: bool,
    /// The keys that it is about.
    pub keys: Vec<String>,
    /// What was asked and answered.
    pub text: String,
}

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
    pub logs: &'a Logs,
}

impl<S: Scenario> View<'_, S> {
    /// Writes the page: one HTML file that needs nothing else.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_page(&self, scenario: &S, sink: &mut impl io::Write) -> io::Result<()> {
        timeline::timeline(scenario, self).write_page(sink)
    }

    /// Writes the trace, as Chrome's trace event format has it (Google's "Trace Event Format",
    /// JSON object form), which Perfetto opens.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_trace(&self, scenario: &S, sink: &mut impl io::Write) -> io::Result<()> {
        timeline::timeline(scenario, self).write_chrome_trace(sink)
    }
}

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
    pub logs: Logs,
}

impl<S: Scenario> Shown<S> {
    /// Reads a folder that holds a recording.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(dir: &Path) -> Result<Self, ReadError> {
        let kept = Kept::read(dir)?;
        let folder = dir.join(LOGS_DIR);
        let logs = read_logs(&folder).map_err(|source| ReadError::File {
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
        let dropped = lines.first().and_then(|line| artefact::dropped_lines(line));
        if dropped.is_some() {
            lines.remove(0);
        }
        logs.insert(name.to_owned(), (lines, dropped.unwrap_or(0)));
    }
    Ok(logs)
}
