//! Every watch is given exactly the events of its range from its first revision on, in
//! order, whatever else happens: slow reading, full queues, compaction, snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use veridical_planted::Planted;
use veridical_proto::command::command::Request;
use veridical_proto::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
    watch_request::RequestUnion,
};
use veridical_proto::mvccpb::Event;
use veridical_store::{
    MemtableKind, Restorer, Store, StoreConfig, WATCH_ID_NONE, WatchLimits, WatchStream, check_txn,
};

use crate::apply;
use crate::generate::{range, request};
use crate::model::Model;

#[derive(Clone, Debug)]
enum Step {
    Apply(Request),
    Publish,
    /// Creates a watch on a stream, that many revisions before (or after) the present.
    Watch(usize, WatchCreateRequest, Option<i64>),
    /// Cancels a watch of a stream by number.
    Cancel(usize, i64),
    RequestProgress(usize),
    TickProgress(usize),
    /// Polls a stream up to that many times.
    Poll(usize, usize),
    Install,
}

const STREAMS: usize = 2;

fn step() -> impl Strategy<Value = Step> {
    let stream = || 0..STREAMS;
    prop_oneof![
        14 => request().prop_map(Step::Apply),
        8 => Just(Step::Publish),
        4 => (stream(), create(), prop::option::of(-3i64..12))
            .prop_map(|(stream, create, back)| Step::Watch(stream, create, back)),
        1 => (stream(), 0i64..6).prop_map(|(stream, id)| Step::Cancel(stream, id)),
        1 => stream().prop_map(Step::RequestProgress),
        1 => stream().prop_map(Step::TickProgress),
        6 => (stream(), 1usize..6).prop_map(|(stream, times)| Step::Poll(stream, times)),
        1 => Just(Step::Install),
    ]
}

fn create() -> impl Strategy<Value = WatchCreateRequest> {
    (
        range(),
        prop::sample::select(vec![vec![], vec![], vec![0], vec![1], vec![0, 1]]),
        any::<(bool, bool, bool)>(),
        prop_oneof![4 => Just(0i64), 1 => 1i64..6],
    )
        .prop_map(
            |((key, range_end), filters, flags, watch_id)| WatchCreateRequest {
                key,
                range_end,
                start_revision: 0,
                progress_notify: flags.0,
                filters,
                prev_kv: flags.1,
                watch_id,
                fragment: flags.2,
            },
        )
}

fn limits() -> impl Strategy<Value = (WatchLimits, usize)> {
    (1usize..8, 1usize..4, 60usize..300).prop_map(|(events, revisions, request_bytes)| {
        let limits = WatchLimits {
            max_buffered_events: events,
            max_catch_up_revisions: revisions,
            ..WatchLimits::default()
        };
        (limits, request_bytes)
    })
}

/// What a client knows of one watch.
#[derive(Debug)]
struct Watched {
    request: WatchCreateRequest,
    start_revision: i64,
    received: Vec<Event>,
    /// The last response was cut: more of the same is to come.
    in_fragment: bool,
    canceled: bool,
}

impl Watched {
    /// What should have been received up to a revision, without previous pairs.
    fn expected(&self, model: &Model, until: i64) -> Vec<Event> {
        let mut events = model.events(
            &self.request.key,
            &self.request.range_end,
            self.start_revision,
        );
        events.retain(|event| {
            revision(event) <= until && !self.request.filters.contains(&event.r#type)
        });
        events
    }

    fn check_received(&self, model: &Model, until: i64) -> Result<(), TestCaseError> {
        let expected = self.expected(model, until);
        let received: Vec<Event> = self.received.iter().map(without_prev).collect();
        let wanted: Vec<Event> = expected.iter().map(without_prev).collect();
        prop_assert_eq!(
            received,
            wanted,
            "{:?} from {}",
            self.request,
            self.start_revision
        );
        for (received, expected) in self.received.iter().zip(&expected) {
            let created = received.r#type == 0
                && received.kv.as_ref().expect("a pair").create_revision == revision(received);
            match &received.prev_kv {
                Some(_) => {
                    prop_assert!(self.request.prev_kv && !created);
                    prop_assert_eq!(&received.prev_kv, &expected.prev_kv);
                }
                None => {
                    let may_lack = !self.request.prev_kv
                        || created
                        || revision(received) - 1 < model.compacted;
                    prop_assert!(expected.prev_kv.is_none() || may_lack, "{:?}", received);
                }
            }
        }
        Ok(())
    }
}

fn revision(event: &Event) -> i64 {
    event.kv.as_ref().expect("events have keys").mod_revision
}

fn without_prev(event: &Event) -> Event {
    Event {
        prev_kv: None,
        ..event.clone()
    }
}

struct Client {
    stream: WatchStream,
    woken: Arc<AtomicBool>,
    /// Requests whose watch has not been confirmed, in order.
    requested: Vec<(WatchCreateRequest, i64)>,
    watches: BTreeMap<i64, Watched>,
    done: Vec<Watched>,
    progress_revision: i64,
}

impl Client {
    fn new(store: &Store) -> Self {
        let woken = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&woken);
        Self {
            stream: store
                .reader()
                .open_watch_stream(Arc::new(move || flag.store(true, Ordering::Relaxed))),
            woken,
            requested: Vec::new(),
            watches: BTreeMap::new(),
            done: Vec::new(),
            progress_revision: 0,
        }
    }

    fn send(&mut self, request: RequestUnion) {
        let request = WatchRequest {
            request_union: Some(request),
        };
        self.stream.handle(request).expect("there is room");
        self.woken.store(true, Ordering::Relaxed);
    }

    /// Polls unless there was nothing to say and nobody has woken us since.
    fn poll(&mut self, model: &Model, times: usize) -> Result<(), TestCaseError> {
        for _ in 0..times {
            if !self.woken.swap(false, Ordering::Relaxed) {
                return Ok(());
            }
            if let Some(response) = self.stream.poll() {
                self.woken.store(true, Ordering::Relaxed);
                self.take(model, response)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, model: &Model, response: WatchResponse) -> Result<(), TestCaseError> {
        let header_revision = response.header.as_ref().expect("a header").revision;
        let id = response.watch_id;
        if response.created {
            let (request, start) = self.requested.remove(0);
            if response.canceled {
                prop_assert_eq!(id, WATCH_ID_NONE);
                prop_assert!(!response.cancel_reason.is_empty());
                return Ok(());
            }
            let watched = Watched {
                start_revision: if start == 0 {
                    header_revision + 1
                } else {
                    start
                },
                request,
                received: Vec::new(),
                in_fragment: false,
                canceled: false,
            };
            prop_assert!(self.watches.insert(id, watched).is_none());
            return Ok(());
        }
        if response.canceled {
            let watched = self.watches.remove(&id).expect("a watch that is there");
            if response.compact_revision != 0 {
                // Only what cannot be read any more may be withheld.
                let next = watched.received.last().map_or(0, revision) + 1;
                prop_assert!(next.max(watched.start_revision) < response.compact_revision);
                prop_assert!(response.compact_revision <= model.compacted);
            } else {
                prop_assert!(watched.canceled);
            }
            self.done.push(watched);
            return Ok(());
        }
        if response.events.is_empty() {
            // Progress: nothing up to this revision is still to come.
            prop_assert!(header_revision >= self.progress_revision);
            self.progress_revision = header_revision;
            for (watch_id, watched) in &self.watches {
                if id == WATCH_ID_NONE || id == *watch_id {
                    prop_assert!(header_revision >= watched.request.start_revision);
                    watched.check_received(model, header_revision)?;
                }
            }
            return Ok(());
        }
        let watched = self.watches.get_mut(&id).expect("a watch that is there");
        let first = revision(&response.events[0]);
        let last = watched.received.last().map_or(0, revision);
        prop_assert!(first > last || (watched.in_fragment && first == last));
        prop_assert!(
            response
                .events
                .iter()
                .all(|event| revision(event) <= header_revision)
        );
        prop_assert!(!response.fragment || watched.request.fragment);
        watched.in_fragment = response.fragment;
        watched.received.extend(response.events);
        Ok(())
    }

    /// Everything that is due has been taken, and every watch has had its events.
    fn check_at_the_end(&mut self, model: &Model) -> Result<(), TestCaseError> {
        self.poll(model, 100_000)?;
        prop_assert!(
            !self.woken.load(Ordering::Relaxed),
            "the stream never rests"
        );
        for watched in self.watches.values() {
            watched.check_received(model, model.revision())?;
        }
        for watched in &self.done {
            let last = watched.received.last().map_or(0, revision);
            let mut expected = watched.expected(model, last);
            // A canceled watch may have been cut short within a fragmented revision.
            if watched.in_fragment {
                expected.truncate(watched.received.len());
            }
            let received: Vec<Event> = watched.received.iter().map(without_prev).collect();
            let expected: Vec<Event> = expected.iter().map(without_prev).collect();
            prop_assert_eq!(received, expected);
        }
        Ok(())
    }
}

/// Installs a snapshot of a member that was further than this one, and has compacted what
/// it did.
fn install_from_ahead(store: &mut Store, model: &mut Model, config: &StoreConfig) {
    let mut source = store.snapshot();
    let mut restorer = Restorer::new(config.clone());
    while let Some(chunk) = source.next_chunk(1000) {
        restorer.push(&chunk).expect("our own bytes");
    }
    drop(source);
    let mut ahead = restorer.finish().expect("our own bytes");
    for value in ["1", "2"] {
        let put = crate::put("a", value);
        model.apply(&put).expect("a put succeeds");
        apply(&mut ahead, put);
    }
    let compact = crate::compact(model.revision() - 1);
    model.apply(&compact).expect("a new revision to compact");
    apply(&mut ahead, compact);
    ahead.publish();
    store.install(ahead);
}

/// Runs the steps on a store and its model with clients that watch.
fn run(
    steps: &[Step],
    limits: (WatchLimits, usize),
    planted: Planted,
) -> Result<(), TestCaseError> {
    let config = StoreConfig {
        memtable: MemtableKind::Sharded,
        shards: 3,
        watch: limits.0,
        max_request_bytes: limits.1,
        planted,
        ..StoreConfig::default()
    };
    let mut store = Store::new(config.clone());
    let mut model = Model::new();
    let mut clients: Vec<Client> = (0..STREAMS).map(|_| Client::new(&store)).collect();
    for step in steps {
        match step {
            Step::Apply(request) => {
                if let Request::Txn(txn) = request
                    && check_txn(txn, 128).is_err()
                {
                    continue;
                }
                let _ = model.apply(request);
                apply(&mut store, request.clone());
            }
            Step::Publish => store.publish(),
            Step::Watch(client, create, back) => {
                let start = back.map_or(0, |back| (store.reader().revision() - back).max(1));
                let mut create = create.clone();
                create.start_revision = start;
                let client = &mut clients[*client];
                client.requested.push((create.clone(), start));
                client.send(RequestUnion::CreateRequest(create));
            }
            Step::Cancel(client, watch_id) => {
                let client = &mut clients[*client];
                // Canceled once more before the answer, it would be the next one of this
                // number that ends, if that was asked for meanwhile.
                let watched = client.watches.get_mut(watch_id);
                if let Some(watched) = watched.filter(|watched| !watched.canceled) {
                    watched.canceled = true;
                    client.send(RequestUnion::CancelRequest(WatchCancelRequest {
                        watch_id: *watch_id,
                    }));
                }
            }
            Step::RequestProgress(client) => {
                clients[*client].send(RequestUnion::ProgressRequest(WatchProgressRequest {}));
            }
            Step::TickProgress(client) => {
                let client = &mut clients[*client];
                client.stream.tick_progress();
                client.woken.store(true, Ordering::Relaxed);
            }
            Step::Poll(client, times) => clients[*client].poll(&model, *times)?,
            Step::Install => install_from_ahead(&mut store, &mut model, &config),
        }
    }
    store.publish();
    for client in &mut clients {
        client.check_at_the_end(&model)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_watch_is_given_exactly_its_events_in_order(
        steps in prop::collection::vec(step(), 1..80),
        limits in limits(),
    ) {
        run(&steps, limits, Planted::none())?;
    }
}

/// The log would notice if watches had these defects.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_defects_of_watches_are_found() {
    use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
    use veridical_planted::PlantedBug;

    for bug in [
        PlantedBug::WatchGap,
        PlantedBug::WatchOverflow,
        PlantedBug::WatchSkipsInstalled,
        PlantedBug::WatchForgetsStart,
        PlantedBug::WatchPrevLost,
        PlantedBug::ProgressAhead,
        PlantedBug::ProgressBelowStart,
    ] {
        let config = ProptestConfig {
            cases: 1000,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let strategy = (prop::collection::vec(step(), 1..80), limits());
        let found = TestRunner::new_with_rng(config, rng).run(&strategy, |(steps, limits)| {
            run(&steps, limits, Planted::only(bug))
        });
        assert!(found.is_err(), "{bug} was not found");
    }
}

/// `"\0"` as a key stands for the smallest key; the model has to see the same.
#[test]
fn an_empty_key_watches_from_the_smallest_key() {
    let mut store = Store::new(StoreConfig::default());
    let mut client = Client::new(&store);
    let create = WatchCreateRequest {
        range_end: Bytes::from("\0"),
        ..Default::default()
    };
    client.send(RequestUnion::CreateRequest(create));
    assert!(client.stream.poll().expect("an answer").created);
    apply(&mut store, crate::put("a", "1"));
    store.publish();
    assert_eq!(client.stream.poll().expect("an event").events.len(), 1);
}
