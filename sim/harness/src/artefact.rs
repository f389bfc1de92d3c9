//! What is kept of a failure: a folder with the plan, the decisions, the history, the
//! trace, the members' logs, the witness and the versions, enough to look into it, to
//! run it again, and to run it again when the code has changed.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use veridical_checkers::abridged;
use veridical_world::{Decision, Digest, Event};

use crate::kept_logs::{self, KeptLogs};
use crate::recording::Recording;
use crate::report::RunReport;
use crate::scenario::{InvalidPlan, Plan, Scenario};
use crate::view::View;

/// The plan.
pub const PLAN_FILE: &str = "plan.json";
/// What came of it.
pub const REPORT_FILE: &str = "report.json";
/// The random decisions, one a line.
pub const DECISIONS_FILE: &str = "decisions.jsonl";
/// What clients called and were answered, one event a line.
pub const HISTORY_FILE: &str = "history.jsonl";
/// The folder of what processes logged.
pub const LOGS_DIR: &str = "logs";
/// What was recorded of the run.
pub const RECORDING_FILE: &str = "recording.json";
/// The page.
pub const PAGE_FILE: &str = "run.html";
/// By what it was made.
pub const VERSION_FILE: &str = "version.json";

/// By what a folder was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Of the system.
    pub veridical: String,
    /// [`Plan::FORMAT`].
    pub plan_format: u32,
    /// A digest over the program's file: the same program makes the same run, event for
    /// event.
    pub program: String,
}

impl Version {
    /// Of this program.
    ///
    /// # Errors
    /// Its own file cannot be read.
    pub fn of_this_program<S: Scenario>(scenario: &S) -> io::Result<Self> {
        let mut digest = Digest::default();
        digest.fold_bytes(&fs::read(std::env::current_exe()?)?);
        Ok(Self {
            veridical: scenario.about().version.to_owned(),
            plan_format: S::Plan::FORMAT,
            program: digest.to_string(),
        })
    }
}

/// Everything that there is of a run.
pub struct Contents<'a, S: Scenario> {
    /// Its plan.
    pub plan: &'a S::Plan,
    /// What came of it.
    pub report: &'a RunReport,
    /// Its history.
    pub history: &'a [S::Event],
    /// Its events.
    pub trace: &'a [Event],
    /// Its random decisions.
    pub decisions: &'a [Decision],
    /// What its processes logged.
    pub logs: &'a KeptLogs,
    /// What else was recorded of it.
    pub recording: &'a Recording<S::State>,
}

/// Writes the folder.
///
/// # Errors
/// It cannot be written.
pub fn write<S: Scenario>(scenario: &S, dir: &Path, contents: &Contents<'_, S>) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    write_json(&dir.join(PLAN_FILE), contents.plan)?;
    write_json(&dir.join(REPORT_FILE), contents.report)?;
    write_json(
        &dir.join(VERSION_FILE),
        &Version::of_this_program(scenario)?,
    )?;
    write_lines(&dir.join(DECISIONS_FILE), contents.decisions)?;
    write_lines(&dir.join("trace.jsonl"), contents.trace)?;
    write_lines(&dir.join(HISTORY_FILE), contents.history)?;
    kept_logs::write(&dir.join(LOGS_DIR), contents.logs)?;
    scenario.write_further_files(contents.plan, dir)?;
    let mut file = BufWriter::new(fs::File::create(dir.join(RECORDING_FILE))?);
    serde_json::to_writer(&mut file, contents.recording)?;
    file.flush()?;
    let view = View {
        plan: contents.plan,
        report: contents.report,
        recording: contents.recording,
        history: contents.history,
        logs: contents.logs,
    };
    let mut file = BufWriter::new(fs::File::create(dir.join(PAGE_FILE))?);
    view.write_page(scenario, &mut file)?;
    file.flush()?;
    fs::write(dir.join("witness.txt"), witness(contents.report))
}

/// Writes a value as JSON for people.
///
/// # Errors
/// It cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    fs::write(path, text)
}

/// Writes values as JSON, one a line.
///
/// # Errors
/// They cannot be written.
pub fn write_lines(path: &Path, values: &[impl Serialize]) -> io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for value in values {
        serde_json::to_writer(&mut file, value)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// What keeps a folder from being read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file is missing or cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The path of the file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {source}")]
    Content {
        /// The path of the file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The plan was written by another version of this program.
    #[error("{path}: plan format {found}, this program reads {readable}")]
    Format {
        /// The path of the plan.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format that this program reads.
        readable: u32,
    },
    /// The plan names what it does not have.
    #[error("{path}: {source}")]
    Plan {
        /// The path of the plan.
        path: PathBuf,
        /// What is wrong with it.
        source: InvalidPlan,
    },
}

/// A folder as far as it is needed to run it again.
#[derive(Clone, Debug)]
pub struct Kept<P> {
    /// The plan.
    pub plan: P,
    /// What came of it.
    pub report: RunReport,
    /// By what it was made, if that is known.
    pub version: Option<Version>,
    /// Where its decisions are, if they were kept.
    pub decisions: Option<PathBuf>,
}

impl<P: Plan> Kept<P> {
    /// Reads a folder.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(dir: &Path) -> Result<Self, ReadError> {
        let plan = read_plan(&dir.join(PLAN_FILE))?;
        let version = dir.join(VERSION_FILE);
        let decisions = dir.join(DECISIONS_FILE);
        Ok(Self {
            plan,
            report: read_json(&dir.join(REPORT_FILE))?,
            version: version.exists().then(|| read_json(&version)).transpose()?,
            decisions: decisions.exists().then_some(decisions),
        })
    }

    /// Class and signature of what went wrong: what has to be the same for a failure to
    /// be the same.
    pub fn failure(&self) -> Option<(crate::report::Class, &str)> {
        failure(&self.report)
    }
}

/// Class and signature of what went wrong, if something did.
pub fn failure(report: &RunReport) -> Option<(crate::report::Class, &str)> {
    let finding = report.finding.as_ref()?;
    Some((finding.class, finding.signature.as_str()))
}

/// Reads a plan.
///
/// # Errors
/// See [`ReadError`].
pub fn read_plan<P: Plan>(path: &Path) -> Result<P, ReadError> {
    checked(read_json(path)?, path)
}

/// The plan, if it is of this program's format and can be carried out.
///
/// # Errors
/// See [`ReadError`]; `path` is where the plan was read.
pub fn checked<P: Plan>(plan: P, path: &Path) -> Result<P, ReadError> {
    let found = plan.identity().format;
    if found != P::FORMAT {
        return Err(ReadError::Format {
            path: path.to_owned(),
            found,
            readable: P::FORMAT,
        });
    }
    plan.check().map_err(|source| ReadError::Plan {
        path: path.to_owned(),
        source,
    })?;
    Ok(plan)
}

/// Reads a value that is written as JSON.
///
/// # Errors
/// See [`ReadError`].
pub fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, ReadError> {
    let text = fs::read(path).map_err(|source| ReadError::File {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| ReadError::Content {
        path: path.to_owned(),
        source,
    })
}

/// Reads values that are written as JSON, one a line.
///
/// # Errors
/// See [`ReadError`].
pub fn read_lines<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>, ReadError> {
    let failed = |source| ReadError::File {
        path: path.to_owned(),
        source,
    };
    let lines = BufReader::new(fs::File::open(path).map_err(failed)?).lines();
    lines
        .map(|line| {
            serde_json::from_str(&line.map_err(failed)?).map_err(|source| ReadError::Content {
                path: path.to_owned(),
                source,
            })
        })
        .collect()
}

/// A failure as text, its first line being the command that reproduces it.
pub fn witness(report: &RunReport) -> String {
    let mut text = format!("{}\n", report.reproduce);
    if let Some(finding) = &report.finding {
        text.push_str(&format!(
            "{} ({}) at {} ms of simulated time, seed {}, digest {}\n{}\n",
            finding.class,
            finding.signature,
            report.simulated_ms,
            report.seed,
            report.digest,
            abridged(&finding.text)
        ));
    }
    if !report.schedule.is_empty() {
        text.push_str(&format!("schedule: {}\n", report.schedule));
    }
    if !report.knobs.is_empty() {
        let knobs: Vec<String> = report
            .knobs
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        text.push_str(&format!("knobs beside the default: {}\n", knobs.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Class, Finding};
    use crate::timed_plan::TimedPlan;
    use crate::toy::{self, Toy};

    #[test]
    fn a_folder_can_be_read_again_and_a_plan_of_another_form_is_refused() {
        let dir = std::env::temp_dir().join(format!("veridical-artefact-{}", std::process::id()));
        let plan = toy::plan(4);
        let finding = Finding::new(Class::Liveness, "no-progress", "x");
        let report = RunReport::of_seed(4, finding);
        let logs = KeptLogs::from([("member-1".to_owned(), (vec!["line".to_owned()], 2))]);
        let contents = Contents::<Toy> {
            plan: &plan,
            report: &report,
            history: &[],
            trace: &[],
            decisions: &[],
            logs: &logs,
            recording: &Recording::default(),
        };
        write(&Toy, &dir, &contents).expect("written");
        let kept: Kept<TimedPlan<u32>> = Kept::read(&dir).expect("read");
        assert_eq!((&kept.plan, &kept.report), (&plan, &report));
        assert_eq!(kept.failure(), Some((Class::Liveness, "no-progress")));
        let log = fs::read_to_string(dir.join("logs/member-1.log")).expect("read");
        assert_eq!(log, "(2 earlier lines were not kept)\nline\n");
        let other = TimedPlan {
            format: 77,
            ..plan.clone()
        };
        write_json(&dir.join(PLAN_FILE), &other).expect("written");
        assert!(matches!(
            Kept::<TimedPlan<u32>>::read(&dir),
            Err(ReadError::Format { found: 77, .. })
        ));
        fs::remove_dir_all(&dir).expect("removed");
    }
}
