//! Refusals as etcd gives them: which requests it refuses for what they are, with which message,
//! and under which code. The histories' checker takes a refusal for granted that says nothing of
//! keys, revisions or leases; but the clients of a run know what they ask for.
//!
//! Written down from etcd's `rpctypes` and `v3rpc`, not from what the store says.

use prost::Message as _;
use veridical_node::Limits;
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use veridical_proto::etcdserverpb::request_op::Request as Op;
use veridical_proto::native::request::Body as Ask;

const KEY_NOT_PROVIDED: &str = "etcdserver: key is not provided";
const KEY_NOT_FOUND: &str = "etcdserver: key not found";
const VALUE_PROVIDED: &str = "etcdserver: value is provided";
const LEASE_PROVIDED: &str = "etcdserver: lease is provided";
const TOO_MANY_OPERATIONS: &str = "etcdserver: too many operations in txn request";
const DUPLICATE_KEY: &str = "etcdserver: duplicate key given in txn request";
const INVALID_SORT: &str = "etcdserver: invalid sort option";
const TTL_TOO_LARGE: &str = "etcdserver: too large lease TTL";
const REQUEST_TOO_LARGE: &str = "etcdserver: request is too large";
const LEASE_EXISTS: &str = "etcdserver: lease already exists";

/// The longest time to live of a lease, in seconds.
const LEASE_TTL_S_MAX: i64 = 9_000_000_000;

/// A request in the log is longer than the client's by its name and the frame around it, in
/// bytes, at most.
const LOGGED_BYTES_MORE_MAX: usize = 128;

/// gRPC's codes.
const INVALID_ARGUMENT: u32 = 3;
const NOT_FOUND: u32 = 5;
const RESOURCE_EXHAUSTED: u32 = 8;
const FAILED_PRECONDITION: u32 = 9;
const OUT_OF_RANGE: u32 = 11;
const UNAVAILABLE: u32 = 14;
const DATA_LOSS: u32 = 15;

/// What etcd says, and under which code.
const CODES: &[(&str, u32)] = &[
    (KEY_NOT_PROVIDED, INVALID_ARGUMENT),
    (KEY_NOT_FOUND, INVALID_ARGUMENT),
    (VALUE_PROVIDED, INVALID_ARGUMENT),
    (LEASE_PROVIDED, INVALID_ARGUMENT),
    (TOO_MANY_OPERATIONS, INVALID_ARGUMENT),
    (DUPLICATE_KEY, INVALID_ARGUMENT),
    (INVALID_SORT, INVALID_ARGUMENT),
    (REQUEST_TOO_LARGE, INVALID_ARGUMENT),
    (
        "etcdserver: given member URLs are invalid",
        INVALID_ARGUMENT,
    ),
    (
        "etcdserver: mvcc: required revision has been compacted",
        OUT_OF_RANGE,
    ),
    (
        "etcdserver: mvcc: required revision is a future revision",
        OUT_OF_RANGE,
    ),
    (TTL_TOO_LARGE, OUT_OF_RANGE),
    (
        "etcdserver: mvcc: database space exceeded",
        RESOURCE_EXHAUSTED,
    ),
    ("etcdserver: too many requests", RESOURCE_EXHAUSTED),
    ("etcdserver: requested lease not found", NOT_FOUND),
    ("etcdserver: member not found", NOT_FOUND),
    (LEASE_EXISTS, FAILED_PRECONDITION),
    ("etcdserver: member ID already exist", FAILED_PRECONDITION),
    ("etcdserver: Peer URLs already exists", FAILED_PRECONDITION),
    (
        "etcdserver: re-configuration failed due to not enough started members",
        FAILED_PRECONDITION,
    ),
    (
        "etcdserver: can only promote a learner member",
        FAILED_PRECONDITION,
    ),
    (
        "etcdserver: can only promote a learner member which is in sync with leader",
        FAILED_PRECONDITION,
    ),
    (
        "etcdserver: too many learner members in cluster",
        FAILED_PRECONDITION,
    ),
    ("etcdserver: not leader", FAILED_PRECONDITION),
    ("etcdserver: bad leader transferee", FAILED_PRECONDITION),
    ("etcdserver: no leader", UNAVAILABLE),
    ("etcdserver: leader changed", UNAVAILABLE),
    ("etcdserver: server stopped", UNAVAILABLE),
    ("etcdserver: request timed out", UNAVAILABLE),
    (
        "etcdserver: request timed out, possibly due to previous leader failure",
        UNAVAILABLE,
    ),
    (
        "etcdserver: request timed out, possibly due to connection lost",
        UNAVAILABLE,
    ),
    ("etcdserver: unhealthy cluster", UNAVAILABLE),
    ("etcdserver: rpc not supported for learner", UNAVAILABLE),
    ("etcdserver: not capable", UNAVAILABLE),
    ("etcdserver: corrupt cluster", DATA_LOSS),
];

/// Messages that blame the request itself.
const BLAMES: [&str; 8] = [
    KEY_NOT_PROVIDED,
    VALUE_PROVIDED,
    LEASE_PROVIDED,
    TOO_MANY_OPERATIONS,
    DUPLICATE_KEY,
    INVALID_SORT,
    TTL_TOO_LARGE,
    REQUEST_TOO_LARGE,
];

/// What etcd is certain to say of a request, if it refuses it for what it is.
pub fn expected(ask: &Ask, limits: &Limits) -> Option<&'static str> {
    match ask {
        Ask::Range(range) => of_range(range),
        Ask::Put(put) => of_put(put)
            .or_else(|| (put.value.len() > limits.max_request_bytes).then_some(REQUEST_TOO_LARGE)),
        Ask::DeleteRange(delete) => delete.key.is_empty().then_some(KEY_NOT_PROVIDED),
        Ask::Txn(txn) => match operations(txn) > limits.max_txn_ops {
            true => Some(TOO_MANY_OPERATIONS),
            false => of_txn(txn),
        },
        Ask::LeaseGrant(grant) => (grant.ttl > LEASE_TTL_S_MAX).then_some(TTL_TOO_LARGE),
        Ask::Compaction(_)
        | Ask::LeaseRevoke(_)
        | Ask::LeaseKeepAlive(_)
        | Ask::LeaseTimeToLive(_)
        | Ask::LeaseLeases(_)
        | Ask::Watch(_)
        | Ask::Status(_)
        | Ask::MemberList(_)
        | Ask::HashKv(_)
        | Ask::Hash(_)
        | Ask::Alarm(_)
        | Ask::Defragment(_)
        | Ask::MemberAdd(_)
        | Ask::MemberRemove(_)
        | Ask::MemberPromote(_)
        | Ask::MemberUpdate(_)
        | Ask::MoveLeader(_)
        | Ask::Batch(_) => None,
    }
}

/// Judges a refusal.
///
/// # Errors
/// etcd does not say so, or not of this request.
pub fn check(ask: &Ask, (code, message): (u32, &str), limits: &Limits) -> Result<(), String> {
    let Some((_, etcds_code)) = CODES.iter().find(|(known, _)| *known == message) else {
        return Err(format!("etcd has no message {message:?}"));
    };
    if code != *etcds_code {
        return Err(format!(
            "the code of {message:?} is {etcds_code}, not {code}"
        ));
    }
    // Whoever has no leader, or too much to do, may say that first.
    let is_momentary = matches!(code, UNAVAILABLE | RESOURCE_EXHAUSTED);
    match expected(ask, limits) {
        Some(expected) if expected != message && !is_momentary => {
            Err(format!("it was to be refused: {expected}"))
        }
        None if BLAMES.contains(&message) && !may_be_blamed(ask, message, limits) => {
            Err(format!("{message}, which is not so"))
        }
        _ if message == LEASE_EXISTS && chooses_no_number(ask) => {
            Err("the member chose the number of a lease that exists".to_owned())
        }
        Some(_) | None => Ok(()),
    }
}

fn chooses_no_number(ask: &Ask) -> bool {
    matches!(ask, Ask::LeaseGrant(grant) if grant.id == 0)
}

/// Whether a request that etcd may take could also be refused in this way: two writes of one key
/// are looked for in nested transactions and deleted ranges, too, and a request is longer in the
/// log.
fn may_be_blamed(ask: &Ask, message: &str, limits: &Limits) -> bool {
    let bytes = match ask {
        Ask::Put(put) => put.encoded_len(),
        Ask::Txn(txn) => txn.encoded_len(),
        Ask::DeleteRange(delete) => delete.encoded_len(),
        _ => 0,
    };
    match (ask, message) {
        (Ask::Txn(txn), DUPLICATE_KEY) => has_deletion_or_nested(txn),
        (_, REQUEST_TOO_LARGE) => bytes + LOGGED_BYTES_MORE_MAX > limits.max_request_bytes,
        _ => false,
    }
}

fn of_range(range: &api::RangeRequest) -> Option<&'static str> {
    if range.key.is_empty() {
        return Some(KEY_NOT_PROVIDED);
    }
    let has_sort = SortOrder::try_from(range.sort_order).is_ok()
        && SortTarget::try_from(range.sort_target).is_ok();
    (!has_sort).then_some(INVALID_SORT)
}

fn of_put(put: &api::PutRequest) -> Option<&'static str> {
    if put.key.is_empty() {
        Some(KEY_NOT_PROVIDED)
    } else if put.ignore_value && !put.value.is_empty() {
        Some(VALUE_PROVIDED)
    } else if put.ignore_lease && put.lease != 0 {
        Some(LEASE_PROVIDED)
    } else {
        None
    }
}

fn of_txn(txn: &api::TxnRequest) -> Option<&'static str> {
    let compares = txn.compare.iter();
    if compares.into_iter().any(|compare| compare.key.is_empty()) {
        return Some(KEY_NOT_PROVIDED);
    }
    let branches = [&txn.success, &txn.failure];
    let ops = || branches.into_iter().flatten();
    let of_op = |op: &api::RequestOp| match &op.request {
        None => Some(KEY_NOT_FOUND),
        Some(Op::RequestRange(range)) => of_range(range),
        Some(Op::RequestPut(put)) => of_put(put),
        Some(Op::RequestDeleteRange(delete)) => delete.key.is_empty().then_some(KEY_NOT_PROVIDED),
        Some(Op::RequestTxn(nested)) => of_txn(nested),
    };
    if let Some(refusal) = ops().find_map(of_op) {
        return Some(refusal);
    }
    branches
        .into_iter()
        .any(|branch| puts_twice(branch) || puts_what_it_deletes(branch))
        .then_some(DUPLICATE_KEY)
}

/// Whether a branch itself puts a key twice.
fn puts_twice(branch: &[api::RequestOp]) -> bool {
    let keys = branch.iter().filter_map(|op| match &op.request {
        Some(Op::RequestPut(put)) => Some(&put.key),
        _ => None,
    });
    let mut keys: Vec<_> = keys.collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    keys.len() < all
}

/// Whether a branch itself puts a key that it deletes, before or after (etcd: `checkIntervals`).
fn puts_what_it_deletes(branch: &[api::RequestOp]) -> bool {
    let deletes = |key: &[u8]| {
        branch.iter().any(|op| match &op.request {
            Some(Op::RequestDeleteRange(delete)) => match delete.range_end.as_ref() {
                [] => delete.key == key,
                // etcd takes this end for what it is here, and for the end of all keys elsewhere.
                [0] => false,
                end => delete.key.as_ref() <= key && key < end,
            },
            _ => false,
        })
    };
    branch.iter().any(|op| match &op.request {
        Some(Op::RequestPut(put)) => deletes(&put.key),
        _ => false,
    })
}

fn has_deletion_or_nested(txn: &api::TxnRequest) -> bool {
    let mut ops = txn.success.iter().chain(&txn.failure);
    ops.any(|op| {
        matches!(
            op.request,
            Some(Op::RequestDeleteRange(_) | Op::RequestTxn(_))
        )
    })
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

    fn limits(max_txn_ops: usize) -> Limits {
        Limits {
            max_txn_ops,
            ..Limits::default()
        }
    }

    fn put(key: &str) -> api::PutRequest {
        api::PutRequest {
            key: key.to_owned().into(),
            ..Default::default()
        }
    }

    fn txn(puts: usize, nested: Option<api::TxnRequest>) -> api::TxnRequest {
        let op = |request| api::RequestOp {
            request: Some(request),
        };
        let puts = (0..puts).map(|number| op(Op::RequestPut(put(&format!("k{number}")))));
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
        let refusal = (INVALID_ARGUMENT, TOO_MANY_OPERATIONS);
        assert!(check(&ask, refusal, &limits(5)).is_err());
        assert!(check(&ask, refusal, &limits(4)).is_ok());
        assert_eq!(expected(&ask, &limits(4)), Some(TOO_MANY_OPERATIONS));
        assert_eq!(expected(&ask, &limits(5)), None);
    }

    #[test]
    fn a_request_is_not_blamed_and_leadership_may_be() {
        let ask = Ask::Put(put("k"));
        let refused = |code, message| check(&ask, (code, message), &limits(128));
        for blame in BLAMES {
            let (_, code) = CODES
                .iter()
                .find(|(known, _)| *known == blame)
                .expect("known");
            assert!(refused(*code, blame).is_err(), "{blame}");
        }
        assert!(refused(UNAVAILABLE, "etcdserver: no leader").is_ok());
    }

    #[test]
    fn a_refusal_has_the_code_and_the_words_of_etcd() {
        let ask = Ask::Put(put(""));
        let refused = |code, message| check(&ask, (code, message), &limits(128));
        assert!(refused(INVALID_ARGUMENT, KEY_NOT_PROVIDED).is_ok());
        assert!(refused(OUT_OF_RANGE, KEY_NOT_PROVIDED).is_err());
        assert!(refused(INVALID_ARGUMENT, "etcdserver: key is missing").is_err());
        assert!(refused(INVALID_ARGUMENT, VALUE_PROVIDED).is_err());
    }

    #[test]
    fn a_number_that_a_member_chooses_is_free() {
        let grant = |id| Ask::LeaseGrant(api::LeaseGrantRequest { id, ttl: 5 });
        let refused = |id| {
            check(
                &grant(id),
                (FAILED_PRECONDITION, LEASE_EXISTS),
                &limits(128),
            )
        };
        assert!(refused(7).is_ok());
        assert!(refused(0).is_err());
    }
}
