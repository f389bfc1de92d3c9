//! What the check of one file came to.

use serde_json::{Value, json};
use veridical_checkers::check::{CheckError, Report};
use veridical_checkers::{Verdict, abridged};

use super::robustness::Robustness;
use crate::exit::ExitStatus;
use crate::input::Input;

/// Why a file has no verdict.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckFailure {
    /// It cannot be opened.
    #[error("{0}")]
    Open(std::io::Error),
    /// It cannot be read, or is no history.
    #[error("{0}")]
    Check(CheckError),
    /// An interrupt came first.
    #[error("interrupted before it was begun")]
    NotBegun,
}

/// What the check of one file came to.
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) result: Result<Report, CheckFailure>,
    /// How far a violation depends on the clocks.
    pub(super) robustness: Option<Robustness>,
    /// Why there is no picture, where one was asked for.
    pub(super) picture_error: Option<String>,
    /// An interrupt came before the end.
    pub(super) was_interrupted: bool,
}

impl Outcome {
    pub(super) fn new(input: &Input, result: Result<Report, CheckFailure>) -> Self {
        Self {
            name: input.name(),
            result,
            robustness: None,
            picture_error: None,
            was_interrupted: false,
        }
    }

    /// Whether the check ended before the history, without a violation: what is ok of the
    /// part that was read is unknown of the whole.
    pub(super) fn is_cut_short(&self) -> bool {
        match &self.result {
            Ok(report) => report.verdict.is_ok() && (report.stopped_early || self.was_interrupted),
            Err(_) => false,
        }
    }

    /// The verdict's word: `ok`, `violation` or `unknown`.
    pub(super) fn word(&self) -> Option<&'static str> {
        let report = self.result.as_ref().ok()?;
        Some(match self.is_cut_short() {
            true => "unknown",
            false => report.verdict.word(),
        })
    }

    /// Lines that were no events; the line that an interrupt tore is none of them.
    pub(super) fn bad_lines(&self) -> &[String] {
        match &self.result {
            Ok(report) if !self.was_interrupted => &report.bad_lines,
            _ => &[],
        }
    }

    pub(super) fn bad_line_count(&self) -> u64 {
        match &self.result {
            Ok(report) if !self.was_interrupted => report.bad_line_count,
            _ => 0,
        }
    }

    /// What the process ends with if this is all it did.
    pub(super) fn status(&self) -> ExitStatus {
        let report = match &self.result {
            Ok(report) => report,
            Err(CheckFailure::NotBegun) => return ExitStatus::Unknown,
            Err(_) => return ExitStatus::Usage,
        };
        let verdict = match &report.verdict {
            Verdict::Violation(_) => ExitStatus::Violation,
            Verdict::Unknown(_) => ExitStatus::Unknown,
            Verdict::Ok if self.is_cut_short() => ExitStatus::Unknown,
            Verdict::Ok => ExitStatus::Ok,
        };
        let is_cut_off = report.truncated.is_some() && !self.was_interrupted;
        let is_bad = self.bad_line_count() > 0 || is_cut_off || self.picture_error.is_some();
        let input = match is_bad {
            true => ExitStatus::Usage,
            false => ExitStatus::Ok,
        };
        verdict.most_severe(input)
    }

    /// Tells on standard error what was wrong with the file.
    pub(super) fn print_complaints(&self) {
        let name = &self.name;
        match &self.result {
            Err(failure) => eprintln!("{name}: {failure}"),
            Ok(report) => {
                for line in self.bad_lines() {
                    eprintln!("{name}: {}", abridged(line));
                }
                let more = self.bad_line_count() - self.bad_lines().len() as u64;
                if more > 0 {
                    eprintln!("{name}: {more} more lines are no events");
                }
                if let Some(truncated) = report.truncated.as_ref().filter(|_| !self.was_interrupted)
                {
                    eprintln!("{name}: {truncated}; the rest is missing, what was read is checked");
                }
            }
        }
        if let Some(error) = &self.picture_error {
            eprintln!("{name}: no picture: {error}");
        }
    }

    /// One line for machines.
    pub(super) fn to_json(&self) -> Value {
        let report = match &self.result {
            Ok(report) => report,
            Err(failure) => {
                let error = failure.to_string();
                return json!({ "file": self.name, "verdict": "unknown", "error": error });
            }
        };
        let mut json = serde_json::to_value(report).expect("a report has a JSON form");
        json["file"] = json!(self.name);
        if self.is_cut_short() {
            json["verdict"] = json!("unknown");
            json["stopped_early"] = json!(true);
            json["cause"] = json!({
                "cause": "interrupted",
                "key": null,
                "events": [report.events, report.events],
                "text": "interrupted: what comes after these events was not checked",
            });
        }
        if self.was_interrupted
            && let Some(fields) = json.as_object_mut()
        {
            for torn in ["bad_lines", "bad_line_count", "truncated"] {
                fields.remove(torn);
            }
        }
        if let Some(robustness) = &self.robustness {
            json["clock_error"] = robustness.to_json();
        }
        json
    }
}
