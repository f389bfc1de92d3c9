//! Histories as others write them, told apart by their content.
//!
//! [`open`] looks at the first bytes of a stream (gzip and zstd are seen through) and
//! gives its events. Everything is read as it comes, except etcd's `operations.json`,
//! which has to be sorted.

mod compression;
pub(crate) mod edn;
mod etcd_operations;
mod jepsen;
mod jepsen_log;
mod s2;

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use crate::etcd::{EtcdEvent, Outcome, Request as EtcdRequest, WatchNote};
use crate::native::{self, NativeReader, Vocabulary};
use crate::object::{Answer, ObjectEvent, Request};
use crate::reading::Cut;
pub use crate::reading::{Affected, EventReader, Events, ReadError};
use crate::{Event, NoNote, jsonl};
use compression::Compressed;
pub use etcd_operations::read as read_etcd_operations;
pub use jepsen::{EdnReader, parse_value};
pub use jepsen_log::LogReader;
pub use s2::S2Reader;

/// How much of a stream is looked at to tell its format, in bytes.
const PEEK_LENGTH: usize = 64 << 10;

/// What a text in UTF-8 may begin with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A form in which histories are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// [`crate::native`].
    Native,
    /// [`crate::jsonl`], either vocabulary.
    Jsonl,
    /// Lines of a Jepsen log.
    JepsenLog,
    /// Maps in EDN: Jepsen's histories and Porcupine's kv logs.
    Edn,
    /// `operations.json` of etcd's robustness tests.
    EtcdOperations,
    /// `Start` and `Finish` lines of an S2 stream.
    S2,
}

impl Format {
    /// Every one, in the order in which they are listed for people.
    pub const ALL: &'static [Self] = &[
        Self::Native,
        Self::Jsonl,
        Self::JepsenLog,
        Self::Edn,
        Self::EtcdOperations,
        Self::S2,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Jsonl => "jsonl",
            Self::JepsenLog => "jepsen-log",
            Self::Edn => "edn",
            Self::EtcdOperations => "etcd-operations",
            Self::S2 => "s2",
        }
    }

    /// The format of this name; `porcupine-kv` is EDN.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "porcupine-kv" {
            return Some(Self::Edn);
        }
        Self::ALL
            .iter()
            .copied()
            .find(|format| format.name() == name)
    }

    /// The format of a history that begins with these bytes, not compressed.
    pub fn detect(beginning: &[u8]) -> Option<Self> {
        if beginning.starts_with(native::MAGIC) {
            return Some(Self::Native);
        }
        let text = String::from_utf8_lossy(beginning);
        let mut lines = text.lines().map(str::trim);
        let first = lines.find(|line| !line.is_empty() && !line.starts_with(';'))?;
        let has = |needle: &str| text.contains(needle);
        if has(":type") && first.starts_with(['{', '[', '(', '#']) {
            return Some(Self::Edn);
        }
        if first.starts_with('{') && has("\"ClientId\"") {
            return Some(Self::EtcdOperations);
        }
        if first.starts_with('{') && has("\"event\"") && has("\"op_id\"") {
            return Some(Self::S2);
        }
        if first.starts_with('{') && has("\"e\"") && has("\"t\"") {
            return Some(Self::Jsonl);
        }
        // A Jepsen log may begin with lines of something else.
        let is_log = text.lines().any(jepsen_log::is_operation);
        is_log.then_some(Self::JepsenLog)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which values are pairs of a key and a value, in formats that write both in one field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// Told from the calls, where they tell; a history in which they do not, and in which it
    /// would matter, is refused.
    #[default]
    Told,
    /// Every value is a pair of a key and a value (`jepsen.independent`).
    Independent,
    /// No value is: all operations are about one object.
    One,
}

/// How a history is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// The format; told from the content unless given.
    pub format: Option<Format>,
    /// Which values are pairs of a key and a value.
    pub keys: Keys,
    /// Memory for the whole process, in bytes: what one line or form may take is a part of it.
    pub memory_bytes_max: Option<u64>,
}

impl OpenOptions {
    /// Those of a history of this format; told from its content if `None`.
    pub fn of_format(format: Option<Format>) -> Self {
        Self {
            format,
            ..Self::default()
        }
    }

    /// One part in `parts` of the memory, but at least `least` and at most `most`: that is what
    /// it is where there is no limit.
    fn part(&self, parts: u64, least: u64, most: u64) -> u64 {
        self.memory_bytes_max
            .map_or(most, |memory| (memory / parts).clamp(least, most))
    }

    /// The longest line. An element of a list takes two bytes of it and 24 in memory, twice.
    fn line_length_max(&self) -> usize {
        self.part(64, 64 << 10, jsonl::LINE_LENGTH_MAX as u64) as usize
    }

    /// What a form of EDN may take in memory.
    fn form_bytes_max(&self) -> u64 {
        self.part(8, 1 << 20, 1 << 30)
    }

    /// The largest block of a native file; those that are written have little more than 64 KiB.
    fn block_length_max(&self) -> u32 {
        self.part(32, 1 << 20, u64::from(native::PAYLOAD_LENGTH_MAX)) as u32
    }

    /// The longest file that is kept as a whole, because it has to be sorted.
    fn sorted_length_max(&self) -> u64 {
        self.part(4, 1 << 20, 4 << 30)
    }

    /// How far back compressed data may refer; the highest levels go back 8 MiB.
    fn window_bytes_max(&self) -> u64 {
        self.part(8, 8 << 20, 128 << 20)
    }
}

/// A history that is being read.
pub enum History {
    /// A history of single objects.
    Object(Events<ObjectEvent>),
    /// A history of single objects from a native file, which can be read a block at a time.
    ObjectBlocks(NativeReader<Source, ObjectEvent>),
    /// A history of an etcd-like store.
    Etcd(Events<EtcdEvent>),
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object(_) => "Object",
            Self::ObjectBlocks(_) => "ObjectBlocks",
            Self::Etcd(_) => "Etcd",
        })
    }
}

/// Where bytes come from, compression removed.
pub type Source = Box<dyn BufRead + Send>;

/// An opened history.
#[derive(Debug)]
pub struct Opened {
    /// How it is written.
    pub format: Format,
    /// What was looked at to tell it, uncompressed.
    pub beginning: Vec<u8>,
    /// Whether it is compressed: then damage may show only at its end.
    pub is_compressed: bool,
    /// Its events.
    pub history: History,
}

/// Opens a history; its format is told from its content unless given.
///
/// # Errors
/// [`ReadError::UnknownFormat`], and what reading the beginning runs into.
pub fn open(
    source: impl Read + Send + 'static,
    options: &OpenOptions,
) -> Result<Opened, ReadError> {
    let cut = Cut::default();
    let (beginning, source) = peek(source)?;
    let compressed = Compressed::detect(&beginning);
    let (mut beginning, source): (Vec<u8>, Box<dyn Read + Send>) = match compressed {
        Some(compressed) => {
            let source = compressed.reader(source, options.window_bytes_max(), cut.clone());
            let (beginning, source) = peek(source)?;
            (beginning, Box::new(source))
        }
        None => (beginning, Box::new(source)),
    };
    let mut source: Source = Box::new(BufReader::with_capacity(PEEK_LENGTH, source));
    // A byte order mark says nothing about UTF-8, but some editors write it.
    if beginning.starts_with(BYTE_ORDER_MARK) {
        beginning.drain(..BYTE_ORDER_MARK.len());
        source.read_exact(&mut [0; BYTE_ORDER_MARK.len()])?;
    }
    let told = options.format.or_else(|| Format::detect(&beginning));
    let format = told.ok_or_else(|| {
        if beginning.is_empty() {
            return ReadError::Empty;
        }
        let shown = &beginning[..beginning.len().min(60)];
        ReadError::UnknownFormat {
            beginning: String::from_utf8_lossy(shown).into_owned(),
        }
    })?;
    let history = history_of(source, format, &beginning, options, cut)?;
    Ok(Opened {
        format,
        beginning,
        is_compressed: compressed.is_some(),
        history,
    })
}

fn history_of(
    mut source: Source,
    format: Format,
    beginning: &[u8],
    options: &OpenOptions,
    cut: Cut,
) -> Result<History, ReadError> {
    let line_length_max = options.line_length_max();
    let text = |events: Events<ObjectEvent>, cut| History::Object(UntilCut::boxed(events, cut));
    Ok(match format {
        Format::Native => {
            let vocabulary = native::read_header(&mut source)?;
            let block_length_max = options.block_length_max();
            match vocabulary {
                Vocabulary::Object => History::ObjectBlocks(
                    NativeReader::after_header(source).within(block_length_max, cut),
                ),
                Vocabulary::Etcd => {
                    let reader = NativeReader::<_, EtcdEvent>::after_header(source);
                    History::Etcd(Box::new(reader.within(block_length_max, cut)))
                }
            }
        }
        Format::Jsonl if is_etcd_jsonl(beginning) => {
            let reader = jsonl::Reader::<_, EtcdRequest, Outcome, WatchNote>::with_line_length_max(
                source,
                line_length_max,
            );
            History::Etcd(UntilCut::boxed(Box::new(reader), cut))
        }
        Format::Jsonl => {
            let reader = jsonl::Reader::<_, Request, Answer, NoNote>::with_line_length_max(
                source,
                line_length_max,
            );
            text(Box::new(reader), cut)
        }
        Format::JepsenLog => {
            let reader = LogReader::new(source, line_length_max, cut.clone());
            text(Box::new(reader), cut)
        }
        Format::Edn => {
            let reader = EdnReader::new(source, options.keys, options.form_bytes_max());
            text(Box::new(reader), cut)
        }
        Format::EtcdOperations => {
            let events = read_etcd_operations(source, options.sorted_length_max())?;
            History::Etcd(UntilCut::boxed(made(events.into_iter()), cut))
        }
        Format::S2 => text(Box::new(S2Reader::new(source, line_length_max)), cut),
    })
}

/// Events that do not come from a file, such as generated ones.
pub fn made<E: Send>(events: impl Iterator<Item = E> + Send + 'static) -> Events<E> {
    Box::new(Made { events })
}

struct Made<S> {
    events: S,
}

impl<E, S: Iterator<Item = E>> Iterator for Made<S> {
    type Item = Result<E, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.events.next().map(Ok)
    }
}

impl<E: Send, S: Iterator<Item = E> + Send> EventReader<E> for Made<S> {
    fn line(&self) -> Option<u64> {
        None
    }
}

impl<R, I, O, N> EventReader<Event<I, O, N>> for jsonl::Reader<R, I, O, N>
where
    R: BufRead + Send,
    I: serde::de::DeserializeOwned + Send,
    O: serde::de::DeserializeOwned + Send,
    N: serde::de::DeserializeOwned + Send,
{
    fn line(&self) -> Option<u64> {
        Some(self.line())
    }
}

/// Tells, behind the last event of a text, that its compressed source was cut off. A last line
/// that the cut tore is no line of its own.
struct UntilCut<E> {
    events: Events<E>,
    cut: Cut,
    /// What follows an error that might have been the torn line's.
    next: Option<Option<Result<E, ReadError>>>,
    is_told: bool,
}

impl<E: Send + 'static> UntilCut<E> {
    fn boxed(events: Events<E>, cut: Cut) -> Events<E> {
        Box::new(Self {
            events,
            cut,
            next: None,
            is_told: false,
        })
    }

    fn end(&mut self) -> Option<Result<E, ReadError>> {
        if !self.cut.is_set() || std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        let lines = self.events.line().unwrap_or(0);
        Some(Err(ReadError::CompressedTruncated { lines }))
    }
}

impl<E: Send + 'static> Iterator for UntilCut<E> {
    type Item = Result<E, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next.take();
        match next.unwrap_or_else(|| self.events.next()) {
            None => self.end(),
            Some(Err(error)) if error.is_local() && self.cut.is_set() => match self.events.next() {
                None => self.end(),
                next => {
                    self.next = Some(next);
                    Some(Err(error))
                }
            },
            some => some,
        }
    }
}

impl<E: Send + 'static> EventReader<E> for UntilCut<E> {
    fn line(&self) -> Option<u64> {
        self.events.line()
    }
}

/// Whether the first call in a JSONL history is one to an etcd-like store.
fn is_etcd_jsonl(beginning: &[u8]) -> bool {
    beginning
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .find_map(|event| match event.get("e")?.as_str()? {
            "call" => Some(event.get("in")?.get("do").is_none()),
            "note" => Some(true),
            _ => None,
        })
        .unwrap_or(false)
}

/// The first bytes of `source`, and a source that gives all of them.
fn peek<R: Read>(mut source: R) -> Result<(Vec<u8>, impl Read + use<R>), ReadError> {
    let mut beginning = Vec::new();
    source
        .by_ref()
        .take(PEEK_LENGTH as u64)
        .read_to_end(&mut beginning)?;
    Ok((
        beginning.clone(),
        std::io::Cursor::new(beginning).chain(source),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"t":1,"c":0,"e":"call","op":1,"in":{"key":0,"do":"read"}}
{"t":2,"c":0,"e":"return","op":1,"out":{"value":null}}
"#;

    fn read(bytes: &[u8]) -> Result<Vec<ObjectEvent>, ReadError> {
        let source = std::io::Cursor::new(bytes.to_vec());
        let history = open(source, &OpenOptions::default())?.history;
        let History::Object(events) = history else {
            panic!("{history:?}");
        };
        events.collect()
    }

    #[test]
    fn a_byte_order_mark_and_line_ends_of_any_kind_change_nothing() {
        let plain = read(LINES.as_bytes()).unwrap();
        assert_eq!(plain.len(), 2);
        let marked = [BYTE_ORDER_MARK, LINES.as_bytes()].concat();
        assert_eq!(read(&marked).unwrap(), plain);
        assert_eq!(read(LINES.replace('\n', "\r\n").as_bytes()).unwrap(), plain);
        let edn = "[{:process 0, :type :invoke, :f :read, :value nil}]";
        let marked = [BYTE_ORDER_MARK, edn.as_bytes()].concat();
        assert_eq!(read(&marked).unwrap(), read(edn.as_bytes()).unwrap());
    }

    #[test]
    fn nothing_is_told_from_what_is_not_known() {
        for empty in [&b""[..], BYTE_ORDER_MARK] {
            assert!(matches!(read(empty), Err(ReadError::Empty)));
        }
        assert!(matches!(read(b"\n"), Err(ReadError::UnknownFormat { .. })));
    }
}
