//! What an operation of a plan is on the wire, with what the client knows by then.

use bytes::Bytes;
use std::collections::BTreeMap;
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use veridical_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use veridical_proto::etcdserverpb::request_op::Request as TxnOp;
use veridical_proto::etcdserverpb::response_op::Response as TxnOpResult;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;

use crate::plan::{Op, Sort};
use crate::workload::{Lane, key};

/// Lease slots of a client.
const LEASE_SLOTS: usize = 2;

/// What a client remembers of the answers it got.
#[derive(Default)]
pub(super) struct Memory {
    /// Revision of the last change of keys, 0 if a key is not there.
    mod_revisions: BTreeMap<Bytes, i64>,
    newest_revision: i64,
    leases: [i64; LEASE_SLOTS],
    written: u64,
    granted: u64,
}

impl Memory {
    pub(super) fn learn(&mut self, answer: &Answer) {
        match answer {
            Answer::Range(range) => self.learn_range(range),
            Answer::Txn(txn) => {
                self.learn_revision(&txn.header);
                for response in &txn.responses {
                    if let Some(TxnOpResult::ResponseRange(range)) = &response.response {
                        self.learn_range(range);
                    }
                }
            }
            Answer::Put(put) => self.learn_revision(&put.header),
            Answer::DeleteRange(delete) => self.learn_revision(&delete.header),
            _ => {}
        }
    }

    fn learn_revision(&mut self, header: &Option<api::ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        self.newest_revision = self.newest_revision.max(revision);
    }

    fn learn_range(&mut self, range: &api::RangeResponse) {
        self.learn_revision(&range.header);
        for kv in &range.kvs {
            let known = self.mod_revisions.entry(kv.key.clone()).or_default();
            *known = (*known).max(kv.mod_revision);
        }
    }
}

impl Lane {
    fn value(&mut self) -> Bytes {
        self.memory.written += 1;
        let mut value = format!("{}.{}", self.client, self.memory.written);
        if value.len() < self.value_bytes {
            value.extend(std::iter::repeat_n('.', self.value_bytes - value.len()));
        }
        value.into()
    }

    /// The id of the client's lease of that number, if it has one.
    fn lease(&self, slot: u8) -> Option<i64> {
        let id = self.memory.leases[usize::from(slot) % LEASE_SLOTS];
        (id != 0).then_some(id)
    }

    /// The range of keys that a transaction reads behind what it wrote.
    fn range_op(from: u32, to: u32, sort: Option<Sort>) -> api::RequestOp {
        let mut range = api::RangeRequest {
            key: key(from),
            range_end: key(to),
            ..Default::default()
        };
        sort_by(&mut range, sort);
        api::RequestOp {
            request: Some(TxnOp::RequestRange(range)),
        }
    }

    /// What an operation is now, with what the client knows; `None` if it does not know
    /// enough.
    pub(super) fn request(&mut self, op: &Op) -> Option<Ask> {
        Some(match *op {
            Op::Put {
                key: number,
                prev_kv,
                lease,
            } => {
                let lease = match lease {
                    Some(slot) => self.lease(slot)?,
                    None => 0,
                };
                let value = self.value();
                let put = api::PutRequest {
                    key: key(number),
                    value,
                    lease,
                    prev_kv,
                    ..Default::default()
                };
                Ask::Put(put)
            }
            Op::Get {
                key: number,
                serializable,
            } => Ask::Range(api::RangeRequest {
                key: key(number),
                serializable,
                ..Default::default()
            }),
            Op::Range {
                from,
                to,
                limit,
                back,
                count_only,
                keys_only,
                newest_first,
                sort,
                serializable,
            } => {
                let revision = if back > 0 {
                    (self.memory.newest_revision - back).max(0)
                } else {
                    0
                };
                let mut range = api::RangeRequest {
                    key: key(from),
                    range_end: key(to),
                    limit,
                    revision,
                    count_only,
                    keys_only,
                    serializable,
                    ..Default::default()
                };
                if newest_first {
                    range.set_sort_order(SortOrder::Descend);
                    range.set_sort_target(SortTarget::Mod);
                }
                sort_by(&mut range, sort);
                Ask::Range(range)
            }
            Op::CompareAndSwap { key: number } => {
                let mod_revision = self
                    .memory
                    .mod_revisions
                    .get(&key(number))
                    .copied()
                    .unwrap_or(0);
                let mut compare = api::Compare {
                    key: key(number),
                    target_union: Some(TargetUnion::ModRevision(mod_revision)),
                    ..Default::default()
                };
                compare.set_result(CompareResult::Equal);
                compare.set_target(CompareTarget::Mod);
                let value = self.value();
                Ask::Txn(api::TxnRequest {
                    compare: vec![compare],
                    success: vec![put_op(number, value)],
                    failure: vec![get_op(number)],
                })
            }
            Op::PutBoth {
                first,
                second,
                lease,
            } => {
                let lease = match lease {
                    Some(slot) => self.lease(slot)?,
                    None => 0,
                };
                let value = self.value();
                let puts = [first, second].map(|number| {
                    let put = api::PutRequest {
                        key: key(number),
                        value: value.clone(),
                        lease,
                        ..Default::default()
                    };
                    api::RequestOp {
                        request: Some(TxnOp::RequestPut(put)),
                    }
                });
                Ask::Txn(api::TxnRequest {
                    compare: Vec::new(),
                    success: puts.into(),
                    failure: Vec::new(),
                })
            }
            Op::PutAndRange {
                key: number,
                from,
                to,
                sort,
            } => {
                let value = self.value();
                Ask::Txn(api::TxnRequest {
                    compare: Vec::new(),
                    success: vec![put_op(number, value), Self::range_op(from, to, sort)],
                    failure: Vec::new(),
                })
            }
            Op::Nested { outer, inner } => {
                let exists = |number| {
                    let mut compare = api::Compare {
                        key: key(number),
                        target_union: Some(TargetUnion::CreateRevision(0)),
                        ..Default::default()
                    };
                    compare.set_result(CompareResult::Greater);
                    compare.set_target(CompareTarget::Create);
                    compare
                };
                let (first, second) = (self.value(), self.value());
                let inner = api::TxnRequest {
                    compare: vec![exists(inner)],
                    success: vec![put_op(inner, second)],
                    failure: vec![get_op(inner)],
                };
                let nested = |txn| api::RequestOp {
                    request: Some(TxnOp::RequestTxn(txn)),
                };
                Ask::Txn(api::TxnRequest {
                    compare: vec![exists(outer)],
                    success: vec![put_op(outer, first.clone()), nested(inner.clone())],
                    failure: vec![nested(inner), put_op(outer, first)],
                })
            }
            Op::GetBoth { first, second } => Ask::Txn(api::TxnRequest {
                compare: Vec::new(),
                success: vec![get_op(first), get_op(second)],
                failure: Vec::new(),
            }),
            Op::Delete {
                key: number,
                prev_kv,
            } => Ask::DeleteRange(api::DeleteRangeRequest {
                key: key(number),
                range_end: Bytes::new(),
                prev_kv,
            }),
            Op::DeleteRange { from, to } => Ask::DeleteRange(api::DeleteRangeRequest {
                key: key(from),
                range_end: key(to),
                prev_kv: false,
            }),
            // What nobody has been shown is not compacted: nobody could tell any more which
            // of the writes with unknown outcomes took effect.
            Op::Compact { back } => {
                match (self.memory.newest_revision - back).min(self.audited.revision()) {
                    revision if revision > 0 => Ask::Compaction(api::CompactionRequest {
                        revision,
                        physical: false,
                    }),
                    _ => return None,
                }
            }
            Op::LeaseGrant { slot, ttl_s } => {
                self.memory.granted += 1;
                let id = (self.client as i64 + 1) * 1_000 + self.memory.granted as i64;
                self.memory.leases[usize::from(slot) % LEASE_SLOTS] = id;
                Ask::LeaseGrant(api::LeaseGrantRequest { id, ttl: ttl_s })
            }
            Op::LeaseKeepAlive { slot } => {
                match self.memory.leases[usize::from(slot) % LEASE_SLOTS] {
                    0 => return None,
                    id => Ask::LeaseKeepAlive(api::LeaseKeepAliveRequest { id }),
                }
            }
            Op::LeaseRevoke { slot } => {
                match std::mem::take(&mut self.memory.leases[usize::from(slot) % LEASE_SLOTS]) {
                    0 => return None,
                    id => Ask::LeaseRevoke(api::LeaseRevokeRequest { id }),
                }
            }
        })
    }
}

/// Sets what an answer is sorted by.
fn sort_by(range: &mut api::RangeRequest, sort: Option<Sort>) {
    let (target, order) = match sort {
        None => return,
        Some(Sort::KeyDescending) => (SortTarget::Key, SortOrder::Descend),
        Some(Sort::OldestChangeFirst) => (SortTarget::Mod, SortOrder::Ascend),
        Some(Sort::OldestCreationFirst) => (SortTarget::Create, SortOrder::Ascend),
        Some(Sort::MostChangedFirst) => (SortTarget::Version, SortOrder::Descend),
        Some(Sort::Value) => (SortTarget::Value, SortOrder::Ascend),
    };
    range.set_sort_target(target);
    range.set_sort_order(order);
}

fn put_op(number: u32, value: Bytes) -> api::RequestOp {
    let put = api::PutRequest {
        key: key(number),
        value,
        ..Default::default()
    };
    api::RequestOp {
        request: Some(TxnOp::RequestPut(put)),
    }
}

fn get_op(number: u32) -> api::RequestOp {
    let get = api::RangeRequest {
        key: key(number),
        ..Default::default()
    };
    api::RequestOp {
        request: Some(TxnOp::RequestRange(get)),
    }
}
