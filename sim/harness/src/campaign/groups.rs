//! Failures of the same sort, as one entry: by class, by signature, by the place in the
//! code if they name one, and by what is left of the plan when it was made small.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::report::{Class, RunReport};
use crate::size::Size;

/// What failures have in common that are of the same sort.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Signature {
    /// Of which kind.
    pub class: Class,
    /// Of which sort.
    pub signature: String,
    /// The place in the code, for a panic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// A failure that was kept.
#[derive(Clone, Debug, Serialize)]
pub struct KeptFailure {
    /// Its seed.
    pub seed: u64,
    /// Its folder.
    pub folder: PathBuf,
    /// The folder of the small one, and how big that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<(PathBuf, Size)>,
    /// What the small one consists of, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
}

/// Failures of the same sort.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// What they have in common.
    #[serde(flatten)]
    pub signature: Signature,
    /// Their seeds, ascending.
    pub seeds: Vec<u64>,
    /// The command that runs the first.
    pub reproduce: String,
    /// What the first says.
    pub text: String,
    /// Those that were kept.
    pub kept: Vec<KeptFailure>,
}

impl Group {
    /// A name for folders.
    pub fn name(&self) -> String {
        format!("{}-{}", self.signature.class, self.signature.signature)
    }

    /// The different shapes of the small plans: more than one says that there may be
    /// more than one cause.
    pub fn shapes(&self) -> BTreeSet<&str> {
        self.kept
            .iter()
            .filter_map(|kept| kept.shape.as_deref())
            .collect()
    }
}

/// The failures among the reports by what they have in common, the most severe first.
pub fn group<'a>(reports: impl IntoIterator<Item = &'a RunReport>) -> Vec<Group> {
    let mut groups: BTreeMap<Signature, Group> = BTreeMap::new();
    for report in reports {
        let Some(finding) = &report.finding else {
            continue;
        };
        let signature = Signature {
            class: finding.class,
            signature: finding.signature.clone(),
            location: (finding.class == Class::Crash)
                .then(|| location(&finding.text))
                .flatten(),
        };
        let group = groups.entry(signature.clone()).or_insert_with(|| Group {
            signature,
            seeds: Vec::new(),
            reproduce: report.reproduce.clone(),
            text: finding.text.clone(),
            kept: Vec::new(),
        });
        if group
            .seeds
            .first()
            .is_some_and(|first| report.seed < *first)
        {
            group.reproduce = report.reproduce.clone();
            group.text = finding.text.clone();
        }
        group.seeds.push(report.seed);
        group.seeds.sort_unstable();
    }
    groups.into_values().collect()
}

/// The first place in source code that a text names, as `file.rs:line`.
fn location(text: &str) -> Option<String> {
    const MARK: &str = ".rs:";
    let mark = text.find(MARK)?;
    let start = text[..mark]
        .rfind(|c: char| c.is_whitespace() || c == '(' || c == '\'')
        .map_or(0, |before| before + 1);
    let line: String = text[mark + MARK.len()..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    (!line.is_empty()).then(|| format!("{}{MARK}{line}", &text[start..mark]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Finding;

    fn failed(seed: u64, class: Class, signature: &str, text: &str) -> RunReport {
        RunReport::of_seed(seed, Finding::new(class, signature, text))
    }

    #[test]
    fn failures_are_grouped_by_what_they_have_in_common_the_most_severe_first() {
        let reports = [
            failed(9, Class::Liveness, "no-progress", "a"),
            failed(4, Class::Liveness, "no-progress", "b"),
            failed(5, Class::Crash, "panic", "panicked at core/a.rs:12:5: x"),
            failed(6, Class::Crash, "panic", "panicked at core/a.rs:40:5: x"),
            failed(7, Class::Violation, "watch", "c"),
        ];
        let groups = group(&reports);
        let seeds: Vec<_> = groups.iter().map(|group| group.seeds.clone()).collect();
        assert_eq!(seeds, [vec![7], vec![5], vec![6], vec![4, 9]]);
        assert_eq!(groups[3].text, "b");
        assert_eq!(
            groups[1].signature.location.as_deref(),
            Some("core/a.rs:12")
        );
    }

    #[test]
    fn a_location_is_found_where_there_is_one() {
        assert_eq!(location("x (src/b.rs:7)"), Some("src/b.rs:7".to_owned()));
        assert_eq!(location("b.rs:1"), Some("b.rs:1".to_owned()));
        assert_eq!(location("b.rs: nothing"), None);
        assert_eq!(location("nothing"), None);
    }
}
