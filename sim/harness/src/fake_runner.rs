//! A script that stands in for the program that runs plans, for tests.

use std::os::unix::fs::PermissionsExt;

use crate::program::Program;
use crate::report::RunReport;

/// A program that reports `with` if `word` is on its command line or standard input, and
/// `without` otherwise.
pub fn program(name: &str, word: &str, with: &RunReport, without: &RunReport) -> Program {
    let [with, without] =
        [with, without].map(|report| serde_json::to_string(report).expect("written"));
    let script = format!(
        "#!/bin/sh\ncase \"$* $(cat)\" in\n*{word}*) echo '{with}';;\n*) echo '{without}';;\nesac\n"
    );
    let path = std::env::temp_dir().join(format!("veridical-{name}-{}", std::process::id()));
    std::fs::write(&path, script).expect("written");
    let executable = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(&path, executable).expect("changed");
    Program {
        path,
        command: "cargo sim".to_owned(),
    }
}
