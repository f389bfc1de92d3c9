//! The text of an error names what caused it.
//!
//! Whoever reads a log or the last words of a process sees the text of the outermost error
//! alone. So each variant that carries a cause has to say it.

use syn::visit::{self, Visit};
use syn::{Attribute, Fields, ItemEnum, ItemStruct};

use crate::workspace::Source;
use crate::{Finding, Rule};

/// The name of a field that holds a cause, as `thiserror` takes it.
const CAUSE_FIELD: &str = "source";

/// Finds errors of `thiserror` whose text leaves out their cause.
pub fn check(source: &Source, findings: &mut Vec<Finding>) {
    let mut visitor = Errors { source, findings };
    visitor.visit_file(&source.syntax);
}

struct Errors<'a> {
    source: &'a Source,
    findings: &'a mut Vec<Finding>,
}

impl Errors<'_> {
    fn look_at(&mut self, name: &syn::Ident, attributes: &[Attribute], fields: &Fields) {
        let Some(text) = text_of(attributes) else {
            return;
        };
        if text == "transparent" {
            return;
        }
        for (place, field) in fields.iter().enumerate() {
            let field_name = field.ident.as_ref().map(ToString::to_string);
            let is_marked = field.attrs.iter().any(|attribute| {
                attribute.path().is_ident("from") || attribute.path().is_ident(CAUSE_FIELD)
            });
            if !is_marked && field_name.as_deref() != Some(CAUSE_FIELD) {
                continue;
            }
            let placeholder = field_name.unwrap_or_else(|| place.to_string());
            if !text.contains(&format!("{{{placeholder}")) {
                let line = name.span().start().line;
                let finding = format!("the text of `{name}` leaves out its cause");
                self.findings.push(Finding::new(
                    &self.source.path,
                    line,
                    Rule::ErrorCause,
                    finding,
                ));
            }
        }
    }
}

/// What stands in `#[error(…)]`.
fn text_of(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes
        .iter()
        .find(|attribute| attribute.path().is_ident("error"))?;
    let list = attribute.meta.require_list().ok()?;
    Some(list.tokens.to_string())
}

impl<'ast> Visit<'ast> for Errors<'_> {
    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        for variant in &item.variants {
            self.look_at(&variant.ident, &variant.attrs, &variant.fields);
        }
        visit::visit_item_enum(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        self.look_at(&item.ident, &item.attrs, &item.fields);
        visit::visit_item_struct(self, item);
    }
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
    fn a_cause_that_is_not_said_is_found() {
        assert_eq!(
            lines("enum E {\n#[error(\"cannot {what}\")]\nIo {\nwhat: String,\nsource: Io,\n},\n}"),
            [3]
        );
        assert_eq!(lines("enum E {\n#[error(\"no\")]\nIo(#[from] Io),\n}"), [3]);
        assert_eq!(
            lines("#[error(\"no\")]\nstruct E {\n#[source]\ncause: Io,\n}"),
            [2]
        );
    }

    #[test]
    fn one_that_is_said_or_is_the_whole_text_is_right() {
        for text in [
            "enum E {\n#[error(\"cannot {what}: {source}\")]\nIo {\nwhat: String,\nsource: Io,\n},\n}",
            "enum E {\n#[error(\"no: {0}\")]\nIo(#[from] Io),\n}",
            "enum E {\n#[error(transparent)]\nIo(#[from] Io),\n}",
            "enum E {\n#[error(\"no\")]\nPlain(u8),\n}",
            "struct NoError {\nsource: String,\n}",
        ] {
            assert_eq!(lines(text), [0; 0], "{text}");
        }
    }
}
