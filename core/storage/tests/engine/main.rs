//! One suite over every engine.

mod memory;
#[cfg(feature = "rocksdb")]
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the library keeps its files on the machine"
)]
mod rocks;
mod suite;
