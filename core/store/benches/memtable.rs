//! The sharded table against its single-lock twin and against a concurrent skip list,
//! behind the same trait: mixed reads and writes, and writes alone, on one and two threads.
//!
//! `cargo bench -p veridical-store --bench memtable`

use std::ops::Bound;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use crossbeam_skiplist::SkipMap;
use divan::counter::ItemsCount;
use parking_lot::{Mutex, RwLock};
use veridical_store::{
    KeyHistory, KeyRange, Live, LockedMemtable, Memtable, NEWEST, PutWrite, ShardedMemtable,
    Trimmed, Version, Visit, Written, select,
};

const KEYS: u64 = 100_000;
const OPERATIONS: u64 = 1_000;
/// Writers at a time: each has keys of its own, since a key has one writer.
const WRITERS: u64 = 4;

fn main() {
    divan::main();
}

/// A map by a well-known crate, with a lock for each key's history. Nothing is ever
/// removed from it, since a history that becomes empty cannot be taken out atomically.
#[derive(Debug, Default)]
struct SkipListMemtable {
    map: SkipMap<Bytes, RwLock<Option<KeyHistory>>>,
}

impl SkipListMemtable {
    fn append(&self, key: &[u8], make: impl FnOnce(Option<&Version>) -> Version) -> Written {
        let entry = match self.map.get(key) {
            Some(entry) => entry,
            None => self
                .map
                .get_or_insert(Bytes::copy_from_slice(key), RwLock::new(None)),
        };
        let mut history = entry.value().write();
        let previous = history.as_ref().and_then(|history| history.live().cloned());
        let version = make(previous.as_ref());
        let added_bytes = version.size_bytes();
        match history.as_mut() {
            Some(history) => history.append(version),
            None => *history = Some(KeyHistory::new(version)),
        }
        Written {
            key: entry.key().clone(),
            previous,
            added_bytes,
        }
    }
}

impl Memtable for SkipListMemtable {
    fn put(&self, key: &[u8], write: &PutWrite<'_>) -> Written {
        self.append(key, |previous| write.version(previous))
    }

    fn delete(&self, key: &[u8], revision: i64, sub_revision: i64) -> Option<Written> {
        self.get(key, NEWEST)?;
        Some(self.append(key, |_| Version {
            mod_revision: revision,
            sub_revision,
            put: None,
        }))
    }

    fn load(&self, key: &[u8], version: Version) -> Bytes {
        self.append(key, |_| version).key
    }

    fn with_history(&self, key: &[u8], visit: &mut dyn FnMut(&Bytes, &KeyHistory)) {
        if let Some(entry) = self.map.get(key)
            && let Some(history) = entry.value().read().as_ref()
        {
            visit(entry.key(), history);
        }
    }

    fn trim(&self, key: &[u8], floor: i64) -> Trimmed {
        if let Some(entry) = self.map.get(key) {
            let mut history = entry.value().write();
            let retained = history
                .as_ref()
                .map_or(&[][..], |history| history.retained(floor, NEWEST))
                .to_vec();
            let mut versions = retained.into_iter();
            *history = versions.next().map(KeyHistory::new);
            for version in versions {
                history.as_mut().expect("a first version").append(version);
            }
        }
        Trimmed::default()
    }

    fn partitions(&self) -> usize {
        1
    }

    fn visit(&self, _: usize, range: &KeyRange, visit: &mut Visit<'_>) {
        let Some((start, end)) = range.bounds() else {
            return;
        };
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (start, end);
        for entry in self.map.range::<[u8], _>(bounds) {
            if let Some(history) = entry.value().read().as_ref()
                && visit(entry.key(), history).is_break()
            {
                return;
            }
        }
    }
}

/// A table with every key, and what the threads share.
struct Bench {
    table: Box<dyn Memtable>,
    revision: AtomicI64,
    free_writers: Mutex<Vec<u64>>,
}

impl Bench {
    fn new(table: Box<dyn Memtable>) -> Self {
        let bench = Self {
            table,
            revision: AtomicI64::new(1),
            free_writers: Mutex::new((0..WRITERS).collect()),
        };
        for number in 0..KEYS {
            bench.put(number);
        }
        bench
    }

    fn next_revision(&self) -> i64 {
        self.revision.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn put(&self, number: u64) {
        let key = key(number);
        let revision = self.next_revision();
        let write = PutWrite {
            revision,
            sub_revision: 0,
            value: &[b'v'; 64],
            lease: 0,
        };
        divan::black_box(self.table.put(&key, &write));
        // Histories stay short, as under regular compaction.
        self.table.trim(&key, revision);
    }

    fn delete(&self, number: u64) {
        let key = key(number);
        divan::black_box(self.table.delete(&key, self.next_revision(), 0));
    }

    fn get(&self, number: u64) -> Option<Live> {
        self.table.get(&key(number), NEWEST)
    }

    /// About a hundred keys.
    fn range(&self, number: u64) {
        let start = key(number);
        let end = key(number + 100);
        let range = KeyRange::new(
            &Bytes::copy_from_slice(&start),
            &Bytes::copy_from_slice(&end),
        );
        divan::black_box(select(self.table.as_ref(), &range, NEWEST, usize::MAX));
    }

    /// Runs `operate` on random keys: one of all, and one that only this thread writes.
    fn run(&self, operate: impl Fn(&Self, u64, u64, u64)) {
        let writer = self.free_writers.lock().pop().expect("few threads");
        let mut random = writer.wrapping_add(self.next_revision() as u64);
        for _ in 0..OPERATIONS {
            random = splitmix(random);
            let any = random % KEYS;
            let own = any / WRITERS * WRITERS + writer;
            operate(self, splitmix(random) % 1001, any, own);
        }
        self.free_writers.lock().push(writer);
    }

    fn mixed(&self) {
        self.run(|bench, dice, any, own| match dice {
            0..958 => drop(divan::black_box(bench.get(any))),
            958..984 => bench.delete(own),
            984..993 => bench.put(own),
            _ => bench.range(any),
        });
    }

    fn writes(&self) {
        self.run(|bench, _, _, own| bench.put(own));
    }
}

fn key(number: u64) -> [u8; 12] {
    let mut key = *b"key/00000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn splitmix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A form of table under test.
trait Form {
    fn bench() -> &'static Bench;
}

macro_rules! form {
    ($name:ident, $table:expr) => {
        struct $name;

        impl Form for $name {
            fn bench() -> &'static Bench {
                static BENCH: LazyLock<Bench> = LazyLock::new(|| Bench::new(Box::new($table)));
                &BENCH
            }
        }
    };
}

form!(Sharded256, ShardedMemtable::new(256, 1));
form!(Sharded64, ShardedMemtable::new(64, 1));
form!(Sharded16, ShardedMemtable::new(16, 1));
form!(Locked, LockedMemtable::new());
form!(SkipList, SkipListMemtable::default());

#[divan::bench(types = [Sharded256, Sharded64, Sharded16, Locked, SkipList], threads = [1, 2], sample_size = 1, sample_count = 1000)]
fn mixed<F: Form>(bencher: divan::Bencher) {
    let bench = F::bench();
    bencher
        .counter(ItemsCount::new(OPERATIONS))
        .bench(|| bench.mixed());
}

#[divan::bench(types = [Sharded256, Sharded64, Sharded16, Locked, SkipList], threads = [1, 2], sample_size = 1, sample_count = 1000)]
fn writes<F: Form>(bencher: divan::Bencher) {
    let bench = F::bench();
    bencher
        .counter(ItemsCount::new(OPERATIONS))
        .bench(|| bench.writes());
}
