//! Steps drawn at random: few keys and leases, so that operations meet, revisions near to
//! those that there are, every option, and now and then what no client should send.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use veridical_proto::etcdserverpb as api;

use super::operation::{Operation, Step, Watching};

/// Seconds. Nothing ends by itself while a sequence is carried out, however slow the machine.
const TTLS: [i64; 4] = [600, 3_600, 86_400, 9_000_000_001];

/// Above what a request may have, and above what a message may have.
const LARGE_BYTES: [usize; 2] = [1_600 * 1024, 2_200 * 1024];

/// What no member can be reached at.
const NO_URLS: [&[&str]; 3] = [&[], &["nonsense"], &["http://127.0.0.1"]];

/// Operations of a transaction: some, and more than there may be.
const TXN_OPERATIONS: usize = 5;

const KEYS: [&[u8]; 8] = [
    b"a",
    b"b",
    b"c",
    b"ab",
    b"a\0",
    b"b\xff",
    b"\xff",
    b"\xff\xff",
];

/// The smallest key, and what is none.
const ODD_KEYS: [&[u8]; 2] = [b"\0", b""];

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => select(&KEYS[..]),
        1 => select(&ODD_KEYS[..]),
    ]
    .prop_map(<[u8]>::to_vec)
}

/// None, all from the key on, all keys that begin with it, or up to another key, which may
/// come before it.
fn range() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (key(), key(), 0..10u8).prop_map(|(key, other, kind)| {
        let end = match kind {
            0..=3 => Vec::new(),
            4 | 5 => vec![0],
            6 => match key.last() {
                Some(last) if *last < 255 => [&key[..key.len() - 1], &[*last + 1]].concat(),
                Some(_) | None => vec![0],
            },
            _ => other,
        };
        (key, end)
    })
}

fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => Just(0),
        8 => 1..60i64,
        2 => 60..250i64,
        1 => select(&[-1, i64::MAX, i64::MIN][..]),
    ]
}

fn filter_revision() -> impl Strategy<Value = i64> {
    prop_oneof![5 => Just(0), 1 => 1..80i64, 1 => Just(-3)]
}

fn small_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        8 => vec(select(&b"xyz\0"[..]), 1..4),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        300 => small_value(),
        1 => select(&LARGE_BYTES[..]).prop_map(|bytes| vec![b'v'; bytes]),
    ]
}

fn lease() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 1..5i64, 1 => select(&[0, 77, -1, i64::MAX][..])]
}

fn range_request() -> impl Strategy<Value = api::RangeRequest> {
    let options = (
        prop_oneof![5 => Just(0), 3 => 1..5i64, 1 => Just(-2)],
        revision(),
        // etcd 3.4 takes an order that there is not for none, and ends on such a target.
        0..3i32,
        0..5i32,
        any::<[bool; 3]>(),
        [
            filter_revision(),
            filter_revision(),
            filter_revision(),
            filter_revision(),
        ],
    );
    (range(), options).prop_map(|((key, range_end), options)| {
        let (limit, revision, sort_order, sort_target, flags, filters) = options;
        api::RangeRequest {
            key: key.into(),
            range_end: range_end.into(),
            limit,
            revision,
            sort_order,
            sort_target,
            serializable: flags[0],
            keys_only: flags[1],
            count_only: flags[1] && flags[2],
            min_mod_revision: filters[0],
            max_mod_revision: filters[1],
            min_create_revision: filters[2],
            max_create_revision: filters[3],
        }
    })
}

fn put_request() -> impl Strategy<Value = api::PutRequest> {
    let lease = prop_oneof![3 => Just(0), 2 => lease()];
    let ignored = (weighted(0.1, Just(())), weighted(0.1, Just(())));
    (key(), value(), lease, any::<bool>(), ignored).prop_map(
        |(key, value, lease, prev_kv, (ignore_value, ignore_lease))| api::PutRequest {
            key: key.into(),
            // Mostly as it has to be with that option.
            value: if ignore_value.is_some() && value.len() % 2 == 0 {
                Vec::new().into()
            } else {
                value.into()
            },
            lease: if ignore_lease.is_some() && lease % 2 == 0 {
                0
            } else {
                lease
            },
            prev_kv,
            ignore_value: ignore_value.is_some(),
            ignore_lease: ignore_lease.is_some(),
        },
    )
}

fn delete_request() -> impl Strategy<Value = api::DeleteRangeRequest> {
    (range(), any::<bool>()).prop_map(|((key, range_end), prev_kv)| api::DeleteRangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        prev_kv,
    })
}

fn compare() -> impl Strategy<Value = api::Compare> {
    use api::compare::TargetUnion;
    let numbers = prop_oneof![Just(0i64), 1..4i64, 1..60i64];
    let result = prop_oneof![20 => 0..4i32, 1 => Just(8)];
    let target = prop_oneof![20 => 0..5i32, 1 => Just(6)];
    let parts = (range(), result, target, numbers, small_value());
    (parts, 0..30u8).prop_map(|(parts, oddity)| {
        let ((key, range_end), result, target, number, value) = parts;
        // Sometimes the value is of another kind than the target, or is not there.
        let kind = if oddity == 0 { target + 1 } else { target };
        let target_union = match kind {
            0 => Some(TargetUnion::Version(number)),
            1 => Some(TargetUnion::CreateRevision(number)),
            2 => Some(TargetUnion::ModRevision(number)),
            3 => Some(TargetUnion::Value(value.into())),
            4 => Some(TargetUnion::Lease(number)),
            _ => None,
        };
        api::Compare {
            result,
            target,
            key: key.into(),
            range_end: if oddity < 20 { Vec::new() } else { range_end }.into(),
            target_union,
        }
    })
}

/// `old_ranges`: whether ranges in a transaction may be as of a revision. etcd 3.4 lets those that
/// have no such revision refuse the transaction at the member that was asked alone; the others
/// carry it out (etcd-io/etcd issue 18667).
fn request_op(depth: usize, old_ranges: bool) -> impl Strategy<Value = api::RequestOp> {
    use api::request_op::Request;
    let range = range_request().prop_map(move |mut request| {
        if !old_ranges {
            request.revision = 0;
        }
        Some(Request::RequestRange(request))
    });
    let simple = prop_oneof![
        30 => range,
        30 => put_request().prop_map(|request| Some(Request::RequestPut(request))),
        10 => delete_request().prop_map(|request| Some(Request::RequestDeleteRange(request))),
        1 => Just(None),
    ];
    let request = if depth == 0 {
        simple.boxed()
    } else {
        let nested = txn_request(depth - 1, old_ranges);
        let nested = nested.prop_map(|request| Some(Request::RequestTxn(request)));
        prop_oneof![8 => simple, 1 => nested].boxed()
    };
    request.prop_map(|request| api::RequestOp { request })
}

fn txn_request(depth: usize, old_ranges: bool) -> BoxedStrategy<api::TxnRequest> {
    let operations = || vec(request_op(depth, old_ranges), 0..TXN_OPERATIONS);
    (vec(compare(), 0..3), operations(), operations())
        .prop_map(|(compare, success, failure)| api::TxnRequest {
            compare,
            success,
            failure,
        })
        .boxed()
}

fn watch_create() -> impl Strategy<Value = api::WatchCreateRequest> {
    let filters = vec(prop_oneof![10 => 0..2i32, 1 => Just(5)], 0..2);
    let id = prop_oneof![6 => Just(0), 2 => 1..4i64, 1 => Just(-1)];
    // What comes of a negative one is a known difference, and waiting for more takes long.
    let start_revision = revision().prop_map(|revision| revision.max(0));
    (range(), start_revision, filters, id, any::<[bool; 2]>()).prop_map(
        |((key, range_end), start_revision, filters, watch_id, flags)| api::WatchCreateRequest {
            key: key.into(),
            range_end: range_end.into(),
            start_revision,
            progress_notify: false,
            filters,
            prev_kv: flags[0],
            watch_id,
            fragment: flags[1],
        },
    )
}

fn watching(old_ranges: bool) -> impl Strategy<Value = Operation> {
    let creates = vec(watch_create(), 1..4);
    let meanwhile = vec(write(old_ranges), 0..5);
    let cancels = vec(0..4i64, 0..3);
    (creates, meanwhile, cancels).prop_map(|(creates, meanwhile, cancels)| {
        Operation::Watch(Watching {
            creates,
            meanwhile,
            cancels,
        })
    })
}

fn write(old_ranges: bool) -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => put_request().prop_map(Operation::Put),
        2 => delete_request().prop_map(Operation::Delete),
        3 => txn_request(1, old_ranges).prop_map(Operation::Txn),
    ]
}

fn of_leases() -> impl Strategy<Value = Operation> {
    let grant = (select(&TTLS[..]), lease());
    prop_oneof![
        4 => grant.prop_map(|(ttl, id)| Operation::Grant(api::LeaseGrantRequest { ttl, id })),
        2 => lease().prop_map(|id| Operation::Revoke(api::LeaseRevokeRequest { id })),
        2 => lease().prop_map(|id| Operation::KeepAlive(api::LeaseKeepAliveRequest { id })),
        2 => (lease(), any::<bool>()).prop_map(|(id, keys)| {
            Operation::TimeToLive(api::LeaseTimeToLiveRequest { id, keys })
        }),
        1 => Just(Operation::Leases),
    ]
}

/// What operators ask for. Members are only those that there are not, and none can be added.
fn of_operators(members: usize) -> impl Strategy<Value = Operation> {
    let id = || select(&[0u64, 5, u64::MAX][..]);
    let alarm = (0..2i32, 0..3i32);
    prop_oneof![
        2 => Just(Operation::Status),
        1 => Just(Operation::Hash),
        2 => revision().prop_map(|revision| {
            Operation::HashKv(api::HashKvRequest { revision })
        }),
        1 => Just(Operation::Defragment),
        1 => alarm.prop_map(|(_, alarm)| Operation::Alarm(api::AlarmRequest {
            action: 0,
            member_id: 0,
            alarm,
        })),
        1 => id().prop_map(|target_id| {
            Operation::MoveLeader(api::MoveLeaderRequest { target_id })
        }),
        1 => id().prop_map(|id| Operation::MemberRemove(api::MemberRemoveRequest { id })),
        1 => id().prop_map(|id| Operation::MemberPromote(api::MemberPromoteRequest { id })),
        1 => id().prop_map(|id| Operation::MemberUpdate(api::MemberUpdateRequest {
            id,
            peer_ur_ls: vec!["http://127.0.0.1:1".to_owned()],
        })),
        1 => (select(&NO_URLS[..]), any::<bool>()).prop_map(|(urls, is_learner)| {
            Operation::MemberAdd(api::MemberAddRequest {
                peer_ur_ls: urls.iter().map(|url| (*url).to_owned()).collect(),
                is_learner,
            })
        }),
        1 => any::<bool>().prop_map(|linearizable| {
            Operation::MemberList(api::MemberListRequest { linearizable })
        }),
    ]
    .prop_filter("it depends on who leads", move |operation| {
        members == 1
            || !matches!(
                operation,
                Operation::MoveLeader(_)
                    | Operation::MemberAdd(_)
                    | Operation::MemberRemove(_)
                    | Operation::MemberUpdate(_)
                    | Operation::MemberPromote(_)
            )
    })
}

/// Steps of a sequence.
pub fn steps(members: usize, steps_max: usize) -> impl Strategy<Value = Vec<Step>> {
    let old_ranges = members == 1;
    let operation = prop_oneof![
        40 => put_request().prop_map(Operation::Put),
        40 => range_request().prop_map(Operation::Range),
        10 => delete_request().prop_map(Operation::Delete),
        25 => txn_request(2, old_ranges).prop_map(Operation::Txn),
        2 => (revision(), any::<bool>()).prop_map(|(revision, physical)| {
            Operation::Compact(api::CompactionRequest { revision, physical })
        }),
        20 => of_leases(),
        8 => watching(old_ranges),
        12 => of_operators(members),
        2 => Just(Operation::Restart),
    ];
    let step = (0..members, operation).prop_map(|(member, operation)| Step { member, operation });
    vec(step, steps_max / 2..steps_max)
}
