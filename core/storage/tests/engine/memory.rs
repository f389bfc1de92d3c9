//! The engine in memory.

use super::suite::{World, conformance};
use veridical_storage::engine::{Engine, EngineError, MemoryEngine, WriteBatch};

struct Memory;

impl World for Memory {
    type Engine = MemoryEngine;

    fn new() -> (Self, MemoryEngine) {
        (Self, MemoryEngine::new())
    }

    fn crash(&self, engine: MemoryEngine) -> MemoryEngine {
        engine.crash()
    }
}

#[test]
fn the_engine_in_memory_conforms() {
    conformance::<Memory>(1000);
}

#[test]
fn a_handle_from_before_a_crash_is_fenced_off() {
    let mut old = MemoryEngine::new();
    let mut new = old.crash();
    assert_eq!(old.write(WriteBatch::new(), 1), Err(EngineError::Stopped));
    assert_eq!(old.flush(), Err(EngineError::Stopped));
    assert_eq!(old.get(b"key"), Err(EngineError::Stopped));
    assert_eq!(new.write(WriteBatch::new(), 1), Ok(()));
}

#[test]
#[should_panic(expected = "engine.applied-index-never-goes-back")]
fn an_applied_index_that_goes_back_is_a_bug_of_the_caller() {
    let mut engine = MemoryEngine::new();
    engine
        .write(WriteBatch::new(), 2)
        .expect("the engine works");
    let _ = engine.write(WriteBatch::new(), 1);
}
