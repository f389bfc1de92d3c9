//! Snapshot files through crashes and damage.

use super::faulty_disk::crash::Crash;
use super::faulty_disk::{Faults, FaultyDisk, run};
use super::wal_scenario::crash_strategy;
use bytes::Bytes;
use proptest::prelude::*;
use std::path::Path;
use veridical_env::Disk;
use veridical_planted::{Planted, PlantedBug};
use veridical_storage::FileError;
use veridical_storage::snapshot::{
    MAX_CHUNK_BYTES, SnapshotConfig, SnapshotError, SnapshotFile, SnapshotHeader, SnapshotStore,
};

const DIR: &str = "/snapshots";
const ALL_LOST: Crash = Crash {
    survival_percent: 0,
    sector_bytes: 512,
    garbage: false,
};

fn open(disk: &FaultyDisk, planted: Planted) -> (SnapshotStore<FaultyDisk>, Vec<String>) {
    run(SnapshotStore::open(
        disk.clone(),
        Path::new(DIR),
        SnapshotConfig {
            planted,
            ..SnapshotConfig::default()
        },
    ))
    .expect("no fault")
}

fn header(index: u64) -> SnapshotHeader {
    SnapshotHeader {
        index,
        term: 2,
        meta: Bytes::from_static(b"members"),
    }
}

fn write(store: &SnapshotStore<FaultyDisk>, index: u64, chunks: &[Vec<u8>]) -> SnapshotFile {
    let mut writer = run(store.create(&header(index))).expect("no fault");
    for chunk in chunks {
        run(writer.write_chunk(chunk)).expect("no fault");
    }
    run(writer.finish()).expect("no fault")
}

fn read(
    store: &SnapshotStore<FaultyDisk>,
    file: &SnapshotFile,
) -> Result<Vec<Bytes>, SnapshotError> {
    let mut reader = run(store.read(file))?;
    assert_eq!(reader.header(), &header(file.index));
    let mut chunks = Vec::new();
    while let Some(chunk) = run(reader.next_chunk())? {
        chunks.push(chunk);
    }
    assert!(run(reader.next_chunk())?.is_none(), "the end stays the end");
    Ok(chunks)
}

fn sample() -> Vec<Vec<u8>> {
    vec![vec![1; 700], Vec::new(), vec![2; 3]]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_finished_snapshot_survives_any_crash_and_an_unfinished_one_is_never_seen(
        seed: u64,
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..2000), 0..6),
        crash in crash_strategy(),
    ) {
        let disk = FaultyDisk::new(seed);
        let (store, _) = open(&disk, Planted::none());
        disk.set_faults(Faults { short_io: true, ..Faults::default() });
        let finished = write(&store, 5, &chunks);
        let mut unfinished = run(store.create(&header(9))).expect("no fault");
        run(unfinished.write_chunk(b"half")).expect("no fault");
        let disk = disk.crash(crash);
        let (store, leftovers) = open(&disk, Planted::none());
        prop_assert!(leftovers.len() <= 1);
        let newest = run(store.newest_valid()).expect("no fault");
        prop_assert!(newest.refused.is_empty());
        prop_assert_eq!(newest.valid.as_ref(), Some(&finished));
        prop_assert_eq!(read(&store, &finished).expect("sound"), chunks);
        prop_assert_eq!(run(disk.list(Path::new(DIR))).expect("no fault").len(), 1);
    }
}

#[test]
fn a_forgotten_sync_of_the_folder_is_found() {
    let disk = FaultyDisk::new(1);
    let (store, _) = open(&disk, Planted::only(PlantedBug::DirentLoss));
    write(&store, 5, &sample());
    let (store, _) = open(&disk.crash(ALL_LOST), Planted::none());
    assert!(
        run(store.list()).expect("no fault").is_empty(),
        "the planted bug did not show"
    );
}

#[test]
fn a_forgotten_sync_of_the_file_is_found() {
    let disk = FaultyDisk::new(1);
    let (store, _) = open(&disk, Planted::only(PlantedBug::SnapshotUnsynced));
    write(&store, 5, &sample());
    let (store, _) = open(&disk.crash(ALL_LOST), Planted::none());
    let newest = run(store.newest_valid()).expect("no fault");
    assert_eq!(newest.refused.len(), 1, "the planted bug did not show");
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let disk = FaultyDisk::new(1);
    let (store, _) = open(&disk, Planted::none());
    let file = write(&store, 5, &sample());
    let whole = disk.contents(&file.path);
    let refused = |damaged: Vec<u8>| {
        disk.tamper(&file.path, |bytes| *bytes = damaged);
        match run(store.verify(&file)) {
            Err(SnapshotError::File(FileError::Corrupt {
                file: named,
                offset,
                ..
            })) => {
                assert_eq!(named, file.path);
                assert!(offset <= whole.len() as u64);
            }
            other => panic!("{other:?} instead of a refusal"),
        }
    };
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        refused(damaged);
    }
    for length in 0..whole.len() {
        refused(whole[..length].to_vec());
    }
    refused([&whole[..], &[0]].concat());
    disk.tamper(&file.path, |bytes| *bytes = whole.clone());
    run(store.verify(&file)).expect("repaired");
}

#[test]
fn falling_back_to_an_older_snapshot_is_reported() {
    let disk = FaultyDisk::new(1);
    let (store, _) = open(&disk, Planted::none());
    let old = write(&store, 5, &sample());
    let new = write(&store, 7, &sample());
    disk.tamper(&new.path, |bytes| bytes[100] ^= 1);
    let newest = run(store.newest_valid()).expect("no fault");
    assert_eq!(newest.valid, Some(old));
    assert!(
        matches!(&newest.refused[..], [SnapshotError::File(FileError::Corrupt { file, .. })] if *file == new.path)
    );
}

#[test]
fn a_snapshot_under_the_name_of_another_is_refused() {
    let disk = FaultyDisk::new(1);
    let (store, _) = open(&disk, Planted::none());
    let (first, second) = (write(&store, 5, &sample()), write(&store, 7, &sample()));
    let stranger = disk.contents(&first.path);
    disk.tamper(&second.path, |bytes| *bytes = stranger);
    assert!(matches!(
        run(store.verify(&second)),
        Err(SnapshotError::File(FileError::Corrupt { offset: 0, .. }))
    ));
}

#[test]
fn older_snapshots_are_deleted_durably() {
    let disk = FaultyDisk::new(1);
    let (store, _) = open(&disk, Planted::none());
    let files: Vec<SnapshotFile> = [3, 5, 7]
        .map(|index| write(&store, index, &sample()))
        .into();
    let deleted = run(store.delete_older_than(7)).expect("no fault");
    assert_eq!(deleted, [files[1].clone(), files[0].clone()]);
    let (store, _) = open(&disk.crash(ALL_LOST), Planted::none());
    assert_eq!(run(store.list()).expect("no fault"), files[2..]);
}

#[test]
fn an_aborted_snapshot_leaves_nothing_and_a_dropped_one_goes_at_the_next_opening() {
    let disk = FaultyDisk::new(1);
    let (store, _) = open(&disk, Planted::none());
    run(run(store.create(&header(3))).expect("no fault").abort()).expect("no fault");
    assert!(run(disk.list(Path::new(DIR))).expect("no fault").is_empty());
    drop(run(store.create(&header(3))).expect("no fault"));
    // A second writer of the same snapshot does not meet the first one's file.
    drop(run(store.create(&header(3))).expect("no fault"));
    let (store, leftovers) = open(&disk.kill(), Planted::none());
    assert_eq!(
        (leftovers.len(), run(store.list()).expect("no fault").len()),
        (2, 0)
    );
}

#[test]
fn a_chunk_above_the_limit_and_a_failed_sync_are_errors() {
    let disk = FaultyDisk::new(1);
    let (store, _) = open(&disk, Planted::none());
    let mut writer = run(store.create(&header(3))).expect("no fault");
    let large = vec![0; MAX_CHUNK_BYTES + 1];
    assert!(matches!(
        run(writer.write_chunk(&large)),
        Err(SnapshotError::TooLarge {
            what: "a chunk",
            ..
        })
    ));
    run(writer.write_chunk(b"small")).expect("the writer goes on");
    disk.set_faults(Faults {
        fail_sync_after: Some(0),
        ..Faults::default()
    });
    assert!(matches!(
        run(writer.finish()),
        Err(SnapshotError::File(FileError::Io {
            operation: "synchronise",
            ..
        }))
    ));
    assert!(run(store.list()).expect("no fault").is_empty());
}

#[test]
fn a_snapshot_that_does_not_fit_gives_its_room_back_at_once() {
    let disk = FaultyDisk::new(1);
    let (store, _) = open(&disk, Planted::none());
    let kept = write(&store, 1, &sample());
    let before = disk.used();
    disk.set_faults(Faults {
        room_bytes: Some(before + 1_000),
        ..Faults::default()
    });
    let mut writer = run(store.create(&header(2))).expect("its head fits");
    let error = run(writer.write_chunk(&[3; 2_000])).expect_err("the chunk does not");
    assert!(
        matches!(&error, SnapshotError::File(FileError::Io { source, .. })
            if source.kind() == std::io::ErrorKind::StorageFull),
        "{error}"
    );
    assert_eq!(disk.used(), before);
    assert_eq!(run(store.list()).expect("no fault"), vec![kept]);
}

#[test]
fn a_snapshot_that_cannot_be_synchronised_is_removed_at_once() {
    let disk = FaultyDisk::new(1);
    let (store, _) = open(&disk, Planted::none());
    let before = disk.used();
    let mut writer = run(store.create(&header(2))).expect("no fault");
    run(writer.write_chunk(&[3; 2_000])).expect("no fault");
    disk.set_faults(Faults {
        fail_sync_after: Some(0),
        ..Faults::default()
    });
    run(writer.finish()).expect_err("the sync fails");
    assert_eq!(disk.used(), before);
}
