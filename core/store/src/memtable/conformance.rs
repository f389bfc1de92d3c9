//! Every form of table does the same, whatever its partitions.

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    KeyScan, LockedMemtable, Memtable, NEWEST, PutWrite, ShardedMemtable, map_delete, map_put,
    map_trim, select,
};
use crate::history::Version;
use crate::key_range::KeyRange;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    /// Compacts so many revisions before the present.
    Trim(u8, i64),
    /// Selects between two keys, so many revisions before the present, with a limit.
    Select(u8, u8, i64, usize),
    Scan(i64, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0u8..40;
    prop_oneof![
        6 => (key(), any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => key().prop_map(Step::Delete),
        1 => (key(), 0i64..30).prop_map(|(key, back)| Step::Trim(key, back)),
        2 => (key(), key(), 0i64..30, 0usize..50)
            .prop_map(|(start, end, back, limit)| Step::Select(start, end, back, limit)),
        1 => (0i64..30, 0i64..30).prop_map(|(floor, back)| Step::Scan(floor, back)),
    ]
}

fn key(number: u8) -> Bytes {
    Bytes::from(format!("key/{number}"))
}

/// The same as a table, said with one map and no cleverness.
#[derive(Default)]
struct Plain {
    map: super::Map,
}

impl Plain {
    fn select(&self, range: &KeyRange, revision: i64) -> Vec<(Bytes, i64)> {
        self.map
            .iter()
            .filter(|(key, _)| range.contains(key))
            .filter_map(|(key, history)| {
                let version = history.at(revision)?;
                version.put.as_ref()?;
                Some((key.clone(), version.mod_revision))
            })
            .collect()
    }

    fn scan(&self, floor: i64, revision: i64) -> Vec<(Bytes, Vec<Version>)> {
        self.map
            .iter()
            .map(|(key, history)| (key.clone(), history.retained(floor, revision).to_vec()))
            .filter(|(_, versions)| !versions.is_empty())
            .collect()
    }
}

fn run(table: &dyn Memtable, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut plain = Plain::default();
    let mut revision = 1;
    for step in steps {
        match *step {
            Step::Put(number, value) => {
                revision += 1;
                let write = PutWrite {
                    revision,
                    sub_revision: 0,
                    value: &[value],
                    lease: 0,
                };
                let expected = map_put(&mut plain.map, &key(number), &write);
                let written = table.put(&key(number), &write);
                prop_assert_eq!(written.previous, expected.previous);
                prop_assert_eq!(written.key, key(number));
                prop_assert_eq!(written.added_bytes, expected.added_bytes);
            }
            Step::Delete(number) => {
                revision += 1;
                let expected = map_delete(&mut plain.map, &key(number), revision, 0);
                let written = table.delete(&key(number), revision, 0);
                prop_assert_eq!(
                    written.map(|written| written.previous),
                    expected.map(|expected| expected.previous)
                );
            }
            Step::Trim(number, back) => {
                let floor = revision - back;
                let expected = map_trim(&mut plain.map, &key(number), floor);
                prop_assert_eq!(table.trim(&key(number), floor), expected);
            }
            Step::Select(start, end, back, limit) => {
                for range in [
                    KeyRange::new(&key(start), &key(end)),
                    KeyRange::new(&key(start), &Bytes::new()),
                    KeyRange::all(),
                ] {
                    for at in [revision - back, NEWEST] {
                        let expected = plain.select(&range, at);
                        let found = select(table, &range, at, limit);
                        prop_assert_eq!(found.count, expected.len());
                        let live: Vec<_> = found
                            .live
                            .into_iter()
                            .map(|live| (live.key, live.mod_revision))
                            .collect();
                        let first: Vec<_> = expected.into_iter().take(limit).collect();
                        prop_assert_eq!(live, first);
                    }
                }
            }
            Step::Scan(floor, back) => {
                let (floor, until) = (revision - floor, revision - back);
                let mut scan = KeyScan::new(table, floor, until);
                let scanned: Vec<_> = std::iter::from_fn(|| scan.next(table)).collect();
                prop_assert_eq!(scanned, plain.scan(floor, until));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(500)
    })]

    #[test]
    fn every_form_of_table_is_one_ordered_map(steps in prop::collection::vec(step(), 1..120)) {
        run(&LockedMemtable::new(), &steps)?;
        for shards in [1, 5, 64] {
            run(&ShardedMemtable::new(shards, 3), &steps)?;
        }
    }
}

#[test]
fn a_scan_goes_on_over_more_keys_than_it_reads_at_a_time() {
    for table in [
        Box::new(LockedMemtable::new()) as Box<dyn Memtable>,
        Box::new(ShardedMemtable::new(3, 0)),
    ] {
        let keys: Vec<String> = (0..1000).map(|number| format!("key/{number:04}")).collect();
        for (at, key) in keys.iter().enumerate() {
            let write = PutWrite {
                revision: at as i64 + 2,
                sub_revision: 0,
                value: b"v",
                lease: 0,
            };
            table.put(key.as_bytes(), &write);
        }
        let mut scan = KeyScan::new(table.as_ref(), -1, NEWEST);
        let scanned = std::iter::from_fn(|| scan.next(table.as_ref()));
        assert!(
            scanned
                .map(|(key, _)| key)
                .eq(keys.iter().map(String::as_str))
        );
    }
}
