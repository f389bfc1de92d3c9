//! What documents show of runs is what the program prints.
//!
//! A comment in a document says which command printed the fenced block that follows it:
//! `<!-- printed by: cargo sim run --seed 4 -->`. The program prints the same again, but for
//! times and memory. With `in part` (`<!-- printed in part by: … -->`) the block may leave
//! lines out, anywhere.
//!
//! `VERIDICAL_README=write` lets the test write anew what differs. `VERIDICAL_SIM` names
//! another program than the one that was built with the test, such as an optimised one whose
//! times are worth showing.
#![cfg(madsim)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The documents that may have such comments.
const DOCUMENTS: [&str; 3] = [
    "README.md",
    "docs/reading-a-failure.md",
    "docs/campaigns.md",
];

/// Rows of a summary whose numbers depend on the machine.
const ROWS_OF_THE_MACHINE: [&str; 4] = [
    "  wall time ",
    "  simulated / wall ",
    "  verified operations/s ",
    "  peak memory ",
];

/// A block of a document that a command printed.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// The arguments for the simulator.
    arguments: Vec<String>,
    /// Whether lines may be left out.
    is_part: bool,
    /// The first line of what was printed, from 0 on, and the line behind the last one.
    lines: std::ops::Range<usize>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All marked blocks of a document.
fn blocks(document: &str) -> Vec<Block> {
    let lines: Vec<&str> = document.lines().collect();
    let mut blocks = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(mark) = line.strip_prefix("<!-- printed ") else {
            continue;
        };
        let (how, command) = mark
            .split_once("by: cargo sim")
            .expect("a mark has a command");
        let command = command.strip_suffix("-->").expect("a mark ends");
        let fence = lines[number..]
            .iter()
            .position(|line| line.starts_with("```"));
        let mut start = number + fence.expect("a block follows the mark") + 1;
        let length = lines[start..]
            .iter()
            .position(|line| line.starts_with("```"));
        let end = start + length.expect("the block ends");
        // The command itself may be shown above its output.
        if lines[start].starts_with("$ ") {
            start += 1;
        }
        blocks.push(Block {
            arguments: command.split_whitespace().map(str::to_owned).collect(),
            is_part: how.trim() == "in part",
            lines: start..end,
        });
    }
    blocks
}

/// A line without the numbers that depend on the machine, and with single spaces.
fn masked(line: &str) -> String {
    let is_of_the_machine = ROWS_OF_THE_MACHINE.iter().any(|row| line.starts_with(row));
    let is_result_of_recall = line.contains(": cargo sim run ");
    let words = line.split_whitespace().map(|word| {
        let is_decimal = word.parse::<f64>().is_ok() && word.contains('.');
        let hide = is_of_the_machine || (is_result_of_recall && is_decimal);
        let hide_seconds = line.starts_with("found ") && line.ends_with(" s");
        let is_number = word.trim_start_matches('(').parse::<f64>().is_ok();
        if (hide || (hide_seconds && line.ends_with(&format!("{word} s")))) && is_number {
            "#"
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a line that is shown is the one that was printed, but for the machine. A line
/// that ends with `…` shows the beginning of what was printed.
fn is_same(shown: &str, printed: &str) -> bool {
    match shown.strip_suffix('…') {
        Some(beginning) => masked(printed).starts_with(&masked(beginning)),
        None => masked(shown) == masked(printed),
    }
}

/// The line that takes the place of one that is shown: as long, if that one was cut.
fn replacement(shown: &str, printed: &str) -> String {
    let length = shown.chars().count();
    if !shown.ends_with('…') || printed.chars().count() <= length {
        return printed.to_owned();
    }
    let cut: String = printed.chars().take(length).collect();
    let end = cut.rfind(' ').unwrap_or(cut.len());
    format!("{} …", &cut[..end])
}

/// What a line is about: the label of a row, else its first word.
fn label(line: &str) -> &str {
    let text = line.trim_start();
    let end = text.find("  ").or_else(|| text.find(' '));
    &text[..end.unwrap_or(text.len())]
}

/// The lines that a document should show, given those that it shows and those that were
/// printed. What is equal but for the machine stays as it is.
fn renewed(block: &Block, shown: &[&str], printed: &[&str]) -> Vec<String> {
    if !block.is_part {
        let mut pairs = shown.iter().zip(printed);
        let is_true = shown.len() == printed.len() && pairs.all(|(a, b)| is_same(a, b));
        let lines = if is_true { shown } else { printed };
        return lines.iter().map(|line| (*line).to_owned()).collect();
    }
    let mut rest = printed.iter();
    let mut lines = Vec::new();
    for line in shown {
        let mut ahead = rest.clone();
        if line.trim() == "…" || ahead.any(|other| is_same(line, other)) {
            if line.trim() != "…" {
                rest = ahead;
            }
            lines.push((*line).to_owned());
            continue;
        }
        // The row has changed, or is gone.
        let mut ahead = rest.clone();
        if let Some(other) = ahead.find(|other| label(other) == label(line)) {
            lines.push(replacement(line, other));
            rest = ahead;
        }
    }
    lines
}

/// Runs the simulator where it may leave its artefacts.
fn printed_by(arguments: &[String]) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let program = std::env::var_os("VERIDICAL_SIM")
        .map(|program| {
            root()
                .join(program)
                .canonicalize()
                .expect("the program exists")
        })
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_veridical-sim").into());
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir.path())
        .output()
        .expect("the program starts");
    String::from_utf8(output.stdout).expect("what it prints is text")
}

/// The document with all of its blocks as they should be.
fn renew(document: &str) -> String {
    let mut lines: Vec<String> = document.lines().map(str::to_owned).collect();
    for block in blocks(document).iter().rev() {
        let printed = printed_by(&block.arguments);
        let printed: Vec<&str> = printed.lines().collect();
        let shown: Vec<&str> = lines[block.lines.clone()]
            .iter()
            .map(String::as_str)
            .collect();
        let renewed = renewed(block, &shown, &printed);
        lines.splice(block.lines.clone(), renewed);
    }
    lines.join("\n") + "\n"
}

#[test]
fn documents_show_what_the_program_prints() {
    let is_writing = std::env::var_os("VERIDICAL_README").is_some_and(|value| value == "write");
    let mut marked = 0;
    let mut differences = String::new();
    for name in DOCUMENTS {
        let path = root().join(name);
        let document = std::fs::read_to_string(&path).expect("the document is there");
        marked += blocks(&document).len();
        let renewed = renew(&document);
        if renewed == document {
            continue;
        }
        if is_writing {
            std::fs::write(&path, renewed).expect("the document is written");
        } else {
            let lines = document.lines().zip(renewed.lines());
            let first = lines.enumerate().find(|(_, (old, new))| old != new);
            differences.push_str(&format!("{name} is not what is printed now: {first:#?}\n"));
        }
    }
    assert!(marked >= 3, "only {marked} blocks are marked");
    assert!(
        differences.is_empty(),
        "{differences}VERIDICAL_README=write writes it anew (CONTRIBUTING.md)"
    );
}

#[test]
fn every_planted_bug_is_in_the_list_and_the_list_has_no_other() {
    let page = std::fs::read_to_string(root().join("docs/planted-bugs.md")).expect("it is there");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut listed: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let names = printed_by(&["list".to_owned()]);
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

const DOCUMENT: &str = "\
text
<!-- printed in part by: cargo sim run --seed 4 -->

```
$ cargo sim run --seed 4
  seeds      100
  …
  wall time              8.4 s (8.1 s of runs)
```
";

#[test]
fn a_mark_names_a_command_and_the_block_behind_it() {
    let block = Block {
        arguments: ["run", "--seed", "4"].map(str::to_owned).to_vec(),
        is_part: true,
        lines: 5..8,
    };
    assert_eq!(blocks(DOCUMENT), [block]);
    let whole = DOCUMENT.replace(" in part", "");
    assert!(!blocks(&whole)[0].is_part);
}

#[test]
fn times_may_differ_and_nothing_else() {
    let block = |is_part| Block {
        arguments: Vec::new(),
        is_part,
        lines: 0..0,
    };
    let shown = [
        "  seeds      100",
        "  wall time              8.4 s (8.1 s of runs)",
    ];
    let faster = [
        "  seeds      100",
        "  wall time              10.4 s (10.1 s of runs)",
    ];
    let other = [
        "  seeds      101",
        "  wall time              8.4 s (8.1 s of runs)",
    ];
    let more = ["  seeds      100", "  verdicts   1 ok", shown[1]];
    for is_part in [true, false] {
        assert_eq!(renewed(&block(is_part), &shown, &faster), shown);
        assert_eq!(renewed(&block(is_part), &shown, &other), other);
    }
    assert_eq!(renewed(&block(true), &shown, &more), shown);
    assert_eq!(renewed(&block(false), &shown, &more), more);
    assert_eq!(renewed(&block(true), &more, &shown), shown);
    let cut = ["  knobs a 1, b 2, …"];
    assert_eq!(renewed(&block(true), &cut, &["  knobs a 1, b 2, c 3"]), cut);
    let changed = renewed(&block(true), &cut, &["  knobs a 1, b 3, c 3, d 4"]);
    assert_eq!(changed, ["  knobs a 1, b 3, …"]);
    let recalled = "  torn-cut   yes   4  0.4  violation (wrong-result): cargo sim run --seed 4";
    assert_eq!(masked(recalled), masked(&recalled.replace("0.4", "12.9")));
    assert_ne!(
        masked(recalled),
        masked(&recalled.replace("yes   4", "yes   5"))
    );
    assert_eq!(
        masked("found 12 of 12; 7 s"),
        masked("found 12 of 12; 21 s")
    );
    assert_ne!(masked("found 12 of 12; 7 s"), masked("found 11 of 12; 7 s"));
}
