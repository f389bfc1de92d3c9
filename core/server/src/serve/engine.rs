//! The engine that `--engine` names.

use std::path::Path;

use veridical_storage::engine::{Engine, EngineError};

use super::flags::EngineKind;

/// Opens the engine of a data folder; none if the state is kept in memory alone.
///
/// # Errors
/// Its folder cannot be used or is damaged.
pub(super) fn open_engine(
    kind: EngineKind,
    data_dir: &Path,
) -> Result<Option<Box<dyn Engine>>, EngineError> {
    match kind {
        EngineKind::Memory => Ok(None),
        EngineKind::Rocksdb => open_rocksdb(&data_dir.join("engine")).map(Some),
    }
}

#[cfg(feature = "rocksdb")]
fn open_rocksdb(dir: &Path) -> Result<Box<dyn Engine>, EngineError> {
    use veridical_storage::engine::{RocksConfig, RocksEngine};
    Ok(Box::new(RocksEngine::open(dir, RocksConfig::default())?))
}

#[cfg(not(feature = "rocksdb"))]
fn open_rocksdb(_: &Path) -> Result<Box<dyn Engine>, EngineError> {
    unreachable!("the flags refuse it in a build without the feature")
}
