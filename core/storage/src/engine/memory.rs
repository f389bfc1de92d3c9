//! An engine in memory that crashes like one on a disk.

use super::{BatchOperation, Engine, EngineError, Visitor, WriteBatch};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use veridical_probe::{always, sometimes};

/// A handle to content in memory. It outlives the process that uses it in a simulation:
/// [`MemoryEngine::crash`] takes the content back to the last flush and fences off the
/// handles that there were.
#[derive(Clone, Debug, Default)]
pub struct MemoryEngine {
    shared: Arc<Mutex<Shared>>,
    /// Handles of an earlier epoch belong to a process that has crashed.
    epoch: u64,
}

#[derive(Debug, Default)]
struct Shared {
    epoch: u64,
    content: BTreeMap<Bytes, Bytes>,
    applied_index: u64,
    durable_index: u64,
    /// What the changes since the last flush replaced, in order.
    undo: Vec<(Bytes, Option<Bytes>)>,
    staged: Option<BTreeMap<Bytes, Bytes>>,
}

impl MemoryEngine {
    /// An empty engine.
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine stops: what was not flushed is lost, what was staged is gone, and
    /// every handle from before fails with [`EngineError::Stopped`]. Returns the handle
    /// for the time after the restart.
    #[must_use = "handles from before the crash are dead"]
    pub fn crash(&self) -> Self {
        let mut shared = self.lock();
        let Shared {
            content,
            undo,
            staged,
            ..
        } = &mut *shared;
        sometimes!(
            !undo.is_empty(),
            "engine.crash-took-back-what-was-not-flushed"
        );
        for (key, replaced) in undo.drain(..).rev() {
            match replaced {
                Some(value) => content.insert(key, value),
                None => content.remove(&key),
            };
        }
        *staged = None;
        shared.applied_index = shared.durable_index;
        shared.epoch += 1;
        Self {
            shared: self.shared.clone(),
            epoch: shared.epoch,
        }
    }

    /// A panic elsewhere cannot leave a change half done: the changes do not panic.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Result<MutexGuard<'_, Shared>, EngineError> {
        let shared = self.lock();
        if shared.epoch == self.epoch {
            Ok(shared)
        } else {
            Err(EngineError::Stopped)
        }
    }
}

/// Applies a change and returns what it replaced.
fn apply(
    content: &mut BTreeMap<Bytes, Bytes>,
    operation: BatchOperation,
) -> (Bytes, Option<Bytes>) {
    match operation {
        BatchOperation::Put { key, value } => {
            let replaced = content.insert(key.clone(), value);
            (key, replaced)
        }
        BatchOperation::Delete { key } => {
            let replaced = content.remove(&key);
            (key, replaced)
        }
    }
}

impl Engine for MemoryEngine {
    fn applied_index(&self) -> u64 {
        self.lock().applied_index
    }

    fn durable_index(&self) -> u64 {
        self.lock().durable_index
    }

    fn write(&mut self, batch: WriteBatch, applied_index: u64) -> Result<(), EngineError> {
        let mut shared = self.live()?;
        always!(
            applied_index >= shared.applied_index,
            "engine.applied-index-never-goes-back",
            "{applied_index} after {}",
            shared.applied_index
        );
        for operation in batch {
            let undo = apply(&mut shared.content, operation);
            shared.undo.push(undo);
        }
        shared.applied_index = applied_index;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.live()?.content.get(key).cloned())
    }

    fn scan(
        &self,
        start: Bound<&[u8]>,
        end: Bound<&[u8]>,
        visit: &mut Visitor<'_>,
    ) -> Result<(), EngineError> {
        let shared = self.live()?;
        if super::is_empty_range(start, end) {
            return Ok(());
        }
        for (key, value) in shared.content.range::<[u8], _>((start, end)) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<u64, EngineError> {
        let mut shared = self.live()?;
        shared.undo.clear();
        shared.durable_index = shared.applied_index;
        Ok(shared.durable_index)
    }

    fn begin_replace(&mut self) -> Result<(), EngineError> {
        self.live()?.staged = Some(BTreeMap::new());
        Ok(())
    }

    fn stage(&mut self, batch: WriteBatch) -> Result<(), EngineError> {
        let mut shared = self.live()?;
        let staged = shared.staged.as_mut().expect("begin_replace comes first");
        for operation in batch {
            apply(staged, operation);
        }
        Ok(())
    }

    fn finish_replace(&mut self, applied_index: u64) -> Result<(), EngineError> {
        let mut shared = self.live()?;
        sometimes!(
            !shared.content.is_empty(),
            "engine.content-was-replaced-by-a-snapshot"
        );
        shared.content = shared.staged.take().expect("begin_replace comes first");
        shared.undo.clear();
        shared.applied_index = applied_index;
        shared.durable_index = applied_index;
        Ok(())
    }
}
