//! Histories of an S2 stream: JSON lines of `Start` and `Finish`.
//!
//! ```text
//! {"event":{"Start":{"Append":{"num_records":1,"record_hashes":[7],…}}},"client_id":1,"op_id":1}
//! {"event":{"Finish":{"AppendSuccess":{"tail":1}}},"client_id":1,"op_id":1}
//! ```

use std::io::BufRead;
use std::sync::Arc;

use serde::Deserialize;

use crate::object::{Action, Answer, LogAppend, ObjectEvent, Request, Value};
use crate::reading::EventReader;
use crate::reading::{Lines, NextLine};
use crate::reading::{Place, ReadError};
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
    Append {
        num_records: u64,
        #[serde(default)]
        record_hashes: Vec<u64>,
        #[serde(default)]
        set_fencing_token: Option<String>,
        #[serde(default)]
        fencing_token: Option<String>,
        #[serde(default)]
        match_seq_num: Option<u64>,
    },
    Read,
    CheckTail,
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
        #[serde(default)]
        stream_hash: Option<u64>,
    },
}

/// Reads a history of one stream.
#[derive(Debug)]
pub struct S2Reader<R> {
    lines: Lines<R>,
}

impl<R: BufRead> S2Reader<R> {
    /// A reader from `source`, of lines of at most `line_length_max` bytes.
    pub fn new(source: R, line_length_max: usize) -> Self {
        Self {
            lines: Lines::new(source, line_length_max),
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
        Ok(Some(to_event(line, self.lines.line())))
    }
}

fn to_event(line: Line, time_ns: u64) -> ObjectEvent {
    let op = OperationId(line.op_id);
    let returned = |answer| ObjectEvent::returned(time_ns, line.client_id, op, answer);
    let tail_of = |tail: u64| Answer::Value(Value::Int(tail as i64));
    match line.event {
        Labeled::Start(start) => {
            let action = match start {
                Start::Append {
                    num_records,
                    record_hashes,
                    set_fencing_token,
                    fencing_token,
                    match_seq_num,
                } => Action::LogAppend(Arc::new(LogAppend {
                    records: num_records,
                    record_hashes,
                    set_fencing_token,
                    fencing_token,
                    match_seq_num,
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
}
