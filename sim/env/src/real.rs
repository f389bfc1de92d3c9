//! The real world: files of the operating system, TCP, the system's clocks.

use crate::{
    Clock, Disk, DiskFile, Environment, Listener, Network, OpenMode, StreamReader, StreamWriter,
};
use bytes::{Bytes, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// An open file of the operating system.
#[derive(Debug)]
pub struct RealFile(File);

impl Disk for RealDisk {
    type File = RealFile;

    async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = path;
        while !at.is_dir() {
            missing.push(at);
            match at.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => at = parent,
                _ => break,
            }
        }
        std::fs::create_dir_all(path)?;
        for dir in missing {
            match dir.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent).await?,
                _ => self.sync_dir(Path::new(".")).await?,
            }
        }
        Ok(())
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::ReadWrite => options.read(true).write(true),
            OpenMode::CreateNew => options.read(true).write(true).create_new(true),
        };
        options.open(path).map(RealFile)
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let name = entry.file_name().into_string().map_err(|name| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("file name {name:?} is not UTF-8"),
                    )
                })?;
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl DiskFile for RealFile {
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; length];
        let taken = self.0.read_at(&mut buffer, offset)?;
        buffer.truncate(taken);
        Ok(buffer)
    }

    async fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.0.write_at(data, offset)
    }

    async fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    async fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    async fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// TCP without Nagle's delay, and with probes that notice a peer that is gone.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNetwork;

/// The receiving half of a TCP connection.
pub struct TcpReader(Box<dyn tokio::io::AsyncRead + Send + Unpin>);

/// The sending half of a TCP connection.
pub struct TcpWriter(Box<dyn tokio::io::AsyncWrite + Send + Unpin>);

/// A listening TCP socket.
pub struct TcpListening(TcpListener);

/// After so long without a word from the other side it is probed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// Between two probes; a connection of which none is answered is gone.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Sets a connection up as all of them are: what is written goes out at once, and where the
/// machine at the other end has lost power, which closes no connection, reading fails in the end.
///
/// # Errors
/// The connection is closed already.
pub fn set_up_connection(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Splits a connected stream into the halves that [`Network`] hands out.
fn split(stream: TcpStream) -> io::Result<(TcpReader, TcpWriter)> {
    set_up_connection(&stream)?;
    let (reader, writer) = stream.into_split();
    Ok((TcpReader(Box::new(reader)), TcpWriter(Box::new(writer))))
}

impl TcpReader {
    /// A reader over any byte source, such as a connection whose first bytes somebody
    /// else has looked at.
    pub fn new(source: impl tokio::io::AsyncRead + Send + Unpin + 'static) -> Self {
        Self(Box::new(source))
    }
}

impl TcpWriter {
    /// A writer over any byte sink.
    pub fn new(sink: impl tokio::io::AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Box::new(sink))
    }
}

impl Network for TcpNetwork {
    type Reader = TcpReader;
    type Writer = TcpWriter;
    type Listener = TcpListening;

    async fn connect(&self, address: &str) -> io::Result<(TcpReader, TcpWriter)> {
        split(TcpStream::connect(address).await?)
    }

    async fn listen(&self, address: &str) -> io::Result<TcpListening> {
        Ok(TcpListening(TcpListener::bind(address).await?))
    }
}

impl Listener for TcpListening {
    type Reader = TcpReader;
    type Writer = TcpWriter;

    async fn accept(&mut self) -> io::Result<(TcpReader, TcpWriter, String)> {
        let (stream, peer) = self.0.accept().await?;
        let (reader, writer) = split(stream)?;
        Ok((reader, writer, peer.to_string()))
    }

    fn local_address(&self) -> String {
        self.0
            .local_addr()
            .map(|address| address.to_string())
            .unwrap_or_default()
    }
}

impl StreamReader for TcpReader {
    async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        const READ_BYTES: usize = 16 * 1024;
        buffer.reserve(READ_BYTES);
        self.0.read_buf(buffer).await
    }
}

impl StreamWriter for TcpWriter {
    async fn write(&mut self, data: Bytes) -> io::Result<()> {
        self.0.write_all(&data).await
    }
}

/// The system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct RealClock {
    origin: Instant,
}

impl Default for RealClock {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Clock for RealClock {
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall(&self) -> Duration {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The real world, all of it.
#[derive(Clone, Debug, Default)]
pub struct RealEnvironment {
    disk: RealDisk,
    network: TcpNetwork,
    clock: RealClock,
}

impl Environment for RealEnvironment {
    type Disk = RealDisk;
    type Network = TcpNetwork;
    type Clock = RealClock;

    fn disk(&self) -> &RealDisk {
        &self.disk
    }

    fn network(&self) -> &TcpNetwork {
        &self.network
    }

    fn clock(&self) -> &RealClock {
        &self.clock
    }

    fn random_seed(&self) -> u64 {
        // The standard library seeds every RandomState from the operating system.
        RandomState::new().hash_one(self.clock.monotonic())
    }

    fn spawn_disk_work(&self, name: &str, work: impl Future<Output = ()> + Send + 'static) {
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(work))
            .expect("the operating system gives a thread");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_probed_when_it_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let stream = TcpStream::connect(address).await.expect("it listens");
        set_up_connection(&stream).expect("it is open");
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("an option"));
        assert_eq!(
            socket.tcp_keepalive_time().expect("an option"),
            KEEPALIVE_IDLE
        );
        assert!(stream.nodelay().expect("an option"));
    }
}
