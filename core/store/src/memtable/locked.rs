//! The table in one map behind one lock.

use bytes::Bytes;
use parking_lot::RwLock;

use super::{
    Map, Memtable, PutWrite, Trimmed, Visit, Written, map_delete, map_load, map_put, map_trim,
    map_visit, map_with_history,
};
use crate::history::{KeyHistory, Version};
use crate::key_range::KeyRange;

/// One map behind one lock: so plain that it is the measure for the sharded form, in
/// correctness and in speed.
#[derive(Debug, Default)]
pub struct LockedMemtable {
    map: RwLock<Map>,
}

impl LockedMemtable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Memtable for LockedMemtable {
    fn put(&self, key: &[u8], write: &PutWrite<'_>) -> Written {
        map_put(&mut self.map.write(), key, write)
    }

    fn delete(&self, key: &[u8], revision: i64, sub_revision: i64) -> Option<Written> {
        map_delete(&mut self.map.write(), key, revision, sub_revision)
    }

    fn load(&self, key: &[u8], version: Version) -> Bytes {
        map_load(&mut self.map.write(), key, version)
    }

    fn with_history(&self, key: &[u8], visit: &mut dyn FnMut(&Bytes, &KeyHistory)) {
        map_with_history(&self.map.read(), key, visit);
    }

    fn trim(&self, key: &[u8], floor: i64) -> Trimmed {
        map_trim(&mut self.map.write(), key, floor)
    }

    fn partitions(&self) -> usize {
        1
    }

    fn visit(&self, partition: usize, range: &KeyRange, visit: &mut Visit<'_>) {
        assert_eq!(partition, 0, "there is only one partition");
        map_visit(&self.map.read(), range, visit);
    }
}
