//! The engine on RocksDB.
//!
//! RocksDB's own log is off: ours is the log. The applied index and the generation lie
//! under one key that is written in the same batch as the changes, and RocksDB moves
//! whole batches, in order, from memory to its files. So whatever it finds after a
//! crash is the content at some batch boundary, at or after the last flush.
//!
//! Every key carries a prefix byte: the *generation*. A replacement of the content is
//! staged in the other generation and becomes the present one when the generation in
//! the state key changes.

use super::{BatchOperation, Engine, EngineError, Visitor, WriteBatch};
use bytes::Bytes;
use rocksdb::{
    Cache, DB, DBCompressionType, Env, FlushOptions, Options, ReadOptions, WriteOptions,
};
use std::ops::{Bound, ControlFlow};
use std::path::Path;

/// Under this key lie the format's version, the generation and the applied index.
const STATE_KEY: &[u8] = &[0];
const FORMAT_VERSION: u8 = 1;
const STATE_BYTES: usize = 10;

/// The option that matters and has no setter: closing must not flush, because a
/// simulated crash closes, and a crash goes back to the last flush.
const OPTIONS_FILE: &str = "\
[Version]
  rocksdb_version=7.8.3
  options_file_version=1.1
[DBOptions]
  avoid_flush_during_shutdown=true
[CFOptions \"default\"]
[TableOptions/BlockBasedTable \"default\"]
";

/// How RocksDB is set up.
#[derive(Clone, Copy, Debug)]
pub struct RocksConfig {
    /// What is written between flushes is kept in memory up to this size; beyond it
    /// RocksDB flushes by itself. Large, because a flush by itself is only work.
    pub write_buffer_bytes: usize,
    /// Memory for blocks that were read.
    pub block_cache_bytes: usize,
}

impl Default for RocksConfig {
    fn default() -> Self {
        Self {
            write_buffer_bytes: 256 * 1024 * 1024,
            block_cache_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Durable content in a folder.
pub struct RocksEngine {
    db: DB,
    write_options: WriteOptions,
    state: State,
    durable_index: u64,
    replacing: bool,
    stopped: bool,
}

/// What lies under [`STATE_KEY`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    generation: Generation,
    applied_index: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Generation {
    #[default]
    First,
    Second,
}

impl Generation {
    fn prefix(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Second => 2,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    fn key(self, key: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + key.len());
        out.push(self.prefix());
        out.extend_from_slice(key);
        out
    }

    /// The first key behind all of this generation.
    fn end(self) -> [u8; 1] {
        [self.prefix() + 1]
    }
}

impl State {
    fn encode(self) -> [u8; STATE_BYTES] {
        let mut out = [0; STATE_BYTES];
        out[0] = FORMAT_VERSION;
        out[1] = self.generation.prefix();
        out[2..].copy_from_slice(&self.applied_index.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, EngineError> {
        let corrupt = |reason: String| EngineError::Corrupt { reason };
        let bytes: &[u8; STATE_BYTES] = bytes
            .try_into()
            .map_err(|_| corrupt(format!("the state has {} bytes", bytes.len())))?;
        if bytes[0] != FORMAT_VERSION {
            return Err(corrupt(format!("format version {} is not known", bytes[0])));
        }
        let generation = match bytes[1] {
            1 => Generation::First,
            2 => Generation::Second,
            other => return Err(corrupt(format!("there is no generation {other}"))),
        };
        let index = bytes[2..].try_into().expect("eight bytes");
        Ok(Self {
            generation,
            applied_index: u64::from_le_bytes(index),
        })
    }
}

fn backend(operation: &'static str) -> impl FnOnce(rocksdb::Error) -> EngineError {
    move |error| EngineError::Backend {
        operation,
        reason: error.into_string(),
    }
}

impl RocksEngine {
    /// Opens the content in `dir`, which is created if it does not exist.
    ///
    /// # Errors
    /// [`EngineError::Backend`], [`EngineError::Corrupt`].
    pub fn open(dir: &Path, config: RocksConfig) -> Result<Self, EngineError> {
        let options = open_options(dir, config)?;
        let db = DB::open(&options, dir.join("db")).map_err(backend("open RocksDB"))?;
        let mut write_options = WriteOptions::default();
        write_options.disable_wal(true);

        let found = match db
            .get_pinned(STATE_KEY)
            .map_err(backend("read the state"))?
        {
            Some(bytes) => Some(State::decode(&bytes)?),
            None => {
                let mut keys = db.raw_iterator();
                keys.seek_to_first();
                keys.status().map_err(backend("read the first key"))?;
                if keys.valid() {
                    return Err(EngineError::Corrupt {
                        reason: "there are keys but no state".to_owned(),
                    });
                }
                None
            }
        };
        let state = found.unwrap_or_default();
        let mut engine = Self {
            db,
            write_options,
            state,
            durable_index: state.applied_index,
            replacing: false,
            stopped: false,
        };
        if found.is_none() {
            // Before anything else: what a replacement stages may reach a file long before the
            // replacement writes a state, and without one it could not be told from damage.
            let mut batch = rocksdb::WriteBatch::default();
            batch.put(STATE_KEY, state.encode());
            engine.write_raw("write the first state", batch)?;
        }
        // What a replacement staged before a crash, or left behind after it was done.
        engine.clear_generation(state.generation.other())?;
        Ok(engine)
    }

    /// The path of every write: an engine that failed once takes no more.
    fn write_raw(
        &mut self,
        operation: &'static str,
        batch: rocksdb::WriteBatch,
    ) -> Result<(), EngineError> {
        self.live()?;
        let written = self
            .db
            .write_opt(batch, &self.write_options)
            .map_err(backend(operation));
        self.stopped = written.is_err();
        written
    }

    fn live(&self) -> Result<(), EngineError> {
        if self.stopped {
            Err(EngineError::Stopped)
        } else {
            Ok(())
        }
    }

    fn clear_generation(&mut self, generation: Generation) -> Result<(), EngineError> {
        // A tombstone over nothing would still cost every scan something.
        let mut any = false;
        self.scan_generation(
            generation,
            Bound::Unbounded,
            Bound::Unbounded,
            &mut |_, _| {
                any = true;
                ControlFlow::Break(())
            },
        )?;
        if !any {
            return Ok(());
        }
        let mut batch = rocksdb::WriteBatch::default();
        batch.delete_range(&generation.key(&[])[..], &generation.end()[..]);
        self.write_raw("clear a generation", batch)
    }

    fn scan_generation(
        &self,
        generation: Generation,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), EngineError> {
        self.live()?;
        // The least key that is greater than `key`.
        let successor = |key: &[u8]| {
            let mut out = generation.key(key);
            out.push(0);
            out
        };
        let start = match start {
            Bound::Unbounded => generation.key(&[]),
            Bound::Included(key) => generation.key(key),
            Bound::Excluded(key) => successor(key),
        };
        let end = match end {
            Bound::Unbounded => generation.end().to_vec(),
            Bound::Included(key) => successor(key),
            Bound::Excluded(key) => generation.key(key),
        };
        if start >= end {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        let mut at = self.db.raw_iterator_opt(options);
        at.seek(&start);
        while let Some((key, value)) = at.item() {
            if visit(&key[1..], value).is_break() {
                break;
            }
            at.next();
        }
        at.status().map_err(backend("scan"))
    }
}

/// The engine's folder holds `options` with the file above, and `db`.
fn open_options(dir: &Path, config: RocksConfig) -> Result<Options, EngineError> {
    let io = |operation: &'static str| {
        move |error: std::io::Error| EngineError::Backend {
            operation,
            reason: error.to_string(),
        }
    };
    let options_dir = dir.join("options");
    std::fs::create_dir_all(&options_dir).map_err(io("create the folder"))?;
    std::fs::write(options_dir.join("OPTIONS-000001"), OPTIONS_FILE)
        .map_err(io("write the options file"))?;
    let env = Env::new().map_err(backend("make an environment"))?;
    let cache = Cache::new_lru_cache(config.block_cache_bytes).map_err(backend("make a cache"))?;
    let (mut options, _) = Options::load_latest(&options_dir, env, false, cache)
        .map_err(backend("load the options file"))?;
    options.create_if_missing(true);
    options.set_write_buffer_size(config.write_buffer_bytes);
    // Compression libraries are not part of every build of RocksDB.
    options.set_compression_type(DBCompressionType::None);
    // No periodic threads: they only write statistics.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_keep_log_file_num(2);
    Ok(options)
}

impl Engine for RocksEngine {
    fn applied_index(&self) -> u64 {
        self.state.applied_index
    }

    fn durable_index(&self) -> u64 {
        self.durable_index
    }

    fn write(&mut self, batch: WriteBatch, applied_index: u64) -> Result<(), EngineError> {
        assert!(
            applied_index >= self.state.applied_index,
            "the applied index never goes back"
        );
        let state = State {
            applied_index,
            ..self.state
        };
        let mut raw = raw_batch(state.generation, batch);
        raw.put(STATE_KEY, state.encode());
        self.write_raw("write", raw)?;
        self.state = state;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.live()?;
        let value = self
            .db
            .get_pinned(self.state.generation.key(key))
            .map_err(backend("read"))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(
        &self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), EngineError> {
        self.scan_generation(self.state.generation, start, end, visit)
    }

    fn flush(&mut self) -> Result<u64, EngineError> {
        self.live()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let flushed = self.db.flush_opt(&options).map_err(backend("flush"));
        self.stopped = flushed.is_err();
        flushed?;
        self.durable_index = self.state.applied_index;
        Ok(self.durable_index)
    }

    fn begin_replace(&mut self) -> Result<(), EngineError> {
        self.clear_generation(self.state.generation.other())?;
        self.replacing = true;
        Ok(())
    }

    fn stage(&mut self, batch: WriteBatch) -> Result<(), EngineError> {
        assert!(self.replacing, "begin_replace comes first");
        let raw = raw_batch(self.state.generation.other(), batch);
        self.write_raw("stage", raw)
    }

    fn finish_replace(&mut self, applied_index: u64) -> Result<(), EngineError> {
        assert!(self.replacing, "begin_replace comes first");
        let state = State {
            generation: self.state.generation.other(),
            applied_index,
        };
        let mut batch = rocksdb::WriteBatch::default();
        batch.put(STATE_KEY, state.encode());
        self.write_raw("replace the content", batch)?;
        let replaced = self.state.generation;
        self.state = state;
        self.replacing = false;
        self.flush()?;
        // Not flushed: if it is lost, the next opening does it again.
        self.clear_generation(replaced)
    }
}

fn raw_batch(generation: Generation, batch: WriteBatch) -> rocksdb::WriteBatch {
    let mut raw = rocksdb::WriteBatch::default();
    for operation in batch {
        match operation {
            BatchOperation::Put { key, value } => raw.put(generation.key(&key), value),
            BatchOperation::Delete { key } => raw.delete(generation.key(&key)),
        }
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_clears_what_an_unfinished_replacement_staged() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut engine = RocksEngine::open(dir.path(), RocksConfig::default()).expect("empty");
        engine.begin_replace().expect("the engine works");
        let mut batch = WriteBatch::new();
        batch.put("staged", "1");
        engine.stage(batch).expect("the engine works");
        engine
            .write(WriteBatch::new(), 1)
            .expect("the engine works");
        engine.flush().expect("the engine works");
        drop(engine);
        let engine = RocksEngine::open(dir.path(), RocksConfig::default()).expect("sound");
        let other = engine.state.generation.other();
        let mut keys = 0;
        let mut visit = |_: &[u8], _: &[u8]| {
            keys += 1;
            ControlFlow::Continue(())
        };
        let scanned = engine.scan_generation(other, Bound::Unbounded, Bound::Unbounded, &mut visit);
        scanned.expect("the engine works");
        assert_eq!(keys, 0);
    }
}
