//! Operations of which it is known which later revision they wrote.
//!
//! While a gap is filled, revisions behind it may have been seen already. Where one shows a
//! value that a single operation can have written, that operation wrote it there, and so not the
//! gap: hypotheses that say otherwise would be contradicted only later, and crowd out others
//! until then.

use std::collections::BTreeMap;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use veridical_histories::OperationId;
use veridical_histories::etcd::{PutRequest, Request, TxnOp, TxnRequest};

use super::operation::{Done, Open};
use super::unknowns::Unknowns;
use super::world::Evidence;

/// Revisions behind a gap that are looked at.
const SEARCH_MAX: usize = 256;

/// The later revisions of operations, as of one gap.
#[derive(Debug, Default)]
pub(super) struct Foretold {
    revisions: FxHashMap<OperationId, i64>,
}

impl Foretold {
    /// As of the gap at `gap`.
    pub fn of<'a>(
        gap: i64,
        evidence: &BTreeMap<i64, Vec<Evidence>>,
        writers: &BTreeMap<i64, Done>,
        unknown: &Unknowns,
        open: impl Iterator<Item = &'a Open> + Clone,
    ) -> Self {
        let mut revisions = FxHashMap::default();
        let seen = evidence.range(gap + 1..).take(SEARCH_MAX);
        for (revision, seen) in seen.filter(|(revision, _)| !writers.contains_key(revision)) {
            for evidence in seen {
                let Some(value) = evidence.value() else {
                    continue;
                };
                let key = evidence.key();
                let Some(op) = unknown.only_writer(key, value) else {
                    continue;
                };
                let mut open = open.clone();
                if !open.any(|open| may_write(&open.request, key, value)) {
                    revisions.insert(op, *revision);
                }
            }
        }
        Self { revisions }
    }

    /// Whether it may have written `revision`, for all that is known of others.
    pub fn allows(&self, op: OperationId, revision: i64) -> bool {
        let known = self.revisions.get(&op);
        known.is_none_or(|known| *known == revision)
    }
}

fn may_write(request: &Request, key: &Bytes, value: &Bytes) -> bool {
    let mut may = false;
    visit_all_puts(request, &mut |put| {
        may |= put.key == *key && (put.ignore_value || put.value == *value);
    });
    may
}

/// Calls `visit` with every put that may be carried out.
pub(super) fn visit_all_puts<'a>(request: &'a Request, visit: &mut impl FnMut(&'a PutRequest)) {
    fn in_txn<'a>(txn: &'a TxnRequest, visit: &mut impl FnMut(&'a PutRequest)) {
        for op in txn.success.iter().chain(&txn.failure) {
            match op {
                TxnOp::Put(put) => visit(put),
                TxnOp::Txn(txn) => in_txn(txn, visit),
                _ => {}
            }
        }
    }
    match request {
        Request::Put(put) => visit(put),
        Request::Txn(txn) => in_txn(txn, visit),
        _ => {}
    }
}
