//! Snapshot files of one member.
//!
//! A snapshot is a stream of chunks, opaque to this crate, with the log position it
//! stands for. It is written under a temporary name, synchronised and renamed, so a
//! file with a snapshot's name was whole once and anything wrong in it is corruption.
//!
//! [`SnapshotStore`] names, lists and deletes; [`SnapshotWriter`] and
//! [`SnapshotReader`] stream, so that no more than a chunk is in memory.

mod format;
mod reader;
mod writer;

pub use format::{MAX_CHUNK_BYTES, MAX_META_BYTES};
pub use reader::SnapshotReader;
pub use writer::SnapshotWriter;

use bytes::Bytes;
use std::cmp::Reverse;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use veridical_env::Disk;
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::sometimes;

use crate::file_error::FileError;
use crate::format::DataFormat;

/// What a snapshot stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The last log entry it covers.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// What the caller wants to know before it reads the chunks, such as the
    /// membership. At most [`MAX_META_BYTES`].
    pub meta: Bytes,
}

/// A snapshot file. Its name is all that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// The last log entry it covers.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// The newest snapshot whose every byte was verified, and those that were passed over.
#[derive(Debug)]
pub struct NewestSnapshot {
    /// The snapshot, if there is a sound one.
    pub valid: Option<SnapshotFile>,
    /// Why newer ones cannot be used. Not empty means that something is wrong with the
    /// disk, even when an older snapshot helps out: report it.
    pub refused: Vec<SnapshotError>,
}

/// How snapshots are written, and whose.
#[derive(Clone, Copy, Debug, Default)]
pub struct SnapshotConfig {
    /// The cluster that snapshots are of; those that name another one are refused.
    pub cluster_id: u64,
    /// The version that new snapshots have.
    pub format: DataFormat,
    /// Deliberate defects.
    pub planted: Planted,
}

/// What can go wrong with snapshots.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The file of a snapshot, or the folder, cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The snapshot is of another cluster.
    #[error("{} is of cluster {cluster_id:#x}, not of this one", file.display())]
    Foreign {
        /// The snapshot.
        file: PathBuf,
        /// Its cluster.
        cluster_id: u64,
    },
    /// A chunk or the meta bytes exceed their limit. Nothing was written.
    #[error("{what} of {bytes} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// [`MAX_CHUNK_BYTES`] or [`MAX_META_BYTES`].
        limit: usize,
    },
    /// An earlier call on this writer or reader failed or was cancelled half-way.
    #[error("the snapshot is stopped after an earlier failure")]
    Stopped,
}

/// For `map_err`.
fn io_error(operation: &'static str, file: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    move |source| FileError::io(operation, file, source).into()
}

/// The snapshots in one folder.
#[derive(Clone)]
pub struct SnapshotStore<D: Disk> {
    disk: D,
    dir: PathBuf,
    config: SnapshotConfig,
    /// Tells the temporary files of writers apart.
    writers: Arc<AtomicU64>,
}

impl<D: Disk> SnapshotStore<D> {
    /// Opens the folder, which is created if it does not exist, and removes what
    /// writers left behind that never finished. Returns the names of those files.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub async fn open(
        disk: D,
        dir: &Path,
        config: SnapshotConfig,
    ) -> Result<(Self, Vec<String>), SnapshotError> {
        disk.create_dir_all(dir)
            .await
            .map_err(io_error("create", dir))?;
        let names = disk.list(dir).await.map_err(io_error("list", dir))?;
        let leftovers: Vec<String> = names
            .into_iter()
            .filter(|name| format::is_temporary(name))
            .collect();
        sometimes!(
            !leftovers.is_empty(),
            "snapshot.crash-left-an-unfinished-one"
        );
        for name in &leftovers {
            remove_file(&disk, &dir.join(name)).await?;
        }
        let store = Self {
            disk,
            dir: dir.to_owned(),
            config,
            writers: Arc::default(),
        };
        // A process that was killed between rename and here left a name that can be seen
        // and may not be durable; whoever sees it relies on it.
        if !store.config.planted.has(PlantedBug::SnapshotNameTrusted) {
            store.sync_dir().await?;
        }
        Ok((store, leftovers))
    }

    /// Starts a snapshot. It exists once [`SnapshotWriter::finish`] returns.
    ///
    /// # Errors
    /// [`SnapshotError::TooLarge`], [`FileError::Io`].
    pub async fn create(
        &self,
        header: &SnapshotHeader,
    ) -> Result<SnapshotWriter<D>, SnapshotError> {
        let ordinal = self.writers.fetch_add(1, Ordering::Relaxed);
        SnapshotWriter::create(self.clone(), header, ordinal).await
    }

    /// Opens a snapshot for reading.
    ///
    /// # Errors
    /// [`FileError::Io`], [`FileError::Corrupt`],
    /// [`FileError::UnsupportedVersion`], [`SnapshotError::Foreign`].
    pub async fn read(&self, snapshot: &SnapshotFile) -> Result<SnapshotReader<D>, SnapshotError> {
        SnapshotReader::open(&self.disk, snapshot, self.config.cluster_id).await
    }

    /// All snapshots, newest first, by name alone.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub async fn list(&self) -> Result<Vec<SnapshotFile>, SnapshotError> {
        let names = self
            .disk
            .list(&self.dir)
            .await
            .map_err(io_error("list", &self.dir))?;
        let mut snapshots: Vec<SnapshotFile> = names
            .iter()
            .filter_map(|name| {
                let (term, index) = format::parse_file_name(name)?;
                Some(SnapshotFile {
                    index,
                    term,
                    path: self.dir.join(name),
                })
            })
            .collect();
        snapshots.sort_by_key(|snapshot| Reverse((snapshot.index, snapshot.term)));
        Ok(snapshots)
    }

    /// Reads snapshots, newest first, until one is sound.
    ///
    /// # Errors
    /// [`FileError::Io`]; damaged snapshots are part of the result.
    pub async fn newest_valid(&self) -> Result<NewestSnapshot, SnapshotError> {
        let mut refused = Vec::new();
        for snapshot in self.list().await? {
            match self.verify(&snapshot).await {
                Ok(()) => {
                    return Ok(NewestSnapshot {
                        valid: Some(snapshot),
                        refused,
                    });
                }
                Err(error @ SnapshotError::File(FileError::Io { .. })) => return Err(error),
                Err(error) => refused.push(error),
            }
        }
        Ok(NewestSnapshot {
            valid: None,
            refused,
        })
    }

    /// Reads all of a snapshot.
    ///
    /// # Errors
    /// [`FileError::Io`], [`FileError::Corrupt`],
    /// [`FileError::UnsupportedVersion`], [`SnapshotError::Foreign`].
    pub async fn verify(&self, snapshot: &SnapshotFile) -> Result<(), SnapshotError> {
        let mut reader = self.read(snapshot).await?;
        while reader.next_chunk().await?.is_some() {}
        Ok(())
    }

    /// Deletes the snapshots that cover less than `index` and returns them.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub async fn delete_older_than(&self, index: u64) -> Result<Vec<SnapshotFile>, SnapshotError> {
        let mut old = self.list().await?;
        old.retain(|snapshot| snapshot.index < index);
        sometimes!(!old.is_empty(), "snapshot.older-ones-were-deleted");
        for snapshot in &old {
            remove_file(&self.disk, &snapshot.path).await?;
        }
        if !old.is_empty() {
            self.sync_dir().await?;
        }
        Ok(old)
    }

    async fn sync_dir(&self) -> Result<(), SnapshotError> {
        self.disk
            .sync_dir(&self.dir)
            .await
            .map_err(io_error("synchronise", &self.dir))
    }
}

async fn remove_file<D: Disk>(disk: &D, path: &Path) -> Result<(), SnapshotError> {
    match disk.remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", path)(error))
        }
        _ => Ok(()),
    }
}
