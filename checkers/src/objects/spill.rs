//! Idle keys beyond the memory limit, on disk in sorted runs.
//!
//! A run is in order of part (see [`IdleKeys::part`]) and key, so that it can be written
//! part by part; it is written once and never changed. In memory stay, per run, one key of every
//! block and a Bloom filter (Bloom 1970) of ten bits a key, so that a key that is not
//! there costs no read in 99 of 100 cases. Newer runs count before older ones; when there
//! are too many they are merged.

use std::cmp::Reverse;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use itertools::Itertools;
use rustc_hash::FxHasher;
use veridical_histories::object::Value;

use super::idle::IdleKeys;

/// Entries of a block, which is read at once.
const BLOCK_ENTRIES: usize = 64;
/// Runs above which all are merged into one.
const RUNS_MAX: usize = 8;
const BLOOM_BITS_PER_KEY: usize = 10;
const BLOOM_PROBES: u64 = 6;

#[derive(Debug)]
struct Run {
    file: File,
    /// The first key of each block, and the place where it begins.
    blocks: Vec<(Value, u64)>,
    length: u64,
    bloom: Vec<u64>,
}

/// All runs, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Spill {
    runs: Vec<Run>,
}

/// Where a key stands in a run.
fn rank(key: &Value) -> (usize, &Value) {
    (IdleKeys::part(key), key)
}

fn hash(key: &Value) -> u64 {
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    let mut x = hasher.finish();
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ x >> 27
}

fn bloom_bits(bloom_words: usize, key: &Value) -> impl Iterator<Item = usize> + use<> {
    let hash = hash(key);
    let step = hash >> 32 | 1;
    let bits = bloom_words as u64 * 64;
    (0..BLOOM_PROBES).map(move |probe| (hash.wrapping_add(probe * step) % bits) as usize)
}

impl Run {
    fn may_hold(&self, key: &Value) -> bool {
        bloom_bits(self.bloom.len(), key).all(|bit| self.bloom[bit / 64] >> (bit % 64) & 1 == 1)
    }

    fn block(&mut self, block: usize) -> io::Result<Vec<(Value, Value)>> {
        let begin = self.blocks[block].1;
        let end = self
            .blocks
            .get(block + 1)
            .map_or(self.length, |(_, place)| *place);
        let mut bytes = vec![0; (end - begin) as usize];
        self.file.seek(SeekFrom::Start(begin))?;
        self.file.read_exact(&mut bytes)?;
        let mut rest = &bytes[..];
        let mut entries = Vec::with_capacity(BLOCK_ENTRIES);
        while !rest.is_empty() {
            let key = take(&mut rest).ok_or_else(damaged)?;
            entries.push((key, take(&mut rest).ok_or_else(damaged)?));
        }
        Ok(entries)
    }

    fn get(&mut self, key: &Value) -> io::Result<Option<Value>> {
        if !self.may_hold(key) {
            return Ok(None);
        }
        let after = self
            .blocks
            .partition_point(|(first, _)| rank(first) <= rank(key));
        let Some(block) = after.checked_sub(1) else {
            return Ok(None);
        };
        let entries = self.block(block)?;
        Ok(entries
            .into_iter()
            .find(|(found, _)| found == key)
            .map(|(_, value)| value))
    }
}

/// The entries of a run in their order, with the number of the run: newer runs have higher
/// ones.
struct RunEntries<'a> {
    run: &'a mut Run,
    age: usize,
    next_block: usize,
    block: std::vec::IntoIter<(Value, Value)>,
}

impl Iterator for RunEntries<'_> {
    type Item = io::Result<(usize, (Value, Value))>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.block.as_slice().is_empty() {
            if self.next_block == self.run.blocks.len() {
                return None;
            }
            match self.run.block(self.next_block) {
                Ok(block) => self.block = block.into_iter(),
                Err(error) => return Some(Err(error)),
            }
            self.next_block += 1;
        }
        self.block.next().map(|entry| Ok((self.age, entry)))
    }
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "a run of spilled keys is damaged",
    )
}

impl Spill {
    /// Whether nothing was ever moved to disk.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// What the newest run that has `key` says.
    pub fn get(&mut self, key: &Value) -> io::Result<Option<Value>> {
        for run in self.runs.iter_mut().rev() {
            if let Some(value) = run.get(key)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Moves all idle keys to disk, part by part.
    pub fn push(&mut self, idle: &mut IdleKeys) -> io::Result<()> {
        let mut run = RunWriter::begin(idle.len())?;
        for part in 0..IdleKeys::PARTS {
            idle.take_part(part)
                .iter()
                .try_for_each(|entry| run.push(entry))?;
        }
        self.runs.push(run.end()?);
        if self.runs.len() > RUNS_MAX {
            self.merge()
        } else {
            Ok(())
        }
    }

    /// Merges all runs into one that holds the newest entry of each key.
    fn merge(&mut self) -> io::Result<()> {
        let mut runs = std::mem::take(&mut self.runs);
        let blocks: usize = runs.iter().map(|run| run.blocks.len()).sum();
        // No key is looked up meanwhile.
        runs.iter_mut().for_each(|run| run.bloom = Vec::new());
        let mut merged = RunWriter::begin(blocks * BLOCK_ENTRIES)?;
        let entries = runs.iter_mut().enumerate().map(|(age, run)| RunEntries {
            run,
            age,
            next_block: 0,
            block: Vec::new().into_iter(),
        });
        // Of equal keys the one of the newest run comes first.
        let entries = entries.kmerge_by(|a, b| match (a, b) {
            (Err(_), _) => true,
            (Ok(_), Err(_)) => false,
            (Ok((a_age, a)), Ok((b_age, b))) => {
                (rank(&a.0), Reverse(a_age)) < (rank(&b.0), Reverse(b_age))
            }
        });
        let mut last: Option<Value> = None;
        for entry in entries {
            let (_, entry) = entry?;
            if last.as_ref() != Some(&entry.0) {
                merged.push(&entry)?;
                last = Some(entry.0);
            }
        }
        self.runs.push(merged.end()?);
        Ok(())
    }

    /// Bytes held in memory, estimated.
    pub fn bytes(&self) -> usize {
        self.runs
            .iter()
            .map(|run| run.bloom.capacity() * 8 + run.blocks.capacity() * 32)
            .sum()
    }
}

/// A run that is written entry by entry.
struct RunWriter {
    sink: BufWriter<File>,
    blocks: Vec<(Value, u64)>,
    length: u64,
    entries: usize,
    bloom: Vec<u64>,
    buffer: Vec<u8>,
}

impl RunWriter {
    fn begin(keys_max: usize) -> io::Result<Self> {
        Ok(Self {
            sink: BufWriter::new(tempfile::tempfile()?),
            blocks: Vec::new(),
            length: 0,
            entries: 0,
            bloom: vec![0; (keys_max * BLOOM_BITS_PER_KEY).div_ceil(64).max(1)],
            buffer: Vec::new(),
        })
    }

    fn push(&mut self, (key, value): &(Value, Value)) -> io::Result<()> {
        if self.entries.is_multiple_of(BLOCK_ENTRIES) {
            self.blocks.push((key.clone(), self.length));
        }
        for bit in bloom_bits(self.bloom.len(), key) {
            self.bloom[bit / 64] |= 1 << (bit % 64);
        }
        self.buffer.clear();
        put(&mut self.buffer, key);
        put(&mut self.buffer, value);
        self.sink.write_all(&self.buffer)?;
        self.length += self.buffer.len() as u64;
        self.entries += 1;
        Ok(())
    }

    fn end(self) -> io::Result<Run> {
        let file = self
            .sink
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        Ok(Run {
            file,
            blocks: self.blocks,
            length: self.length,
            bloom: self.bloom,
        })
    }
}

fn put(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Nil => bytes.push(0),
        Value::Int(number) => {
            bytes.push(1);
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        Value::Text(text) => {
            bytes.push(2);
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        Value::List(values) => {
            bytes.push(3);
            bytes.extend_from_slice(&(values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| put(bytes, value));
        }
    }
}

fn take(rest: &mut &[u8]) -> Option<Value> {
    let eight = |rest: &mut &[u8]| {
        let (number, after) = rest.split_first_chunk::<8>()?;
        *rest = after;
        Some(u64::from_le_bytes(*number))
    };
    let (kind, after) = rest.split_first()?;
    *rest = after;
    Some(match kind {
        0 => Value::Nil,
        1 => Value::Int(eight(rest)? as i64),
        2 => {
            let length = usize::try_from(eight(rest)?).ok()?;
            let (text, after) = rest.split_at_checked(length)?;
            *rest = after;
            Value::text(std::str::from_utf8(text).ok()?)
        }
        3 => {
            let count = eight(rest)?;
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(take(rest)?);
            }
            Value::list(values)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use veridical_histories::random::Random;

    #[test]
    fn the_newest_entry_counts_through_any_number_of_merges() {
        let mut random = Random::new(3);
        let mut spill = Spill::default();
        let mut map = BTreeMap::new();
        for round in 0..30 {
            let mut entries = BTreeMap::new();
            for _ in 0..500 {
                let key = match random.below(3) {
                    0 => Value::text(&random.below(1_000).to_string()),
                    _ => Value::Int(random.below(2_000) as i64),
                };
                let value = match random.below(3) {
                    0 => Value::Nil,
                    1 => Value::list([Value::text("x"), Value::Int(round)]),
                    _ => Value::Int(random.next_u64() as i64),
                };
                entries.insert(key.clone(), value.clone());
                map.insert(key, value);
            }
            let mut idle = IdleKeys::new();
            entries
                .into_iter()
                .for_each(|(key, value)| idle.set(&key, value));
            spill.push(&mut idle).unwrap();
            assert_eq!(idle.len(), 0);
        }
        assert!(spill.runs.len() <= RUNS_MAX);
        for key in 0..2_500 {
            let key = Value::Int(key);
            assert_eq!(spill.get(&key).unwrap(), map.get(&key).cloned());
            let key = Value::text(&key.to_string());
            assert_eq!(spill.get(&key).unwrap(), map.get(&key).cloned());
        }
    }
}
