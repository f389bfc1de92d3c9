//! How long functions are, and how much they want to be told.

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{Block, FnArg, ImplItemFn, ItemFn, Signature, TraitItemFn};

use crate::workspace::Source;
use crate::{Finding, Rule};

/// Lines of a function at most, from `fn` to the closing brace.
pub const LINES_MAX: usize = 80;

/// Parameters of a function at most; `self` is not counted.
pub const PARAMETERS_MAX: usize = 6;

/// Finds functions that are too long or take too much.
pub fn check(source: &Source, findings: &mut Vec<Finding>) {
    let mut visitor = Functions { source, findings };
    visitor.visit_file(&source.syntax);
}

struct Functions<'a> {
    source: &'a Source,
    findings: &'a mut Vec<Finding>,
}

impl Functions<'_> {
    fn look_at(&mut self, signature: &Signature, body: Option<&Block>) {
        let name = &signature.ident;
        let line = signature.fn_token.span.start().line;
        if let Some(body) = body {
            let end: Span = body.brace_token.span.close();
            let lines = end.end().line - line + 1;
            if lines > LINES_MAX {
                let text = format!("`{name}` has {lines} lines, more than {LINES_MAX}");
                self.report(line, Rule::FunctionLength, text);
            }
        }
        let is_value = |input: &&FnArg| matches!(input, FnArg::Typed(_));
        let parameters = signature.inputs.iter().filter(is_value).count();
        if parameters > PARAMETERS_MAX {
            let line = signature.ident.span().start().line;
            let text =
                format!("`{name}` takes {parameters} parameters, more than {PARAMETERS_MAX}");
            self.report(line, Rule::Parameters, text);
        }
    }

    fn report(&mut self, line: usize, rule: Rule, text: String) {
        let finding = Finding::new(&self.source.path, line, rule, text);
        self.findings.push(finding);
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.look_at(&function.sig, Some(&function.block));
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.look_at(&function.sig, Some(&function.block));
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        self.look_at(&function.sig, function.default.as_ref());
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<Finding> {
        let source = Source::parse("a.rs", text).expect("it is Rust");
        let mut findings = Vec::new();
        check(&source, &mut findings);
        findings
    }

    fn function_of(lines: usize) -> String {
        format!(
            "struct A;\nimpl A {{\nfn f() {{\n{}}}\n}}",
            "let _ = 1;\n".repeat(lines - 2)
        )
    }

    #[test]
    fn a_function_of_81_lines_is_too_long_and_one_of_80_is_not() {
        assert!(findings(&function_of(80)).is_empty());
        let found = findings(&function_of(81));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].rule, found[0].line), (Rule::FunctionLength, 3));
    }

    #[test]
    fn a_seventh_parameter_is_one_too_many_and_self_is_none() {
        let six = "trait T { fn f(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8); }";
        assert!(findings(six).is_empty());
        let seven = "fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8) {}";
        assert_eq!(findings(seven)[0].rule, Rule::Parameters);
    }
}
