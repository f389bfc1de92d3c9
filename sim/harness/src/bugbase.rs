//! Kept failures that are run again after every change (`bugbase/`).
//!
//! A failure with a planted bug has to be found again, and has to be gone without the
//! bug. Any other was repaired, and has to stay away.

use std::io;
use std::path::{Path, PathBuf};

use crate::artefact::{self, Kept, ReadError};
use crate::program::Program;
use crate::replay::{Outcome, Replay};
use crate::report::{Class, RunReport};
use crate::scenario::Plan;

/// Schedules under which a plan has to pass without its bug: any would do, if the bug was
/// the reason.
const CLEAN_SCHEDULES: u32 = 4;

/// What a kept failure has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Revisited {
    /// Its folder's name.
    pub name: String,
    /// What it was: class and signature.
    pub was: String,
    /// What it is now, in words.
    pub now: String,
    /// Whether that is as it should be.
    pub as_expected: bool,
}

/// The folders of kept failures in `dir`, by name.
///
/// # Errors
/// The folder cannot be listed.
pub fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.join(artefact::PLAN_FILE).exists() {
            entries.push(path);
        }
    }
    entries.sort();
    Ok(entries)
}

/// Runs a kept failure again and judges it.
///
/// # Errors
/// Its folder cannot be read.
pub fn revisit<P: Plan>(dir: &Path, replay: &Replay<'_>) -> Result<Revisited, ReadError> {
    let kept: Kept<P> = Kept::read(dir)?;
    let was = match kept.failure() {
        Some((class, signature)) => format!("{class} ({signature})"),
        None => Class::Ok.to_string(),
    };
    let replayed = replay.run(&kept, &kept.plan);
    let found = matches!(replayed.outcome, Outcome::Identical | Outcome::SameFailure);
    let (as_expected, now) = match &kept.plan.identity().planted {
        None => match replayed.outcome {
            Outcome::Passed => (true, "stays away".to_owned()),
            Outcome::Identical | Outcome::SameFailure | Outcome::OtherFailure => {
                (false, format!("is back: {}", replayed.report.verdict))
            }
        },
        Some(_) if !found => (
            false,
            format!("not found under {} schedules", replayed.schedules),
        ),
        Some(bug) => {
            let mut clean = kept.plan.clone();
            clean.set_planted(None);
            let few = Replay {
                schedules: replay.schedules.min(CLEAN_SCHEDULES),
                ..replay.clone()
            };
            let without = few.run(&kept, &clean);
            let found = format!(
                "found again ({}), ",
                match (replayed.outcome, replayed.schedules) {
                    (Outcome::Identical, _) => "the same run".to_owned(),
                    (Outcome::SameFailure | Outcome::OtherFailure | Outcome::Passed, schedules) =>
                        format!("schedule {schedules}"),
                }
            );
            match without.outcome {
                Outcome::Passed => (true, format!("{found}gone without {bug}")),
                Outcome::Identical | Outcome::SameFailure | Outcome::OtherFailure => (
                    false,
                    format!("{found}but without {bug}: {}", without.report.verdict),
                ),
            }
        }
    };
    Ok(Revisited {
        name: dir
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        was,
        now,
        as_expected,
    })
}

/// Writes what is needed to run a failure again, and no more: small enough for a
/// repository.
///
/// # Errors
/// It cannot be written.
pub fn write(
    program: &Program,
    from: &Path,
    to: &Path,
    plan: &impl Plan,
    report: &RunReport,
) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    let report = RunReport {
        reproduce: format!("{} replay {}", program.command, to.display()),
        ..report.clone()
    };
    artefact::write_json(&to.join(artefact::PLAN_FILE), plan)?;
    artefact::write_json(&to.join(artefact::REPORT_FILE), &report)?;
    std::fs::write(to.join("witness.txt"), artefact::witness(&report))?;
    for file in [artefact::DECISIONS_FILE, artefact::VERSION_FILE] {
        std::fs::copy(from.join(file), to.join(file))?;
    }
    Ok(())
}
