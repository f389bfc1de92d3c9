//! Byte streams between processes.

use bytes::{Bytes, BytesMut};
use std::future::Future;
use std::io;

/// A network as one process sees it.
pub trait Network: Clone + Send + Sync + 'static {
    /// The receiving half of a connection.
    type Reader: StreamReader;
    /// The sending half of a connection.
    type Writer: StreamWriter;
    /// An address that accepts connections.
    type Listener: Listener<Reader = Self::Reader, Writer = Self::Writer>;

    /// Connects to `host:port`. Across a partition this hangs: bound it with a timeout.
    fn connect(
        &self,
        address: &str,
    ) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer)>> + Send;

    /// Listens on `host:port` (port 0 picks a free one).
    fn listen(&self, address: &str) -> impl Future<Output = io::Result<Self::Listener>> + Send;
}

/// Accepts connections. Dropping it stops listening.
pub trait Listener: Send + 'static {
    /// The receiving half of a connection.
    type Reader: StreamReader;
    /// The sending half of a connection.
    type Writer: StreamWriter;

    /// The next connection and the address of its peer.
    fn accept(
        &mut self,
    ) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer, String)>> + Send;

    /// The address that is listened on, with its real port.
    fn local_address(&self) -> String;
}

/// The receiving half of a connection. Dropping it closes the receiving direction.
pub trait StreamReader: Send + 'static {
    /// Waits for bytes and appends them to `buffer`; returns how many. 0 is the end:
    /// the peer closed. Cancel-safe: a dropped call has taken nothing.
    fn read(&mut self, buffer: &mut BytesMut) -> impl Future<Output = io::Result<usize>> + Send;
}

/// The sending half of a connection. Dropping it closes the sending direction.
pub trait StreamWriter: Send + 'static {
    /// Sends all of `data`. One call carries one or more *whole* frames: the simulated
    /// network delays, drops, duplicates and reorders such calls as units, as a
    /// datagram network would, and the frames' checksums and the protocol above have to
    /// cope with that. On TCP the call returns when the kernel has taken the bytes.
    fn write(&mut self, data: Bytes) -> impl Future<Output = io::Result<()>> + Send;
}
