//! Histories as others write them, told apart by their content.
//!
//! [`open`] looks at the first bytes of a stream (gzip and zstd are seen through) and
//! gives its events. Everything is read as it comes, except etcd's `operations.json`,
//! which has to be sorted.

pub(crate) mod edn;
mod error;
mod etcd_operations;
mod jepsen;
mod jepsen_log;
mod s2;

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use crate::etcd::{EtcdEvent, Outcome, Request as EtcdRequest, WatchNote};
use crate::native::{self, NativeReader, Vocabulary};
use crate::object::{Answer, ObjectEvent, Request};
use crate::{NoNote, jsonl};
pub use error::ReadError;
pub use etcd_operations::read as read_etcd_operations;
pub use jepsen::EdnReader;
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
        let first = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with(';'))?;
        let has = |needle: &str| text.contains(needle);
        if first.contains('\t') && (has("\t:invoke\t") || has("\t:ok\t")) {
            return Some(Self::JepsenLog);
        }
        if has(":process") && has(":type") && first.starts_with(['{', '[', '(', '#']) {
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
        (has("\t:invoke\t") && has(" - ")).then_some(Self::JepsenLog)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Events as they are read. An error that [`ReadError::is_local`] may be followed by
/// more events.
pub type Events<E> = Box<dyn Iterator<Item = Result<E, ReadError>> + Send>;

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
    /// Its events.
    pub history: History,
}

/// Opens a history; its format is told from its content unless given.
///
/// # Errors
/// [`ReadError::UnknownFormat`], and what reading the beginning runs into.
pub fn open(
    source: impl Read + Send + 'static,
    format: Option<Format>,
) -> Result<Opened, ReadError> {
    let (beginning, source) = peek(source)?;
    let (beginning, source): (Vec<u8>, Source) = if beginning.starts_with(&[0x1f, 0x8b]) {
        let (beginning, source) = peek(flate2::read::MultiGzDecoder::new(source))?;
        (
            beginning,
            Box::new(BufReader::with_capacity(PEEK_LENGTH, source)),
        )
    } else if beginning.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = ruzstd::decoding::StreamingDecoder::new(source).map_err(|error| {
            ReadError::Damaged {
                offset: 0,
                reason: error.to_string(),
            }
        })?;
        let (beginning, source) = peek(decoder)?;
        (
            beginning,
            Box::new(BufReader::with_capacity(PEEK_LENGTH, source)),
        )
    } else {
        (
            beginning,
            Box::new(BufReader::with_capacity(PEEK_LENGTH, source)),
        )
    };
    // A byte order mark says nothing about UTF-8, but some editors write it.
    let (mut beginning, mut source) = (beginning, source);
    if beginning.starts_with(BYTE_ORDER_MARK) {
        beginning.drain(..BYTE_ORDER_MARK.len());
        source.read_exact(&mut [0; BYTE_ORDER_MARK.len()])?;
    }
    let format = format
        .or_else(|| Format::detect(&beginning))
        .ok_or_else(|| {
            if beginning.is_empty() {
                return ReadError::Empty;
            }
            let shown = &beginning[..beginning.len().min(60)];
            ReadError::UnknownFormat {
                beginning: String::from_utf8_lossy(shown).into_owned(),
            }
        })?;
    let history = history_of(source, format, &beginning)?;
    Ok(Opened {
        format,
        beginning,
        history,
    })
}

fn history_of(mut source: Source, format: Format, beginning: &[u8]) -> Result<History, ReadError> {
    Ok(match format {
        Format::Native => match native::read_header(&mut source)? {
            Vocabulary::Object => History::ObjectBlocks(NativeReader::after_header(source)),
            Vocabulary::Etcd => {
                History::Etcd(Box::new(NativeReader::<_, EtcdEvent>::after_header(source)))
            }
        },
        Format::Jsonl if is_etcd_jsonl(beginning) => {
            let reader = jsonl::Reader::<_, EtcdRequest, Outcome, WatchNote>::new(source);
            History::Etcd(Box::new(reader.map(|event| event.map_err(ReadError::from))))
        }
        Format::Jsonl => {
            let reader = jsonl::Reader::<_, Request, Answer, NoNote>::new(source);
            History::Object(Box::new(reader.map(|event| event.map_err(ReadError::from))))
        }
        Format::JepsenLog => History::Object(Box::new(LogReader::new(source))),
        Format::Edn => History::Object(Box::new(EdnReader::new(source))),
        Format::EtcdOperations => {
            let events = read_etcd_operations(source)?;
            History::Etcd(Box::new(events.into_iter().map(Ok)))
        }
        Format::S2 => History::Object(Box::new(S2Reader::new(source))),
    })
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

impl From<jsonl::ReadError> for ReadError {
    fn from(error: jsonl::ReadError) -> Self {
        match error {
            jsonl::ReadError::Io { source, .. } => Self::Io(source),
            jsonl::ReadError::Syntax {
                line,
                column,
                expected,
            } => Self::Syntax {
                line,
                column: column as u64,
                expected,
            },
            jsonl::ReadError::TooLong { line } => Self::Syntax {
                line,
                column: jsonl::LINE_LENGTH_MAX as u64,
                expected: "the end of the line".to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"t":1,"c":0,"e":"call","op":1,"in":{"key":0,"do":"read"}}
{"t":2,"c":0,"e":"return","op":1,"out":{"value":null}}
"#;

    fn read(bytes: &[u8]) -> Result<Vec<ObjectEvent>, ReadError> {
        let source = std::io::Cursor::new(bytes.to_vec());
        let history = open(source, None)?.history;
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
