//! The sockets that clients connect to.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, lookup_host};
use tracing::warn;
use veridical_env::{Clock, RealClock, set_up_connection};
use veridical_node::Throttle;

use crate::url::Url;

/// Before the next attempt when the system refuses a connection, most likely because the
/// process has too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a URL cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {url}: {source}")]
pub(crate) struct ListenError {
    pub(crate) url: Url,
    pub(crate) source: io::Error,
}

/// Listens on every address of a URL: `localhost` has two. An address that the machine
/// does not have is passed over as long as there is another one.
///
/// # Errors
/// An address is taken, or none of them exists.
pub(crate) async fn bind(url: &Url) -> Result<Vec<TcpListener>, ListenError> {
    let failed = |source| ListenError {
        url: url.clone(),
        source,
    };
    let mut addresses: Vec<SocketAddr> =
        lookup_host(url.address()).await.map_err(failed)?.collect();
    addresses.sort();
    addresses.dedup();
    let mut listeners = Vec::new();
    let mut absent = None;
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_absent(&error) => absent = Some(error),
            Err(error) => return Err(failed(error)),
        }
    }
    if listeners.is_empty() {
        return Err(failed(
            absent.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()),
        ));
    }
    Ok(listeners)
}

/// Whether the machine does not have the address or its family.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    ) || error.raw_os_error() == Some(ADDRESS_FAMILY_NOT_SUPPORTED)
}

/// `EAFNOSUPPORT` on Linux.
const ADDRESS_FAMILY_NOT_SUPPORTED: i32 = 97;

/// The next connection, set up as those of peers are. `failures` says when one is told.
pub(crate) async fn accept(
    listener: &TcpListener,
    clock: &RealClock,
    failures: &Throttle,
) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if set_up_connection(&stream).is_ok() {
                    return stream;
                }
                // It is closed already.
            }
            Err(error) => {
                if let Some(unsaid) = failures.admit(clock.monotonic()) {
                    warn!(%error, unsaid, "cannot accept a connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_taken_is_refused_with_its_url() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let url: Url = format!("http://localhost:{port}").parse().unwrap();
        let error = bind(&url).await.unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&url.to_string()), "{error}");
    }
}
