//! Watches that go on by themselves.
//!
//! `cursor` knows how far a watch has come and what of a stream is new; `follower` is the task
//! that keeps a stream open, at whichever member answers.

mod cursor;
mod follower;

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};
use veridical_env::Clock;
use veridical_proto::mvccpb::Event;

use crate::client::Client;
use crate::connector::Connector;
use crate::into_bytes::IntoBytes;
use crate::options::WatchOptions;
use cursor::Cursor;
use follower::Follower;

/// Batches that wait to be taken; above it the member is not read, and falls back to its history.
const WAITING_MAX: usize = 16;

/// Events of a watch, of whole revisions and in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchEvents {
    /// Up to here there is nothing of this watch that it has not brought.
    pub revision: i64,
    /// What happened; nothing where a watch says only how far it is.
    pub events: Vec<Event>,
}

/// Why a watch has ended, or has not begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// What comes next was compacted away: events may be missing that nobody can bring any
    /// more. Whoever goes on reads the keys anew.
    #[error("events before revision {compact_revision} are compacted")]
    Compacted {
        /// The first revision from which a watch can begin.
        compact_revision: i64,
    },
    /// The member refuses it, as every other would.
    #[error("the watch is refused: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// No member has begun it in time.
    #[error("no member has begun the watch: {0}")]
    Unavailable(String),
}

/// A watch. Ends when it is dropped, or after an error.
///
/// Each event comes once, in the order of revisions, whatever becomes of connections and
/// members meanwhile: when a stream breaks or its member falls silent, the watch goes on at the
/// next member behind the last revision that it has brought whole.
///
/// ```no_run
/// # async fn example(client: veridical_client::PipelinedClient)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// use veridical_client::{WatchError, WatchOptions};
///
/// let mut watch = client.watch("jobs/", WatchOptions::new().with_prefix()).await?;
/// while let Some(batch) = watch.next().await {
///     match batch {
///         Ok(batch) => {
///             for event in &batch.events {
///                 println!("{}: {:?}", event.revision(), event.kv);
///             }
///         }
///         Err(WatchError::Compacted { compact_revision }) => {
///             println!("read the keys anew, at {compact_revision} or later");
///         }
///         Err(error) => return Err(error.into()),
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// It is also a [`Stream`].
#[derive(Debug)]
pub struct Watch {
    batches: mpsc::Receiver<Result<WatchEvents, WatchError>>,
    start_revision: i64,
}

impl Watch {
    /// The next events. `None` after an error. Nothing is lost if this is dropped while it
    /// waits.
    pub async fn next(&mut self) -> Option<Result<WatchEvents, WatchError>> {
        self.batches.recv().await
    }

    /// The first revision whose events it brings.
    pub fn start_revision(&self) -> i64 {
        self.start_revision
    }

    /// Ends it. Dropping does the same.
    pub fn cancel(self) {}
}

impl Stream for Watch {
    type Item = Result<WatchEvents, WatchError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_recv(context)
    }
}

impl<T: Connector, C: Clock> Client<T, C> {
    /// Watches a key, or with options many. When this returns the watch has begun: it brings
    /// every write that is sent from now on.
    ///
    /// Each watch has a stream of its own: with the pipelined protocol a connection, with gRPC
    /// a stream in the connection to the member.
    ///
    /// # Errors
    /// See [`WatchError`]; [`WatchError::Unavailable`] if no member has begun it within
    /// [`ClientConfig::request_timeout`](crate::ClientConfig::request_timeout).
    pub async fn watch(
        &self,
        key: impl IntoBytes,
        options: impl Into<Option<WatchOptions>>,
    ) -> Result<Watch, WatchError> {
        let options = options.into().unwrap_or_default();
        let (sender, batches) = mpsc::channel(WAITING_MAX);
        let (begun, begins) = oneshot::channel();
        let tells_progress = options.tells_progress;
        let silence_max = options.silence_max;
        let request = options.request(key.into_bytes());
        let cursor = Cursor::new(request.start_revision);
        let follower = Follower {
            client: self.clone(),
            request,
            cursor,
            begun: Some(begun),
            sender,
            endpoint: self.config().first_endpoint,
            tells_progress,
            silence_max,
        };
        veridical_env::task::spawn(follower.run());
        tokio::select! {
            biased;
            begun = begins => match begun {
                Ok(Ok(start_revision)) => Ok(Watch { batches, start_revision }),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(WatchError::Unavailable("the task of the watch has ended".to_owned())),
            },
            () = self.clock().sleep(self.config().request_timeout) => {
                Err(WatchError::Unavailable("timed out".to_owned()))
            }
        }
    }
}
