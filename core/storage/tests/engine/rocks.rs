//! The engine on RocksDB.

use super::suite::{World, conformance};
use std::io::{BufRead, BufReader};
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use veridical_storage::engine::{Engine, EngineError, RocksConfig, RocksEngine, WriteBatch};

struct Rocks(TempDir);

impl World for Rocks {
    type Engine = RocksEngine;

    fn new() -> (Self, RocksEngine) {
        let dir = tempfile::tempdir().expect("a folder");
        let engine = open(dir.path());
        (Self(dir), engine)
    }

    /// Closing must lose what was not flushed: the simulator crashes an engine so.
    fn crash(&self, engine: RocksEngine) -> RocksEngine {
        drop(engine);
        open(self.0.path())
    }
}

fn open(dir: &Path) -> RocksEngine {
    RocksEngine::open(dir, RocksConfig::default()).expect("a sound folder")
}

fn put(engine: &mut RocksEngine, index: u64) {
    let mut batch = WriteBatch::new();
    batch.put(index.to_be_bytes().to_vec(), vec![index as u8; 100]);
    engine.write(batch, index).expect("the engine works");
}

fn count(engine: &RocksEngine) -> u64 {
    let mut count = 0;
    let mut visit = |_: &[u8], _: &[u8]| {
        count += 1;
        ControlFlow::Continue(())
    };
    engine
        .scan(Bound::Unbounded, Bound::Unbounded, &mut visit)
        .expect("the engine works");
    count
}

#[test]
fn the_engine_on_rocksdb_conforms() {
    conformance::<Rocks>(20);
}

/// Names the folder to a process that is to be killed.
const VICTIM_DIR: &str = "VERIDICAL_TEST_VICTIM_DIR";
const FLUSHED: u64 = 500;
const READY: &str = "ready to be killed";

/// Runs twice: the test starts its own binary again as the victim.
#[test]
fn a_killed_process_leaves_its_last_flush() {
    if let Some(dir) = std::env::var_os(VICTIM_DIR) {
        be_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut victim = Command::new(std::env::current_exe().expect("a path"))
        .args([
            "--exact",
            "rocks::a_killed_process_leaves_its_last_flush",
            "--nocapture",
        ])
        .env(VICTIM_DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test binary starts again");
    let mut lines = BufReader::new(victim.stdout.take().expect("a pipe")).lines();
    let ready = lines.any(|line| line.expect("text").contains(READY));
    victim.kill().expect("a running process is killed");
    victim.wait().expect("a killed process ends");
    assert!(ready, "the victim ended before it was killed");
    let engine = open(dir.path());
    assert_eq!((engine.applied_index(), count(&engine)), (FLUSHED, FLUSHED));
}

fn be_killed(dir: &Path) -> ! {
    let mut engine = open(dir);
    for index in 1..=2 * FLUSHED {
        put(&mut engine, index);
        if index == FLUSHED {
            engine.flush().expect("the engine works");
        }
    }
    println!("{READY}");
    loop {
        std::thread::park();
    }
}

#[test]
fn flushes_of_its_own_accord_keep_batches_whole_and_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = RocksConfig {
        write_buffer_bytes: 64 * 1024,
        ..RocksConfig::default()
    };
    let mut engine = RocksEngine::open(dir.path(), config).expect("an empty folder");
    for index in 1..=5000 {
        put(&mut engine, index);
    }
    assert_eq!(engine.durable_index(), 0);
    drop(engine);
    let engine = open(dir.path());
    assert!(engine.applied_index() > 0, "no flush happened");
    assert_eq!(count(&engine), engine.applied_index());
}

#[test]
fn a_folder_that_is_open_or_damaged_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut engine = open(dir.path());
    put(&mut engine, 1);
    engine.flush().expect("the engine works");
    let again = RocksEngine::open(dir.path(), RocksConfig::default());
    assert!(matches!(
        again,
        Err(EngineError::Backend {
            operation: "open RocksDB",
            ..
        })
    ));
    drop(engine);
    for file in std::fs::read_dir(dir.path().join("db")).expect("the folder exists") {
        let path = file.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            std::fs::write(path, b"damaged").expect("the file can be written");
        }
    }
    let opened = RocksEngine::open(dir.path(), RocksConfig::default());
    assert!(matches!(opened, Err(EngineError::Backend { .. })));
}
