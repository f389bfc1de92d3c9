//! Batches of operations, and shards, at members on real sockets and real files.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "members run on the real machine here"
)]

use std::collections::BTreeMap;
use std::time::Duration;
use tempfile::TempDir;
use veridical_client::{
    BatchLimits, CallError, Client, ClientConfig, GetOptions, Pipelined, PipelinedClient,
    ShardedClient, Txn, TxnOp, WatchOptions,
};
use veridical_env::{Environment, Listener, Network, RealClock, RealEnvironment, TcpNetwork};
use veridical_node::sessions::accept_clients;
use veridical_node::{DataFormat, Limits, Node, NodeConfig};
use veridical_planted::Planted;
use veridical_proto::etcdserverpb::{DeleteRangeRequest, Member, PutRequest, RangeRequest};
use veridical_proto::native::batch_operation::Operation;
use veridical_proto::native::response::Body as Answer;

const ADDRESS: &str = "127.0.0.1:0";

/// A cluster of one, and where clients reach it.
async fn lone_member(
    data_format: DataFormat,
    limits: Limits,
) -> (TempDir, Node<RealEnvironment>, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let member = Member {
        id: 1,
        peer_ur_ls: vec!["http://127.0.0.1:1".to_owned()],
        ..Default::default()
    };
    let config = NodeConfig {
        member_id: 1,
        cluster_id: 77,
        attributes: Default::default(),
        initial_members: BTreeMap::from([(1, member)]),
        join: false,
        force_new_cluster: false,
        data_dir: dir.path().join("member"),
        listen_peer_address: ADDRESS.to_owned(),
        limits,
        data_format,
        planted: Planted::none(),
        observer: None,
    };
    let node = Node::start(RealEnvironment::default(), config).await;
    let node = node.expect("the member starts");
    let listener = node.environment().network().listen(ADDRESS).await;
    let listener = listener.expect("a port");
    let address = listener.local_address();
    tokio::spawn(accept_clients(node.clone(), listener));
    (dir, node, address)
}

fn client(address: &str, batching: Option<BatchLimits>) -> PipelinedClient {
    let config = ClientConfig {
        batching,
        ..ClientConfig::new(vec![address.to_owned()])
    };
    Client::new(Pipelined::new(TcpNetwork), RealClock::default(), config)
}

fn put(key: &str, value: impl Into<bytes::Bytes>) -> Operation {
    Operation::Put(put_request(key, value))
}

fn put_request(key: &str, value: impl Into<bytes::Bytes>) -> PutRequest {
    PutRequest {
        key: key.to_owned().into(),
        value: value.into(),
        ..Default::default()
    }
}

fn get_request(key: &str) -> RangeRequest {
    RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

fn get(key: &str) -> Operation {
    Operation::Range(get_request(key))
}

/// The revision and, of a read, the value: what a test looks at.
fn told(outcome: &Result<Answer, CallError>) -> Result<(i64, Option<String>), String> {
    match outcome {
        Ok(Answer::Put(put)) => Ok((put.header.as_ref().expect("a header").revision, None)),
        Ok(Answer::DeleteRange(delete)) => {
            Ok((delete.header.as_ref().expect("a header").revision, None))
        }
        Ok(Answer::Range(range)) => {
            let value = range.kvs.first();
            let value = value.map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
            Ok((range.header.as_ref().expect("a header").revision, value))
        }
        Ok(other) => panic!("unexpected answer {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operations_of_a_batch_take_effect_in_their_order_each_by_itself() {
    let (_dir, node, address) = lone_member(DataFormat::default(), Limits::default()).await;
    let client = client(&address, None);
    let without_lease = Operation::Put(PutRequest {
        lease: 99,
        ..put_request("c", "lost")
    });
    let delete = Operation::DeleteRange(DeleteRangeRequest {
        key: "a".into(),
        ..Default::default()
    });
    let operations = vec![
        put("a", "1"),
        put("b", "1"),
        without_lease,
        put("a", "2"),
        get("a"),
        get("c"),
        get(""),
        delete,
        put("b", "2"),
        get("b"),
    ];
    let outcomes = client.batch(operations).await;
    let value = |text: &str| Some(text.to_owned());
    assert_eq!(
        outcomes.iter().map(told).collect::<Vec<_>>(),
        [
            Ok((2, None)),
            Ok((3, None)),
            Err("etcdserver: requested lease not found".to_owned()),
            Ok((4, None)),
            Ok((4, value("2"))),
            Ok((4, None)),
            Err("etcdserver: key is not provided".to_owned()),
            Ok((5, None)),
            Ok((6, None)),
            Ok((6, value("2"))),
        ]
    );
    let Ok(Answer::Put(put)) = &outcomes[0] else {
        panic!("a put was answered with {outcomes:?}");
    };
    let header = put.header.as_ref().expect("a header");
    assert_eq!(
        (header.cluster_id, header.member_id, header.raft_term),
        (77, 1, node.raft_status().term)
    );
}

/// What a batch of puts costs the log in entries.
async fn entries_of_a_batch(data_format: DataFormat, limits: Limits, value_bytes: usize) -> u64 {
    let (_dir, node, address) = lone_member(data_format, limits).await;
    let client = client(&address, None);
    client.put("first", "1", None).await.expect("a put");
    let before = node.reader().applied_index();
    let operations = (0..20).map(|number| put(&format!("k{number}"), vec![7; value_bytes]));
    let outcomes = client.batch(operations).await;
    let revisions: Vec<_> = outcomes
        .iter()
        .map(|outcome| told(outcome).expect("a put").0)
        .collect();
    assert_eq!(revisions, (3..23).collect::<Vec<i64>>());
    node.reader().applied_index() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writes_of_a_batch_share_an_entry_as_far_as_one_takes_them() {
    let small = |max_request_bytes| Limits {
        max_request_bytes,
        ..Limits::default()
    };
    let current = DataFormat::Current;
    assert_eq!(entries_of_a_batch(current, small(100_000), 100).await, 1);
    assert_eq!(entries_of_a_batch(current, small(1_000), 100).await, 3);
    let previous = DataFormat::Previous;
    assert_eq!(entries_of_a_batch(previous, small(100_000), 100).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_no_entry_takes_is_refused_alone() {
    let limits = Limits {
        max_request_bytes: 1_000,
        ..Limits::default()
    };
    let (_dir, _node, address) = lone_member(DataFormat::default(), limits).await;
    let operations = vec![put("a", "1"), put("b", vec![0; 2_000]), put("c", "1")];
    let outcomes = client(&address, None).batch(operations).await;
    assert_eq!(
        outcomes.iter().map(told).collect::<Vec<_>>(),
        [
            Ok((2, None)),
            Err("etcdserver: request is too large".to_owned()),
            Ok((3, None)),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_come_in_pieces_and_none_is_missing() {
    let (_dir, _node, address) = lone_member(DataFormat::default(), Limits::default()).await;
    let client = client(&address, None);
    let megabyte = vec![1_u8; 1024 * 1024];
    client.put("large", megabyte, None).await.expect("a put");
    let outcomes = client.batch((0..100).map(|_| get("large"))).await;
    for outcome in &outcomes {
        let (_, value) = told(outcome).expect("a read");
        assert_eq!(value.map(|value| value.len()), Some(1024 * 1024));
    }
    assert_eq!(outcomes.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_the_same_time_travel_together_and_keep_the_order_of_their_caller() {
    let (_dir, node, address) = lone_member(DataFormat::default(), Limits::default()).await;
    let client = client(&address, Some(BatchLimits::default()));
    client.put("first", "1", None).await.expect("a put");
    let before = node.reader().applied_index();
    let callers: Vec<_> = (0..50)
        .map(|caller| {
            let client = client.clone();
            tokio::spawn(async move {
                let key = format!("k{caller}");
                // None is waited for before the next is called.
                tokio::join!(
                    client.put(&*key, "1", None),
                    client.put(&*key, "2", None),
                    client.get(&*key, None),
                    client.put(&*key, "3", None),
                )
            })
        })
        .collect();
    for caller in callers {
        let (first, second, read, third) = caller.await.expect("a caller");
        let revision = |put: Result<veridical_proto::etcdserverpb::PutResponse, _>| {
            let put = put.expect("a put");
            put.header.expect("a header").revision
        };
        let revisions = [revision(first), revision(second), revision(third)];
        assert!(revisions.is_sorted(), "{revisions:?}");
        let read = read.expect("a read");
        assert_eq!(&read.kvs[0].value[..], b"2");
    }
    let entries = node.reader().applied_index() - before;
    assert!(entries < 50, "150 puts took {entries} entries");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_are_one_sharded_store() {
    let (_first_dir, first, first_address) =
        lone_member(DataFormat::default(), Limits::default()).await;
    let (_second_dir, second, second_address) =
        lone_member(DataFormat::default(), Limits::default()).await;
    let shards = [first_address, second_address].map(|address| client(&address, None));
    let store = ShardedClient::new(shards.into(), 7);
    let all = WatchOptions::new().with_prefix();
    let mut watch = store.watch("k", all).await.expect("both watch");

    let keys: Vec<String> = (0..20).map(|number| format!("k{number:02}")).collect();
    let puts = keys.iter().map(|key| put(key, "1"));
    for outcome in store.batch(puts).await {
        told(&outcome).expect("a put");
    }
    let counts = [first, second].map(|node| node.reader().revision() - 1);
    assert_eq!(counts.iter().sum::<i64>(), 20);
    assert!(counts.iter().all(|count| *count > 3), "{counts:?}");

    let options = GetOptions::new().with_prefix().with_limit(15);
    let range = store.get("k", options).await.expect("a range");
    let found: Vec<_> = range.kvs.iter().map(|kv| kv.key.to_vec()).collect();
    let expected: Vec<_> = keys[..15]
        .iter()
        .map(|key| key.as_bytes().to_vec())
        .collect();
    assert_eq!((found, range.count, range.more), (expected, 20, true));

    let mut seen = 0;
    while seen < 20 {
        let (shard, batch) = watch.next().await.expect("the watch goes on");
        let events = batch.expect("events").events;
        for event in &events {
            let key = &event.kv.as_ref().expect("a pair").key;
            assert_eq!(store.placement().shard_of(key), shard);
        }
        seen += events.len();
    }

    let others: Vec<&String> = keys
        .iter()
        .filter(|key| store.placement().shard_of(key.as_bytes()) == 1)
        .collect();
    let (other, own) = (others[0], others[1]);
    let here = keys.iter().find(|key| !others.contains(key)).expect("one");
    let both = |second: &str| {
        let puts = [other.as_str(), second].map(|key| TxnOp::put(key, "2", None));
        Txn::new().and_then(puts)
    };
    assert!(store.txn(both(own)).await.expect("of one shard").succeeded);
    let across = store.txn(both(here)).await;
    assert!(
        matches!(across, Err(CallError::Refused { code: 3, .. })),
        "{across:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_alone_is_not_kept_waiting() {
    let (_dir, _node, address) = lone_member(DataFormat::default(), Limits::default()).await;
    let limits = BatchLimits {
        delay_max: Duration::from_secs(60),
        ..BatchLimits::default()
    };
    let client = client(&address, Some(limits));
    let calls = async {
        for number in 0..10 {
            client
                .put("a", number.to_string(), None)
                .await
                .expect("a put");
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), calls).await;
    assert!(in_time.is_ok(), "calls wait for company that does not come");
}
