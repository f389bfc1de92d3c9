//! Reading a snapshot.

use super::format::{
    self, CHUNK_HEADER_BYTES, FOOTER_BYTES, FileHeader, Footer, HEADER_BYTES, Part, Place,
};
use crate::file_error::FileError;

use super::{SnapshotError, SnapshotFile, SnapshotHeader, io_error};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use veridical_env::{Disk, DiskFile, OpenMode};

/// Reads a snapshot chunk by chunk and verifies each.
///
/// Only when [`SnapshotReader::next_chunk`] has returned `None` is the whole known to be
/// sound: do not act on the chunks for good before that.
pub struct SnapshotReader<D: Disk> {
    file: D::File,
    path: PathBuf,
    header: SnapshotHeader,
    file_bytes: u64,
    offset: u64,
    seen: Footer,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Finished,
    /// A call failed or is under way; it is the latter if the call was cancelled.
    Stopped,
}

impl<D: Disk> SnapshotReader<D> {
    pub(super) async fn open(
        disk: &D,
        snapshot: &SnapshotFile,
        cluster_id: u64,
    ) -> Result<Self, SnapshotError> {
        let path = snapshot.path.clone();
        let corrupt = |offset, reason: &'static str| {
            SnapshotError::from(FileError::corrupt(&snapshot.path, offset, reason))
        };
        let file = disk
            .open(&path, OpenMode::Read)
            .await
            .map_err(io_error("open", &path))?;
        let file_bytes = file.len().await.map_err(io_error("measure", &path))?;
        let length = file_bytes.min(HEADER_BYTES as u64) as usize;
        let bytes = file
            .read_exact_at(0, length)
            .await
            .map_err(io_error("read", &path))?;
        let header = FileHeader::decode(&bytes).map_err(|bad| bad.of(&path))?;
        if (header.term, header.index) != (snapshot.term, snapshot.index) {
            return Err(corrupt(0, "the header belongs to another snapshot"));
        }
        let extension_bytes = header.extension_bytes();
        if extension_bytes > 0 {
            let left = file_bytes - HEADER_BYTES as u64;
            let length = left.min(extension_bytes as u64) as usize;
            check_cluster::<D>(&file, &path, length, cluster_id).await?;
        }
        let meta_start = (HEADER_BYTES + extension_bytes) as u64;
        let meta_bytes = header.meta_bytes as usize;
        if file_bytes - meta_start < meta_bytes as u64 {
            return Err(corrupt(meta_start, "the file ends within the meta bytes"));
        }
        let meta = file
            .read_exact_at(meta_start, meta_bytes)
            .await
            .map_err(io_error("read", &path))?;
        if crc32c::crc32c(&meta) != header.meta_crc {
            return Err(corrupt(
                meta_start,
                "the checksum of the meta bytes is wrong",
            ));
        }
        let header = SnapshotHeader {
            index: header.index,
            term: header.term,
            meta: meta.into(),
        };
        let offset = meta_start + meta_bytes as u64;
        assert!(
            offset <= file_bytes,
            "the chunks begin within the file: at {offset} of {file_bytes}"
        );
        Ok(Self {
            file,
            path,
            header,
            file_bytes,
            offset,
            seen: Footer::default(),
            state: State::Reading,
        })
    }

    /// What the snapshot stands for.
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The next chunk, or `None` once the footer was found to agree with all of them.
    ///
    /// # Errors
    /// [`FileError::Io`], [`FileError::Corrupt`], and from then on
    /// [`SnapshotError::Stopped`].
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        match self.state {
            State::Reading => {}
            State::Finished => return Ok(None),
            State::Stopped => return Err(SnapshotError::Stopped),
        }
        self.state = State::Stopped;
        let place = Place {
            term: self.header.term,
            index: self.header.index,
            offset: self.offset,
        };
        let left = self.file_bytes - self.offset;
        let start = self
            .read(self.offset, left.min(FOOTER_BYTES as u64) as usize)
            .await?;
        match format::decode_part(place, &start).map_err(|reason| self.corrupt(reason))? {
            Part::Chunk { bytes, crc } => {
                let end = CHUNK_HEADER_BYTES as u64 + u64::from(bytes);
                if end > left {
                    return Err(self.corrupt("the file ends within a chunk"));
                }
                let data = self
                    .read(self.offset + CHUNK_HEADER_BYTES as u64, bytes as usize)
                    .await?;
                if crc32c::crc32c(&data) != crc {
                    return Err(self.corrupt("the checksum of a chunk is wrong"));
                }
                self.seen.chunks += 1;
                self.seen.data_bytes += u64::from(bytes);
                self.seen.data_crc = crc32c::crc32c_append(self.seen.data_crc, &data);
                self.offset += end;
                assert!(
                    self.offset <= self.file_bytes,
                    "a chunk ends within the file"
                );
                self.state = State::Reading;
                Ok(Some(data.into()))
            }
            Part::Footer(footer) => {
                if footer != self.seen {
                    return Err(self.corrupt("the footer contradicts the chunks"));
                }
                if left != FOOTER_BYTES as u64 {
                    return Err(self.corrupt("something follows the footer"));
                }
                self.state = State::Finished;
                Ok(None)
            }
        }
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, SnapshotError> {
        self.file
            .read_exact_at(offset, length)
            .await
            .map_err(io_error("read", &self.path))
    }

    fn corrupt(&self, reason: &'static str) -> SnapshotError {
        FileError::corrupt(&self.path, self.offset, reason).into()
    }
}

/// Reads the extension of the header, of which the file has `length` bytes: the snapshot
/// must be of this cluster.
async fn check_cluster<D: Disk>(
    file: &D::File,
    path: &Path,
    length: usize,
    cluster_id: u64,
) -> Result<(), SnapshotError> {
    let extension = file
        .read_exact_at(HEADER_BYTES as u64, length)
        .await
        .map_err(io_error("read", path))?;
    let named = format::decode_extension(&extension)
        .map_err(|reason| FileError::corrupt(path, HEADER_BYTES as u64, reason))?;
    if named == cluster_id {
        return Ok(());
    }
    Err(SnapshotError::Foreign {
        file: path.to_owned(),
        cluster_id: named,
    })
}
