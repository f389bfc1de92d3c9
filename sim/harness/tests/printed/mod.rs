//! What documents show of runs is what the program prints.
//!
//! A comment in a document says which command printed the fenced block that follows it:
//! `<!-- printed by: cargo sim run --seed 4 -->`. The program prints the same again, but for
//! times and memory. With `in part` (`<!-- printed in part by: … -->`) the block may leave
//! lines out, anywhere, and may show what stands on standard error before the rest. Of several commands with `&&` between them the last one printed the
//! block; the others made what it needs.
//!
//! `VERIDICAL_README=write` lets the test write anew what differs.

use std::path::{Path, PathBuf};
use std::process::Command;

#[cfg(test)]
mod tests;

/// Rows of a summary whose numbers depend on the machine.
const ROWS_OF_THE_MACHINE: [&str; 4] = [
    "  wall time ",
    "  simulated / wall ",
    "  verified operations/s ",
    "  peak memory ",
];

/// A program whose output documents show.
pub struct Program<'a> {
    /// How a person calls it, such as `cargo sim`.
    pub command: &'a str,
    /// Its file.
    pub path: PathBuf,
}

/// A block of a document that a command printed.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// The arguments of each command, in their order: the last one printed the block, those
    /// before it made what that one needs.
    commands: Vec<Vec<String>>,
    /// Whether lines may be left out.
    is_part: bool,
    /// The first line of what was printed, from 0 on, and the line behind the last one.
    lines: std::ops::Range<usize>,
}

/// All blocks of a document that are marked with a command of that program.
fn blocks(document: &str, command: &str) -> Vec<Block> {
    let lines: Vec<&str> = document.lines().collect();
    let mut blocks = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(mark) = line.strip_prefix("<!-- printed ") else {
            continue;
        };
        let (how, line) = mark.split_once("by: ").expect("a mark has a command");
        let line = line.strip_suffix("-->").expect("a mark ends");
        let arguments = |one: &str| {
            let arguments = one.trim().strip_prefix(command)?.strip_prefix(' ')?;
            Some(arguments.split_whitespace().map(str::to_owned).collect())
        };
        // Those of other programs are left to their own tests.
        let Some(commands) = line.split("&&").map(arguments).collect() else {
            continue;
        };
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
            commands,
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
        if (hide || (hide_seconds && line.ends_with(&format!(" {word} s")))) && is_number {
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

/// Runs the commands where they may leave their artefacts; what the last one prints, behind
/// what it says on standard error if that is wanted.
pub fn printed_by(program: &Path, commands: &[Vec<String>], with_errors: bool) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let mut printed = Vec::new();
    for arguments in commands {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(dir.path())
            .output()
            .expect("the program starts");
        printed.clear();
        if with_errors {
            printed.extend(output.stderr);
        }
        printed.extend(output.stdout);
    }
    String::from_utf8(printed).expect("what it prints is text")
}

/// The document with all of its blocks of that program as they should be.
fn renew(document: &str, program: &Program<'_>) -> String {
    let mut lines: Vec<String> = document.lines().map(str::to_owned).collect();
    for block in blocks(document, program.command).iter().rev() {
        let printed = printed_by(&program.path, &block.commands, block.is_part);
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

/// Compares what the documents show of the program with what it prints, or writes it anew;
/// the number of blocks.
///
/// # Panics
/// If something differs.
pub fn assert_documents_are_true(root: &Path, names: &[&str], program: &Program<'_>) -> usize {
    let is_writing = std::env::var_os("VERIDICAL_README").is_some_and(|value| value == "write");
    let mut marked = 0;
    let mut differences = String::new();
    for name in names {
        let path = root.join(name);
        let document = std::fs::read_to_string(&path).expect("the document is there");
        marked += blocks(&document, program.command).len();
        let renewed = renew(&document, program);
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
    assert!(
        differences.is_empty(),
        "{differences}VERIDICAL_README=write writes it anew (CONTRIBUTING.md)"
    );
    marked
}
