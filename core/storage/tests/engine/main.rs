//! One suite over every engine.

mod memory;
#[cfg(feature = "rocksdb")]
mod rocks;
mod suite;
