//! A way to members on which every request is part of the history of a run: for clients that
//! make requests of their own, such as those of a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use veridical_client::record::{self, Ending};
use veridical_client::{CallError, Connection, Connector, Link, Pipelined, WatchChannel};
use veridical_histories::OperationId;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_world::{SimNetwork, World};

use crate::observer::Observer;

/// Connects as [`Pipelined`] does. Each try of a request is an operation with a session of its
/// own, since a client that tries again has not heard what became of the first.
#[derive(Clone)]
pub struct Recorded {
    inner: Pipelined<SimNetwork>,
    observer: Observer,
    next_session: Arc<AtomicU64>,
}

impl Recorded {
    /// Sessions are numbered from the first one on.
    pub fn new(network: SimNetwork, observer: Observer, first_session: u64) -> Self {
        Self {
            inner: Pipelined::new(network),
            observer,
            next_session: Arc::new(AtomicU64::new(first_session)),
        }
    }
}

/// A connection whose requests are recorded.
#[derive(Clone)]
pub struct RecordedLink {
    connection: Connection,
    recorded: Recorded,
}

impl Connector for Recorded {
    type Link = RecordedLink;

    /// A batch is no operation of a history.
    const TAKES_BATCHES: bool = false;

    async fn connect(&self, address: &str) -> Result<RecordedLink, CallError> {
        Ok(RecordedLink {
            connection: self.inner.connect(address).await?,
            recorded: self.clone(),
        })
    }

    async fn watch(&self, address: &str) -> Result<WatchChannel, CallError> {
        self.inner.watch(address).await
    }
}

impl Link for RecordedLink {
    async fn call(&self, ask: Ask) -> Result<Answer, CallError> {
        let Some(input) = record::request(&ask) else {
            return self.connection.call(ask).await;
        };
        let observer = &self.recorded.observer;
        let session = self.recorded.next_session.fetch_add(1, Ordering::Relaxed);
        let open = OpenCall {
            observer: observer.clone(),
            session,
            op: Some(observer.called(session, input)),
        };
        let asked = observer.judge().asks(None);
        let result = self.connection.call(ask.clone()).await;
        let result = observer.judged(&asked, &ask, result);
        open.end(record::ending(&result));
        result
    }

    fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }
}

/// An operation that has begun. Whoever drops it does not know what became of it.
struct OpenCall {
    observer: Observer,
    session: u64,
    op: Option<OperationId>,
}

impl OpenCall {
    fn end(mut self, ending: Ending) {
        let op = self.op.take().expect("an operation ends once");
        self.observer.ended(self.session, op, ending);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        // At the end of a run its tasks are dropped, and there is no time any more.
        if let Some(op) = self.op.take()
            && World::time_here().is_some()
        {
            self.observer.ended(self.session, op, Ending::Unknown);
        }
    }
}
