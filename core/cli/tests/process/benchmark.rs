//! `veridical bench` as a process, and what it says.

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::member::program;

/// A benchmark whose members have their folders in `scratch`.
pub fn bench(scratch: &TempDir, flags: &[&str]) -> Command {
    let mut command = program();
    command
        .arg("bench")
        .args(flags)
        .env("TMPDIR", scratch.path())
        .stdin(Stdio::null());
    command
}

pub fn scratch() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Whether nothing is left in it.
pub fn is_empty(folder: &TempDir) -> bool {
    let mut entries = std::fs::read_dir(folder.path()).expect("the folder is there");
    entries.next().is_none()
}

pub fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {output:?}");
    })
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
