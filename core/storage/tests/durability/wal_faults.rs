//! Failures while the log is in use, and what is left of its files.

use super::faulty_disk::crash::Crash;
use super::faulty_disk::{Faults, FaultyDisk, poll_once, run};
use super::wal_scenario::DIR;
use bytes::Bytes;
use std::path::Path;
use veridical_env::{Disk, DiskFile, OpenMode};
use veridical_storage::FileError;
use veridical_storage::wal::{
    HardState, LogEntry, MAX_ENTRY_DATA_BYTES, MemberRecord, Recovered, SnapshotMark, Wal,
    WalConfig, WalError, WalRecord,
};

const ALL_LOST: Crash = Crash {
    survival_percent: 0,
    sector_bytes: 512,
    garbage: false,
};
const MEMBER: MemberRecord = MemberRecord {
    cluster_id: 1,
    member_id: 2,
    incarnation: 3,
};
const HARD_STATE: HardState = HardState {
    term: 1,
    vote: 2,
    commit: 0,
};

fn entry(index: u64) -> WalRecord {
    WalRecord::Entry(LogEntry {
        term: 1,
        index,
        kind: 0,
        data: Bytes::from(vec![7; 100]),
    })
}

fn open(disk: &FaultyDisk) -> (Wal<FaultyDisk>, Recovered) {
    let config = WalConfig {
        segment_bytes: 8192,
        ..WalConfig::default()
    };
    run(Wal::open(disk.clone(), Path::new(DIR), config)).expect("the log can be opened")
}

fn files(disk: &FaultyDisk) -> Vec<String> {
    run(disk.list(Path::new(DIR))).expect("the folder exists")
}

fn indexes(recovered: &Recovered) -> Vec<u64> {
    recovered.entries.iter().map(|entry| entry.index).collect()
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let disk = FaultyDisk::new(1);
    let (mut wal, _) = open(&disk);
    run(wal.append(&[entry(1)])).expect("no fault");
    disk.set_faults(Faults {
        fail_sync_after: Some(0),
        ..Faults::default()
    });
    assert!(matches!(
        run(wal.sync()),
        Err(WalError::File(FileError::Io {
            operation: "synchronise",
            ..
        }))
    ));
    // The disk would say yes now.
    assert!(matches!(run(wal.sync()), Err(WalError::Stopped)));
    assert!(matches!(
        run(wal.append(&[entry(2)])),
        Err(WalError::Stopped)
    ));
    assert!(matches!(run(wal.release_before(1)), Err(WalError::Stopped)));
}

#[test]
fn what_opening_returns_is_durable_even_after_a_failed_sync() {
    let disk = FaultyDisk::new(1);
    let (mut wal, _) = open(&disk);
    run(wal.append(&[entry(1)])).expect("no fault");
    disk.set_faults(Faults {
        fail_sync_after: Some(0),
        ..Faults::default()
    });
    assert!(run(wal.sync()).is_err());
    // The operating system shows the data and takes it for clean, so syncing the same
    // pages again would do nothing.
    let disk = disk.kill();
    assert_eq!(indexes(&open(&disk).1), [1]);
    let disk = disk.crash(ALL_LOST);
    assert_eq!(indexes(&open(&disk).1), [1]);
}

#[test]
fn an_append_that_is_cancelled_half_way_stops_the_log() {
    let disk = FaultyDisk::new(1);
    let (mut wal, _) = open(&disk);
    disk.set_faults(Faults {
        stuck_writes: true,
        ..Faults::default()
    });
    assert!(poll_once(wal.append(&[entry(1)])).is_none());
    disk.set_faults(Faults::default());
    assert!(matches!(run(wal.sync()), Err(WalError::Stopped)));
}

#[test]
fn an_entry_above_the_limit_is_refused_and_the_log_goes_on() {
    let disk = FaultyDisk::new(1);
    let (mut wal, _) = open(&disk);
    let data = Bytes::from(vec![0; MAX_ENTRY_DATA_BYTES + 1]);
    let bytes = data.len();
    let large = WalRecord::Entry(LogEntry {
        term: 1,
        index: 1,
        kind: 0,
        data,
    });
    let refused = run(wal.append(&[entry(1), large]));
    assert!(matches!(refused, Err(WalError::EntryTooLarge { bytes: found }) if found == bytes));
    run(wal.append(&[entry(1)])).expect("the log goes on");
    assert_eq!(wal.last_index(), 1);
}

#[test]
#[should_panic(expected = "entry 3 does not follow entry 1")]
fn a_gap_is_a_bug_of_the_caller() {
    let (mut wal, _) = open(&FaultyDisk::new(1));
    let _ = run(wal.append(&[entry(1), entry(3)]));
}

#[test]
#[should_panic(expected = "entry 2 is covered by snapshot 2")]
fn an_entry_that_a_snapshot_covers_is_a_bug_of_the_caller() {
    let (mut wal, _) = open(&FaultyDisk::new(1));
    let mark = WalRecord::Snapshot(SnapshotMark { index: 2, term: 1 });
    let _ = run(wal.append(&[entry(1), entry(2), entry(3), mark, entry(2)]));
}

#[test]
fn a_torn_tail_is_cut_off_and_reported_once() {
    let disk = FaultyDisk::new(1);
    let (mut wal, _) = open(&disk);
    run(wal.append(&[entry(1)])).expect("no fault");
    run(wal.sync()).expect("no fault");
    run(wal.append(&[entry(2), entry(3)])).expect("no fault");
    let disk = disk.kill();
    let file = Path::new(DIR).join("0000000000000001.wal");
    // Entry 2 begins the second write, at 8192; entry 3 is whole and stays so.
    disk.tamper(&file, |bytes| bytes[8192 + 50] ^= 1);
    let (_, recovered) = open(&disk);
    assert_eq!(indexes(&recovered), [1]);
    let tail = recovered.truncated_tail.expect("something was cut off");
    // 24 bytes of header, 17 before the data, 100 of data, padded to 8: two frames. The
    // last byte of each frame's padding is zero.
    let end = 4096 + 144;
    assert_eq!((tail.file, tail.offset), (file, end));
    assert_eq!(tail.bytes, 8192 + 144 + 141 - end);
    let (_, recovered) = open(&disk.kill());
    assert_eq!(
        (indexes(&recovered), recovered.truncated_tail),
        (vec![1], None)
    );
}

#[test]
fn a_release_keeps_what_the_member_must_remember() {
    let disk = FaultyDisk::new(1);
    let (mut wal, _) = open(&disk);
    let mark = SnapshotMark { index: 9, term: 1 };
    run(wal.append(&[WalRecord::Member(MEMBER), WalRecord::HardState(HARD_STATE)]))
        .expect("no fault");
    for index in 1..=12 {
        run(wal.append(&[entry(index)])).expect("no fault");
        run(wal.sync()).expect("no fault");
    }
    run(wal.append(&[WalRecord::Snapshot(mark)])).expect("no fault");
    let before = wal.segments();
    run(wal.release_before(10)).expect("no fault");
    assert!(wal.segments() < before);
    assert_eq!(files(&disk).len(), wal.segments());
    let (_, recovered) = open(&disk.crash(ALL_LOST));
    assert_eq!(recovered.member, Some(MEMBER));
    assert_eq!(recovered.hard_state, Some(HARD_STATE));
    assert_eq!(recovered.snapshot, Some(mark));
    assert!(indexes(&recovered).ends_with(&[10, 11, 12]));
    assert!(!indexes(&recovered).contains(&1));
}

#[test]
fn opening_again_and_again_adds_no_segments() {
    let disk = FaultyDisk::new(1);
    let (mut wal, _) = open(&disk);
    run(wal.append(&[entry(1)])).expect("no fault");
    let mut disk = disk.kill();
    let (_, first) = open(&disk);
    let count = files(&disk).len();
    for _ in 0..5 {
        disk = disk.kill();
        let (_, again) = open(&disk);
        assert_eq!((again, files(&disk).len()), (first.clone(), count));
    }
}

#[test]
fn leftovers_of_a_crash_are_removed_and_strange_files_are_not() {
    let disk = FaultyDisk::new(1);
    drop(open(&disk));
    for name in ["0000000000000002.wal.tmp", "notes.txt", "2.wal"] {
        let path = Path::new(DIR).join(name);
        let file = run(disk.open(&path, OpenMode::CreateNew)).expect("a new name");
        run(file.write_all_at(0, b"half")).expect("no fault");
    }
    drop(open(&disk.kill()));
    assert_eq!(
        files(&disk.kill()),
        ["0000000000000001.wal", "2.wal", "notes.txt"]
    );
}

#[test]
fn the_mark_of_an_installed_snapshot_restarts_the_log() {
    let disk = FaultyDisk::new(1);
    let (mut wal, _) = open(&disk);
    run(wal.append(&[entry(1), entry(2)])).expect("no fault");
    run(wal.append(&[
        WalRecord::Snapshot(SnapshotMark { index: 40, term: 1 }),
        entry(41),
    ]))
    .expect("no fault");
    run(wal.sync()).expect("no fault");
    assert_eq!(indexes(&open(&disk.crash(ALL_LOST)).1), [41]);
}

#[test]
fn a_segment_that_does_not_fit_gives_its_room_back_and_the_log_opens_once_there_is_some() {
    let disk = FaultyDisk::new(1);
    let (mut wal, _) = open(&disk);
    run(wal.append(&[entry(1)])).expect("no fault");
    run(wal.sync()).expect("no fault");
    let before = disk.used();
    let restarted = disk.kill();
    restarted.set_faults(Faults {
        room_bytes: Some(before + 100),
        ..Faults::default()
    });
    let config = WalConfig::default();
    for _ in 0..3 {
        let opening = Wal::open(restarted.clone(), Path::new(DIR), config);
        let Err(error) = run(opening) else {
            panic!("there is no room for a segment");
        };
        assert!(
            matches!(&error, WalError::File(FileError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::StorageFull),
            "{error}"
        );
        assert_eq!(restarted.used(), before, "{:?}", files(&restarted));
    }
    restarted.set_faults(Faults::default());
    let (_, recovered) = open(&restarted);
    assert_eq!(indexes(&recovered), [1]);
}

#[test]
fn a_log_fills_itself_no_further_than_it_is_told_and_not_before_it_is() {
    let disk = FaultyDisk::new(1);
    let config = WalConfig::default();
    let opened = run(Wal::open(disk.clone(), Path::new(DIR), config));
    let (mut wal, _) = opened.expect("no fault");
    let length = || {
        let names = files(&disk);
        disk.contents(&Path::new(DIR).join(&names[0])).len()
    };
    // Whoever opens a log does not wait for zeros.
    assert!(length() < 4_096);
    run(wal.append(&[entry(1)])).expect("no fault");
    run(wal.sync()).expect("no fault");
    let before = length();
    assert!(run(wal.fill_ahead(64 * 1024)).expect("no fault"));
    let filled = length();
    assert!(
        (60 * 1024..=68 * 1024).contains(&(filled - before)),
        "{before} {filled}"
    );
    assert!(wal.zeros_ahead_bytes() >= 64 * 1024);
    run(wal.append(&[entry(2)])).expect("no fault");
    run(wal.sync()).expect("no fault");
    assert_eq!(length(), filled);
    let crashed = disk.crash(ALL_LOST);
    let opened = run(Wal::open(crashed, Path::new(DIR), config)).expect("no fault");
    assert_eq!(indexes(&opened.1), [1, 2]);
}
