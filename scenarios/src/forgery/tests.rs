//! What is altered is noticed by the store as what it is: where the checksums are right, it is the
//! content that is refused; where one is wrong, it is that a later record calls it durable.

#![allow(
    clippy::disallowed_methods,
    reason = "the store writes real files here, which are then altered"
)]

use bytes::Bytes;
use std::future::Future;
use std::path::Path;
use veridical_env::RealDisk;
use veridical_storage::FileError;
use veridical_storage::snapshot::{SnapshotConfig, SnapshotError, SnapshotHeader, SnapshotStore};
use veridical_storage::wal::{
    HardState, LogEntry, MemberRecord, Wal, WalConfig, WalError, WalRecord,
};

use super::*;

const CLUSTER_ID: u64 = 5;

fn run<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(task)
}

fn config() -> WalConfig {
    WalConfig {
        segment_bytes: 20_000,
        ..WalConfig::default()
    }
}

/// A member that has started three times, with three rounds of entries in each life.
async fn write_log(dir: &Path) -> Result<(), WalError> {
    let mut index = 0;
    for incarnation in 1..=3 {
        let (mut wal, _) = Wal::open(RealDisk, dir, config()).await?;
        wal.append(&[WalRecord::Member(MemberRecord {
            cluster_id: CLUSTER_ID,
            member_id: 1,
            incarnation,
        })])
        .await?;
        for round in 0..3 {
            let term = 3 * incarnation + round;
            let mut batch = Vec::new();
            for commit in [index, index + 1] {
                batch.push(WalRecord::HardState(HardState {
                    term,
                    vote: 3,
                    commit,
                }));
            }
            for _ in 0..10 {
                index += 1;
                batch.push(WalRecord::Entry(LogEntry {
                    term,
                    index,
                    kind: 1,
                    data: Bytes::from(vec![index as u8; 40]),
                }));
            }
            wal.append(&batch).await?;
            wal.sync().await?;
        }
    }
    Ok(())
}

fn snapshots() -> SnapshotConfig {
    SnapshotConfig {
        cluster_id: CLUSTER_ID,
        ..SnapshotConfig::default()
    }
}

async fn write_snapshot(dir: &Path) -> Result<(), SnapshotError> {
    let (store, _) = SnapshotStore::open(RealDisk, dir, snapshots()).await?;
    let header = SnapshotHeader {
        index: 9,
        term: 2,
        meta: Bytes::from_static(b"members"),
    };
    let mut writer = store.create(&header).await?;
    for chunk in [&b"one"[..], b"another", b"the last"] {
        writer.write_chunk(chunk).await?;
    }
    writer.finish().await.map(|_| ())
}

/// The files of a folder whose names end so, in order.
fn read_files(dir: &Path, suffix: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be listed"))
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let bytes = std::fs::read(entry.path()).ok()?;
            name.ends_with(suffix).then_some((name, bytes))
        })
        .collect();
    files.sort();
    files
}

/// Why a folder is refused, if it is.
async fn refusal(dir: &Path) -> Option<String> {
    let newest = async {
        let (store, _) = SnapshotStore::open(RealDisk, dir, snapshots()).await?;
        store.newest_valid().await
    };
    let newest = newest.await.expect("the disk works");
    if let Some(refused) = newest.refused.first() {
        return Some(refused.to_string());
    }
    match Wal::open(RealDisk, dir, config()).await {
        Ok(_) => None,
        Err(error @ WalError::File(FileError::Corrupt { .. })) => Some(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn whatever_is_altered_is_refused_and_the_file_is_named() {
    for what in Forged::ALL {
        let mut refused = 0;
        for draw in 0..30 {
            let dir = tempfile::tempdir().expect("a folder");
            let path = dir.path();
            run(write_log(path)).expect("the disk works");
            run(write_snapshot(path)).expect("the disk works");
            let forgery = Forgery {
                at_ms: 0,
                what,
                draw,
            };
            let altered = forgery.alteration(|suffix| read_files(path, suffix));
            let altered = altered.unwrap_or_else(|| panic!("{what:?} finds no place"));
            let file = path.join(&altered.file);
            let mut bytes = std::fs::read(&file).expect("it is there");
            bytes[altered.offset..altered.offset + altered.bytes.len()]
                .copy_from_slice(&altered.bytes);
            std::fs::write(&file, bytes).expect("the disk works");
            let text = run(refusal(path)).unwrap_or_else(|| panic!("{what:?} {draw} passes"));
            assert!(text.contains(path.to_str().expect("a path")), "{text}");
            if what == Forged::TornInside {
                assert!(text.contains("as durable"), "{what:?}: {text}");
            } else {
                assert!(!text.contains("checksum is wrong"), "{what:?}: {text}");
            }
            refused += 1;
        }
        assert_eq!(refused, 30);
    }
}

#[test]
fn nothing_is_altered_where_there_is_no_place_for_it() {
    for what in Forged::ALL {
        let forgery = Forgery {
            at_ms: 0,
            what,
            draw: 1,
        };
        assert_eq!(forgery.alteration(|_| Vec::new()), None);
        let garbage = |suffix: &str| vec![(format!("x{suffix}"), vec![7; 500])];
        assert_eq!(forgery.alteration(garbage), None);
    }
}
