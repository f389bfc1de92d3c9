//! The watchers of a run: each follows a range over whatever happens, and records what
//! it is shown.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use veridical_client::record;
use veridical_client::{CallError, Connection, WatchResponses};
use veridical_env::{Clock, Environment};
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::watch_create_request::FilterType;
use veridical_proto::etcdserverpb::watch_request::RequestUnion;
use veridical_world::SimEnvironment;

use crate::cluster::client_address;
use crate::keyspace::key;
use crate::observer::Observer;
use crate::plan::{BesidePlan, WatcherPlan};
use crate::progress::progress_below_start;
use veridical_harness::report::{Class, Finding};

/// Connecting to a member, and waiting for the confirmation of a watch.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);

/// A watch that brings nothing for this long is made anew at the next member: its
/// member may have lost touch.
const QUIET_LIMIT: Duration = Duration::from_secs(5);

/// The identifier in responses that are about all watches of a stream.
const WATCH_ID_NONE: i64 = -1;

/// Between two attempts.
const RETRY_DELAY: Duration = Duration::from_millis(150);

/// How far a watcher has been shown everything.
#[derive(Clone, Default)]
pub struct Reached(Arc<AtomicI64>);

impl Reached {
    /// The newest revision of an event that it was shown.
    pub fn revision(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn advance(&self, revision: i64) {
        self.0.fetch_max(revision, Ordering::Relaxed);
    }
}

/// Watches until the world ends.
pub async fn run_watcher(
    environment: SimEnvironment,
    plan: WatcherPlan,
    members: u32,
    client: u64,
    observer: Observer,
    reached: Reached,
) {
    environment
        .clock()
        .sleep(Duration::from_millis(plan.start_at_ms))
        .await;
    let mut watcher = Watcher {
        next_revision: i64::from(plan.from_beginning),
        member: plan.first_member,
        environment,
        plan,
        client,
        observer,
        reached,
    };
    loop {
        // Whatever ends a stream, the next one goes on behind it.
        let _ = watcher.follow().await;
        watcher.member = (watcher.member + 1) % members;
        watcher.environment.clock().sleep(RETRY_DELAY).await;
    }
}

struct Watcher {
    environment: SimEnvironment,
    plan: WatcherPlan,
    client: u64,
    observer: Observer,
    reached: Reached,
    member: u32,
    /// The first revision that is still wanted; 0 for whatever comes.
    next_revision: i64,
}

/// The watches of one stream.
struct Stream {
    connection: Connection,
    /// Asked for and not confirmed, in the order of asking.
    asked: VecDeque<(u64, api::WatchCreateRequest)>,
    /// The number in the history of each, by its identifier on the stream.
    numbers: BTreeMap<i64, u64>,
    /// The first revision that each asked for, by its identifier on the stream.
    starts: BTreeMap<i64, i64>,
    /// The number of the one that the watcher is for.
    main: u64,
    /// The newest revision that the stream told of.
    newest: i64,
    /// When the watch beside is made, or canceled.
    turn_at: Option<Duration>,
}

impl Stream {
    async fn send(&self, request: RequestUnion) -> Result<(), CallError> {
        let request_union = Some(request);
        self.connection
            .watch(api::WatchRequest { request_union })
            .await
    }

    async fn create(
        &mut self,
        number: u64,
        create: api::WatchCreateRequest,
    ) -> Result<(), CallError> {
        self.asked.push_back((number, create.clone()));
        self.send(RequestUnion::CreateRequest(create)).await
    }

    /// The identifier of the watch beside, if it is there.
    fn beside(&self) -> Option<i64> {
        let mut others = self
            .numbers
            .iter()
            .filter(|(_, number)| **number != self.main);
        others.next().map(|(id, _)| *id)
    }
}

impl Watcher {
    /// Follows one stream until it breaks.
    async fn follow(&mut self) -> Result<(), CallError> {
        let (network, clock) = (
            self.environment.network().clone(),
            self.environment.clock().clone(),
        );
        let address = client_address(self.member);
        let (connection, mut responses) =
            Connection::open(&network, &clock, &address, CONNECT_TIMEOUT).await?;
        let mut create = api::WatchCreateRequest {
            key: key(self.plan.keys.0),
            range_end: key(self.plan.keys.1),
            start_revision: self.next_revision,
            progress_notify: self.plan.progress,
            prev_kv: self.plan.prev_kv,
            fragment: self.plan.fragment,
            ..Default::default()
        };
        if self.plan.no_put {
            create.filters.push(FilterType::Noput as i32);
        }
        if self.plan.no_delete {
            create.filters.push(FilterType::Nodelete as i32);
        }
        let main = self.observer.next_watch();
        let period = self.plan.beside.as_ref().map(period);
        let mut stream = Stream {
            connection,
            asked: VecDeque::new(),
            numbers: BTreeMap::new(),
            starts: BTreeMap::new(),
            main,
            newest: 0,
            turn_at: period.map(|period| clock.monotonic() + period),
        };
        stream.create(main, create).await?;
        self.take(&mut stream, &mut responses).await
    }

    async fn take(
        &mut self,
        stream: &mut Stream,
        responses: &mut WatchResponses,
    ) -> Result<(), CallError> {
        let clock = self.environment.clock().clone();
        let ask_period = self.plan.ask_progress_ms.map(Duration::from_millis);
        let mut quiet_until = clock.monotonic() + QUIET_LIMIT;
        let mut ask_at = ask_period.map(|period| clock.monotonic() + period);
        loop {
            let now = clock.monotonic();
            let times = [Some(quiet_until), ask_at, stream.turn_at];
            let next = times.into_iter().flatten().min().unwrap_or(quiet_until);
            let response = tokio::select! {
                biased;
                response = responses.recv() => response,
                () = clock.sleep(next.saturating_sub(now)) => {
                    let now = clock.monotonic();
                    if now < quiet_until {
                        if let Some(period) = ask_period && ask_at.is_some_and(|at| now >= at) {
                            ask_at = Some(now + period);
                            let ask = RequestUnion::ProgressRequest(api::WatchProgressRequest {});
                            stream.send(ask).await?;
                        }
                        if stream.turn_at.is_some_and(|at| now >= at) {
                            self.turn(stream, now).await?;
                        }
                        continue;
                    }
                    None
                }
            };
            let Some(response) = response else {
                return Err(CallError::Unavailable(format!(
                    "the stream ended (closed: {})",
                    stream.connection.is_closed()
                )));
            };
            let number = stream.numbers.get(&response.watch_id);
            if response.watch_id == WATCH_ID_NONE || number == Some(&stream.main) {
                quiet_until = clock.monotonic() + QUIET_LIMIT;
            }
            if self.took(stream, &response) {
                return Ok(());
            }
        }
    }

    /// Makes the watch beside, or cancels it.
    async fn turn(&mut self, stream: &mut Stream, now: Duration) -> Result<(), CallError> {
        let Some(plan) = self.plan.beside.clone() else {
            return Ok(());
        };
        stream.turn_at = Some(now + period(&plan));
        match stream.beside() {
            Some(watch_id) => {
                let cancel = api::WatchCancelRequest { watch_id };
                stream.send(RequestUnion::CancelRequest(cancel)).await
            }
            None if stream.newest > 0 && stream.asked.is_empty() => {
                let create = api::WatchCreateRequest {
                    key: plan.key(),
                    range_end: plan.range_end(),
                    start_revision: (stream.newest - plan.back).max(1),
                    prev_kv: plan.prev_kv,
                    ..Default::default()
                };
                stream.create(self.observer.next_watch(), create).await
            }
            None => Ok(()),
        }
    }

    /// Takes a response in. Whether the watch that the watcher is for has ended.
    fn took(&mut self, stream: &mut Stream, response: &api::WatchResponse) -> bool {
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        stream.newest = stream.newest.max(revision);
        if response.created {
            return self.is_confirmed(stream, response);
        }
        let concerned: Vec<u64> = match response.watch_id {
            WATCH_ID_NONE => stream.numbers.values().copied().collect(),
            id => stream.numbers.get(&id).copied().into_iter().collect(),
        };
        if concerned.is_empty() && response.watch_id != WATCH_ID_NONE {
            self.wrong(response, "is about a watch that is not there");
        }
        for number in &concerned {
            let note = record::watch_response(*number, response);
            self.observer.watched(self.client, note);
        }
        let is_main = concerned.contains(&stream.main);
        if response.events.is_empty()
            && !response.canceled
            && let Some(text) = progress_below_start(response, &stream.starts)
        {
            self.observer
                .report(Finding::new(Class::Violation, "progress-below-start", text));
        }
        if response.canceled {
            stream.numbers.remove(&response.watch_id);
            stream.starts.remove(&response.watch_id);
            if is_main && response.compact_revision > 0 {
                self.next_revision = response.compact_revision;
            }
            return is_main;
        }
        if is_main {
            self.advance(response);
        }
        false
    }

    /// A watch was made, or refused. Whether it was the one that the watcher is for, and is
    /// refused.
    fn is_confirmed(&mut self, stream: &mut Stream, response: &api::WatchResponse) -> bool {
        let Some((number, create)) = stream.asked.pop_front() else {
            self.wrong(response, "confirms what nobody asked for");
            return true;
        };
        let note = record::watch_created(number, &create, response);
        self.observer.watched(self.client, note);
        let is_main = number == stream.main;
        if is_main && self.next_revision == 0 {
            let now = response.header.as_ref().map_or(0, |header| header.revision);
            self.next_revision = now + 1;
        }
        if response.canceled {
            let note = record::watch_response(number, response);
            self.observer.watched(self.client, note);
            return is_main;
        }
        stream
            .starts
            .insert(response.watch_id, create.start_revision);
        if stream.numbers.insert(response.watch_id, number).is_some() {
            self.wrong(response, "has the identifier of another watch");
        }
        false
    }

    fn wrong(&self, response: &api::WatchResponse, what: &str) {
        let text = format!("a response {what}: {response:?}");
        self.observer
            .report(Finding::new(Class::Violation, "watch", text));
    }

    fn advance(&mut self, response: &api::WatchResponse) {
        let last = response
            .events
            .iter()
            .filter_map(|event| event.kv.as_ref())
            .next_back();
        match last {
            Some(kv) => {
                self.reached.advance(kv.mod_revision);
                // The rest of a revision comes with the next fragment.
                let done = if response.fragment {
                    kv.mod_revision - 1
                } else {
                    kv.mod_revision
                };
                self.next_revision = self.next_revision.max(done + 1);
            }
            None => {
                let done = response.header.as_ref().map_or(0, |header| header.revision);
                self.next_revision = self.next_revision.max(done + 1);
            }
        }
    }
}

/// How long a watch beside another one lasts.
fn period(plan: &BesidePlan) -> Duration {
    Duration::from_millis(plan.period_ms)
}
