//! Members whose applied state has a durable copy in an engine, on real sockets and real
//! files.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "members run on the real machine here"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use veridical_client::{Client, ClientConfig, Pipelined, PipelinedClient};
use veridical_env::{Environment, Listener, Network, RealClock, RealEnvironment, TcpNetwork};
use veridical_node::sessions::accept_clients;
use veridical_node::{DataFormat, Limits, Node, NodeConfig, StopReason};
use veridical_planted::Planted;
use veridical_proto::etcdserverpb::{Member, PutRequest};
use veridical_storage::engine::{Engine, MemoryEngine};

type TestClient = PipelinedClient;

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has an address").port()
}

fn config(id: u64, peers: &[String], dir: &Path) -> NodeConfig {
    let member = |(index, address): (usize, &String)| {
        let id = index as u64 + 1;
        let peer_ur_ls = vec![format!("http://{address}")];
        let member = Member {
            id,
            peer_ur_ls,
            ..Default::default()
        };
        (id, member)
    };
    NodeConfig {
        member_id: id,
        cluster_id: 77,
        attributes: Default::default(),
        initial_members: peers
            .iter()
            .enumerate()
            .map(member)
            .collect::<BTreeMap<_, _>>(),
        join: false,
        force_new_cluster: false,
        data_dir: dir.join(format!("member-{id}")),
        listen_peer_address: peers[id as usize - 1].clone(),
        limits: Limits {
            heartbeat_ms: 20,
            election_timeout_ms: 200,
            snapshot_entries: 50,
            snapshot_keep_entries: 10,
            ..Limits::default()
        },
        data_format: DataFormat::default(),
        planted: Planted::none(),
        observer: None,
    }
}

async fn serve(config: NodeConfig, engine: Box<dyn Engine>) -> (Node<RealEnvironment>, String) {
    let node = Node::start_with_engine(RealEnvironment::default(), config, Some(engine))
        .await
        .expect("the member starts");
    let network = node.environment().network();
    let listener = network.listen("127.0.0.1:0").await.expect("a port");
    let address = listener.local_address();
    tokio::spawn(accept_clients(node.clone(), listener));
    (node, address)
}

fn client(endpoints: Vec<String>) -> TestClient {
    let config = ClientConfig::new(endpoints);
    Client::new(Pipelined::new(TcpNetwork), RealClock::default(), config)
}

async fn put(client: &TestClient, key: &str, value: &str) -> i64 {
    let response = client.put(key, value, None).await.expect("a put");
    response.revision()
}

/// Value, version and mod_revision.
async fn get(client: &TestClient, key: &str) -> (String, i64, i64) {
    let response = client.get(key, None).await.expect("a read");
    let kv = &response.kvs[0];
    let value = String::from_utf8_lossy(&kv.value).into_owned();
    (value, kv.version, kv.mod_revision)
}

/// Fills one key over several lives of a member; `crash` ends a life and begins the next.
async fn lives<T: Engine, Crash: AsyncFnMut(Node<RealEnvironment>) -> Box<T>>(
    config: NodeConfig,
    engine: Box<T>,
    mut crash: Crash,
) {
    let mut engine = engine;
    let mut written = 0;
    for life in 0..4 {
        let (node, address) = serve(config.clone(), engine).await;
        let one = client(vec![address]);
        if written > 0 {
            // Lost, it would be less; applied twice, more.
            let kept = get(&one, "k").await;
            assert_eq!(
                kept,
                (written.to_string(), written, written + 1),
                "life {life}"
            );
        }
        for _ in 0..130 + 7 * life {
            written += 1;
            assert_eq!(put(&one, "k", &written.to_string()).await, written + 1);
        }
        engine = crash(node).await;
    }
    let (node, address) = serve(config, engine).await;
    let kept = get(&client(vec![address]), "k").await;
    assert_eq!(kept, (written.to_string(), written, written + 1));
    node.stop();
    assert_eq!(node.stopped().await, StopReason::Requested);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_crashed_to_its_last_flush_loses_nothing_and_repeats_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let peers = [format!("127.0.0.1:{}", free_port())];
    let config = config(1, &peers, dir.path());
    let mut engine = MemoryEngine::new();
    let mut behind = 0;
    lives(config, Box::new(engine.clone()), async |node| {
        let crashed = engine.crash();
        let applied_index = node.reader().applied_index();
        assert!(crashed.applied_index() > 50, "the engine was flushed");
        behind += u64::from(crashed.applied_index() < applied_index);
        engine = crashed;
        node.stop();
        node.stopped().await;
        Box::new(engine.clone())
    })
    .await;
    assert!(behind > 0, "no crash took anything back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_leaves_an_engine_with_everything_and_a_log_for_followers() {
    let dir = tempfile::tempdir().expect("a folder");
    let peers = [format!("127.0.0.1:{}", free_port())];
    let config = config(1, &peers, dir.path());
    let mut engine = MemoryEngine::new();
    lives(config, Box::new(engine.clone()), async |node| {
        let applied_index = node.reader().applied_index();
        node.stop();
        assert_eq!(node.stopped().await, StopReason::Requested);
        assert!(engine.durable_index() >= applied_index);
        engine = engine.crash();
        assert!(engine.applied_index() >= applied_index);
        Box::new(engine.clone())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_engine_is_filled_from_what_the_member_had_without_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let peers = [format!("127.0.0.1:{}", free_port())];
    let config = config(1, &peers, dir.path());
    let environment = RealEnvironment::default();
    let node = Node::start(environment, config.clone())
        .await
        .expect("it starts");
    for number in 0..120 {
        let request = PutRequest {
            key: format!("k{number}").into(),
            ..Default::default()
        };
        node.put(request).await.expect("a put");
    }
    node.stop();
    node.stopped().await;
    let engine = MemoryEngine::new();
    let (node, address) = serve(config.clone(), Box::new(engine.clone())).await;
    put(&client(vec![address]), "k7", "again").await;
    let before = node.reader().state_hash();
    node.stop();
    node.stopped().await;
    let node = Node::start_with_engine(
        RealEnvironment::default(),
        config,
        Some(Box::new(engine.crash())),
    )
    .await
    .expect("it starts");
    assert_eq!(node.reader().revision(), before.revision);
    node.stop();
    node.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_beyond_the_log_gets_a_snapshot_that_is_written_for_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let peers: Vec<String> = (0..3)
        .map(|_| format!("127.0.0.1:{}", free_port()))
        .collect();
    let engines: Vec<MemoryEngine> = (0..3).map(|_| MemoryEngine::new()).collect();
    let start = async |id: u64| {
        let engine = Box::new(engines[id as usize - 1].clone());
        serve(config(id, &peers, dir.path()), engine).await
    };
    let mut nodes = Vec::new();
    let mut addresses = Vec::new();
    for id in 1..=3 {
        let (node, address) = start(id).await;
        nodes.push(node);
        addresses.push(address);
    }
    put(&client(addresses.clone()), "a", "1").await;
    let away = nodes.remove(2);
    away.stop();
    away.stopped().await;
    let two = client(addresses[..2].to_vec());
    for number in 0..200 {
        put(&two, "b", &number.to_string()).await;
    }
    let (back, address) = start(3).await;
    assert_eq!(get(&client(vec![address]), "b").await.0, "199");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(back.reader().state_hash(), nodes[0].reader().state_hash());
    for node in nodes.iter().chain([&back]) {
        node.stop();
        node.stopped().await;
    }
    // The installed state has replaced the engine's.
    let (back, address) = start(3).await;
    assert!(back.reader().applied_index() >= 200);
    drop(address);
    back.stop();
    back.stopped().await;
}

#[cfg(feature = "rocksdb")]
#[tokio::test(flavor = "multi_thread")]
async fn rocksdb_reopened_after_a_stop_loses_nothing_and_repeats_nothing() {
    use veridical_storage::engine::{RocksConfig, RocksEngine};
    let dir = tempfile::tempdir().expect("a folder");
    let peers = [format!("127.0.0.1:{}", free_port())];
    let config = config(1, &peers, dir.path());
    let engine_dir = dir.path().join("engine");
    let open = || {
        let engine = RocksEngine::open(&engine_dir, RocksConfig::default());
        Box::new(engine.expect("the engine opens"))
    };
    lives(config, open(), async |node| {
        node.stop();
        node.stopped().await;
        open()
    })
    .await;
}
