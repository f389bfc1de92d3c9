//! Serves the connections of clients, and ends serving in an orderly way.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;
use tracing::{debug, warn};
use veridical_env::{TcpReader, TcpWriter};
use veridical_node::sessions::serve_client;

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
    ) -> Self {
        let closing = CancellationToken::new();
        let open = closing.clone().drop_guard();
        let (connections, waiting) = mpsc::channel(CONNECTIONS_WAITING_MAX);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept_all(listener, node.clone(), connections.clone()));
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
async fn accept_all(
    listener: TcpListener,
    node: ServedNode,
    connections: mpsc::Sender<io::Result<Begun>>,
) {
    loop {
        let stream = accept(&listener).await;
        let (node, connections) = (node.clone(), connections.clone());
        tokio::spawn(async move {
            match recognise(stream).await {
                Ok(Protocol::Http(begun)) => {
                    // It fails when the server ends, and then the client is cut off.
                    let _ = connections.send(Ok(begun)).await;
                }
                Ok(Protocol::Http1(stream, begin)) => {
                    if let Err(error) = http1::refuse(stream, &begin).await {
                        debug!(%error, "a client of HTTP/1 was not answered");
                    }
                }
                Ok(Protocol::Native(stream, begin)) => {
                    let (reader, writer) = stream.into_split();
                    let (reader, writer) = (TcpReader::new(reader), TcpWriter::new(writer));
                    if let Err(error) = serve_client(node, reader, writer, begin).await {
                        debug!(%error, "a client's session ended");
                    }
                }
                Err(error) => debug!(%error, "a connection ended before it said what it speaks"),
            }
        });
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
