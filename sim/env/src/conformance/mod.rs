//! What every disk and every network must do, real or simulated.
//!
//! The functions panic with a sentence when an implementation does not keep a promise
//! of the traits. They expect no injected faults; what happens under faults is for the
//! tests of whoever injects them.

mod disk;
mod network;

pub use disk::disk_conformance;
pub use network::network_conformance;
