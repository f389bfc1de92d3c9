//! A client's stream of watches.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use veridical_env::{Clock, Environment};
use veridical_planted::PlantedBug;
use veridical_proto::etcdserverpb as api;
use veridical_store::{ApiError, WatchStream};

use crate::api::node::Node;
use crate::config::ms;

/// A stream of watches of one client.
pub struct Watcher<E: Environment> {
    stream: WatchStream,
    notify: Arc<Notify>,
    node: Node<E>,
    /// When quiet watches are told next how far they are, on the monotonic clock: whatever
    /// the stream has to do for others does not put it off.
    progress_at: Duration,
}

impl<E: Environment> Watcher<E> {
    /// A stream of `node` without watches.
    pub(crate) fn open(node: Node<E>) -> Self {
        let notify = Arc::new(Notify::new());
        let waker = Arc::clone(&notify);
        let stream = node
            .reader()
            .open_watch_stream(Arc::new(move || waker.notify_one()));
        let progress_at = node.environment().clock().monotonic() + progress_period(&node);
        Self {
            stream,
            notify,
            node,
            progress_at,
        }
    }

    /// Takes a request of the client: create, cancel or ask for progress.
    ///
    /// # Errors
    /// Too many answers wait to be taken, or the request is empty.
    pub fn handle(&mut self, request: api::WatchRequest) -> Result<(), ApiError> {
        self.stream.handle(request)?;
        self.notify.notify_one();
        Ok(())
    }

    /// The next response for the client, if there is one now.
    pub fn poll(&mut self) -> Option<api::WatchResponse> {
        self.tick_progress();
        let mut response = self.stream.poll()?;
        self.node.fill(&mut response.header);
        Some(response)
    }

    /// Lets quiet watches be told how far they are, if it is time.
    fn tick_progress(&mut self) {
        let now = self.node.environment().clock().monotonic();
        if now >= self.progress_at {
            self.progress_at = now + progress_period(&self.node);
            self.stream.tick_progress();
        }
    }

    /// Waits until [`Watcher::poll`] may have something. From time to time it wakes to
    /// tell quiet watches that asked for it how far they are.
    pub async fn ready(&mut self) {
        let now = self.node.environment().clock().monotonic();
        if self.node.config().planted.has(PlantedBug::ProgressPutOff) {
            self.progress_at = now + progress_period(&self.node);
        }
        tokio::select! {
            biased;
            () = self.notify.notified() => {}
            () = self.node.environment().clock().sleep(self.progress_at.saturating_sub(now)) => {}
        }
    }

    /// What to wait on before the next [`Watcher::poll`], for those who wait on more
    /// than that.
    pub fn notify(&self) -> Arc<Notify> {
        Arc::clone(&self.notify)
    }
}

fn progress_period<E: Environment>(node: &Node<E>) -> Duration {
    ms(node.config().limits.watch_progress_ms)
}
