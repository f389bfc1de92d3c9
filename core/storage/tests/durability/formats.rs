//! Versions of the formats: both are read and either is written.

use super::faulty_disk::{FaultyDisk, run};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use veridical_env::{Disk, DiskFile, OpenMode};
use veridical_storage::FileError;
use veridical_storage::format::DataFormat;
use veridical_storage::snapshot::{SnapshotConfig, SnapshotError, SnapshotHeader, SnapshotStore};
use veridical_storage::wal::{LogEntry, Recovered, Wal, WalConfig, WalError, WalRecord};

const DIR: &str = "/log";
const SNAPSHOTS: &str = "/snapshots";

fn entry(index: u64, fill: u8) -> WalRecord {
    WalRecord::Entry(LogEntry {
        term: 1,
        index,
        kind: 0,
        data: Bytes::from(vec![fill; 100]),
    })
}

fn open(disk: &FaultyDisk, format: DataFormat) -> Result<(Wal<FaultyDisk>, Recovered), WalError> {
    let config = WalConfig {
        segment_bytes: 8192,
        format,
        ..WalConfig::default()
    };
    run(Wal::open(disk.clone(), Path::new(DIR), config))
}

/// Appends entries, each synchronised on its own, in segments of two or three.
fn append(wal: &mut Wal<FaultyDisk>, indexes: std::ops::RangeInclusive<u64>, fill: u8) {
    for index in indexes {
        run(wal.append(&[entry(index, fill)])).expect("no fault");
        run(wal.sync()).expect("no fault");
    }
}

fn files(disk: &FaultyDisk, dir: &str) -> Vec<PathBuf> {
    let mut names = run(disk.list(Path::new(dir))).expect("the folder exists");
    names.sort();
    names
        .into_iter()
        .map(|name| Path::new(dir).join(name))
        .collect()
}

fn content(disk: &FaultyDisk, path: &Path) -> Vec<u8> {
    let file = run(disk.open(path, OpenMode::Read)).expect("it exists");
    let length = run(file.len()).expect("no fault");
    run(file.read_exact_at(0, length as usize)).expect("no fault")
}

fn replace(disk: &FaultyDisk, path: &Path, bytes: &[u8]) {
    run(disk.remove_file(path)).expect("it exists");
    let file = run(disk.open(path, OpenMode::CreateNew)).expect("no fault");
    run(file.write_all_at(0, bytes)).expect("no fault");
    run(file.sync()).expect("no fault");
}

/// The version in a header, which stands at the same place in both sorts of files.
fn version(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"))
}

fn log(format: DataFormat, fill: u8) -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    let (mut wal, _) = open(&disk, format).expect("an empty folder");
    append(&mut wal, 1..=12, fill);
    drop(wal);
    disk.kill()
}

#[test]
fn either_version_is_read_by_a_log_that_writes_the_other() {
    let formats = [DataFormat::Previous, DataFormat::Current];
    for (first, then) in [(formats[0], formats[1]), (formats[1], formats[0])] {
        let disk = log(first, 7);
        assert!(
            files(&disk, DIR)
                .iter()
                .all(|file| version(&content(&disk, file)) == first.version())
        );
        let (mut wal, recovered) = open(&disk, then).expect("it is read");
        assert_eq!(recovered.entries.len(), 12);
        append(&mut wal, 13..=20, 8);
        drop(wal);
        let disk = disk.kill();
        let (_, recovered) = open(&disk, first).expect("a log of both is read");
        assert_eq!(recovered.entries.len(), 20);
    }
}

#[test]
fn after_a_downgrade_nothing_of_the_later_version_stays_behind_for_long() {
    let disk = log(DataFormat::Current, 7);
    let (mut wal, _) = open(&disk, DataFormat::Previous).expect("it is read");
    append(&mut wal, 13..=24, 8);
    // A snapshot covers what was there before.
    run(wal.release_before(15)).expect("no fault");
    let versions: Vec<u32> = files(&disk, DIR)
        .iter()
        .map(|file| version(&content(&disk, file)))
        .collect();
    assert!(!versions.is_empty());
    assert!(versions.iter().all(|version| *version == 1), "{versions:?}");
}

#[test]
fn a_segment_of_another_log_is_noticed_from_version_2_on() {
    for (format, is_noticed) in [(DataFormat::Previous, false), (DataFormat::Current, true)] {
        let (ours, other) = (log(format, 7), log(format, 8));
        let second = &files(&ours, DIR)[1];
        replace(&ours, second, &content(&other, second));
        let opened = open(&ours, format).map(|(_, recovered)| recovered.entries.len());
        match (opened, is_noticed) {
            // Entries of two logs in one, and nothing that says so.
            (Ok(12), false) => {}
            (Err(WalError::File(FileError::Corrupt { file, reason, .. })), true) => {
                assert!(file == *second || file == files(&ours, DIR)[2], "{file:?}");
                assert!(reason.contains("the segment before it"), "{reason}");
            }
            (other, _) => panic!("{format:?}: {other:?}"),
        }
    }
}

#[test]
fn a_log_of_a_later_program_is_refused_by_name() {
    let disk = log(DataFormat::Current, 7);
    let last = files(&disk, DIR).pop().expect("it has segments");
    let mut bytes = content(&disk, &last);
    bytes[8] = 3;
    let crc = crc32c::crc32c(&bytes[..132]);
    bytes[132..136].copy_from_slice(&crc.to_le_bytes());
    replace(&disk, &last, &bytes);
    let Err(error) = open(&disk, DataFormat::Current) else {
        panic!("it was opened");
    };
    let name = last.display();
    assert_eq!(
        error.to_string(),
        format!("{name} has format version 3, which this program does not know")
    );
}

fn snapshots(disk: &FaultyDisk, format: DataFormat, cluster_id: u64) -> SnapshotStore<FaultyDisk> {
    let config = SnapshotConfig {
        cluster_id,
        format,
        ..SnapshotConfig::default()
    };
    let opened = run(SnapshotStore::open(
        disk.clone(),
        Path::new(SNAPSHOTS),
        config,
    ));
    opened.expect("no fault").0
}

fn save(store: &SnapshotStore<FaultyDisk>, index: u64) {
    let header = SnapshotHeader {
        index,
        term: 1,
        meta: Bytes::from_static(b"members"),
    };
    let mut writer = run(store.create(&header)).expect("no fault");
    run(writer.write_chunk(b"state")).expect("no fault");
    run(writer.finish()).expect("no fault");
}

#[test]
fn snapshots_of_both_versions_are_read_and_those_of_another_cluster_are_not() {
    let disk = FaultyDisk::new(1);
    save(&snapshots(&disk, DataFormat::Previous, 9), 1);
    save(&snapshots(&disk, DataFormat::Current, 9), 2);
    let versions: Vec<u32> = files(&disk, SNAPSHOTS)
        .iter()
        .map(|file| version(&content(&disk, file)))
        .collect();
    assert_eq!(versions, [1, 2]);
    for format in [DataFormat::Previous, DataFormat::Current] {
        let store = snapshots(&disk, format, 9);
        for file in run(store.list()).expect("no fault") {
            run(store.verify(&file)).expect("it is sound");
        }
        // Version 1 does not say whose it is.
        let newest = run(snapshots(&disk, format, 5).newest_valid()).expect("no fault");
        assert_eq!(newest.valid.map(|file| file.index), Some(1));
        assert!(matches!(
            newest.refused[..],
            [SnapshotError::Foreign { cluster_id: 9, .. }]
        ));
    }
}

#[test]
fn every_flipped_bit_in_what_version_2_adds_to_a_snapshot_is_refused() {
    let disk = FaultyDisk::new(1);
    let store = snapshots(&disk, DataFormat::Current, 9);
    save(&store, 1);
    let path = files(&disk, SNAPSHOTS).remove(0);
    let sound = content(&disk, &path);
    for bit in 40 * 8..56 * 8 {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        replace(&disk, &path, &bytes);
        let file = run(store.list()).expect("no fault").remove(0);
        let refused = run(store.verify(&file));
        assert!(
            matches!(refused, Err(SnapshotError::File(FileError::Corrupt { .. }))),
            "bit {bit}: {refused:?}"
        );
    }
}
