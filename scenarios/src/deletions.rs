//! Which keys may have been deleted, and when: for laws about what else deletes them.

use std::collections::BTreeMap;
use veridical_histories::OperationId;
use veridical_histories::etcd::{KeyRange, Request, TxnOp, TxnRequest};

/// The deletions of a run.
#[derive(Default)]
pub(crate) struct Deletions(BTreeMap<OperationId, Deletion>);

struct Deletion {
    ranges: Vec<KeyRange>,
    /// When it was known to be done; what nobody knows of may still be.
    done_ns: Option<u64>,
}

impl Deletions {
    /// An operation begins.
    pub(crate) fn called(&mut self, op: OperationId, request: &Request) {
        let mut ranges = Vec::new();
        if let Request::DeleteRange(delete) = request {
            ranges.push(delete.range.clone());
        }
        if let Request::Txn(txn) = request {
            add_ranges(txn, &mut ranges);
        }
        if !ranges.is_empty() {
            let done_ns = None;
            self.0.insert(op, Deletion { ranges, done_ns });
        }
    }

    /// An operation has an answer; what has failed counts, too, which is careful enough.
    pub(crate) fn done(&mut self, op: OperationId, now_ns: u64) {
        if let Some(deletion) = self.0.get_mut(&op) {
            deletion.done_ns = Some(now_ns);
        }
    }

    /// Whether one of them may have deleted `key` at `since_ns` or later.
    pub(crate) fn may_have_deleted(&self, key: &[u8], since_ns: u64) -> bool {
        self.0.values().any(|deletion| {
            deletion.done_ns.is_none_or(|done_ns| done_ns >= since_ns)
                && deletion.ranges.iter().any(|range| range.contains(key))
        })
    }
}

fn add_ranges(txn: &TxnRequest, ranges: &mut Vec<KeyRange>) {
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            TxnOp::DeleteRange(delete) => ranges.push(delete.range.clone()),
            TxnOp::Txn(nested) => add_ranges(nested, ranges),
            TxnOp::Range(_) | TxnOp::Put(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_histories::etcd::DeleteRangeRequest;

    #[test]
    fn a_deletion_counts_until_it_is_done_and_for_the_keys_of_its_range() {
        let mut deletions = Deletions::default();
        let range = KeyRange::span("k06", "\0");
        let delete = DeleteRangeRequest {
            range,
            ..DeleteRangeRequest::default()
        };
        deletions.called(OperationId(1), &Request::DeleteRange(delete));
        assert!(deletions.may_have_deleted(b"k80", 50));
        assert!(!deletions.may_have_deleted(b"k05", 50));
        deletions.done(OperationId(1), 50);
        assert!(deletions.may_have_deleted(b"k80", 50));
        assert!(!deletions.may_have_deleted(b"k80", 51));
    }
}
