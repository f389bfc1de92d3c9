//! How many different keys a history has.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashSet, FxHasher};
use veridical_histories::object::Value;

/// Keys up to which the count is exact.
const EXACT_MAX: usize = 1 << 12;
/// Keys remembered as counted.
const RECENT: usize = 2048;
/// Registers of the estimate beyond (HyperLogLog, Flajolet et al. 2007): about 0.8 % off.
const REGISTERS: usize = 1 << 14;

/// Counts different keys: exactly while they are few, else as an estimate.
#[derive(Debug, Default)]
pub(super) struct KeyCounter {
    /// Keys counted lately, so that the frequent ones cost nothing.
    recent: Vec<u64>,
    exact: FxHashSet<u64>,
    registers: Vec<u8>,
}

impl KeyCounter {
    #[inline]
    pub fn count(&mut self, key: &Value) {
        let hash = if let Value::Int(number) = key {
            mix(*number as u64)
        } else {
            let mut hasher = FxHasher::default();
            key.hash(&mut hasher);
            mix(hasher.finish())
        };
        if self.recent.is_empty() {
            self.recent = vec![0; RECENT];
        }
        let recent = &mut self.recent[(hash >> 40) as usize % RECENT];
        if *recent == hash && hash != 0 {
            return;
        }
        *recent = hash;
        if self.registers.is_empty() {
            self.exact.insert(hash);
            if self.exact.len() > EXACT_MAX {
                self.registers = vec![0; REGISTERS];
                for hash in std::mem::take(&mut self.exact) {
                    self.register(hash);
                }
            }
        } else {
            self.register(hash);
        }
    }

    #[inline]
    fn register(&mut self, hash: u64) {
        let register = &mut self.registers[hash as usize % REGISTERS];
        let rank = ((hash / REGISTERS as u64) | (1 << 50)).trailing_zeros() as u8 + 1;
        *register = rank.max(*register);
    }

    /// The number of different keys so far.
    pub fn estimate(&self) -> u64 {
        if self.registers.is_empty() {
            return self.exact.len() as u64;
        }
        let count = REGISTERS as f64;
        let sum: f64 = self
            .registers
            .iter()
            .map(|rank| (-f64::from(*rank)).exp2())
            .sum();
        let estimate = 0.7213 / (1.0 + 1.079 / count) * count * count / sum;
        let empty = self.registers.iter().filter(|rank| **rank == 0).count();
        if estimate <= 2.5 * count && empty > 0 {
            (count * (count / empty as f64).ln()) as u64
        } else {
            estimate as u64
        }
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_keys_are_counted_exactly_and_many_to_within_three_percent() {
        for keys in [10, 4_000, 20_000, 100_000, 1_000_000i64] {
            let mut counter = KeyCounter::default();
            for _ in 0..2 {
                (0..keys).for_each(|key| counter.count(&Value::Int(key)));
            }
            let error = (counter.estimate() as f64 / keys as f64 - 1.0).abs();
            assert!(
                error < if keys <= 4_000 { 1e-9 } else { 0.03 },
                "{keys}: {error}"
            );
        }
    }
}
