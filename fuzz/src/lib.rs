//! Fuzz targets over what reads bytes from outside: logs, snapshots, frames of peers and
//! clients, histories. `decoders.txt` lists each decoder with its target, or with the reason
//! why it has none; a test (`tidy/`) compares that list with the sources.
//!
//! Each target is a test in `tests/`: `cargo test` runs it for about a second,
//! `cargo bolero test` as long as one likes.
//!
//! Inputs: bytes that nobody wrote on purpose, and forged ones whose checksums are
//! right, so that what lies behind the checksums is reached as well.
//! Outputs: nothing but panics. A decoder must neither panic nor loop, and what it
//! accepts must mean the same when it is written and read once more.
//! Dependencies: everything; nothing depends on it.
//!
//! [`forge`] writes the formats of `docs/formats.md` a second time, from the document.

pub mod forge;
pub mod memory_disk;
