//! Carries out a request on the replayed store, and compares with the answer.
//!
//! The rules are those of etcd's `apply` (server/etcdserver/txn): operations of a
//! transaction see each other's changes; the changes of one request share one revision;
//! a range is cut by its limit after it was filtered and sorted, and counts before.

use std::collections::BTreeMap;

use bytes::Bytes;
use veridical_histories::etcd::{
    Compare, CompareTarget, DeleteRangeRequest, DeleteRangeResult, KeyRange, KeyValue, PutRequest,
    PutResult, RangeRequest, RangeResult, Request, Response, SortTarget, TxnOp, TxnOpResult,
    TxnRequest, TxnResult,
};

use crate::etcd::objection::Mismatch;
use crate::etcd::stored::{Change, Stored, Unresolved};

use super::selection::{expected_range, is_plain, passes, same_pairs, select};
use super::view::View;

/// The reason for which a request cannot have been carried out, or cannot be yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::etcd) enum Objection {
    /// The answer is not what this state gives.
    Wrong(Mismatch),
    /// The answer depends on a value that is only assumed.
    Unresolved(Unresolved),
}

impl Objection {
    fn wrong(expected: impl Into<String>, got: impl Into<String>) -> Box<Self> {
        Box::new(Self::Wrong(Mismatch::new(expected, got)))
    }
}

impl From<Unresolved> for Box<Objection> {
    fn from(unresolved: Unresolved) -> Self {
        Self::new(Objection::Unresolved(unresolved))
    }
}

type Checked<T = ()> = Result<T, Box<Objection>>;

/// One request carried out at one revision.
pub(in crate::etcd) struct Evaluation<'a> {
    view: View<'a>,
    /// The state that is read.
    revision: i64,
    /// The changes that the request has made so far.
    changes: BTreeMap<Bytes, Option<Stored>>,
}

impl<'a> Evaluation<'a> {
    /// Carries out `request` on the state after `revision`, and compares `answer` where it
    /// is known. Returns the changes, which belong to the next revision.
    ///
    /// # Errors
    /// The answer is not what this state gives, or the request would have been refused.
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
        match request {
            // A put is by far the most frequent, so it goes without the detour over the
            // changes.
            Request::Put(put) => {
                let got = if let Some(Response::Put(got)) = answer {
                    Some(got)
                } else {
                    None
                };
                let stored = evaluation.put(put, got)?;
                return Ok(vec![(put.key.clone(), Some(stored))]);
            }
            Request::Range(range) => {
                if let Some(Response::Range(got)) = answer {
                    evaluation.check_range(range, got)?;
                }
            }
            Request::DeleteRange(deletion) => {
                let got = if let Some(Response::DeleteRange(got)) = answer {
                    Some(got)
                } else {
                    None
                };
                evaluation.delete_range(deletion, got)?;
            }
            Request::Txn(txn) => {
                let got = if let Some(Response::Txn(got)) = answer {
                    Some(got)
                } else {
                    None
                };
                evaluation.txn(txn, got)?;
            }
            Request::LeaseRevoke { id } => {
                for key in view.attached(*id) {
                    evaluation.changes.insert(key.clone(), None);
                }
            }
            Request::Compact { .. }
            | Request::LeaseGrant { .. }
            | Request::LeaseKeepAlive { .. }
            | Request::LeaseTimeToLive { .. }
            | Request::LeaseLeases => {}
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
            && let Some(before) = before.filter(|before| before.is_assumed)
        {
            return Err(before.unresolved_value(&put.key, None).into());
        }
        if let Some(got) = got {
            if let (Some(kv), Some(before)) = (&got.prev_kv, before)
                && let Some(unresolved) = before.unresolved(kv, false)
            {
                return Err(unresolved.into());
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
            is_assumed: false,
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
                all_resolved(&pairs, &got.prev_kvs, false)?;
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
            && let Some((key, stored)) = pairs.iter().find(|(_, stored)| stored.is_assumed)
        {
            return Err(stored.unresolved_value(key, None).into());
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
                && let Some(unresolved) = stored.unresolved(kv, range.keys_only)
            {
                return Err(unresolved.into());
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
        all_resolved(&pairs, &got.kvs, range.keys_only)?;
        if range.sort_target == SortTarget::Value
            && let Some((key, stored)) = pairs.iter().find(|(_, stored)| stored.is_assumed)
        {
            return Err(stored.unresolved_value(key, None).into());
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
        let expected = expected_range(range, &pairs, more, count);
        Err(Objection::wrong(expected.to_string(), got.to_string()))
    }
}

/// Values that are only assumed have to be those that the answer shows.
fn all_resolved(pairs: &[(&Bytes, &Stored)], got: &[KeyValue], keys_only: bool) -> Checked {
    for (key, stored) in pairs.iter().filter(|(_, stored)| stored.is_assumed) {
        let shown = got.iter().find(|kv| kv.key == **key);
        if let Some(unresolved) = shown.and_then(|kv| stored.unresolved(kv, keys_only)) {
            return Err(unresolved.into());
        }
    }
    Ok(())
}
