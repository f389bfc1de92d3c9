//! Documents name what exists: paths, commands with their flags, names of code.

use std::collections::BTreeMap;

use crate::command_lines::{Command, programs};
use crate::links::{Kind, Mention, anchor, mentions};
use crate::names::{Names, Symbol, symbol};
use crate::workspace::{TextFile, Workspace};
use crate::{Finding, Rule};

/// Documents about the past: what they name has to have existed then. Their links count.
const ABOUT_THE_PAST: [&str; 2] = ["CHANGELOG.md", "docs/experiments/"];

/// Flags that clap gives to each command.
const FLAGS_OF_CLAP: [&str; 2] = ["help", "version"];

/// Checks all documents.
pub fn check(workspace: &Workspace, findings: &mut Vec<Finding>) {
    let context = Context {
        workspace,
        names: Names::of(workspace),
        programs: programs(&workspace.sources),
    };
    for file in &workspace.files {
        if file.path.ends_with(".md") {
            context.check(file, findings);
        }
    }
}

struct Context<'a> {
    workspace: &'a Workspace,
    names: Names,
    programs: BTreeMap<String, Command>,
}

impl Context<'_> {
    fn check(&self, file: &TextFile, findings: &mut Vec<Finding>) {
        let is_past = ABOUT_THE_PAST
            .iter()
            .any(|path| file.path.starts_with(path));
        for mention in mentions(&file.text) {
            let problem = match mention.kind {
                Kind::Link => self.check_link(file, &mention),
                Kind::Code | Kind::Fenced if is_past => None,
                Kind::Code => self
                    .check_path(file, &mention.text)
                    .or_else(|| self.check_symbol(&mention.text))
                    .or_else(|| self.check_command(&mention.text)),
                Kind::Fenced => self.check_command(&mention.text),
            };
            if let Some((rule, text)) = problem {
                findings.push(Finding::new(&file.path, mention.line, rule, text));
            }
        }
    }

    fn check_link(&self, file: &TextFile, mention: &Mention) -> Option<(Rule, String)> {
        let target = mention.text.as_str();
        if target.contains("://") || target.starts_with("mailto:") {
            return None;
        }
        let (path, part) = target.split_once('#').unwrap_or((target, ""));
        let path = match path {
            "" => file.path.clone(),
            _ => resolve(folder_of(&file.path), path),
        };
        let problem = if !self.workspace.paths.contains(&path) {
            format!("the link to `{target}` leads nowhere")
        } else if !part.is_empty() && !self.has_heading(&path, part) {
            format!("`{path}` has no heading for `#{part}`")
        } else {
            return None;
        };
        Some((Rule::DocumentPath, problem))
    }

    fn has_heading(&self, path: &str, part: &str) -> bool {
        let text = self.workspace.text(path).unwrap_or_default();
        let mut headings = text.lines().filter(|line| line.starts_with('#'));
        headings.any(|line| anchor(line.trim_start_matches('#')) == part)
    }

    fn check_path(&self, file: &TextFile, code: &str) -> Option<(Rule, String)> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if !code.chars().all(is_part) {
            return None;
        }
        let path = code.trim_start_matches("./").trim_end_matches('/');
        let paths = &self.workspace.paths;
        let (first, _) = path.split_once('/').unwrap_or((path, ""));
        let is_file = [".rs", ".md", ".toml"].iter().any(|ending| {
            path.strip_suffix(ending)
                .is_some_and(|stem| !stem.is_empty() && !stem.ends_with('/'))
        });
        let is_path = is_file || (path.contains('/') && paths.contains(first));
        let exists = paths.contains(path)
            || paths.contains(&resolve(folder_of(&file.path), path))
            || (is_file && paths.iter().any(|known| ends_with_path(known, path)))
            || (is_file && self.is_written_by_a_program(path));
        (is_path && !exists).then(|| (Rule::DocumentPath, format!("`{code}` does not exist")))
    }

    /// Whether a source has the name as a string: then it is a file of results.
    fn is_written_by_a_program(&self, name: &str) -> bool {
        let text = format!("\"{name}\"");
        let mut sources = self.workspace.sources.iter();
        !name.contains('/') && sources.any(|source| source.text.contains(&text))
    }

    fn check_symbol(&self, code: &str) -> Option<(Rule, String)> {
        let exists = match symbol(code)? {
            Symbol::Member(owner, member) => self.names.has_both(owner, member),
            // A variant may be written in plans and reports in another case.
            Symbol::Single(name) => self.names.has(name) || self.names.has(&camel(name)),
        };
        (!exists).then(|| {
            (
                Rule::DocumentSymbol,
                format!("`{code}` occurs in no source"),
            )
        })
    }

    fn check_command(&self, line: &str) -> Option<(Rule, String)> {
        let problem = self.problem_of_command(line)?;
        Some((
            Rule::DocumentCommand,
            format!("`{}`: {problem}", line.trim()),
        ))
    }

    fn problem_of_command(&self, line: &str) -> Option<String> {
        let line = line.trim_start().trim_start_matches("$ ");
        let line = line.split(" #").next().unwrap_or(line);
        let ends = ["|", ">", "&&", ";", "--", "||"];
        let is_setting = |word: &&str| {
            word.split_once('=')
                .is_some_and(|(name, _)| !name.starts_with('-'))
        };
        let mut words = line
            .split_whitespace()
            .skip_while(is_setting)
            .take_while(|word| !ends.contains(word));
        let program = words.next()?;
        let words: Vec<&str> = words.collect();
        let last = program.rsplit('/').next().unwrap_or(program);
        match (last, words.first()) {
            ("cargo", Some(&"sim")) => self.problem_with("cargo sim", &words[1..]),
            ("veridical-sim", _) => self.problem_with("cargo sim", &words),
            ("cargo", _) => self.problem_with_packages(&words),
            (name, _) => self.problem_with(name, &words),
        }
    }

    /// Packages that a command of cargo names have to be in the workspace.
    fn problem_with_packages(&self, words: &[&str]) -> Option<String> {
        let named = words
            .windows(2)
            .filter(|two| matches!(two[0], "-p" | "--package"));
        named.map(|two| two[1]).find_map(|package| {
            let is_ours = package.starts_with("veridical");
            let line = format!("name = \"{package}\"");
            let exists = self.workspace.files.iter().any(|file| {
                file.path.ends_with("Cargo.toml") && file.text.lines().any(|text| text == line)
            });
            (is_ours && !exists).then(|| format!("there is no package `{package}`"))
        })
    }

    fn problem_with(&self, program: &str, words: &[&str]) -> Option<String> {
        let mut command = self.programs.get(program)?;
        let mut said = program.to_owned();
        let is_name = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        for word in words {
            if let Some(flag) = word.strip_prefix("--") {
                let flag = flag.split(['=', '`', ',']).next().unwrap_or(flag);
                let exists = command.flags.iter().any(|known| known == flag);
                if !exists && !FLAGS_OF_CLAP.contains(&flag) && is_name(flag) {
                    return Some(format!("`{said}` has no flag `--{flag}`"));
                }
            } else if let Some(below) = command.commands.get(*word) {
                command = below;
                said = format!("{said} {word}");
            } else if said == program
                && !command.commands.is_empty()
                && is_name(word)
                && !word.starts_with('-')
            {
                return Some(format!("`{program}` has no command `{word}`"));
            }
        }
        None
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A path relative to a folder, without `.` and `..`.
fn resolve(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// `snake_case` as `SnakeCase`.
fn camel(name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    words
        .map(|word| word[..1].to_ascii_uppercase() + &word[1..])
        .collect()
}

/// Whether the last parts of `path` are those of `end`.
fn ends_with_path(path: &str, end: &str) -> bool {
    path.strip_suffix(end)
        .is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Source;

    const PROGRAM: &str = r#"
        #[derive(Parser)]
        #[command(name = "cargo sim")]
        struct CommandLine { #[command(subcommand)] command: Commands }
        #[derive(Subcommand)]
        enum Commands { Run { #[arg(long)] seed: u64 } }
        const QUEUE_MAX: usize = 1;
        const RESULT: &str = "summary.md";
        enum Schedule { DelayBounded }
        impl Node { fn put_key(&self) {} }
    "#;

    fn problems(document: &str) -> Vec<Rule> {
        let file = |path: &str, text: &str| TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let source = Source::parse("core/src/node.rs", PROGRAM).expect("it is Rust");
        let files = vec![
            file("docs/page.md", document),
            file("docs/other.md", "# A heading\n"),
            file("core/src/node.rs", PROGRAM),
            file("core/Cargo.toml", "name = \"veridical-node\"\n"),
        ];
        let folders = ["docs", "core", "core/src"].map(str::to_owned);
        let workspace = Workspace {
            paths: files
                .iter()
                .map(|file| file.path.clone())
                .chain(folders)
                .collect(),
            files,
            sources: vec![source],
        };
        let mut findings = Vec::new();
        check(&workspace, &mut findings);
        findings.iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn what_exists_may_be_named() {
        for text in [
            "`core/src/node.rs`, `node.rs`, `src/node.rs`, `core/src/`, `other.md`",
            "[a](other.md), [b](other.md#a-heading), [c](../core/src), [d](https://example.org)",
            "`summary.md`, `delay_bounded`",
            "`Node::put_key`, `QUEUE_MAX`, `put_key()`, `torn-cut`, `a/b`",
            "`cargo sim run --seed 4`, `cargo sim … --help`, `cargo test -p veridical-node`",
            "```\n$ cargo sim run --seed=4 | grep --no\n```",
        ] {
            assert_eq!(problems(text), [], "{text}");
        }
    }

    #[test]
    fn what_does_not_exist_is_found() {
        for (text, rule) in [
            ("`core/src/driver.rs`", Rule::DocumentPath),
            ("`driver.rs`", Rule::DocumentPath),
            ("[a](gone.md)", Rule::DocumentPath),
            ("[a](other.md#nothing)", Rule::DocumentPath),
            ("`Node::get_key`", Rule::DocumentSymbol),
            ("`STACK_MAX`", Rule::DocumentSymbol),
            ("`Knobs`", Rule::DocumentSymbol),
            ("`cargo sim swim`", Rule::DocumentCommand),
            ("`cargo sim run --sea 4`", Rule::DocumentCommand),
            (
                "```\nA=1 cargo sim run \\\n  --sea 4\n```",
                Rule::DocumentCommand,
            ),
            ("`cargo test -p veridical-gone`", Rule::DocumentCommand),
        ] {
            assert_eq!(problems(text), [rule], "{text}");
        }
    }
}
