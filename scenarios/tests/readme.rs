//! What documents show of runs is what the program prints: see `printed`, whose marks the
//! documents have.
//!
//! `VERIDICAL_SIM` names another program than the one that was built with the test, such as
//! an optimised one whose times are worth showing.
#![cfg(madsim)]

#[path = "../../sim/harness/tests/printed/mod.rs"]
mod printed;

use std::path::{Path, PathBuf};

/// The documents that may have such marks.
const DOCUMENTS: [&str; 3] = [
    "README.md",
    "docs/reading-a-failure.md",
    "docs/campaigns.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn simulator() -> PathBuf {
    match std::env::var_os("VERIDICAL_SIM") {
        Some(program) => root()
            .join(program)
            .canonicalize()
            .expect("the program exists"),
        None => env!("CARGO_BIN_EXE_veridical-sim").into(),
    }
}

#[test]
fn documents_show_what_the_program_prints() {
    let program = printed::Program {
        command: "cargo sim",
        path: simulator(),
    };
    let marked = printed::assert_documents_are_true(&root(), &DOCUMENTS, &program);
    assert!(marked >= 3, "only {marked} blocks are marked");
}

#[test]
fn every_planted_bug_is_in_the_list_and_the_list_has_no_other() {
    let page = std::fs::read_to_string(root().join("docs/planted-bugs.md")).expect("it is there");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut listed: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let names = printed::printed_by(&simulator(), &[vec!["list".to_owned()]], false);
    let (_, names) = names
        .split_once("planted bugs:")
        .expect("the program names its bugs");
    let mut planted: Vec<&str> = names.split_whitespace().collect();
    listed.sort_unstable();
    planted.sort_unstable();
    assert_eq!(listed, planted);
    let count = format!("{} defects", planted.len());
    for name in ["README.md", "docs/planted-bugs.md"] {
        let text = std::fs::read_to_string(root().join(name)).expect("it is there");
        assert!(text.contains(&count), "{name} does not say \"{count}\"");
    }
}
