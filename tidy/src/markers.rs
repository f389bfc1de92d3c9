//! What somebody meant to come back to, and files that nobody reads to their end.

use crate::workspace::TextFile;
use crate::{Finding, Rule};

/// Lines of a file at most.
pub const FILE_LINES_MAX: usize = 900;

/// Words that must not be left. They are put together here so that this file has none.
const WORDS: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

/// Calls that must not be left in sources.
const CALLS: [&str; 3] = [
    concat!("db", "g!("),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
];

/// Kinds of files that are written by hand.
const ENDINGS: [&str; 9] = [
    ".rs", ".md", ".toml", ".js", ".css", ".proto", ".sbatch", ".yaml", ".txt",
];

/// Finds markers, and files that are too long.
pub fn check(file: &TextFile, findings: &mut Vec<Finding>) {
    let has_no_ending = !file.path.rsplit('/').next().unwrap_or("").contains('.');
    if !has_no_ending && !ENDINGS.iter().any(|ending| file.path.ends_with(ending)) {
        return;
    }
    let mut report = |line, rule, text: String| {
        findings.push(Finding::new(&file.path, line, rule, text));
    };
    for (number, line) in file.text.lines().enumerate() {
        let is_word = |word: &&&str| has_word(line, word);
        if let Some(word) = WORDS.iter().find(is_word) {
            report(number + 1, Rule::Marker, format!("`{word}` is left"));
        }
        let is_source = file.path.ends_with(".rs");
        if let Some(call) = CALLS.iter().find(|call| is_source && line.contains(**call)) {
            report(number + 1, Rule::Marker, format!("`{call}…)` is left"));
        }
    }
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        let text = format!("{lines} lines, more than {FILE_LINES_MAX}");
        report(lines, Rule::FileLength, text);
    }
}

/// Whether `word` occurs in `line`, not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let behind = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !behind.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(Rule, usize)> {
        let file = TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let mut findings = Vec::new();
        check(&file, &mut findings);
        findings
            .iter()
            .map(|finding| (finding.rule, finding.line))
            .collect()
    }

    #[test]
    fn a_marker_is_found_and_a_longer_word_is_none() {
        for word in WORDS {
            assert_eq!(
                rules("a.rs", &format!("\n// {word}: later")),
                [(Rule::Marker, 2)]
            );
            assert_eq!(rules("test", &format!("# {word}")), [(Rule::Marker, 1)]);
            assert_eq!(rules("a.rs", &format!("let {word}_MAX = 1;")), []);
        }
        for call in CALLS {
            assert_eq!(rules("a.rs", &format!("{call})")), [(Rule::Marker, 1)]);
        }
        assert_eq!(rules("a.png", WORDS[0]), []);
    }

    #[test]
    fn a_file_of_901_lines_is_too_long() {
        assert_eq!(rules("a.rs", &"\n".repeat(FILE_LINES_MAX)), []);
        let long = "\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(
            rules("a.rs", &long),
            [(Rule::FileLength, FILE_LINES_MAX + 1)]
        );
        assert_eq!(rules("decisions.jsonl", &long), []);
    }
}
