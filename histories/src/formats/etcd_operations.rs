//! The `operations.json` of etcd's robustness tests: JSON values one after the other,
//! each an operation with the times of its call and return.
//!
//! What those tests leave out (creation revisions, versions, leases of read pairs) is
//! marked as not told: 0, 0 and -1. Values longer than theirs are hashes on both sides.
//! The operations are sorted by time, so the whole file is kept in memory.

use std::io::Read;

use bytes::Bytes;
use serde::Deserialize;

use super::error::{Place, ReadError};
use crate::OperationId;
use crate::etcd::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResult, EtcdEvent,
    Header, KeyRange, KeyValue, Outcome, PutRequest, PutResult, RangeRequest, RangeResult, Request,
    Response, TxnOp, TxnOpResult, TxnRequest, TxnResult,
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Operation {
    client_id: u64,
    input: Input,
    call: i64,
    output: Output,
    #[serde(rename = "Return")]
    returned: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(rename = "Type")]
    kind: String,
    lease_grant: Option<Lease>,
    lease_revoke: Option<Lease>,
    range: Option<RangeInput>,
    txn: Option<TxnInput>,
    compact: Option<CompactInput>,
}

#[derive(Deserialize)]
struct Lease {
    #[serde(rename = "LeaseID", default)]
    id: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CompactInput {
    revision: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RangeInput {
    start: String,
    end: String,
    limit: i64,
    revision: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TxnInput {
    conditions: Option<Vec<Condition>>,
    operations_on_success: Option<Vec<Step>>,
    operations_on_failure: Option<Vec<Step>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    key: String,
    #[serde(default)]
    expected_revision: i64,
    #[serde(default)]
    expected_version: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Step {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(default)]
    range: RangeInput,
    #[serde(default)]
    put: PutInput,
    #[serde(default)]
    delete: DeleteInput,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct PutInput {
    key: String,
    value: ValueOrHash,
    #[serde(rename = "LeaseID")]
    lease_id: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct DeleteInput {
    key: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
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
#[serde(rename_all = "PascalCase")]
struct Output {
    #[serde(default)]
    revision: i64,
    txn: Option<TxnOutput>,
    range: Option<RangeOutput>,
    lease_grant: Option<serde::de::IgnoredAny>,
    lease_revoke: Option<serde::de::IgnoredAny>,
    compact: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    client_error: String,
    #[serde(default)]
    persisted: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TxnOutput {
    #[serde(default)]
    failure: bool,
    results: Option<Vec<StepOutput>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RangeOutput {
    #[serde(rename = "KVs")]
    kvs: Option<Vec<Pair>>,
    count: i64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct StepOutput {
    #[serde(rename = "KVs")]
    kvs: Option<Vec<Pair>>,
    count: i64,
    deleted: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    key: String,
    #[serde(default)]
    value: ValueOrHash,
    #[serde(default)]
    mod_revision: i64,
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

fn to_step(step: Step) -> Option<TxnOp> {
    Some(match step.kind.as_str() {
        "range-operation" => TxnOp::Range(to_range(step.range)),
        "put-operation" => TxnOp::Put(PutRequest {
            lease: step.put.lease_id,
            ..PutRequest::of(step.put.key, step.put.value.into_bytes())
        }),
        "delete-operation" => {
            TxnOp::DeleteRange(DeleteRangeRequest::of(KeyRange::single(step.delete.key)))
        }
        _ => return None,
    })
}

fn to_request(input: Input) -> Option<Request> {
    Some(match input.kind.as_str() {
        "range" => Request::Range(to_range(input.range?)),
        "txn" => {
            let txn = input.txn?;
            let steps = |steps: Option<Vec<Step>>| {
                steps
                    .unwrap_or_default()
                    .into_iter()
                    .map(to_step)
                    .collect::<Option<Vec<_>>>()
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
            id: input.lease_grant?.id,
            ttl_s: 0,
        },
        "leaseRevoke" => Request::LeaseRevoke {
            id: input.lease_revoke?.id,
        },
        "compact" => Request::Compact {
            revision: input.compact?.revision,
        },
        _ => return None,
    })
}

/// `None` where nothing is known of the outcome.
fn to_outcome(request: &Request, output: Output) -> Option<Outcome> {
    if !output.error.is_empty() || !output.client_error.is_empty() || output.persisted {
        return None;
    }
    let mut revision = output.revision;
    let response = match request {
        Request::Range(range) => {
            let result = output.range?;
            if revision <= 0 {
                // Answers to stale reads are recorded without a revision.
                revision = range.revision;
            }
            Response::Range(to_range_result(result.kvs, result.count, range.limit))
        }
        Request::Txn(txn) => {
            let result = output.txn?;
            let steps = if result.failure {
                &txn.failure
            } else {
                &txn.success
            };
            let answers = result.results.unwrap_or_default();
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
            output.lease_grant?;
            Response::LeaseGrant { id: *id, ttl_s: 0 }
        }
        Request::LeaseRevoke { .. } => {
            output.lease_revoke?;
            Response::LeaseRevoke
        }
        Request::Compact { .. } => {
            output.compact?;
            Response::Compact
        }
        Request::Put(_) | Request::DeleteRange(_) | Request::LeaseKeepAlive { .. } => return None,
        Request::LeaseTimeToLive { .. } | Request::LeaseLeases => return None,
    };
    Some(Outcome::Done {
        header: Header {
            revision,
            member: 0,
        },
        response,
    })
}

/// Reads all operations, as events in order of time.
///
/// # Errors
/// [`ReadError::Syntax`] at the first value that is no operation.
pub fn read(source: impl Read) -> Result<Vec<EtcdEvent>, ReadError> {
    let mut events: Vec<(u64, bool, EtcdEvent)> = Vec::new();
    let operations = serde_json::Deserializer::from_reader(source).into_iter::<Operation>();
    for (index, operation) in operations.enumerate() {
        let operation = operation.map_err(|error| {
            if error.is_io() {
                return ReadError::Io(error.into());
            }
            let place = Place {
                line: error.line() as u64,
                column: error.column() as u64,
            };
            ReadError::syntax(place, error.to_string())
        })?;
        let op = OperationId(index as u64);
        let call_ns = operation.call.max(0) as u64;
        // Defragmentation and the like change nothing that is checked.
        let Some(request) = to_request(operation.input) else {
            continue;
        };
        let outcome = to_outcome(&request, operation.output);
        let client = operation.client_id;
        events.push((
            call_ns,
            false,
            EtcdEvent::call(call_ns, client, op, request),
        ));
        if let Some(outcome) = outcome {
            let return_ns = operation.returned.max(0) as u64;
            events.push((
                return_ns,
                true,
                EtcdEvent::returned(return_ns, client, op, outcome),
            ));
        }
    }
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
        let events = read(OPERATIONS.as_bytes()).unwrap();
        let times: Vec<u64> = events.iter().map(|event| event.time_ns).collect();
        assert_eq!(times, [100, 150, 160, 200, 300]);
        assert!(events.iter().filter(|event| !event.is_call()).count() == 2);
    }

    #[test]
    fn what_is_no_operation_is_named_with_its_place() {
        match read(&b"{\n \"ClientId\": true}"[..]) {
            Err(ReadError::Syntax { line: 2, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}
