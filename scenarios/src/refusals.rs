//! Refusals that blame the request. The histories' checker takes a refusal for granted that says
//! nothing of keys, revisions or leases; but the clients of a run know what they ask for.

use veridical_client::CallError;
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::request_op::Request as Op;
use veridical_proto::native::request::Body as Ask;

/// What members say of requests that nobody could carry out.
const BLAMES: [&str; 6] = [
    "etcdserver: key is not provided",
    "etcdserver: value is provided",
    "etcdserver: lease is provided",
    "etcdserver: duplicate key given in txn request",
    "etcdserver: invalid sort option",
    "etcdserver: too large lease TTL",
];

/// What they say of transactions with too many operations.
const TOO_MANY_OPERATIONS: &str = "etcdserver: too many operations in txn request";

/// Whether a request was refused for what it is, and there is nothing wrong with it. Clients
/// of a run make no mistakes but one: a transaction may have more operations than the
/// members take, which is `max_txn_ops`.
pub fn is_undue(ask: &Ask, error: &CallError, max_txn_ops: usize) -> bool {
    let CallError::Refused { message, .. } = error else {
        return false;
    };
    match ask {
        Ask::Txn(txn) if message == TOO_MANY_OPERATIONS => operations(txn) <= max_txn_ops,
        _ => message == TOO_MANY_OPERATIONS || BLAMES.contains(&message.as_str()),
    }
}

/// The operations of a transaction as etcd counts them: of each level the longest list, with
/// the levels below it.
fn operations(txn: &api::TxnRequest) -> usize {
    let lists = [txn.compare.len(), txn.success.len(), txn.failure.len()];
    let here = lists.into_iter().max().unwrap_or_default();
    let ops = txn.success.iter().chain(&txn.failure);
    let nested = ops.filter_map(|op| match &op.request {
        Some(Op::RequestTxn(nested)) => Some(operations(nested)),
        _ => None,
    });
    here + nested.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> CallError {
        CallError::Refused {
            code: 3,
            message: message.to_owned(),
        }
    }

    fn txn(puts: usize, nested: Option<api::TxnRequest>) -> api::TxnRequest {
        let op = |request| api::RequestOp {
            request: Some(request),
        };
        let puts = (0..puts).map(|_| op(Op::RequestPut(api::PutRequest::default())));
        api::TxnRequest {
            success: puts
                .chain(nested.map(|nested| op(Op::RequestTxn(nested))))
                .collect(),
            ..Default::default()
        }
    }

    #[test]
    fn a_transaction_may_have_as_many_operations_as_members_take_and_no_more() {
        let ask = Ask::Txn(txn(1, Some(txn(3, None))));
        let error = refused(TOO_MANY_OPERATIONS);
        assert!(is_undue(&ask, &error, 5));
        assert!(!is_undue(&ask, &error, 4));
    }

    #[test]
    fn a_request_is_not_blamed_and_leadership_may_be() {
        let ask = Ask::Put(api::PutRequest::default());
        assert!(is_undue(&ask, &refused(BLAMES[0]), 128));
        assert!(is_undue(&ask, &refused(TOO_MANY_OPERATIONS), 128));
        assert!(!is_undue(&ask, &refused("etcdserver: no leader"), 128));
        let error = CallError::Unknown(BLAMES[0].to_owned());
        assert!(!is_undue(&ask, &error, 128));
    }
}
