//! Estimates of the bytes that tables take.
//!
//! Versions are kept as far back as memory allows. The tables (leases, sessions, watches,
//! operations in flight and of unknown outcome, answers that wait) cannot be shortened
//! without guessing: where they take more than their half of the limit, nothing is checked
//! any further, and the verdict is `unknown`.

use std::collections::BTreeMap;

/// The bytes that a request, an answer or a pair holds outside its own table, roughly.
pub(super) const CONTENT_BYTES: usize = 128;

/// How many events come between two looks at the tables.
pub(super) const TABLE_LOOK_EVENTS: u64 = 1 << 12;

/// Bytes of a tree with this many entries, which fill two thirds of its room.
pub(super) fn tree_bytes<K, V>(tree: &BTreeMap<K, V>) -> usize {
    tree.len() * (size_of::<K>() + size_of::<V>()) * 3 / 2
}
