//! One event a line, as JSON that a person can read.
//!
//! ```text
//! {"t":10,"c":1,"e":"call","op":1,"in":{"put":{"key":"a","value":"x"}}}
//! {"t":20,"c":1,"e":"return","op":1,"out":{"done":{"header":{"revision":2},"response":{"put":{}}}}}
//! {"t":25,"c":2,"e":"unknown","op":2}
//! ```

use std::io::{self, BufRead, Write};
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::reading::{Affected, Lines, NextLine, ReadError};
use crate::{Event, OperationId};

/// The longest line that is read, in bytes. A longer one is refused rather than
/// collected without end.
pub const LINE_LENGTH_MAX: usize = 64 << 20;

/// Writes events, one a line.
#[derive(Debug)]
pub struct Writer<W: Write> {
    sink: W,
}

impl<W: Write> Writer<W> {
    /// A writer into `sink`, which should be buffered.
    pub fn new(sink: W) -> Self {
        Self { sink }
    }

    /// Writes one event.
    ///
    /// # Errors
    /// What the sink reports.
    pub fn write<I, O, N>(&mut self, event: &Event<I, O, N>) -> io::Result<()>
    where
        I: Serialize,
        O: Serialize,
        N: Serialize,
    {
        serde_json::to_writer(&mut self.sink, event)?;
        self.sink.write_all(b"\n")
    }

    /// Flushes and gives the sink back.
    ///
    /// # Errors
    /// What the sink reports.
    pub fn finish(mut self) -> io::Result<W> {
        self.sink.flush()?;
        Ok(self.sink)
    }
}

/// Reads events, one a line. Empty lines are skipped. After an error the next call
/// goes on with the next line.
#[derive(Debug)]
pub struct Reader<R, I, O, N> {
    lines: Lines<R>,
    types: PhantomData<Event<I, O, N>>,
}

impl<R: BufRead, I, O, N> Reader<R, I, O, N> {
    /// A reader from `source`, of lines of at most [`LINE_LENGTH_MAX`].
    pub fn new(source: R) -> Self {
        Self::with_line_length_max(source, LINE_LENGTH_MAX)
    }

    /// A reader from `source`, of lines of at most `line_length_max` bytes.
    pub fn with_line_length_max(source: R, line_length_max: usize) -> Self {
        Self {
            lines: Lines::new(source, line_length_max),
            types: PhantomData,
        }
    }

    /// The number of the line that was read last, counted from 1.
    pub fn line(&self) -> u64 {
        self.lines.line()
    }
}

impl<R, I, O, N> Iterator for Reader<R, I, O, N>
where
    R: BufRead,
    I: DeserializeOwned,
    O: DeserializeOwned,
    N: DeserializeOwned,
{
    type Item = Result<Event<I, O, N>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.lines.advance() {
            Err(error) => Some(Err(error.into())),
            Ok(NextLine::End) => None,
            Ok(NextLine::TooLong) => Some(Err(self.lines.too_long())),
            Ok(NextLine::Line) => {
                let bytes = self.lines.bytes();
                let event = serde_json::from_slice(bytes);
                Some(event.map_err(|error| ReadError::Syntax {
                    line: self.lines.line(),
                    column: error.column() as u64,
                    expected: expected(&error.to_string()),
                    affects: affected(bytes),
                }))
            }
        }
    }
}

/// What a line that is no event is about, as far as that is certain.
fn affected(line: &[u8]) -> Affected {
    let operation = || {
        let event: serde_json::Value = serde_json::from_slice(line).ok()?;
        let op = OperationId(event.get("op")?.as_u64()?);
        let key = match event.get("e")?.as_str()? {
            "return" | "unknown" | "failed" => None,
            "call" => {
                let request = event.get("in")?.as_object()?;
                let is_known = |field: &String| matches!(field.as_str(), "key" | "do");
                if !request.keys().all(is_known) || !request.contains_key("do") {
                    return None;
                }
                let key = request.get("key").cloned().unwrap_or_default();
                Some(serde_json::from_value(key).ok()?)
            }
            _ => return None,
        };
        Some(Affected::Operation { op, key })
    };
    operation().unwrap_or(Affected::History)
}

/// What serde expected, from its message: without the place, of which it knows one line
/// only, and with what it found in brackets.
pub(crate) fn expected(message: &str) -> String {
    let reason = message.split(" at line ").next().unwrap_or(message);
    if let Some(wanted) = reason.strip_prefix("expected ") {
        wanted.to_owned()
    } else if let Some((found, wanted)) = reason.split_once(", expected ") {
        format!("{wanted} ({found})")
    } else if let Some(field) = reason.strip_prefix("missing field ") {
        format!("a field {field}")
    } else {
        format!("an event ({reason})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::{
        Compare, CompareResult, CompareTarget, DeleteRangeResult, ErrorKind, EtcdEvent, Header,
        KeyRange, KeyValue, Outcome, PutRequest, PutResult, RangeRequest, RangeResult, Request,
        Response, TxnOp, TxnOpResult, TxnRequest, TxnResult, WatchCreated, WatchEvent,
        WatchEventKind, WatchNote, WatchResponse,
    };
    use bytes::Bytes;

    type EtcdReader<'a> = Reader<&'a [u8], Request, Outcome, WatchNote>;

    fn pair() -> KeyValue {
        KeyValue {
            key: Bytes::from_static(b"a"),
            value: Bytes::from_static(b"\xff\x00"),
            create_revision: 2,
            mod_revision: 3,
            version: 2,
            lease: 7,
        }
    }

    fn calls() -> Vec<EtcdEvent> {
        let op = OperationId;
        let txn = TxnRequest {
            compares: vec![Compare {
                range: KeyRange::span("a", "c"),
                target: CompareTarget::Value(Bytes::from_static(b"v")),
                result: CompareResult::NotEqual,
            }],
            success: vec![TxnOp::Put(PutRequest::of("a", "x"))],
            failure: vec![TxnOp::Txn(TxnRequest::default())],
        };
        let range = RangeRequest {
            limit: 3,
            serializable: true,
            ..RangeRequest::of(KeyRange::all())
        };
        vec![
            EtcdEvent::call(1, 1, op(1), Request::Txn(txn)),
            EtcdEvent::call(2, 2, op(2), Request::Range(range)),
            EtcdEvent::call(3, 3, op(3), Request::LeaseGrant { id: -5, ttl_s: 10 }),
            EtcdEvent::call(4, 4, op(4), Request::Compact { revision: i64::MAX }),
        ]
    }

    fn ends() -> Vec<EtcdEvent> {
        let op = OperationId;
        let header = Header {
            revision: 3,
            member: u64::MAX,
        };
        let response = Response::Range(RangeResult {
            kvs: vec![pair()],
            more: true,
            count: 9,
        });
        let results = vec![
            TxnOpResult::Put(PutResult {
                prev_kv: Some(pair()),
            }),
            TxnOpResult::DeleteRange(DeleteRangeResult {
                deleted: 1,
                prev_kvs: vec![pair()],
            }),
        ];
        let txn = Response::Txn(TxnResult {
            succeeded: true,
            results,
        });
        let refusal = Outcome::refused(ErrorKind::Rejected("no".into()));
        vec![
            EtcdEvent::returned(5, 2, op(2), Outcome::Done { header, response }),
            EtcdEvent::returned(6, 1, op(1), Outcome::done(4, txn)),
            EtcdEvent::returned(7, 4, op(4), refusal),
            EtcdEvent::unknown(8, 3, op(3)),
            EtcdEvent::failed(9, 3, op(9)),
        ]
    }

    fn notes() -> Vec<EtcdEvent> {
        let created = WatchCreated {
            watch: 1,
            range: KeyRange::prefix("a"),
            revision: 3,
            ..WatchCreated::default()
        };
        let response = WatchResponse {
            watch: 1,
            revision: 4,
            events: vec![WatchEvent {
                kind: WatchEventKind::Delete,
                kv: pair(),
                prev_kv: Some(pair()),
            }],
            ..WatchResponse::default()
        };
        vec![
            EtcdEvent::note(10, 1, WatchNote::Created(created)),
            EtcdEvent::note(11, 1, WatchNote::Response(response)),
        ]
    }

    fn one_of_each() -> Vec<EtcdEvent> {
        [calls(), ends(), notes()].concat()
    }

    #[test]
    fn every_kind_of_event_survives_a_round_trip() {
        let events = one_of_each();
        let mut writer = Writer::new(Vec::new());
        for event in &events {
            writer.write(event).unwrap();
        }
        let text = writer.finish().unwrap();
        let read: Vec<EtcdEvent> = EtcdReader::new(&text).map(Result::unwrap).collect();
        assert_eq!(read, events);
        assert_eq!(
            text.iter().filter(|byte| **byte == b'\n').count(),
            events.len()
        );
    }

    #[test]
    fn a_bad_line_is_named_and_the_rest_is_read() {
        let text = b"\n{\"t\":1,\"c\":1,\"e\":\"unknown\",\"op\":2}\n{\"t\":1,\"c\"\n\n\
            {\"t\":2,\"c\":1,\"e\":\"failed\",\"op\":3}";
        let read: Vec<_> = EtcdReader::new(text).collect();
        assert_eq!(read.len(), 3);
        assert_eq!(
            read[0].as_ref().unwrap(),
            &EtcdEvent::unknown(1, 1, OperationId(2))
        );
        assert!(matches!(
            &read[1],
            Err(ReadError::Syntax {
                line: 3,
                column: 10..,
                ..
            })
        ));
        assert_eq!(
            read[2].as_ref().unwrap(),
            &EtcdEvent::failed(2, 1, OperationId(3))
        );
    }

    #[test]
    fn what_was_expected_is_told_once() {
        for (line, told) in [
            (r#"{"t":1,"c":}"#, "value"),
            (r#"{"t":1,"c":2,"e":"unknown"}"#, "a field `op`"),
            (r#"{"t":1,"c":2,"e":"end","op":1}"#, "one of"),
            ("[]", "("),
            (r#"{"t":1"#, "an event (EOF while parsing an object)"),
        ] {
            let error = Reader::<_, Request, Outcome, WatchNote>::new(line.as_bytes())
                .next()
                .unwrap()
                .unwrap_err()
                .to_string();
            assert!(error.contains(told), "{error}");
            assert!(!error.contains("at line"), "{error}");
            assert!(error.starts_with("line 1, column "), "{error}");
        }
    }
}
