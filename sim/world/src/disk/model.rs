//! One disk: its files, its names, and which operation fails how.

use super::faults::DiskFaults;
use super::file::{FileContents, FileId, sector_bytes};
use super::names::{self, Names};
use crate::counter::Counter;
use crate::fault::ProcessId;
use crate::rng::Rng;
use crate::trace::{DiskOperation, EventKind, Recorder};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use veridical_env::OpenMode;

/// Error numbers of Linux.
const EIO: i32 = 5;
const EINTR: i32 = 4;
const ENOSPC: i32 = 28;

const NS_PER_S: u64 = 1_000_000_000;

/// How soon an operation that waits for a throttled device is looked at again, in ns.
const LOOK_AGAIN_NS: u64 = 100_000_000;

/// What the disk model needs from the world to do something.
pub struct DiskContext<'a> {
    /// Whose disk it is.
    pub process: ProcessId,
    /// The disks' random numbers.
    pub rng: &'a mut Rng,
    /// The time, and where to record.
    pub recorder: Recorder<'a>,
}

impl DiskContext<'_> {
    fn record(&mut self, operation: DiskOperation, file: FileId, offset: u64, length: u64) {
        self.recorder.record(
            self.process,
            EventKind::Disk {
                operation,
                file,
                offset,
                length,
            },
        );
    }

    fn fail(
        &mut self,
        operation: DiskOperation,
        file: FileId,
        errno: i32,
        counter: Counter,
    ) -> io::Error {
        self.recorder.count(counter);
        let errno_field = errno.unsigned_abs();
        self.recorder.record(
            self.process,
            EventKind::DiskError {
                operation,
                file,
                errno: errno_field,
            },
        );
        io::Error::from_raw_os_error(errno)
    }
}

/// How a synchronisation will end; decided when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncOutcome {
    /// All is durable.
    Durable,
    /// EIO, and the pages become clean.
    Failed,
    /// Ok, and nothing is durable.
    Lied,
}

/// A file: its contents, and how many handles on it are open.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub(super) contents: FileContents,
    pub(super) handles: u32,
}

/// What a disk holds, to be put back later.
#[derive(Clone, Debug)]
pub struct DiskSnapshot {
    pub(super) files: BTreeMap<FileId, Stored>,
    pub(super) names: Names,
}

/// One disk.
#[derive(Debug, Default)]
pub struct DiskModel {
    pub(super) files: BTreeMap<FileId, Stored>,
    pub(super) names: Names,
    last_file: FileId,
    /// What its files take, in bytes.
    pub(super) used_bytes: u64,
    /// What they may take at most.
    pub capacity_bytes: Option<u64>,
    /// How it behaves.
    pub faults: DiskFaults,
    /// Nothing completes before this time, in ns.
    pub stalled_until_ns: u64,
    /// When a throttled device has passed all bytes that it was given, in ns.
    throttled_until_ns: u64,
    /// The bytes that a throttled device was ever given.
    given_bytes: u64,
}

/// When an operation takes effect.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// Not before this time, in ns.
    at_ns: u64,
    /// Not before a throttled device has passed so many of the bytes that it was ever given.
    behind_bytes: Option<u64>,
}

impl DiskModel {
    /// An empty disk.
    pub fn new(faults: DiskFaults, capacity_bytes: Option<u64>) -> Self {
        Self {
            faults,
            capacity_bytes,
            ..Self::default()
        }
    }

    /// When an operation that begins now takes effect.
    pub fn completion(
        &self,
        context: &mut DiskContext<'_>,
        operation: DiskOperation,
    ) -> Completion {
        let latency = match operation {
            DiskOperation::Read | DiskOperation::Query => self.faults.read_latency,
            DiskOperation::Sync | DiskOperation::SyncDir => self.faults.sync_latency,
            DiskOperation::Write
            | DiskOperation::SetLength
            | DiskOperation::Open
            | DiskOperation::Rename
            | DiskOperation::Remove => self.faults.write_latency,
        };
        let (duration_ns, slow) = latency.draw_ns(context.rng);
        if slow {
            context.recorder.count(Counter::SlowDisk);
        }
        let at_ns = context.recorder.now_ns + duration_ns;
        if at_ns < self.stalled_until_ns {
            context.recorder.count(Counter::DiskStall);
        }
        let at_ns = at_ns.max(self.stalled_until_ns);
        let is_throttled = self.faults.throttle_bytes_per_s > 0 && at_ns < self.throttled_until_ns;
        if is_throttled {
            context.recorder.count(Counter::Throttled);
        }
        Completion {
            at_ns,
            behind_bytes: is_throttled.then_some(self.given_bytes),
        }
    }

    /// Until when to wait for an operation before it is looked at again, in ns; nothing if it takes
    /// effect `now_ns`. How long a throttled device takes is known for a while only: it may be
    /// throttled less, or more, before it comes to that.
    pub fn wait_ns(&self, completion: Completion, now_ns: u64) -> Option<u64> {
        let at_ns = completion.at_ns.max(self.stalled_until_ns);
        let passed_ns = completion.behind_bytes.map_or(0, |bytes| {
            let given_later = self.given_bytes - bytes;
            let later_ns = self.ns_to_pass(given_later).unwrap_or_default();
            self.throttled_until_ns.saturating_sub(later_ns)
        });
        match at_ns.max(passed_ns.min(now_ns + LOOK_AGAIN_NS)) {
            until_ns if until_ns > now_ns => Some(until_ns),
            _ => None,
        }
    }

    /// Replaces how the device behaves; what it has not passed yet, it passes at its new rate.
    pub fn set_faults(&mut self, faults: DiskFaults, now_ns: u64) {
        let left_ns = self.throttled_until_ns.saturating_sub(now_ns);
        let before = self.faults.throttle_bytes_per_s;
        self.faults = faults;
        if faults.throttle_bytes_per_s != before {
            let left_bytes = u128::from(left_ns) * u128::from(before) / u128::from(NS_PER_S);
            let left_ns = self.ns_to_pass(left_bytes as u64).unwrap_or_default();
            self.throttled_until_ns = now_ns + left_ns;
        }
    }

    /// How long a throttled device takes for so many bytes, in ns.
    fn ns_to_pass(&self, bytes: u64) -> Option<u64> {
        (bytes * NS_PER_S).checked_div(self.faults.throttle_bytes_per_s)
    }

    /// The device passes so many bytes, if it has a limit.
    fn pass_bytes(&mut self, context: &DiskContext<'_>, bytes: usize) {
        let Some(ns) = self.ns_to_pass(bytes as u64) else {
            return;
        };
        self.given_bytes += bytes as u64;
        self.throttled_until_ns = self.throttled_until_ns.max(context.recorder.now_ns) + ns;
    }

    fn may_interrupt(
        &self,
        context: &mut DiskContext<'_>,
        operation: DiskOperation,
        file: FileId,
    ) -> io::Result<()> {
        if context.rng.chance(self.faults.interrupt_probability) {
            return Err(context.fail(operation, file, EINTR, Counter::Interrupted));
        }
        Ok(())
    }

    fn may_fail_to_write(
        &self,
        context: &mut DiskContext<'_>,
        operation: DiskOperation,
        file: FileId,
    ) -> io::Result<()> {
        if context.rng.chance(self.faults.write_error_probability) {
            return Err(context.fail(operation, file, EIO, Counter::DiskError));
        }
        Ok(())
    }

    pub(super) fn stored(&mut self, file: FileId) -> &mut Stored {
        self.files
            .get_mut(&file)
            .expect("a file with a handle is kept")
    }

    /// Creates folders; durable at once.
    pub fn create_dir_all(&mut self, context: &mut DiskContext<'_>, path: &Path) -> io::Result<()> {
        self.may_fail_to_write(context, DiskOperation::Query, 0)?;
        self.names.create_folders(path)?;
        context.record(DiskOperation::Query, 0, 0, 0);
        Ok(())
    }

    /// Opens a file and counts a handle on it.
    pub fn open(
        &mut self,
        context: &mut DiskContext<'_>,
        path: &Path,
        mode: OpenMode,
    ) -> io::Result<FileId> {
        let slot = names::slot(path)?;
        let file = match (self.names.find(&slot)?, mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, OpenMode::Read | OpenMode::ReadWrite) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            (Some(file), _) => file,
            (None, OpenMode::CreateNew) => {
                self.may_fail_to_write(context, DiskOperation::Open, 0)?;
                self.last_file += 1;
                self.files.insert(self.last_file, Stored::default());
                self.names.create(slot, self.last_file);
                self.last_file
            }
        };
        self.stored(file).handles += 1;
        context.record(DiskOperation::Open, file, 0, 0);
        Ok(file)
    }

    /// A handle is gone.
    pub fn close(&mut self, file: FileId) {
        let stored = self.stored(file);
        stored.handles -= 1;
        if stored.handles == 0 {
            self.release(file);
        }
    }

    /// Reads up to `length` bytes.
    pub fn read(
        &mut self,
        context: &mut DiskContext<'_>,
        file: FileId,
        offset: u64,
        length: usize,
    ) -> io::Result<Vec<u8>> {
        self.may_interrupt(context, DiskOperation::Read, file)?;
        if context.rng.chance(self.faults.read_error_probability) {
            return Err(context.fail(DiskOperation::Read, file, EIO, Counter::DiskError));
        }
        let mut source = offset;
        if context.rng.chance(self.faults.misdirected_read_probability) {
            source = self.misdirect(context, file, offset, Counter::MisdirectedRead);
        }
        let mut bytes = self.stored(file).contents.read(source, length);
        if bytes.len() > 1 && context.rng.chance(self.faults.short_read_probability) {
            let keep = context.rng.between(1, bytes.len() as u64 - 1);
            bytes.truncate(keep as usize);
            context.recorder.count(Counter::ShortRead);
        }
        if !bytes.is_empty() && context.rng.chance(self.faults.read_flip_probability) {
            let at = context.rng.index(bytes.len());
            bytes[at] ^= 1 << context.rng.below(8);
            context.recorder.count(Counter::ReadFlip);
        }
        self.pass_bytes(context, bytes.len());
        context.recorder.count(Counter::DiskRead);
        context.record(DiskOperation::Read, file, offset, bytes.len() as u64);
        Ok(bytes)
    }

    /// Writes into the page cache and returns how many bytes were taken.
    pub fn write(
        &mut self,
        context: &mut DiskContext<'_>,
        file: FileId,
        offset: u64,
        data: &[u8],
    ) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        self.may_interrupt(context, DiskOperation::Write, file)?;
        self.may_fail_to_write(context, DiskOperation::Write, file)?;
        let mut taken = data.len();
        if taken > 1 && context.rng.chance(self.faults.short_write_probability) {
            taken = context.rng.between(1, taken as u64 - 1) as usize;
            context.recorder.count(Counter::ShortWrite);
        }
        let mut target = offset;
        if context
            .rng
            .chance(self.faults.misdirected_write_probability)
        {
            target = self.misdirect(context, file, offset, Counter::MisdirectedWrite);
        }
        let missing = self.stored(file).contents.missing_bytes(target, taken);
        if self
            .capacity_bytes
            .is_some_and(|capacity| missing > 0 && self.used_bytes + missing > capacity)
        {
            return Err(context.fail(DiskOperation::Write, file, ENOSPC, Counter::NoSpace));
        }
        self.used_bytes += missing;
        self.stored(file)
            .contents
            .write(target, Bytes::copy_from_slice(&data[..taken]));
        self.pass_bytes(context, taken);
        context.recorder.count(Counter::DiskWrite);
        context.record(DiskOperation::Write, file, target, taken as u64);
        Ok(taken)
    }

    /// Another offset in the file with the same position in its sector.
    fn misdirect(
        &mut self,
        context: &mut DiskContext<'_>,
        file: FileId,
        offset: u64,
        counter: Counter,
    ) -> u64 {
        let sector = sector_bytes(&self.faults.crash);
        let sectors = self.stored(file).contents.len().div_ceil(sector);
        if sectors < 2 {
            return offset;
        }
        let wrong = context.rng.below(sectors) * sector + offset % sector;
        if wrong != offset {
            context.recorder.count(counter);
        }
        wrong
    }

    /// Changes the length in the page cache.
    pub fn set_len(
        &mut self,
        context: &mut DiskContext<'_>,
        file: FileId,
        length: u64,
    ) -> io::Result<()> {
        self.may_fail_to_write(context, DiskOperation::SetLength, file)?;
        let contents = &mut self.stored(file).contents;
        let before = contents.present_bytes();
        contents.set_len(length);
        let freed = before - contents.present_bytes();
        self.used_bytes = self.used_bytes.saturating_sub(freed);
        context.recorder.count(Counter::DiskWrite);
        context.record(DiskOperation::SetLength, file, length, 0);
        Ok(())
    }

    /// The length of a file.
    pub fn len(&mut self, file: FileId) -> u64 {
        self.stored(file).contents.len()
    }

    /// Begins to synchronise a file: what will come of it, and a mark behind what it
    /// covers.
    pub fn begin_sync(
        &mut self,
        context: &mut DiskContext<'_>,
        file: FileId,
    ) -> io::Result<(SyncOutcome, u64)> {
        let outcome = if context.rng.chance(self.faults.sync_error_probability) {
            SyncOutcome::Failed
        } else if context.rng.chance(self.faults.lying_sync_probability) {
            SyncOutcome::Lied
        } else {
            SyncOutcome::Durable
        };
        Ok((outcome, self.stored(file).contents.mark()))
    }

    /// The synchronisation that was begun is over.
    pub fn end_sync(
        &mut self,
        context: &mut DiskContext<'_>,
        file: FileId,
        outcome: SyncOutcome,
        mark: u64,
    ) -> io::Result<()> {
        let sector = sector_bytes(&self.faults.crash);
        self.stored(file)
            .contents
            .sync(mark, outcome == SyncOutcome::Durable, sector);
        match outcome {
            SyncOutcome::Failed => {
                return Err(context.fail(DiskOperation::Sync, file, EIO, Counter::FsyncError));
            }
            SyncOutcome::Lied => context.recorder.count(Counter::LyingSync),
            SyncOutcome::Durable => {}
        }
        context.recorder.count(Counter::Fsync);
        context.record(DiskOperation::Sync, file, mark, 0);
        Ok(())
    }

    /// Renames a file, replacing the target.
    pub fn rename(
        &mut self,
        context: &mut DiskContext<'_>,
        from: &Path,
        to: &Path,
    ) -> io::Result<()> {
        let (from, to) = (names::slot(from)?, names::slot(to)?);
        let file = self.names.find(&from)?.ok_or(io::ErrorKind::NotFound)?;
        let replaced = self.names.find(&to)?.filter(|replaced| *replaced != file);
        self.may_fail_to_write(context, DiskOperation::Rename, file)?;
        self.names.rename(from, to, file);
        if let Some(replaced) = replaced {
            self.release(replaced);
        }
        context.record(DiskOperation::Rename, file, 0, 0);
        Ok(())
    }

    /// Removes a file's name.
    pub fn remove(&mut self, context: &mut DiskContext<'_>, path: &Path) -> io::Result<()> {
        let slot = names::slot(path)?;
        let file = self.names.find(&slot)?.ok_or(io::ErrorKind::NotFound)?;
        self.may_fail_to_write(context, DiskOperation::Remove, file)?;
        self.names.remove(slot);
        self.release(file);
        context.record(DiskOperation::Remove, file, 0, 0);
        Ok(())
    }

    /// The names in a folder, sorted.
    pub fn list(&mut self, context: &mut DiskContext<'_>, path: &Path) -> io::Result<Vec<String>> {
        let listed = self.names.list(path)?;
        context.record(DiskOperation::Query, 0, 0, listed.len() as u64);
        Ok(listed)
    }

    /// Makes the names in a folder durable.
    pub fn sync_dir(&mut self, context: &mut DiskContext<'_>, path: &Path) -> io::Result<()> {
        if context.rng.chance(self.faults.sync_error_probability) {
            return Err(context.fail(DiskOperation::SyncDir, 0, EIO, Counter::FsyncError));
        }
        if context.rng.chance(self.faults.lying_sync_probability) {
            context.recorder.count(Counter::LyingSync);
        } else {
            self.names.sync(path)?;
            self.collect();
        }
        context.recorder.count(Counter::SyncDir);
        context.record(DiskOperation::SyncDir, 0, 0, 0);
        Ok(())
    }
}
