//! The part of a range's answer that follows from the pairs in it: filters, order, limit.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use veridical_histories::etcd::{
    CompareResult, KeyValue, RangeRequest, RangeResult, SortOrder, SortTarget,
};

use crate::etcd::stored::Stored;

/// The answer to `range` that selects `pairs`, of `count` pairs in all.
pub(super) fn expected_range(
    range: &RangeRequest,
    pairs: &[(&Bytes, &Stored)],
    more: bool,
    count: i64,
) -> RangeResult {
    let shown = match range.count_only {
        true => 0,
        false => limit_of(range),
    };
    RangeResult {
        kvs: pairs
            .iter()
            .take(shown)
            .map(|pair| to_answer(range, *pair))
            .collect(),
        more: !range.count_only && more,
        count,
    }
}

fn to_answer(range: &RangeRequest, (key, stored): (&Bytes, &Stored)) -> KeyValue {
    let mut kv = stored.to_kv(key);
    if range.keys_only {
        kv.value = Bytes::new();
    }
    kv
}

/// Whether nothing but the keys decides what is answered.
pub(super) fn is_plain(range: &RangeRequest) -> bool {
    !range.count_only
        && range.min_mod_revision == 0
        && range.max_mod_revision == 0
        && range.min_create_revision == 0
        && range.max_create_revision == 0
}

fn limit_of(range: &RangeRequest) -> usize {
    match usize::try_from(range.limit) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(limit) => limit,
    }
}

/// Filters and sorts, but does not cut: where pairs compare equal, any of them may fill
/// the last places. The second part is whether the limit cuts something off.
pub(super) fn select<'a>(
    range: &RangeRequest,
    mut pairs: Vec<(&'a Bytes, &'a Stored)>,
) -> (Vec<(&'a Bytes, &'a Stored)>, bool) {
    let within = |revision: i64, min: i64, max: i64| {
        (min == 0 || revision >= min) && (max == 0 || revision <= max)
    };
    pairs.retain(|(_, stored)| {
        within(
            stored.mod_revision,
            range.min_mod_revision,
            range.max_mod_revision,
        ) && within(
            stored.create_revision,
            range.min_create_revision,
            range.max_create_revision,
        )
    });
    if range.sort_order == SortOrder::Descend {
        pairs.reverse();
    }
    if range.sort_target != SortTarget::Key {
        pairs.sort_by(|a, b| sort_compare(range, *a, *b));
    }
    let more = pairs.len() > limit_of(range);
    (pairs, more)
}

fn sort_compare(
    range: &RangeRequest,
    (key_a, a): (&Bytes, &Stored),
    (key_b, b): (&Bytes, &Stored),
) -> Ordering {
    let order = match range.sort_target {
        SortTarget::Key => key_a.cmp(key_b),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::CreateRevision => a.create_revision.cmp(&b.create_revision),
        SortTarget::ModRevision => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    if range.sort_order == SortOrder::Descend {
        order.reverse()
    } else {
        order
    }
}

/// Whether `got` is the answer: the sorted pairs up to the limit, pairs that compare
/// equal in any order.
pub(super) fn same_pairs(
    range: &RangeRequest,
    pairs: &[(&Bytes, &Stored)],
    got: &[KeyValue],
) -> bool {
    if got.len() != pairs.len().min(limit_of(range)) {
        return false;
    }
    let is_pair = |(key, stored): (&Bytes, &Stored), kv: &KeyValue| {
        *key == kv.key && stored.equals(kv, range.keys_only)
    };
    if range.sort_target == SortTarget::Key {
        return pairs.iter().zip(got).all(|(pair, kv)| is_pair(*pair, kv));
    }
    let by_key: BTreeMap<&Bytes, &Stored> = pairs.iter().copied().collect();
    let mut seen = BTreeSet::new();
    pairs.iter().zip(got).all(|(expected, kv)| {
        by_key.get_key_value(&kv.key).is_some_and(|(key, stored)| {
            is_pair((key, stored), kv)
                && sort_compare(range, *expected, (key, stored)) == Ordering::Equal
                && seen.insert(&kv.key)
        })
    })
}

pub(super) fn passes(result: CompareResult, order: Ordering) -> bool {
    match result {
        CompareResult::Equal => order == Ordering::Equal,
        CompareResult::Greater => order == Ordering::Greater,
        CompareResult::Less => order == Ordering::Less,
        CompareResult::NotEqual => order != Ordering::Equal,
    }
}
