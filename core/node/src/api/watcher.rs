//! A client's stream of watches.

use std::sync::Arc;
use tokio::sync::Notify;
use veridical_env::{Clock, Environment};
use veridical_proto::etcdserverpb as api;
use veridical_store::{ApiError, WatchStream};

use crate::api::node::Node;
use crate::config::ms;

/// A stream of watches of one client.
pub struct Watcher<E: Environment> {
    stream: WatchStream,
    notify: Arc<Notify>,
    node: Node<E>,
}

impl<E: Environment> Watcher<E> {
    /// A stream of `node` without watches.
    pub(crate) fn open(node: Node<E>) -> Self {
        let notify = Arc::new(Notify::new());
        let waker = Arc::clone(&notify);
        let stream = node
            .reader()
            .open_watch_stream(Arc::new(move || waker.notify_one()));
        Self {
            stream,
            notify,
            node,
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
        let mut response = self.stream.poll()?;
        self.node.fill(&mut response.header);
        Some(response)
    }

    /// Waits until [`Watcher::poll`] may have something. From time to time it wakes to
    /// tell idle watches that asked for it how far they are.
    pub async fn ready(&mut self) {
        let period = ms(self.node.config().limits.watch_progress_ms);
        tokio::select! {
            biased;
            () = self.notify.notified() => {}
            () = self.node.environment().clock().sleep(period) => {
                self.stream.tick_progress();
            }
        }
    }

    /// What to wait on before the next [`Watcher::poll`], for those who wait on more
    /// than that.
    pub fn notify(&self) -> Arc<Notify> {
        Arc::clone(&self.notify)
    }
}
