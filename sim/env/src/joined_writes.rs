//! A stream for libraries that write little at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is written is joined up to this size.
const JOINED_BYTES_MAX: usize = 64 * 1024;

/// A stream to which what is written between two flushes is written at once. The library for
/// HTTP/2 (`h2`) writes each frame of more than a few hundred bytes by itself where a stream
/// takes several parts at once, and copies up to a kilobyte into its buffer where it does not;
/// beyond that, the head of a frame and its content are two writes.
///
/// A flush lets other tasks have their turn first. Requests are often answered together, and
/// each answer wakes the connection's task at once: it would be a write of its own.
#[derive(Debug)]
pub struct JoinedWrites<S> {
    stream: S,
    waiting: BytesMut,
    /// Others have had their turn since something was written.
    has_yielded: bool,
}

impl<S: AsyncWrite + Unpin> JoinedWrites<S> {
    /// With nothing written yet.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            waiting: BytesMut::new(),
            has_yielded: false,
        }
    }

    fn poll_write_waiting(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for JoinedWrites<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for JoinedWrites<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.waiting.len() + data.len() > JOINED_BYTES_MAX {
            ready!(this.poll_write_waiting(context))?;
        }
        if data.len() >= JOINED_BYTES_MAX {
            return Pin::new(&mut this.stream).poll_write(context, data);
        }
        this.waiting.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waiting.is_empty() && !std::mem::replace(&mut self.has_yielded, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_write_waiting(context))?;
        self.has_yielded = false;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_waiting(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Takes what it is given a piece at a time, and notes the pieces.
    struct Pieces {
        taken: Vec<Vec<u8>>,
        piece_bytes_max: usize,
    }

    impl AsyncWrite for Pieces {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = data.len().min(self.piece_bytes_max);
            self.taken.push(data[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_written_between_flushes_is_one_write() {
        let mut stream = JoinedWrites::new(Pieces {
            taken: Vec::new(),
            piece_bytes_max: usize::MAX,
        });
        for part in [&b"head"[..], b"content", b"trailers"] {
            stream.write_all(part).await.unwrap();
        }
        assert!(stream.stream.taken.is_empty(), "nothing is flushed");
        stream.flush().await.unwrap();
        assert_eq!(stream.stream.taken, [b"headcontenttrailers"]);
    }

    #[tokio::test]
    async fn bytes_keep_their_order_whatever_their_sizes() {
        for piece_bytes_max in [1_000, usize::MAX] {
            let mut stream = JoinedWrites::new(Pieces {
                taken: Vec::new(),
                piece_bytes_max,
            });
            let mut expected = Vec::new();
            let sizes = [
                1,
                JOINED_BYTES_MAX - 2,
                3,
                JOINED_BYTES_MAX,
                5,
                3 * JOINED_BYTES_MAX,
                7,
            ];
            for (ordinal, size) in sizes.into_iter().enumerate() {
                let part = vec![ordinal as u8; size];
                expected.extend_from_slice(&part);
                stream.write_all(&part).await.unwrap();
                assert!(stream.waiting.len() <= JOINED_BYTES_MAX);
            }
            stream.shutdown().await.unwrap();
            assert_eq!(stream.stream.taken.concat(), expected);
        }
    }

    #[tokio::test]
    async fn what_comes_in_is_not_changed() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut stream = JoinedWrites::new(near);
        far.write_all(b"asked").await.unwrap();
        drop(far);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"asked");
    }
}
