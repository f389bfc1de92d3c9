//! Checks of a request's arguments, made before it is proposed (etcd: `v3rpc/key.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use veridical_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, range_request, request_op,
};

use crate::error::ApiError;
use crate::key_range::{KeyRange, RangeEnd};
use crate::txn_visitor::{TxnVisitor, visit};

/// Checks a range.
///
/// # Errors
/// An empty key, an unknown sort order or target.
pub fn check_range(request: &RangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::empty_key());
    }
    if range_request::SortOrder::try_from(request.sort_order).is_err()
        || range_request::SortTarget::try_from(request.sort_target).is_err()
    {
        return Err(ApiError::invalid_sort_option());
    }
    Ok(())
}

/// Checks a put.
///
/// # Errors
/// An empty key, a value beside `ignore_value`, a lease beside `ignore_lease`.
pub fn check_put(request: &PutRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::empty_key());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(ApiError::value_provided());
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(ApiError::lease_provided());
    }
    Ok(())
}

/// Checks a deletion.
///
/// # Errors
/// An empty key.
pub fn check_delete_range(request: &DeleteRangeRequest) -> Result<(), ApiError> {
    if request.key.is_empty() {
        return Err(ApiError::empty_key());
    }
    Ok(())
}

/// Checks a transaction and all that is nested in it. No level may have more than
/// `max_ops` compares, nor operations in one branch; a nested level has that much less.
///
/// Two writes of one key are refused wherever both could happen. etcd lets two odd forms
/// of that through (a deletion of "all keys from", and a nested put before a deletion in
/// a sibling); here a key changes at most once in a revision.
///
/// # Errors
/// Too many operations, an empty key, a key that is written twice, and those of the
/// other checks.
pub fn check_txn(request: &TxnRequest, max_ops: usize) -> Result<(), ApiError> {
    let mut arguments = Arguments { ops_left: max_ops };
    if let ControlFlow::Break(error) = visit(request, &mut arguments) {
        return Err(error);
    }
    assert!(
        arguments.ops_left == max_ops,
        "every level gives back what it took"
    );
    // Only after the limits hold, so that a huge request is refused cheaply.
    Writes::of(&request.success)?;
    Writes::of(&request.failure)?;
    Ok(())
}

/// Checks the size of an encoded request.
///
/// # Errors
/// More than `max_request_bytes`.
pub fn check_request_bytes(encoded_bytes: usize, max_request_bytes: usize) -> Result<(), ApiError> {
    if encoded_bytes > max_request_bytes {
        return Err(ApiError::request_too_large());
    }
    Ok(())
}

/// Whether no branch of a transaction, nested ones included, can write.
pub fn is_read_only_txn(request: &TxnRequest) -> bool {
    visit(request, &mut OnlyRanges).is_continue()
}

/// Whether a transaction may be answered from this member's own state, without asking
/// the leader: all it does is serializable ranges, and it does something. One that only
/// compares asks about the present, and nothing in it allows a stale answer (etcd gives
/// one all the same: its `isTxnSerializable` holds for a transaction without operations).
pub fn is_serializable_txn(request: &TxnRequest) -> bool {
    visit(request, &mut OnlySerializableRanges).is_continue()
}

/// Breaks at the first operation that writes.
struct OnlyRanges;

impl TxnVisitor for OnlyRanges {
    type Break = ();

    fn operation(&mut self, operation: Option<&request_op::Request>) -> ControlFlow<()> {
        match operation {
            Some(request_op::Request::RequestRange(_)) | None => ControlFlow::Continue(()),
            Some(_) => ControlFlow::Break(()),
        }
    }
}

/// Breaks at the first thing that needs the present state.
struct OnlySerializableRanges;

impl TxnVisitor for OnlySerializableRanges {
    type Break = ();

    fn enter(&mut self, txn: &TxnRequest) -> ControlFlow<()> {
        if txn.success.is_empty() && txn.failure.is_empty() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn operation(&mut self, operation: Option<&request_op::Request>) -> ControlFlow<()> {
        match operation {
            Some(request_op::Request::RequestRange(range)) if range.serializable => {
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        }
    }
}

/// Checks each operation by itself, and how many there are.
struct Arguments {
    /// The most operations that are left for the next level.
    ops_left: usize,
}

impl TxnVisitor for Arguments {
    type Break = ApiError;

    fn enter(&mut self, txn: &TxnRequest) -> ControlFlow<ApiError> {
        let ops = level_ops(txn);
        if ops > self.ops_left {
            return ControlFlow::Break(ApiError::too_many_ops());
        }
        if txn.compare.iter().any(|compare| compare.key.is_empty()) {
            return ControlFlow::Break(ApiError::empty_key());
        }
        self.ops_left -= ops;
        ControlFlow::Continue(())
    }

    fn operation(&mut self, operation: Option<&request_op::Request>) -> ControlFlow<ApiError> {
        let checked = match operation {
            Some(request_op::Request::RequestRange(range)) => check_range(range),
            Some(request_op::Request::RequestPut(put)) => check_put(put),
            Some(request_op::Request::RequestDeleteRange(delete)) => check_delete_range(delete),
            Some(request_op::Request::RequestTxn(_)) => Ok(()),
            None => Err(ApiError::key_not_found()),
        };
        match checked {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn leave(&mut self, txn: &TxnRequest) {
        self.ops_left += level_ops(txn);
    }
}

/// What one level of a transaction counts for in the limit on operations.
fn level_ops(txn: &TxnRequest) -> usize {
    let branches = txn.success.len().max(txn.failure.len());
    branches.max(txn.compare.len())
}

/// What a branch of a transaction may write.
#[derive(Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    deletes: IntervalSet,
}

impl Writes {
    fn of(ops: &[RequestOp]) -> Result<Self, ApiError> {
        let mut writes = Self::default();
        for op in ops {
            if let Some(request_op::Request::RequestDeleteRange(delete)) = &op.request {
                writes
                    .deletes
                    .insert(&KeyRange::new(&delete.key, &delete.range_end));
            }
        }
        for op in ops {
            if let Some(request_op::Request::RequestTxn(nested)) = &op.request {
                // Only one of the two branches runs: they may write the same keys.
                let mut either = Self::of(&nested.success)?;
                let other = Self::of(&nested.failure)?;
                either.puts.extend(other.puts);
                either.deletes.extend(other.deletes);
                writes.add(either)?;
            }
        }
        for op in ops {
            if let Some(request_op::Request::RequestPut(put)) = &op.request {
                writes.add(Self {
                    puts: BTreeSet::from([put.key.clone()]),
                    deletes: IntervalSet::default(),
                })?;
            }
        }
        Ok(writes)
    }

    /// Adds writes that happen beside those already here.
    fn add(&mut self, other: Self) -> Result<(), ApiError> {
        let collides = other
            .puts
            .iter()
            .any(|key| self.puts.contains(key) || self.deletes.contains(key))
            || other.deletes.intersects(&self.puts);
        if collides {
            return Err(ApiError::duplicate_key());
        }
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
        Ok(())
    }
}

/// A union of ranges of keys as disjoint half-open intervals by their start. An end of
/// `None` is unbounded.
#[derive(Default)]
struct IntervalSet {
    intervals: BTreeMap<Bytes, Option<Bytes>>,
}

impl IntervalSet {
    fn insert(&mut self, range: &KeyRange) {
        if range.is_empty() {
            return;
        }
        let end = match &range.end {
            RangeEnd::Single => {
                let mut successor = range.start.to_vec();
                successor.push(0);
                Some(Bytes::from(successor))
            }
            RangeEnd::Until(end) => Some(end.clone()),
            RangeEnd::Unbounded => None,
        };
        self.insert_interval(range.start.clone(), end);
    }

    fn insert_interval(&mut self, mut start: Bytes, mut end: Option<Bytes>) {
        // Swallow every interval that touches the new one. They are disjoint, so if the
        // last that starts before the end does not touch it, none does.
        loop {
            let last = match &end {
                Some(end) => self.intervals.range(..=end.clone()).next_back(),
                None => self.intervals.iter().next_back(),
            };
            let Some((old_start, old_end)) = last else {
                break;
            };
            if old_end.as_ref().is_some_and(|old_end| *old_end < start) {
                break;
            }
            let (old_start, old_end) = (old_start.clone(), old_end.clone());
            self.intervals.remove(&old_start);
            start = start.min(old_start);
            end = match (end, old_end) {
                (Some(end), Some(old_end)) => Some(end.max(old_end)),
                _ => None,
            };
        }
        self.intervals.insert(start, end);
    }

    fn extend(&mut self, other: Self) {
        for (start, end) in other.intervals {
            self.insert_interval(start, end);
        }
    }

    fn contains(&self, key: &Bytes) -> bool {
        self.intervals
            .range::<Bytes, _>(..=key)
            .next_back()
            .is_some_and(|(_, end)| end.as_ref().is_none_or(|end| key < end))
    }

    fn intersects(&self, keys: &BTreeSet<Bytes>) -> bool {
        self.intervals.iter().any(|(start, end)| {
            keys.range::<Bytes, _>(start..)
                .next()
                .is_some_and(|key| end.as_ref().is_none_or(|end| key < end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(key: &'static str) -> RequestOp {
        RequestOp {
            request: Some(request_op::Request::RequestPut(PutRequest {
                key: key.into(),
                ..Default::default()
            })),
        }
    }

    fn delete(key: &'static str, range_end: &'static str) -> RequestOp {
        RequestOp {
            request: Some(request_op::Request::RequestDeleteRange(
                DeleteRangeRequest {
                    key: key.into(),
                    range_end: range_end.into(),
                    prev_kv: false,
                },
            )),
        }
    }

    fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        RequestOp {
            request: Some(request_op::Request::RequestTxn(txn(success, failure))),
        }
    }

    fn txn(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> TxnRequest {
        TxnRequest {
            compare: Vec::new(),
            success,
            failure,
        }
    }

    fn refused(success: Vec<RequestOp>) -> bool {
        match check_txn(&txn(success, Vec::new()), 128) {
            Ok(()) => false,
            Err(error) => {
                assert_eq!(error, ApiError::duplicate_key());
                true
            }
        }
    }

    #[test]
    fn a_key_cannot_be_written_twice_where_both_writes_could_happen() {
        assert!(refused(vec![put("a"), put("a")]));
        assert!(refused(vec![put("b"), delete("a", "c")]));
        assert!(refused(vec![delete("a", "\0"), put("b")]));
        assert!(refused(vec![put("a"), nested(vec![put("a")], vec![])]));
        assert!(refused(vec![
            nested(vec![put("a")], vec![]),
            nested(vec![], vec![delete("a", "")])
        ]));
    }

    #[test]
    fn exclusive_branches_and_repeated_deletions_may_name_the_same_key() {
        assert!(!refused(vec![put("a"), put("b"), delete("c", "d")]));
        assert!(!refused(vec![delete("a", "c"), delete("b", "")]));
        assert!(!refused(vec![nested(vec![put("a")], vec![put("a")])]));
        assert!(!refused(vec![nested(
            vec![put("a")],
            vec![delete("a", "")]
        )]));
        assert_eq!(check_txn(&txn(vec![put("a")], vec![put("a")]), 128), Ok(()));
    }

    #[test]
    fn nested_levels_share_the_limit_on_operations() {
        let three = || vec![put("a"), put("b"), put("c")];
        assert_eq!(check_txn(&txn(three(), vec![]), 3), Ok(()));
        assert_eq!(
            check_txn(&txn(three(), vec![]), 2),
            Err(ApiError::too_many_ops())
        );
        let deep = txn(vec![nested(three(), vec![])], vec![]);
        assert_eq!(check_txn(&deep, 4), Ok(()));
        assert_eq!(check_txn(&deep, 3), Err(ApiError::too_many_ops()));
    }

    #[test]
    fn read_only_means_that_no_nested_branch_writes() {
        let range = || RequestOp {
            request: Some(request_op::Request::RequestRange(RangeRequest {
                key: "a".into(),
                ..Default::default()
            })),
        };
        assert!(is_read_only_txn(&txn(
            vec![range()],
            vec![nested(vec![range()], vec![])]
        )));
        assert!(!is_read_only_txn(&txn(
            vec![range()],
            vec![nested(vec![], vec![put("a")])]
        )));
        assert!(!is_serializable_txn(&txn(vec![range()], vec![])));
        assert!(
            !is_serializable_txn(&txn(vec![], vec![])),
            "comparisons alone ask about the present"
        );
    }

    proptest! {
        #[test]
        fn an_interval_set_holds_exactly_the_union_of_its_ranges(
            ranges in prop::collection::vec((0u8..12, 0u8..14), 0..8),
        ) {
            let ranges: Vec<KeyRange> = ranges
                .into_iter()
                .map(|(start, end)| KeyRange {
                    start: Bytes::from(vec![start]),
                    end: match end {
                        12 => RangeEnd::Single,
                        13 => RangeEnd::Unbounded,
                        end => RangeEnd::Until(Bytes::from(vec![end])),
                    },
                })
                .collect();
            let mut set = IntervalSet::default();
            for range in &ranges {
                set.insert(range);
            }
            for key in 0u8..16 {
                let key = Bytes::from(vec![key]);
                let expected = ranges.iter().any(|range| range.contains(&key));
                prop_assert_eq!(set.contains(&key), expected);
                prop_assert_eq!(set.intersects(&BTreeSet::from([key])), expected);
            }
            let starts: Vec<_> = set.intervals.iter().collect();
            for pair in starts.windows(2) {
                prop_assert!(pair[0].1.as_ref().expect("only the last is unbounded") < pair[1].0);
            }
        }
    }
}
