//! What a client of HTTP/1 is told: that it is not served, in its own words. Frames of HTTP/2,
//! which it would get otherwise, are noise to it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest method that is waited for (`CONNECT`, `OPTIONS`).
const METHOD_BYTES_MAX: usize = 7;

/// How long the rest of its request may take, and its end.
const REST_TIMEOUT: Duration = Duration::from_secs(5);

/// As much of a request is read and thrown away.
const REST_BYTES_MAX: usize = 64 * 1024;

const REASON: &str = "404: this port speaks gRPC over HTTP/2 (etcd's v3 API); it has no pages\n";

/// Whether what a connection begins with may become the method of a request: more is needed.
pub(super) fn may_be_method(begin: &[u8]) -> bool {
    begin.len() <= METHOD_BYTES_MAX && begin.iter().all(u8::is_ascii_uppercase)
}

/// Whether a connection begins with a request of HTTP/1: a method and a space (RFC 9112,
/// section 3). The preface of HTTP/2 does as well, and has to be told apart before.
pub(super) fn is_request(begin: &[u8]) -> bool {
    let method = begin.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_followed = method.len() < begin.len();
    is_followed && !method.is_empty() && may_be_method(method)
}

/// Answers one request, whatever it is, and ends the connection.
///
/// # Errors
/// The connection breaks.
pub(super) async fn refuse(mut stream: TcpStream, begin: &[u8]) -> io::Result<()> {
    let body = match begin.starts_with(b"HEAD ") {
        true => "",
        false => REASON,
    };
    let answer = format!(
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        REASON.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // A connection that is closed with something unread is reset, and the answer may be lost.
    let mut rest = stream.take(REST_BYTES_MAX as u64);
    let mut nowhere = tokio::io::sink();
    let reading = tokio::io::copy(&mut rest, &mut nowhere);
    // It may go on for longer than anybody waits.
    let _ = tokio::time::timeout(REST_TIMEOUT, reading).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_method_and_a_space() {
        for begin in ["GET / HTTP/1.1\r\n", "OPTIONS *", "PUT /v2/keys"] {
            assert!(is_request(begin.as_bytes()), "{begin}");
        }
        for begin in ["", "GE", "\u{16}\u{3}\u{1}", " GET", "get / ", "VRDCLNT1 "] {
            assert!(!is_request(begin.as_bytes()), "{begin}");
        }
        assert!(may_be_method(b"GE") && !may_be_method(b"GE7") && !may_be_method(b"UPPERCASE"));
    }
}
