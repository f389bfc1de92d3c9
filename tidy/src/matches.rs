//! No `_ =>` swallows a variant that an enum of this workspace may get later.

use std::collections::{BTreeMap, BTreeSet};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, Expr, ExprMatch, ItemEnum, ItemImpl, Pat, Path, Type};

use crate::workspace::Source;
use crate::{Finding, Rule};

/// What a comment on an arm begins with that explains why it may swallow variants.
pub const EXEMPTION: &str = "// tidy: ";

/// Macros whose arm swallows nothing, since it ends the program.
const ENDS: [&str; 4] = ["panic", "unreachable", "bail", "prop_assert"];

/// The variants of each enum. Enums of one name are put together.
type Enums = BTreeMap<String, BTreeSet<String>>;

/// Finds wildcard arms in matches of which another arm names a variant of an enum that one
/// of the sources defines.
pub fn check(sources: &[Source], findings: &mut Vec<Finding>) {
    let mut enums = Enums::new();
    for source in sources {
        CollectEnums(&mut enums).visit_file(&source.syntax);
    }
    for source in sources {
        let mut visitor = Matches {
            source,
            lines: source.text.lines().collect(),
            enums: &enums,
            own: None,
            findings,
        };
        visitor.visit_file(&source.syntax);
    }
}

struct CollectEnums<'a>(&'a mut Enums);

impl<'ast> Visit<'ast> for CollectEnums<'_> {
    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        let variants = self.0.entry(item.ident.to_string()).or_default();
        variants.extend(
            item.variants
                .iter()
                .map(|variant| variant.ident.to_string()),
        );
        visit::visit_item_enum(self, item);
    }
}

struct Matches<'a> {
    source: &'a Source,
    lines: Vec<&'a str>,
    enums: &'a Enums,
    /// The type whose `impl` this is.
    own: Option<String>,
    findings: &'a mut Vec<Finding>,
}

impl Matches<'_> {
    /// The enum of this workspace of which the pattern names a variant.
    fn enum_of(&self, pattern: &Pat) -> Option<String> {
        match pattern {
            Pat::Path(path) => self.enum_of_path(&path.path),
            Pat::TupleStruct(tuple) => self.enum_of_path(&tuple.path),
            Pat::Struct(fields) => self.enum_of_path(&fields.path),
            Pat::Or(or) => or.cases.iter().find_map(|case| self.enum_of(case)),
            Pat::Paren(paren) => self.enum_of(&paren.pat),
            Pat::Reference(reference) => self.enum_of(&reference.pat),
            Pat::Ident(ident) => {
                let (_, below) = ident.subpat.as_ref()?;
                self.enum_of(below)
            }
            // tidy: `syn` may learn of further patterns, none of which names a variant.
            _ => None,
        }
    }

    fn enum_of_path(&self, path: &Path) -> Option<String> {
        let mut segments = path.segments.iter().rev();
        let variant = segments.next()?.ident.to_string();
        let name = segments.next()?.ident.to_string();
        let name = match name.as_str() {
            "Self" => self.own.clone()?,
            _ => name,
        };
        self.enums.get(&name)?.contains(&variant).then_some(name)
    }

    fn is_exempt(&self, arm: &Arm) -> bool {
        let first = arm.pat.span().start().line - 1;
        let above = first.checked_sub(1);
        let lines = above.into_iter().chain([first, first + 1]);
        let mut texts = lines.filter_map(|line| self.lines.get(line));
        texts.any(|text| text.contains(EXEMPTION))
    }
}

impl<'ast> Visit<'ast> for Matches<'_> {
    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let own = match &*item.self_ty {
            Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            // tidy: an `impl` for a type without a name has no variants.
            _ => None,
        };
        let outer = std::mem::replace(&mut self.own, own);
        visit::visit_item_impl(self, item);
        self.own = outer;
    }

    fn visit_expr_match(&mut self, expression: &'ast ExprMatch) {
        let ours = expression
            .arms
            .iter()
            .find_map(|arm| self.enum_of(&arm.pat));
        if let Some(name) = ours {
            for arm in &expression.arms {
                let swallows = matches!(arm.pat, Pat::Wild(_)) && arm.guard.is_none();
                if swallows && !ends(&arm.body) && !self.is_exempt(arm) {
                    let text = format!("a wildcard swallows variants of `{name}`");
                    let line = arm.pat.span().start().line;
                    let finding = Finding::new(&self.source.path, line, Rule::Wildcard, text);
                    self.findings.push(finding);
                }
            }
        }
        visit::visit_expr_match(self, expression);
    }
}

/// Whether an arm ends the program, which is no silence.
fn ends(body: &Expr) -> bool {
    let is_end = |path: &Path| {
        let name = path.segments.last().map(|last| last.ident.to_string());
        name.is_some_and(|name| ENDS.contains(&name.as_str()))
    };
    match body {
        Expr::Macro(call) => is_end(&call.mac.path),
        Expr::Block(block) => match block.block.stmts.as_slice() {
            [syn::Stmt::Macro(call)] => is_end(&call.mac.path),
            [syn::Stmt::Expr(only, _)] => ends(only),
            _ => false,
        },
        // tidy: no other expression is a single call of a macro.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENUM: &str = "enum Fault { Cut, Crash(u8), Pause { ms: u64 } }\n";

    fn lines(text: &str) -> Vec<usize> {
        let source = Source::parse("a.rs", &format!("{ENUM}{text}")).expect("it is Rust");
        let mut findings = Vec::new();
        check(&[source], &mut findings);
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_wildcard_beside_a_variant_of_ours_is_found() {
        assert_eq!(
            lines("fn f(x: Fault) { match x {\nFault::Cut => {}\n_ => {}\n} }"),
            [4]
        );
        let nested =
            "fn f(x: &Fault) { match x {\n&(Fault::Crash(_) | Fault::Cut) => 1,\n_ => 2,\n}; }";
        assert_eq!(lines(nested), [4]);
        let own =
            "impl Fault { fn f(&self) { match self {\nSelf::Pause { .. } => 1,\n_ => 2,\n}; } }";
        assert_eq!(lines(own), [4]);
    }

    #[test]
    fn what_swallows_nothing_of_ours_is_left_alone() {
        for text in [
            "fn f(x: Other) { match x {\nOther::Cut => {}\n_ => {}\n} }",
            "fn f(x: u8) { match x {\n1 => {}\n_ => {}\n} }",
            "fn f(x: Fault) { match x {\nFault::Cut => {}\n_ if g() => {}\nFault::Crash(_) | Fault::Pause { .. } => {}\n} }",
            "fn f(x: Fault) { match x {\nFault::Cut => {}\n_ => panic!(\"no\"),\n} }",
            "fn f(x: Fault) { match x {\nFault::Cut => {}\n// tidy: others do not concern clocks.\n_ => {}\n} }",
            "fn f(x: Ordering) { match x {\nFault::Less => {}\n_ => {}\n} }",
        ] {
            assert_eq!(lines(text), [0; 0], "{text}");
        }
    }
}
