//! The simulated disk, without any runtime: files and names as they are in the page
//! cache and as they are on the medium, and what a crash leaves of the difference.

mod decay;
mod faults;
mod file;
mod model;
mod names;
mod pages;
mod power;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod worked_example;

pub use decay::{Damage, DamagedByte};
pub use faults::{CrashRules, DiskFaults};
pub use model::DiskSnapshot;

pub use file::FileId;
pub use model::{Completion, DiskContext, DiskModel, SyncOutcome};
