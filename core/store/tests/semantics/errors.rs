//! etcd's error codes and messages, word for word: clients compare them as strings.

use veridical_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op,
};
use veridical_store::{
    ApiError, Code, check_delete_range, check_put, check_range, check_request_bytes, check_txn,
};

/// Each error with its gRPC code and its message.
type Golden = Vec<(ApiError, u8, &'static str)>;

/// What a request itself is refused for.
fn golden_of_requests() -> Golden {
    vec![
        (ApiError::empty_key(), 3, "etcdserver: key is not provided"),
        (ApiError::key_not_found(), 3, "etcdserver: key not found"),
        (
            ApiError::value_provided(),
            3,
            "etcdserver: value is provided",
        ),
        (
            ApiError::lease_provided(),
            3,
            "etcdserver: lease is provided",
        ),
        (
            ApiError::too_many_ops(),
            3,
            "etcdserver: too many operations in txn request",
        ),
        (
            ApiError::duplicate_key(),
            3,
            "etcdserver: duplicate key given in txn request",
        ),
        (
            ApiError::invalid_sort_option(),
            3,
            "etcdserver: invalid sort option",
        ),
        (
            ApiError::compacted(),
            11,
            "etcdserver: mvcc: required revision has been compacted",
        ),
        (
            ApiError::future_revision(),
            11,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (
            ApiError::no_space(),
            8,
            "etcdserver: mvcc: database space exceeded",
        ),
        (
            ApiError::request_too_large(),
            3,
            "etcdserver: request is too large",
        ),
        (
            ApiError::too_many_requests(),
            8,
            "etcdserver: too many requests",
        ),
    ]
}

/// What leases and changes of the membership are refused for.
fn golden_of_leases_and_members() -> Golden {
    vec![
        (
            ApiError::lease_not_found(),
            5,
            "etcdserver: requested lease not found",
        ),
        (
            ApiError::lease_exists(),
            9,
            "etcdserver: lease already exists",
        ),
        (
            ApiError::lease_ttl_too_large(),
            11,
            "etcdserver: too large lease TTL",
        ),
        (
            ApiError::member_exists(),
            9,
            "etcdserver: member ID already exist",
        ),
        (
            ApiError::peer_url_exists(),
            9,
            "etcdserver: Peer URLs already exists",
        ),
        (
            ApiError::not_enough_started_members(),
            9,
            "etcdserver: re-configuration failed due to not enough started members",
        ),
        (
            ApiError::bad_member_urls(),
            3,
            "etcdserver: given member URLs are invalid",
        ),
        (
            ApiError::member_not_found(),
            5,
            "etcdserver: member not found",
        ),
        (
            ApiError::not_a_learner(),
            9,
            "etcdserver: can only promote a learner member",
        ),
        (
            ApiError::learner_not_ready(),
            9,
            "etcdserver: can only promote a learner member which is in sync with leader",
        ),
        (
            ApiError::too_many_learners(),
            9,
            "etcdserver: too many learner members in cluster",
        ),
    ]
}

/// What the state of the cluster keeps from being answered.
fn golden_of_the_cluster() -> Golden {
    vec![
        (ApiError::no_leader(), 14, "etcdserver: no leader"),
        (ApiError::not_leader(), 9, "etcdserver: not leader"),
        (ApiError::leader_changed(), 14, "etcdserver: leader changed"),
        (ApiError::stopped(), 14, "etcdserver: server stopped"),
        (ApiError::timeout(), 14, "etcdserver: request timed out"),
        (
            ApiError::timeout_untaken(),
            14,
            "etcdserver: request timed out",
        ),
        (
            ApiError::timeout_leader_failure(),
            14,
            "etcdserver: request timed out, possibly due to previous leader failure",
        ),
        (
            ApiError::timeout_connection_lost(),
            14,
            "etcdserver: request timed out, possibly due to connection lost",
        ),
        (ApiError::unhealthy(), 14, "etcdserver: unhealthy cluster"),
        (ApiError::corrupt(), 15, "etcdserver: corrupt cluster"),
        (
            ApiError::not_supported_for_learner(),
            14,
            "etcdserver: rpc not supported for learner",
        ),
        (
            ApiError::bad_leader_transferee(),
            9,
            "etcdserver: bad leader transferee",
        ),
        (ApiError::not_capable(), 14, "etcdserver: not capable"),
        (
            ApiError::auth_not_enabled(),
            9,
            "etcdserver: authentication is not enabled",
        ),
        (
            ApiError::root_user_not_found(),
            9,
            "etcdserver: root user does not exist",
        ),
        (
            ApiError::user_not_found(),
            9,
            "etcdserver: user name not found",
        ),
        (
            ApiError::role_not_found(),
            9,
            "etcdserver: role name not found",
        ),
    ]
}

#[test]
fn codes_and_messages_are_etcd_s() {
    let golden = [
        golden_of_requests(),
        golden_of_leases_and_members(),
        golden_of_the_cluster(),
    ];
    for (error, code, message) in golden.into_iter().flatten() {
        assert_eq!(error.code.number(), code, "{message}");
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn only_what_may_still_take_effect_is_unknown() {
    for unknown in [
        ApiError::timeout(),
        ApiError::timeout_leader_failure(),
        ApiError::timeout_connection_lost(),
        ApiError::leader_changed(),
        ApiError::stopped().with_unknown_outcome(),
    ] {
        assert!(unknown.outcome_unknown, "{unknown}");
    }
    for known in [
        ApiError::too_many_requests(),
        ApiError::no_leader(),
        ApiError::timeout_untaken(),
        ApiError::stopped(),
        ApiError::compacted(),
    ] {
        assert!(!known.outcome_unknown, "{known}");
    }
}

#[test]
fn arguments_are_refused_as_etcd_refuses_them() {
    let key = || "k".into();
    let range = |sort_order, sort_target| RangeRequest {
        key: key(),
        sort_order,
        sort_target,
        ..Default::default()
    };
    assert_eq!(
        check_range(&RangeRequest::default()),
        Err(ApiError::empty_key())
    );
    assert_eq!(
        check_range(&range(3, 0)),
        Err(ApiError::invalid_sort_option())
    );
    assert_eq!(
        check_range(&range(0, 5)),
        Err(ApiError::invalid_sort_option())
    );
    assert_eq!(check_range(&range(2, 4)), Ok(()));

    let put = PutRequest {
        key: key(),
        value: "v".into(),
        lease: 1,
        ..Default::default()
    };
    assert_eq!(check_put(&put), Ok(()));
    assert_eq!(
        check_put(&PutRequest::default()),
        Err(ApiError::empty_key())
    );
    let ignore_value = PutRequest {
        ignore_value: true,
        ..put.clone()
    };
    assert_eq!(check_put(&ignore_value), Err(ApiError::value_provided()));
    let ignore_lease = PutRequest {
        ignore_lease: true,
        ..put
    };
    assert_eq!(check_put(&ignore_lease), Err(ApiError::lease_provided()));

    assert_eq!(
        check_delete_range(&DeleteRangeRequest::default()),
        Err(ApiError::empty_key())
    );
    let empty_op = TxnRequest {
        success: vec![RequestOp { request: None }],
        ..Default::default()
    };
    assert_eq!(check_txn(&empty_op, 128), Err(ApiError::key_not_found()));
    let nested_error = TxnRequest {
        failure: vec![RequestOp {
            request: Some(request_op::Request::RequestTxn(TxnRequest {
                success: vec![RequestOp {
                    request: Some(request_op::Request::RequestPut(PutRequest::default())),
                }],
                ..Default::default()
            })),
        }],
        ..Default::default()
    };
    assert_eq!(check_txn(&nested_error, 128), Err(ApiError::empty_key()));
    assert_eq!(check_request_bytes(10, 10), Ok(()));
    assert_eq!(
        check_request_bytes(11, 10),
        Err(ApiError::request_too_large())
    );
}

#[test]
fn the_codes_are_grpc_s_numbers() {
    assert_eq!(Code::Ok.number(), 0);
    assert_eq!(Code::InvalidArgument.number(), 3);
    assert_eq!(Code::Unavailable.number(), 14);
    assert_eq!(Code::Unauthenticated.number(), 16);
}
