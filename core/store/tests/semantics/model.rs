//! The store as simply as it can be said: a list of all writes ever made. Everything else
//! is computed from it again and again.

use std::collections::BTreeMap;

use bytes::Bytes;
use veridical_proto::command::command::Request;
use veridical_proto::etcdserverpb::{
    CompactionResponse, Compare, DeleteRangeRequest, DeleteRangeResponse, LeaseGrantResponse,
    LeaseRevokeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp,
    ResponseHeader, ResponseOp, TxnRequest, TxnResponse, compare::TargetUnion,
    request_op::Request as Op, response_op::Response,
};
use veridical_proto::mvccpb::{Event, KeyValue};
use veridical_store::{ApiError, CommandResponse};

/// One write: `None` deletes, `Some` puts a value under a lease.
#[derive(Clone, Debug)]
struct Write {
    revision: i64,
    key: Bytes,
    put: Option<(Bytes, i64)>,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    writes: Vec<Write>,
    revision: i64,
    pub compacted: i64,
    pub leases: BTreeMap<i64, i64>,
}

type Keys = BTreeMap<Bytes, KeyValue>;

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision,
        ..Default::default()
    })
}

pub fn inside(key: &Bytes, start: &Bytes, range_end: &Bytes) -> bool {
    if range_end.is_empty() {
        key == start
    } else if range_end == "\0" {
        key >= start
    } else {
        key >= start && key < range_end
    }
}

impl Model {
    pub fn new() -> Self {
        Self {
            revision: 1,
            compacted: -1,
            ..Self::default()
        }
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Every key at a revision, from the beginning of time.
    pub fn keys_at(&self, revision: i64) -> Keys {
        let mut keys = Keys::new();
        for write in self
            .writes
            .iter()
            .filter(|write| write.revision <= revision)
        {
            match &write.put {
                None => {
                    keys.remove(&write.key);
                }
                Some((value, lease)) => {
                    let old = keys.get(&write.key);
                    let kv = KeyValue {
                        key: write.key.clone(),
                        create_revision: old.map_or(write.revision, |old| old.create_revision),
                        mod_revision: write.revision,
                        version: old.map_or(1, |old| old.version + 1),
                        value: value.clone(),
                        lease: *lease,
                    };
                    keys.insert(write.key.clone(), kv);
                }
            }
        }
        keys
    }

    /// Every event of a range from a revision on, in order, with the pair it replaced.
    pub fn events(&self, key: &Bytes, range_end: &Bytes, from: i64) -> Vec<Event> {
        let mut events = Vec::new();
        for write in &self.writes {
            if write.revision < from || !inside(&write.key, key, range_end) {
                continue;
            }
            let prev_kv = self.keys_at(write.revision - 1).remove(&write.key);
            events.push(match &write.put {
                Some(_) => Event {
                    r#type: 0,
                    kv: self.keys_at(write.revision).remove(&write.key),
                    prev_kv,
                },
                None => Event {
                    r#type: 1,
                    kv: Some(KeyValue {
                        key: write.key.clone(),
                        mod_revision: write.revision,
                        ..Default::default()
                    }),
                    prev_kv,
                },
            });
        }
        events
    }

    pub fn lease_keys(&self, id: i64) -> Vec<Bytes> {
        let keys = self.keys_at(self.revision);
        keys.values()
            .filter(|kv| kv.lease == id)
            .map(|kv| kv.key.clone())
            .collect()
    }

    pub fn apply(&mut self, request: &Request) -> Result<CommandResponse, ApiError> {
        let before = self.revision;
        let mut txn = Txn {
            model: self,
            revision: before + 1,
            wrote: false,
        };
        let response = match request {
            Request::Put(put) => {
                txn.check_lease(put)?;
                txn.check_ignored(put)?;
                CommandResponse::Put(txn.put(put))
            }
            Request::DeleteRange(delete) => CommandResponse::DeleteRange(txn.delete(delete)),
            Request::Txn(request) => {
                let path = txn.path(request);
                txn.check(request, &path)?;
                let mut response = txn.run(request, &mut path.iter().copied());
                response.header = header(txn.now());
                CommandResponse::Txn(response)
            }
            Request::Compaction(compaction) => {
                if compaction.revision <= txn.model.compacted {
                    return Err(ApiError::compacted());
                }
                if compaction.revision > before {
                    return Err(ApiError::future_revision());
                }
                txn.model.compacted = compaction.revision;
                CommandResponse::Compaction(CompactionResponse {
                    header: header(before),
                })
            }
            Request::LeaseGrant(grant) => {
                if grant.id == 0 {
                    return Err(ApiError::lease_not_found());
                }
                if grant.ttl > 9_000_000_000 {
                    return Err(ApiError::lease_ttl_too_large());
                }
                if txn.model.leases.contains_key(&grant.id) {
                    return Err(ApiError::lease_exists());
                }
                let ttl = if grant.ttl < 1 { 1 } else { grant.ttl };
                txn.model.leases.insert(grant.id, ttl);
                CommandResponse::LeaseGrant(LeaseGrantResponse {
                    header: header(before),
                    id: grant.id,
                    ttl,
                    error: String::new(),
                })
            }
            Request::Announcement(_) => CommandResponse::Announcement,
            Request::Batch(_) => unreachable!("a batch is applied write by write here"),
            Request::LeaseRevoke(revoke) => {
                if txn.model.leases.remove(&revoke.id).is_none() {
                    return Err(ApiError::lease_not_found());
                }
                for key in txn.model.lease_keys(revoke.id) {
                    txn.write(&key, None);
                }
                CommandResponse::LeaseRevoke(LeaseRevokeResponse {
                    header: header(txn.now()),
                })
            }
        };
        if txn.wrote {
            self.revision += 1;
        }
        Ok(response)
    }

    /// A range of a store that has reached `now` and was compacted at `compacted`.
    pub fn range(
        &self,
        request: &RangeRequest,
        now: i64,
        compacted: i64,
    ) -> Result<RangeResponse, ApiError> {
        if request.revision > now {
            return Err(ApiError::future_revision());
        }
        let at = if request.revision <= 0 {
            now
        } else {
            request.revision
        };
        if at < compacted {
            return Err(ApiError::compacted());
        }
        let mut kvs: Vec<KeyValue> = self
            .keys_at(at)
            .into_values()
            .filter(|kv| inside(&kv.key, &request.key, &request.range_end))
            .collect();
        let count = kvs.len() as i64;
        if request.count_only {
            kvs.clear();
        }
        kvs.retain(|kv| {
            (request.max_mod_revision == 0 || kv.mod_revision <= request.max_mod_revision)
                && (request.min_mod_revision == 0 || kv.mod_revision >= request.min_mod_revision)
                && (request.max_create_revision == 0
                    || kv.create_revision <= request.max_create_revision)
                && (request.min_create_revision == 0
                    || kv.create_revision >= request.min_create_revision)
        });
        let number = |kv: &KeyValue| match request.sort_target {
            1 => kv.version,
            2 => kv.create_revision,
            _ => kv.mod_revision,
        };
        let ascending = |a: &KeyValue, b: &KeyValue| match request.sort_target {
            0 => a.key.cmp(&b.key),
            4 => a.value.cmp(&b.value),
            _ => number(a).cmp(&number(b)),
        };
        match request.sort_order {
            2 => kvs.sort_by(|a, b| ascending(a, b).reverse()),
            _ => kvs.sort_by(ascending),
        }
        let more = request.limit > 0 && kvs.len() as i64 > request.limit;
        if more {
            kvs.truncate(request.limit as usize);
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeResponse {
            header: header(now),
            kvs,
            more,
            count,
        })
    }

    /// A transaction that only reads, on a store that has reached `now`.
    pub fn read_txn(
        &self,
        request: &TxnRequest,
        now: i64,
        compacted: i64,
    ) -> Result<TxnResponse, ApiError> {
        let mut past = self.clone();
        past.writes.retain(|write| write.revision <= now);
        past.revision = now;
        past.compacted = compacted;
        match past.apply(&Request::Txn(request.clone()))? {
            CommandResponse::Txn(response) => Ok(response),
            other => panic!("a transaction answered {other:?}"),
        }
    }
}

struct Txn<'a> {
    model: &'a mut Model,
    revision: i64,
    wrote: bool,
}

impl Txn<'_> {
    fn now(&self) -> i64 {
        if self.wrote {
            self.revision
        } else {
            self.revision - 1
        }
    }

    fn write(&mut self, key: &Bytes, put: Option<(Bytes, i64)>) {
        self.wrote = true;
        self.model.writes.push(Write {
            revision: self.revision,
            key: key.clone(),
            put,
        });
    }

    fn current(&self) -> Keys {
        self.model.keys_at(self.revision)
    }

    fn check_lease(&self, put: &PutRequest) -> Result<(), ApiError> {
        if put.lease != 0 && !self.model.leases.contains_key(&put.lease) {
            return Err(ApiError::lease_not_found());
        }
        Ok(())
    }

    fn check_ignored(&self, put: &PutRequest) -> Result<(), ApiError> {
        if (put.ignore_value || put.ignore_lease) && !self.current().contains_key(&put.key) {
            return Err(ApiError::key_not_found());
        }
        Ok(())
    }

    fn put(&mut self, put: &PutRequest) -> PutResponse {
        let old = self.current().remove(&put.key);
        let value = match &old {
            Some(old) if put.ignore_value => old.value.clone(),
            _ => put.value.clone(),
        };
        let lease = match &old {
            Some(old) if put.ignore_lease => old.lease,
            _ => put.lease,
        };
        self.write(&put.key, Some((value, lease)));
        PutResponse {
            header: header(self.revision),
            prev_kv: if put.prev_kv { old } else { None },
        }
    }

    fn delete(&mut self, delete: &DeleteRangeRequest) -> DeleteRangeResponse {
        let doomed: Vec<KeyValue> = self
            .current()
            .into_values()
            .filter(|kv| inside(&kv.key, &delete.key, &delete.range_end))
            .collect();
        for kv in &doomed {
            self.write(&kv.key, None);
        }
        DeleteRangeResponse {
            header: header(self.now()),
            deleted: doomed.len() as i64,
            prev_kvs: if delete.prev_kv { doomed } else { Vec::new() },
        }
    }

    /// The branches taken, outermost first, depth first.
    fn path(&self, request: &TxnRequest) -> Vec<bool> {
        let keys = self.current();
        let succeeded = request.compare.iter().all(|compare| holds(compare, &keys));
        let mut path = vec![succeeded];
        for op in branch(request, succeeded) {
            if let Some(Op::RequestTxn(nested)) = &op.request {
                path.extend(self.path(nested));
            }
        }
        path
    }

    /// All puts are checked before all ranges, as etcd does it.
    fn check(&self, request: &TxnRequest, path: &[bool]) -> Result<(), ApiError> {
        self.check_each(request, &mut path.iter().copied(), &|op| match op {
            Op::RequestPut(put) => {
                self.check_ignored(put)?;
                self.check_lease(put)
            }
            Op::RequestRange(_) | Op::RequestDeleteRange(_) | Op::RequestTxn(_) => Ok(()),
        })?;
        self.check_each(request, &mut path.iter().copied(), &|op| match op {
            Op::RequestRange(range) if range.revision > self.now() => {
                Err(ApiError::future_revision())
            }
            Op::RequestRange(range)
                if range.revision != 0 && range.revision < self.model.compacted =>
            {
                Err(ApiError::compacted())
            }
            Op::RequestRange(_)
            | Op::RequestPut(_)
            | Op::RequestDeleteRange(_)
            | Op::RequestTxn(_) => Ok(()),
        })
    }

    fn check_each(
        &self,
        request: &TxnRequest,
        path: &mut dyn Iterator<Item = bool>,
        check: &dyn Fn(&Op) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let succeeded = path.next().expect("a branch for each transaction");
        for op in branch(request, succeeded) {
            let op = op.request.as_ref().expect("generated");
            if let Op::RequestTxn(nested) = op {
                self.check_each(nested, path, check)?;
            }
            check(op)?;
        }
        Ok(())
    }

    fn run(&mut self, request: &TxnRequest, path: &mut dyn Iterator<Item = bool>) -> TxnResponse {
        let succeeded = path.next().expect("a branch for each transaction");
        let mut responses = Vec::new();
        for op in branch(request, succeeded) {
            let response = match op.request.as_ref().expect("generated") {
                Op::RequestRange(range) => {
                    let compacted = self.model.compacted;
                    let response = self.model.range(range, self.now(), compacted);
                    Response::ResponseRange(response.expect("checked"))
                }
                Op::RequestPut(put) => Response::ResponsePut(self.put(put)),
                Op::RequestDeleteRange(delete) => {
                    Response::ResponseDeleteRange(self.delete(delete))
                }
                Op::RequestTxn(nested) => {
                    let mut response = self.run(nested, path);
                    response.header = header(0);
                    Response::ResponseTxn(response)
                }
            };
            responses.push(ResponseOp {
                response: Some(response),
            });
        }
        TxnResponse {
            header: None,
            succeeded,
            responses,
        }
    }
}

fn branch(request: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded {
        &request.success
    } else {
        &request.failure
    }
}

fn holds(compare: &Compare, keys: &Keys) -> bool {
    let found: Vec<&KeyValue> = keys
        .values()
        .filter(|kv| inside(&kv.key, &compare.key, &compare.range_end))
        .collect();
    let missing = KeyValue::default();
    let found = match found.len() {
        0 if compare.target == 3 => return false,
        0 => vec![&missing],
        _ => found,
    };
    let operand = |pick: fn(&TargetUnion) -> Option<i64>| {
        compare.target_union.as_ref().and_then(pick).unwrap_or(0)
    };
    found.into_iter().all(|kv| {
        let ordering = match compare.target {
            0 => kv.version.cmp(&operand(|union| match union {
                TargetUnion::Version(version) => Some(*version),
                _ => None,
            })),
            1 => kv.create_revision.cmp(&operand(|union| match union {
                TargetUnion::CreateRevision(revision) => Some(*revision),
                _ => None,
            })),
            2 => kv.mod_revision.cmp(&operand(|union| match union {
                TargetUnion::ModRevision(revision) => Some(*revision),
                _ => None,
            })),
            3 => match &compare.target_union {
                Some(TargetUnion::Value(value)) => kv.value.cmp(value),
                _ => kv.value.cmp(&Bytes::new()),
            },
            4 => kv.lease.cmp(&operand(|union| match union {
                TargetUnion::Lease(lease) => Some(*lease),
                _ => None,
            })),
            _ => std::cmp::Ordering::Equal,
        };
        match compare.result {
            0 => ordering.is_eq(),
            1 => ordering.is_gt(),
            2 => ordering.is_lt(),
            3 => ordering.is_ne(),
            _ => true,
        }
    })
}
