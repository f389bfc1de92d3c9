//! Hypotheses about who wrote the revisions that no acknowledged operation claims.

use std::collections::BTreeMap;

use bytes::Bytes;
use veridical_histories::OperationId;
use veridical_histories::etcd::{
    KeyValue, RangeRequest, RangeResult, Request, Response, TxnOp, TxnOpResult, TxnRequest,
    TxnResult,
};

use super::slots::{Filled, Slots};
use super::versions::{Change, Overlay};

/// One hypothesis that explains everything seen so far.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub overlay: Overlay,
    /// Revisions of which it is open who wrote them.
    pub slots: Slots,
    /// The other operations without a known outcome that had an effect, and the revision each of them wrote.
    pub placed: BTreeMap<OperationId, i64>,
    /// Leases that ended, and what is known of it.
    pub ended: BTreeMap<i64, LeaseEnd>,
}

impl World {
    /// Takes over how `revision` is filled.
    pub fn adopt(&mut self, revision: i64, filled: Filled) {
        if filled.is_certain() {
            self.placed.insert(filled.op, revision);
        }
        self.slots.adopt(filled);
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        let placed = self.placed.len() * 2 * size_of::<(OperationId, i64)>();
        let ended = self.ended.len() * 2 * size_of::<(i64, LeaseEnd)>();
        size_of::<Self>() + self.overlay.bytes() + self.slots.bytes() + placed + ended
    }
}

/// How a lease ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseEnd {
    /// The revision that deleted its keys.
    pub revision: i64,
    /// When that revision was known to exist, in nanoseconds; `None` for a revocation.
    pub expired_before_ns: Option<u64>,
}

/// Something seen of a revision that is not replayed yet.
#[derive(Clone, Debug)]
pub(super) enum Evidence {
    /// The revision wrote this pair; of a `keys_only` answer without its value.
    Wrote { kv: KeyValue, keys_only: bool },
    /// The revision deleted this key.
    Deleted(Bytes),
}

impl Evidence {
    /// The value that was written, where it is told.
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Wrote {
                kv,
                keys_only: false,
            } => Some(&kv.value),
            Self::Wrote { .. } | Self::Deleted(_) => None,
        }
    }

    /// The key that was changed.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Wrote { kv, .. } => &kv.key,
            Self::Deleted(key) => key,
        }
    }

    /// Whether `changes` agree with it.
    pub fn allows(&self, changes: &[Change]) -> bool {
        let change_of = |key: &Bytes| changes.iter().find(|(changed, _)| changed == key);
        match self {
            Self::Wrote { kv, keys_only } => matches!(
                change_of(&kv.key),
                Some((_, Some(stored))) if stored.equals(kv, *keys_only)
            ),
            Self::Deleted(key) => matches!(change_of(key), Some((_, None))),
        }
    }
}

/// Calls `visit` with every pair that an answer shows, and whether it is shown without its
/// value.
pub(super) fn visit_pairs<'a>(
    request: &Request,
    response: &'a Response,
    visit: &mut impl FnMut(&'a KeyValue, bool),
) {
    match (request, response) {
        (Request::Range(range), Response::Range(result)) => visit_range(range, result, visit),
        (_, Response::Put(result)) => result.prev_kv.iter().for_each(|kv| visit(kv, false)),
        (_, Response::DeleteRange(result)) => {
            result.prev_kvs.iter().for_each(|kv| visit(kv, false));
        }
        (Request::Txn(txn), Response::Txn(result)) => visit_txn(txn, result, visit),
        _ => {}
    }
}

fn visit_range<'a>(
    range: &RangeRequest,
    result: &'a RangeResult,
    visit: &mut impl FnMut(&'a KeyValue, bool),
) {
    result.kvs.iter().for_each(|kv| visit(kv, range.keys_only));
}

fn visit_txn<'a>(
    txn: &TxnRequest,
    result: &'a TxnResult,
    visit: &mut impl FnMut(&'a KeyValue, bool),
) {
    let ops = match result.succeeded {
        true => &txn.success,
        false => &txn.failure,
    };
    for (op, result) in ops.iter().zip(&result.results) {
        match (op, result) {
            (TxnOp::Range(range), TxnOpResult::Range(result)) => visit_range(range, result, visit),
            (_, TxnOpResult::Put(result)) => result.prev_kv.iter().for_each(|kv| visit(kv, false)),
            (_, TxnOpResult::DeleteRange(result)) => {
                result.prev_kvs.iter().for_each(|kv| visit(kv, false));
            }
            (TxnOp::Txn(txn), TxnOpResult::Txn(result)) => visit_txn(txn, result, visit),
            _ => {}
        }
    }
}
