//! One HTTP/2 connection, over which gRPC is spoken.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use veridical_env::JoinedWrites;

use crate::grpc::Services;

/// Requests and streams in flight on one connection; the client waits above it. A watch is a
/// stream of its own.
const STREAMS_MAX: u32 = 16_384;

/// An idle connection is asked this often whether it is alive.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// A client that does not answer that for this long is gone.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves requests until the client closes the connection. From `closing` on no new ones are
/// taken, and the connection ends with those in flight.
///
/// # Errors
/// The connection breaks, or the client does not speak HTTP/2.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    services: Arc<Services>,
    closing: CancellationToken,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let services = Arc::clone(&services);
        async move { Ok::<_, Infallible>(services.serve(request).await) }
    });
    let mut connection = std::pin::pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            // gRPC's answers have no such header.
            .auto_date_header(false)
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .serve_connection(TokioIo::new(JoinedWrites::new(stream)), service)
    );
    tokio::select! {
        biased;
        result = &mut connection => return result,
        () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}
