//! What is kept of keys that nobody is using: their value, packed.
//!
//! Keys and values that are numbers take sixteen bytes and a little free room; tables
//! are many and small, so that the one that grows never costs much at once. Keys that
//! hold their initial value take nothing.

use rustc_hash::FxHashMap;
use veridical_histories::object::Value;

/// How many tables there are.
const TABLES: usize = 256;
/// The key of an empty entry.
const FREE: i64 = i64::MIN;
/// How many entries a table has room for at first.
const CAPACITY_MIN: usize = 16;

/// One small open-addressed table of numbers, linear probing.
#[derive(Debug, Default)]
struct Table {
    /// Key and value; the key is [`FREE`] where there is none.
    entries: Vec<(i64, i64)>,
    used: usize,
}

fn hash(key: i64) -> u64 {
    // Fibonacci hashing, the upper bits folded in.
    let hash = (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ hash >> 32
}

impl Table {
    fn home(&self, key: i64) -> usize {
        // The lower eight bits chose the table.
        ((u128::from(hash(key) >> 8 << 8) * self.entries.len() as u128) >> 64) as usize
    }

    /// Where `key` is, or where it would go.
    fn find(&self, key: i64) -> Option<usize> {
        let mut at = self.home(key);
        loop {
            match self.entries.get(at)? {
                (found, _) if *found == key || *found == FREE => return Some(at),
                _ => {
                    at = if at + 1 == self.entries.len() {
                        0
                    } else {
                        at + 1
                    }
                }
            }
        }
    }

    fn get(&self, key: i64) -> Option<i64> {
        let (found, value) = self.entries[self.find(key)?];
        (found == key).then_some(value)
    }

    fn set(&mut self, key: i64, value: i64) {
        if let Some(at) = self.find(key)
            && self.entries[at].0 == key
        {
            self.entries[at].1 = value;
            return;
        }
        // A table is at most 15/16 full.
        if (self.used + 1) * 16 > self.entries.len() * 15 {
            let capacity = (self.entries.len() * 5 / 4).max(CAPACITY_MIN);
            let old = std::mem::replace(&mut self.entries, vec![(FREE, 0); capacity]);
            for (key, value) in old.into_iter().filter(|(key, _)| *key != FREE) {
                let at = self.find(key).expect("a larger table has room");
                self.entries[at] = (key, value);
            }
        }
        let at = self.find(key).expect("the table has room");
        self.entries[at] = (key, value);
        self.used += 1;
    }

    fn remove(&mut self, key: i64) {
        let Some(mut hole) = self.find(key) else {
            return;
        };
        if self.entries[hole].0 == FREE {
            return;
        }
        self.used -= 1;
        // Moves up what was pushed past the hole, so that probing needs no tombstones.
        let length = self.entries.len();
        let mut at = hole;
        loop {
            at = if at + 1 == length { 0 } else { at + 1 };
            let (key, _) = self.entries[at];
            if key == FREE {
                break;
            }
            let home = self.home(key);
            let distance = |from: usize, to: usize| (to + length - from) % length;
            if distance(home, at) >= distance(hole, at) {
                self.entries[hole] = self.entries[at];
                hole = at;
            }
        }
        self.entries[hole] = (FREE, 0);
    }
}

/// Values of idle keys.
#[derive(Debug)]
pub(super) struct IdleKeys {
    numbers: Vec<Table>,
    others: FxHashMap<Value, Value>,
    /// Estimated bytes held by `others` beyond its table.
    others_bytes: usize,
}

impl IdleKeys {
    pub fn new() -> Self {
        Self {
            numbers: (0..TABLES).map(|_| Table::default()).collect(),
            others: FxHashMap::default(),
            others_bytes: 0,
        }
    }

    fn table(key: i64) -> usize {
        hash(key) as usize % TABLES
    }

    /// The value of `key`; `None` where it holds its initial value.
    pub fn get(&self, key: &Value) -> Option<Value> {
        if let Value::Int(number) = key
            && let Some(value) = self.numbers[Self::table(*number)].get(*number)
        {
            return Some(Value::Int(value));
        }
        if self.others.is_empty() {
            None
        } else {
            self.others.get(key).cloned()
        }
    }

    /// `key` holds `value`, which is not its initial value.
    pub fn set(&mut self, key: &Value, value: Value) {
        match (key, &value) {
            (Value::Int(number), Value::Int(value)) if *number != FREE => {
                self.numbers[Self::table(*number)].set(*number, *value);
                self.forget_other(key);
            }
            _ => {
                self.forget_number(key);
                self.others_bytes += heap_bytes(key) + heap_bytes(&value);
                if let Some(before) = self.others.insert(key.clone(), value) {
                    self.others_bytes -= heap_bytes(key) + heap_bytes(&before);
                }
            }
        }
    }

    /// `key` holds its initial value.
    pub fn remove(&mut self, key: &Value) {
        self.forget_number(key);
        self.forget_other(key);
    }

    fn forget_number(&mut self, key: &Value) {
        if let Value::Int(number) = key
            && *number != FREE
        {
            self.numbers[Self::table(*number)].remove(*number);
        }
    }

    fn forget_other(&mut self, key: &Value) {
        if !self.others.is_empty()
            && let Some(before) = self.others.remove(key)
        {
            self.others_bytes -= heap_bytes(key) + heap_bytes(&before);
        }
    }

    /// Keys that hold something else than their initial value.
    pub fn len(&self) -> usize {
        self.numbers.iter().map(|table| table.used).sum::<usize>() + self.others.len()
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        let numbers: usize = self
            .numbers
            .iter()
            .map(|table| table.entries.capacity() * 16)
            .sum();
        numbers + self.others.capacity() * 56 + self.others_bytes
    }

    /// Which part of the whole a key belongs to; parts are taken out one by one.
    pub fn part(key: &Value) -> usize {
        match key {
            Value::Int(number) => Self::table(*number),
            Value::Nil | Value::Text(_) | Value::List(_) => TABLES,
        }
    }

    /// How many parts there are.
    pub const PARTS: usize = TABLES + 1;

    /// Takes a part out, in order of key.
    pub fn take_part(&mut self, part: usize) -> Vec<(Value, Value)> {
        let is_in_part = |key: &Value| Self::part(key) == part;
        let mut entries: Vec<(Value, Value)> = if self.others.is_empty() {
            Vec::new()
        } else {
            self.others.extract_if(|key, _| is_in_part(key)).collect()
        };
        for (key, value) in &entries {
            self.others_bytes -= heap_bytes(key) + heap_bytes(value);
        }
        if let Some(table) = self.numbers.get_mut(part) {
            let numbers = std::mem::take(table).entries.into_iter();
            entries.extend(
                numbers
                    .filter(|(key, _)| *key != FREE)
                    .map(|(key, value)| (Value::Int(key), Value::Int(value))),
            );
        } else {
            self.others.shrink_to_fit();
        }
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        entries
    }
}

/// Bytes a value holds outside itself.
pub(super) fn heap_bytes(value: &Value) -> usize {
    match value {
        Value::Nil | Value::Int(_) => 0,
        Value::Text(text) => 16 + text.len(),
        Value::List(values) => {
            16 + values
                .iter()
                .map(|value| 24 + heap_bytes(value))
                .sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use veridical_histories::random::Random;

    #[test]
    fn it_behaves_like_a_map() {
        let mut random = Random::new(1);
        let mut idle = IdleKeys::new();
        let mut map: BTreeMap<Value, Value> = BTreeMap::new();
        for _ in 0..200_000 {
            let key = match random.below(5) {
                0 => Value::text(&random.below(50).to_string()),
                _ => Value::Int(random.below(5_000) as i64 - 2_500),
            };
            match random.below(4) {
                0 => {
                    idle.remove(&key);
                    map.remove(&key);
                }
                1 => assert_eq!(idle.get(&key), map.get(&key).cloned()),
                _ => {
                    let value = match random.below(9) {
                        0 => Value::text("x"),
                        _ => Value::Int(random.next_u64() as i64),
                    };
                    idle.set(&key, value.clone());
                    map.insert(key, value);
                }
            }
            assert_eq!(idle.len(), map.len());
        }
        let mut drained: Vec<(Value, Value)> = (0..IdleKeys::PARTS)
            .flat_map(|part| idle.take_part(part))
            .collect();
        drained.sort();
        assert_eq!(drained, map.into_iter().collect::<Vec<_>>());
        assert_eq!(idle.len(), 0);
    }

    #[test]
    fn a_million_numbers_take_less_than_24_bytes_each() {
        let mut idle = IdleKeys::new();
        (0..1_000_000).for_each(|key| idle.set(&Value::Int(key), Value::Int(key)));
        assert!(idle.bytes() < 24_000_000, "{}", idle.bytes());
    }
}
