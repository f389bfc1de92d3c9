//! Serves the connections of clients, and ends serving in an orderly way.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::debug;
use veridical_env::{RealClock, TcpReader, TcpWriter};
use veridical_node::Throttle;
use veridical_node::sessions::serve_client;

use super::admission::{Admission, ProvisionalPlace};
use super::listen::accept;
use super::protocol::{Protocol, recognise};
use super::{grpc_connection, http1};
use crate::causes::with_causes;
use crate::grpc::{Advertised, ServedNode, Services};

/// How long requests in flight have to finish when the member stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// At most one warning in this time says that connections cannot be accepted.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// On which terms connections are taken.
#[derive(Clone, Debug)]
pub(crate) struct Reception {
    /// How many there are at once.
    pub(crate) admission: Arc<Admission>,
    /// A connection that has not said what it speaks by then is closed.
    pub(crate) handshake_timeout: Duration,
}

/// The servers of one member.
pub(crate) struct Clients {
    /// Announces the end of the process when it is dropped.
    open: DropGuard,
    accepting: JoinSet<()>,
    grpc: GrpcConnections,
}

/// The connections over which gRPC is spoken.
#[derive(Clone)]
struct GrpcConnections {
    services: Arc<Services>,
    tracker: TaskTracker,
    /// From then on they take no new requests.
    closing: CancellationToken,
    /// From then on they are cut.
    cut: CancellationToken,
}

impl Clients {
    /// Starts to serve on all listeners.
    pub(crate) fn serve(
        node: &ServedNode,
        advertised: Advertised,
        listeners: Vec<TcpListener>,
        reception: Reception,
    ) -> Self {
        let closing = CancellationToken::new();
        let open = closing.clone().drop_guard();
        let grpc = GrpcConnections {
            services: Arc::new(Services::new(node, advertised, &closing)),
            tracker: TaskTracker::new(),
            closing,
            cut: CancellationToken::new(),
        };
        let mut accepting = JoinSet::new();
        for listener in listeners {
            let serving = Serving {
                node: node.clone(),
                grpc: grpc.clone(),
                handshake_timeout: reception.handshake_timeout,
            };
            let admission = Arc::clone(&reception.admission);
            accepting.spawn(accept_all(listener, admission, serving));
        }
        Self {
            open,
            accepting,
            grpc,
        }
    }

    /// Stops accepting, tells streams to end, and waits for requests in flight, at most
    /// for a few seconds.
    pub(crate) async fn stop(mut self) {
        self.accepting.shutdown().await;
        drop(self.open);
        self.grpc.tracker.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, self.grpc.tracker.wait())
            .await
            .is_err()
        {
            debug!("connections are still open; they are cut");
            self.grpc.cut.cancel();
        }
    }
}

/// Accepts until it is dropped.
async fn accept_all(listener: TcpListener, admission: Arc<Admission>, serving: Serving) {
    let clock = RealClock::default();
    let failures = Throttle::new(WARNING_INTERVAL);
    loop {
        let stream = accept(&listener, &clock, &failures).await;
        // Without a place it is closed at once.
        if let Some(place) = admission.admit() {
            tokio::spawn(serving.clone().serve(stream, place));
        }
    }
}

/// What a connection needs to be served.
#[derive(Clone)]
struct Serving {
    node: ServedNode,
    grpc: GrpcConnections,
    handshake_timeout: Duration,
}

impl Serving {
    async fn serve(self, stream: TcpStream, place: ProvisionalPlace) {
        match recognise(stream, place, self.handshake_timeout).await {
            Ok(Protocol::Http(begun)) => {
                let GrpcConnections {
                    services,
                    tracker,
                    closing,
                    cut,
                } = self.grpc;
                let serving = grpc_connection::serve(begun, services, closing);
                let served = tracker.track_future(cut.run_until_cancelled(serving)).await;
                if let Some(Err(error)) = served {
                    let error = with_causes(&error);
                    debug!(error, "an HTTP/2 connection ended with an error");
                }
            }
            Ok(Protocol::Http1 {
                stream,
                begin,
                place,
            }) => {
                let refusing = http1::refuse(stream, &begin);
                match tokio::time::timeout(self.handshake_timeout, refusing).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(%error, "a client of HTTP/1 was not answered"),
                    Err(_) => debug!("a client of HTTP/1 did not take its answer"),
                }
                drop(place);
            }
            Ok(Protocol::Native {
                stream,
                begin,
                place,
            }) => {
                let (reader, writer) = stream.into_split();
                let (reader, writer) = (TcpReader::new(reader), TcpWriter::new(writer));
                if let Err(error) = serve_client(self.node, reader, writer, begin).await {
                    debug!(%error, "a client's session ended");
                }
                drop(place);
            }
            Err(error) => debug!(%error, "a connection ended before it said what it speaks"),
        }
    }
}
