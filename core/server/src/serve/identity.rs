//! Who the member of a data folder is: one small file beside the log, written once, so
//! that a restart does not depend on what the flags say about the cluster.
//!
//! The log carries the same two numbers and is believed before this file. A folder with
//! this file and without a log has been damaged.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const IDENTITY_FILE: &str = "identity.json";
const IDENTITY_FILE_NEW: &str = "identity.json.new";
const LOCK_FILE: &str = "lock";

/// The folder of the log; see `veridical_node`.
const LOG_DIR: &str = "wal";

/// Where snapshots are, likewise.
const SNAPSHOT_DIR: &str = "snap";

/// Only the owner may look into a data folder (etcd: `privateDirMode`).
const DATA_DIR_MODE: u32 = 0o700;

/// The member and its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DataDirError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("{}: not an identity: {source}", path.display())]
    Syntax {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "{}: the folder belongs to member {:#x} of cluster {:#x}, but its log is missing; \
         restore it, or remove the folder and add the member anew",
        path.display(), identity.member_id, identity.cluster_id
    )]
    NoLog { path: PathBuf, identity: Identity },
}

/// A data folder that no other process uses.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Held for its lock, which ends with the process.
    _lock: File,
}

impl DataDir {
    /// Creates the folder where it is missing, and locks it.
    ///
    /// # Errors
    /// [`DataDirError::Io`], [`DataDirError::InUse`].
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(DATA_DIR_MODE)
            .create(path)
            .map_err(failed(path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(DataDirError::Io {
                path: lock_path,
                source,
            }),
        }
    }

    /// Who the member is; `None` if it never started.
    ///
    /// # Errors
    /// The file cannot be read, or there is no log beside it.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, DataDirError> {
        let path = self.path.join(IDENTITY_FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DataDirError::Io { path, source }),
        };
        let identity: Identity = match serde_json::from_slice(&text) {
            Ok(identity) => identity,
            Err(source) => return Err(DataDirError::Syntax { path, source }),
        };
        let has_log =
            fs::read_dir(self.path.join(LOG_DIR)).is_ok_and(|mut files| files.next().is_some());
        if !has_log {
            return Err(DataDirError::NoLog {
                path: self.path.clone(),
                identity,
            });
        }
        Ok(Some(identity))
    }

    /// Whether it holds the state of some log index: that of the bootstrap, of a snapshot
    /// of its own, or of one that it was sent.
    pub(crate) fn has_state(&self) -> bool {
        fs::read_dir(self.path.join(SNAPSHOT_DIR)).is_ok_and(|mut files| files.next().is_some())
    }

    /// Remembers who the member is. To be called when it has a log.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub(crate) fn remember(&self, identity: Identity) -> Result<(), DataDirError> {
        let (new, path) = (
            self.path.join(IDENTITY_FILE_NEW),
            self.path.join(IDENTITY_FILE),
        );
        let written = File::create(&new).and_then(|mut file| {
            serde_json::to_writer(&file, &identity)?;
            file.write_all(b"\n")?;
            file.sync_all()
        });
        written
            .and_then(|()| fs::rename(&new, &path))
            .and_then(|()| File::open(&self.path)?.sync_all())
            .map_err(|source| DataDirError::Io { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity {
        cluster_id: u64::MAX,
        member_id: 7,
    };

    #[test]
    fn an_identity_is_remembered_beside_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/data");
        let data_dir = DataDir::open(&path).unwrap();
        assert_eq!(data_dir.identity().unwrap(), None);
        fs::create_dir(path.join("wal")).unwrap();
        fs::write(path.join("wal/0"), "log").unwrap();
        data_dir.remember(IDENTITY).unwrap();
        assert_eq!(data_dir.identity().unwrap(), Some(IDENTITY));
    }

    #[test]
    fn an_identity_without_a_log_is_refused_rather_than_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(folder.path()).unwrap();
        data_dir.remember(IDENTITY).unwrap();
        let error = data_dir.identity().unwrap_err();
        assert!(
            matches!(
                error,
                DataDirError::NoLog {
                    identity: IDENTITY,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_identity_is_refused_by_the_name_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(folder.path()).unwrap();
        fs::write(folder.path().join("identity.json"), "{\"cluster_id\":").unwrap();
        let message = data_dir.identity().unwrap_err().to_string();
        assert!(
            message.contains("identity.json: not an identity"),
            "{message}"
        );
    }

    #[test]
    fn a_folder_serves_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path()).unwrap();
        assert!(matches!(
            DataDir::open(folder.path()),
            Err(DataDirError::InUse(_))
        ));
        drop(first);
        DataDir::open(folder.path()).unwrap();
    }
}
