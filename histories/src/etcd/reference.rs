//! An etcd-like store in its simplest form: one map, a copy of it for each revision.
//!
//! It says what is right where generators need answers and where checkers are compared
//! with brute force. It shares no code with any checker, on purpose.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::request::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest, Request,
    SortOrder, SortTarget, TxnOp, TxnRequest,
};
use super::response::{
    DeleteRangeResult, ErrorKind, KeyValue, Outcome, PutResult, RangeResult, Response, TxnOpResult,
    TxnResult,
};
use super::watch::{WatchEvent, WatchEventKind};

type Map = BTreeMap<Bytes, KeyValue>;

/// How much of the past a [`Store`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// A copy of the map for each revision: every one can be read. For small histories.
    Everything,
    /// Nothing: only the current state can be read.
    Nothing,
}

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    revision: i64,
    map: Arc<Map>,
    past: Option<BTreeMap<i64, Arc<Map>>>,
    compacted: i64,
    leases: BTreeMap<i64, i64>,
    /// What the last revision changed.
    last_events: Vec<WatchEvent>,
}

impl Store {
    /// An empty store at `revision`; a fresh etcd has 1.
    pub fn new(revision: i64, past: Past) -> Self {
        let map = Arc::new(Map::new());
        let past = match past {
            Past::Everything => Some(BTreeMap::from([(revision, map.clone())])),
            Past::Nothing => None,
        };
        Self {
            revision,
            map,
            past,
            compacted: 0,
            leases: BTreeMap::new(),
            last_events: Vec::new(),
        }
    }

    /// The current revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The oldest revision that can be read, as far as compaction goes.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Existing leases and their times to live, in seconds.
    pub fn leases(&self) -> &BTreeMap<i64, i64> {
        &self.leases
    }

    /// What the newest revision changed.
    pub fn last_events(&self) -> &[WatchEvent] {
        &self.last_events
    }

    /// The state after `revision`, where it is kept.
    pub fn at(&self, revision: i64) -> Option<&Map> {
        if revision == self.revision {
            return Some(&self.map);
        }
        self.past.as_ref()?.get(&revision).map(|map| &**map)
    }

    /// Carries out one request.
    pub fn apply(&mut self, request: &Request) -> Outcome {
        let result = match request {
            Request::Range(range) => self.range(range, &self.map).map(Response::Range),
            Request::Put(put) => {
                self.write(|store, map, events| store.put(put, map, events).map(Response::Put))
            }
            Request::DeleteRange(deletion) => self.write(|store, map, events| {
                Ok(Response::DeleteRange(store.delete(deletion, map, events)))
            }),
            Request::Txn(txn) => self.write(|store, map, events| {
                let mut branches = VecDeque::new();
                decide(txn, map, &mut branches);
                let result = store.txn(txn, &mut branches, map, events);
                result.map(Response::Txn)
            }),
            Request::Compact { revision } if *revision <= self.compacted => {
                Err(ErrorKind::Compacted)
            }
            Request::Compact { revision } if *revision > self.revision => {
                Err(ErrorKind::FutureRevision)
            }
            Request::Compact { revision } => {
                self.compacted = *revision;
                Ok(Response::Compact)
            }
            Request::LeaseGrant { id, ttl_s } => match self.leases.insert(*id, *ttl_s) {
                Some(before) => {
                    self.leases.insert(*id, before);
                    Err(ErrorKind::LeaseExists)
                }
                None => Ok(Response::LeaseGrant {
                    id: *id,
                    ttl_s: *ttl_s,
                }),
            },
            Request::LeaseRevoke { id } => {
                if self.end_lease(*id) {
                    Ok(Response::LeaseRevoke)
                } else {
                    Err(ErrorKind::LeaseNotFound)
                }
            }
            Request::LeaseKeepAlive { id } => Ok(Response::LeaseKeepAlive {
                ttl_s: self.leases.get(id).copied().unwrap_or(0),
            }),
            Request::LeaseTimeToLive { id, keys } => Ok(self.time_to_live(*id, *keys)),
            Request::LeaseLeases => Ok(Response::LeaseLeases {
                ids: self.leases.keys().copied().collect(),
            }),
        };
        match result {
            Ok(response) => Outcome::done(self.revision, response),
            Err(error) => Outcome::refused(error),
        }
    }

    /// How long a lease lasts: time does not pass here.
    fn time_to_live(&self, id: i64, with_keys: bool) -> Response {
        let granted = self.leases.get(&id).copied();
        let attached = |kv: &&KeyValue| with_keys && granted.is_some() && kv.lease == id;
        let keys = self.map.values().filter(attached);
        Response::LeaseTimeToLive {
            ttl_s: granted.unwrap_or(-1),
            granted_ttl_s: granted.unwrap_or(0),
            keys: keys.map(|kv| kv.key.clone()).collect(),
        }
    }

    /// Ends a lease and deletes its keys in one revision. Whether it existed.
    pub fn end_lease(&mut self, id: i64) -> bool {
        if self.leases.remove(&id).is_none() {
            return false;
        }
        let keys: Vec<Bytes> = self
            .map
            .values()
            .filter(|kv| kv.lease == id)
            .map(|kv| kv.key.clone())
            .collect();
        let deleted = self.write(|store, map, events| {
            for key in keys {
                store.delete_key(&key, map, events);
            }
            Ok(Response::LeaseRevoke)
        });
        debug_assert!(deleted.is_ok());
        true
    }

    /// Runs `work` on a copy of the map, and publishes it as the next revision if
    /// something changed.
    fn write(
        &mut self,
        work: impl FnOnce(&Self, &mut Map, &mut Vec<WatchEvent>) -> Result<Response, ErrorKind>,
    ) -> Result<Response, ErrorKind> {
        let mut events = Vec::new();
        // Without a past nobody else holds the map, and this copies nothing.
        let mut map = std::mem::take(&mut self.map);
        let written = Arc::make_mut(&mut map);
        let result = work(self, written, &mut events);
        if result.is_err() {
            for event in events.iter().rev() {
                match &event.prev_kv {
                    Some(before) => written.insert(event.kv.key.clone(), before.clone()),
                    None => written.remove(&event.kv.key),
                };
            }
        }
        self.map = map;
        if result.is_ok() && !events.is_empty() {
            self.revision += 1;
            self.last_events = events;
            if let Some(past) = &mut self.past {
                past.insert(self.revision, self.map.clone());
            }
        }
        result
    }

    fn put(
        &self,
        put: &PutRequest,
        map: &mut Map,
        events: &mut Vec<WatchEvent>,
    ) -> Result<PutResult, ErrorKind> {
        let before = map.get(&put.key).cloned();
        if (put.ignore_value || put.ignore_lease) && before.is_none() {
            return Err(ErrorKind::KeyNotFound);
        }
        let lease = match &before {
            Some(before) if put.ignore_lease => before.lease,
            _ => put.lease,
        };
        if lease != 0 && !self.leases.contains_key(&lease) {
            return Err(ErrorKind::LeaseNotFound);
        }
        let mod_revision = self.revision + 1;
        let kv = KeyValue {
            key: put.key.clone(),
            value: match &before {
                Some(before) if put.ignore_value => before.value.clone(),
                _ => put.value.clone(),
            },
            create_revision: before
                .as_ref()
                .map_or(mod_revision, |kv| kv.create_revision),
            mod_revision,
            version: before.as_ref().map_or(0, |kv| kv.version) + 1,
            lease,
        };
        map.insert(put.key.clone(), kv.clone());
        events.push(WatchEvent {
            kind: WatchEventKind::Put,
            kv,
            prev_kv: before.clone(),
        });
        Ok(PutResult {
            prev_kv: before.filter(|_| put.prev_kv),
        })
    }

    fn delete_key(&self, key: &Bytes, map: &mut Map, events: &mut Vec<WatchEvent>) {
        let before = map.remove(key);
        let kv = KeyValue {
            key: key.clone(),
            mod_revision: self.revision + 1,
            ..KeyValue::default()
        };
        events.push(WatchEvent {
            kind: WatchEventKind::Delete,
            kv,
            prev_kv: before,
        });
    }

    fn delete(
        &self,
        deletion: &DeleteRangeRequest,
        map: &mut Map,
        events: &mut Vec<WatchEvent>,
    ) -> DeleteRangeResult {
        let before: Vec<KeyValue> = map
            .values()
            .filter(|kv| deletion.range.contains(&kv.key))
            .cloned()
            .collect();
        for kv in &before {
            self.delete_key(&kv.key, map, events);
        }
        DeleteRangeResult {
            deleted: before.len() as i64,
            prev_kvs: if deletion.prev_kv { before } else { Vec::new() },
        }
    }

    /// Runs the branches that were decided beforehand, the outermost transaction's first.
    fn txn(
        &self,
        txn: &TxnRequest,
        branches: &mut VecDeque<bool>,
        map: &mut Map,
        events: &mut Vec<WatchEvent>,
    ) -> Result<TxnResult, ErrorKind> {
        let succeeded = branches
            .pop_front()
            .expect("every transaction that runs was decided");
        let ops = if succeeded {
            &txn.success
        } else {
            &txn.failure
        };
        let mut results = Vec::new();
        for op in ops {
            results.push(match op {
                TxnOp::Range(range) => TxnOpResult::Range(self.range(range, map)?),
                TxnOp::Put(put) => TxnOpResult::Put(self.put(put, map, events)?),
                TxnOp::DeleteRange(deletion) => {
                    TxnOpResult::DeleteRange(self.delete(deletion, map, events))
                }
                TxnOp::Txn(txn) => TxnOpResult::Txn(self.txn(txn, branches, map, events)?),
            });
        }
        Ok(TxnResult { succeeded, results })
    }

    fn range(&self, range: &RangeRequest, map: &Map) -> Result<RangeResult, ErrorKind> {
        let map = if range.revision <= 0 {
            map
        } else if range.revision > self.revision {
            return Err(ErrorKind::FutureRevision);
        } else if range.revision < self.compacted {
            return Err(ErrorKind::Compacted);
        } else {
            self.at(range.revision).ok_or(ErrorKind::Compacted)?
        };
        Ok(read(range, map))
    }
}

/// Which branch each transaction takes, nested ones after the one that holds them: all
/// comparisons look at the state before the first write (etcd: `compareToPath`).
fn decide(txn: &TxnRequest, map: &Map, branches: &mut VecDeque<bool>) {
    let succeeded = txn.compares.iter().all(|compare| holds(compare, map));
    branches.push_back(succeeded);
    let ops = if succeeded {
        &txn.success
    } else {
        &txn.failure
    };
    for op in ops {
        if let TxnOp::Txn(nested) = op {
            decide(nested, map, branches);
        }
    }
}

/// What a range answers on `map`.
pub fn read(range: &RangeRequest, map: &BTreeMap<Bytes, KeyValue>) -> RangeResult {
    let mut kvs: Vec<KeyValue> = if range.range.is_single() {
        map.get(&range.range.key).cloned().into_iter().collect()
    } else {
        let from = map.range(range.range.key.clone()..).map(|(_, kv)| kv);
        from.take_while(|kv| range.range.contains(&kv.key))
            .cloned()
            .collect()
    };
    let count = kvs.len() as i64;
    if range.count_only {
        return RangeResult {
            kvs: Vec::new(),
            more: false,
            count,
        };
    }
    let inside = |x: i64, min: i64, max: i64| (min == 0 || min <= x) && (max == 0 || x <= max);
    kvs.retain(|kv| {
        inside(
            kv.mod_revision,
            range.min_mod_revision,
            range.max_mod_revision,
        ) && inside(
            kv.create_revision,
            range.min_create_revision,
            range.max_create_revision,
        )
    });
    match range.sort_target {
        SortTarget::Key => {}
        SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
        SortTarget::CreateRevision => kvs.sort_by_key(|kv| kv.create_revision),
        SortTarget::ModRevision => kvs.sort_by_key(|kv| kv.mod_revision),
        SortTarget::Value => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
    }
    if range.sort_order == SortOrder::Descend {
        kvs.reverse();
    }
    let limit = if range.limit > 0 {
        range.limit as usize
    } else {
        usize::MAX
    };
    let more = kvs.len() > limit;
    kvs.truncate(limit);
    if range.keys_only {
        for kv in &mut kvs {
            kv.value = Bytes::new();
        }
    }
    RangeResult { kvs, more, count }
}

fn holds(compare: &Compare, map: &Map) -> bool {
    let pairs: Vec<&KeyValue> = map
        .values()
        .filter(|kv| compare.range.contains(&kv.key))
        .collect();
    let nothing = KeyValue::default();
    let pairs = match (pairs.is_empty(), &compare.target) {
        (true, CompareTarget::Value(_)) => return false,
        (true, _) => vec![&nothing],
        (false, _) => pairs,
    };
    pairs.into_iter().all(|kv| {
        let order = match &compare.target {
            CompareTarget::Version(given) => kv.version.cmp(given),
            CompareTarget::CreateRevision(given) => kv.create_revision.cmp(given),
            CompareTarget::ModRevision(given) => kv.mod_revision.cmp(given),
            CompareTarget::Lease(given) => kv.lease.cmp(given),
            CompareTarget::Value(given) => kv.value.cmp(given),
        };
        match compare.result {
            CompareResult::Equal => order.is_eq(),
            CompareResult::NotEqual => order.is_ne(),
            CompareResult::Greater => order.is_gt(),
            CompareResult::Less => order.is_lt(),
        }
    })
}
