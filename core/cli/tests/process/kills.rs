//! Members are killed while clients write.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use veridical_client::{CallError, GetOptions, GetResponse};
use veridical_histories::random::Random;
use veridical_proto::etcdserverpb::HashKvRequest;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;

use crate::member::{Cluster, client, runtime};

const WRITERS: usize = 4;

/// Settings with which a new leader is found soon, so that much happens in little time.
const QUICK: &[&str] = &[
    "--heartbeat-interval=50",
    "--election-timeout=500",
    "--snapshot-count=500",
];

/// What a writer knows of its keys `w/WRITER/NUMBER`.
#[derive(Default)]
struct Written {
    acknowledged: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

/// Writes one new key after the other until it is told to stop.
async fn write(addresses: Vec<String>, writer: usize, stop: Arc<AtomicBool>) -> Written {
    let mut addresses = addresses;
    let length = addresses.len();
    addresses.rotate_left(writer % length);
    let client = client(addresses);
    let mut written = Written::default();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let key = format!("w/{writer}/{number:08}");
        match client.put(&key, &key, None).await {
            Ok(_) => {
                written.acknowledged.insert(key);
            }
            Err(CallError::Unknown(_)) => {
                written.unknown.insert(key);
            }
            Err(CallError::Refused { .. } | CallError::Unavailable(_)) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    written
}

/// Everything below `w/`, as one member shows it.
async fn read_all(address: &str) -> GetResponse {
    client(vec![address.to_owned()])
        .get("w/", GetOptions::new().with_prefix())
        .await
        .expect("the member serves")
}

async fn hash(address: &str, revision: i64) -> u32 {
    let ask = Ask::HashKv(HashKvRequest { revision });
    match client(vec![address.to_owned()]).call(ask).await {
        Ok(Answer::HashKv(answer)) => answer.hash,
        other => panic!("no hash: {other:?}"),
    }
}

/// Checks what the members show against what the writers were told.
fn check(cluster: &Cluster, written: &[Written]) {
    let acknowledged: BTreeSet<&String> = written
        .iter()
        .flat_map(|written| &written.acknowledged)
        .collect();
    let unknown: BTreeSet<&String> = written
        .iter()
        .flat_map(|written| &written.unknown)
        .collect();
    assert!(!acknowledged.is_empty(), "nothing was written");
    runtime().block_on(async {
        let mut hashes = BTreeSet::new();
        let mut revision = 0;
        for address in cluster.addresses() {
            let read = read_all(&address).await;
            revision = read.revision();
            let shown: BTreeSet<String> = read
                .kvs
                .iter()
                .map(|kv| {
                    assert_eq!(kv.key, kv.value, "a value that nobody wrote");
                    String::from_utf8_lossy(&kv.key).into_owned()
                })
                .collect();
            let lost: Vec<_> = acknowledged
                .iter()
                .filter(|key| !shown.contains(**key))
                .take(5)
                .collect();
            assert!(
                lost.is_empty(),
                "{address} lost acknowledged writes: {lost:?}"
            );
            let invented: Vec<_> = shown
                .iter()
                .filter(|key| !acknowledged.contains(key) && !unknown.contains(key))
                .take(5)
                .collect();
            assert!(
                invented.is_empty(),
                "{address} invented writes: {invented:?}"
            );
        }
        for address in cluster.addresses() {
            hashes.insert(hash(&address, revision).await);
        }
        assert_eq!(hashes.len(), 1, "members disagree at revision {revision}");
    });
}

/// Lets clients write while `disturb` does its worst.
fn under_writes(cluster: &mut Cluster, disturb: impl FnOnce(&mut Cluster)) -> Vec<Written> {
    let runtime = runtime();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| runtime.spawn(write(cluster.addresses(), writer, Arc::clone(&stop))))
        .collect();
    disturb(cluster);
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(async {
        let mut written = Vec::new();
        for writer in writers {
            written.push(writer.await.expect("no writer panics"));
        }
        written
    })
}

/// Kills and restarts one member after the other, sometimes two at once.
fn kill_at_random(cluster: &mut Cluster, duration: Duration, random: &mut Random) -> u32 {
    let deadline = Instant::now() + duration;
    let mut kills = 0;
    while Instant::now() < deadline {
        let first = random.index(cluster.members.len());
        let mut victims = vec![first];
        if random.chance(0.25) {
            victims.push((first + 1) % cluster.members.len());
        }
        for victim in &victims {
            cluster.members[*victim].kill();
            kills += 1;
        }
        std::thread::sleep(Duration::from_millis(random.below(700)));
        for victim in &victims {
            cluster.members[*victim].start();
        }
        std::thread::sleep(Duration::from_millis(500 + random.below(1_500)));
    }
    kills
}

/// The same with a copy of the state in RocksDB.
#[cfg(feature = "rocksdb")]
const QUICK_ROCKSDB: &[&str] = &[
    "--heartbeat-interval=50",
    "--election-timeout=500",
    "--snapshot-count=500",
    "--engine=rocksdb",
];

fn random_kills_lose_nothing(flags: &[&str]) {
    let mut cluster = Cluster::start(3, flags);
    let mut random = Random::new(11);
    let mut kills = 0;
    let written = under_writes(&mut cluster, |cluster| {
        kills = kill_at_random(cluster, Duration::from_secs(15), &mut random);
    });
    cluster.wait_until_ready();
    check(&cluster, &written);
    let count = |of: fn(&Written) -> usize| written.iter().map(of).sum::<usize>();
    println!(
        "{kills} kills, {} acknowledged writes, {} of unknown outcome",
        count(|written| written.acknowledged.len()),
        count(|written| written.unknown.len()),
    );
}

#[test]
fn no_acknowledged_write_is_lost_when_members_are_killed_at_random() {
    random_kills_lose_nothing(QUICK);
}

#[cfg(feature = "rocksdb")]
#[test]
fn no_acknowledged_write_is_lost_when_members_on_rocksdb_are_killed_at_random() {
    random_kills_lose_nothing(QUICK_ROCKSDB);
}

fn killing_all_loses_nothing(flags: &[&str]) {
    for size in [1, 3] {
        let mut cluster = Cluster::start(size, flags);
        let written = under_writes(&mut cluster, |cluster| {
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(1_000));
                for member in &mut cluster.members {
                    member.kill();
                }
                for member in &mut cluster.members {
                    member.start();
                }
                cluster.wait_until_ready();
            }
        });
        check(&cluster, &written);
    }
}

#[test]
fn no_acknowledged_write_is_lost_when_all_members_are_killed_at_once() {
    killing_all_loses_nothing(QUICK);
}

#[cfg(feature = "rocksdb")]
#[test]
fn no_acknowledged_write_is_lost_when_all_members_on_rocksdb_are_killed_at_once() {
    killing_all_loses_nothing(QUICK_ROCKSDB);
}

#[test]
#[should_panic(expected = "lost acknowledged writes")]
fn a_lost_write_would_be_noticed() {
    let cluster = Cluster::start(1, QUICK);
    let invented = Written {
        acknowledged: BTreeSet::from(["w/0/00000001".to_owned()]),
        unknown: BTreeSet::new(),
    };
    check(&cluster, &[invented]);
}
