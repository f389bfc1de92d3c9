//! Requests and responses as the events of a history.

use veridical_histories::etcd as history;
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use veridical_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use veridical_proto::etcdserverpb::request_op::Request as Op;
use veridical_proto::etcdserverpb::response_op::Response as OpResult;
use veridical_proto::etcdserverpb::watch_create_request::FilterType;
use veridical_proto::mvccpb;
use veridical_proto::mvccpb::event::EventType;
use veridical_proto::native::batch_operation::Operation;
use veridical_proto::native::request::Body as RequestBody;
use veridical_proto::native::response::Body as ResponseBody;

use crate::connection::CallError;

/// What a checker is told of a request; `None` for requests that are no operations on
/// the state (status, membership).
pub fn request(request: &RequestBody) -> Option<history::Request> {
    Some(match request {
        RequestBody::Range(range) => history::Request::Range(range_request(range)),
        RequestBody::Put(put) => history::Request::Put(put_request(put)),
        RequestBody::DeleteRange(delete) => history::Request::DeleteRange(delete_request(delete)),
        RequestBody::Txn(txn) => history::Request::Txn(txn_request(txn)),
        RequestBody::Compaction(compaction) => history::Request::Compact {
            revision: compaction.revision,
        },
        RequestBody::LeaseGrant(grant) => history::Request::LeaseGrant {
            id: grant.id,
            ttl_s: grant.ttl,
        },
        RequestBody::LeaseRevoke(revoke) => history::Request::LeaseRevoke { id: revoke.id },
        RequestBody::LeaseKeepAlive(keep) => history::Request::LeaseKeepAlive { id: keep.id },
        RequestBody::LeaseTimeToLive(question) => history::Request::LeaseTimeToLive {
            id: question.id,
            keys: question.keys,
        },
        RequestBody::LeaseLeases(_) => history::Request::LeaseLeases,
        // Its operations are operations of a history, not itself.
        RequestBody::Batch(_)
        | RequestBody::Watch(_)
        | RequestBody::Status(_)
        | RequestBody::MemberList(_)
        | RequestBody::MemberAdd(_)
        | RequestBody::MemberRemove(_)
        | RequestBody::MemberPromote(_)
        | RequestBody::MemberUpdate(_)
        | RequestBody::MoveLeader(_)
        | RequestBody::HashKv(_)
        | RequestBody::Hash(_)
        | RequestBody::Alarm(_)
        | RequestBody::Defragment(_) => return None,
    })
}

/// An operation of a batch as a request of its own.
pub fn ask(operation: Operation) -> RequestBody {
    match operation {
        Operation::Range(range) => RequestBody::Range(range),
        Operation::Put(put) => RequestBody::Put(put),
        Operation::DeleteRange(delete) => RequestBody::DeleteRange(delete),
        Operation::Txn(txn) => RequestBody::Txn(txn),
    }
}

/// What a checker is told of a response; `None` if it answers no operation.
pub fn response(answer: &ResponseBody) -> Option<history::Outcome> {
    let (header, response) = match answer {
        ResponseBody::Range(range) => {
            (&range.header, history::Response::Range(range_result(range)))
        }
        ResponseBody::Put(put) => (&put.header, history::Response::Put(put_result(put))),
        ResponseBody::DeleteRange(delete) => (
            &delete.header,
            history::Response::DeleteRange(delete_result(delete)),
        ),
        ResponseBody::Txn(txn) => (&txn.header, history::Response::Txn(txn_result(txn))),
        ResponseBody::Compaction(compaction) => (&compaction.header, history::Response::Compact),
        ResponseBody::LeaseGrant(grant) => (
            &grant.header,
            history::Response::LeaseGrant {
                id: grant.id,
                ttl_s: grant.ttl,
            },
        ),
        ResponseBody::LeaseRevoke(revoke) => (&revoke.header, history::Response::LeaseRevoke),
        ResponseBody::LeaseKeepAlive(keep) => (
            &keep.header,
            history::Response::LeaseKeepAlive { ttl_s: keep.ttl },
        ),
        ResponseBody::LeaseTimeToLive(told) => (
            &told.header,
            history::Response::LeaseTimeToLive {
                ttl_s: told.ttl,
                granted_ttl_s: told.granted_ttl,
                keys: told.keys.clone(),
            },
        ),
        ResponseBody::LeaseLeases(list) => (
            &list.header,
            history::Response::LeaseLeases {
                ids: list.leases.iter().map(|lease| lease.id).collect(),
            },
        ),
        ResponseBody::Batch(_)
        | ResponseBody::Watch(_)
        | ResponseBody::Status(_)
        | ResponseBody::MemberList(_)
        | ResponseBody::MemberAdd(_)
        | ResponseBody::MemberRemove(_)
        | ResponseBody::MemberPromote(_)
        | ResponseBody::MemberUpdate(_)
        | ResponseBody::MoveLeader(_)
        | ResponseBody::HashKv(_)
        | ResponseBody::Hash(_)
        | ResponseBody::Alarm(_)
        | ResponseBody::Defragment(_)
        | ResponseBody::Failure(_) => return None,
    };
    let header = header
        .as_ref()
        .map_or_else(history::Header::default, |header| history::Header {
            revision: header.revision,
            member: header.member_id,
        });
    Some(history::Outcome::Done { header, response })
}

/// How an operation ended that has no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ended with a known answer.
    Known(history::Outcome),
    /// Nobody can tell how it ended.
    Unknown,
    /// It had no effect and has seen nothing.
    Failed,
}

/// How an operation ended, for a checker.
pub fn ending(result: &Result<ResponseBody, CallError>) -> Ending {
    match result {
        Ok(answer) => response(answer).map_or(Ending::Unknown, Ending::Known),
        Err(CallError::Unknown(_)) => Ending::Unknown,
        Err(CallError::Unavailable(_)) => Ending::Failed,
        Err(CallError::Refused { message, .. }) => {
            let error = match message.as_str() {
                "etcdserver: mvcc: required revision has been compacted" => {
                    history::ErrorKind::Compacted
                }
                "etcdserver: mvcc: required revision is a future revision" => {
                    history::ErrorKind::FutureRevision
                }
                "etcdserver: requested lease not found" => history::ErrorKind::LeaseNotFound,
                "etcdserver: lease already exists" => history::ErrorKind::LeaseExists,
                "etcdserver: key not found" => history::ErrorKind::KeyNotFound,
                // Leadership, load, bad arguments: says nothing about the state.
                _ => history::ErrorKind::Rejected(message.clone()),
            };
            Ending::Known(history::Outcome::refused(error))
        }
    }
}

fn key_range(key: &bytes::Bytes, range_end: &bytes::Bytes) -> history::KeyRange {
    history::KeyRange::span(key.clone(), range_end.clone())
}

fn range_request(range: &api::RangeRequest) -> history::RangeRequest {
    history::RangeRequest {
        range: key_range(&range.key, &range.range_end),
        limit: range.limit,
        revision: range.revision,
        serializable: range.serializable,
        sort_order: match range.sort_order() {
            SortOrder::None => history::SortOrder::None,
            SortOrder::Ascend => history::SortOrder::Ascend,
            SortOrder::Descend => history::SortOrder::Descend,
        },
        sort_target: match range.sort_target() {
            SortTarget::Key => history::SortTarget::Key,
            SortTarget::Version => history::SortTarget::Version,
            SortTarget::Create => history::SortTarget::CreateRevision,
            SortTarget::Mod => history::SortTarget::ModRevision,
            SortTarget::Value => history::SortTarget::Value,
        },
        keys_only: range.keys_only,
        count_only: range.count_only,
        min_mod_revision: range.min_mod_revision,
        max_mod_revision: range.max_mod_revision,
        min_create_revision: range.min_create_revision,
        max_create_revision: range.max_create_revision,
    }
}

fn put_request(put: &api::PutRequest) -> history::PutRequest {
    history::PutRequest {
        key: put.key.clone(),
        value: put.value.clone(),
        lease: put.lease,
        prev_kv: put.prev_kv,
        ignore_value: put.ignore_value,
        ignore_lease: put.ignore_lease,
    }
}

fn delete_request(delete: &api::DeleteRangeRequest) -> history::DeleteRangeRequest {
    history::DeleteRangeRequest {
        range: key_range(&delete.key, &delete.range_end),
        prev_kv: delete.prev_kv,
    }
}

fn compare(compare: &api::Compare) -> history::Compare {
    let target = match (&compare.target_union, compare.target()) {
        (Some(TargetUnion::Version(version)), _) => history::CompareTarget::Version(*version),
        (Some(TargetUnion::CreateRevision(revision)), _) => {
            history::CompareTarget::CreateRevision(*revision)
        }
        (Some(TargetUnion::ModRevision(revision)), _) => {
            history::CompareTarget::ModRevision(*revision)
        }
        (Some(TargetUnion::Value(value)), _) => history::CompareTarget::Value(value.clone()),
        (Some(TargetUnion::Lease(lease)), _) => history::CompareTarget::Lease(*lease),
        // etcd takes a missing operand for zero.
        (None, CompareTarget::Version) => history::CompareTarget::Version(0),
        (None, CompareTarget::Create) => history::CompareTarget::CreateRevision(0),
        (None, CompareTarget::Mod) => history::CompareTarget::ModRevision(0),
        (None, CompareTarget::Value) => history::CompareTarget::Value(bytes::Bytes::new()),
        (None, CompareTarget::Lease) => history::CompareTarget::Lease(0),
    };
    history::Compare {
        range: key_range(&compare.key, &compare.range_end),
        target,
        result: match compare.result() {
            CompareResult::Equal => history::CompareResult::Equal,
            CompareResult::Greater => history::CompareResult::Greater,
            CompareResult::Less => history::CompareResult::Less,
            CompareResult::NotEqual => history::CompareResult::NotEqual,
        },
    }
}

fn txn_ops(ops: &[api::RequestOp]) -> Vec<history::TxnOp> {
    ops.iter()
        .filter_map(|op| op.request.as_ref())
        .map(|op| match op {
            Op::RequestRange(range) => history::TxnOp::Range(range_request(range)),
            Op::RequestPut(put) => history::TxnOp::Put(put_request(put)),
            Op::RequestDeleteRange(delete) => history::TxnOp::DeleteRange(delete_request(delete)),
            Op::RequestTxn(txn) => history::TxnOp::Txn(txn_request(txn)),
        })
        .collect()
}

fn txn_request(txn: &api::TxnRequest) -> history::TxnRequest {
    history::TxnRequest {
        compares: txn.compare.iter().map(compare).collect(),
        success: txn_ops(&txn.success),
        failure: txn_ops(&txn.failure),
    }
}

/// A pair as a history holds it.
pub fn key_value(kv: &mvccpb::KeyValue) -> history::KeyValue {
    history::KeyValue {
        key: kv.key.clone(),
        value: kv.value.clone(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

fn range_result(range: &api::RangeResponse) -> history::RangeResult {
    history::RangeResult {
        kvs: range.kvs.iter().map(key_value).collect(),
        more: range.more,
        count: range.count,
    }
}

fn put_result(put: &api::PutResponse) -> history::PutResult {
    history::PutResult {
        prev_kv: put.prev_kv.as_ref().map(key_value),
    }
}

fn delete_result(delete: &api::DeleteRangeResponse) -> history::DeleteRangeResult {
    history::DeleteRangeResult {
        deleted: delete.deleted,
        prev_kvs: delete.prev_kvs.iter().map(key_value).collect(),
    }
}

fn txn_result(txn: &api::TxnResponse) -> history::TxnResult {
    history::TxnResult {
        succeeded: txn.succeeded,
        results: txn
            .responses
            .iter()
            .filter_map(|op| op.response.as_ref())
            .map(|op| match op {
                OpResult::ResponseRange(range) => history::TxnOpResult::Range(range_result(range)),
                OpResult::ResponsePut(put) => history::TxnOpResult::Put(put_result(put)),
                OpResult::ResponseDeleteRange(delete) => {
                    history::TxnOpResult::DeleteRange(delete_result(delete))
                }
                OpResult::ResponseTxn(txn) => history::TxnOpResult::Txn(txn_result(txn)),
            })
            .collect(),
    }
}

/// A watch as a history notes it when the server confirmed it with `response`. `watch`
/// names it for the whole history.
pub fn watch_created(
    watch: u64,
    create: &api::WatchCreateRequest,
    response: &api::WatchResponse,
) -> history::WatchNote {
    let filtered = |filter: FilterType| create.filters().any(|present| present == filter);
    history::WatchNote::Created(history::WatchCreated {
        watch,
        range: key_range(&create.key, &create.range_end),
        start_revision: create.start_revision,
        revision: response.header.as_ref().map_or(0, |header| header.revision),
        prev_kv: create.prev_kv,
        no_put: filtered(FilterType::Noput),
        no_delete: filtered(FilterType::Nodelete),
    })
}

/// What a watch brought, as a history notes it.
pub fn watch_response(watch: u64, response: &api::WatchResponse) -> history::WatchNote {
    let events: Vec<_> = response
        .events
        .iter()
        .filter_map(|event| {
            Some(history::WatchEvent {
                kind: match event.r#type() {
                    EventType::Put => history::WatchEventKind::Put,
                    EventType::Delete => history::WatchEventKind::Delete,
                },
                kv: key_value(event.kv.as_ref()?),
                prev_kv: event.prev_kv.as_ref().map(key_value),
            })
        })
        .collect();
    history::WatchNote::Response(history::WatchResponse {
        watch,
        revision: response.header.as_ref().map_or(0, |header| header.revision),
        // etcd tells progress by a response without events.
        progress: events.is_empty() && !response.created && !response.canceled,
        events,
        fragment: response.fragment,
        canceled: response.canceled,
        compact_revision: response.compact_revision,
    })
}
