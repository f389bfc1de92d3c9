//! Every order of an etcd-like history, each replayed on the reference store.

use std::collections::BTreeMap;

use veridical_histories::EventKind;
use veridical_histories::OperationId;
use veridical_histories::etcd::reference::{Past, Store, read};
use veridical_histories::etcd::{
    ErrorKind, EtcdEvent, KeyValue, Outcome, Request, Response, WatchCreated, WatchEvent,
    WatchEventKind, WatchNote,
};

/// One operation of the history.
#[derive(Clone, Debug)]
struct Operation {
    call_event: usize,
    call_ns: u64,
    /// `None` while the outcome is unknown.
    end: Option<(usize, u64)>,
    client: u64,
    request: Request,
    outcome: Option<Outcome>,
}

impl Operation {
    fn is_placed_freely(&self) -> bool {
        self.outcome.is_none()
    }

    fn is_serializable(&self) -> bool {
        self.request.is_serializable() && self.outcome.is_some()
    }
}

/// Something that shows a revision without taking part in the order.
#[derive(Clone, Debug)]
struct Sighting {
    revision: i64,
    event: usize,
    at_ns: u64,
}

struct Search<'a> {
    operations: &'a [Operation],
    sightings: &'a [Sighting],
    events: &'a [EtcdEvent],
    lease_tolerance_ns: u64,
}

#[derive(Clone)]
struct State {
    store: Store,
    placed: u64,
    /// No later point of the order lies before it.
    now_ns: u64,
    /// When each lease may expire.
    deadlines_ns: BTreeMap<i64, u64>,
    /// Per revision: the event of its writer's call, and the time it cannot precede.
    writers: BTreeMap<i64, (usize, u64)>,
}

/// Whether `events` are linearizable, by the rules of [`crate::etcd`]. Exponential in the
/// number of operations; panics above 64 of them.
///
/// The revision before the history is 1, and nothing is stored.
pub fn is_linearizable(events: &[EtcdEvent], lease_tolerance_ns: u64) -> bool {
    let (operations, sightings) = collect(events);
    assert!(operations.len() <= 64, "brute force is for small histories");
    let search = Search {
        operations: &operations,
        sightings: &sightings,
        events,
        lease_tolerance_ns,
    };
    search.explore(&State {
        store: Store::new(1, Past::Everything),
        placed: 0,
        now_ns: 0,
        deadlines_ns: BTreeMap::new(),
        writers: BTreeMap::new(),
    })
}

fn collect(events: &[EtcdEvent]) -> (Vec<Operation>, Vec<Sighting>) {
    let mut operations: BTreeMap<OperationId, Operation> = BTreeMap::new();
    let mut sightings = Vec::new();
    for (event, recorded) in events.iter().enumerate() {
        let at_ns = recorded.time_ns;
        match &recorded.kind {
            EventKind::Call { op, input } => {
                operations.insert(
                    *op,
                    Operation {
                        call_event: event,
                        call_ns: at_ns,
                        end: None,
                        client: recorded.client,
                        request: input.clone(),
                        outcome: None,
                    },
                );
            }
            EventKind::Return { op, output } => {
                let operation = operations.get_mut(op).expect("the call came before");
                operation.end = Some((event, at_ns));
                operation.outcome = Some(output.clone());
                if matches!(
                    output,
                    Outcome::Refused {
                        error: ErrorKind::Rejected(_)
                    }
                ) {
                    operations.remove(op);
                } else if let Outcome::Done { header, .. } = output
                    && operation.is_serializable()
                {
                    sightings.push(Sighting {
                        revision: header.revision,
                        event,
                        at_ns,
                    });
                }
            }
            EventKind::Failed { op } => {
                operations.remove(op);
            }
            EventKind::Note {
                note: WatchNote::Response(response),
            } => {
                sightings.extend(response.events.iter().map(|seen| Sighting {
                    revision: seen.kv.mod_revision,
                    event,
                    at_ns,
                }));
            }
            EventKind::Unknown { .. } | EventKind::Note { .. } => {}
        }
    }
    (operations.into_values().collect(), sightings)
}

impl Search<'_> {
    fn explore(&self, state: &State) -> bool {
        let is_open = |index: usize| state.placed & (1 << index) == 0;
        let is_done = self
            .operations
            .iter()
            .enumerate()
            .all(|(index, operation)| {
                !is_open(index) || operation.is_placed_freely() || operation.is_serializable()
            });
        if is_done && self.explains_the_rest(state) {
            return true;
        }
        for (index, operation) in self.operations.iter().enumerate() {
            if !is_open(index) || operation.is_serializable() {
                continue;
            }
            let comes_too_early = self.operations.iter().enumerate().any(|(other, before)| {
                is_open(other)
                    && !before.is_placed_freely()
                    && !before.is_serializable()
                    && before
                        .end
                        .is_some_and(|(end, _)| end < operation.call_event)
            });
            if comes_too_early {
                continue;
            }
            if let Some(next) = self.place(state, index, operation)
                && self.explore(&next)
            {
                return true;
            }
        }
        state
            .deadlines_ns
            .keys()
            .any(|lease| self.explore(&self.expire(state, *lease)))
    }

    fn place(&self, state: &State, index: usize, operation: &Operation) -> Option<State> {
        let mut next = state.clone();
        next.placed |= 1 << index;
        next.now_ns = next.now_ns.max(operation.call_ns);
        if operation
            .end
            .is_some_and(|(_, end_ns)| end_ns < next.now_ns)
        {
            return None;
        }
        let before = next.store.revision();
        let result = next.store.apply(&operation.request);
        if let Some(outcome) = &operation.outcome
            && !agrees(&operation.request, &result, outcome)
        {
            return None;
        }
        if next.store.revision() > before {
            next.writers
                .insert(next.store.revision(), (operation.call_event, 0));
        }
        if let Outcome::Done { response, .. } = &result {
            if let Request::LeaseRevoke { id } = &operation.request {
                next.deadlines_ns.remove(id);
            }
            if let Some((id, ttl_s)) = renewed(&operation.request, response) {
                let deadline = operation.call_ns + ttl_s as u64 * 1_000_000_000;
                let known = next.deadlines_ns.entry(id).or_default();
                *known = deadline.max(*known);
            }
        }
        Some(next)
    }

    fn expire(&self, state: &State, lease: i64) -> State {
        let mut next = state.clone();
        let deadline = next
            .deadlines_ns
            .remove(&lease)
            .expect("the lease is there");
        next.now_ns = next
            .now_ns
            .max(deadline.saturating_sub(self.lease_tolerance_ns));
        let before = next.store.revision();
        next.store.end_lease(lease);
        if next.store.revision() > before {
            next.writers.insert(next.store.revision(), (0, next.now_ns));
        }
        next
    }

    /// Serializable reads and watches, against a complete order.
    fn explains_the_rest(&self, state: &State) -> bool {
        let store = &state.store;
        let is_written_before = |sighting: &Sighting| {
            sighting.revision <= store.revision()
                && (2..=sighting.revision).all(|revision| {
                    let (call_event, at_ns) = state.writers[&revision];
                    call_event < sighting.event && at_ns <= sighting.at_ns
                })
        };
        self.sightings.iter().all(is_written_before)
            && self
                .operations
                .iter()
                .filter(|operation| operation.is_serializable())
                .all(|operation| self.explains_stale_read(store, operation))
            && self.explains_watches(store)
    }

    fn explains_stale_read(&self, store: &Store, operation: &Operation) -> bool {
        let (Request::Range(range), Some(Outcome::Done { header, response })) =
            (&operation.request, &operation.outcome)
        else {
            return true;
        };
        let Some(map) = store.at(header.revision) else {
            return false;
        };
        let shown_before = self
            .operations
            .iter()
            .filter(|other| {
                other.client == operation.client
                    && other.end.is_some_and(|(end, _)| end < operation.call_event)
            })
            .filter_map(|other| {
                let Some(Outcome::Done { header: other, .. }) = &other.outcome else {
                    return None;
                };
                (other.member == header.member).then_some(other.revision)
            })
            .max()
            .unwrap_or(0);
        (header.member == 0 || header.revision >= shown_before)
            && *response == Response::Range(read(range, map))
    }

    fn explains_watches(&self, store: &Store) -> bool {
        let mut watches: BTreeMap<u64, (&WatchCreated, i64)> = BTreeMap::new();
        for event in self.events {
            match &event.kind {
                EventKind::Note {
                    note: WatchNote::Created(created),
                } => {
                    let next = match created.start_revision {
                        0 => created.revision + 1,
                        start => start,
                    };
                    watches.insert(created.watch, (created, next));
                }
                EventKind::Note {
                    note: WatchNote::Response(response),
                } => {
                    let (created, next) = watches
                        .get_mut(&response.watch)
                        .expect("it was created before");
                    let Some(last) = response
                        .events
                        .iter()
                        .map(|sent| sent.kv.mod_revision)
                        .max()
                    else {
                        continue;
                    };
                    let expected: Vec<WatchEvent> = (*next..=last)
                        .flat_map(|revision| changes(store, revision))
                        .filter(|change| created.range.contains(&change.kv.key))
                        .collect();
                    // Within a revision there is no order between keys.
                    let mut sent = response.events.clone();
                    let in_order = sent.is_sorted_by_key(|event| event.kv.mod_revision);
                    sent.sort_by(|a, b| {
                        (a.kv.mod_revision, &a.kv.key).cmp(&(b.kv.mod_revision, &b.kv.key))
                    });
                    if !in_order || expected != sent {
                        return false;
                    }
                    *next = last + 1;
                }
                EventKind::Call { .. }
                | EventKind::Return { .. }
                | EventKind::Unknown { .. }
                | EventKind::Failed { .. } => {}
            }
        }
        true
    }
}

/// The lease that an answer renews, and for how many seconds.
fn renewed(request: &Request, response: &Response) -> Option<(i64, i64)> {
    if let Response::LeaseGrant { id, ttl_s } = response {
        return Some((*id, *ttl_s));
    }
    if let (Request::LeaseKeepAlive { id }, Response::LeaseKeepAlive { ttl_s }) =
        (request, response)
        && *ttl_s > 0
    {
        return Some((*id, *ttl_s));
    }
    None
}

/// The changes that `revision` made, by comparing the states before and after it.
fn changes(store: &Store, revision: i64) -> Vec<WatchEvent> {
    let (Some(before), Some(after)) = (store.at(revision - 1), store.at(revision)) else {
        return Vec::new();
    };
    let mut events = Vec::new();
    let mut keys: Vec<_> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let prev_kv = before.get(key).cloned();
        match after.get(key) {
            Some(kv) if kv.mod_revision == revision => {
                events.push(WatchEvent {
                    kind: WatchEventKind::Put,
                    kv: kv.clone(),
                    prev_kv,
                });
            }
            None => {
                let kv = KeyValue {
                    key: key.clone(),
                    mod_revision: revision,
                    ..KeyValue::default()
                };
                events.push(WatchEvent {
                    kind: WatchEventKind::Delete,
                    kv,
                    prev_kv,
                });
            }
            Some(_) => {}
        }
    }
    events
}

/// Whether the recorded outcome is what the store gave. Answers about leases carry a
/// revision that orders nothing.
fn agrees(request: &Request, result: &Outcome, recorded: &Outcome) -> bool {
    match (result, recorded) {
        (Outcome::Refused { error: a }, Outcome::Refused { error: b }) => a == b,
        (
            Outcome::Done {
                header: given,
                response: a,
            },
            Outcome::Done {
                header: recorded,
                response: b,
            },
        ) => {
            a == b
                && match request {
                    Request::LeaseGrant { .. } | Request::LeaseKeepAlive { .. } => true,
                    Request::LeaseRevoke { .. } | Request::LeaseTimeToLive { .. } => {
                        given.revision <= recorded.revision
                    }
                    Request::Range(_)
                    | Request::Put(_)
                    | Request::DeleteRange(_)
                    | Request::Txn(_)
                    | Request::Compact { .. }
                    | Request::LeaseLeases => given.revision == recorded.revision,
                }
        }
        (Outcome::Done { .. }, Outcome::Refused { .. })
        | (Outcome::Refused { .. }, Outcome::Done { .. }) => false,
    }
}
