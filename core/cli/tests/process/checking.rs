//! `check` and `history`, which the program has in common with `veridical-check`.

use crate::member::program;

#[test]
fn a_violation_names_the_command_of_this_program_that_reproduces_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("h.jsonl").display().to_string();
    let generated = program()
        .args(["history", "gen", "--ops=3000", "--inject=stale-read", "-o"])
        .arg(&file)
        .output()
        .expect("it runs");
    assert_eq!(generated.status.code(), Some(0), "{generated:?}");
    let checked = program()
        .args(["check", "--model=kv", &file])
        .output()
        .expect("it runs");
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    let said = String::from_utf8_lossy(&checked.stdout);
    let first = said.lines().next().expect("a line");
    assert_eq!(first, format!("veridical check --model=kv {file}"));
}
