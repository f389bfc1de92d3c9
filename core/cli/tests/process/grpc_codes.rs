//! The codes of gRPC that clients decide by.

use std::time::{Duration, Instant};

use prost::Message as _;
use veridical_proto::etcdserverpb as api;

use crate::member::{Cluster, Member, wait_until_ready};
use crate::raw_grpc::{ask, call};

const DEADLINE_EXCEEDED: u32 = 4;
const RESOURCE_EXHAUSTED: u32 = 8;
const FAILED_PRECONDITION: u32 = 9;
const UNAVAILABLE: u32 = 14;

/// What a message may be larger than `--max-request-bytes`, as with etcd.
const OVERHEAD_BYTES: usize = 512 * 1024;

fn member_without_a_majority() -> Member {
    let other = Member::new("other");
    let member = Member::new("alone");
    let members = format!(
        "--initial-cluster=alone={},other={}",
        member.peer_url(),
        other.peer_url()
    );
    let mut member = member.with_flags(&[&members]);
    member.start();
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(member.client_address()).is_err() {
        assert!(Instant::now() < deadline, "it does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    member
}

fn put(key: &str, value: Vec<u8>) -> Vec<u8> {
    api::PutRequest {
        key: key.to_owned().into(),
        value: value.into(),
        ..Default::default()
    }
    .encode_to_vec()
}

#[test]
fn a_message_above_the_limit_exhausts_a_resource_in_calls_and_in_streams() {
    let mut member = Member::new("m").with_flags(&["--max-request-bytes=1000"]);
    member.start();
    wait_until_ready(&member);
    let address = member.client_address();
    let limit = 1_000 + OVERHEAD_BYTES;
    let create = |key_bytes: usize| {
        api::WatchRequest {
            request_union: Some(api::watch_request::RequestUnion::CreateRequest(
                api::WatchCreateRequest {
                    key: vec![b'k'; key_bytes].into(),
                    ..Default::default()
                },
            )),
        }
        .encode_to_vec()
    };
    for (method, request) in [
        ("KV/Put", put("k", vec![b'v'; limit])),
        ("Maintenance/Status", vec![0; limit + 1]),
        ("Watch/Watch", create(limit)),
        ("Lease/LeaseKeepAlive", vec![0; limit + 1]),
    ] {
        let ended = call(&address, method, &request, &[]);
        assert_eq!(ended.code, RESOURCE_EXHAUSTED, "{method}: {ended:?}");
        let expected = format!(
            "grpc: received message larger than max ({} vs. {limit})",
            request.len()
        );
        assert_eq!(ended.message, expected, "{method}");
    }
    let between = call(&address, "KV/Put", &put("k", vec![b'v'; 2_000]), &[]);
    assert_eq!(between.message, "etcdserver: request is too large");
}

#[test]
fn a_deadline_that_passes_at_the_server_is_exceeded_and_not_cancelled() {
    let member = member_without_a_majority();
    let read = api::RangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    for (method, request) in [
        ("KV/Range", read.encode_to_vec()),
        ("KV/Put", put("k", Vec::new())),
        ("Cluster/MemberList", vec![0x08, 1]),
    ] {
        let begun = Instant::now();
        let timeout = ("grpc-timeout", "300m");
        let ended = call(&member.client_address(), method, &request, &[timeout]);
        assert_eq!(
            (ended.code, ended.message.as_str()),
            (DEADLINE_EXCEEDED, "context deadline exceeded"),
            "{method}"
        );
        assert!(begun.elapsed() >= Duration::from_millis(290), "{method}");
    }
}

#[test]
fn without_a_leader_writes_and_reads_time_out_and_only_who_asks_hears_of_the_leader() {
    let member = member_without_a_majority();
    let address = member.client_address();
    let read = api::RangeRequest {
        key: "k".into(),
        ..Default::default()
    };
    let calls = [
        ("KV/Put", put("k", Vec::new()), "request timed out"),
        ("KV/Range", read.encode_to_vec(), "request timed out"),
        ("Lease/LeaseTimeToLive", vec![0x08, 7], "no leader"),
    ];
    // All at once, since each waits as long as requests may take.
    std::thread::scope(|scope| {
        for (method, request, words) in &calls {
            let address = &address;
            scope.spawn(move || {
                let ended = call(address, method, request, &[]);
                let expected = format!("etcdserver: {words}");
                assert_eq!(
                    (ended.code, ended.message),
                    (UNAVAILABLE, expected),
                    "{method}"
                );
                let at_once = call(address, method, request, &[("hasleader", "true")]);
                assert_eq!(at_once.message, "etcdserver: no leader", "{method}");
            });
        }
    });
}

#[test]
fn answers_have_a_header_where_those_of_etcd_have_one() {
    let cluster = Cluster::start(1, &[]);
    let address = &cluster.addresses()[0];
    let status: api::StatusResponse = ask(address, "Maintenance/Status", &api::StatusRequest {});
    let to_itself = api::MoveLeaderRequest {
        target_id: status.leader,
    };
    let moved: api::MoveLeaderResponse = ask(address, "Maintenance/MoveLeader", &to_itself);
    let defragmented: api::DefragmentResponse = ask(
        address,
        "Maintenance/Defragment",
        &api::DefragmentRequest {},
    );
    assert_eq!((moved.header, defragmented.header), (None, None));
    let members: api::MemberListResponse = ask(
        address,
        "Cluster/MemberList",
        &api::MemberListRequest::default(),
    );
    let header = members.header.expect("a header");
    assert_eq!((header.cluster_id != 0, header.revision), (true, 0));
    let hashed: api::HashResponse = ask(address, "Maintenance/Hash", &api::HashRequest {});
    let alarms: api::AlarmResponse =
        ask(address, "Maintenance/Alarm", &api::AlarmRequest::default());
    for header in [status.header, hashed.header, alarms.header] {
        let header = header.expect("a header");
        assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term > 0);
        assert_eq!(header.revision, 1);
    }
}

#[test]
fn whoever_logs_in_hears_that_nobody_has_to_and_goes_on() {
    let cluster = Cluster::start(1, &[]);
    let address = &cluster.addresses()[0];
    let refused = |method: &str| {
        let ended = call(address, method, &[], &[]);
        assert_eq!(ended.code, FAILED_PRECONDITION, "{method}");
        ended.message
    };
    for (method, message) in [
        (
            "Auth/Authenticate",
            "etcdserver: authentication is not enabled",
        ),
        ("Auth/AuthEnable", "etcdserver: root user does not exist"),
        ("Auth/UserGet", "etcdserver: user name not found"),
        ("Auth/RoleGet", "etcdserver: role name not found"),
    ] {
        assert_eq!(refused(method), message);
    }
    let users: api::AuthUserListResponse =
        ask(address, "Auth/UserList", &api::AuthUserListRequest {});
    assert!(users.users.is_empty() && users.header.is_some());
    let Some(etcdctl) = crate::etcdctl::Etcdctl::new(&cluster.addresses()) else {
        return;
    };
    assert_eq!(etcdctl.ok(&["--user=root:x", "put", "k", "v"]), "OK\n");
    assert_eq!(etcdctl.ok(&["--user=somebody:y", "get", "k"]), "k\nv\n");
    assert_eq!(
        etcdctl.ok(&["auth", "disable"]),
        "Authentication Disabled\n"
    );
    assert_eq!(etcdctl.ok(&["user", "list"]), "");
    assert_eq!(
        etcdctl.error(&["auth", "enable"]),
        "Error: etcdserver: root user does not exist"
    );
}

/// What comes back for these bytes, sent in pieces.
fn answer_to(address: &str, pieces: &[&[u8]]) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    for piece in pieces {
        stream.write_all(piece).expect("it is taken");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("an answer and its end");
    String::from_utf8(answer).expect("text")
}

#[test]
fn a_client_of_http_1_is_answered_in_http_1() {
    let cluster = Cluster::start(1, &[]);
    let address = &cluster.addresses()[0];
    let body = [b'x'; 30_000];
    for pieces in [
        &[&b"GET /health HTTP/1.1\r\nHost: m\r\n\r\n"[..]][..],
        &[b"G", b"ET / HTT", b"P/1.0\r\n\r\n"],
        &[
            b"PUT /v2/keys/k HTTP/1.1\r\nHost: m\r\nContent-Length: 30000\r\n\r\n",
            &body,
        ],
    ] {
        let answer = answer_to(address, pieces);
        assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
        assert!(answer.ends_with("it has no pages\n"), "{answer}");
    }
    let head = answer_to(address, &[b"HEAD / HTTP/1.1\r\nHost: m\r\n\r\n"]);
    assert!(head.ends_with("Connection: close\r\n\r\n"), "{head}");
}
