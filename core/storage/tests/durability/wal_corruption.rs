//! Damage to what was durable.

use super::faulty_disk::{FaultyDisk, Rng, run};
use super::wal_model::recovered_prefix;
use super::wal_scenario::{DIR, Scenario, Step};
use bytes::Bytes;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use veridical_env::Disk;
use veridical_planted::Planted;
use veridical_storage::FileError;
use veridical_storage::wal::{HardState, LogEntry, Recovered, Wal, WalConfig, WalError, WalRecord};

fn entry(index: u64, bytes: usize) -> WalRecord {
    WalRecord::Entry(LogEntry {
        term: 1,
        index,
        kind: 0,
        data: Bytes::from(vec![index as u8; bytes]),
    })
}

fn open(disk: &FaultyDisk) -> Result<(Wal<FaultyDisk>, Recovered), WalError> {
    let config = WalConfig {
        segment_bytes: 8192,
        ..WalConfig::default()
    };
    run(Wal::open(disk.clone(), Path::new(DIR), config))
}

fn segments(disk: &FaultyDisk) -> Vec<PathBuf> {
    let names = run(disk.list(Path::new(DIR))).expect("the folder exists");
    names
        .into_iter()
        .filter(|name| name.ends_with(".wal"))
        .map(|name| Path::new(DIR).join(name))
        .collect()
}

/// Entries 1 to `count`, each synchronised on its own, in segments of two or three.
fn filled(count: u64) -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    let (mut wal, _) = open(&disk).expect("an empty folder");
    for index in 1..=count {
        run(wal.append(&[entry(index, 100)])).expect("no fault");
        run(wal.sync()).expect("no fault");
    }
    disk.kill()
}

#[track_caller]
fn assert_corrupt(disk: &FaultyDisk, at: &Path, at_offset: Option<u64>) {
    match open(disk).map(|(_, recovered)| recovered) {
        Err(WalError::File(FileError::Corrupt {
            file,
            offset,
            reason,
        })) => {
            assert_eq!(file, at, "{reason}");
            assert!(
                at_offset.is_none_or(|at_offset| offset == at_offset),
                "{offset}: {reason}"
            );
        }
        other => panic!("{other:?} instead of a refusal"),
    }
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    FlipBit,
    ZeroSector,
    GarbageSector,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_takes_away_what_a_later_record_proves(
        seed: u64,
        segment_bytes in 1..60_000u64,
        batches in proptest::collection::vec((1..6u8, any::<u64>(), 0..2u8), 1..40),
        releases in 0..3u8,
        damage in prop_oneof![Just(Damage::FlipBit), Just(Damage::ZeroSector), Just(Damage::GarbageSector)],
        place: u64,
    ) {
        let mut scenario = Scenario::new(seed, segment_bytes, Planted::none());
        for (records, seed, syncs) in batches {
            scenario.step(&Step::Append { records, seed }).expect("no fault");
            for _ in 0..syncs {
                scenario.step(&Step::Sync).expect("no fault");
            }
        }
        for behind in 0..releases {
            scenario.step(&Step::Release { behind: u64::from(behind) }).expect("no fault");
        }
        let disk = scenario.disk.kill();
        let mut rng = Rng(place);
        let files = segments(&disk);
        let file = &files[rng.below(files.len() as u64) as usize];
        // Somewhere that was written: the zeros ahead are most of a file.
        let written = disk.contents(file).iter().rposition(|byte| *byte != 0).expect("a header") + 1;
        disk.tamper(file, |bytes| match damage {
            Damage::FlipBit => bytes[rng.below(written as u64) as usize] ^= 1 << rng.below(8),
            Damage::ZeroSector | Damage::GarbageSector => {
                let start = rng.below(written as u64) as usize / 512 * 512;
                let end = bytes.len().min(start + 512);
                for byte in &mut bytes[start..end] {
                    *byte = if matches!(damage, Damage::ZeroSector) { 0 } else { rng.next() as u8 };
                }
            }
        });
        match run(Wal::open(disk.clone(), Path::new(DIR), scenario.config)) {
            // With the last segment goes the knowledge of what was released.
            Err(WalError::File(FileError::Corrupt { file: named, .. })) => {
                prop_assert!(*file == named || Some(file) == files.last(), "{named:?}");
            }
            Err(error) => prop_assert!(false, "{error}"),
            Ok((_, recovered)) => {
                let prefix =
                    recovered_prefix(&scenario.history, scenario.proven, scenario.released, &recovered);
                prop_assert!(prefix.is_some(), "{} proven, {recovered:?}", scenario.proven);
            }
        }
    }
}

#[test]
fn a_damaged_record_before_the_last_sync_is_refused_at_its_place() {
    for index in 1..9u64 {
        let disk = filled(9);
        let data = [index as u8; 100];
        let holder = segments(&disk).into_iter().find_map(|file| {
            let bytes = disk.contents(&file);
            let at = bytes.windows(100).position(|window| window == data)?;
            Some((file, at))
        });
        let (file, at) = holder.expect("every entry is somewhere");
        disk.tamper(&file, |bytes| bytes[at] ^= 1);
        assert_corrupt(&disk, &file, None);
        disk.tamper(&file, |bytes| bytes[at] ^= 1);
        assert_eq!(open(&disk).expect("repaired").1.entries.len(), 9);
    }
}

#[test]
fn a_refused_log_stays_as_it_is() {
    let disk = filled(9);
    let file = segments(&disk)[1].clone();
    disk.tamper(&file, |bytes| bytes[4096 + 30] ^= 1);
    let before: Vec<Vec<u8>> = segments(&disk)
        .iter()
        .map(|file| disk.contents(file))
        .collect();
    assert_corrupt(&disk, &file, None);
    let after: Vec<Vec<u8>> = segments(&disk)
        .iter()
        .map(|file| disk.contents(file))
        .collect();
    assert_eq!(before, after);
}

#[test]
fn a_missing_segment_before_the_last_is_refused() {
    let count = segments(&filled(9)).len();
    assert!(count > 3);
    for missing in 0..count - 1 {
        let disk = filled(9);
        let file = segments(&disk)[missing].clone();
        disk.lose(&file);
        assert_corrupt(&disk, &file, Some(0));
    }
}

#[test]
fn an_empty_or_short_segment_is_refused() {
    for length in [0, 1, 135] {
        let disk = filled(9);
        for file in segments(&disk) {
            let whole = disk.contents(&file);
            disk.tamper(&file, |bytes| bytes.truncate(length));
            assert_corrupt(&disk, &file, Some(0));
            disk.tamper(&file, |bytes| *bytes = whole);
        }
    }
}

#[test]
fn a_segment_under_the_name_of_another_is_refused() {
    let disk = filled(9);
    let files = segments(&disk);
    let other = disk.contents(&files[0]);
    disk.tamper(&files[1], |bytes| *bytes = other);
    assert_corrupt(&disk, &files[1], Some(0));
}

#[test]
fn a_segment_of_another_version_is_named_as_such() {
    let disk = filled(1);
    let file = segments(&disk)[0].clone();
    disk.tamper(&file, |bytes| {
        bytes[8] = 9;
        let crc = crc32c::crc32c(&bytes[..132]);
        bytes[132..136].copy_from_slice(&crc.to_le_bytes());
    });
    assert!(matches!(
        open(&disk),
        Err(WalError::File(FileError::UnsupportedVersion {
            version: 9,
            ..
        }))
    ));
}

#[test]
fn a_record_that_contradicts_the_log_is_refused_although_its_checksum_is_right() {
    // The same log with a hole: the fourth entry's segment is taken from a longer log.
    let (short, long) = (filled(3), filled(9));
    let (short_files, long_files) = (segments(&short), segments(&long));
    let stranger = long.contents(&long_files[short_files.len()]);
    let (mut wal, _) = open(&short).expect("undamaged");
    for index in 4..=9 {
        run(wal.append(&[
            WalRecord::HardState(HardState {
                term: index,
                vote: 0,
                commit: 0,
            }),
            entry(index, 3000),
        ]))
        .expect("no fault");
        run(wal.sync()).expect("no fault");
    }
    let short = short.kill();
    let file = segments(&short)[short_files.len()].clone();
    short.tamper(&file, |bytes| *bytes = stranger);
    assert!(matches!(
        open(&short),
        Err(WalError::File(FileError::Corrupt { .. }))
    ));
}

#[test]
fn a_lost_record_between_unsynchronised_ones_does_not_pass_for_a_gap() {
    const FRAME_BYTES: usize = 24 + 17;
    let disk = FaultyDisk::new(1);
    let config = WalConfig::default();
    let (mut wal, _) =
        run(Wal::open(disk.clone(), Path::new(DIR), config)).expect("an empty folder");
    // One write: the first record fills a sector, the second the rest of the page.
    let batch = [
        entry(1, 512 - FRAME_BYTES),
        entry(2, 4096 - 512 - FRAME_BYTES),
        WalRecord::HardState(HardState {
            term: 1,
            vote: 1,
            commit: 0,
        }),
    ];
    run(wal.append(&batch)).expect("no fault");
    let disk = disk.kill();
    let file = segments(&disk)[0].clone();
    disk.tamper(&file, |bytes| bytes[4096 + 512..8192].fill(0));
    let (_, recovered) =
        run(Wal::open(disk, Path::new(DIR), config)).expect("a torn tail is no corruption");
    assert_eq!((recovered.entries.len(), recovered.hard_state), (1, None));
    assert_eq!(
        recovered.truncated_tail.expect("cut off").offset,
        4096 + 512
    );
}

#[test]
fn a_segment_that_repeats_another_state_is_refused() {
    let voted_for = |vote| {
        let disk = FaultyDisk::new(1);
        let (mut wal, _) = open(&disk).expect("an empty folder");
        run(wal.append(&[WalRecord::HardState(HardState {
            term: 1,
            vote,
            commit: 0,
        })]))
        .expect("no fault");
        for index in 1..=4 {
            run(wal.append(&[entry(index, 5000)])).expect("no fault");
        }
        disk.kill()
    };
    let (disk, other) = (voted_for(1), voted_for(2));
    let file = segments(&disk)[1].clone();
    let stranger = other.contents(&file);
    disk.tamper(&file, |bytes| *bytes = stranger);
    assert_corrupt(&disk, &file, Some(0));
}

/// Makes the checksums of the frame at `at` right again, whatever it says now.
fn make_right(bytes: &mut [u8], sequence: u64, at: usize) {
    let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().expect("four bytes"));
    let payload = &bytes[at + 24..at + 24 + length as usize];
    let crc = crc32c::crc32c(payload);
    bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    let mut place = sequence.to_le_bytes().to_vec();
    place.extend_from_slice(&(at as u64).to_le_bytes());
    place.extend_from_slice(&bytes[at + 4..at + 24]);
    bytes[at..at + 4].copy_from_slice(&crc32c::crc32c(&place).to_le_bytes());
}

/// The last segment of a log of one hard state and one entry, each on a page of its own.
fn two_pages() -> (FaultyDisk, PathBuf, [usize; 2]) {
    let disk = FaultyDisk::new(1);
    let (mut wal, _) = open(&disk).expect("an empty folder");
    let promise = WalRecord::HardState(HardState {
        term: 2,
        vote: 1,
        commit: 0,
    });
    for record in [promise, entry(1, 10)] {
        run(wal.append(&[record])).expect("no fault");
        run(wal.sync()).expect("no fault");
    }
    let disk = disk.kill();
    let file = segments(&disk)[0].clone();
    let bytes = disk.contents(&file);
    let entry = bytes.windows(10).position(|data| data == [1; 10]);
    let entry = entry.expect("it was written") - 17 - 24;
    assert_eq!(entry % 4096, 0);
    (disk, file, [136, entry])
}

#[test]
fn a_record_with_right_checksums_and_impossible_content_is_no_torn_tail() {
    type Change = fn(&mut [u8], usize);
    let changes: [(&str, Change); 4] = [
        ("its kind", |bytes, at| bytes[at + 12] = 9),
        ("bytes that are not used", |bytes, at| bytes[at + 13] = 1),
        ("its claim", |bytes, at| bytes[at + 16..at + 24].fill(1)),
        ("its length", |bytes, at| bytes[at + 8] = 7),
    ];
    for (what, change) in changes {
        let (disk, file, places) = two_pages();
        let at = places[1];
        disk.tamper(&file, |bytes| {
            change(bytes, at);
            make_right(bytes, 1, at);
        });
        match open(&disk).map(|(_, recovered)| recovered) {
            Err(WalError::File(FileError::Corrupt {
                file: named,
                offset,
                ..
            })) => {
                assert_eq!((named, offset), (file, at as u64), "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn a_record_that_takes_back_a_promise_is_refused_although_its_checksums_are_right() {
    for (term, vote) in [(1, 0), (2, 0), (2, 2)] {
        let (disk, file, places) = two_pages();
        let before = disk.contents(&file);
        let mut record = before[places[0]..places[0] + 48].to_vec();
        record[24..40].copy_from_slice(&[u64::to_le_bytes(term), u64::to_le_bytes(vote)].concat());
        let at = places[1] + 56;
        disk.tamper(&file, |bytes| {
            bytes.resize(at + 48, 0);
            bytes[at..at + 48].copy_from_slice(&record);
            bytes[at + 16..at + 24].copy_from_slice(&before[places[1] + 16..places[1] + 24]);
            make_right(bytes, 1, at);
        });
        assert_corrupt(&disk, &file, Some(at as u64));
    }
}
