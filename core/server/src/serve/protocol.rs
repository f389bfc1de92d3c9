//! Two protocols on one port: the first bytes of a connection tell which one it speaks.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use veridical_node::sessions::NATIVE_MAGIC;

use super::admission::{Place, ProvisionalPlace};
use super::authority::AuthorityRepair;
use super::http1::{is_request, may_be_method};

/// What a client of HTTP/2 says first (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Read at once while the protocol is not known.
const FIRST_READ_BYTES: usize = 16 * 1024;

/// What a connection speaks.
#[derive(Debug)]
pub(crate) enum Protocol {
    /// The pipelined protocol.
    Native {
        stream: TcpStream,
        /// The bytes read so far.
        begin: BytesMut,
        place: Place,
    },
    /// HTTP/1, which is not served.
    Http1 {
        stream: TcpStream,
        /// The bytes read so far.
        begin: BytesMut,
        place: Place,
    },
    /// Anything else, that is, HTTP/2.
    Http(Begun),
}

/// Whether these bytes are too few to tell the protocol, or to be sure that whoever sent them
/// speaks one.
fn is_undecided(begin: &[u8]) -> bool {
    let is_known = [&NATIVE_MAGIC[..], HTTP2_PREFACE]
        .iter()
        .any(|known| begin.len() < known.len() && known.starts_with(begin));
    is_known || may_be_method(begin)
}

/// Reads until the first bytes tell the protocol.
///
/// # Errors
/// The connection ends, does not say enough in time, or loses its place to another one.
pub(crate) async fn recognise(
    mut stream: TcpStream,
    mut place: ProvisionalPlace,
    timeout: Duration,
) -> io::Result<Protocol> {
    let mut begin = BytesMut::with_capacity(FIRST_READ_BYTES);
    let reading = async {
        while is_undecided(&begin) {
            if stream.read_buf(&mut begin).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        Ok::<(), io::Error>(())
    };
    tokio::select! {
        biased;
        read = tokio::time::timeout(timeout, reading) => read??,
        () = place.lost() => return Err(displaced()),
    }
    let place = place.keep().ok_or_else(displaced)?;
    let is_http1 = is_request(&begin) && !begin.starts_with(HTTP2_PREFACE);
    Ok(match begin.starts_with(NATIVE_MAGIC) {
        true => Protocol::Native {
            stream,
            begin,
            place,
        },
        false if is_http1 => Protocol::Http1 {
            stream,
            begin,
            place,
        },
        false => Protocol::Http(Begun {
            held: begin,
            ready_bytes: 0,
            repair: AuthorityRepair::new(),
            stream,
            _place: place,
        }),
    })
}

/// Somebody else has got the place of the connection.
fn displaced() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "it was silent, and its place was needed",
    )
}

/// An HTTP/2 connection of which the first bytes have been read already. See
/// [`super::authority`] for what happens to some of them.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Read and not handed on.
    held: BytesMut,
    /// How many of them can be handed on.
    ready_bytes: usize,
    repair: AuthorityRepair,
    stream: TcpStream,
    _place: Place,
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.ready_bytes == 0 && !this.held.is_empty() {
                this.ready_bytes = this.repair.repair(&mut this.held);
            }
            if this.ready_bytes > 0 {
                let taken = this.ready_bytes.min(buffer.remaining());
                buffer.put_slice(&this.held.split_to(taken));
                this.ready_bytes -= taken;
                return Poll::Ready(Ok(()));
            }
            if this.repair.is_done() {
                return Pin::new(&mut this.stream).poll_read(context, buffer);
            }
            let read = pin!(this.stream.read_buf(&mut this.held));
            match ready!(read.poll(context)) {
                // The end, though perhaps in the middle of a frame.
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::super::admission::Admission;
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    /// Longer than a test takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    async fn recognised(parts: &[&[u8]]) -> io::Result<Protocol> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        client.set_nodelay(true).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let place = Admission::new(1).admit().unwrap();
        let recognising = tokio::spawn(recognise(stream, place, PATIENCE));
        for part in parts {
            client.write_all(part).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        client.shutdown().await.unwrap();
        recognising.await.unwrap()
    }

    #[tokio::test]
    async fn the_magic_is_recognised_however_it_is_cut() {
        for parts in [&[&b"VRDCLNT1rest"[..]][..], &[b"V", b"RDCLNT", b"1rest"]] {
            let Protocol::Native { begin, .. } = recognised(parts).await.unwrap() else {
                panic!("it is the native protocol");
            };
            assert!(b"VRDCLNT1rest".starts_with(&begin) && begin.len() >= 8);
        }
    }

    #[tokio::test]
    async fn other_first_bytes_are_handed_on_whole() {
        for parts in [
            &[&HTTP2_PREFACE[..]][..],
            &[b"PRI * HTT", b"P/2.0\r\n\r\nSM\r\n\r\n and more"],
            &[b"VRD", b"x and more"],
        ] {
            let Protocol::Http(mut begun) = recognised(parts).await.unwrap() else {
                panic!("it is not the native protocol");
            };
            let mut read = Vec::new();
            begun.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, parts.concat());
        }
    }

    #[tokio::test]
    async fn http_1_is_told_from_http_2_by_its_method() {
        for parts in [
            &[&b"GET / HTTP/1.1\r\n"[..]][..],
            &[b"P", b"OST /x HTTP/1.1\r\n"],
            &[b"PRI", b" / HTTP/1.1\r\n"],
        ] {
            let Protocol::Http1 { .. } = recognised(parts).await.unwrap() else {
                panic!("it is HTTP/1: {parts:?}");
            };
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_at_once_is_an_error_and_nothing_else() {
        for begin in ["", "VRD", "PRI * HTT"] {
            let error = recognised(&[begin.as_bytes()]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test]
    async fn whoever_does_not_finish_the_first_bytes_in_time_is_cut_off() {
        for begin in ["", "VRD", "PRI * HTT"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(begin.as_bytes()).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let place = Admission::new(1).admit().unwrap();
            let recognising = recognise(stream, place, Duration::from_millis(50));
            let error = recognising.await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(!matches!(client.read(&mut [0; 1]).await, Ok(1..)));
        }
    }
}
