//! Random requests over few keys, so that they meet.

use bytes::Bytes;
use proptest::prelude::*;
use veridical_proto::command::command;
use veridical_proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest,
    PutRequest, RangeRequest, RequestOp, TxnRequest, compare::TargetUnion, request_op,
};

/// A step of a test.
#[derive(Clone, Debug)]
pub enum Step {
    Apply(command::Request),
    /// Compacts so many revisions before the present.
    Compact(i64),
    /// Applies a command for the second time: that many before the last, if there are.
    Resend(usize),
    Publish,
    Range(RangeRequest),
    ReadTxn(TxnRequest),
    /// Goes on with a store restored from a snapshot in chunks of this size.
    Restore(usize),
}

pub fn steps(longest: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..longest)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => request().prop_map(Step::Apply),
        1 => (0i64..3).prop_map(Step::Compact),
        1 => (0usize..30).prop_map(Step::Resend),
        5 => Just(Step::Publish),
        8 => range_request().prop_map(Step::Range),
        2 => txn(1, true).prop_map(Step::ReadTxn),
        1 => (1usize..200).prop_map(Step::Restore),
    ]
}

pub fn request() -> impl Strategy<Value = command::Request> {
    prop_oneof![
        8 => put_request().prop_map(command::Request::Put),
        3 => delete_request().prop_map(command::Request::DeleteRange),
        5 => txn(2, false).prop_map(command::Request::Txn),
        2 => (-2i64..40).prop_map(|revision| command::Request::Compaction(CompactionRequest {
            revision,
            physical: false,
        })),
        3 => (0i64..5, prop_oneof![8 => -1i64..20, 1 => Just(9_000_000_001)])
            .prop_map(|(id, ttl)| command::Request::LeaseGrant(LeaseGrantRequest { id, ttl })),
        1 => (0i64..5).prop_map(|id| command::Request::LeaseRevoke(LeaseRevokeRequest { id })),
    ]
}

pub fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["\0", "a", "aa", "b", "c", "d\u{7f}"]).prop_map(Bytes::from)
}

/// A key and a range end.
pub fn range() -> impl Strategy<Value = (Bytes, Bytes)> {
    prop_oneof![
        3 => key().prop_map(|key| (key, Bytes::new())),
        3 => (key(), key()),
        1 => key().prop_map(|key| (key, Bytes::from("\0"))),
    ]
}

fn sometimes() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.15)
}

fn put_request() -> impl Strategy<Value = PutRequest> {
    let value = prop::sample::select(vec!["", "x", "y", "zz"]).prop_map(Bytes::from);
    let lease = prop_oneof![3 => Just(0i64), 2 => 0i64..5];
    (key(), value, lease, any::<bool>(), sometimes(), sometimes()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { 0 } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn delete_request() -> impl Strategy<Value = DeleteRangeRequest> {
    (range(), any::<bool>()).prop_map(|((key, range_end), prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

pub fn range_request() -> impl Strategy<Value = RangeRequest> {
    let bound = || prop_oneof![6 => Just(0i64), 1 => 1i64..20];
    (
        range(),
        prop_oneof![3 => Just(0i64), 1 => -2i64..5],
        prop_oneof![3 => Just(0i64), 3 => -2i64..30],
        (0i32..3, prop_oneof![2 => Just(0i32), 2 => 0i32..5]),
        (sometimes(), sometimes(), any::<bool>()),
        (bound(), bound(), bound(), bound()),
    )
        .prop_map(
            |((key, range_end), limit, revision, sort, flags, bounds)| RangeRequest {
                key,
                range_end,
                limit,
                revision,
                sort_order: sort.0,
                sort_target: sort.1,
                keys_only: flags.0,
                count_only: flags.1,
                serializable: flags.2,
                min_mod_revision: bounds.0,
                max_mod_revision: bounds.1,
                min_create_revision: bounds.2,
                max_create_revision: bounds.3,
            },
        )
}

fn compare() -> impl Strategy<Value = Compare> {
    let operand = prop_oneof![
        (0i64..4).prop_map(|version| Some(TargetUnion::Version(version))),
        (0i64..20).prop_map(|revision| Some(TargetUnion::CreateRevision(revision))),
        (0i64..20).prop_map(|revision| Some(TargetUnion::ModRevision(revision))),
        prop::sample::select(vec!["", "x", "y"])
            .prop_map(|value| Some(TargetUnion::Value(value.into()))),
        (0i64..4).prop_map(|lease| Some(TargetUnion::Lease(lease))),
        Just(None),
    ];
    (range(), operand, 0i32..5, 0i32..6).prop_map(|((key, range_end), operand, result, target)| {
        // Mostly of the target's own kind.
        let target = match &operand {
            Some(TargetUnion::Version(_)) => 0,
            Some(TargetUnion::CreateRevision(_)) => 1,
            Some(TargetUnion::ModRevision(_)) => 2,
            Some(TargetUnion::Value(_)) => 3,
            Some(TargetUnion::Lease(_)) => 4,
            None => target,
        };
        Compare {
            result,
            target,
            key,
            range_end,
            target_union: operand,
        }
    })
}

fn op(depth: u32, read_only: bool) -> BoxedStrategy<RequestOp> {
    let range = range_request().prop_map(request_op::Request::RequestRange);
    let leaf = if read_only {
        range.boxed()
    } else {
        prop_oneof![
            2 => range,
            4 => put_request().prop_map(request_op::Request::RequestPut),
            2 => delete_request().prop_map(request_op::Request::RequestDeleteRange),
        ]
        .boxed()
    };
    let request = if depth == 0 {
        leaf
    } else {
        prop_oneof![
            5 => leaf,
            1 => txn(depth - 1, read_only).prop_map(request_op::Request::RequestTxn),
        ]
        .boxed()
    };
    request
        .prop_map(|request| RequestOp {
            request: Some(request),
        })
        .boxed()
}

fn txn(depth: u32, read_only: bool) -> impl Strategy<Value = TxnRequest> {
    (
        prop::collection::vec(compare(), 0..3),
        prop::collection::vec(op(depth, read_only), 0..4),
        prop::collection::vec(op(depth, read_only), 0..4),
    )
        .prop_map(|(compare, success, failure)| TxnRequest {
            compare,
            success,
            failure,
        })
}
