//! The differences to etcd that are meant, and why they are no failures.

use veridical_proto::etcdserverpb as api;

use super::operation::{Operation, Step, Watching};
use super::run::Difference;

/// A difference that is no failure.
#[derive(Clone, Copy)]
pub struct Known {
    pub name: &'static str,
    /// What docs/serving.md says about it.
    pub documented: &'static str,
    /// Whether the stores hold something else from then on, so that nothing is to be compared
    /// any more.
    pub ends_the_sequence: bool,
    /// Steps in an empty store of one member that show it.
    pub example: fn() -> Vec<Step>,
    /// Whether a difference is this one.
    pub explains: fn(&Difference) -> bool,
}

/// How our store refuses what changes a key twice.
const DUPLICATE_KEY: &str = "etcdserver: duplicate key given in txn request";

pub const ALL: [Known; 4] = [
    Known {
        name: "a key that a transaction changes twice",
        documented: "A transaction that puts a key and deletes \"all keys from\" an earlier one",
        ends_the_sequence: true,
        example: || vec![twice_changed()],
        explains: |difference| {
            difference.ours.contains(DUPLICATE_KEY) && !difference.etcd.contains(DUPLICATE_KEY)
        },
    },
    Known {
        name: "a watch from a negative revision",
        documented: "A watch from a negative revision",
        ends_the_sequence: false,
        example: || vec![watch_from(-5)],
        explains: |difference| {
            matches!(&difference.step.operation, Operation::Watch(watching)
                if watching.creates.iter().any(|create| create.start_revision < 0))
        },
    },
    Known {
        name: "the header of a list of alarms",
        documented: "The answer to `alarm list` has a header",
        ends_the_sequence: false,
        example: || {
            vec![at_the_member(
                Operation::Alarm(api::AlarmRequest::default()),
            )]
        },
        explains: |difference| {
            matches!(difference.step.operation, Operation::Alarm(_))
                && difference.etcd.contains("header: None")
        },
    },
    Known {
        name: "a limit on what is sorted in no order",
        documented: "A range that is sorted by something else than the key, without a `sort_order`",
        ends_the_sequence: false,
        example: || {
            vec![
                put("a", "3"),
                put("b", "2"),
                put("c", "1"),
                at_the_member(Operation::Range(api::RangeRequest {
                    key: "a".into(),
                    range_end: "\0".into(),
                    limit: 1,
                    sort_target: api::range_request::SortTarget::Value as i32,
                    ..api::RangeRequest::default()
                })),
            ]
        },
        explains: |difference| ranges_of(&difference.step.operation).any(sorts_in_no_order),
    },
];

fn sorts_in_no_order(range: &api::RangeRequest) -> bool {
    range.sort_order == 0 && range.sort_target != 0 && range.limit > 0
}

/// All ranges in an operation, also those of transactions and of what is done beside watches.
fn ranges_of(operation: &Operation) -> Box<dyn Iterator<Item = &api::RangeRequest> + '_> {
    match operation {
        Operation::Range(range) => Box::new(std::iter::once(range)),
        Operation::Txn(txn) => ranges_of_txn(txn),
        Operation::Watch(watching) => Box::new(watching.meanwhile.iter().flat_map(ranges_of)),
        // tidy: nothing else reads keys
        _ => Box::new(std::iter::empty()),
    }
}

fn ranges_of_txn(txn: &api::TxnRequest) -> Box<dyn Iterator<Item = &api::RangeRequest> + '_> {
    use api::request_op::Request;
    let operations = txn.success.iter().chain(&txn.failure);
    Box::new(operations.flat_map(|op| match &op.request {
        Some(Request::RequestRange(range)) => {
            Box::new(std::iter::once(range)) as Box<dyn Iterator<Item = _>>
        }
        Some(Request::RequestTxn(nested)) => ranges_of_txn(nested),
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) | None => {
            Box::new(std::iter::empty())
        }
    }))
}

fn put(key: &'static str, value: &'static str) -> Step {
    at_the_member(Operation::Put(api::PutRequest {
        key: key.into(),
        value: value.into(),
        ..api::PutRequest::default()
    }))
}

fn twice_changed() -> Step {
    let put = api::PutRequest {
        key: "b".into(),
        ..api::PutRequest::default()
    };
    let delete = api::DeleteRangeRequest {
        key: "a".into(),
        range_end: "\0".into(),
        ..api::DeleteRangeRequest::default()
    };
    let operations = [
        api::request_op::Request::RequestPut(put),
        api::request_op::Request::RequestDeleteRange(delete),
    ];
    at_the_member(Operation::Txn(api::TxnRequest {
        success: operations
            .map(|request| api::RequestOp {
                request: Some(request),
            })
            .into(),
        ..api::TxnRequest::default()
    }))
}

fn watch_from(start_revision: i64) -> Step {
    at_the_member(Operation::Watch(Watching {
        creates: vec![api::WatchCreateRequest {
            key: "a".into(),
            start_revision,
            ..api::WatchCreateRequest::default()
        }],
        meanwhile: Vec::new(),
        cancels: Vec::new(),
    }))
}

fn at_the_member(operation: Operation) -> Step {
    Step {
        member: 0,
        operation,
    }
}

/// The known difference that this one is.
pub fn reason_for(difference: &Difference) -> Option<Known> {
    ALL.into_iter().find(|known| (known.explains)(difference))
}
