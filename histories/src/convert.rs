//! From any format that is read to one that is written.

use std::io::{self, Write};

use crate::formats::{History, ReadError};
use crate::jsonl;
use crate::native::{Compression, NativeEvent, NativeWriter};
use crate::statistics::{Statistics, Summary};
use crate::{Event, object::ObjectEvent};

/// A form that histories are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// [`crate::native`].
    Native(Compression),
    /// [`crate::jsonl`].
    Jsonl,
}

impl Target {
    /// The form that the name of a file stands for: `.jsonl`, `.json` are JSON lines,
    /// everything else is native.
    pub fn of_file_name(name: &str) -> Self {
        if name.ends_with(".jsonl") || name.ends_with(".json") {
            Self::Jsonl
        } else if name.ends_with(".zst") {
            Self::Native(Compression::Zstd)
        } else {
            Self::Native(Compression::None)
        }
    }
}

/// Why a conversion ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The history could not be read further.
    #[error("reading: {0}")]
    Read(#[from] ReadError),
    /// It could not be written.
    #[error("writing: {0}")]
    Write(#[from] io::Error),
}

/// What a conversion did.
#[derive(Debug)]
pub struct Converted {
    /// What the history looks like.
    pub summary: Summary,
    /// Lines that were no events. Nothing behind the first of them is written; for statistics
    /// they are left out.
    pub bad_line_count: u64,
    /// The first of them, at most [`BAD_LINES_MAX`].
    pub bad_lines: Vec<ReadError>,
    /// Where a binary file was cut off, if it was: what stands before is converted.
    pub truncated: Option<ReadError>,
}

enum Sink<W: Write, E> {
    Native(NativeWriter<W, E>),
    Jsonl(jsonl::Writer<W>),
    /// Only the statistics are wanted.
    Nowhere,
}

impl<W: Write, E: Written> Sink<W, E> {
    fn new(target: Target, sink: W) -> io::Result<Self> {
        Ok(match target {
            Target::Native(compression) => Self::Native(NativeWriter::new(sink, compression)?),
            Target::Jsonl => Self::Jsonl(jsonl::Writer::new(sink)),
        })
    }

    fn write(&mut self, event: &E) -> io::Result<()> {
        match self {
            Self::Native(writer) => writer.write(event),
            Self::Jsonl(writer) => event.write_json(writer),
            Self::Nowhere => Ok(()),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Native(writer) => writer.finish().map(drop),
            Self::Jsonl(writer) => writer.finish().map(drop),
            Self::Nowhere => Ok(()),
        }
    }
}

/// Lines that are kept as errors; the others are only counted.
pub const BAD_LINES_MAX: usize = 20;

/// Reads `history` to its end and writes it to `sink`, which should be buffered.
///
/// # Errors
/// [`ConvertError`]; what was read before it is written.
pub fn convert(
    history: History,
    target: Target,
    sink: impl Write,
) -> Result<Converted, ConvertError> {
    copy_any(history, Some(target), sink)
}

/// Reads `history` to its end, for its statistics alone.
///
/// # Errors
/// [`ConvertError::Read`].
pub fn summarize(history: History) -> Result<Converted, ConvertError> {
    copy_any(history, None, io::sink())
}

fn copy_any(
    history: History,
    target: Option<Target>,
    sink: impl Write,
) -> Result<Converted, ConvertError> {
    match history {
        History::Object(events) => copy(events, target, sink),
        History::ObjectBlocks(blocks) => copy::<ObjectEvent, _, _, _>(blocks, target, sink),
        History::Etcd(events) => copy(events, target, sink),
    }
}

/// Writes events that are not read from a file, such as generated ones, and tells how many
/// they were.
///
/// # Errors
/// What the sink reports.
pub fn write<E: Written>(
    events: impl Iterator<Item = E>,
    target: Target,
    sink: impl Write,
) -> io::Result<u64> {
    let mut sink = Sink::new(target, sink)?;
    let mut count = 0;
    for event in events {
        sink.write(&event)?;
        count += 1;
    }
    sink.finish()?;
    Ok(count)
}

/// Events that have both forms.
pub trait Written: NativeEvent {
    /// Writes the event as a line.
    ///
    /// # Errors
    /// What the sink reports.
    fn write_json(&self, writer: &mut jsonl::Writer<impl Write>) -> io::Result<()>;
    /// Counts the event.
    fn record(&self, statistics: &mut Statistics);
}

impl<I, O, N> Written for Event<I, O, N>
where
    Event<I, O, N>: NativeEvent,
    I: serde::Serialize,
    O: serde::Serialize,
    N: serde::Serialize,
{
    fn write_json(&self, writer: &mut jsonl::Writer<impl Write>) -> io::Result<()> {
        writer.write(self)
    }

    fn record(&self, statistics: &mut Statistics) {
        statistics.record(self);
    }
}

fn copy<E, S, W, R>(events: S, target: Option<Target>, sink: W) -> Result<Converted, ConvertError>
where
    E: Written,
    W: Write,
    S: Iterator<Item = Result<E, R>>,
    ReadError: From<R>,
{
    let mut sink = match target {
        Some(target) => Sink::new(target, sink)?,
        None => Sink::Nowhere,
    };
    let mut statistics = Statistics::default();
    let mut bad_line_count = 0;
    let mut bad_lines = Vec::new();
    let mut truncated = None;
    let mut failure = None;
    for event in events {
        match event.map_err(ReadError::from) {
            Ok(event) => {
                event.record(&mut statistics);
                sink.write(&event)?;
            }
            Err(error) if error.is_local() => {
                bad_line_count += 1;
                if bad_lines.len() < BAD_LINES_MAX {
                    bad_lines.push(error);
                }
                // Without what that line says, what follows would be another history.
                if target.is_some() {
                    break;
                }
            }
            Err(error) if error.is_truncation() => {
                truncated = Some(error);
                break;
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    sink.finish()?;
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(Converted {
            summary: statistics.summary(),
            bad_line_count,
            bad_lines,
            truncated,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{OpenOptions, open};
    use crate::generate::object::{ObjectHistory, ObjectWorkload};

    #[test]
    fn a_history_survives_every_form_one_after_the_other() {
        let events: Vec<ObjectEvent> = ObjectHistory::new(ObjectWorkload::default()).collect();
        let mut writer = jsonl::Writer::new(Vec::new());
        events.iter().for_each(|event| writer.write(event).unwrap());
        let first = writer.finish().unwrap();
        let mut file = first.clone();
        let targets = [
            Target::Native(Compression::Zstd),
            Target::Jsonl,
            Target::Native(Compression::None),
            Target::Jsonl,
        ];
        for target in targets {
            let opened = open(io::Cursor::new(file), &OpenOptions::default()).unwrap();
            let mut written = Vec::new();
            let converted = convert(opened.history, target, &mut written).unwrap();
            assert_eq!(converted.summary.operations, 1_000);
            file = written;
        }
        assert_eq!(file, first);
    }

    #[test]
    fn what_stands_before_a_cut_is_converted_and_the_cut_is_told() {
        let events = ObjectHistory::new(ObjectWorkload {
            operations: 30_000,
            ..ObjectWorkload::default()
        });
        let mut writer = NativeWriter::new(Vec::new(), Compression::None).unwrap();
        events.for_each(|event| writer.write(&event).unwrap());
        let mut file = writer.finish().unwrap();
        file.truncate(file.len() - 10);
        let opened = open(io::Cursor::new(file), &OpenOptions::default()).unwrap();
        let summary = summarize(opened.history).unwrap();
        assert!(summary.truncated.is_some());
        assert!(summary.summary.operations > 10_000);
    }
}
