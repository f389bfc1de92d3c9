//! The log, open for appending.

use super::error::{WalError, io_error};
use super::frame::{self, Payload};
use super::record::{MAX_ENTRY_DATA_BYTES, WalRecord};
use super::recovery::{self, ClosedSegment, Recovered};
use super::segment::{self, Chain, SEGMENT_HEADER_BYTES, SegmentHeader, WRITE_ALIGNMENT_BYTES};
use super::shape::LogShape;
use crate::format::DataFormat;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use veridical_env::{Disk, DiskFile, OpenMode};
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::sometimes;

/// How the log is written.
#[derive(Clone, Copy, Debug)]
pub struct WalConfig {
    /// A segment that has reached this length gets no further batch. A batch is never
    /// split, so segments are longer by up to one batch.
    pub segment_bytes: u64,
    /// The version that new segments have.
    pub format: DataFormat,
    /// Deliberate defects.
    pub planted: Planted,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            format: DataFormat::default(),
            planted: Planted::none(),
        }
    }
}

/// The log, open for appending. One process at a time may have a log open; whoever
/// opens it has to see to that.
pub struct Wal<D: Disk> {
    disk: D,
    dir: PathBuf,
    config: WalConfig,
    file: D::File,
    path: PathBuf,
    sequence: u64,
    /// Over the present segment, up to `end`.
    chain: Chain,
    oldest_sequence: u64,
    closed: VecDeque<ClosedSegment>,
    max_index: Option<u64>,
    /// Where the last frame ends.
    end: u64,
    /// Up to where the segment is durable.
    durable_end: u64,
    /// Where the file ends: behind the last frame there are zeros up to here.
    zeroed_end: u64,
    shape: LogShape,
    buffer: Vec<u8>,
    /// Set before each operation on the disk and cleared when it succeeded, so that a
    /// call that is dropped half-way stops the log as well.
    stopped: bool,
}

/// A segment that has been created and is durable.
struct NewSegment<F> {
    file: F,
    path: PathBuf,
    chain: Chain,
    head_end: u64,
}

impl<D: Disk> Wal<D> {
    /// Opens the log in `dir`, which is created if it does not exist, and reads it.
    ///
    /// What it returns is durable, also what had been written but not synchronised
    /// before. Nothing is changed in place: a damaged log stays as it is.
    ///
    /// # Errors
    /// [`FileError::Io`](crate::FileError::Io), [`Corrupt`](crate::FileError::Corrupt),
    /// [`UnsupportedVersion`](crate::FileError::UnsupportedVersion).
    pub async fn open(
        disk: D,
        dir: &Path,
        config: WalConfig,
    ) -> Result<(Self, Recovered), WalError> {
        disk.create_dir_all(dir)
            .await
            .map_err(io_error("create", dir))?;
        let (plan, recovered) = recovery::read(&disk, dir, config.planted).await?;
        let (released, temporary): (Vec<String>, Vec<String>) = plan
            .leftovers
            .into_iter()
            .partition(|name| segment::parse_file_name(name).is_some());
        sometimes!(
            !temporary.is_empty(),
            "wal.crash-left-a-segment-without-its-name"
        );
        sometimes!(
            !released.is_empty(),
            "wal.crash-came-between-release-and-deletion"
        );
        sometimes!(
            !plan.carried.is_empty(),
            "wal.recovery-carried-over-what-was-not-known-durable"
        );
        remove_files(&disk, dir, &temporary).await?;
        let new = create_segment(&disk, dir, &config, plan.header, &plan.carried).await?;
        // Only now: the new header makes it durable that these are not needed.
        remove_files(&disk, dir, &released).await?;
        let max_index = plan.carried.iter().filter_map(entry_index).max();
        let wal = Self {
            disk,
            dir: dir.to_owned(),
            config,
            file: new.file,
            path: new.path,
            sequence: plan.header.sequence,
            chain: new.chain,
            oldest_sequence: plan.header.oldest_sequence,
            closed: plan.closed.into(),
            max_index,
            end: new.head_end,
            durable_end: new.head_end,
            zeroed_end: new.head_end,
            shape: plan.shape,
            buffer: Vec::new(),
            stopped: false,
        };
        wal.assert_consistent();
        Ok((wal, recovered))
    }

    /// Appends records, in order. They are durable after the next [`Wal::sync`]; after a
    /// crash before that, any prefix of what was appended since the last one may be
    /// there.
    ///
    /// # Errors
    /// [`WalError::EntryTooLarge`] before anything is written; [`FileError::Io`](crate::FileError::Io), which
    /// stops the log; [`WalError::Stopped`].
    ///
    /// # Panics
    /// If an entry's index is 0, leaves a gap, or is covered by a snapshot that was marked
    /// before: only a bug in the caller does that.
    pub async fn append(&mut self, records: &[WalRecord]) -> Result<(), WalError> {
        if self.stopped {
            return Err(WalError::Stopped);
        }
        for record in records {
            if let WalRecord::Entry(entry) = record
                && entry.data.len() > MAX_ENTRY_DATA_BYTES
            {
                return Err(WalError::EntryTooLarge {
                    bytes: entry.data.len(),
                });
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        if self.end >= self.config.segment_bytes {
            self.rotate().await?;
        }
        let mut payloads = Vec::with_capacity(records.len());
        for record in records {
            let payload = self.shape.payload_of(record);
            if let Err(misfit) = self.shape.apply(&payload) {
                panic!("{misfit}");
            }
            self.max_index = self.max_index.max(entry_index(&payload));
            payloads.push(payload);
        }
        self.write(&payloads).await?;
        self.assert_consistent();
        Ok(())
    }

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// [`FileError::Io`](crate::FileError::Io), which stops the log; [`WalError::Stopped`].
    pub async fn sync(&mut self) -> Result<(), WalError> {
        if self.stopped {
            return Err(WalError::Stopped);
        }
        if self.durable_end == self.end {
            return Ok(());
        }
        self.stopped = true;
        self.file
            .sync()
            .await
            .map_err(io_error("synchronise", &self.path))?;
        self.stopped = false;
        self.durable_end = self.end;
        self.assert_consistent();
        Ok(())
    }

    /// How far the segment is filled with zeros ahead of its last frame, in bytes.
    pub fn zeros_ahead_bytes(&self) -> u64 {
        self.zeroed_end - self.end
    }

    /// Fills the segment with `bytes` more zeros, as far as it is to grow, and says whether there
    /// was any need. An fdatasync that neither extends the file nor allocates blocks needs no commit
    /// of the file system's journal. Measured on ext4 with one sync for each 4 KiB, on a machine that
    /// others used too, so that single runs scatter and one of three had it slower: a plain program
    /// had medians of 6951 syncs a second with 256 KiB of zeros at a time, 4308 without, 4035 with
    /// `set_len` alone; `benches/wal.rs` under heavy load had means of 256 with and 219 without.
    ///
    /// The zeros become durable with the next [`Wal::sync`] that has frames to synchronise, which
    /// takes longer by as much: how much the disk can take the caller has to know. They are not part
    /// of the log. Whatever a crash leaves of them lies behind the last frame, as the end of a batch
    /// that was torn does.
    ///
    /// # Errors
    /// [`FileError::Io`](crate::FileError::Io), which stops the log; [`WalError::Stopped`].
    pub async fn fill_ahead(&mut self, bytes: u64) -> Result<bool, WalError> {
        if self.stopped {
            return Err(WalError::Stopped);
        }
        // A sector with records that may be durable is not written again.
        let from = self.zeroed_end.next_multiple_of(WRITE_ALIGNMENT_BYTES);
        let to = (from + bytes).min(self.config.segment_bytes);
        if to <= from {
            return Ok(false);
        }
        self.buffer.clear();
        self.buffer.resize((to - from) as usize, 0);
        self.stopped = true;
        self.file
            .write_all_at(from, &self.buffer)
            .await
            .map_err(io_error("write", &self.path))?;
        self.stopped = false;
        self.zeroed_end = to;
        self.assert_consistent();
        Ok(true)
    }

    /// Deletes the oldest segments as long as they hold only entries before `index`.
    /// Hard state, member record and snapshot mark survive. Also synchronises.
    ///
    /// # Errors
    /// [`FileError::Io`](crate::FileError::Io), which stops the log; [`WalError::Stopped`].
    pub async fn release_before(&mut self, index: u64) -> Result<(), WalError> {
        if self.stopped {
            return Err(WalError::Stopped);
        }
        let releasable =
            |segment: &&ClosedSegment| segment.max_index.is_none_or(|max_index| max_index < index);
        let mut count = self.closed.iter().take_while(releasable).count();
        if count == 0 {
            return Ok(());
        }
        if self.config.planted.has(PlantedBug::WalReleasedTooMuch) && count < self.closed.len() {
            count += 1;
        }
        assert!(
            count <= self.closed.len(),
            "the segment that is written to is never released"
        );
        sometimes!(count > 1, "wal.several-segments-released-at-once");
        // First the log says durably that it does without them. Otherwise recovery could
        // not tell a deleted segment from a lost one.
        let oldest = self
            .closed
            .get(count)
            .map_or(self.sequence, |segment| segment.sequence);
        self.write(&[Payload::OldestSegment(oldest)]).await?;
        if !self.config.planted.has(PlantedBug::WalReleaseUnsynced) {
            self.sync().await?;
        }
        self.oldest_sequence = oldest;
        self.shape.release_before(index);
        let names: Vec<String> = self
            .closed
            .drain(..count)
            .map(|segment| segment::file_name(segment.sequence))
            .collect();
        self.stopped = true;
        remove_files(&self.disk, &self.dir, &names).await?;
        self.stopped = false;
        self.assert_consistent();
        Ok(())
    }

    /// What is durable was written, what was written lies within the zeros, and the segments
    /// have no gap.
    fn assert_consistent(&self) {
        assert!(
            self.durable_end <= self.end && self.end <= self.zeroed_end,
            "durable up to {}, written up to {}, a file up to {}",
            self.durable_end,
            self.end,
            self.zeroed_end
        );
        assert!(
            self.closed.len() as u64 == self.sequence - self.oldest_sequence,
            "{} closed segments from {} to {}",
            self.closed.len(),
            self.oldest_sequence,
            self.sequence
        );
    }

    /// The index of the last entry, or of the snapshot that replaced the log; 0 if
    /// there was none.
    pub fn last_index(&self) -> u64 {
        self.shape.state().last_index
    }

    /// How many segments the log has.
    pub fn segments(&self) -> usize {
        self.closed.len() + 1
    }

    /// Writes frames behind the last one.
    async fn write(&mut self, payloads: &[Payload]) -> Result<(), WalError> {
        sometimes!(
            self.end != self.durable_end,
            "wal.written-behind-what-is-not-durable"
        );
        let start = if self.end == self.durable_end {
            self.end.next_multiple_of(WRITE_ALIGNMENT_BYTES)
        } else {
            self.end
        };
        assert!(
            start >= self.end && !payloads.is_empty(),
            "frames are written behind the last one"
        );
        self.buffer.clear();
        for payload in payloads {
            let offset = start + self.buffer.len() as u64;
            frame::encode(
                &mut self.buffer,
                self.sequence,
                offset,
                self.durable_end,
                payload,
            );
            self.chain.add(&self.buffer[(offset - start) as usize..]);
        }
        let end = start + self.buffer.len() as u64;
        self.stopped = true;
        self.file
            .write_all_at(start, &self.buffer)
            .await
            .map_err(io_error("write", &self.path))?;
        self.stopped = false;
        self.end = end;
        self.zeroed_end = self.zeroed_end.max(end);
        Ok(())
    }

    /// Goes on with a new segment.
    async fn rotate(&mut self) -> Result<(), WalError> {
        sometimes!(
            self.end != self.durable_end,
            "wal.segment-closed-with-records-to-synchronise"
        );
        sometimes!(
            self.max_index.is_none(),
            "wal.segment-closed-without-an-entry"
        );
        if !self.config.planted.has(PlantedBug::WalRotateUnsynced) {
            self.sync().await?;
        }
        self.stopped = true;
        let header = SegmentHeader {
            version: self.config.format.version(),
            previous_crc: self.chain.value(),
            sequence: self.sequence + 1,
            oldest_sequence: self.oldest_sequence,
            previous_end: self.end,
            head_end: SEGMENT_HEADER_BYTES as u64,
            state: self.shape.state(),
        };
        let new = create_segment(&self.disk, &self.dir, &self.config, header, &[]).await?;
        assert!(
            new.head_end == SEGMENT_HEADER_BYTES as u64,
            "a segment that goes on carries no frames over"
        );
        self.stopped = false;
        self.closed.push_back(ClosedSegment {
            sequence: self.sequence,
            max_index: self.max_index.take(),
        });
        self.file = new.file;
        self.path = new.path;
        self.sequence = header.sequence;
        self.chain = new.chain;
        self.end = new.head_end;
        self.durable_end = new.head_end;
        self.zeroed_end = new.head_end;
        self.assert_consistent();
        Ok(())
    }
}

fn entry_index(payload: &Payload) -> Option<u64> {
    match payload {
        Payload::Record(WalRecord::Entry(entry)) => Some(entry.index),
        Payload::Record(_) | Payload::Restart(_) | Payload::OldestSegment(_) => None,
    }
}

/// Writes the head of a segment and makes it durable under its name: first the data,
/// under a temporary name, then the name. So a segment has its name only when its head
/// is whole.
async fn create_segment<D: Disk>(
    disk: &D,
    dir: &Path,
    config: &WalConfig,
    header: SegmentHeader,
    carried: &[Payload],
) -> Result<NewSegment<D::File>, WalError> {
    let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
    let mut frames = Vec::with_capacity(carried.len());
    for payload in carried {
        let offset = bytes.len();
        frame::encode(&mut bytes, header.sequence, offset as u64, 0, payload);
        frames.push(offset);
    }
    // No zeros: whoever opens a log needs the segment now, and the disk may be slow.
    let head_end = bytes.len() as u64;
    let version = config.format.version();
    let encoded = SegmentHeader {
        version,
        head_end,
        ..header
    }
    .encode();
    bytes[..SEGMENT_HEADER_BYTES].copy_from_slice(&encoded);
    let mut chain = Chain::begin(&bytes);
    for offset in frames {
        chain.add(&bytes[offset..]);
    }

    let temporary = dir.join(segment::temporary_name(header.sequence));
    let path = dir.join(segment::file_name(header.sequence));
    let file = match write_new_file(disk, &temporary, &path, &bytes).await {
        Ok(file) => file,
        Err(error) => {
            // Its room may be what the disk lacks. Where this fails, too, the file goes when the
            // log is opened next.
            let _ = disk.remove_file(&temporary).await;
            return Err(error);
        }
    };
    if !config.planted.has(PlantedBug::DirentLoss) {
        disk.sync_dir(dir)
            .await
            .map_err(io_error("synchronise", dir))?;
    }
    Ok(NewSegment {
        file,
        path,
        chain,
        head_end,
    })
}

/// Writes a file under a temporary name, synchronises it and gives it its own.
async fn write_new_file<D: Disk>(
    disk: &D,
    temporary: &Path,
    path: &Path,
    bytes: &[u8],
) -> Result<D::File, WalError> {
    let file = disk
        .open(temporary, OpenMode::CreateNew)
        .await
        .map_err(io_error("create", temporary))?;
    file.write_all_at(0, bytes)
        .await
        .map_err(io_error("write", temporary))?;
    file.sync()
        .await
        .map_err(io_error("synchronise", temporary))?;
    disk.rename(temporary, path)
        .await
        .map_err(io_error("rename", temporary))?;
    Ok(file)
}

/// Removes files, durably.
async fn remove_files<D: Disk>(disk: &D, dir: &Path, names: &[String]) -> Result<(), WalError> {
    for name in names {
        let path = dir.join(name);
        match disk.remove_file(&path).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("remove", &path)(error)),
        }
    }
    if !names.is_empty() {
        disk.sync_dir(dir)
            .await
            .map_err(io_error("synchronise", dir))?;
    }
    Ok(())
}
