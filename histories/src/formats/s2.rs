//! Histories of an S2 stream: JSON lines of `Start` and `Finish`.
//!
//! ```text
//! {"event":{"Start":{"Append":{"num_records":1,"record_hashes":[7],…}}},"client_id":1,"op_id":1}
//! {"event":{"Finish":{"AppendSuccess":{"tail":1}}},"client_id":1,"op_id":1}
//! ```
//!
//! One program writes a whole history, so all appends have the same fields, and so have all reads: one
//! that has fewer than those before has lost them.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use crate::object::{Action, Answer, LogAppend, ObjectEvent, Request, Value};
use crate::reading::EventReader;
use crate::reading::{Affected, Place, ReadError};
use crate::reading::{Lines, NextLine};
use crate::{OperationId, jsonl};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    event: Labeled,
    client_id: u64,
    op_id: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum Labeled {
    Start(Start),
    Finish(Finish),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum Start {
    Append(Append),
    Read,
    CheckTail,
}

/// What an append asks for. The outer `None` is a field that is not there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Append {
    num_records: u64,
    #[serde(default, deserialize_with = "told")]
    record_hashes: Option<Vec<u64>>,
    #[serde(default, deserialize_with = "told")]
    set_fencing_token: Option<Option<String>>,
    #[serde(default, deserialize_with = "told")]
    fencing_token: Option<Option<String>>,
    #[serde(default, deserialize_with = "told")]
    match_seq_num: Option<Option<u64>>,
}

/// Tells a field that is there, be it null, from one that is not.
fn told<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Append {
    /// The fields that it has, of those that a whole history may leave out.
    fn fields(&self) -> Vec<&'static str> {
        let fields = [
            ("record_hashes", self.record_hashes.is_some()),
            ("set_fencing_token", self.set_fencing_token.is_some()),
            ("fencing_token", self.fencing_token.is_some()),
            ("match_seq_num", self.match_seq_num.is_some()),
        ];
        let present = fields.into_iter().filter(|(_, is_there)| *is_there);
        present.map(|(name, _)| name).collect()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum Finish {
    AppendDefiniteFailure,
    AppendIndefiniteFailure,
    AppendSuccess {
        tail: u64,
    },
    CheckTailFailure,
    CheckTailSuccess {
        tail: u64,
    },
    ReadFailure,
    ReadSuccess {
        tail: u64,
        #[serde(default, deserialize_with = "told")]
        stream_hash: Option<u64>,
    },
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Append,
    Read,
    CheckTail,
}

impl Start {
    fn kind(&self) -> Kind {
        match self {
            Self::Append(_) => Kind::Append,
            Self::Read => Kind::Read,
            Self::CheckTail => Kind::CheckTail,
        }
    }
}

impl Finish {
    fn kind(&self) -> Kind {
        match self {
            Self::AppendDefiniteFailure
            | Self::AppendIndefiniteFailure
            | Self::AppendSuccess { .. } => Kind::Append,
            Self::CheckTailFailure | Self::CheckTailSuccess { .. } => Kind::CheckTail,
            Self::ReadFailure | Self::ReadSuccess { .. } => Kind::Read,
        }
    }
}

/// Reads a history of one stream.
#[derive(Debug)]
pub struct S2Reader<R> {
    lines: Lines<R>,
    /// What the operations that are open do.
    open: BTreeMap<u64, Kind>,
    /// The fields of the first append.
    append_fields: Option<Vec<&'static str>>,
    /// Whether the first read that succeeded has a hash.
    reads_have_hash: Option<bool>,
}

impl<R: BufRead> S2Reader<R> {
    /// A reader from `source`, of lines of at most `line_length_max` bytes.
    pub fn new(source: R, line_length_max: usize) -> Self {
        Self {
            lines: Lines::new(source, line_length_max),
            open: BTreeMap::new(),
            append_fields: None,
            reads_have_hash: None,
        }
    }

    fn next_event(&mut self) -> Result<Option<ObjectEvent>, ReadError> {
        match self.lines.advance()? {
            NextLine::End => return Ok(None),
            NextLine::TooLong => return Err(self.lines.too_long()),
            NextLine::Line => {}
        }
        let line: Line = serde_json::from_slice(self.lines.bytes()).map_err(|error| {
            let place = Place {
                line: self.lines.line(),
                column: error.column() as u64,
            };
            ReadError::syntax(place, jsonl::expected(&error.to_string()))
        })?;
        self.refuse_misfit(&line)?;
        Ok(Some(to_event(line, self.lines.line())))
    }

    /// Refuses a line that does not go with those before it.
    fn refuse_misfit(&mut self, line: &Line) -> Result<(), ReadError> {
        let place = Place {
            line: self.lines.line(),
            column: 1,
        };
        match &line.event {
            Labeled::Start(start) => {
                if let Start::Append(append) = start {
                    self.refuse_lost_fields(append, place)?;
                }
                self.open.insert(line.op_id, start.kind());
            }
            Labeled::Finish(finish) => {
                // Who judges the history tells of an end whose start is missing.
                let called = self.open.remove(&line.op_id);
                if called.is_some_and(|called| called != finish.kind()) {
                    let expected = "the end of what this operation was started as";
                    let op = OperationId(line.op_id);
                    let affects = Affected::Operation { op, key: None };
                    return Err(ReadError::misplaced(place, expected, affects));
                }
                if let Finish::ReadSuccess { stream_hash, .. } = finish {
                    self.refuse_lost_hash(stream_hash.is_some(), place)?;
                }
            }
        }
        Ok(())
    }

    fn refuse_lost_fields(&mut self, append: &Append, place: Place) -> Result<(), ReadError> {
        let hashes = append.record_hashes.as_ref();
        if hashes.is_some_and(|hashes| hashes.len() as u64 != append.num_records) {
            let expected = "as many record_hashes as num_records";
            return Err(ReadError::syntax(place, expected));
        }
        let fields = append.fields();
        let first = self.append_fields.get_or_insert_with(|| fields.clone());
        if *first != fields {
            let expected = format!("an Append with the fields of the first one: {first:?}");
            return Err(ReadError::syntax(place, expected));
        }
        Ok(())
    }

    fn refuse_lost_hash(&mut self, has_hash: bool, place: Place) -> Result<(), ReadError> {
        if *self.reads_have_hash.get_or_insert(has_hash) != has_hash {
            let expected = "a stream_hash in every ReadSuccess or in none";
            return Err(ReadError::syntax(place, expected));
        }
        let appends = self.append_fields.as_ref();
        if has_hash && appends.is_some_and(|fields| !fields.contains(&"record_hashes")) {
            let expected = "no stream_hash, for the appends have no record_hashes";
            return Err(ReadError::syntax(place, expected));
        }
        Ok(())
    }
}

fn to_event(line: Line, time_ns: u64) -> ObjectEvent {
    let op = OperationId(line.op_id);
    let returned = |answer| ObjectEvent::returned(time_ns, line.client_id, op, answer);
    let tail_of = |tail: u64| Answer::Value(Value::Int(tail as i64));
    match line.event {
        Labeled::Start(start) => {
            let action = match start {
                Start::Append(append) => Action::LogAppend(Arc::new(LogAppend {
                    records: append.num_records,
                    record_hashes: append.record_hashes.unwrap_or_default(),
                    set_fencing_token: append.set_fencing_token.flatten(),
                    fencing_token: append.fencing_token.flatten(),
                    match_seq_num: append.match_seq_num.flatten(),
                })),
                Start::Read => Action::Read,
                Start::CheckTail => Action::CheckTail,
            };
            ObjectEvent::call(
                time_ns,
                line.client_id,
                op,
                Request {
                    key: Value::Nil,
                    action,
                },
            )
        }
        Labeled::Finish(finish) => match finish {
            Finish::AppendSuccess { tail } | Finish::CheckTailSuccess { tail } => {
                returned(tail_of(tail))
            }
            Finish::ReadSuccess {
                tail,
                stream_hash: None,
            } => returned(tail_of(tail)),
            Finish::ReadSuccess {
                tail,
                stream_hash: Some(hash),
            } => {
                let tail_and_hash = [Value::Int(tail as i64), Value::Int(hash as i64)];
                returned(Answer::Value(Value::list(tail_and_hash)))
            }
            Finish::AppendIndefiniteFailure => ObjectEvent::unknown(time_ns, line.client_id, op),
            Finish::AppendDefiniteFailure | Finish::CheckTailFailure | Finish::ReadFailure => {
                ObjectEvent::failed(time_ns, line.client_id, op)
            }
        },
    }
}

impl<R: BufRead> Iterator for S2Reader<R> {
    type Item = Result<ObjectEvent, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

impl<R: BufRead + Send> EventReader<ObjectEvent> for S2Reader<R> {
    fn line(&self) -> Option<u64> {
        Some(self.lines.line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_and_finishes_become_calls_and_returns() {
        let text = br#"{"event":{"Start":{"Append":{"num_records":2,"record_hashes":[7,8],"set_fencing_token":null,"fencing_token":"t","match_seq_num":0}}},"client_id":1,"op_id":1}
{"event":{"Start":"Read"},"client_id":2,"op_id":2}
{"event":{"Finish":{"AppendSuccess":{"tail":2}}},"client_id":1,"op_id":1}
{"event":{"Finish":{"ReadSuccess":{"tail":0,"stream_hash":0}}},"client_id":2,"op_id":2}
{"event":{"Start":"CheckTail"},"client_id":2,"op_id":3}
{"event":{"Finish":"CheckTailFailure"},"client_id":2,"op_id":3}
"#;
        let events: Vec<ObjectEvent> = S2Reader::new(&text[..], 1 << 20)
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(events.len(), 6);
        assert_eq!(
            events[2],
            ObjectEvent::returned(3, 1, OperationId(1), Answer::Value(Value::Int(2)))
        );
        assert_eq!(events[5], ObjectEvent::failed(6, 2, OperationId(3)));
    }

    #[test]
    fn what_does_not_go_with_the_lines_before_is_an_error() {
        let append = r#"{"event":{"Start":{"Append":{"num_records":1,"record_hashes":[7],"fencing_token":null}}},"client_id":1,"op_id":1}"#;
        let read = r#"{"event":{"Start":"Read"},"client_id":2,"op_id":2}"#;
        let answer = r#"{"event":{"Finish":{"ReadSuccess":{"tail":0,"stream_hash":0}}},"client_id":2,"op_id":2}"#;
        let lost = [
            append.replacen("\"op_id\":1", "\"op_id\":3", 1),
            read.replacen("\"op_id\":2", "\"op_id\":4", 1),
            answer.replacen("\"op_id\":2", "\"op_id\":4", 1),
        ];
        let sound = [append, read, answer, &lost[0], &lost[1], &lost[2]].join("\n");
        let errors = |text: &str| {
            let read = S2Reader::new(text.as_bytes(), 1 << 20);
            let errors: Vec<String> = read
                .filter_map(Result::err)
                .map(|error| error.to_string())
                .collect();
            errors
        };
        assert_eq!(errors(&sound), Vec::<String>::new());
        let changed = |line: &str, from: &str, to: &str| {
            let damaged = line.replacen(from, to, 1);
            assert_ne!(damaged, line);
            sound.replacen(line, &damaged, 1)
        };
        for (text, expected) in [
            (
                changed(&lost[0], ",\"fencing_token\":null", ""),
                "the fields",
            ),
            (changed(&lost[0], "[7]", "[7,8]"), "as many record_hashes"),
            (changed(&lost[2], ",\"stream_hash\":0", ""), "a stream_hash"),
            (
                changed(&lost[2], "{\"tail\":0,\"stream_hash\":0}", "null"),
                "",
            ),
            (
                changed(
                    answer,
                    "{\"ReadSuccess\":{\"tail\":0,\"stream_hash\":0}}",
                    "\"CheckTailFailure\"",
                ),
                "started as",
            ),
        ] {
            let errors = errors(&text);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].contains(expected), "{errors:?}");
        }
    }
}
