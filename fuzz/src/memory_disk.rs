//! A plain disk in memory, quick to fill with forged files.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use veridical_env::{Disk, DiskFile, OpenMode};

/// Runs a future over a [`MemoryDisk`], which never waits.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing over this disk waits"),
    }
}

/// Files in memory. Every folder exists.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<BTreeMap<PathBuf, MemoryFile>>>);

/// An open file.
#[derive(Clone, Debug, Default)]
pub struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl MemoryDisk {
    /// Puts a file there.
    pub fn insert(&self, path: &Path, bytes: Vec<u8>) {
        self.files()
            .insert(path.to_owned(), MemoryFile(Arc::new(Mutex::new(bytes))));
    }

    /// The bytes of a file.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        self.files().get(path).map(|file| file.bytes().clone())
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, MemoryFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    async fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<MemoryFile> {
        let mut files = self.files();
        match (files.get(path), mode) {
            (Some(_), OpenMode::CreateNew) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(file), _) => Ok(file.clone()),
            (None, OpenMode::CreateNew) => Ok(files.entry(path.to_owned()).or_default().clone()),
            (None, _) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.files()
            .remove(path)
            .map(drop)
            .ok_or(io::ErrorKind::NotFound.into())
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.files();
        let within = files
            .keys()
            .filter_map(|path| path.strip_prefix(dir).ok()?.to_str());
        Ok(within.map(str::to_owned).collect())
    }

    async fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let bytes = self.bytes();
        let start = bytes.len().min(offset as usize);
        Ok(bytes[start..bytes.len().min(start + length)].to_vec())
    }

    async fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        let mut bytes = self.bytes();
        let (start, end) = (offset as usize, offset as usize + data.len());
        let length = bytes.len().max(end);
        bytes.resize(length, 0);
        bytes[start..end].copy_from_slice(data);
        Ok(data.len())
    }

    async fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    async fn set_len(&self, length: u64) -> io::Result<()> {
        self.bytes().resize(length as usize, 0);
        Ok(())
    }

    async fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }
}
