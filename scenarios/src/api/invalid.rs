//! Requests with every argument that etcd refuses for what it is.

use bytes::Bytes;
use veridical_node::Limits;
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::request_op::Request as Op;
use veridical_proto::native::request::Body as Ask;

use crate::keyspace::key;

/// A key that nobody writes.
const KEY: u32 = 91;

/// A sort order, and a target, that there are not.
const NO_SUCH_ORDER: i32 = 9;

/// One request for each of them. None may have an effect.
pub fn requests(limits: &Limits) -> Vec<Ask> {
    let mut requests = vec![
        Ask::Range(api::RangeRequest::default()),
        Ask::Range(api::RangeRequest {
            key: key(KEY),
            sort_order: NO_SUCH_ORDER,
            ..Default::default()
        }),
        Ask::Range(api::RangeRequest {
            key: key(KEY),
            sort_target: NO_SUCH_ORDER,
            ..Default::default()
        }),
        Ask::DeleteRange(api::DeleteRangeRequest::default()),
        Ask::LeaseGrant(api::LeaseGrantRequest {
            id: 0,
            ttl: i64::MAX,
        }),
    ];
    requests.extend(puts(limits).into_iter().map(Ask::Put));
    requests.extend(transactions(limits).into_iter().map(Ask::Txn));
    requests
}

fn puts(limits: &Limits) -> Vec<api::PutRequest> {
    let put = || api::PutRequest {
        key: key(KEY),
        value: Bytes::from_static(b"never written"),
        ..Default::default()
    };
    vec![
        api::PutRequest {
            key: Bytes::new(),
            ..put()
        },
        api::PutRequest {
            ignore_value: true,
            ..put()
        },
        api::PutRequest {
            ignore_lease: true,
            lease: 7,
            ..put()
        },
        api::PutRequest {
            value: vec![b'.'; limits.max_request_bytes + 1].into(),
            ..put()
        },
    ]
}

fn transactions(limits: &Limits) -> Vec<api::TxnRequest> {
    let op = |op: Op| api::RequestOp { request: Some(op) };
    let range = || {
        op(Op::RequestRange(api::RangeRequest {
            key: key(KEY),
            ..Default::default()
        }))
    };
    let put = || {
        op(Op::RequestPut(api::PutRequest {
            key: key(KEY),
            ..Default::default()
        }))
    };
    let delete = |range_end: &'static str| {
        op(Op::RequestDeleteRange(api::DeleteRangeRequest {
            key: key(KEY),
            range_end: range_end.into(),
            ..Default::default()
        }))
    };
    let success = |success| api::TxnRequest {
        success,
        ..Default::default()
    };
    vec![
        success(vec![api::RequestOp { request: None }]),
        success(vec![put(), put()]),
        success(vec![put(), delete("")]),
        success(vec![delete("z"), put()]),
        api::TxnRequest {
            failure: vec![put(), put()],
            ..Default::default()
        },
        success(vec![op(Op::RequestRange(api::RangeRequest::default()))]),
        success(vec![op(Op::RequestPut(api::PutRequest::default()))]),
        api::TxnRequest {
            compare: vec![api::Compare::default()],
            success: vec![range()],
            ..Default::default()
        },
        success(vec![op(Op::RequestTxn(success(vec![put(), put()])))]),
        success((0..=limits.max_txn_ops).map(|_| range()).collect()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::refusals;

    #[test]
    fn every_request_is_one_that_etcd_refuses() {
        let limits = Limits::default();
        for ask in requests(&limits) {
            assert!(refusals::expected(&ask, &limits).is_some(), "{ask:?}");
        }
    }
}
