//! A lint is switched off only where a reason stands beside it.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use std::str::FromStr;

use crate::workspace::Source;
use crate::{Finding, Rule};

/// Finds `#[allow]` and `#[expect]` without a `reason = "…"` and without a comment, be it in
/// the same line or in the one above. It looks at tokens, so that macros are seen as well.
pub fn check(source: &Source, findings: &mut Vec<Finding>) {
    // A file that was parsed consists of tokens.
    let tokens = TokenStream::from_str(&source.text).unwrap_or_default();
    let lines: Vec<&str> = source.text.lines().collect();
    look_at(tokens, &mut |line, name| {
        if !has_comment(&lines, line) {
            let text = format!("`{name}` gives no reason");
            findings.push(Finding::new(&source.path, line, Rule::Reason, text));
        }
    });
}

/// Reports the line and the name of each lint attribute that has no reason of its own.
fn look_at(tokens: TokenStream, report: &mut impl FnMut(usize, String)) {
    let mut is_after_hash = false;
    for token in tokens {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => is_after_hash = true,
            TokenTree::Punct(punct) if punct.as_char() == '!' && is_after_hash => {}
            TokenTree::Group(group) => {
                if is_after_hash && group.delimiter() == Delimiter::Bracket {
                    look_at_attribute(group.stream(), report);
                }
                look_at(group.stream(), report);
                is_after_hash = false;
            }
            TokenTree::Punct(_) | TokenTree::Ident(_) | TokenTree::Literal(_) => {
                is_after_hash = false;
            }
        }
    }
}

/// `allow(…)`, `expect(…)`, also inside of `cfg_attr(…)`.
fn look_at_attribute(tokens: TokenStream, report: &mut impl FnMut(usize, String)) {
    let mut name = None;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => name = Some(ident),
            TokenTree::Group(group) => {
                if let Some(name) = name.take() {
                    if (name == "allow" || name == "expect") && !gives_reason(&group) {
                        report(name.span().start().line, name.to_string());
                    } else if name == "cfg_attr" {
                        look_at_attribute(group.stream(), report);
                    }
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => name = None,
        }
    }
}

fn gives_reason(group: &Group) -> bool {
    group.stream().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "reason",
        TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// Whether a comment that is no documentation stands in this line or in the one above.
fn has_comment(lines: &[&str], line: usize) -> bool {
    let is_comment = |text: &str| text.starts_with("//") && !text.starts_with("///");
    let above = line.checked_sub(2).and_then(|above| lines.get(above));
    let own = lines.get(line - 1).and_then(|own| own.split_once("] "));
    above.is_some_and(|above| is_comment(above.trim_start()))
        || own.is_some_and(|(_, behind)| is_comment(behind.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let source = Source::parse("a.rs", text).expect("it is Rust");
        let mut findings = Vec::new();
        check(&source, &mut findings);
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_lint_that_is_switched_off_wants_a_reason() {
        assert_eq!(lines("#[allow(dead_code)]\nfn f() {}"), [1]);
        assert_eq!(
            lines("/// Says what.\n#[expect(dead_code)]\nfn f() {}"),
            [2]
        );
        assert_eq!(lines("#![allow(dead_code)]"), [1]);
        assert_eq!(lines("#[cfg_attr(test, allow(dead_code))]\nfn f() {}"), [1]);
    }

    #[test]
    fn inside_a_macro_as_well() {
        let text = "macro_rules! m {\n() => {\n#[allow(dead_code)]\nfn f() {}\n};\n}";
        assert_eq!(lines(text), [3]);
    }

    #[test]
    fn a_reason_is_an_argument_or_a_comment() {
        for text in [
            "#[allow(dead_code, reason = \"tests want it\")]\nfn f() {}",
            "// Tests want it.\n#[allow(dead_code)]\nfn f() {}",
            "#[allow(dead_code)] // Tests want it.\nfn f() {}",
            "fn f() { g().expect(\"it works\"); }",
        ] {
            assert_eq!(lines(text), [0; 0], "{text}");
        }
    }
}
