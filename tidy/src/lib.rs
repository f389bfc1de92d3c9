//! Rules about the workspace's own text that no compiler keeps: how long functions are, what
//! documents may name, which decoders have a fuzz target.
//!
//! Inputs: the files of the workspace, as text and parsed with `syn`.
//! Outputs: [`Finding`]s, each with a file, a line, a rule and a sentence.
//! Dependencies: none of the workspace's crates, so that it also reads what does not compile.
//!
//! `tests/workspace.rs` applies all rules. What is wrong today stands in `known.txt`, a list
//! that can only shrink: a count that grows fails the test, and so does one that is lower
//! than the list says.

pub mod attributes;
pub mod command_lines;
pub mod decoders;
pub mod documents;
pub mod error_causes;
pub mod functions;
pub mod known;
pub mod links;
pub mod markers;
pub mod matches;
pub mod names;
pub mod workspace;

use std::fmt;

use workspace::Workspace;

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A function has at most [`functions::LINES_MAX`] lines.
    FunctionLength,
    /// A function has at most [`functions::PARAMETERS_MAX`] parameters.
    Parameters,
    /// A file has at most [`markers::FILE_LINES_MAX`] lines.
    FileLength,
    /// A lint is switched off only with a reason.
    Reason,
    /// The text of an error names its cause.
    ErrorCause,
    /// Nothing that somebody meant to come back to is left.
    Marker,
    /// No wildcard arm swallows variants of an enum of this workspace.
    Wildcard,
    /// Paths and links of documents lead somewhere.
    DocumentPath,
    /// Commands and flags of documents are understood by the programs.
    DocumentCommand,
    /// Names of code in documents occur in the sources.
    DocumentSymbol,
    /// Whatever reads bytes from outside has a fuzz target, or a reason why not.
    Decoder,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 11] = [
        Self::FunctionLength,
        Self::Parameters,
        Self::FileLength,
        Self::Reason,
        Self::ErrorCause,
        Self::Marker,
        Self::Wildcard,
        Self::DocumentPath,
        Self::DocumentCommand,
        Self::DocumentSymbol,
        Self::Decoder,
    ];

    /// The name in reports and in the list of what is known.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FunctionLength => "function-length",
            Self::Parameters => "parameters",
            Self::FileLength => "file-length",
            Self::Reason => "reason",
            Self::ErrorCause => "error-cause",
            Self::Marker => "marker",
            Self::Wildcard => "wildcard",
            Self::DocumentPath => "document-path",
            Self::DocumentCommand => "document-command",
            Self::DocumentSymbol => "document-symbol",
            Self::Decoder => "decoder",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, relative to the root of the workspace.
    pub file: String,
    /// The rule.
    pub rule: Rule,
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong, as a sentence.
    pub text: String,
}

impl Finding {
    /// A finding.
    pub fn new(file: &str, line: usize, rule: Rule, text: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            rule,
            line,
            text: text.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: {}",
            self.file, self.line, self.rule, self.text
        )
    }
}

/// Applies all rules and returns what breaks them, ordered by file, rule and line.
pub fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &workspace.files {
        markers::check(file, &mut findings);
    }
    for source in &workspace.sources {
        functions::check(source, &mut findings);
        attributes::check(source, &mut findings);
        error_causes::check(source, &mut findings);
    }
    matches::check(&workspace.sources, &mut findings);
    documents::check(workspace, &mut findings);
    decoders::check(workspace, &mut findings);
    findings.sort();
    findings
}
