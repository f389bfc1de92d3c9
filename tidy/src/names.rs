//! Which words occur in what is no document.

use std::collections::{BTreeMap, BTreeSet};

use crate::workspace::Workspace;

/// The words of each file that is no document.
#[derive(Clone, Debug, Default)]
pub struct Names {
    by_file: BTreeMap<String, BTreeSet<String>>,
    all: BTreeSet<String>,
}

impl Names {
    /// Collects the words of all files but documents.
    pub fn of(workspace: &Workspace) -> Self {
        let mut names = Self::default();
        for file in &workspace.files {
            // What a file of data holds was written by a program, perhaps by an older one.
            let is_data = file.path.starts_with("bugbase/") || file.path == "Cargo.lock";
            if file.path.ends_with(".md") || is_data || file.path.starts_with("tidy/") {
                continue;
            }
            let words: BTreeSet<String> = words(&file.text).map(str::to_owned).collect();
            names.all.extend(words.iter().cloned());
            names.by_file.insert(file.path.clone(), words);
        }
        names
    }

    /// Whether some file has the word.
    pub fn has(&self, word: &str) -> bool {
        self.all.contains(word)
    }

    /// Whether some file has both words.
    pub fn has_both(&self, first: &str, second: &str) -> bool {
        let mut files = self.by_file.values();
        files.any(|words| words.contains(first) && words.contains(second))
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(move |c| !is_part(c))
        .filter(|word| !word.is_empty())
}

/// A name of code, as documents write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symbol<'a> {
    /// `Type::member`.
    Member(&'a str, &'a str),
    /// A type, a constant, a function or a field.
    Single(&'a str),
}

/// What a piece of code names, if it is no more than a name that only code has: with an
/// underscore, in capitals, in camel case or with `::`.
pub fn symbol(code: &str) -> Option<Symbol<'_>> {
    let code = code.strip_suffix("()").unwrap_or(code);
    let code = code.strip_suffix('!').unwrap_or(code);
    let is_name = |text: &str| {
        let mut chars = text.chars();
        let first = chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        first && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if let Some((path, member)) = code.rsplit_once("::") {
        let owner = path.rsplit("::").next()?;
        let is_type = owner.starts_with(|c: char| c.is_ascii_uppercase());
        return (is_name(owner) && is_name(member) && is_type)
            .then_some(Symbol::Member(owner, member));
    }
    let has_lower = code.contains(|c: char| c.is_ascii_lowercase());
    let has_upper = code.contains(|c: char| c.is_ascii_uppercase());
    let is_camel = code.starts_with(|c: char| c.is_ascii_uppercase()) && has_lower;
    let is_snake = code.trim_matches('_').contains('_') && !(has_lower && has_upper);
    (is_name(code) && (is_camel || is_snake)).then_some(Symbol::Single(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_code_are_told_from_other_words() {
        assert_eq!(
            symbol("Limits::validate"),
            Some(Symbol::Member("Limits", "validate"))
        );
        assert_eq!(symbol("a::B::c()"), Some(Symbol::Member("B", "c")));
        assert_eq!(
            symbol("SESSION_WINDOW_MAX"),
            Some(Symbol::Single("SESSION_WINDOW_MAX"))
        );
        assert_eq!(symbol("retry_ms"), Some(Symbol::Single("retry_ms")));
        assert_eq!(symbol("Knobs"), Some(Symbol::Single("Knobs")));
        for other in [
            "put", "torn-cut", "OUT", "a b", "std::mem", "x=1", "<T>::f", "_", "1_0",
        ] {
            assert_eq!(symbol(other), None, "{other}");
        }
    }
}
