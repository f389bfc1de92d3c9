//! The task behind a watch: it keeps a stream open, at one member after the other.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use veridical_env::Clock;
use veridical_planted::PlantedBug;
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::watch_request::RequestUnion;
use veridical_proto::native::request::Body as RequestBody;
use veridical_proto::native::response::Body as ResponseBody;

use super::cursor::Cursor;
use super::{WatchError, WatchEvents};
use crate::client::Client;
use crate::connector::{Connector, WatchChannel, WatchRequests};

/// The patience with members doubles with each that was silent, up to this many times: one that
/// reads much of its history has nothing to say meanwhile.
const PATIENCE_DOUBLINGS_MAX: u32 = 4;

/// How the watch ended at one member.
enum Ended {
    /// Nobody wants it any more, or it cannot go on and has said why.
    ForGood,
    /// It goes on at the next member.
    Broken,
}

/// What is known of the member between two signs of life.
#[derive(Default)]
struct Quiet {
    /// It was asked whether it is there.
    asked: bool,
    /// It said last time that it knows no leader.
    leaderless: bool,
}

/// A watch, wherever it is just now.
pub(super) struct Follower<T: Connector, C: Clock> {
    pub(super) client: Client<T, C>,
    pub(super) request: api::WatchCreateRequest,
    pub(super) cursor: Cursor,
    /// Who waits for the beginning.
    pub(super) begun: Option<oneshot::Sender<Result<i64, WatchError>>>,
    pub(super) sender: mpsc::Sender<Result<WatchEvents, WatchError>>,
    pub(super) endpoint: usize,
    pub(super) tells_progress: bool,
    pub(super) silence_max: Duration,
}

impl<T: Connector, C: Clock> Follower<T, C> {
    /// Goes on until nobody wants the watch any more, or it cannot go on.
    pub(super) async fn run(mut self) {
        let sender = self.sender.clone();
        let mut silences = 0;
        loop {
            let pause = self.client.config().retry_delay;
            tokio::select! {
                biased;
                // Ends at once also where a member or a queue is waited for.
                () = sender.closed() => return,
                ended = self.follow(&mut silences) => match ended {
                    Ended::ForGood => return,
                    Ended::Broken => {}
                },
            }
            self.endpoint = self.endpoint.wrapping_add(1);
            tokio::select! {
                biased;
                () = sender.closed() => return,
                () = self.client.clock().sleep(pause) => {}
            }
        }
    }

    /// Watches at the present member until that ends.
    async fn follow(&mut self, silences: &mut u32) -> Ended {
        let Ok(mut channel) = self.client.watch_channel(self.endpoint).await else {
            return Ended::Broken;
        };
        let mut start_revision = self.cursor.resume();
        let planted = self.client.config().planted;
        if planted.has(PlantedBug::WatchResumesLate) && self.begun.is_none() {
            start_revision += 1;
        }
        let create = api::WatchCreateRequest {
            start_revision,
            ..self.request.clone()
        };
        let patience = self.silence_max * (1 << (*silences).min(PATIENCE_DOUBLINGS_MAX));
        if !self
            .send(&channel, RequestUnion::CreateRequest(create), patience)
            .await
        {
            return Ended::Broken;
        }
        let mut quiet = Quiet::default();
        loop {
            let response = tokio::select! {
                biased;
                response = channel.responses.recv() => response,
                () = self.client.clock().sleep(patience) => {
                    if quiet.asked {
                        *silences = silences.saturating_add(1);
                        return Ended::Broken;
                    }
                    if !self.ask_for_life(&channel, &mut quiet, patience).await {
                        return Ended::Broken;
                    }
                    continue;
                }
            };
            let Some(response) = response else {
                return Ended::Broken;
            };
            quiet.asked = false;
            if !response.created {
                *silences = 0;
            }
            if let Some(ended) = self.take(response).await {
                return ended;
            }
        }
    }

    /// Hands on what is new of a response.
    async fn take(&mut self, response: api::WatchResponse) -> Option<Ended> {
        let has_begun = response.created;
        let batch = match self.cursor.take(response) {
            Ok(batch) => batch,
            Err(error) => {
                // Whoever waits for it may be gone, and the watch ends either way.
                match self.begun.take() {
                    Some(begun) => drop(begun.send(Err(error))),
                    None => drop(self.sender.send(Err(error)).await),
                }
                return Some(Ended::ForGood);
            }
        };
        if has_begun && let (Some(begun), Some(start)) = (self.begun.take(), self.cursor.next()) {
            // Whoever waits may have given up; that ends the watch elsewhere.
            let _ = begun.send(Ok(start));
        }
        let batch = batch?;
        if batch.events.is_empty() && !self.tells_progress {
            return None;
        }
        self.sender
            .send(Ok(batch))
            .await
            .is_err()
            .then_some(Ended::ForGood)
    }

    /// Asks a silent member whether it is still there. The answer is progress, which comes
    /// behind all events. Where the protocol cannot say that a stream is to end without a
    /// leader, a member is asked for its leader as well: one that knows none twice running is
    /// cut off, and has no news. Returns whether it is worth waiting.
    async fn ask_for_life(
        &self,
        channel: &WatchChannel,
        quiet: &mut Quiet,
        patience: Duration,
    ) -> bool {
        quiet.asked = true;
        let progress = RequestUnion::ProgressRequest(api::WatchProgressRequest {});
        if !self.send(channel, progress, patience).await {
            return false;
        }
        let WatchRequests::Pipelined(connection) = &channel.requests else {
            return true;
        };
        let status = tokio::select! {
            biased;
            status = connection.call(RequestBody::Status(api::StatusRequest {})) => status,
            () = self.client.clock().sleep(patience) => return false,
        };
        let leaderless = matches!(&status, Ok(ResponseBody::Status(status)) if status.leader == 0);
        let was_leaderless = std::mem::replace(&mut quiet.leaderless, leaderless);
        !(leaderless && was_leaderless)
    }

    /// Sends a request; whether the stream has taken it in time.
    async fn send(
        &self,
        channel: &WatchChannel,
        request: RequestUnion,
        patience: Duration,
    ) -> bool {
        let request = api::WatchRequest {
            request_union: Some(request),
        };
        tokio::select! {
            biased;
            sent = channel.requests.send(request) => sent.is_ok(),
            () = self.client.clock().sleep(patience) => false,
        }
    }
}
