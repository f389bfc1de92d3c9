//! Whatever reads bytes from outside has a fuzz target, or a reason why it has none.
//!
//! A *decoder* is a function that others can call, whose name begins with one of
//! [`PREFIXES`], and that takes bytes or a reader. `fuzz/decoders.txt` has a line for each:
//! its file, its name, and a target (a file in `fuzz/tests`) or `not fuzzed:` and a reason.

use std::collections::BTreeMap;
use syn::visit::{self, Visit};
use syn::{
    Attribute, FnArg, ImplItemFn, ItemFn, ItemImpl, ItemMod, Signature, Type, TypeParamBound,
    Visibility,
};

use crate::workspace::{Source, Workspace};
use crate::{Finding, Rule};

/// The list of decoders.
pub const LIST: &str = "fuzz/decoders.txt";

/// The program that has all targets, as modules.
const TARGETS: &str = "fuzz/tests/main.rs";

/// What the names of decoders begin with.
pub const PREFIXES: [&str; 7] = [
    "decode",
    "parse",
    "read",
    "from_bytes",
    "from_wire",
    "import",
    "open",
];

/// Crates that read bytes which others wrote.
const FOLDERS: [&str; 4] = ["core/", "histories/", "checkers/", "sim/env/"];

/// What a line says instead of a target.
const NOT_FUZZED: &str = "not fuzzed: ";

/// Compares the decoders with the list, and the list with the targets.
pub fn check(workspace: &Workspace, findings: &mut Vec<Finding>) {
    let mut decoders = BTreeMap::new();
    for source in &workspace.sources {
        let is_ours = FOLDERS.iter().any(|folder| source.path.starts_with(folder));
        if is_ours && !source.is_for_tests() {
            let mut visitor = Decoders {
                source,
                own: None,
                found: &mut decoders,
            };
            visitor.visit_file(&source.syntax);
        }
    }
    let list = workspace.text(LIST).unwrap_or_default();
    let mut listed = BTreeMap::new();
    for (number, line) in list.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut report = |text: String| {
            findings.push(Finding::new(LIST, number + 1, Rule::Decoder, text));
        };
        let Some((decoder, what)) = line.split_once(": ") else {
            report("a line has the form `FILE NAME: TARGET`".to_owned());
            continue;
        };
        if !decoders.contains_key(decoder) {
            report(format!("there is no decoder `{decoder}`"));
        }
        let is_target = is_target(workspace, what);
        let is_reason = what
            .strip_prefix(NOT_FUZZED)
            .is_some_and(|reason| reason.len() > 10);
        if !is_target && !is_reason {
            report(format!("`{what}` is neither a target nor a reason"));
        }
        listed.insert(decoder.to_owned(), ());
    }
    for (decoder, line) in decoders {
        if !listed.contains_key(&decoder) {
            let (file, name) = decoder.split_once(' ').unwrap_or((&decoder, ""));
            let text = format!("`{name}` reads bytes and is not in {LIST}");
            findings.push(Finding::new(file, line, Rule::Decoder, text));
        }
    }
}

/// Whether this is the file of a target that the program of all targets has.
fn is_target(workspace: &Workspace, path: &str) -> bool {
    let module = path
        .strip_prefix("fuzz/tests/")
        .and_then(|file| file.strip_suffix(".rs"));
    let all = workspace.text(TARGETS).unwrap_or_default();
    module.is_some_and(|module| all.lines().any(|line| line == format!("mod {module};")))
}

struct Decoders<'a> {
    source: &'a Source,
    own: Option<String>,
    found: &'a mut BTreeMap<String, usize>,
}

impl Decoders<'_> {
    fn look_at(&mut self, signature: &Signature, visibility: &Visibility) {
        let name = signature.ident.to_string();
        let is_private = matches!(visibility, Visibility::Inherited);
        let is_named = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if is_private || !is_named || !takes_bytes(signature) {
            return;
        }
        let name = match &self.own {
            Some(own) => format!("{own}::{name}"),
            None => name,
        };
        let line = signature.fn_token.span.start().line;
        self.found
            .insert(format!("{} {name}", self.source.path), line);
    }
}

impl<'ast> Visit<'ast> for Decoders<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let own = match &*item.self_ty {
            Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        let outer = std::mem::replace(&mut self.own, own);
        visit::visit_item_impl(self, item);
        self.own = outer;
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        let own = self.own.take();
        self.look_at(&function.sig, &function.vis);
        self.own = own;
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.look_at(&function.sig, &function.vis);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string().contains("test")
        }
        syn::Meta::Path(_) | syn::Meta::NameValue(_) => false,
    })
}

/// Whether one of the parameters holds bytes to read: a shared slice, `Bytes`, or a reader.
fn takes_bytes(signature: &Signature) -> bool {
    let generics = &signature.generics;
    let of_reader = |bound: &TypeParamBound| match bound {
        TypeParamBound::Trait(bound) => {
            let last = bound
                .path
                .segments
                .last()
                .map(|last| last.ident.to_string());
            last.is_some_and(|name| name == "Read" || name == "BufRead")
        }
        _ => false,
    };
    let readers: Vec<String> = generics
        .type_params()
        .filter(|parameter| parameter.bounds.iter().any(of_reader))
        .map(|parameter| parameter.ident.to_string())
        .collect();
    signature.inputs.iter().any(|input| match input {
        FnArg::Typed(typed) => is_of_bytes(&typed.ty, &readers, &of_reader),
        FnArg::Receiver(_) => false,
    })
}

fn is_of_bytes(
    of: &Type,
    readers: &[String],
    of_reader: &impl Fn(&TypeParamBound) -> bool,
) -> bool {
    match of {
        Type::Reference(reference) => match &*reference.elem {
            // What is written into is no input.
            Type::Slice(_) | Type::Array(_) if reference.mutability.is_some() => false,
            inner => is_of_bytes(inner, readers, of_reader),
        },
        Type::Slice(slice) => is_byte(&slice.elem),
        Type::Array(array) => is_byte(&array.elem),
        Type::ImplTrait(of) => of.bounds.iter().any(of_reader),
        Type::TraitObject(of) => of.bounds.iter().any(of_reader),
        Type::Path(path) => {
            let last = path.path.segments.last();
            let names = ["Bytes", "BytesMut", "Cursor"];
            last.is_some_and(|last| {
                let name = last.ident.to_string();
                names.contains(&name.as_str()) || readers.contains(&name)
            })
        }
        _ => false,
    }
}

fn is_byte(of: &Type) -> bool {
    matches!(of, Type::Path(path) if path.path.is_ident("u8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::TextFile;

    const DECODERS: &str = "
        pub fn decode_frame(buffer: &mut BytesMut) {}
        impl Header { pub(super) fn parse(bytes: &[u8]) -> Self { Self } }
        pub fn read_all<R: BufRead>(source: R) {}
        pub fn read(buffer: &mut [u8]) {}
        pub fn encode(bytes: &[u8]) {}
        fn decode_part(bytes: &[u8]) {}
        #[cfg(test)] mod tests { pub fn decode(bytes: &[u8]) {} }
    ";

    fn findings(list: &str) -> Vec<String> {
        let source = Source::parse("core/a.rs", DECODERS).expect("it is Rust");
        let file = |path: &str, text: &str| TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let workspace = Workspace {
            files: vec![file(LIST, list), file(TARGETS, "mod a;\n")],
            sources: vec![source],
            ..Workspace::default()
        };
        let mut findings = Vec::new();
        check(&workspace, &mut findings);
        findings.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_decoder_that_is_not_listed_is_found() {
        let found = findings("core/a.rs read_all: fuzz/tests/a.rs\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`Header::parse`") && found[1].contains("`decode_frame`"));
    }

    #[test]
    fn a_line_names_a_decoder_and_a_target_or_a_reason() {
        let complete = "# A comment.\ncore/a.rs decode_frame: fuzz/tests/a.rs\ncore/a.rs Header::parse: not fuzzed: only tests call it\ncore/a.rs read_all: fuzz/tests/a.rs\n";
        assert_eq!(findings(complete), [""; 0]);
        let found = findings(&format!("{complete}core/a.rs gone: fuzz/tests/a.rs\n"));
        assert_eq!(found, ["there is no decoder `core/a.rs gone`"]);
        let found =
            findings(&complete.replace("read_all: fuzz/tests/a.rs", "read_all: fuzz/tests/b.rs"));
        assert_eq!(
            found,
            ["`fuzz/tests/b.rs` is neither a target nor a reason"]
        );
    }
}
