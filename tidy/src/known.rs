//! The list of what is wrong today, which can only shrink.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::{Finding, Rule};

/// How many findings of a rule a file has.
pub type Counts = BTreeMap<(String, Rule), usize>;

/// What stands at the beginning of the list.
const HEAD: &str = "\
# What breaks a rule of tidy today: file, rule, how often. The list can only shrink: a count
# that grows fails the test, and so does one that is lower than this list says. After a
# repair, `VERIDICAL_TIDY=shrink cargo test -p veridical-tidy` lowers the counts.
";

/// Counts findings by file and rule.
pub fn count(findings: &[Finding]) -> Counts {
    let mut counts = Counts::new();
    for finding in findings {
        *counts
            .entry((finding.file.clone(), finding.rule))
            .or_default() += 1;
    }
    counts
}

/// Reads a list.
///
/// # Errors
/// A line does not have the form `FILE RULE COUNT`; the error names it.
pub fn parse(text: &str) -> Result<Counts, String> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| entry(line).ok_or_else(|| format!("not an entry: {line}")))
        .collect()
}

fn entry(line: &str) -> Option<((String, Rule), usize)> {
    let mut words = line.split_whitespace();
    let (file, rule, count) = (words.next()?, words.next()?, words.next()?);
    let rule = Rule::ALL.into_iter().find(|known| known.name() == rule)?;
    let count: usize = count.parse().ok()?;
    (words.next().is_none() && count > 0).then(|| ((file.to_owned(), rule), count))
}

/// Writes a list.
pub fn render(counts: &Counts) -> String {
    let mut text = HEAD.to_owned();
    for ((file, rule), count) in counts {
        // Text takes whatever is written to it.
        let _ = writeln!(text, "{file} {rule} {count}");
    }
    text
}

/// The list without what has been repaired. Nothing is added and no count grows.
pub fn shrink(known: &Counts, found: &Counts) -> Counts {
    let lower = |(key, count): (&(String, Rule), &usize)| {
        let now = found.get(key).copied().unwrap_or(0).min(*count);
        (now > 0).then(|| (key.clone(), now))
    };
    known.iter().filter_map(lower).collect()
}

/// What differs between the findings and the list, a line for each; empty if nothing does.
pub fn differences(findings: &[Finding], known: &Counts) -> String {
    let found = count(findings);
    let mut text = String::new();
    for (key, count) in &found {
        let allowed = known.get(key).copied().unwrap_or(0);
        if *count > allowed {
            let (file, rule) = key;
            let _ = writeln!(
                text,
                "{file} {rule} {count}: more than the {allowed} that are known"
            );
            let here = findings
                .iter()
                .filter(|finding| (&finding.file, &finding.rule) == (file, rule));
            for finding in here {
                let _ = writeln!(text, "    {finding}");
            }
        }
    }
    for (key, count) in known {
        let now = found.get(key).copied().unwrap_or(0);
        if now < *count {
            let (file, rule) = key;
            let _ = writeln!(text, "{file} {rule} {now}: the list still says {count}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(count: usize) -> Vec<Finding> {
        let finding = |line| Finding::new("a.rs", line, Rule::Wildcard, "text");
        (1..=count).map(finding).collect()
    }

    #[test]
    fn a_count_may_neither_grow_nor_stay_behind() {
        let known = parse("# A comment.\na.rs wildcard 2\n").expect("a list");
        assert_eq!(differences(&findings(2), &known), "");
        assert!(differences(&findings(3), &known).contains("a.rs:3: wildcard: text"));
        assert!(differences(&findings(1), &known).contains("the list still says 2"));
        assert!(differences(&findings(0), &known).contains("the list still says 2"));
        assert!(differences(&findings(1), &Counts::new()).contains("more than the 0"));
    }

    #[test]
    fn shrinking_lowers_counts_and_adds_nothing() {
        let known = parse("a.rs wildcard 2\nb.rs marker 1\n").expect("a list");
        let lower = shrink(&known, &count(&findings(1)));
        assert_eq!(render(&lower), format!("{HEAD}a.rs wildcard 1\n"));
        assert_eq!(
            shrink(&known, &count(&findings(9)))[&("a.rs".to_owned(), Rule::Wildcard)],
            2
        );
        assert!(shrink(&Counts::new(), &count(&findings(1))).is_empty());
    }

    #[test]
    fn a_line_that_is_no_entry_is_refused() {
        for line in [
            "a.rs wildcard",
            "a.rs nothing 1",
            "a.rs wildcard 0",
            "a.rs wildcard 1 x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
