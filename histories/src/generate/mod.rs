//! Made-up histories: correct ones of any length, and ones with a known error in them.

pub mod etcd;
pub mod inject_etcd;
