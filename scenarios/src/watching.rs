//! The watchers of a run: each follows a range over whatever happens, and records what
//! it is shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use veridical_client::record;
use veridical_client::{CallError, Connection, WatchResponses};
use veridical_env::{Clock, Environment};
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::watch_create_request::FilterType;
use veridical_proto::etcdserverpb::watch_request::RequestUnion;
use veridical_sim::SimEnvironment;

use crate::cluster::client_address;
use crate::observer::Observer;
use crate::plan::WatcherPlan;
use crate::requests::key;

/// Connecting to a member, and waiting for the confirmation of a watch.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);

/// A watch that brings nothing for this long is made anew at the next member: its
/// member may have lost touch.
const QUIET_LIMIT: Duration = Duration::from_secs(5);

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
        let request = api::WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create.clone())),
        };
        connection.watch(request).await?;
        self.take(&create, &mut responses, &connection).await
    }

    async fn take(
        &mut self,
        create: &api::WatchCreateRequest,
        responses: &mut WatchResponses,
        connection: &Connection,
    ) -> Result<(), CallError> {
        let clock = self.environment.clock().clone();
        let watch = self.observer.next_watch();
        let ask_period = self.plan.ask_progress_ms.map(Duration::from_millis);
        let mut quiet_until = clock.monotonic() + QUIET_LIMIT;
        let mut ask_at = ask_period.map(|period| clock.monotonic() + period);
        loop {
            let now = clock.monotonic();
            let next = ask_at.map_or(quiet_until, |at| at.min(quiet_until));
            let response = tokio::select! {
                biased;
                response = responses.recv() => response,
                () = clock.sleep(next.saturating_sub(now)) => {
                    let now = clock.monotonic();
                    if now < quiet_until {
                        if let Some(period) = ask_period {
                            ask_at = Some(now + period);
                            let request_union =
                                Some(RequestUnion::ProgressRequest(api::WatchProgressRequest {}));
                            connection.watch(api::WatchRequest { request_union }).await?;
                        }
                        continue;
                    }
                    None
                }
            };
            quiet_until = clock.monotonic() + QUIET_LIMIT;
            let Some(response) = response else {
                return Err(CallError::Unavailable(format!(
                    "the stream ended (closed: {})",
                    connection.is_closed()
                )));
            };
            if response.created {
                let note = record::watch_created(watch, create, &response);
                self.observer.watched(self.client, note);
                if self.next_revision == 0 {
                    let now = response.header.as_ref().map_or(0, |header| header.revision);
                    self.next_revision = now + 1;
                }
            }
            if response.created && !response.canceled {
                continue;
            }
            self.observer
                .watched(self.client, record::watch_response(watch, &response));
            if response.canceled {
                if response.compact_revision > 0 {
                    self.next_revision = response.compact_revision;
                }
                return Ok(());
            }
            self.advance(&response);
        }
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
