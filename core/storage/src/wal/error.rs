//! What can go wrong with the log.

use std::io;
use std::path::Path;

use crate::file_error::FileError;

use super::record::MAX_ENTRY_DATA_BYTES;

/// What can go wrong with the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// A segment cannot be used. If the disk refused, the log is stopped. If records that
    /// were durable are damaged or missing, nothing was dropped and nothing was changed:
    /// the member can be restored or rejoin from its peers.
    #[error(transparent)]
    File(#[from] FileError),
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

/// For `map_err`.
pub(super) fn io_error(operation: &'static str, file: &Path) -> impl FnOnce(io::Error) -> WalError {
    move |source| FileError::io(operation, file, source).into()
}
