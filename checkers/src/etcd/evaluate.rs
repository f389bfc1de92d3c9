//! Carries out a request on the replayed store, and compares with the answer.
//!
//! The rules are those of etcd's `apply` (server/etcdserver/txn): operations of a
//! transaction see each other's changes; the changes of one request share one revision;
//! a range is cut by its limit after it was filtered and sorted, and counts before.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;
use veridical_histories::etcd::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResult, KeyRange,
    KeyValue, PutRequest, PutResult, RangeRequest, RangeResult, Request, Response, SortOrder,
    SortTarget, TxnOp, TxnOpResult, TxnRequest, TxnResult,
};

use super::versions::{Change, Stored, Untold, View};

/// What an answer should have been, and what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub expected: String,
    pub got: String,
}

impl Mismatch {
    fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            got: got.into(),
        }
    }
}

/// Why a request cannot have been carried out, or cannot be yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    /// The answer is not what this state gives.
    Wrong(Mismatch),
    /// It depends on a value that is only assumed.
    Untold(Untold),
}

impl Objection {
    fn wrong(expected: impl Into<String>, got: impl Into<String>) -> Box<Self> {
        Box::new(Self::Wrong(Mismatch::new(expected, got)))
    }
}

impl From<Untold> for Box<Objection> {
    fn from(untold: Untold) -> Self {
        Self::new(Objection::Untold(untold))
    }
}

type Checked<T = ()> = Result<T, Box<Objection>>;

/// One request carried out at one revision.
pub(super) struct Evaluation<'a> {
    view: View<'a>,
    /// The state that is read.
    revision: i64,
    /// What the request has changed so far.
    changes: BTreeMap<Bytes, Option<Stored>>,
}

impl<'a> Evaluation<'a> {
    /// Carries out `request` on the state after `revision`. Where `answer` is known, it
    /// is compared. Goes out: the changes, which belong to the next revision; an `Err`
    /// where the answer is not what this state gives, or where the request would have
    /// been refused.
    pub fn run(
        view: View<'a>,
        revision: i64,
        request: &Request,
        answer: Option<&Response>,
    ) -> Checked<Vec<Change>> {
        let mut evaluation = Self {
            view,
            revision,
            changes: BTreeMap::new(),
        };
        match (request, answer) {
            // By far the most frequent, so without the detour over the changes.
            (Request::Put(put), answer) => {
                let got = match answer {
                    Some(Response::Put(got)) => Some(got),
                    _ => None,
                };
                let stored = evaluation.put(put, got)?;
                return Ok(vec![(put.key.clone(), Some(stored))]);
            }
            (Request::Range(range), Some(Response::Range(got))) => {
                evaluation.check_range(range, got)?;
            }
            (Request::DeleteRange(deletion), answer) => {
                let got = match answer {
                    Some(Response::DeleteRange(got)) => Some(got),
                    _ => None,
                };
                evaluation.delete_range(deletion, got)?;
            }
            (Request::Txn(txn), answer) => {
                let got = match answer {
                    Some(Response::Txn(got)) => Some(got),
                    _ => None,
                };
                evaluation.txn(txn, got)?;
            }
            (Request::LeaseRevoke { id }, _) => {
                for key in view.attached(*id) {
                    evaluation.changes.insert(key.clone(), None);
                }
            }
            _ => {}
        }
        Ok(evaluation.changes.into_iter().collect())
    }

    fn get(&self, key: &[u8]) -> Option<&Stored> {
        match self.changes.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.view.get(key, self.revision),
        }
    }

    /// Existing keys of `range`, in order; the request's own changes included.
    fn range<'s>(&'s self, range: &'s KeyRange) -> Vec<(&'s Bytes, &'s Stored)> {
        if range.is_single() {
            let stored = self.get(&range.key);
            return stored
                .map(|stored| (&range.key, stored))
                .into_iter()
                .collect();
        }
        let mut pairs: Vec<_> = self.view.range(range, self.revision).collect();
        if !self.changes.is_empty() {
            let mut merged: BTreeMap<&Bytes, &Stored> = pairs.into_iter().collect();
            for (key, changed) in self.changes.iter().filter(|(key, _)| range.contains(key)) {
                match changed {
                    Some(stored) => merged.insert(key, stored),
                    None => merged.remove(key),
                };
            }
            pairs = merged.into_iter().collect();
        }
        pairs
    }

    fn put(&mut self, put: &PutRequest, got: Option<&PutResult>) -> Checked<Stored> {
        let before = self.get(&put.key);
        if before.is_none() && (put.ignore_value || put.ignore_lease) {
            return Err(Objection::wrong(
                "a refusal, for the key does not exist",
                "the put was carried out",
            ));
        }
        if put.ignore_value
            && let Some(before) = before.filter(|before| before.is_guess)
        {
            return Err(before.untold_of(&put.key, None).into());
        }
        if let Some(got) = got {
            if let (Some(kv), Some(before)) = (&got.prev_kv, before)
                && let Some(untold) = before.untold(kv, false)
            {
                return Err(untold.into());
            }
            let equal = match (&got.prev_kv, before) {
                (None, None) => true,
                (None, Some(_)) => !put.prev_kv,
                (Some(kv), Some(before)) => {
                    put.prev_kv && kv.key == put.key && before.equals(kv, false)
                }
                (Some(_), None) => false,
            };
            if !equal {
                let expected = PutResult {
                    prev_kv: before.map(|before| before.to_kv(&put.key)),
                };
                return Err(Objection::wrong(expected.to_string(), got.to_string()));
            }
        }
        let revision = self.revision + 1;
        Ok(Stored {
            value: match before {
                Some(before) if put.ignore_value => before.value.clone(),
                _ => put.value.clone(),
            },
            create_revision: before.map_or(revision, |before| before.create_revision),
            mod_revision: revision,
            version: before.map_or(1, |before| before.version + 1),
            lease: match before {
                Some(before) if put.ignore_lease => before.lease,
                _ => put.lease,
            },
            is_guess: false,
        })
    }

    fn delete_range(
        &mut self,
        deletion: &DeleteRangeRequest,
        got: Option<&DeleteRangeResult>,
    ) -> Checked {
        let pairs = self.range(&deletion.range);
        if let Some(got) = got {
            if deletion.prev_kv {
                tell(&pairs, &got.prev_kvs, false)?;
            }
            let prev_kvs_equal = if deletion.prev_kv {
                got.prev_kvs.len() == pairs.len()
                    && pairs
                        .iter()
                        .zip(&got.prev_kvs)
                        .all(|((key, stored), kv)| **key == kv.key && stored.equals(kv, false))
            } else {
                got.prev_kvs.is_empty()
            };
            if got.deleted != pairs.len() as i64 || !prev_kvs_equal {
                let expected = DeleteRangeResult {
                    deleted: pairs.len() as i64,
                    prev_kvs: if deletion.prev_kv {
                        pairs
                            .iter()
                            .map(|(key, stored)| stored.to_kv(key))
                            .collect()
                    } else {
                        Vec::new()
                    },
                };
                return Err(Objection::wrong(expected.to_string(), got.to_string()));
            }
        }
        let keys: Vec<Bytes> = pairs.into_iter().map(|(key, _)| key.clone()).collect();
        self.changes.extend(keys.into_iter().map(|key| (key, None)));
        Ok(())
    }

    fn txn(&mut self, txn: &TxnRequest, got: Option<&TxnResult>) -> Checked {
        let mut holds = true;
        for compare in &txn.compares {
            holds = holds && self.holds(compare)?;
        }
        self.branch(txn, holds, got)
    }

    fn branch(&mut self, txn: &TxnRequest, holds: bool, got: Option<&TxnResult>) -> Checked {
        let ops = if holds { &txn.success } else { &txn.failure };
        if let Some(got) = got {
            if got.succeeded != holds {
                return Err(Objection::wrong(
                    format!("succeeded = {holds}"),
                    format!("succeeded = {}", got.succeeded),
                ));
            }
            if got.results.len() != ops.len() {
                return Err(Objection::wrong(
                    format!("{} results", ops.len()),
                    format!("{} results", got.results.len()),
                ));
            }
        }
        for (index, op) in ops.iter().enumerate() {
            match (op, got.map(|got| &got.results[index])) {
                (TxnOp::Range(_), None) => {}
                (TxnOp::Range(range), Some(TxnOpResult::Range(got))) => {
                    self.check_range(range, got)?;
                }
                (TxnOp::Put(put), None) => self.put_in_txn(put, None)?,
                (TxnOp::Put(put), Some(TxnOpResult::Put(got))) => {
                    self.put_in_txn(put, Some(got))?
                }
                (TxnOp::DeleteRange(deletion), None) => self.delete_range(deletion, None)?,
                (TxnOp::DeleteRange(deletion), Some(TxnOpResult::DeleteRange(got))) => {
                    self.delete_range(deletion, Some(got))?;
                }
                (TxnOp::Txn(nested), None) => self.txn(nested, None)?,
                (TxnOp::Txn(nested), Some(TxnOpResult::Txn(got))) => {
                    self.txn(nested, Some(got))?;
                }
                (op, Some(got)) => {
                    return Err(Objection::wrong(
                        format!("an answer to {op}"),
                        got.to_string(),
                    ));
                }
            }
        }
        Ok(())
    }

    fn put_in_txn(&mut self, put: &PutRequest, got: Option<&PutResult>) -> Checked {
        let stored = self.put(put, got)?;
        self.changes.insert(put.key.clone(), Some(stored));
        Ok(())
    }

    /// Comparisons look at the state before the first write, those of nested transactions
    /// too (etcd: `compareToPath`).
    fn holds(&self, compare: &Compare) -> Checked<bool> {
        let pairs: Vec<(&Bytes, &Stored)> = if compare.range.is_single() {
            let stored = self.view.get(&compare.range.key, self.revision);
            let pair = stored.map(|stored| (&compare.range.key, stored));
            pair.into_iter().collect()
        } else {
            self.view.range(&compare.range, self.revision).collect()
        };
        if matches!(compare.target, CompareTarget::Value(_))
            && let Some((key, stored)) = pairs.iter().find(|(_, stored)| stored.is_guess)
        {
            return Err(stored.untold_of(key, None).into());
        }
        if pairs.is_empty() {
            return Ok(match &compare.target {
                // A value that does not exist fails every comparison.
                CompareTarget::Value(_) => false,
                CompareTarget::Version(given)
                | CompareTarget::CreateRevision(given)
                | CompareTarget::ModRevision(given)
                | CompareTarget::Lease(given) => passes(compare.result, 0.cmp(given)),
            });
        }
        Ok(pairs.into_iter().all(|(_, stored)| {
            let order = match &compare.target {
                CompareTarget::Value(given) => stored.value.cmp(given),
                CompareTarget::Version(given) => stored.version.cmp(given),
                CompareTarget::CreateRevision(given) => stored.create_revision.cmp(given),
                CompareTarget::ModRevision(given) => stored.mod_revision.cmp(given),
                CompareTarget::Lease(given) => stored.lease.cmp(given),
            };
            passes(compare.result, order)
        }))
    }

    fn check_range(&self, range: &RangeRequest, got: &RangeResult) -> Checked {
        if range.range.is_single() && is_plain(range) {
            let stored = if range.revision > 0 {
                self.view.get(&range.range.key, range.revision)
            } else {
                self.get(&range.range.key)
            };
            if let (Some(stored), Some(kv)) = (stored, got.kvs.first())
                && let Some(untold) = stored.untold(kv, range.keys_only)
            {
                return Err(untold.into());
            }
            let equal = match (stored, got.kvs.as_slice()) {
                (None, []) => got.count == 0,
                (Some(stored), [kv]) => {
                    got.count == 1
                        && kv.key == range.range.key
                        && stored.equals(kv, range.keys_only)
                }
                _ => false,
            };
            if equal && !got.more {
                return Ok(());
            }
        }
        let pairs = if range.revision > 0 {
            self.view.range(&range.range, range.revision).collect()
        } else {
            self.range(&range.range)
        };
        let count = pairs.len() as i64;
        tell(&pairs, &got.kvs, range.keys_only)?;
        if range.sort_target == SortTarget::Value
            && let Some((key, stored)) = pairs.iter().find(|(_, stored)| stored.is_guess)
        {
            return Err(stored.untold_of(key, None).into());
        }
        let (pairs, more) = select(range, pairs);
        let equal = got.count == count
            && if range.count_only {
                got.kvs.is_empty() && !got.more
            } else {
                got.more == more && same_pairs(range, &pairs, &got.kvs)
            };
        if equal {
            return Ok(());
        }
        let limit = limit_of(range);
        let expected = RangeResult {
            kvs: if range.count_only {
                Vec::new()
            } else {
                pairs
                    .iter()
                    .take(limit)
                    .map(|pair| to_answer(range, *pair))
                    .collect()
            },
            more: !range.count_only && more,
            count,
        };
        Err(Objection::wrong(expected.to_string(), got.to_string()))
    }
}

/// Values that are only assumed have to be those that the answer shows.
fn tell(pairs: &[(&Bytes, &Stored)], got: &[KeyValue], keys_only: bool) -> Checked {
    for (key, stored) in pairs.iter().filter(|(_, stored)| stored.is_guess) {
        let shown = got.iter().find(|kv| kv.key == **key);
        if let Some(untold) = shown.and_then(|kv| stored.untold(kv, keys_only)) {
            return Err(untold.into());
        }
    }
    Ok(())
}

fn to_answer(range: &RangeRequest, (key, stored): (&Bytes, &Stored)) -> KeyValue {
    let mut kv = stored.to_kv(key);
    if range.keys_only {
        kv.value = Bytes::new();
    }
    kv
}

/// Whether nothing but the keys decides what is answered.
fn is_plain(range: &RangeRequest) -> bool {
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
fn select<'a>(
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
fn same_pairs(range: &RangeRequest, pairs: &[(&Bytes, &Stored)], got: &[KeyValue]) -> bool {
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
    let mut seen = std::collections::BTreeSet::new();
    pairs.iter().zip(got).all(|(expected, kv)| {
        by_key.get_key_value(&kv.key).is_some_and(|(key, stored)| {
            is_pair((key, stored), kv)
                && sort_compare(range, *expected, (key, stored)) == Ordering::Equal
                && seen.insert(&kv.key)
        })
    })
}

fn passes(result: CompareResult, order: Ordering) -> bool {
    match result {
        CompareResult::Equal => order == Ordering::Equal,
        CompareResult::Greater => order == Ordering::Greater,
        CompareResult::Less => order == Ordering::Less,
        CompareResult::NotEqual => order != Ordering::Equal,
    }
}
