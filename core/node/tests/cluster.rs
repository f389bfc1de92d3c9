//! Members on real sockets and real files.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "members run on the real machine here"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use veridical_client::{Client, ClientConfig, GetOptions, Pipelined, PipelinedClient};
use veridical_env::{
    Environment, Listener, Network, RealClock, RealDisk, RealEnvironment, TcpNetwork,
};
use veridical_node::sessions::accept_clients;
use veridical_node::{DataFormat, Limits, Node, NodeConfig, StartError, StopReason};
use veridical_planted::Planted;
use veridical_proto::etcdserverpb::Member;
use veridical_storage::snapshot::{SnapshotConfig, SnapshotHeader, SnapshotStore};
use veridical_store::{Store, StoreConfig};

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has an address").port()
}

fn config(id: u64, peers: &[String], dir: &Path) -> NodeConfig {
    let initial_members = peers
        .iter()
        .enumerate()
        .map(|(index, address)| {
            let id = index as u64 + 1;
            let url = format!("http://{address}");
            (
                id,
                Member {
                    id,
                    peer_ur_ls: vec![url],
                    ..Default::default()
                },
            )
        })
        .collect::<BTreeMap<_, _>>();
    NodeConfig {
        member_id: id,
        cluster_id: 77,
        attributes: Default::default(),
        initial_members,
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

/// A member with a listener for clients; returns where it listens.
async fn serve(config: NodeConfig) -> (Node<RealEnvironment>, String) {
    let node = Node::start(RealEnvironment::default(), config)
        .await
        .expect("the member starts");
    let listener = node
        .environment()
        .network()
        .listen("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_address();
    tokio::spawn(accept_clients(node.clone(), listener));
    (node, address)
}

fn client(endpoints: Vec<String>) -> PipelinedClient {
    Client::new(
        Pipelined::new(TcpNetwork),
        RealClock::default(),
        ClientConfig::new(endpoints),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_member_serves_and_keeps_what_it_acknowledged_over_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let peers = [format!("127.0.0.1:{}", free_port())];
    let (node, address) = serve(config(1, &peers, dir.path())).await;
    let client_one = client(vec![address]);
    for number in 0..120 {
        let response = client_one
            .put(&format!("k{number}"), "v", None)
            .await
            .expect("a put");
        assert_eq!(response.header.expect("a header").revision, number + 2);
    }
    node.stop();
    assert_eq!(node.stopped().await, StopReason::Requested);

    let (node, address) = serve(config(1, &peers, dir.path())).await;
    let client_two = client(vec![address]);
    let all = GetOptions::new().with_all_keys().with_count_only();
    let response = client_two.get("", all).await.expect("a range");
    assert_eq!(
        (response.count, response.header.expect("a header").revision),
        (120, 121)
    );
    node.stop();
    node.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_about_to_stop_hands_leadership_over_and_goes_on_serving() {
    let dir = tempfile::tempdir().expect("a folder");
    let peers: Vec<String> = (0..3)
        .map(|_| format!("127.0.0.1:{}", free_port()))
        .collect();
    let mut nodes = Vec::new();
    let mut addresses = Vec::new();
    for id in 1..=3 {
        let (node, address) = serve(config(id, &peers, dir.path())).await;
        nodes.push(node);
        addresses.push(address);
    }
    client(addresses.clone())
        .put("a", "1", None)
        .await
        .expect("a put");
    let leader = nodes[0].raft_status().leader.expect("it is led");
    let number = leader as usize - 1;
    nodes[number].hand_over().await;
    let next = nodes[number].raft_status().leader.expect("it is led");
    assert_ne!(next, leader);
    client(vec![addresses[number].clone()])
        .put("a", "2", None)
        .await
        .expect("it serves until it stops");
    // Whoever does not lead has nothing to hand over.
    nodes[number].hand_over().await;
    assert_eq!(nodes[number].raft_status().leader, Some(next));
    for node in &nodes {
        node.stop();
        node.stopped().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_majority_is_lost_goes_on_alone_when_it_is_told_to() {
    let dir = tempfile::tempdir().expect("a folder");
    let peers: Vec<String> = (0..3)
        .map(|_| format!("127.0.0.1:{}", free_port()))
        .collect();
    let mut nodes = Vec::new();
    let mut addresses = Vec::new();
    for id in 1..=3 {
        let (node, address) = serve(config(id, &peers, dir.path())).await;
        nodes.push(node);
        addresses.push(address);
    }
    for number in 0..80 {
        client(addresses.clone())
            .put(format!("k{number}"), "v", None)
            .await
            .expect("a put");
    }
    // It has everything.
    client(vec![addresses[2].clone()])
        .get("k0", None)
        .await
        .expect("a range");
    for node in &nodes {
        node.stop();
        node.stopped().await;
    }
    for _ in 0..2 {
        let mut alone = config(3, &peers, dir.path());
        alone.force_new_cluster = true;
        let (node, address) = serve(alone).await;
        let one = client(vec![address]);
        let response = one.get("k79", None).await.expect("a range");
        assert_eq!(response.kvs.len(), 1);
        one.put("alone", "v", None).await.expect("a put");
        let members: Vec<u64> = node.directory().iter().map(|(id, _)| id).collect();
        assert_eq!(members, [3]);
        node.stop();
        node.stopped().await;
    }
    // From then on it needs no telling.
    let (node, address) = serve(config(3, &peers, dir.path())).await;
    client(vec![address])
        .get("alone", None)
        .await
        .expect("a range");
    node.stop();
    node.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_agree_and_a_member_that_was_away_catches_up_by_snapshot() {
    let dir = tempfile::tempdir().expect("a folder");
    let peers: Vec<String> = (0..3)
        .map(|_| format!("127.0.0.1:{}", free_port()))
        .collect();
    let mut nodes = Vec::new();
    let mut addresses = Vec::new();
    for id in 1..=3 {
        let (node, address) = serve(config(id, &peers, dir.path())).await;
        nodes.push(node);
        addresses.push(address);
    }
    let all = client(addresses.clone());
    all.put("a", "1", None).await.expect("a put");
    for address in &addresses {
        let one = client(vec![address.clone()]);
        let response = one.get("a", None).await.expect("a range");
        assert_eq!(response.kvs[0].value.as_ref(), b"1");
    }

    let away = nodes.remove(2);
    away.stop();
    away.stopped().await;
    let two = client(addresses[..2].to_vec());
    for number in 0..200 {
        two.put("b", &number.to_string(), None)
            .await
            .expect("a put");
    }
    let (back, address) = serve(config(3, &peers, dir.path())).await;
    let one = client(vec![address]);
    let response = one.get("b", None).await.expect("a range");
    assert_eq!(response.kvs[0].value.as_ref(), b"199");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(back.reader().state_hash(), nodes[0].reader().state_hash());
    for node in nodes.iter().chain([&back]) {
        node.stop();
        node.stopped().await;
    }
}

/// Everything in a folder, and nothing else, becomes that of another one.
fn copy_folder(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).expect("the old one goes");
    }
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Starts members, has them take a write that each of them knows to be committed, and ends them.
async fn live_once(ids: &[u64], peers: &[String], dir: &Path, writes: usize) {
    let mut members = Vec::new();
    for id in ids {
        members.push(serve(config(*id, peers, dir)).await);
    }
    let all = client(members.iter().map(|(_, address)| address.clone()).collect());
    for number in 0..writes {
        all.put("k", &number.to_string(), None)
            .await
            .expect("a put");
    }
    for (_, address) in &members {
        let one = client(vec![address.clone()]);
        one.get("k", None).await.expect("a range");
    }
    for (node, _) in members {
        node.stop();
        node.stopped().await;
    }
}

/// Two of three members get old copies of their folders back, and lead the later terms: what the
/// third one knows to be committed is not in their logs. What does the first of them say that stops
/// for the contradiction?
async fn said_after_a_majority_forgot(writes_kept: usize, writes_lost: usize) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let peers: Vec<String> = (0..3)
        .map(|_| format!("127.0.0.1:{}", free_port()))
        .collect();
    let old = tempfile::tempdir().expect("a folder");
    live_once(&[1, 2, 3], &peers, dir.path(), writes_kept).await;
    copy_folder(dir.path(), old.path());
    live_once(&[1, 2, 3], &peers, dir.path(), writes_lost).await;
    for member in ["member-1", "member-2"] {
        copy_folder(&old.path().join(member), &dir.path().join(member));
    }
    // Their terms become later than all that the third one knows.
    for _ in 0..3 {
        live_once(&[1, 2], &peers, dir.path(), 1).await;
    }
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(serve(config(id, &peers, dir.path())).await.0);
    }
    let first = tokio::time::timeout(Duration::from_secs(20), async {
        tokio::select! {
            reason = nodes[0].stopped() => reason,
            reason = nodes[1].stopped() => reason,
            reason = nodes[2].stopped() => reason,
        }
    });
    let reason = first.await.expect("one of them finds out");
    for node in nodes {
        node.stop();
        node.stopped().await;
    }
    assert!(matches!(reason, StopReason::SafetyLost(_)), "{reason:?}");
    reason.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_knows_more_to_be_committed_than_a_majority_stops_and_says_so() {
    let text = said_after_a_majority_forgot(20, 10).await;
    assert!(text.contains("conflicts with a committed entry"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_lacks_what_another_members_snapshot_has_stops_and_says_so() {
    let text = said_after_a_majority_forgot(20, 120).await;
    assert!(text.contains("this leader's log ends at"), "{text}");
}

/// Connects to each of these ports so many times, and says nothing.
async fn silent_connections(ports: &[String], each: usize) -> Vec<tokio::net::TcpStream> {
    let mut silent = Vec::new();
    for address in ports {
        for _ in 0..each {
            let connected = tokio::net::TcpStream::connect(address).await;
            silent.push(connected.expect("somebody listens"));
        }
    }
    silent
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_to_the_ports_of_peers_are_bounded_and_keep_no_member_from_another() {
    const EACH: usize = 150;
    let dir = tempfile::tempdir().expect("a folder");
    let peers: Vec<String> = (0..3)
        .map(|_| format!("127.0.0.1:{}", free_port()))
        .collect();
    let mut nodes = Vec::new();
    let mut addresses = Vec::new();
    for id in 1..=3 {
        let (node, address) = serve(config(id, &peers, dir.path())).await;
        nodes.push(node);
        addresses.push(address);
    }
    let all = client(addresses.clone());
    all.put("a", "1", None).await.expect("a put");
    let silent = silent_connections(&peers, EACH).await;
    all.put("a", "2", None)
        .await
        .expect("members stay connected");

    // A member comes back, and only with it there is a majority.
    let (first, second) = (nodes.remove(0), nodes.remove(0));
    second.stop();
    second.stopped().await;
    let (second, address) = serve(config(2, &peers, dir.path())).await;
    let _more = silent_connections(&peers, EACH).await;
    first.stop();
    first.stopped().await;
    let two = client(vec![address, addresses[2].clone()]);
    two.put("a", "3", None).await.expect("they find each other");

    let is_open = |stream: &&tokio::net::TcpStream| {
        let read = stream.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let open = silent.iter().filter(is_open).count();
    let bound = peers.len() * Limits::default().max_peer_strangers;
    assert!(open <= bound, "{open} of {} are open", silent.len());
    for node in nodes.iter().chain([&second]) {
        node.stop();
        node.stopped().await;
    }
}

/// The settings of a member that was alone, has written something and has stopped.
async fn alone_with_a_write(dir: &Path) -> NodeConfig {
    let peers = [format!("127.0.0.1:{}", free_port())];
    let config = config(1, &peers, dir);
    let (node, address) = serve(config.clone()).await;
    let one = client(vec![address]);
    one.put("a", "1", None).await.expect("a put");
    node.stop();
    node.stopped().await;
    config
}

/// Found by the simulator (swarm, seed 422 of its day): a crash between the file of a
/// received snapshot and its mark in the log left a log that the next entry did not
/// follow, and the member panicked when that came.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_mark_was_lost_in_a_crash_restarts_the_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = alone_with_a_write(dir.path()).await;

    // The same state, as of a later index than the log has.
    let disk = RealDisk;
    let (files, _) = SnapshotStore::open(
        disk,
        &config.data_dir.join("snap"),
        SnapshotConfig {
            cluster_id: config.cluster_id,
            ..SnapshotConfig::default()
        },
    )
    .await
    .expect("the snapshots");
    let founding = files.list().await.expect("a list").remove(0);
    let header = files
        .read(&founding)
        .await
        .expect("a reader")
        .header()
        .clone();
    let header = SnapshotHeader {
        index: 40,
        term: 9,
        ..header
    };
    let mut store = Store::new(StoreConfig::default());
    store.advance(40);
    let mut source = store.snapshot();
    let mut writer = files.create(&header).await.expect("a writer");
    while let Some(chunk) = source.next_chunk(1_000) {
        writer.write_chunk(&chunk).await.expect("a chunk");
    }
    writer.finish().await.expect("a snapshot");

    for round in 0..2 {
        let (node, address) = serve(config.clone()).await;
        let one = client(vec![address]);
        one.put("b", "2", None)
            .await
            .expect("a put behind the snapshot");
        assert!(node.reader().applied_index() > 40, "round {round}");
        node.stop();
        assert_eq!(node.stopped().await, StopReason::Requested, "round {round}");
    }
}

/// Found by the simulator (rotten-disk, seed 5026 of its day).
#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_only_snapshot_is_damaged_refuses_to_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = alone_with_a_write(dir.path()).await;

    let snapshots = std::fs::read_dir(config.data_dir.join("snap")).expect("a folder");
    for file in snapshots {
        let path = file.expect("a file").path();
        let mut bytes = std::fs::read(&path).expect("its content");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).expect("written");
    }
    let started = Node::start(RealEnvironment::default(), config).await;
    assert!(
        matches!(started, Err(StartError::Snapshot(_))),
        "{:?}",
        started.err()
    );
}
