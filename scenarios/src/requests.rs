//! From a planned operation to a request, with what its client has learnt so far.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use veridical_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use veridical_proto::etcdserverpb::request_op::Request as TxnOp;
use veridical_proto::etcdserverpb::response_op::Response as TxnOpResult;
use veridical_proto::mvccpb::KeyValue;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;

use crate::keyspace::Keyspace;
use crate::plan::Op;
use crate::transaction::{Keep, Part, PlannedCompare, PlannedTxn, Query, Relation, TxnStep};

/// Lease slots of a client.
const LEASE_SLOTS: usize = 2;

/// What a client knows: of the answers it got, and of what it has asked.
pub struct Memory {
    client: u64,
    values: Values,
    keys: Keyspace,
    /// Keys as they were seen last; one that was not there has revision 0.
    seen: BTreeMap<Bytes, KeyValue>,
    newest_revision: i64,
    leases: [HeldLease; LEASE_SLOTS],
    written: u64,
    granted: u64,
}

/// How long the values of a client are, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Values {
    /// At least so long.
    pub bytes: u32,
    /// A few of them; 0 for none.
    pub large_bytes: u32,
}

/// Of the values of a client one in so many is large, where any are.
const LARGE_EVERY: u64 = 16;

/// A lease as its owner sees it.
#[derive(Clone, Copy, Debug, Default)]
struct HeldLease {
    /// 0 for none.
    id: i64,
    ttl: Duration,
    /// When the grant or the last renewal that was answered was asked for.
    renewed_at: Option<Duration>,
}

impl Memory {
    /// A client that knows nothing.
    pub fn new(client: u64, keys: Keyspace, values: Values) -> Self {
        Self {
            client,
            keys,
            values,
            seen: BTreeMap::new(),
            newest_revision: 0,
            leases: Default::default(),
            written: 0,
            granted: 0,
        }
    }

    /// Takes in the answer to what was asked at `asked_at`, by the client's clock.
    pub fn learn(&mut self, answer: &Answer, asked_at: Duration) {
        match answer {
            Answer::Range(range) => self.learn_range(range),
            Answer::Txn(txn) => self.learn_txn(txn),
            Answer::Put(put) => self.learn_revision(&put.header),
            Answer::DeleteRange(delete) => self.learn_revision(&delete.header),
            Answer::LeaseGrant(granted) => self.learn_renewal(granted.id, granted.ttl, asked_at),
            Answer::LeaseKeepAlive(kept) => self.learn_renewal(kept.id, kept.ttl, asked_at),
            Answer::Compaction(_)
            | Answer::LeaseRevoke(_)
            | Answer::LeaseTimeToLive(_)
            | Answer::LeaseLeases(_)
            | Answer::Watch(_)
            | Answer::Status(_)
            | Answer::MemberList(_)
            | Answer::HashKv(_)
            | Answer::Hash(_)
            | Answer::Alarm(_)
            | Answer::Defragment(_)
            | Answer::MemberAdd(_)
            | Answer::MemberRemove(_)
            | Answer::MemberPromote(_)
            | Answer::MemberUpdate(_)
            | Answer::MoveLeader(_)
            | Answer::Batch(_)
            | Answer::Failure(_) => {}
        }
    }

    fn learn_renewal(&mut self, id: i64, ttl_s: i64, asked_at: Duration) {
        if let Some(lease) = self.leases.iter_mut().find(|lease| lease.id == id) {
            lease.ttl = Duration::from_secs(u64::try_from(ttl_s).unwrap_or(0));
            lease.renewed_at = Some(asked_at);
        }
    }

    fn learn_txn(&mut self, txn: &api::TxnResponse) {
        self.learn_revision(&txn.header);
        for response in &txn.responses {
            match &response.response {
                Some(TxnOpResult::ResponseRange(range)) => self.learn_range(range),
                Some(TxnOpResult::ResponseTxn(nested)) => self.learn_txn(nested),
                _ => {}
            }
        }
    }

    fn learn_revision(&mut self, header: &Option<api::ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        self.newest_revision = self.newest_revision.max(revision);
    }

    fn learn_range(&mut self, range: &api::RangeResponse) {
        self.learn_revision(&range.header);
        for kv in &range.kvs {
            let known = self.seen.entry(kv.key.clone()).or_default();
            if kv.mod_revision >= known.mod_revision {
                *known = kv.clone();
            }
        }
    }

    /// Until when an operation waits, by the client's clock, beyond its planned time.
    pub fn waits_until(&self, op: &Op) -> Option<Duration> {
        let Op::LeaseKeepAliveLate { slot, late_ms } = *op else {
            return None;
        };
        let lease = self.lease(slot)?;
        let end = lease.renewed_at? + lease.ttl;
        let offset = Duration::from_millis(late_ms.unsigned_abs());
        Some(if late_ms < 0 {
            end.saturating_sub(offset)
        } else {
            end + offset
        })
    }

    /// The lease in a slot, if the client has one there.
    fn lease(&self, slot: u8) -> Option<HeldLease> {
        let lease = self.leases[usize::from(slot) % LEASE_SLOTS];
        (lease.id != 0).then_some(lease)
    }

    fn value(&mut self) -> Bytes {
        self.written += 1;
        let mut value = format!("{}.{}", self.client, self.written);
        let is_large = self.written.is_multiple_of(LARGE_EVERY);
        let bytes = match self.values.large_bytes {
            large_bytes if is_large && large_bytes > 0 => large_bytes,
            _ => self.values.bytes,
        };
        while value.len() < bytes as usize {
            value.push('.');
        }
        value.into()
    }

    /// The revision so far before the newest that the client has seen, or behind it where that
    /// is negative; 0 (now) for 0.
    fn back(&self, back: i64) -> i64 {
        match back {
            0 => 0,
            back => (self.newest_revision - back).max(0),
        }
    }

    /// What an operation is now; `None` if the client does not know enough for it.
    /// `audited` is the revision up to which everything was shown to a watcher.
    pub fn request(&mut self, op: &Op, audited: i64) -> Option<Ask> {
        Some(match *op {
            Op::Put {
                key,
                prev_kv,
                lease,
            } => Ask::Put(self.put(key, prev_kv, lease)?),
            Op::PutKeeping { key, keep, prev_kv } => {
                let mut put = self.put(key, prev_kv, None)?;
                keeping(&mut put, keep);
                Ask::Put(put)
            }
            Op::Get { key, serializable } => Ask::Range(self.get(key, serializable)),
            Op::Range {
                from,
                to,
                limit,
                back,
                count_only,
                keys_only,
                newest_first,
                serializable,
            } => {
                let mut range = api::RangeRequest {
                    limit,
                    count_only,
                    keys_only,
                    serializable,
                    ..self.range(from, to, back)
                };
                if newest_first {
                    range.set_sort_order(SortOrder::Descend);
                    range.set_sort_target(SortTarget::Mod);
                }
                Ask::Range(range)
            }
            Op::Query(ref query) => Ask::Range(self.query(query)),
            Op::CompareAndSwap { key } => Ask::Txn(self.compare_and_swap(key)?),
            Op::PutBoth { first, second } => Ask::Txn(self.put_both(first, second)),
            Op::GetBoth {
                first,
                second,
                serializable,
            } => Ask::Txn(self.get_both(first, second, serializable)),
            Op::Txn(ref txn) => Ask::Txn(self.txn(txn)),
            Op::Delete { key, prev_kv } => Ask::DeleteRange(self.delete(key, None, prev_kv)),
            Op::DeleteRange { from, to, prev_kv } => {
                Ask::DeleteRange(self.delete(from, Some(to), prev_kv))
            }
            // What nobody has been shown is not compacted: nobody could tell any more which
            // of the writes with unknown outcomes took effect.
            Op::Compact { back } if back >= 0 => match (self.newest_revision - back).min(audited) {
                revision if revision > 0 => compaction(revision),
                _ => return None,
            },
            Op::Compact { back } => compaction(self.newest_revision - back),
            Op::LeaseGrant { slot, ttl_s } => grant(self.new_lease(slot), ttl_s),
            Op::LeaseKeepAlive { slot } | Op::LeaseKeepAliveLate { slot, .. } => {
                let id = self.lease(slot)?.id;
                Ask::LeaseKeepAlive(api::LeaseKeepAliveRequest { id })
            }
            Op::LeaseRevoke { slot } => revoke(self.give_up_lease(slot)?),
            // The client goes on as if it had the lease.
            Op::LeaseRevokeAgain { slot } => revoke(self.lease(slot)?.id),
            Op::LeaseGrantAgain { slot, ttl_s } => grant(self.lease(slot)?.id, ttl_s),
            Op::LeaseTimeToLive { slot, keys } => {
                let id = self.lease(slot)?.id;
                Ask::LeaseTimeToLive(api::LeaseTimeToLiveRequest { id, keys })
            }
            Op::LeaseLeases => Ask::LeaseLeases(api::LeaseLeasesRequest {}),
        })
    }

    /// The number of a lease that the client has not had yet, in that slot from now on.
    fn new_lease(&mut self, slot: u8) -> i64 {
        self.granted += 1;
        let id = (self.client as i64 + 1) * 1_000 + self.granted as i64;
        self.leases[usize::from(slot) % LEASE_SLOTS] = HeldLease {
            id,
            ..HeldLease::default()
        };
        id
    }

    /// The number of the lease in a slot, which is empty from now on.
    fn give_up_lease(&mut self, slot: u8) -> Option<i64> {
        let id = self.lease(slot)?.id;
        self.leases[usize::from(slot) % LEASE_SLOTS] = HeldLease::default();
        Some(id)
    }

    /// Writes a key if it is as the client saw it last, and reads it otherwise.
    fn compare_and_swap(&mut self, key: u32) -> Option<api::TxnRequest> {
        let compare = PlannedCompare {
            key,
            to: None,
            part: Part::Mod,
            relation: Relation::Equal,
            offset: 0,
        };
        let compare = vec![self.compare(&compare)];
        let put = self.put(key, false, None)?;
        Some(api::TxnRequest {
            compare,
            success: vec![in_txn(TxnOp::RequestPut(put))],
            failure: vec![in_txn(TxnOp::RequestRange(self.get(key, false)))],
        })
    }

    /// Writes one value to both keys.
    fn put_both(&mut self, first: u32, second: u32) -> api::TxnRequest {
        let value = self.value();
        let keys = self.keys;
        let put = |number| {
            in_txn(TxnOp::RequestPut(api::PutRequest {
                key: keys.key(number),
                value: value.clone(),
                ..Default::default()
            }))
        };
        api::TxnRequest {
            compare: Vec::new(),
            success: vec![put(first), put(second)],
            failure: Vec::new(),
        }
    }

    /// Reads keys at a revision so far back.
    fn range(&self, from: u32, to: u32, back: i64) -> api::RangeRequest {
        api::RangeRequest {
            key: self.keys.key(from),
            range_end: self.keys.range_end(to),
            revision: self.back(back),
            ..Default::default()
        }
    }

    /// `None` if it is for a lease that the client does not have.
    fn put(&mut self, number: u32, prev_kv: bool, lease: Option<u8>) -> Option<api::PutRequest> {
        let lease = match lease {
            Some(slot) => self.lease(slot)?.id,
            None => 0,
        };
        Some(api::PutRequest {
            key: self.keys.key(number),
            value: self.value(),
            lease,
            prev_kv,
            ..Default::default()
        })
    }

    fn get(&self, number: u32, serializable: bool) -> api::RangeRequest {
        api::RangeRequest {
            key: self.keys.key(number),
            serializable,
            ..Default::default()
        }
    }

    /// Reads both keys; the first one is never read from what the member happens to have.
    fn get_both(&self, first: u32, second: u32, serializable: bool) -> api::TxnRequest {
        let read =
            |number, serializable| in_txn(TxnOp::RequestRange(self.get(number, serializable)));
        api::TxnRequest {
            compare: Vec::new(),
            success: vec![read(first, false), read(second, serializable)],
            failure: Vec::new(),
        }
    }

    /// Deletes a key, or all from it up to `to`.
    fn delete(&self, from: u32, to: Option<u32>, prev_kv: bool) -> api::DeleteRangeRequest {
        api::DeleteRangeRequest {
            key: self.keys.key(from),
            range_end: to.map_or_else(Bytes::new, |to| self.keys.range_end(to)),
            prev_kv,
        }
    }

    fn query(&self, query: &Query) -> api::RangeRequest {
        let mut range = api::RangeRequest {
            key: self.keys.key(query.from),
            range_end: self.keys.range_end(query.to),
            limit: query.limit,
            serializable: query.serializable,
            ..Default::default()
        };
        range.set_sort_order(if query.descending {
            SortOrder::Descend
        } else {
            SortOrder::Ascend
        });
        range.set_sort_target(match query.sort_by {
            Part::Version => SortTarget::Version,
            Part::Create => SortTarget::Create,
            Part::Mod => SortTarget::Mod,
            Part::Value => SortTarget::Value,
            Part::Key | Part::Lease => SortTarget::Key,
        });
        if let Some(bound) = &query.bound {
            let revision = (self.newest_revision - bound.back).max(1);
            *match (bound.of_creation, bound.is_max) {
                (true, true) => &mut range.max_create_revision,
                (true, false) => &mut range.min_create_revision,
                (false, true) => &mut range.max_mod_revision,
                (false, false) => &mut range.min_mod_revision,
            } = revision;
        }
        range
    }

    fn compare(&self, planned: &PlannedCompare) -> api::Compare {
        let seen = self.seen.get(&self.keys.key(planned.key)).cloned();
        let seen = seen.unwrap_or_default();
        let near = |number: i64| Some((number + planned.offset).max(0));
        let (target, operand) = match planned.part {
            Part::Version => (
                CompareTarget::Version,
                near(seen.version).map(TargetUnion::Version),
            ),
            Part::Create => (
                CompareTarget::Create,
                near(seen.create_revision).map(TargetUnion::CreateRevision),
            ),
            Part::Key | Part::Mod => (
                CompareTarget::Mod,
                near(seen.mod_revision).map(TargetUnion::ModRevision),
            ),
            Part::Value => (CompareTarget::Value, Some(TargetUnion::Value(seen.value))),
            Part::Lease => (
                CompareTarget::Lease,
                near(seen.lease).map(TargetUnion::Lease),
            ),
        };
        let mut compare = api::Compare {
            key: self.keys.key(planned.key),
            range_end: planned
                .to
                .map_or_else(Bytes::new, |to| self.keys.range_end(to)),
            target_union: operand,
            ..Default::default()
        };
        compare.set_target(target);
        compare.set_result(match planned.relation {
            Relation::Equal => CompareResult::Equal,
            Relation::Greater => CompareResult::Greater,
            Relation::Less => CompareResult::Less,
            Relation::NotEqual => CompareResult::NotEqual,
        });
        compare
    }

    fn txn(&mut self, txn: &PlannedTxn) -> api::TxnRequest {
        let compare = txn
            .compares
            .iter()
            .map(|compare| self.compare(compare))
            .collect();
        let mut branch = |steps: &[TxnStep]| {
            let steps = steps.iter().filter_map(|step| self.step(step));
            steps.map(in_txn).collect()
        };
        api::TxnRequest {
            compare,
            success: branch(&txn.success),
            failure: branch(&txn.failure),
        }
    }

    fn step(&mut self, step: &TxnStep) -> Option<TxnOp> {
        Some(match step {
            TxnStep::Put {
                key: number,
                prev_kv,
                lease,
                keep,
            } => {
                let mut put = self.put(*number, *prev_kv, *lease)?;
                if let Some(keep) = *keep {
                    keeping(&mut put, keep);
                }
                TxnOp::RequestPut(put)
            }
            TxnStep::Range {
                from,
                to,
                limit,
                back,
            } => TxnOp::RequestRange(api::RangeRequest {
                limit: *limit,
                ..self.range(*from, *to, *back)
            }),
            TxnStep::Delete { from, to, prev_kv } => {
                TxnOp::RequestDeleteRange(self.delete(*from, Some(*to), *prev_kv))
            }
            TxnStep::Txn(nested) => TxnOp::RequestTxn(self.txn(nested)),
        })
    }
}

fn compaction(revision: i64) -> Ask {
    Ask::Compaction(api::CompactionRequest {
        revision,
        physical: false,
    })
}

fn in_txn(op: TxnOp) -> api::RequestOp {
    api::RequestOp { request: Some(op) }
}

fn grant(id: i64, ttl: i64) -> Ask {
    Ask::LeaseGrant(api::LeaseGrantRequest { id, ttl })
}

fn revoke(id: i64) -> Ask {
    Ask::LeaseRevoke(api::LeaseRevokeRequest { id })
}

/// Makes a put that leaves something as it is: what is kept must not be given.
fn keeping(put: &mut api::PutRequest, keep: Keep) {
    if keep != Keep::Lease {
        put.ignore_value = true;
        put.value = Bytes::new();
    }
    if keep != Keep::Value {
        put.ignore_lease = true;
        put.lease = 0;
    }
}
