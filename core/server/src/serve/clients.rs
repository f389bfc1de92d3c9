//! Serves the connections of clients, and ends serving in an orderly way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;
use tracing::{debug, warn};
use veridical_env::{RealClock, TcpReader, TcpWriter};
use veridical_node::Throttle;
use veridical_node::sessions::serve_client;

use super::admission::{Admission, ProvisionalPlace};
use super::http1;
use super::listen::accept;
use super::protocol::{Begun, Protocol, recognise};
use crate::causes::with_causes;
use crate::grpc::{Advertised, ServedNode, services};

/// Recognised connections that wait for the gRPC server; above it their tasks wait.
const CONNECTIONS_WAITING_MAX: usize = 64;

/// Requests and streams in flight on one gRPC connection; the client waits above it.
/// A watch is a stream of its own.
const STREAMS_PER_CONNECTION_MAX: u32 = 16_384;

/// An idle gRPC connection is asked this often whether it is alive.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// A client that does not answer that for this long is gone.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

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
    grpc: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
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
        let (connections, waiting) = mpsc::channel(CONNECTIONS_WAITING_MAX);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            let serving = Serving {
                node: node.clone(),
                connections: connections.clone(),
                handshake_timeout: reception.handshake_timeout,
            };
            let admission = Arc::clone(&reception.admission);
            accepting.spawn(accept_all(listener, admission, serving));
        }
        let grpc = tokio::spawn(serve_grpc(
            services(node, advertised, &closing),
            waiting,
            closing,
        ));
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
        match tokio::time::timeout(DRAIN_TIMEOUT, &mut self.grpc).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                let error = with_causes(&error);
                warn!(error, "the gRPC server ended with an error");
            }
            Ok(Err(error)) => warn!(%error, "the gRPC server's task ended"),
            Err(_) => {
                debug!("connections are still open; they are cut");
                self.grpc.abort();
            }
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
    connections: mpsc::Sender<io::Result<Begun>>,
    handshake_timeout: Duration,
}

impl Serving {
    async fn serve(self, stream: TcpStream, place: ProvisionalPlace) {
        match recognise(stream, place, self.handshake_timeout).await {
            Ok(Protocol::Http(begun)) => {
                // It fails when the server ends, and then the client is cut off.
                let _ = self.connections.send(Ok(begun)).await;
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

async fn serve_grpc(
    services: Routes,
    connections: mpsc::Receiver<io::Result<Begun>>,
    closing: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    tonic::transport::Server::builder()
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION_MAX))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_routes(services)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), async move {
            closing.cancelled().await;
        })
        .await
}
