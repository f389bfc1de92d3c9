//! What watches are told of their progress, in a cluster without faults.
//!
//! On one stream are a quiet watch, one whose key is written all the time, and one that begins
//! with a revision to come. The quiet one has to be told of its progress within two periods,
//! whatever the busy one brings; and none may be told of a revision below its first one.

use std::collections::BTreeMap;
use std::time::Duration;

use veridical_client::{CallError, Connection, WatchResponses};
use veridical_env::Environment;
use veridical_harness::report::{Class, Finding};
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::watch_request::RequestUnion;
use veridical_world::{SimEnvironment, World};

use crate::cluster::client_address;
use crate::keyspace::key;

/// The key that is written; no client of a plan writes it.
pub const BUSY_KEY: u32 = 90;

/// A key that nobody writes.
const QUIET_KEY: u32 = 91;

/// Longer periods than this are not waited for.
const PERIOD_MAX: Duration = Duration::from_millis(2_500);

/// Between two writes: so many in a period.
const WRITES_PER_PERIOD: u32 = 8;

/// The watch that is to come begins so many revisions later.
const REVISIONS_AHEAD: i64 = 5;

/// Connecting, and the confirmation of a watch.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What the network and the tasks of a member may take for one response.
const SLACK: Duration = Duration::from_millis(1_000);

/// Where the watches are.
pub struct ProgressProbe<'a> {
    /// The world.
    pub world: &'a World,
    /// The machine of the client.
    pub environment: &'a SimEnvironment,
    /// Where members are.
    pub sites: Vec<u32>,
    /// The period of progress notifications by a member's clock.
    pub period: Duration,
    /// How far clocks may be off, in millionths.
    pub drift_ppm: u64,
}

/// One stream and what it has told.
struct Stream {
    connection: Connection,
    responses: WatchResponses,
    /// The first revision that each watch asked for, by identifier.
    starts: BTreeMap<i64, i64>,
    /// The busy watch had events since the quiet one was told of its progress.
    is_busy: bool,
}

impl ProgressProbe<'_> {
    /// Follows the watches at the first member that answers, while `write` writes
    /// [`BUSY_KEY`] once each time.
    ///
    /// # Errors
    /// What was told and must not be, or was not told and must be.
    pub async fn check(&self, write: impl AsyncFn()) -> Result<(), Finding> {
        if self.period > PERIOD_MAX {
            return Ok(());
        }
        for site in &self.sites {
            if let Ok(stream) = self.open(*site).await {
                return self.follow(stream, write).await;
            }
        }
        Ok(())
    }

    async fn open(&self, site: u32) -> Result<Stream, CallError> {
        let (network, clock) = (self.environment.network(), self.environment.clock());
        let address = client_address(site);
        let (connection, responses) = Connection::open(network, clock, &address, TIMEOUT).await?;
        Ok(Stream {
            connection,
            responses,
            starts: BTreeMap::new(),
            is_busy: false,
        })
    }

    async fn follow(&self, mut stream: Stream, write: impl AsyncFn()) -> Result<(), Finding> {
        let Some((quiet, now)) = self.create(&mut stream, QUIET_KEY, 0).await else {
            return Ok(());
        };
        let Some((busy, _)) = self.create(&mut stream, BUSY_KEY, 0).await else {
            return Ok(());
        };
        let to_come = now + REVISIONS_AHEAD;
        if self.create(&mut stream, QUIET_KEY, to_come).await.is_none() {
            return Ok(());
        }
        let ask = RequestUnion::ProgressRequest(api::WatchProgressRequest {});
        if stream.send(ask).await.is_err() {
            return Ok(());
        }
        let drift = Duration::from_micros(self.period.as_secs() * self.drift_ppm + self.drift_ppm);
        let patience = 2 * self.period + drift + SLACK;
        let mut told_at = self.world.now();
        let end = told_at + 2 * patience;
        while self.world.now() < end {
            write().await;
            let pause_until = self.world.now() + self.period / WRITES_PER_PERIOD;
            while let Some(response) = self.receive(&mut stream, pause_until).await {
                let Some(response) = response else {
                    return Ok(());
                };
                let is_progress = response.events.is_empty() && !response.created;
                if response.canceled {
                    return Ok(());
                }
                if is_progress {
                    stream.check_start(&response)?;
                }
                if is_progress && response.watch_id == quiet {
                    told_at = self.world.now();
                    stream.is_busy = false;
                }
                stream.is_busy |= response.watch_id == busy && !response.events.is_empty();
            }
            let silent = self.world.now() - told_at;
            if silent > patience && stream.is_busy {
                let text = format!(
                    "a watch that asked for progress every {} ms, and has no events, was told of \
                     none for {} ms, while another of its stream had events",
                    self.period.as_millis(),
                    silent.as_millis()
                );
                return Err(Finding::new(Class::Liveness, "progress-put-off", text));
            }
        }
        Ok(())
    }

    /// A watch; its identifier and the revision that it was made at.
    async fn create(
        &self,
        stream: &mut Stream,
        number: u32,
        start_revision: i64,
    ) -> Option<(i64, i64)> {
        let create = api::WatchCreateRequest {
            key: key(number),
            start_revision,
            progress_notify: true,
            ..Default::default()
        };
        stream
            .send(RequestUnion::CreateRequest(create))
            .await
            .ok()?;
        let until = self.world.now() + TIMEOUT;
        loop {
            let response = self.receive(stream, until).await??;
            if response.created && !response.canceled {
                stream.starts.insert(response.watch_id, start_revision);
                return Some((response.watch_id, response.header?.revision));
            }
        }
    }

    /// The next response, if one comes in time; within that, nothing if the stream has ended.
    async fn receive(
        &self,
        stream: &mut Stream,
        until: Duration,
    ) -> Option<Option<api::WatchResponse>> {
        let left = until.saturating_sub(self.world.now());
        tokio::select! {
            biased;
            response = stream.responses.recv() => Some(response),
            () = self.world.sleep(left) => None,
        }
    }
}

impl Stream {
    async fn send(&self, request: RequestUnion) -> Result<(), CallError> {
        let request_union = Some(request);
        self.connection
            .watch(api::WatchRequest { request_union })
            .await
    }

    fn check_start(&self, response: &api::WatchResponse) -> Result<(), Finding> {
        match progress_below_start(response, &self.starts) {
            None => Ok(()),
            Some(text) => Err(Finding::new(Class::Violation, "progress-below-start", text)),
        }
    }
}

/// What is wrong with a progress notification, given the first revision that each watch of the
/// stream asked for: it tells of one below.
pub fn progress_below_start(
    response: &api::WatchResponse,
    starts: &BTreeMap<i64, i64>,
) -> Option<String> {
    /// About all watches of the stream.
    const ALL: i64 = -1;

    let revision = response.header.as_ref()?.revision;
    let concerns = |id: i64| response.watch_id == ALL || response.watch_id == id;
    let (id, start) = starts
        .iter()
        .find(|(id, start)| concerns(**id) && revision < **start)?;
    Some(format!(
        "a progress notification of watch {} tells of revision {revision}, and watch {id} begins \
         with {start}",
        response.watch_id
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_may_be_told_from_the_first_revision_on() {
        let starts = BTreeMap::from([(0, 0), (1, 7)]);
        let told = |watch_id, revision| {
            let response = api::WatchResponse {
                header: Some(api::ResponseHeader {
                    revision,
                    ..Default::default()
                }),
                watch_id,
                ..Default::default()
            };
            progress_below_start(&response, &starts).is_some()
        };
        assert!(told(1, 6) && told(-1, 6));
        assert!(!told(1, 7) && !told(-1, 7) && !told(0, 6));
    }
}
