//! The same over the operating system's files.

use super::faulty_disk::run;
use bytes::Bytes;
use veridical_env::RealDisk;
use veridical_storage::snapshot::{SnapshotConfig, SnapshotHeader, SnapshotStore};
use veridical_storage::wal::{HardState, LogEntry, Wal, WalConfig, WalRecord};

fn entry(term: u64, index: u64) -> WalRecord {
    WalRecord::Entry(LogEntry {
        term,
        index,
        kind: 1,
        data: Bytes::from(vec![index as u8; 1000]),
    })
}

#[test]
fn a_log_is_read_back_over_many_segments() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("member/wal");
    let config = WalConfig {
        segment_bytes: 20_000,
        ..WalConfig::default()
    };
    let (mut wal, recovered) = run(Wal::open(RealDisk, &path, config)).expect("an empty folder");
    assert_eq!(recovered, Default::default());
    for index in 1..=100 {
        run(wal.append(&[entry(1, index)])).expect("the disk works");
        run(wal.sync()).expect("the disk works");
    }
    let hard_state = HardState {
        term: 2,
        vote: 3,
        commit: 80,
    };
    run(wal.append(&[entry(2, 90), entry(2, 91), WalRecord::HardState(hard_state)]))
        .expect("the disk works");
    run(wal.sync()).expect("the disk works");
    run(wal.release_before(60)).expect("the disk works");
    drop(wal);
    let (wal, recovered) = run(Wal::open(RealDisk, &path, config)).expect("undamaged");
    assert_eq!(recovered.hard_state, Some(hard_state));
    assert_eq!((recovered.truncated_tail, wal.last_index()), (None, 91));
    let first = recovered.entries[0].index;
    assert!((50..=60).contains(&first), "{first}");
    for (offset, found) in recovered.entries.iter().enumerate() {
        let index = first + offset as u64;
        assert_eq!(
            WalRecord::Entry(found.clone()),
            entry(if index < 90 { 1 } else { 2 }, index)
        );
    }
}

#[test]
fn a_snapshot_is_read_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, _) = run(SnapshotStore::open(
        RealDisk,
        dir.path(),
        SnapshotConfig::default(),
    ))
    .expect("a folder");
    let header = SnapshotHeader {
        index: 7,
        term: 2,
        meta: Bytes::from_static(b"members"),
    };
    let mut writer = run(store.create(&header)).expect("the disk works");
    for chunk in 0..20u8 {
        run(writer.write_chunk(&vec![chunk; 100_000])).expect("the disk works");
    }
    run(writer.finish()).expect("the disk works");
    let newest = run(store.newest_valid())
        .expect("the disk works")
        .valid
        .expect("a sound snapshot");
    let mut reader = run(store.read(&newest)).expect("sound");
    assert_eq!(reader.header(), &header);
    for chunk in 0..20u8 {
        assert_eq!(
            run(reader.next_chunk()).expect("sound").expect("a chunk"),
            vec![chunk; 100_000]
        );
    }
    assert_eq!(run(reader.next_chunk()).expect("sound"), None);
}
