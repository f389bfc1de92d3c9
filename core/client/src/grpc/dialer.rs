//! The TCP connections under gRPC.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use veridical_env::JoinedWrites;

/// Connects such that requests that are made together are written together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialer;

impl Service<Uri> for Dialer {
    type Response = TokioIo<JoinedWrites<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        Box::pin(async move {
            let authority = address.authority().ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, "an address without a host")
            })?;
            let stream = TcpStream::connect(authority.as_str()).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(JoinedWrites::new(stream)))
        })
    }
}
