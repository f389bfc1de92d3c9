//! `cargo sim view`.

use std::fs::File;
use std::io::{BufWriter, Write};

use super::shown::Shown;
use crate::artefact::{Kept, PAGE_FILE, RECORDING_FILE};
use crate::command_line::ViewArguments;
use crate::error::{CommandError, file_error};
use crate::isolated::keep_run;
use crate::output::print_line;
use crate::program::Program;
use crate::scenario::Scenario;

/// Shows the failure in a folder. One without a recording, as those of `bugbase/`, is run
/// again first.
///
/// # Errors
/// See [`CommandError`].
pub fn view<S: Scenario>(scenario: &S, arguments: &ViewArguments) -> Result<u8, CommandError> {
    let shown: Shown<S> = if arguments.dir.join(RECORDING_FILE).exists() {
        Shown::read(&arguments.dir)?
    } else {
        let kept: Kept<S::Plan> = Kept::read(&arguments.dir)?;
        let program = Program::this(&scenario.about())?;
        let again = std::env::temp_dir().join(format!("veridical-view-{}", std::process::id()));
        let report = keep_run(&program, &kept.plan, kept.decisions.as_deref(), &again);
        if report.digest != kept.report.digest {
            print_line!(
                "not the same run any more: {}, was {}",
                report.verdict,
                kept.report.verdict
            );
        }
        let shown = Shown::read(&again)?;
        std::fs::remove_dir_all(&again).map_err(file_error(&again))?;
        shown
    };
    let path = match &arguments.output {
        Some(path) => path.clone(),
        None => arguments.dir.join(PAGE_FILE),
    };
    let mut file = BufWriter::new(File::create(&path).map_err(file_error(&path))?);
    let written = match arguments.trace {
        Some(_) => shown.view().write_trace(scenario, &mut file),
        None => shown.view().write_page(scenario, &mut file),
    };
    written
        .and_then(|()| file.flush())
        .map_err(file_error(&path))?;
    print_line!("{}", path.display());
    Ok(0)
}
