//! What our programs understand, read from their definitions for clap.

use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeMap;
use syn::visit::{self, Visit};
use syn::{Attribute, Field, Fields, GenericArgument, ItemEnum, ItemStruct, PathArguments, Type};

use crate::workspace::Source;

/// How deep commands may be nested: definitions that name each other must come to an end.
const DEPTH_MAX: usize = 5;

/// A program or a command of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Its flags, without hyphens.
    pub flags: Vec<String>,
    /// Its commands.
    pub commands: BTreeMap<String, Command>,
}

/// The programs, each under the name that its users type.
pub fn programs(sources: &[Source]) -> BTreeMap<String, Command> {
    let mut crates: BTreeMap<&str, Items> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_for_tests()) {
        let (folder, _) = source.path.split_once("/src/").unwrap_or_default();
        let items = crates.entry(folder).or_default();
        items.visit_file(&source.syntax);
    }
    let mut programs = BTreeMap::new();
    for items in crates.values() {
        // A program may be made of definitions of other crates; its own come first.
        let others = crates.values();
        let all = Definitions(std::iter::once(items).chain(others).collect());
        for (name, item) in &items.structs {
            let program = value_of(&item.attrs, "command", "name");
            if let Some(program) = program.filter(|_| derives(&item.attrs, "Parser")) {
                programs.insert(program, all.command_of(name, 0));
            }
        }
    }
    programs
}

/// The structs and enums of a crate that clap reads.
#[derive(Default)]
struct Items {
    structs: BTreeMap<String, ItemStruct>,
    enums: BTreeMap<String, ItemEnum>,
}

/// Where definitions are looked up, the first place first.
struct Definitions<'a>(Vec<&'a Items>);

impl<'ast> Visit<'ast> for Items {
    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        if derives(&item.attrs, "Parser") || derives(&item.attrs, "Args") {
            let name = item.ident.to_string();
            self.structs.entry(name).or_insert_with(|| item.clone());
        }
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        if derives(&item.attrs, "Subcommand") {
            let name = item.ident.to_string();
            self.enums.entry(name).or_insert_with(|| item.clone());
        }
        visit::visit_item_enum(self, item);
    }
}

impl Definitions<'_> {
    fn command_of(&self, name: &str, depth: usize) -> Command {
        let mut command = Command::default();
        if let Some(item) = self.0.iter().find_map(|items| items.structs.get(name)) {
            self.add_fields(&item.fields, depth, &mut command);
        }
        command
    }

    fn add_fields(&self, fields: &Fields, depth: usize, command: &mut Command) {
        if depth > DEPTH_MAX {
            return;
        }
        for field in fields {
            let inner = type_name(&field.ty);
            if says(&field.attrs, "command", "subcommand") {
                self.add_commands(&inner, depth + 1, command);
            } else if says(&field.attrs, "command", "flatten") {
                let flattened = self.command_of(&inner, depth + 1);
                command.flags.extend(flattened.flags);
                command.commands.extend(flattened.commands);
            } else {
                command.flags.extend(flags_of(field));
            }
        }
    }

    fn add_commands(&self, name: &str, depth: usize, command: &mut Command) {
        let Some(item) = self.0.iter().find_map(|items| items.enums.get(name)) else {
            return;
        };
        for variant in &item.variants {
            let own = value_of(&variant.attrs, "command", "name");
            let name = own.unwrap_or_else(|| kebab(&variant.ident.to_string()));
            let mut below = Command::default();
            let of_one = match &variant.fields {
                Fields::Unnamed(fields) => fields.unnamed.first(),
                Fields::Named(_) | Fields::Unit => None,
            };
            match of_one {
                Some(field) if says(&variant.attrs, "command", "subcommand") => {
                    self.add_commands(&type_name(&field.ty), depth + 1, &mut below);
                }
                Some(field) => below = self.command_of(&type_name(&field.ty), depth + 1),
                None => self.add_fields(&variant.fields, depth + 1, &mut below),
            }
            command.commands.insert(name, below);
        }
    }
}

/// The flags of a field: its own name or another one, and its aliases.
fn flags_of(field: &Field) -> Vec<String> {
    let own = field
        .ident
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let long = value_of(&field.attrs, "arg", "long")
        .or_else(|| says(&field.attrs, "arg", "long").then(|| kebab(&own)));
    let aliases = ["alias", "visible_alias"];
    let aliases = aliases
        .iter()
        .filter_map(|name| value_of(&field.attrs, "arg", name));
    long.into_iter().chain(aliases).collect()
}

/// `Type`, `Option<Type>`, `Vec<Type>`, `Box<Type>`: the last name.
fn type_name(of: &Type) -> String {
    let Type::Path(path) = of else {
        return String::new();
    };
    let Some(last) = path.path.segments.last() else {
        return String::new();
    };
    if let PathArguments::AngleBracketed(arguments) = &last.arguments
        && let Some(GenericArgument::Type(inner)) = arguments.args.first()
    {
        return type_name(inner);
    }
    last.ident.to_string()
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.trim_start_matches("r#").chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(if c == '_' {
            '-'
        } else {
            c.to_ascii_lowercase()
        });
    }
    out
}

fn derives(attributes: &[Attribute], name: &str) -> bool {
    says(attributes, "derive", name)
}

fn tokens_of<'a>(attributes: &'a [Attribute], name: &str) -> impl Iterator<Item = &'a TokenStream> {
    attributes
        .iter()
        .filter_map(move |attribute| match &attribute.meta {
            syn::Meta::List(list) if list.path.is_ident(name) => Some(&list.tokens),
            syn::Meta::List(_) | syn::Meta::Path(_) | syn::Meta::NameValue(_) => None,
        })
}

/// Whether `#[attribute(… word …)]` is there.
fn says(attributes: &[Attribute], attribute: &str, word: &str) -> bool {
    let is_word = |token: TokenTree| match token {
        TokenTree::Ident(ident) => ident == word,
        TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    };
    tokens_of(attributes, attribute).any(|tokens| tokens.clone().into_iter().any(is_word))
}

/// What `#[attribute(… word = "value" …)]` says.
fn value_of(attributes: &[Attribute], attribute: &str, word: &str) -> Option<String> {
    tokens_of(attributes, attribute).find_map(|tokens| {
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        tokens.windows(3).find_map(|three| match three {
            [
                TokenTree::Ident(name),
                TokenTree::Punct(_),
                TokenTree::Literal(value),
            ] if name == word => Some(value.to_string().trim_matches('"').to_owned()),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = r#"
        #[derive(Debug, Parser)]
        #[command(name = "cargo sim", version)]
        struct CommandLine {
            #[arg(long)]
            quiet: bool,
            #[command(subcommand)]
            command: Option<Commands>,
        }
        #[derive(Subcommand)]
        enum Commands {
            Run(Arguments),
            BugBase { #[arg(long = "out")] folder: String },
            #[command(subcommand)]
            Keep(Keep),
        }
        #[derive(Subcommand)]
        enum Keep { Merge(Arguments) }
        #[derive(Args)]
        struct Arguments {
            #[arg(long, short, alias = "folder")]
            print_plan: bool,
            place: String,
            #[command(flatten)]
            more: More,
        }
        #[derive(Args)]
        struct More { #[arg(long)] jobs: u8 }
    "#;

    #[test]
    fn definitions_of_one_name_in_two_crates_are_told_apart() {
        let other = PROGRAM
            .replace("cargo sim", "veridical")
            .replace("Run(", "Serve(");
        let sources = [("core/src/a.rs", other.as_str()), ("sim/src/a.rs", PROGRAM)];
        let sources = sources.map(|(path, text)| Source::parse(path, text).expect("it is Rust"));
        let programs = programs(&sources);
        assert!(programs["cargo sim"].commands.contains_key("run"));
        assert!(programs["veridical"].commands.contains_key("serve"));
        assert!(!programs["veridical"].commands.contains_key("run"));
    }

    #[test]
    fn commands_and_flags_are_those_of_the_definition() {
        let source = Source::parse("a.rs", PROGRAM).expect("it is Rust");
        let programs = programs(&[source]);
        let sim = &programs["cargo sim"];
        assert_eq!(sim.flags, ["quiet"]);
        let names: Vec<&str> = sim.commands.keys().map(String::as_str).collect();
        assert_eq!(names, ["bug-base", "keep", "run"]);
        assert_eq!(sim.commands["run"].flags, ["print-plan", "folder", "jobs"]);
        assert_eq!(sim.commands["bug-base"].flags, ["out"]);
        assert_eq!(
            sim.commands["keep"].commands["merge"].flags,
            ["print-plan", "folder", "jobs"]
        );
    }
}
