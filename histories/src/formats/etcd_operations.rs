//! The `operations.json` of etcd's robustness tests: JSON values one after the other,
//! each an operation with the times of its call and return.
//!
//! What those tests leave out (creation revisions, versions, leases of read pairs) is
//! marked as not told: 0, 0 and -1; so are the times to live of leases. Values longer than theirs are hashes on both sides.
//! The operations are sorted by time, so the whole file is kept in memory.
//!
//! Those tests write every field, whatever it holds: what is missing was lost, and is not taken for
//! zero. Only null for what an operation is not about may be left out.

use std::cell::Cell;
use std::io::{self, Read};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::etcd::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResult, EtcdEvent,
    Header, KeyRange, KeyValue, Outcome, PutRequest, PutResult, RangeRequest, RangeResult, Request,
    Response, TTL_NOT_TOLD_S, TxnOp, TxnOpResult, TxnRequest, TxnResult,
};
use crate::reading::{Place, ReadError};
use crate::{OperationId, jsonl};

/// An operation as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Written {
    client_id: u64,
    input: Input,
    call: i64,
    output: Output,
    #[serde(rename = "Return")]
    returned: i64,
}

/// An operation as it is checked.
#[derive(Deserialize)]
#[serde(try_from = "Written")]
struct Operation {
    client_id: u64,
    call_ns: u64,
    /// `None` for one that changes nothing that is checked.
    request: Option<Request>,
    /// The outcome and when it was known; `None` where it is not.
    returned: Option<(u64, Outcome)>,
}

impl TryFrom<Written> for Operation {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let request = to_request(written.input)?;
        let outcome = match &request {
            Some(request) => to_outcome(request, written.output)?,
            None => None,
        };
        let returned = outcome.map(|outcome| {
            let ns = u64::try_from(written.returned);
            ns.map(|ns| (ns, outcome))
                .map_err(|_| "a Return of at least 0".to_owned())
        });
        Ok(Self {
            client_id: written.client_id,
            call_ns: u64::try_from(written.call).map_err(|_| "a Call of at least 0".to_owned())?,
            request,
            returned: returned.transpose()?,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Input {
    #[serde(rename = "Type")]
    kind: String,
    lease_grant: Option<Lease>,
    lease_revoke: Option<Lease>,
    range: Option<RangeInput>,
    txn: Option<TxnInput>,
    compact: Option<CompactInput>,
    #[serde(rename = "Defragment")]
    _defragment: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lease {
    #[serde(rename = "LeaseID")]
    id: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CompactInput {
    revision: i64,
}

/// A read of its own, at the revision that it names.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RangeInput {
    start: String,
    end: String,
    limit: i64,
    revision: i64,
}

/// A read within a transaction, which has no revision to name.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct StepRange {
    start: String,
    end: String,
    limit: i64,
    #[serde(default)]
    revision: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TxnInput {
    #[serde(deserialize_with = "Option::deserialize")]
    conditions: Option<Vec<Condition>>,
    #[serde(deserialize_with = "Option::deserialize")]
    operations_on_success: Option<Vec<Step>>,
    #[serde(deserialize_with = "Option::deserialize")]
    operations_on_failure: Option<Vec<Step>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Condition {
    key: String,
    expected_revision: i64,
    /// Earlier versions of those tests compare revisions alone.
    #[serde(default)]
    expected_version: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Step {
    #[serde(rename = "Type")]
    kind: String,
    range: Option<StepRange>,
    put: Option<PutInput>,
    delete: Option<DeleteInput>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PutInput {
    key: String,
    value: ValueOrHash,
    #[serde(rename = "LeaseID")]
    lease_id: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeleteInput {
    key: String,
}

/// The zeros of a value are the ones that those tests leave out.

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct ValueOrHash {
    value: String,
    hash: u32,
}

impl ValueOrHash {
    fn into_bytes(self) -> Bytes {
        if self.hash == 0 {
            Bytes::from(self.value)
        } else {
            Bytes::from(format!("hash:{:08x}", self.hash))
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Output {
    revision: i64,
    txn: Option<TxnOutput>,
    range: Option<RangeOutput>,
    /// Their answer to a grant names no lease, but has a field for its number.
    lease_grant: Option<Lease>,
    lease_revoke: Option<IgnoredAny>,
    compact: Option<IgnoredAny>,
    #[serde(rename = "Defragment")]
    _defragment: Option<IgnoredAny>,
    #[serde(rename = "PersistedRevision")]
    _persisted_revision: Option<i64>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    client_error: String,
    #[serde(default)]
    persisted: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TxnOutput {
    failure: bool,
    #[serde(deserialize_with = "Option::deserialize")]
    results: Option<Vec<StepOutput>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RangeOutput {
    #[serde(rename = "KVs", deserialize_with = "Option::deserialize")]
    kvs: Option<Vec<Pair>>,
    count: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct StepOutput {
    #[serde(rename = "KVs", deserialize_with = "Option::deserialize")]
    kvs: Option<Vec<Pair>>,
    count: i64,
    deleted: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Pair {
    key: String,
    value: ValueOrHash,
    /// It is never 0, so that it is never left out.
    mod_revision: i64,
    /// Earlier versions of those tests do not tell it.
    #[serde(default)]
    version: i64,
}

fn to_range(input: RangeInput) -> RangeRequest {
    RangeRequest {
        range: KeyRange {
            key: Bytes::from(input.start),
            range_end: Bytes::from(input.end),
        },
        limit: input.limit,
        revision: input.revision,
        // Old revisions are read from any member.
        serializable: input.revision > 0,
        ..RangeRequest::default()
    }
}

fn to_range_result(kvs: Option<Vec<Pair>>, count: i64, limit: i64) -> RangeResult {
    let kvs: Vec<KeyValue> = kvs
        .unwrap_or_default()
        .into_iter()
        .map(|pair| KeyValue {
            key: Bytes::from(pair.key),
            value: pair.value.into_bytes(),
            create_revision: 0,
            mod_revision: pair.mod_revision,
            version: pair.version,
            lease: -1,
        })
        .collect();
    let more = limit > 0 && count > kvs.len() as i64;
    RangeResult { kvs, more, count }
}

fn to_step(step: Step) -> Result<TxnOp, String> {
    let missing = |field: &'static str| move || format!("a field `{field}` of this step");
    Ok(match step.kind.as_str() {
        "range-operation" => {
            let StepRange {
                start,
                end,
                limit,
                revision,
            } = step.range.ok_or_else(missing("Range"))?;
            TxnOp::Range(to_range(RangeInput {
                start,
                end,
                limit,
                revision,
            }))
        }
        "put-operation" => {
            let put = step.put.ok_or_else(missing("Put"))?;
            TxnOp::Put(PutRequest {
                lease: put.lease_id,
                ..PutRequest::of(put.key, put.value.into_bytes())
            })
        }
        "delete-operation" => {
            let delete = step.delete.ok_or_else(missing("Delete"))?;
            TxnOp::DeleteRange(DeleteRangeRequest::of(KeyRange::single(delete.key)))
        }
        other => return Err(format!("a Type of a known step, found {other:?}")),
    })
}

/// `None` for what changes nothing that is checked.
fn to_request(input: Input) -> Result<Option<Request>, String> {
    let missing = |field: &'static str| move || format!("a field `{field}` of the Input");
    Ok(Some(match input.kind.as_str() {
        "range" => Request::Range(to_range(input.range.ok_or_else(missing("Range"))?)),
        "txn" => {
            let txn = input.txn.ok_or_else(missing("Txn"))?;
            let steps = |steps: Option<Vec<Step>>| {
                steps
                    .unwrap_or_default()
                    .into_iter()
                    .map(to_step)
                    .collect::<Result<Vec<_>, _>>()
            };
            let compares = txn
                .conditions
                .unwrap_or_default()
                .into_iter()
                .map(|condition| {
                    let target = if condition.expected_version > 0 {
                        CompareTarget::Version(condition.expected_version)
                    } else {
                        CompareTarget::ModRevision(condition.expected_revision)
                    };
                    let range = KeyRange::single(condition.key);
                    Compare {
                        range,
                        target,
                        result: CompareResult::Equal,
                    }
                });
            Request::Txn(TxnRequest {
                compares: compares.collect(),
                success: steps(txn.operations_on_success)?,
                failure: steps(txn.operations_on_failure)?,
            })
        }
        // Their times to live are not recorded, so any expiry is allowed.
        "leaseGrant" => Request::LeaseGrant {
            id: input.lease_grant.ok_or_else(missing("LeaseGrant"))?.id,
            ttl_s: TTL_NOT_TOLD_S,
        },
        "leaseRevoke" => Request::LeaseRevoke {
            id: input.lease_revoke.ok_or_else(missing("LeaseRevoke"))?.id,
        },
        "compact" => Request::Compact {
            revision: input.compact.ok_or_else(missing("Compact"))?.revision,
        },
        "defragment" => return Ok(None),
        other => return Err(format!("a Type of a known operation, found {other:?}")),
    }))
}

/// `None` where nothing is known of the outcome.
fn to_outcome(request: &Request, output: Output) -> Result<Option<Outcome>, String> {
    if !output.error.is_empty() || !output.client_error.is_empty() || output.persisted {
        return Ok(None);
    }
    let missing =
        |field: &'static str| move || format!("a field `{field}` of the Output, or an Error");
    let mut revision = output.revision;
    let response = match request {
        Request::Range(range) => {
            let result = output.range.ok_or_else(missing("Range"))?;
            if revision <= 0 {
                // Answers to stale reads are recorded without a revision.
                revision = range.revision;
            }
            Response::Range(to_range_result(result.kvs, result.count, range.limit))
        }
        Request::Txn(txn) => {
            let result = output.txn.ok_or_else(missing("Txn"))?;
            let steps = if result.failure {
                &txn.failure
            } else {
                &txn.success
            };
            let answers = result.results.unwrap_or_default();
            if answers.len() != steps.len() {
                return Err(format!("{} Results, one for each step", steps.len()));
            }
            let results = steps.iter().zip(answers).map(|(step, answer)| match step {
                TxnOp::Range(range) => {
                    TxnOpResult::Range(to_range_result(answer.kvs, answer.count, range.limit))
                }
                TxnOp::DeleteRange(_) => TxnOpResult::DeleteRange(DeleteRangeResult {
                    deleted: answer.deleted,
                    prev_kvs: Vec::new(),
                }),
                TxnOp::Put(_) | TxnOp::Txn(_) => TxnOpResult::Put(PutResult::default()),
            });
            Response::Txn(TxnResult {
                succeeded: !result.failure,
                results: results.collect(),
            })
        }
        Request::LeaseGrant { id, .. } => {
            output.lease_grant.ok_or_else(missing("LeaseGrant"))?;
            Response::LeaseGrant {
                id: *id,
                ttl_s: TTL_NOT_TOLD_S,
            }
        }
        Request::LeaseRevoke { .. } => {
            output.lease_revoke.ok_or_else(missing("LeaseRevoke"))?;
            Response::LeaseRevoke
        }
        Request::Compact { .. } => {
            output.compact.ok_or_else(missing("Compact"))?;
            Response::Compact
        }
        Request::Put(_)
        | Request::DeleteRange(_)
        | Request::LeaseKeepAlive { .. }
        | Request::LeaseTimeToLive { .. }
        | Request::LeaseLeases => unreachable!("no operation of these files is one of them"),
    };
    Ok(Some(Outcome::Done {
        header: Header {
            revision,
            member: 0,
        },
        response,
    }))
}

/// Counts the lines that were read. JSON is read from it byte by byte.
struct CountLines<'a, R> {
    source: R,
    line: &'a Cell<u64>,
}

impl<R: Read> Read for CountLines<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        let ended = buffer[..count].iter().filter(|byte| **byte == b'\n');
        self.line.set(self.line.get() + ended.count() as u64);
        Ok(count)
    }
}

/// When an operation was under way, and the line in which it ends.
struct Span {
    client: u64,
    call_ns: u64,
    return_ns: Option<u64>,
    line: u64,
}

/// A client calls one operation at a time. Two that overlap are one that was written twice, or have
/// lost what tells them apart.
fn refuse_overlaps(spans: &mut [Span]) -> Result<(), ReadError> {
    let wrong = |span: &Span, expected: String| {
        let place = Place {
            line: span.line,
            column: 1,
        };
        Err(ReadError::syntax(place, expected))
    };
    spans.sort_by_key(|span| (span.client, span.call_ns, span.line));
    for (at, span) in spans.iter().enumerate() {
        let Span {
            client, call_ns, ..
        } = *span;
        if span.return_ns.is_some_and(|return_ns| return_ns < call_ns) {
            return wrong(
                span,
                format!("a Return that is not before its Call at {call_ns}"),
            );
        }
        let next = spans.get(at + 1).filter(|next| next.client == client);
        if let Some(next) = next
            && (next.call_ns == call_ns || span.return_ns > Some(next.call_ns))
        {
            let expected = format!(
                "one operation of client {client} at a time: that of line {} was called at {call_ns}",
                span.line
            );
            return wrong(next, expected);
        }
    }
    Ok(())
}

/// Reads all operations, as events in order of time, from a text of at most `length_max`
/// bytes.
///
/// # Errors
/// [`ReadError::Syntax`] at the first value that is no operation, or where operations of one client
/// overlap, and [`ReadError::TooLarge`].
pub fn read(source: impl Read, length_max: u64) -> Result<Vec<EtcdEvent>, ReadError> {
    let mut events: Vec<(u64, bool, EtcdEvent)> = Vec::new();
    let mut spans = Vec::new();
    let line = Cell::new(1);
    let mut source = CountLines {
        source: source.take(length_max),
        line: &line,
    };
    let operations = serde_json::Deserializer::from_reader(&mut source).into_iter::<Operation>();
    let mut failure = None;
    for (index, operation) in operations.enumerate() {
        let operation = match operation {
            Ok(operation) => operation,
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        let Some(request) = operation.request else {
            continue;
        };
        let op = OperationId(index as u64);
        let (call_ns, client) = (operation.call_ns, operation.client_id);
        spans.push(Span {
            client,
            call_ns,
            return_ns: operation.returned.as_ref().map(|(ns, _)| *ns),
            line: line.get(),
        });
        let call = EtcdEvent::call(call_ns, client, op, request);
        events.push((call_ns, false, call));
        if let Some((return_ns, outcome)) = operation.returned {
            let returned = EtcdEvent::returned(return_ns, client, op, outcome);
            events.push((return_ns, true, returned));
        }
    }
    if let Some(error) = failure {
        let place = Place {
            line: error.line() as u64,
            column: error.column() as u64,
        };
        return Err(if source.source.limit() == 0 {
            ReadError::too_large(place, length_max)
        } else if error.is_io() {
            ReadError::Io(error.into())
        } else {
            ReadError::syntax(place, jsonl::expected(&error.to_string()))
        });
    }
    refuse_overlaps(&mut spans)?;
    // On a tie calls come first.
    events.sort_by_key(|(time_ns, is_end, _)| (*time_ns, *is_end));
    Ok(events.into_iter().map(|(_, _, event)| event).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATIONS: &str = r#"{
      "ClientId": 1,
      "Input": {"Type": "txn", "LeaseGrant": null, "LeaseRevoke": null, "Range": null,
        "Txn": {"Conditions": null, "OperationsOnSuccess": [{"Type": "put-operation",
          "Range": {"Start": "", "End": "", "Limit": 0},
          "Put": {"Key": "key1", "Value": {"Value": "1"}, "LeaseID": 0},
          "Delete": {"Key": ""}}], "OperationsOnFailure": null},
        "Defragment": null, "Compact": null},
      "Call": 100,
      "Output": {"Txn": {"Failure": false, "Results": [{"KVs": null, "Count": 0, "Deleted": 0}]},
        "Range": null, "LeaseGrant": null, "LeaseRevoke": null, "Defragment": null,
        "Compact": null, "ClientError": "", "Revision": 2, "Persisted": false,
        "PersistedRevision": 0, "Error": ""},
      "Return": 200
    }
    {
      "ClientId": 2,
      "Input": {"Type": "range", "Range": {"Start": "key1", "End": "", "Limit": 0, "Revision": 0}},
      "Call": 150,
      "Output": {"Range": {"KVs": [{"Key": "key1", "Value": {"Value": "1"}, "ModRevision": 2}],
        "Count": 1}, "Revision": 2},
      "Return": 300
    }
    {
      "ClientId": 3,
      "Input": {"Type": "range", "Range": {"Start": "key1", "End": "", "Limit": 0, "Revision": 0}},
      "Call": 160,
      "Output": {"Error": "timeout", "Revision": 0},
      "Return": 0
    }"#;

    #[test]
    fn operations_become_events_in_order_of_time() {
        let events = read(OPERATIONS.as_bytes(), 1 << 20).unwrap();
        let times: Vec<u64> = events.iter().map(|event| event.time_ns).collect();
        assert_eq!(times, [100, 150, 160, 200, 300]);
        assert!(events.iter().filter(|event| !event.is_call()).count() == 2);
    }

    #[test]
    fn what_is_no_operation_is_named_with_its_place() {
        match read(&b"{\n \"ClientId\": true}"[..], 1 << 20) {
            Err(ReadError::Syntax { line: 2, .. }) => {}
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_known_of_an_operation_is_an_error_and_never_left_out() {
        let lost_answer = OPERATIONS.replacen("\"Range\": {\"KVs\"", "\"Rnage\": {\"KVs\"", 1);
        let no_answer = OPERATIONS.replacen("\"Error\": \"timeout\", ", "", 1);
        let other_kind = OPERATIONS.replacen("\"Type\": \"range\"", "\"Type\": \"rnage\"", 1);
        let no_result = OPERATIONS.replacen("{\"KVs\": null, \"Count\": 0, \"Deleted\": 0}", "", 1);
        let twice = format!("{OPERATIONS}\n{OPERATIONS}");
        let early = OPERATIONS.replacen("\"Return\": 200", "\"Return\": 99", 1);
        let without = |field: &str| {
            let text = OPERATIONS.replacen(field, "", 1);
            text.replace("}, }", "}}").replace(", }", "}")
        };
        for (text, expected) in [
            (lost_answer, "Rnage"),
            (no_answer, "`Range`"),
            (other_kind, "rnage"),
            (no_result, "1 Results"),
            (twice, "one operation of client 1 at a time: that of line"),
            (early, "not before its Call"),
            (without("\"Revision\": 2, "), "`Revision`"),
            (without("\"LeaseID\": 0"), "`LeaseID`"),
            (
                without(
                    "\"Put\": {\"Key\": \"key1\", \"Value\": {\"Value\": \"1\"}, \"LeaseID\": 0},",
                ),
                "`Put`",
            ),
        ] {
            assert_ne!(text, OPERATIONS);
            let error = read(text.as_bytes(), 1 << 20).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let error = read(OPERATIONS.as_bytes(), 100).unwrap_err();
        assert!(matches!(error, ReadError::TooLarge { .. }), "{error}");
    }
}
