//! Scripts that stand in for the program that runs plans, for tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::Program;
use crate::report::RunReport;

/// A program that reports `with` if `word` is on its command line or standard input, and
/// `without` otherwise.
pub fn program(name: &str, word: &str, with: &RunReport, without: &RunReport) -> Program {
    let [with, without] =
        [with, without].map(|report| serde_json::to_string(report).expect("written"));
    let text =
        format!("case \"$* $(cat)\" in\n*{word}*) echo '{with}';;\n*) echo '{without}';;\nesac");
    Program {
        path: script(name, &text),
        command: "cargo sim".to_owned(),
    }
}

/// The path of a program of a test's own: what this script does.
///
/// Another process writes it. If this one did, a process that another test starts meanwhile
/// would hold the file open for writing until it has become its own program, and a file that
/// anybody writes cannot be run ("text file busy").
pub fn script(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("veridical-{name}-{}", std::process::id()));
    write_elsewhere(&path, &format!("#!/bin/sh\n{text}\n"));
    path
}

fn write_elsewhere(path: &Path, text: &str) {
    let written = Command::new("sh")
        .args([
            "-c",
            "printf %s \"$1\" >\"$2\" && chmod 700 \"$2\"",
            "sh",
            text,
        ])
        .arg(path)
        .status()
        .expect("a shell is there");
    assert!(written.success(), "{}: {written}", path.display());
}
