//! A member on real files of which only so many bytes fit on the disk.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "members run on the real machine here"
)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use veridical_client::{Client, ClientConfig, GetOptions, Pipelined, PipelinedClient};
use veridical_env::{
    Disk, DiskFile, Environment, Listener, Network, OpenMode, RealClock, RealDisk, RealEnvironment,
    RealFile, TcpNetwork,
};
use veridical_node::sessions::accept_clients;
use veridical_node::{DataFormat, Limits, Node, NodeConfig, StopReason};
use veridical_planted::Planted;
use veridical_proto::etcdserverpb::Member;

/// Bytes of a segment from its creation on.
const SEGMENT_BYTES: u64 = 16 * 1024;

const VALUE_BYTES: usize = 10_000;

/// More values than a segment and the room for a snapshot hold.
const KEYS: usize = 30;

/// All files below a folder together have at most `room_bytes`.
#[derive(Clone)]
struct SmallDisk {
    real: RealDisk,
    root: PathBuf,
    room_bytes: Arc<AtomicU64>,
}

struct SmallFile {
    real: RealFile,
    disk: SmallDisk,
}

fn used_bytes(root: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(root) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => used_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            // It was removed meanwhile.
            Err(_) => 0,
        })
        .sum()
}

impl Disk for SmallDisk {
    type File = SmallFile;

    async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.real.create_dir_all(path).await
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SmallFile> {
        let real = self.real.open(path, mode).await?;
        let disk = self.clone();
        Ok(SmallFile { real, disk })
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.rename(from, to).await
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.real.remove_file(path).await
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.real.list(dir).await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.real.sync_dir(dir).await
    }
}

impl DiskFile for SmallFile {
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.real.read_at(offset, length).await
    }

    async fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        let room = self.disk.room_bytes.load(Ordering::Relaxed);
        let free = room.saturating_sub(used_bytes(&self.disk.root));
        let fits = (self.real.len().await? + free).saturating_sub(offset) as usize;
        if fits == 0 && !data.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.real
            .write_at(offset, &data[..fits.min(data.len())])
            .await
    }

    async fn sync(&self) -> io::Result<()> {
        self.real.sync().await
    }

    async fn set_len(&self, length: u64) -> io::Result<()> {
        self.real.set_len(length).await
    }

    async fn len(&self) -> io::Result<u64> {
        self.real.len().await
    }
}

#[derive(Clone)]
struct SmallMachine {
    real: RealEnvironment,
    disk: SmallDisk,
}

impl SmallMachine {
    fn new(root: &Path) -> Self {
        let real = RealEnvironment::default();
        let disk = SmallDisk {
            real: *real.disk(),
            root: root.to_owned(),
            room_bytes: Arc::new(AtomicU64::new(u64::MAX)),
        };
        Self { real, disk }
    }

    /// From now on so many bytes more fit on the disk than there are.
    fn leave_room_bytes(&self, bytes: u64) {
        let room = used_bytes(&self.disk.root) + bytes;
        self.disk.room_bytes.store(room, Ordering::Relaxed);
    }
}

impl Environment for SmallMachine {
    type Disk = SmallDisk;
    type Network = TcpNetwork;
    type Clock = RealClock;

    fn disk(&self) -> &SmallDisk {
        &self.disk
    }

    fn network(&self) -> &TcpNetwork {
        self.real.network()
    }

    fn clock(&self) -> &RealClock {
        self.real.clock()
    }

    fn random_seed(&self) -> u64 {
        self.real.random_seed()
    }

    fn spawn_disk_work(&self, name: &str, work: impl Future<Output = ()> + Send + 'static) {
        self.real.spawn_disk_work(name, work);
    }
}

fn config(root: &Path, snapshot_entries: u64) -> NodeConfig {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let peer_address = socket.local_addr().expect("an address").to_string();
    let member = Member {
        id: 1,
        peer_ur_ls: vec![format!("http://{peer_address}")],
        ..Default::default()
    };
    NodeConfig {
        member_id: 1,
        cluster_id: 77,
        initial_members: BTreeMap::from([(1, member)]),
        join: false,
        force_new_cluster: false,
        data_dir: root.join("member-1"),
        listen_peer_address: peer_address,
        limits: Limits {
            heartbeat_ms: 20,
            election_timeout_ms: 200,
            snapshot_entries,
            snapshot_keep_entries: 0,
            snapshot_chunk_bytes: VALUE_BYTES,
            wal_segment_bytes: SEGMENT_BYTES,
            wal_zeroed_ahead_bytes: SEGMENT_BYTES,
            ..Limits::default()
        },
        attributes: Default::default(),
        data_format: DataFormat::default(),
        planted: Planted::none(),
        observer: None,
    }
}

async fn serve(
    machine: &SmallMachine,
    config: NodeConfig,
) -> (Node<SmallMachine>, PipelinedClient) {
    let node = Node::start(machine.clone(), config)
        .await
        .expect("the member starts");
    let listener = machine.network().listen("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let endpoints = vec![listener.local_address()];
    tokio::spawn(accept_clients(node.clone(), listener));
    let config = ClientConfig {
        request_timeout: Duration::from_secs(3),
        ..ClientConfig::new(endpoints)
    };
    let client = Client::new(Pipelined::new(TcpNetwork), RealClock::default(), config);
    (node, client)
}

async fn put(client: &PipelinedClient, number: usize) -> bool {
    let value = vec![b'v'; VALUE_BYTES];
    client
        .put(format!("k{number:03}"), value, None)
        .await
        .is_ok()
}

fn leftovers(root: &Path) -> Vec<PathBuf> {
    let folder = root.join("member-1").join("snap");
    let entries = std::fs::read_dir(folder).expect("there are snapshots");
    let paths = entries.map(|entry| entry.expect("a file").path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "tmp"))
        .collect()
}

/// How often a snapshot is tried until it lacks the room.
const ATTEMPTS_MAX: usize = 20;

/// A member whose disk was full when it wrote a snapshot of 300 KB, with room for a half of it.
async fn member_that_had_no_room_for_its_snapshot(root: &Path) -> SmallMachine {
    let machine = SmallMachine::new(root);
    let (node, client) = serve(&machine, config(root, 1_000)).await;
    for number in 0..KEYS {
        assert!(put(&client, number).await);
    }
    node.stop();
    assert_eq!(node.stopped().await, StopReason::Requested);
    machine.leave_room_bytes((KEYS * VALUE_BYTES / 2) as u64);
    // Now it is due. The log, which is written beside it, may be the first that lacks the room.
    for _ in 0..ATTEMPTS_MAX {
        let (node, client) = serve(&machine, config(root, 1)).await;
        let _tried = put(&client, 0).await;
        let reason = node.stopped().await;
        let StopReason::Disk(text) = &reason else {
            panic!("{reason:?}");
        };
        if text.contains("snap") {
            return machine;
        }
        assert!(text.contains("wal"), "{text}");
    }
    panic!("the snapshot was never the first that lacked the room");
}

async fn starts_and_has_everything(machine: &SmallMachine, root: &Path) {
    let (node, client) = serve(machine, config(root, 1_000)).await;
    let all = GetOptions::new().with_prefix().with_count_only();
    let counted = client.get("k", all).await.expect("it serves");
    assert_eq!(counted.count, KEYS as i64);
    node.stop();
    node.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_snapshot_could_not_fill_is_free_again_and_the_member_starts_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let machine = member_that_had_no_room_for_its_snapshot(root).await;
    assert!(leftovers(root).is_empty());
    starts_and_has_everything(&machine, root).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leftover_that_fills_the_disk_goes_before_the_log_wants_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let machine = member_that_had_no_room_for_its_snapshot(root).await;
    // As a loss of power during the snapshot would have left it.
    let leftover = root.join("member-1").join("snap");
    let name = "snapshot-0000000000000001-0000000000000020.snap.0.tmp";
    std::fs::write(leftover.join(name), vec![1; 100_000]).expect("it is written");
    machine.leave_room_bytes(100);
    starts_and_has_everything(&machine, root).await;
    assert!(leftovers(root).is_empty());
}
