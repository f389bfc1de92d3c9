//! What the disk promises and what it does not, one property each.

use super::{CrashRules, Damage, DamagedByte, DiskContext, DiskFaults, DiskModel, FileId};
use crate::counter::Counter;
use crate::fault::ProcessId;
use crate::latency::Latency;
use crate::rng::Rng;
use crate::trace::{DiskOperation, Journal, Recorder, TraceMode};
use proptest::prelude::*;
use std::io;
use std::path::Path;
use veridical_env::OpenMode;

/// A disk and what it needs.
pub(super) struct Bench {
    disk: DiskModel,
    rng: Rng,
    journal: Journal,
}

impl Bench {
    fn new(seed: u64, faults: DiskFaults) -> Self {
        Self {
            disk: DiskModel::new(faults, None),
            rng: Rng::from_seed(seed),
            journal: Journal::new(TraceMode::Off, None),
        }
    }

    pub(super) fn with_rules(seed: u64, crash: CrashRules) -> Self {
        Self::new(
            seed,
            DiskFaults {
                crash,
                ..DiskFaults::none()
            },
        )
    }

    fn act<R>(&mut self, act: impl FnOnce(&mut DiskModel, &mut DiskContext<'_>) -> R) -> R {
        let mut context = DiskContext {
            process: ProcessId(0),
            rng: &mut self.rng,
            recorder: Recorder {
                now_ns: 0,
                journal: &mut self.journal,
            },
        };
        act(&mut self.disk, &mut context)
    }

    fn open(&mut self, path: &str, mode: OpenMode) -> io::Result<FileId> {
        self.act(|disk, context| disk.open(context, Path::new(path), mode))
    }

    fn create(&mut self, path: &str) -> FileId {
        self.open(path, OpenMode::CreateNew)
            .expect("there is no such file")
    }

    /// A new file whose name is durable.
    pub(super) fn create_durably(&mut self, path: &str) -> FileId {
        let file = self.create(path);
        self.sync_dir();
        file
    }

    fn write(&mut self, file: FileId, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.act(|disk, context| disk.write(context, file, offset, data))
    }

    pub(super) fn write_all(&mut self, file: FileId, offset: u64, data: &[u8]) {
        assert_eq!(
            self.write(file, offset, data).expect("writes do not fail"),
            data.len()
        );
    }

    pub(super) fn sync(&mut self, file: FileId) -> io::Result<()> {
        let (outcome, mark) = self.act(|disk, context| disk.begin_sync(context, file))?;
        self.act(|disk, context| disk.end_sync(context, file, outcome, mark))
    }

    fn sync_dir(&mut self) {
        self.act(|disk, context| disk.sync_dir(context, Path::new("/")))
            .expect("the root exists");
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.act(|disk, context| disk.rename(context, Path::new(from), Path::new(to)))
            .expect("it exists");
    }

    fn remove(&mut self, path: &str) {
        self.act(|disk, context| disk.remove(context, Path::new(path)))
            .expect("it exists");
    }

    fn list(&mut self) -> Vec<String> {
        self.act(|disk, context| disk.list(context, Path::new("/")))
            .expect("the root exists")
    }

    fn read(&mut self, file: FileId) -> Vec<u8> {
        self.act(|disk, context| disk.read(context, file, 0, usize::MAX >> 1))
            .expect("reads do not fail")
    }

    /// The contents of the file with this name, opened anew.
    pub(super) fn contents(&mut self, path: &str) -> Option<Vec<u8>> {
        let file = self.open(path, OpenMode::Read).ok()?;
        let bytes = self.read(file);
        self.disk.close(file);
        Some(bytes)
    }

    pub(super) fn crash(&mut self) {
        self.act(|disk, context| disk.lose_power(context));
    }

    fn count(&self, counter: Counter) -> u64 {
        self.journal.counters.get(counter)
    }
}

#[test]
fn unsynchronised_data_is_lost_and_synchronised_data_is_not() {
    let mut bench = Bench::with_rules(1, CrashRules::lose_all());
    let file = bench.create_durably("f");
    bench.write_all(file, 0, b"kept");
    bench.sync(file).expect("nothing is at fault");
    bench.write_all(file, 4, b"lost");
    assert_eq!(bench.read(file), b"keptlost");
    bench.crash();
    assert_eq!(bench.contents("f").expect("its name is durable"), b"kept");
    assert_eq!(bench.count(Counter::LostWrite), 1);
}

#[test]
fn a_kind_crash_keeps_everything() {
    let mut bench = Bench::with_rules(1, CrashRules::keep_all());
    let file = bench.create("f");
    bench.write_all(file, 0, b"all");
    bench.crash();
    assert_eq!(bench.contents("f").expect("names survive too"), b"all");
    assert_eq!(
        bench.count(Counter::LostWrite) + bench.count(Counter::LostName),
        0
    );
}

#[test]
fn a_synchronisation_covers_what_was_written_before_it_began() {
    let mut bench = Bench::with_rules(1, CrashRules::lose_all());
    let file = bench.create_durably("f");
    bench.write_all(file, 0, b"before");
    let (outcome, mark) = bench
        .act(|disk, context| disk.begin_sync(context, file))
        .expect("nothing is at fault");
    bench.write_all(file, 6, b"during");
    bench
        .act(|disk, context| disk.end_sync(context, file, outcome, mark))
        .expect("nothing is at fault");
    bench.crash();
    assert_eq!(bench.contents("f").expect("its name is durable"), b"before");
}

/// Ten writes of one sector each, then a crash: which of them survived.
fn survivors(seed: u64, rules: CrashRules) -> Vec<bool> {
    let mut bench = Bench::with_rules(seed, rules);
    let file = bench.create_durably("f");
    for number in 0..10u8 {
        bench.write_all(file, u64::from(number) * 512, &[number + 1; 512]);
    }
    bench.crash();
    let contents = bench.contents("f").expect("its name is durable");
    (0..10u8)
        .map(|number| {
            contents
                .get(usize::from(number) * 512)
                .is_some_and(|byte| *byte == number + 1)
        })
        .collect()
}

#[test]
fn without_reordering_the_survivors_are_a_prefix() {
    let rules = CrashRules {
        lost_write_probability: 0.2,
        reorder: false,
        ..CrashRules::lose_all()
    };
    let mut partial = 0;
    for seed in 0..200 {
        let survived = survivors(seed, rules);
        let count = survived.iter().filter(|survived| **survived).count();
        assert!(
            survived[..count].iter().all(|survived| *survived),
            "{survived:?}"
        );
        partial += usize::from((1..10).contains(&count));
    }
    assert!(partial > 50, "{partial}");
}

#[test]
fn with_reordering_a_later_write_may_survive_an_earlier_one() {
    let rules = CrashRules {
        lost_write_probability: 0.5,
        reorder: true,
        ..CrashRules::lose_all()
    };
    let disordered = |seed: &u64| {
        survivors(*seed, rules)
            .windows(2)
            .any(|pair| pair == [false, true])
    };
    assert!((0..200).filter(disordered).count() > 150);
}

#[test]
fn within_a_sector_order_is_kept() {
    let rules = CrashRules {
        lost_write_probability: 0.5,
        reorder: true,
        ..CrashRules::lose_all()
    };
    for seed in 0..200 {
        let mut bench = Bench::with_rules(seed, rules);
        let file = bench.create_durably("f");
        bench.write_all(file, 0, b"..........");
        bench.sync(file).expect("nothing is at fault");
        for number in 0..10 {
            bench.write_all(file, number, b"x");
        }
        bench.crash();
        let left = bench.contents("f").expect("its name is durable");
        let first_old = left.iter().position(|byte| *byte == b'.').unwrap_or(10);
        assert!(
            left[first_old..].iter().all(|byte| *byte == b'.'),
            "{left:?}"
        );
    }
}

/// An overwrite of sixteen sectors of `a` by `b`, torn by a crash.
fn torn(seed: u64, rules: CrashRules, offset: u64) -> (Vec<u8>, Bench) {
    let mut bench = Bench::with_rules(seed, rules);
    let file = bench.create_durably("f");
    bench.write_all(file, 0, &[b'a'; 32 * 512]);
    bench.sync(file).expect("nothing is at fault");
    bench.write_all(file, offset, &[b'b'; 16 * 512]);
    bench.crash();
    (bench.contents("f").expect("its name is durable"), bench)
}

#[test]
fn a_torn_write_survives_by_whole_sectors_in_any_subset() {
    for (sector, rounded) in [(512, 512), (4096, 4096)] {
        let rules = CrashRules {
            torn_write_probability: 1.0,
            sector_bytes: sector,
            ..CrashRules::lose_all()
        };
        let mut holes = 0;
        for seed in 0..100 {
            let (left, bench) = torn(seed, rules, 100);
            assert_eq!(bench.count(Counter::TornWrite), 1);
            assert!(left[..100].iter().all(|byte| *byte == b'a'));
            for part in left.chunks(rounded) {
                let inside = &part[part.iter().position(|byte| *byte == b'b').unwrap_or(0)..];
                let switches = inside.windows(2).filter(|pair| pair[0] != pair[1]).count();
                // Only the last sector of the write goes back to the old bytes.
                assert!(switches <= 1, "a sector is old or new");
            }
            let flags: Vec<bool> = left[512..8192]
                .chunks(512)
                .map(|part| part.iter().all(|byte| *byte == b'b'))
                .collect();
            holes += usize::from(flags.windows(2).any(|pair| pair == [false, true]));
        }
        assert!(holes > 20, "{holes} with sectors of {sector}");
    }
}

#[test]
fn a_torn_sector_holds_zeros_or_garbage_and_spoils_nothing_outside_the_write() {
    let rules = CrashRules {
        torn_write_probability: 1.0,
        torn_sector_probability: 0.5,
        ..CrashRules::lose_all()
    };
    let (mut zeros, mut garbage) = (0, 0);
    for seed in 0..100 {
        let (left, bench) = torn(seed, rules, 100);
        assert!(left[..100].iter().all(|byte| *byte == b'a'));
        assert!(left[100 + 16 * 512..].iter().all(|byte| *byte == b'a'));
        for part in left[512..16 * 512].chunks(512) {
            match part {
                _ if part.iter().all(|byte| *byte == part[0]) => zeros += usize::from(part[0] == 0),
                _ => garbage += 1,
            }
        }
        assert!(bench.count(Counter::TornSector) > 0);
    }
    assert!(zeros > 100 && garbage > 100, "{zeros} {garbage}");
}

#[test]
fn a_sector_that_is_torn_as_a_whole_loses_what_was_durable_in_it_and_no_other_sector() {
    let rules = CrashRules {
        torn_write_probability: 1.0,
        torn_sector_probability: 0.5,
        torn_sector_whole: true,
        ..CrashRules::lose_all()
    };
    let mut spoilt = 0;
    for seed in 0..100 {
        // The write begins within the first sector, behind what was durable there.
        let (left, _) = torn(seed, rules, 100);
        spoilt += usize::from(left[..100].iter().any(|byte| *byte != b'a'));
        assert!(left[17 * 512..].iter().all(|byte| *byte == b'a'));
    }
    assert!((20..80).contains(&spoilt), "{spoilt}");
}

#[test]
fn the_length_may_survive_without_the_data() {
    let rules = CrashRules {
        size_without_data_probability: 1.0,
        ..CrashRules::lose_all()
    };
    let mut bench = Bench::with_rules(1, rules);
    let file = bench.create_durably("f");
    bench.write_all(file, 0, b"data");
    bench.crash();
    assert_eq!(bench.contents("f").expect("its name is durable"), [0; 4]);
    assert_eq!(bench.count(Counter::SizeWithoutData), 1);
}

#[test]
fn a_cut_that_is_not_synchronised_may_be_lost() {
    let mut bench = Bench::with_rules(1, CrashRules::lose_all());
    let file = bench.create_durably("f");
    bench.write_all(file, 0, b"whole");
    bench.sync(file).expect("nothing is at fault");
    bench
        .act(|disk, context| disk.set_len(context, file, 1))
        .expect("nothing is at fault");
    assert_eq!(bench.read(file), b"w");
    bench.crash();
    assert_eq!(bench.contents("f").expect("its name is durable"), b"whole");
}

#[test]
fn a_file_is_lost_without_a_synchronisation_of_its_folder() {
    let mut bench = Bench::with_rules(1, CrashRules::lose_all());
    let file = bench.create("f");
    bench.write_all(file, 0, b"data");
    bench.sync(file).expect("nothing is at fault");
    bench.crash();
    assert_eq!(bench.list(), [""; 0]);
    assert_eq!(bench.count(Counter::LostName), 1);
}

#[test]
fn a_removed_file_may_come_back() {
    let mut bench = Bench::with_rules(1, CrashRules::lose_all());
    let file = bench.create_durably("f");
    bench.write_all(file, 0, b"data");
    bench.sync(file).expect("nothing is at fault");
    bench.disk.close(file);
    bench.remove("f");
    assert_eq!(bench.contents("f"), None);
    bench.crash();
    assert_eq!(bench.contents("f").expect("it is back"), b"data");
    bench.remove("f");
    bench.sync_dir();
    bench.crash();
    assert_eq!(bench.contents("f"), None);
}

#[test]
fn a_rename_is_atomic_and_may_be_lost() {
    let rules = CrashRules {
        lost_name_probability: 0.5,
        ..CrashRules::lose_all()
    };
    let (mut old, mut new) = (0, 0);
    for seed in 0..100 {
        let mut bench = Bench::with_rules(seed, rules);
        for (name, data) in [("final", b"old"), ("temporary", b"new")] {
            let file = bench.create_durably(name);
            bench.write_all(file, 0, data);
            bench.sync(file).expect("nothing is at fault");
        }
        bench.rename("temporary", "final");
        assert_eq!(bench.contents("final").expect("it exists"), b"new");
        bench.crash();
        let names = bench.list();
        match bench
            .contents("final")
            .expect("the target is never missing")
            .as_slice()
        {
            b"old" => {
                assert_eq!(names, ["final", "temporary"]);
                old += 1;
            }
            b"new" => {
                assert_eq!(names, ["final"]);
                new += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(old > 20 && new > 20, "{old} {new}");
}

#[test]
fn a_rename_between_folders_is_durable_once_either_is_synchronised_and_never_doubled() {
    for synchronised in [&["/a"][..], &["/b"], &["/b", "/a"]] {
        let mut bench = Bench::with_rules(1, CrashRules::lose_all());
        for folder in ["/a", "/b"] {
            bench
                .act(|disk, context| disk.create_dir_all(context, Path::new(folder)))
                .expect("there is room");
        }
        bench.create("/a/f");
        bench.rename("/a/f", "/b/f");
        for folder in synchronised {
            bench
                .act(|disk, context| disk.sync_dir(context, Path::new(folder)))
                .expect("it exists");
        }
        bench.crash();
        let mut list = |folder: &str| {
            bench
                .act(|disk, context| disk.list(context, Path::new(folder)))
                .expect("it exists")
        };
        assert_eq!((list("/a"), list("/b")), (vec![], vec!["f".to_owned()]));
    }
}

#[test]
fn after_a_failed_synchronisation_the_next_succeeds_and_the_data_is_gone_all_the_same() {
    let mut bench = Bench::with_rules(1, CrashRules::keep_all());
    let file = bench.create_durably("f");
    bench.write_all(file, 0, b"old");
    bench.sync(file).expect("nothing is at fault");
    bench.write_all(file, 0, b"new");
    bench.disk.faults.sync_error_probability = 1.0;
    assert_eq!(
        bench
            .sync(file)
            .expect_err("it is told to fail")
            .raw_os_error(),
        Some(5)
    );
    bench.disk.faults.sync_error_probability = 0.0;
    bench.sync(file).expect("the pages count as clean");
    assert_eq!(bench.read(file), b"new", "reads show the page cache");
    bench.crash();
    assert_eq!(bench.contents("f").expect("its name is durable"), b"old");
}

#[test]
fn a_clean_page_that_was_lost_comes_back_when_its_sector_is_written_again() {
    let mut bench = Bench::with_rules(1, CrashRules::lose_all());
    let file = bench.create_durably("f");
    bench.write_all(file, 0, &[b'.'; 1024]);
    bench.sync(file).expect("nothing is at fault");
    bench.write_all(file, 0, b"lost");
    bench.write_all(file, 600, b"lost");
    bench.disk.faults.sync_error_probability = 1.0;
    bench.sync(file).expect_err("it is told to fail");
    bench.disk.faults.sync_error_probability = 0.0;
    bench.write_all(file, 100, b"again");
    bench.sync(file).expect("nothing is at fault");
    bench.crash();
    let left = bench.contents("f").expect("its name is durable");
    assert_eq!(
        (&left[..4], &left[100..105], &left[600..604]),
        (&b"lost"[..], &b"again"[..], &b"...."[..])
    );
}

#[test]
fn a_lying_synchronisation_says_ok_and_keeps_nothing() {
    let mut bench = Bench::with_rules(1, CrashRules::keep_all());
    bench.disk.faults.lying_sync_probability = 1.0;
    let file = bench.create("f");
    bench.sync_dir();
    bench.write_all(file, 0, b"data");
    bench.sync(file).expect("it lies");
    bench.crash();
    assert_eq!(bench.contents("f").expect("the rules keep the name"), b"");
    assert_eq!(bench.count(Counter::LyingSync), 2);
}

#[test]
fn a_full_disk_refuses_and_takes_again_after_a_removal() {
    let mut bench = Bench::with_rules(1, CrashRules::lose_all());
    bench.disk.capacity_bytes = Some(2 * 4096);
    let first = bench.create("first");
    bench.write_all(first, 0, &[1; 4096]);
    bench.disk.close(first);
    let second = bench.create("second");
    bench.write_all(second, 0, &[1; 4096]);
    let refused = bench
        .write(second, 4096, b"x")
        .expect_err("there is no room");
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    bench.write_all(second, 10, b"an overwrite takes no room");
    bench.remove("first");
    bench.write_all(second, 4096, b"x");
    assert_eq!(bench.count(Counter::NoSpace), 1);
}

#[test]
fn operations_fail_transfer_less_and_are_interrupted_as_told() {
    let mut bench = Bench::with_rules(1, CrashRules::lose_all());
    let file = bench.create("f");
    bench.write_all(file, 0, &[1; 100]);

    bench.disk.faults.short_write_probability = 1.0;
    assert!((1..100).contains(&bench.write(file, 0, &[2; 100]).expect("some are taken")));
    bench.disk.faults.short_read_probability = 1.0;
    assert!((1..100).contains(&bench.read(file).len()));
    assert_eq!(
        bench.count(Counter::ShortWrite) + bench.count(Counter::ShortRead),
        2
    );

    let before = bench.read(file)[0];
    bench.disk.faults.write_error_probability = 1.0;
    assert_eq!(
        bench.write(file, 0, &[9]).expect_err("EIO").raw_os_error(),
        Some(5)
    );
    assert_eq!(bench.read(file)[0], before, "nothing was written");
    bench.disk.faults.interrupt_probability = 1.0;
    assert_eq!(
        bench.write(file, 0, &[9]).expect_err("EINTR").kind(),
        io::ErrorKind::Interrupted
    );
    bench.disk.faults = DiskFaults {
        read_error_probability: 1.0,
        ..DiskFaults::none()
    };
    let error = bench
        .act(|disk, context| disk.read(context, file, 0, 1))
        .expect_err("EIO");
    assert_eq!(error.raw_os_error(), Some(5));
}

#[test]
fn bit_rot_stays_until_it_is_overwritten_and_a_read_flip_does_not() {
    let mut bench = Bench::with_rules(1, CrashRules::lose_all());
    let file = bench.create_durably("a.wal");
    bench.create_durably("b.txt");
    bench.write_all(file, 0, &[0; 64]);
    bench.sync(file).expect("nothing is at fault");

    bench.disk.faults.read_flip_probability = 1.0;
    assert_ne!(bench.read(file), [0; 64]);
    bench.disk.faults.read_flip_probability = 0.0;
    assert_eq!(bench.read(file), [0; 64]);

    bench.act(|disk, context| disk.rot(context, 1, ".wal"));
    let rotten = bench.read(file);
    assert_eq!(rotten.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    bench.crash();
    assert_eq!(
        bench.contents("a.wal").expect("its name is durable"),
        rotten
    );
    let file = bench.open("a.wal", OpenMode::ReadWrite).expect("it exists");
    bench.write_all(file, 0, &[0; 64]);
    assert_eq!(bench.read(file), [0; 64]);
    bench.act(|disk, context| disk.rot(context, 1, ".snap"));
    assert_eq!(bench.count(Counter::BitRot), 1);
}

#[test]
fn a_misdirected_write_leaves_its_target_and_hits_another_sector() {
    let mut bench = Bench::with_rules(7, CrashRules::lose_all());
    let file = bench.create("f");
    bench.write_all(file, 0, &[b'.'; 64 * 512]);
    bench.disk.faults.misdirected_write_probability = 1.0;
    bench.write_all(file, 5, b"x");
    let contents = bench.read(file);
    let hit = contents
        .iter()
        .position(|byte| *byte == b'x')
        .expect("it was written somewhere");
    assert_eq!(hit % 512, 5);
    assert_ne!(hit, 5, "this seed does not pick the right place by chance");
    assert_eq!(bench.count(Counter::MisdirectedWrite), 1);
}

#[test]
fn a_misdirected_read_returns_another_sector_once_and_changes_nothing() {
    let mut bench = Bench::with_rules(7, CrashRules::lose_all());
    let file = bench.create("f");
    let sectors: Vec<u8> = (0..64).flat_map(|sector| [sector; 512]).collect();
    bench.write_all(file, 0, &sectors);
    let first = |bench: &mut Bench| bench.act(|disk, context| disk.read(context, file, 0, 1));
    bench.disk.faults.misdirected_read_probability = 1.0;
    let wrong = first(&mut bench).expect("it says nothing of it");
    assert_ne!(
        wrong,
        [0],
        "this seed does not pick the right place by chance"
    );
    bench.disk.faults.misdirected_read_probability = 0.0;
    assert_eq!(first(&mut bench).expect("as it is"), [0]);
    assert_eq!(bench.count(Counter::MisdirectedRead), 1);
}

/// When an operation that begins at time 0 takes effect, in ns.
fn ends_at(bench: &mut Bench, operation: DiskOperation) -> u64 {
    let completion = bench.act(|disk, context| disk.completion(context, operation));
    let mut now_ns = 0;
    while let Some(later_ns) = bench.disk.wait_ns(completion, now_ns) {
        now_ns = later_ns;
    }
    now_ns
}

#[test]
fn a_throttled_disk_passes_its_bytes_per_second_and_no_more() {
    let mut bench = Bench::with_rules(1, CrashRules::lose_all());
    let file = bench.create("f");
    bench.disk.faults.write_latency = Latency::ZERO;
    bench.disk.faults.sync_latency = Latency::ZERO;
    bench.write_all(file, 0, &[1; 3_000]);
    assert_eq!(
        ends_at(&mut bench, DiskOperation::Sync),
        0,
        "there is no limit"
    );
    bench.disk.faults.throttle_bytes_per_s = 1_000;
    bench.write_all(file, 0, &[2; 3_000]);
    assert_eq!(ends_at(&mut bench, DiskOperation::Sync), 3_000_000_000);
    assert_eq!(bench.count(Counter::Throttled), 1);
}

#[test]
fn what_waits_for_a_throttled_disk_goes_on_at_its_new_rate() {
    let throttled = |throttle_bytes_per_s| DiskFaults {
        throttle_bytes_per_s,
        ..DiskFaults::none()
    };
    for (bytes_per_s, takes_ns) in [(2_000, 2_000_000_000), (500, 5_000_000_000), (0, 0)] {
        let mut bench = Bench::with_rules(1, CrashRules::lose_all());
        let file = bench.create("f");
        bench.disk.set_faults(throttled(1_000), 0);
        bench.write_all(file, 0, &[2; 3_000]);
        let sync = bench.act(|disk, context| disk.completion(context, DiskOperation::Sync));
        // What is given later is behind it.
        bench.write_all(file, 0, &[2; 5_000]);
        let changed_at_ns = 1_000_000_000;
        bench.disk.set_faults(throttled(bytes_per_s), changed_at_ns);
        let mut now_ns = changed_at_ns;
        while let Some(later_ns) = bench.disk.wait_ns(sync, now_ns) {
            now_ns = later_ns;
        }
        assert_eq!(now_ns, changed_at_ns.max(takes_ns), "{bytes_per_s}");
    }
}

#[test]
fn a_latency_has_its_distribution_and_a_stall_holds_everything() {
    let mut bench = Bench::with_rules(1, CrashRules::lose_all());
    bench.disk.faults.sync_latency = Latency::new(1_000, 0);
    bench.disk.faults.read_latency = Latency::new(10, 0);
    assert_eq!(ends_at(&mut bench, DiskOperation::Sync), 1_000_000);
    assert_eq!(ends_at(&mut bench, DiskOperation::Read), 10_000);
    bench.disk.stalled_until_ns = 7_000_000;
    assert_eq!(ends_at(&mut bench, DiskOperation::Read), 7_000_000);
    assert_eq!(bench.count(Counter::DiskStall), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Write { offset: u16, length: u16, byte: u8 },
    SetLength(u16),
    Sync,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..9_000u16, 1..3_000u16, 1..=255u8)
            .prop_map(|(offset, length, byte)| Step::Write { offset, length, byte }),
        1 => (0..12_000u16).prop_map(Step::SetLength),
        1 => Just(Step::Sync),
    ]
}

proptest! {
    /// Whatever the rules, a byte that was synchronised and not written to since is
    /// what it was, and a byte that was is old, new, zero, or garbage of a torn sector.
    #[test]
    fn a_crash_never_touches_what_was_synchronised_and_left_alone(
        steps in prop::collection::vec(step(), 1..30),
        seed in any::<u64>(),
        tear_sectors in any::<bool>(),
    ) {
        let torn_sector_probability = if tear_sectors { 0.3 } else { 0.0 };
        let rules = CrashRules { torn_sector_probability, ..CrashRules::harsh() };
        let mut bench = Bench::with_rules(seed, rules);
        let file = bench.create_durably("f");
        // For each byte: what it may be. `None` stands for the end of the file.
        let mut possible: Vec<Vec<Option<u8>>> = vec![vec![None]; 12_001];
        let mut present: Vec<Option<u8>> = vec![None; 12_001];
        for step in steps {
            match step {
                Step::Write { offset, length, byte } => {
                    bench.write_all(file, u64::from(offset), &vec![byte; usize::from(length)]);
                    let (start, end) = (usize::from(offset), usize::from(offset) + usize::from(length));
                    for (at, byte_now) in present.iter_mut().enumerate().take(end) {
                        let value = if at >= start { Some(byte) } else { Some(byte_now.unwrap_or(0)) };
                        // Garbage can hit what is overwritten by the same byte, too.
                        if *byte_now != value || at >= start {
                            *byte_now = value;
                            possible[at].extend([value, Some(0)]);
                        }
                    }
                }
                Step::SetLength(length) => {
                    let applied = bench.act(|disk, context| disk.set_len(context, file, u64::from(length)));
                    prop_assert!(applied.is_ok());
                    for (at, byte_now) in present.iter_mut().enumerate() {
                        let value = (at < usize::from(length)).then(|| byte_now.unwrap_or(0));
                        if *byte_now != value {
                            *byte_now = value;
                            possible[at].extend([value, Some(0), None]);
                        }
                    }
                }
                Step::Sync => {
                    prop_assert!(bench.sync(file).is_ok());
                    for (at, byte_now) in present.iter().enumerate() {
                        possible[at] = vec![*byte_now];
                    }
                }
            }
        }
        let expected: Vec<u8> = present.iter().map_while(|byte| *byte).collect();
        prop_assert_eq!(bench.read(file), expected);
        bench.crash();
        let left = bench.contents("f");
        prop_assert!(left.is_some());
        let left = left.unwrap_or_default();
        for (at, possible) in possible.iter().enumerate() {
            let found = left.get(at).copied();
            let settled = possible.len() == 1;
            if settled || !tear_sectors {
                prop_assert!(possible.contains(&found), "byte {}: {:?} of {:?}", at, found, possible);
            }
        }
    }
}

/// A file of 4 KiB, each sector of 512 bytes with a letter of its own, and zeros behind it.
fn lettered(bench: &mut Bench) -> Vec<u8> {
    let file = bench.create_durably("a.wal");
    let letters: Vec<u8> = (0..8u8).flat_map(|sector| [b'a' + sector; 512]).collect();
    bench.write_all(file, 0, &[&letters[..], &[0; 4096]].concat());
    bench.sync(file).expect("nothing is at fault");
    bench.disk.close(file);
    letters
}

/// What is left of the letters after a damage and a loss of power, and how often it counted.
fn damaged(seed: u64, damage: Damage, kept: bool, counter: Counter) -> (Vec<u8>, u64) {
    let mut bench = Bench::with_rules(seed, CrashRules::lose_all());
    let letters = lettered(&mut bench);
    let image = bench.disk.snapshot();
    let file = bench.open("a.wal", OpenMode::ReadWrite).expect("it exists");
    let newer: Vec<u8> = letters.iter().map(|letter| letter - 32).collect();
    bench.write_all(file, 0, &newer);
    bench.sync(file).expect("nothing is at fault");
    let used = bench.disk.used_bytes();
    bench.act(|disk, context| disk.decay(context, damage, ".wal", kept.then_some(&image)));
    bench.act(|disk, context| disk.decay(context, damage, ".snap", None));
    assert_eq!(bench.disk.used_bytes(), used);
    let shown = bench.read(file);
    bench.crash();
    let left = bench.contents("a.wal").expect("its name is durable");
    assert_eq!(left, shown, "the page cache and the medium decay alike");
    assert_eq!(left[4096..], [0; 4096], "nobody would notice it there");
    let differing = left[..4096].iter().zip(&newer).filter(|(a, b)| a != b);
    assert_eq!(differing.count() > 0, bench.count(counter) > 0);
    (left[..4096].to_vec(), bench.count(counter))
}

#[test]
fn a_byte_decays_to_each_of_the_values_that_are_told() {
    for (becomes, allowed) in [
        (DamagedByte::Zero, vec![0]),
        (DamagedByte::Ones, vec![0xff]),
        (DamagedByte::Neighbour, (b'A'..=b'H').collect()),
        (DamagedByte::OneMore, (b'B'..=b'I').collect()),
        (DamagedByte::OneLess, (b'@'..=b'G').collect()),
    ] {
        for seed in 0..40 {
            let damage = Damage::Byte { becomes };
            let (left, count) = damaged(seed, damage, false, Counter::DamagedByte);
            let changed: Vec<(usize, u8)> = (left.iter().copied().enumerate())
                .filter(|(at, byte)| *byte != b'A' + (at / 512) as u8)
                .collect();
            assert_eq!(changed.len() as u64, count);
            assert!(changed.iter().all(|(_, byte)| allowed.contains(byte)));
        }
    }
}

#[test]
fn ranges_become_zeros_take_each_others_place_or_become_what_they_were() {
    let bytes = 512;
    let sectors = |left: &[u8]| -> Vec<u8> {
        let sectors = left.chunks(512);
        sectors
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]));
                sector[0]
            })
            .collect()
    };
    let mut exchanged = 0;
    for seed in 0..40 {
        let (left, count) = damaged(seed, Damage::Zeros { bytes }, false, Counter::ZeroedRange);
        let zeros = sectors(&left).iter().filter(|sector| **sector == 0).count();
        assert_eq!((zeros, count), (1, 1));
        let damage = Damage::Exchange { bytes };
        let (left, count) = damaged(seed, damage, false, Counter::ExchangedRange);
        exchanged += count;
        let mut sorted = sectors(&left);
        sorted.sort_unstable();
        assert_eq!(sorted, *b"ABCDEFGH");
        let damage = Damage::OlderGeneration { bytes };
        let (left, count) = damaged(seed, damage, true, Counter::OlderGeneration);
        let older = sectors(&left)
            .iter()
            .filter(|sector| sector.is_ascii_lowercase())
            .count();
        assert_eq!((older, count), (1, 1));
        let (left, count) = damaged(seed, damage, false, Counter::OlderGeneration);
        assert_eq!((&sectors(&left)[..], count), (&b"ABCDEFGH"[..], 0));
    }
    assert!(exchanged > 40, "{exchanged}");
}
