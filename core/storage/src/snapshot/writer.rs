//! Writing a snapshot.

use super::format::{
    self, CHUNK_HEADER_BYTES, FileHeader, Footer, MAX_CHUNK_BYTES, MAX_META_BYTES, Place,
};
use super::{SnapshotError, SnapshotFile, SnapshotHeader, SnapshotStore, io_error, remove_file};
use std::path::PathBuf;
use veridical_env::{Disk, DiskFile, OpenMode};
use veridical_planted::PlantedBug;
use veridical_probe::{failpoint, reachable};

/// A snapshot that is being written. If it is dropped, nothing of it is ever read and
/// its temporary file goes when the store is opened next; if writing fails, at once.
pub struct SnapshotWriter<D: Disk> {
    store: SnapshotStore<D>,
    file: D::File,
    temporary: PathBuf,
    term: u64,
    index: u64,
    offset: u64,
    /// Where the chunks begin.
    chunks_start: u64,
    footer: Footer,
    /// Set before each operation on the disk and cleared when it succeeded.
    stopped: bool,
}

impl<D: Disk> SnapshotWriter<D> {
    pub(super) async fn create(
        store: SnapshotStore<D>,
        header: &SnapshotHeader,
        ordinal: u64,
    ) -> Result<Self, SnapshotError> {
        let &SnapshotHeader {
            term,
            index,
            ref meta,
        } = header;
        check_size("meta", meta.len(), MAX_META_BYTES)?;
        let temporary = store.dir.join(format::temporary_name(term, index, ordinal));
        let opened = store.disk.open(&temporary, OpenMode::CreateNew).await;
        let file = opened.map_err(io_error("create", &temporary))?;
        let mut writer = Self {
            store,
            file,
            temporary,
            term,
            index,
            offset: 0,
            chunks_start: 0,
            footer: Footer::default(),
            stopped: false,
        };
        let config = writer.store.config;
        let header = FileHeader::encode(config.format, config.cluster_id, (term, index), meta);
        writer.write(&header).await?;
        writer.chunks_start = writer.offset;
        Ok(writer)
    }

    /// Appends a chunk. The reader gets the same chunks.
    ///
    /// # Errors
    /// [`SnapshotError::TooLarge`] before anything is written; [`FileError::Io`](crate::FileError::Io),
    /// which stops the writer; [`SnapshotError::Stopped`].
    pub async fn write_chunk(&mut self, data: &[u8]) -> Result<(), SnapshotError> {
        check_size("a chunk", data.len(), MAX_CHUNK_BYTES)?;
        self.write(&format::encode_chunk(self.place(), data))
            .await?;
        self.footer.chunks += 1;
        self.footer.data_bytes += data.len() as u64;
        self.footer.data_crc = crc32c::crc32c_append(self.footer.data_crc, data);
        self.assert_counted();
        Ok(())
    }

    /// Makes the snapshot durable under its name.
    ///
    /// # Errors
    /// [`FileError::Io`](crate::FileError::Io): then the snapshot may or may not exist, and only opening
    /// the store anew tells. [`SnapshotError::Stopped`].
    pub async fn finish(mut self) -> Result<SnapshotFile, SnapshotError> {
        self.assert_counted();
        self.write(&format::encode_footer(self.place(), self.footer))
            .await?;
        if !self.store.config.planted.has(PlantedBug::SnapshotUnsynced)
            && let Err(error) = self.file.sync().await
        {
            self.discard().await;
            return Err(io_error("synchronise", &self.temporary)(error));
        }
        let path = self
            .store
            .dir
            .join(format::file_name(self.term, self.index));
        failpoint!("snapshot.rename.before");
        if let Err(error) = self.store.disk.rename(&self.temporary, &path).await {
            self.discard().await;
            return Err(io_error("rename", &self.temporary)(error));
        }
        failpoint!("snapshot.renamed");
        if !self.store.config.planted.has(PlantedBug::DirentLoss) {
            self.store.sync_dir().await?;
        }
        failpoint!("snapshot.durable");
        Ok(SnapshotFile {
            index: self.index,
            term: self.term,
            path,
        })
    }

    /// Gives up and removes the temporary file.
    ///
    /// # Errors
    /// [`FileError::Io`](crate::FileError::Io).
    pub async fn abort(self) -> Result<(), SnapshotError> {
        reachable!("snapshot.unfinished-one-was-given-up");
        remove_file(&self.store.disk, &self.temporary).await
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.offset
    }

    /// What the footer will say is what was written; a reader compares the two.
    fn assert_counted(&self) {
        let headers = self.footer.chunks * CHUNK_HEADER_BYTES as u64;
        assert!(
            self.stopped || self.offset == self.chunks_start + headers + self.footer.data_bytes,
            "{} chunks with {} bytes lie from {} to {}",
            self.footer.chunks,
            self.footer.data_bytes,
            self.chunks_start,
            self.offset
        );
    }

    fn place(&self) -> Place {
        Place {
            term: self.term,
            index: self.index,
            offset: self.offset,
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        if self.stopped {
            return Err(SnapshotError::Stopped);
        }
        self.stopped = true;
        if let Err(error) = self.file.write_all_at(self.offset, bytes).await {
            self.discard().await;
            return Err(io_error("write", &self.temporary)(error));
        }
        self.stopped = false;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Gives the room of a file back that could not be written whole: if the disk is full, this
    /// may be why. Where that fails, too, the file goes when the store is opened next.
    async fn discard(&self) {
        let _ = remove_file(&self.store.disk, &self.temporary).await;
    }
}

fn check_size(what: &'static str, bytes: usize, limit: usize) -> Result<(), SnapshotError> {
    if bytes > limit {
        Err(SnapshotError::TooLarge { what, bytes, limit })
    } else {
        Ok(())
    }
}
