//! The workspace keeps the rules, but for what `known.txt` lists.

use std::path::{Path, PathBuf};
use veridical_tidy::workspace::Workspace;
use veridical_tidy::{check, known};

/// Set to `shrink`, this variable lets the test lower the counts of the list.
const VARIABLE: &str = "VERIDICAL_TIDY";

fn tidy_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn the_workspace_keeps_the_rules() {
    let workspace = Workspace::read(&tidy_dir().join("..")).expect("the workspace is read");
    assert!(workspace.sources.len() > 100, "the sources are found");
    let findings = check(&workspace);
    let file = tidy_dir().join("known.txt");
    let list = std::fs::read_to_string(&file).expect("the list is read");
    let mut known = known::parse(&list).expect("the list is well formed");
    if std::env::var_os(VARIABLE).is_some_and(|value| value == "shrink") {
        known = known::shrink(&known, &known::count(&findings));
        std::fs::write(&file, known::render(&known)).expect("the list is written");
    }
    let differences = known::differences(&findings, &known);
    assert!(
        differences.is_empty(),
        "{differences}\nRepair what is new; lower what was repaired with {VARIABLE}=shrink."
    );
}
