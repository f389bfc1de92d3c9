//! Correct histories of an etcd-like store.
//!
//! Clients call; at some later step the store carries the request out; at some later
//! step still the client gets the answer, or loses it. Leases expire, watches are sent
//! what happened, lagging members answer serializable reads.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::distribution::{Distribution, KeyChooser};
use crate::etcd::reference::{Past, Store, read};
use crate::etcd::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, EtcdEvent, Header, KeyRange,
    Outcome, PutRequest, RangeRequest, Request, Response, SortOrder, SortTarget, TxnOp, TxnRequest,
    WatchCreated, WatchEvent, WatchNote, WatchResponse,
};
use crate::{OperationId, random::Random};

/// What the generated clients do. Shares are relative weights.
#[derive(Clone, Debug)]
pub struct EtcdWorkload {
    /// All random choices follow from it.
    pub seed: u64,
    /// How many operations are called.
    pub operations: u64,
    /// How many clients call at once.
    pub clients: usize,
    /// How many keys there are.
    pub keys: u64,
    /// How they are chosen.
    pub distribution: Distribution,
    /// Weight of reads of one key.
    pub gets: f64,
    /// Weight of reads of a range.
    pub ranges: f64,
    /// Weight of puts.
    pub puts: f64,
    /// Weight of deletions.
    pub deletes: f64,
    /// Weight of transactions.
    pub txns: f64,
    /// Weight of requests about leases.
    pub leases: f64,
    /// Weight of compactions.
    pub compactions: f64,
    /// Share of operations whose outcome stays unknown.
    pub unknown: f64,
    /// Share of reads that allow a stale answer, or read an old revision.
    pub stale_reads: f64,
    /// How many watches of everything there are.
    pub watches: u64,
    /// Time between two events, in nanoseconds.
    pub step_ns: u64,
}

impl Default for EtcdWorkload {
    fn default() -> Self {
        Self {
            seed: 0,
            operations: 1_000,
            clients: 8,
            keys: 16,
            distribution: Distribution::Uniform,
            gets: 40.0,
            ranges: 10.0,
            puts: 30.0,
            deletes: 5.0,
            txns: 15.0,
            leases: 0.0,
            compactions: 0.0,
            unknown: 0.0,
            stale_reads: 0.0,
            watches: 0,
            step_ns: 1_000,
        }
    }
}

#[derive(Debug)]
enum Client {
    Idle,
    Called { op: OperationId, request: Request },
    Applied { op: OperationId, outcome: Outcome },
}

/// The events of a workload, as an iterator.
#[derive(Debug)]
pub struct EtcdHistory {
    workload: EtcdWorkload,
    random: Random,
    chooser: KeyChooser,
    store: Store,
    clients: Vec<Client>,
    called: u64,
    now_ns: u64,
    /// Lost operations that the store may still carry out.
    limbo: Vec<Request>,
    /// When each lease may expire, in nanoseconds.
    deadlines_ns: BTreeMap<i64, u64>,
    /// What each watch has not been sent yet.
    unsent: Vec<VecDeque<WatchEvent>>,
    watches_created: u64,
    /// What each lagging member has applied.
    members: [i64; 2],
    values: u64,
    next_lease: i64,
}

impl EtcdHistory {
    /// The history of `workload`.
    pub fn new(workload: EtcdWorkload) -> Self {
        let past = if workload.stale_reads > 0.0 {
            Past::Everything
        } else {
            Past::Nothing
        };
        Self {
            random: Random::new(workload.seed),
            chooser: KeyChooser::new(workload.distribution, workload.keys),
            store: Store::new(1, past),
            clients: (0..workload.clients.max(1)).map(|_| Client::Idle).collect(),
            called: 0,
            now_ns: 0,
            limbo: Vec::new(),
            deadlines_ns: BTreeMap::new(),
            unsent: (0..workload.watches).map(|_| VecDeque::new()).collect(),
            watches_created: 0,
            members: [1; 2],
            values: 0,
            next_lease: 1,
            workload,
        }
    }

    fn key(&mut self) -> Bytes {
        let key = self.chooser.choose(&mut self.random);
        Bytes::from(format!("k{key:04}"))
    }

    fn range(&mut self) -> KeyRange {
        match self.random.below(4) {
            0 => KeyRange::all(),
            1 => KeyRange::span(self.key(), &b"\0"[..]),
            _ => {
                let (a, b) = (self.key(), self.key());
                KeyRange::span(a.clone().min(b.clone()), a.max(b))
            }
        }
    }

    fn put(&mut self) -> PutRequest {
        self.values += 1;
        let mut put = PutRequest::of(self.key(), format!("v{}", self.values));
        put.prev_kv = self.random.chance(0.2);
        if self.workload.leases > 0.0 && self.random.chance(0.3) && self.next_lease > 1 {
            put.lease = 1 + self.random.below(self.next_lease as u64 - 1) as i64;
        }
        if self.random.chance(0.05) {
            put.ignore_value = true;
        }
        put
    }

    fn range_request(&mut self) -> RangeRequest {
        let mut range = RangeRequest::of(self.range());
        if self.random.chance(0.3) {
            range.limit = 1 + self.random.below(4) as i64;
        }
        if self.random.chance(0.1) {
            range.keys_only = true;
        }
        if self.random.chance(0.1) {
            range.count_only = true;
        }
        if self.random.chance(0.1) {
            range.min_mod_revision = self.random.below(self.store.revision() as u64 + 1) as i64;
        }
        if self.random.chance(0.2) {
            range.sort_order = *self.random.pick(&[SortOrder::Ascend, SortOrder::Descend]);
            range.sort_target = *self.random.pick(&[
                SortTarget::Key,
                SortTarget::Version,
                SortTarget::ModRevision,
                SortTarget::Value,
            ]);
        }
        range
    }

    /// A transaction; every fourth one has another one behind its write, which looks at
    /// what was there before.
    fn txn(&mut self) -> TxnRequest {
        let mut txn = self.flat_txn();
        if self.random.below(4) == 0 {
            let mut nested = self.flat_txn();
            nested.success.remove(0);
            nested.failure.truncate(1);
            if let Some(TxnOp::Put(put)) = txn.success.first() {
                nested.compares[0].range = KeyRange::single(put.key.clone());
            }
            txn.success.push(TxnOp::Txn(nested));
        }
        txn
    }

    fn flat_txn(&mut self) -> TxnRequest {
        let compare = Compare {
            range: KeyRange::single(self.key()),
            target: match self.random.below(3) {
                0 => CompareTarget::Version(self.random.below(3) as i64),
                1 => CompareTarget::CreateRevision(0),
                _ => CompareTarget::ModRevision(
                    self.random.below(self.store.revision() as u64 + 1) as i64,
                ),
            },
            result: *self.random.pick(&[
                CompareResult::Equal,
                CompareResult::Greater,
                CompareResult::NotEqual,
            ]),
        };
        // The store refuses a transaction that writes a key twice: one put, or reads and
        // a deletion.
        let put = |history: &mut Self| {
            let put = PutRequest {
                ignore_value: false,
                lease: 0,
                ..history.put()
            };
            TxnOp::Put(put)
        };
        let success = vec![put(self), TxnOp::Range(RangeRequest::get(self.key()))];
        let failure = match self.random.below(3) {
            0 => vec![],
            1 => vec![TxnOp::Range(RangeRequest::of(self.range()))],
            _ => vec![
                TxnOp::Range(RangeRequest::get(self.key())),
                TxnOp::DeleteRange(DeleteRangeRequest::of(KeyRange::single(self.key()))),
            ],
        };
        TxnRequest {
            compares: vec![compare],
            success,
            failure,
        }
    }

    fn request(&mut self) -> Request {
        let w = &self.workload;
        let weights = [
            w.gets,
            w.ranges,
            w.puts,
            w.deletes,
            w.txns,
            w.leases,
            w.compactions,
        ];
        let mut at = self.random.unit() * weights.iter().sum::<f64>();
        let mut kind = 0;
        while kind + 1 < weights.len() && at >= weights[kind] {
            at -= weights[kind];
            kind += 1;
        }
        let stale = self.random.chance(self.workload.stale_reads);
        match kind {
            0 | 1 => {
                let mut range = if kind == 0 {
                    RangeRequest::get(self.key())
                } else {
                    self.range_request()
                };
                if stale && self.random.chance(0.5) {
                    range.serializable = true;
                } else if stale {
                    range.revision = 1 + self.random.below(self.store.revision() as u64) as i64;
                }
                Request::Range(range)
            }
            2 => Request::Put(self.put()),
            3 => {
                let range = if self.random.chance(0.2) {
                    self.range()
                } else {
                    KeyRange::single(self.key())
                };
                let prev_kv = self.random.chance(0.3);
                Request::DeleteRange(DeleteRangeRequest { range, prev_kv })
            }
            4 => Request::Txn(self.txn()),
            5 => {
                let some = 1 + self.random.below(self.next_lease.max(1) as u64) as i64;
                match self.random.below(4) {
                    0 => Request::LeaseRevoke { id: some },
                    1 => Request::LeaseKeepAlive { id: some },
                    _ => {
                        self.next_lease += 1;
                        Request::LeaseGrant {
                            id: self.next_lease - 1,
                            ttl_s: 1,
                        }
                    }
                }
            }
            _ => Request::Compact {
                revision: 1 + self.random.below(self.store.revision() as u64) as i64,
            },
        }
    }

    fn apply(&mut self, request: &Request) -> Outcome {
        if let Request::Range(range) = request
            && range.serializable
        {
            let member = self.random.index(self.members.len());
            let lag = (self.store.revision() - self.members[member]) as u64;
            self.members[member] += self.random.below(lag + 1) as i64;
            let revision = self.members[member];
            let map = self.store.at(revision).expect("the whole past is kept");
            return Outcome::Done {
                header: Header {
                    revision,
                    member: member as u64 + 1,
                },
                response: Response::Range(read(range, map)),
            };
        }
        let before = self.store.revision();
        let outcome = self.store.apply(request);
        if let Outcome::Done { response, .. } = &outcome {
            match (request, response) {
                (_, Response::LeaseGrant { id, ttl_s }) => self.renew(*id, *ttl_s),
                (Request::LeaseKeepAlive { id }, Response::LeaseKeepAlive { ttl_s })
                    if *ttl_s > 0 =>
                {
                    self.renew(*id, *ttl_s);
                }
                (Request::LeaseRevoke { id }, _) => {
                    self.deadlines_ns.remove(id);
                }
                _ => {}
            }
        }
        self.publish(before);
        outcome
    }

    fn renew(&mut self, lease: i64, ttl_s: i64) {
        self.deadlines_ns
            .insert(lease, self.now_ns + ttl_s as u64 * 1_000_000_000);
    }

    fn publish(&mut self, before: i64) {
        if self.store.revision() > before {
            for unsent in &mut self.unsent {
                unsent.extend(self.store.last_events().iter().cloned());
            }
        }
    }

    fn expire(&mut self) {
        let due = self
            .deadlines_ns
            .iter()
            .find(|(_, deadline)| **deadline <= self.now_ns);
        if let Some((lease, _)) = due {
            let lease = *lease;
            self.deadlines_ns.remove(&lease);
            let before = self.store.revision();
            self.store.end_lease(lease);
            self.publish(before);
        }
    }

    fn watch(&mut self) -> Option<EtcdEvent> {
        if self.watches_created < self.workload.watches {
            self.watches_created += 1;
            let created = WatchCreated {
                watch: self.watches_created,
                range: KeyRange::all(),
                start_revision: 2,
                revision: self.store.revision(),
                prev_kv: true,
                ..WatchCreated::default()
            };
            let client = 1_000_000 + self.watches_created;
            return Some(EtcdEvent::note(
                self.now_ns,
                client,
                WatchNote::Created(created),
            ));
        }
        if self.unsent.is_empty() {
            return None;
        }
        let watch = self.random.index(self.unsent.len());
        let unsent = &mut self.unsent[watch];
        let first = unsent.front()?.kv.mod_revision;
        let upto = first + self.random.below(3) as i64;
        let mut events = Vec::new();
        while unsent
            .front()
            .is_some_and(|event| event.kv.mod_revision <= upto)
        {
            events.extend(unsent.pop_front());
        }
        let response = WatchResponse {
            watch: watch as u64 + 1,
            revision: self.store.revision(),
            events,
            ..WatchResponse::default()
        };
        let client = 1_000_001 + watch as u64;
        Some(EtcdEvent::note(
            self.now_ns,
            client,
            WatchNote::Response(response),
        ))
    }

    /// One step of one client. `None` where nothing is to be recorded.
    fn step(&mut self, client: usize) -> Option<EtcdEvent> {
        let session = client as u64;
        match std::mem::replace(&mut self.clients[client], Client::Idle) {
            Client::Idle => {
                if self.called >= self.workload.operations {
                    return None;
                }
                self.called += 1;
                let op = OperationId(self.called);
                let request = self.request();
                self.clients[client] = Client::Called {
                    op,
                    request: request.clone(),
                };
                Some(EtcdEvent::call(self.now_ns, session, op, request))
            }
            Client::Called { op, request } => {
                if self.random.chance(self.workload.unknown) {
                    match self.random.below(3) {
                        0 => {
                            self.apply(&request);
                        }
                        1 => self.limbo.push(request),
                        _ => {}
                    }
                    return Some(EtcdEvent::unknown(self.now_ns, session, op));
                }
                let outcome = self.apply(&request);
                self.clients[client] = Client::Applied { op, outcome };
                None
            }
            Client::Applied { op, outcome } => {
                Some(EtcdEvent::returned(self.now_ns, session, op, outcome))
            }
        }
    }

    fn is_over(&self) -> bool {
        self.called >= self.workload.operations
            && self
                .clients
                .iter()
                .all(|client| matches!(client, Client::Idle))
            && self.unsent.iter().all(VecDeque::is_empty)
            && self.watches_created == self.workload.watches
    }
}

impl Iterator for EtcdHistory {
    type Item = EtcdEvent;

    fn next(&mut self) -> Option<EtcdEvent> {
        while !self.is_over() {
            self.now_ns += self.workload.step_ns;
            if !self.limbo.is_empty() && self.random.chance(0.05) {
                let index = self.random.index(self.limbo.len());
                let request = self.limbo.swap_remove(index);
                self.apply(&request);
            }
            if !self.deadlines_ns.is_empty() && self.random.chance(0.2) {
                self.expire();
            }
            let event = if self.workload.watches > 0 && self.random.chance(0.2) {
                self.watch()
            } else {
                let client = self.random.index(self.clients.len());
                self.step(client)
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }
}
