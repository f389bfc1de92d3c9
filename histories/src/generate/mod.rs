//! Made-up histories: correct ones of any length, and ones with a known error in them.

mod distribution;
pub mod etcd;
pub mod inject_etcd;
pub mod object;

pub use distribution::{Distribution, Zipf};
