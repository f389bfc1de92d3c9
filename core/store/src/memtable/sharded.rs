//! The table in many maps, each behind its own lock.

use bytes::Bytes;
use parking_lot::RwLock;

use super::{
    Map, Memtable, PutWrite, Trimmed, Visit, Written, map_delete, map_load, map_put, map_trim,
    map_visit, map_with_history,
};
use crate::history::{KeyHistory, Version};
use crate::key_range::{KeyRange, RangeEnd};
use crate::siphash::siphash13;

/// Keys spread by a keyed hash over maps with a lock each, so that readers and the writer
/// rarely meet, and clients who do not know the key of the hash cannot make them meet.
#[derive(Debug)]
pub struct ShardedMemtable {
    shards: Box<[Shard]>,
    hash_key: (u64, u64),
}

/// On cache lines of its own: a lock word that is written by one core must not slow down
/// the readers of its neighbour.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    map: RwLock<Map>,
}

impl ShardedMemtable {
    /// An empty table of `shards` maps, spread by a hash whose key comes from `hash_seed`.
    ///
    /// # Panics
    /// If `shards` is 0.
    pub fn new(shards: usize, hash_seed: u64) -> Self {
        assert!(shards > 0, "a table needs at least one shard");
        let hash_key = (
            siphash13((hash_seed, 0), b"shard key, first half"),
            siphash13((hash_seed, 0), b"shard key, second half"),
        );
        Self {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            hash_key,
        }
    }

    fn shard_index(&self, key: &[u8]) -> usize {
        // Multiply-shift: the high bits choose, without a division.
        let hash = siphash13(self.hash_key, key);
        ((u128::from(hash) * self.shards.len() as u128) >> 64) as usize
    }

    fn shard(&self, key: &[u8]) -> &RwLock<Map> {
        &self.shards[self.shard_index(key)].map
    }
}

impl Memtable for ShardedMemtable {
    fn put(&self, key: &[u8], write: &PutWrite<'_>) -> Written {
        map_put(&mut self.shard(key).write(), key, write)
    }

    fn delete(&self, key: &[u8], revision: i64, sub_revision: i64) -> Option<Written> {
        map_delete(&mut self.shard(key).write(), key, revision, sub_revision)
    }

    fn load(&self, key: &[u8], version: Version) -> Bytes {
        map_load(&mut self.shard(key).write(), key, version)
    }

    fn with_history(&self, key: &[u8], visit: &mut dyn FnMut(&Bytes, &KeyHistory)) {
        map_with_history(&self.shard(key).read(), key, visit);
    }

    fn trim(&self, key: &[u8], floor: i64) -> Trimmed {
        map_trim(&mut self.shard(key).write(), key, floor)
    }

    fn partitions(&self) -> usize {
        self.shards.len()
    }

    fn visit(&self, partition: usize, range: &KeyRange, visit: &mut Visit<'_>) {
        if range.end == RangeEnd::Single && self.shard_index(&range.start) != partition {
            return;
        }
        map_visit(&self.shards[partition].map.read(), range, visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occupancy(table: &ShardedMemtable, keys: impl Iterator<Item = Vec<u8>>) -> Vec<usize> {
        let mut counts = vec![0; table.shards.len()];
        for key in keys {
            counts[table.shard_index(&key)] += 1;
        }
        counts
    }

    #[test]
    fn keys_spread_evenly_over_shards() {
        let table = ShardedMemtable::new(64, 7);
        let counts = occupancy(&table, (0..64_000u32).map(|key| key.to_string().into()));
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn keys_that_flood_one_shard_under_one_seed_spread_under_another() {
        let known = ShardedMemtable::new(64, 1);
        let flood: Vec<Vec<u8>> = (0..400_000u32)
            .map(|key| key.to_string().into_bytes())
            .filter(|key| known.shard_index(key) == 0)
            .collect();
        assert!(flood.len() > 5000);
        let counts = occupancy(&ShardedMemtable::new(64, 2), flood.iter().cloned());
        let even = flood.len() / 64;
        assert!(counts.iter().all(|count| *count < even * 2), "{counts:?}");
    }
}
