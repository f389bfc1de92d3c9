//! What can go wrong with the log.

use std::io;
use std::path::{Path, PathBuf};

use super::record::MAX_ENTRY_DATA_BYTES;

/// What can go wrong with the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// The disk refused. The log is stopped.
    #[error("cannot {operation} {}", file.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With which file or folder.
        file: PathBuf,
        /// The disk's answer.
        source: io::Error,
    },
    /// Records that were durable are damaged or missing. Nothing was dropped and
    /// nothing was changed: the member can be restored or rejoin from its peers.
    #[error("{} is corrupt at offset {offset}: {reason}", file.display())]
    Corrupt {
        /// The segment.
        file: PathBuf,
        /// Where, in bytes.
        offset: u64,
        /// What is wrong, and what proves that it was right once.
        reason: String,
    },
    /// A later program wrote this segment.
    #[error("{} has format version {version}, which this program does not know", file.display())]
    UnsupportedVersion {
        /// The segment.
        file: PathBuf,
        /// Its version.
        version: u32,
    },
    /// An entry's data exceeds [`MAX_ENTRY_DATA_BYTES`]. Nothing was written.
    #[error("an entry of {bytes} bytes exceeds the limit of {MAX_ENTRY_DATA_BYTES}")]
    EntryTooLarge {
        /// Its length.
        bytes: usize,
    },
    /// An earlier call failed or was cancelled half-way; what is on the disk is not
    /// known. Only opening the log anew tells.
    #[error("the log is stopped after an earlier failure")]
    Stopped,
}

impl WalError {
    pub(super) fn corrupt(
        file: impl Into<PathBuf>,
        offset: u64,
        reason: impl Into<String>,
    ) -> Self {
        Self::Corrupt {
            file: file.into(),
            offset,
            reason: reason.into(),
        }
    }
}

/// For `map_err`.
pub(super) fn io_error(operation: &'static str, file: &Path) -> impl FnOnce(io::Error) -> WalError {
    move |source| WalError::Io {
        operation,
        file: file.to_owned(),
        source,
    }
}
