//! Files that are read once or twice, and standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Bytes handed over at once by the thread that reads standard input.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks of standard input that may wait.
const CHUNKS_WAITING_MAX: usize = 16;
/// How long a silent standard input keeps an interrupt waiting.
const INTERRUPT_LATENCY: Duration = Duration::from_millis(50);

/// What a file on the command line stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// `-`
    Standard,
    /// A file.
    File(PathBuf),
}

impl Input {
    /// `-` is standard input.
    pub(crate) fn from_argument(argument: &Path) -> Self {
        if argument.as_os_str() == "-" {
            Self::Standard
        } else {
            Self::File(argument.to_owned())
        }
    }

    /// Its name in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Standard => "-".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// How many bytes it holds, where that is known.
    pub(crate) fn length_bytes(&self) -> Option<u64> {
        match self {
            Self::Standard => None,
            Self::File(path) => path
                .metadata()
                .ok()
                .filter(std::fs::Metadata::is_file)
                .map(|metadata| metadata.len()),
        }
    }

    /// Whether it can be opened a second time and reads the same.
    pub(crate) fn is_rereadable(&self) -> bool {
        self.length_bytes().is_some()
    }

    /// Opens it. What cannot be reread (standard input, a pipe) ends when `stop` is set,
    /// even while nobody writes into it.
    ///
    /// # Errors
    /// It is not there, or no file.
    pub(crate) fn open(&self, stop: &Arc<AtomicBool>) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::Standard => Ok(Box::new(Interruptible::new(io::stdin(), stop.clone()))),
            Self::File(path) => {
                let file = File::open(path)?;
                let metadata = file.metadata()?;
                if metadata.is_dir() {
                    return Err(io::Error::new(
                        io::ErrorKind::IsADirectory,
                        "is a directory",
                    ));
                }
                if metadata.is_file() {
                    Ok(Box::new(file))
                } else {
                    Ok(Box::new(Interruptible::new(file, stop.clone())))
                }
            }
        }
    }
}

/// A source that may be silent for long, read by a thread of its own.
struct Interruptible {
    chunks: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    taken: usize,
    stop: Arc<AtomicBool>,
}

impl Interruptible {
    fn new(mut source: impl Read + Send + 'static, stop: Arc<AtomicBool>) -> Self {
        let (sender, chunks) = sync_channel(CHUNKS_WAITING_MAX);
        // Nobody joins it, for it may be blocked in a read until the process ends.
        std::thread::spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                let read = match source.read(&mut chunk) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read,
                };
                let is_last = !matches!(read, Ok(1..));
                let message = read.map(|length| {
                    chunk.truncate(length);
                    chunk
                });
                if sender.send(message).is_err() || is_last {
                    return;
                }
            }
        });
        Self {
            chunks,
            chunk: Vec::new(),
            taken: 0,
            stop,
        }
    }
}

impl Read for Interruptible {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.chunk.len() {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(0);
            }
            match self.chunks.recv_timeout(INTERRUPT_LATENCY) {
                Ok(chunk) => {
                    self.chunk = chunk?;
                    self.taken = 0;
                    if self.chunk.is_empty() {
                        return Ok(0);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len() - self.taken);
        buffer[..length].copy_from_slice(&self.chunk[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

/// Counts the bytes that go through.
pub(crate) struct Counted<R> {
    source: R,
    bytes: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    /// `bytes` goes up as `source` is read.
    pub(crate) fn new(source: R, bytes: Arc<AtomicU64>) -> Self {
        Self { source, bytes }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_standard_input_and_everything_else_a_file() {
        assert_eq!(Input::from_argument(Path::new("-")), Input::Standard);
        let file = Input::from_argument(Path::new("./-"));
        assert_eq!(file, Input::File(PathBuf::from("./-")));
        assert!(!file.is_rereadable(), "it is not there");
    }

    #[test]
    fn a_source_read_by_a_thread_gives_the_same_bytes() {
        let bytes: Vec<u8> = (0..300_000u32).map(|at| at as u8).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let mut read = Vec::new();
        Interruptible::new(io::Cursor::new(bytes.clone()), stop)
            .read_to_end(&mut read)
            .unwrap();
        assert_eq!(read, bytes);
    }

    #[test]
    fn a_silent_source_ends_once_it_is_stopped() {
        struct Silent;
        impl Read for Silent {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                std::thread::sleep(Duration::from_secs(3_600));
                Ok(0)
            }
        }
        let stop = Arc::new(AtomicBool::new(true));
        let mut buffer = [0; 8];
        assert_eq!(
            Interruptible::new(Silent, stop).read(&mut buffer).unwrap(),
            0
        );
    }
}
