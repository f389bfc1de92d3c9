//! The API as its `.proto` files define it: calls, fields and values by name, and which of them
//! an encoded message has.
#![allow(
    clippy::disallowed_methods,
    reason = "the tests read the files on the host"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What an entry of the API is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A call.
    Rpc,
    /// A field of a request.
    Request,
    /// A value that a field of a request can have.
    Option,
    /// A field of a response.
    Response,
    /// An error.
    Error,
}

/// A field of a message.
#[derive(Clone, Debug)]
struct Field {
    name: String,
    number: u64,
    type_name: String,
    /// Whether its absence means that it is not set, instead of zero.
    has_presence: bool,
}

/// A call with the messages that it takes and gives.
#[derive(Clone, Debug)]
pub struct Rpc {
    /// `Service.Call`.
    pub name: String,
    /// The name of the request.
    pub input: String,
    /// The name of the response.
    pub output: String,
}

/// Everything that the files define.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// The calls.
    pub rpcs: Vec<Rpc>,
    messages: BTreeMap<String, Vec<Field>>,
    /// By name, which has the message's before it where the value is one of a message.
    enums: BTreeMap<String, Vec<(String, u64)>>,
}

/// The folder with the files.
pub fn proto_dir() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/proto/proto")
}

impl Schema {
    /// Of the files of the API.
    pub fn of_the_api() -> Self {
        let mut schema = Self::default();
        for file in ["rpc.proto", "kv.proto", "auth.proto"] {
            let path = proto_dir().join(file);
            schema.read(&std::fs::read_to_string(path).expect("the file is there"));
        }
        schema
    }

    /// Reads the text of a file. It has one definition, field or brace a line.
    pub fn read(&mut self, text: &str) {
        let mut open: Vec<(&str, &str)> = Vec::new();
        for line in text.lines() {
            let line = line.split("//").next().unwrap_or_default().trim();
            let words: Vec<&str> = line
                .split([' ', ';', '=', '(', ')'])
                .filter(|word| !word.is_empty())
                .collect();
            match (open.last().copied(), words.as_slice()) {
                (_, []) | (None, ["syntax" | "package" | "import", ..]) => {}
                (_, ["}"]) => {
                    open.pop();
                }
                (_, [kind @ ("message" | "enum" | "oneof" | "service"), name, "{"]) => {
                    open.push((kind, name));
                    if *kind == "message" {
                        self.messages.entry((*name).to_owned()).or_default();
                    }
                }
                (None, ["message", name, "{}"]) => {
                    self.messages.entry((*name).to_owned()).or_default();
                }
                (Some(("service", service)), ["rpc", call, rest @ ..]) => {
                    let names = rest
                        .iter()
                        .filter(|word| !["returns", "stream"].contains(*word));
                    let [input, output] = names.copied().collect::<Vec<_>>()[..] else {
                        panic!("{line}");
                    };
                    self.rpcs.push(Rpc {
                        name: format!("{service}.{call}"),
                        input: input.to_owned(),
                        output: output.to_owned(),
                    });
                }
                (Some(("enum", _)), [value, number]) => {
                    let names: Vec<&str> = open.iter().map(|(_, name)| *name).collect();
                    let values = self.enums.entry(names.join(".")).or_default();
                    values.push(((*value).to_owned(), number.parse().expect(line)));
                }
                (
                    Some((kind @ ("message" | "oneof"), _)),
                    [label @ .., type_name, name, number],
                ) => {
                    let message = open.iter().rfind(|(kind, _)| *kind == "message");
                    let (_, message) = message.expect("a field is of a message");
                    let fields = self.messages.entry((*message).to_owned()).or_default();
                    fields.push(Field {
                        name: (*name).to_owned(),
                        number: number.parse().expect(line),
                        type_name: type_name.rsplit('.').next().unwrap_or_default().to_owned(),
                        has_presence: kind == "oneof" || label == ["repeated"],
                    });
                }
                _ => panic!("a line that is not understood: {line}"),
            }
        }
    }

    /// The enum that a field of a message has its values from.
    fn enum_of(&self, message: &str, type_name: &str) -> Option<(String, &[(String, u64)])> {
        let own = format!("{message}.{type_name}");
        [own, type_name.to_owned()].into_iter().find_map(|name| {
            let values = self.enums.get(&name)?;
            Some((name, values.as_slice()))
        })
    }

    /// The messages that these consist of, themselves included.
    fn reach<'a>(&'a self, roots: impl Iterator<Item = &'a String>) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&str> = roots.map(String::as_str).collect();
        while let Some(name) = next.pop() {
            if let Some(fields) = self.messages.get(name)
                && reached.insert(name)
            {
                next.extend(fields.iter().map(|field| field.type_name.as_str()));
            }
        }
        reached
    }

    /// Everything that requests and responses consist of.
    pub fn elements(&self) -> BTreeSet<(Kind, String)> {
        let mut elements = BTreeSet::new();
        let requests = self.reach(self.rpcs.iter().map(|rpc| &rpc.input));
        let responses = self.reach(self.rpcs.iter().map(|rpc| &rpc.output));
        for rpc in &self.rpcs {
            elements.insert((Kind::Rpc, rpc.name.clone()));
        }
        for (kind, messages) in [(Kind::Request, &requests), (Kind::Response, &responses)] {
            for message in messages {
                for field in &self.messages[*message] {
                    elements.insert((kind, format!("{message}.{}", field.name)));
                }
            }
        }
        for message in requests {
            for field in &self.messages[message] {
                if let Some((name, values)) = self.enum_of(message, &field.type_name) {
                    for (value, _) in values {
                        elements.insert((Kind::Option, format!("{name}.{value}")));
                    }
                }
            }
        }
        elements
    }

    /// Tells of each field and each value that an encoded message has.
    pub fn walk(&self, message: &str, bytes: &[u8], tell: &mut impl FnMut(Kind, String)) {
        let mut absent: Vec<&Field> = self.messages[message].iter().collect();
        for (number, content) in parts(bytes) {
            absent.retain(|field| field.number != number);
            let Some(field) = self.field(message, number) else {
                continue;
            };
            tell(Kind::Request, format!("{message}.{}", field.name));
            match content {
                Content::Number(value) => self.tell_value(message, field, value, tell),
                Content::Bytes(inner) if self.messages.contains_key(&field.type_name) => {
                    self.walk(&field.type_name, inner, tell);
                }
                // A list of numbers is packed.
                Content::Bytes(inner) => {
                    let mut rest = inner;
                    while self.enum_of(message, &field.type_name).is_some()
                        && let Some(value) = varint(&mut rest)
                    {
                        self.tell_value(message, field, value, tell);
                    }
                }
            }
        }
        for field in absent.into_iter().filter(|field| !field.has_presence) {
            self.tell_value(message, field, 0, tell);
        }
    }

    fn tell_value(
        &self,
        message: &str,
        field: &Field,
        value: u64,
        tell: &mut impl FnMut(Kind, String),
    ) {
        if let Some((name, values)) = self.enum_of(message, &field.type_name)
            && let Some((word, _)) = values.iter().find(|(_, number)| *number == value)
        {
            tell(Kind::Option, format!("{name}.{word}"));
        }
    }

    fn field(&self, message: &str, number: u64) -> Option<&Field> {
        let mut fields = self.messages[message].iter();
        fields.find(|field| field.number == number)
    }

    /// The encoded message with another content of the first field of this name, if it has one:
    /// another number, a byte more, or nothing.
    pub fn tampered(&self, message: &str, bytes: &[u8], target: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut is_done = false;
        for (number, content) in parts(bytes) {
            let field = self.field(message, number);
            let is_target = !is_done
                && field.is_some_and(|field| format!("{message}.{}", field.name) == target);
            let is_message =
                field.is_some_and(|field| self.messages.contains_key(&field.type_name));
            is_done |= is_target;
            match content {
                Content::Number(value) => {
                    let is_flag = field.is_some_and(|field| field.type_name == "bool");
                    let other = value.wrapping_add(TAMPERED_BY);
                    let value = match (is_target, is_flag) {
                        (true, true) => 0,
                        (true, false) => other,
                        (false, _) => value,
                    };
                    push_varint(&mut out, number << 3);
                    push_varint(&mut out, value);
                }
                Content::Bytes(_) if is_target && is_message => {}
                Content::Bytes(inner) => {
                    let mut inner = inner.to_vec();
                    if is_target {
                        inner.push(b'~');
                    } else if !is_done
                        && is_message
                        && let Some(field) = field
                        && let Some(other) = self.tampered(&field.type_name, &inner, target)
                    {
                        inner = other;
                        is_done = true;
                    }
                    push_varint(&mut out, number << 3 | WIRE_BYTES);
                    push_varint(&mut out, inner.len() as u64);
                    out.extend(inner);
                }
            }
        }
        is_done.then_some(out)
    }
}

/// A number becomes another one by so much.
const TAMPERED_BY: u64 = 1_000_000_007;

/// The wire type of what has a length.
const WIRE_BYTES: u64 = 2;

enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The parts of an encoded message by their numbers; the API has numbers and bytes only.
fn parts(mut bytes: &[u8]) -> Vec<(u64, Content<'_>)> {
    let mut parts = Vec::new();
    while let Some(key) = varint(&mut bytes) {
        let Some(value) = varint(&mut bytes) else {
            break;
        };
        let content = match key & 7 {
            WIRE_BYTES => {
                let (inner, rest) = bytes.split_at(value as usize);
                bytes = rest;
                Content::Bytes(inner)
            }
            _ => Content::Number(value),
        };
        parts.push((key >> 3, content));
    }
    parts
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    let mut shift = 0;
    loop {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        shift += 7;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
