//! Files, with exactly the guarantees that POSIX gives and no more.

use std::future::Future;
use std::io;
use std::path::Path;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading. `NotFound` if there is none.
    Read,
    /// An existing file, for reading and writing. `NotFound` if there is none.
    ReadWrite,
    /// A new file, for reading and writing. `AlreadyExists` if there is one.
    CreateNew,
}

/// A disk.
///
/// What a caller may rely on after a crash, and nothing else:
/// - data and length of a file as of its last successful [`DiskFile::sync`];
/// - names (creation, rename, removal) as of the last successful [`Disk::sync_dir`] of
///   the *parent* folder. A rename is atomic but may be lost.
///
/// What was not synchronised may survive whole, in part, torn, out of order, or not at all.
/// The methods are asynchronous because the simulated disk takes simulated time; the
/// real disk blocks, so call it inside `Environment::spawn_disk_work` or at start-up.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file. Dropping it closes it without synchronising.
    type File: DiskFile;

    /// Creates a folder and its parents, and synchronises each parent that changed.
    fn create_dir_all(&self, path: &Path) -> impl Future<Output = io::Result<()>> + Send;

    /// Opens a file.
    fn open(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> impl Future<Output = io::Result<Self::File>> + Send;

    /// Renames a file, replacing `to` if it exists. Durable after `sync_dir` of the parent.
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>> + Send;

    /// Removes a file. Durable after `sync_dir` of the parent.
    fn remove_file(&self, path: &Path) -> impl Future<Output = io::Result<()>> + Send;

    /// The names of the files in a folder (not of folders), sorted. `NotFound` if
    /// there is no such folder.
    fn list(&self, dir: &Path) -> impl Future<Output = io::Result<Vec<String>>> + Send;

    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> impl Future<Output = io::Result<()>> + Send;
}

/// An open file. Reads and writes are positional.
#[allow(
    clippy::len_without_is_empty,
    reason = "nobody asks whether a file is empty"
)]
pub trait DiskFile: Send + Sync + 'static {
    /// Reads up to `length` bytes at `offset`. Shorter at the end of the file, and
    /// sometimes elsewhere (a short read); empty only at or past the end.
    fn read_at(
        &self,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = io::Result<Vec<u8>>> + Send;

    /// Writes at `offset` and returns how many bytes were taken (a short write takes
    /// fewer, never zero for non-empty data). A gap past the end reads as zeros.
    fn write_at(&self, offset: u64, data: &[u8]) -> impl Future<Output = io::Result<usize>> + Send;

    /// Makes data and length durable. After an error nothing is known about what is
    /// on the disk, and a later success does not repair that: the caller must stop.
    fn sync(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Cuts or extends (with zeros) the file. Durable after `sync`.
    fn set_len(&self, length: u64) -> impl Future<Output = io::Result<()>> + Send;

    /// The present length in bytes.
    fn len(&self) -> impl Future<Output = io::Result<u64>> + Send;

    /// Reads exactly `length` bytes at `offset`, or `UnexpectedEof`.
    fn read_exact_at(
        &self,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = io::Result<Vec<u8>>> + Send {
        async move {
            let mut out = Vec::with_capacity(length);
            while out.len() < length {
                match self
                    .read_at(offset + out.len() as u64, length - out.len())
                    .await
                {
                    Ok(part) if part.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(part) => out.extend_from_slice(&part),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(out)
        }
    }

    /// Writes all of `data` at `offset`, going on after short writes and interruptions.
    fn write_all_at(
        &self,
        offset: u64,
        data: &[u8],
    ) -> impl Future<Output = io::Result<()>> + Send {
        async move {
            let mut done = 0;
            while done < data.len() {
                match self.write_at(offset + done as u64, &data[done..]).await {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(taken) => done += taken,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
    }
}
