//! What can be wrong with a file of the log or with a snapshot.

use std::io;
use std::path::{Path, PathBuf};

/// What can be wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk refused.
    #[error("cannot {operation} {}: {source}", file.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or folder that it was tried with.
        file: PathBuf,
        /// The disk's answer.
        source: io::Error,
    },
    /// What was durable is damaged or missing.
    #[error("{} is corrupt at offset {offset}: {reason}", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// The place of the damage, in bytes.
        offset: u64,
        /// What is wrong, and what proves that it was right once.
        reason: String,
    },
    /// A later program wrote this file.
    #[error("{} has format version {version}, which this program does not know", file.display())]
    UnsupportedVersion {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u32,
    },
}

impl FileError {
    pub(crate) fn io(operation: &'static str, file: &Path, source: io::Error) -> Self {
        Self::Io {
            operation,
            file: file.to_owned(),
            source,
        }
    }

    pub(crate) fn corrupt(
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

/// Why a header cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Corrupt(&'static str),
    Version(u32),
}

impl BadHeader {
    /// The error of the file whose header it is.
    pub(crate) fn of(self, file: &Path) -> FileError {
        match self {
            Self::Corrupt(reason) => FileError::corrupt(file, 0, reason),
            Self::Version(version) => FileError::UnsupportedVersion {
                file: file.to_owned(),
                version,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ENOSPC, EIO, EROFS and EMFILE on Linux.
    const REFUSALS: [i32; 4] = [28, 5, 30, 24];

    #[test]
    fn whatever_the_disk_refuses_is_said_once_with_its_file() {
        for number in REFUSALS {
            let cause = io::Error::from_raw_os_error(number).to_string();
            let refused = io::Error::from_raw_os_error(number);
            let error = FileError::io("write", Path::new("log/7.wal"), refused);
            assert_eq!(
                error.to_string(),
                format!("cannot write log/7.wal: {cause}")
            );
        }
    }
}
