//! Fuzz targets over every decoder. Each target is a test in `tests/`: `cargo test`
//! runs it for about a second, `cargo bolero test` as long as one likes.
//!
//! Comes in: bytes that nobody wrote on purpose, and forged ones whose checksums are
//! right, so that what lies behind the checksums is reached as well.
//! Goes out: nothing but panics. A decoder must neither panic nor loop, and what it
//! accepts must mean the same when it is written and read once more.
//! May depend on: everything; nothing depends on it.
//!
//! [`forge`] writes the formats of `docs/formats.md` a second time, from the document.

pub mod forge;
pub mod memory_disk;
