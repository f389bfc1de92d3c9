//! A disk in memory that keeps no promise that POSIX does not make.
//!
//! Un-synchronised writes survive a crash as any subset of sectors, names are lost
//! without `sync_dir`, one fsync fails, calls are short or interrupted. Small and
//! independent of the simulator, whose disk does more.

pub mod crash;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use veridical_env::{Disk, DiskFile, OpenMode};

/// What happens besides crashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Calls take or give only part of the bytes, or are interrupted.
    pub short_io: bool,
    /// A sync after this many fails, of a file or a folder; the next succeeds again.
    pub fail_sync_after: Option<u32>,
    /// Writes never return.
    pub stuck_writes: bool,
    /// All files together have at most this many bytes; a write takes what fits.
    pub room_bytes: Option<usize>,
}

/// Runs a future that never waits. Everything over this disk is one, but for stuck
/// writes.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    poll_once(future).expect("nothing over this disk waits")
}

/// Runs a future until it waits, and drops it then.
pub fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A handle of one process. Handles from before a crash or a kill fail.
#[derive(Clone)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
    process: u64,
}

pub struct FaultyFile {
    disk: FaultyDisk,
    inode: usize,
    path: PathBuf,
    writable: bool,
}

struct State {
    process: u64,
    rng: Rng,
    faults: Faults,
    inodes: Vec<Inode>,
    dirs: BTreeMap<PathBuf, Dir>,
}

#[derive(Default)]
struct Inode {
    /// What reads show.
    live: Vec<u8>,
    /// What a crash leaves for certain.
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLength(usize),
}

#[derive(Default)]
struct Dir {
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    pending: Vec<NameChange>,
}

#[derive(Clone)]
enum NameChange {
    Link {
        name: String,
        inode: usize,
    },
    Unlink {
        name: String,
    },
    Rename {
        from: String,
        to: String,
        inode: usize,
    },
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link { name, inode } => {
                names.insert(name, inode);
            }
            Self::Unlink { name } => {
                names.remove(&name);
            }
            Self::Rename { from, to, inode } => {
                names.remove(&from);
                names.insert(to, inode);
            }
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                let end = offset + data.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*offset..end].copy_from_slice(data);
            }
            Self::SetLength(length) => bytes.resize(*length, 0),
        }
    }
}

impl Dir {
    fn change(&mut self, change: NameChange) {
        change.clone().apply(&mut self.live);
        self.pending.push(change);
    }
}

impl State {
    /// Whether this sync is the one that fails.
    fn sync_fails(&mut self) -> bool {
        match self.faults.fail_sync_after {
            Some(0) => {
                self.faults.fail_sync_after = None;
                true
            }
            Some(count) => {
                self.faults.fail_sync_after = Some(count - 1);
                false
            }
            None => false,
        }
    }

    /// Bytes of all files that have a name.
    fn used(&self) -> usize {
        let inodes = self.dirs.values().flat_map(|dir| dir.live.values());
        inodes.map(|inode| self.inodes[*inode].live.len()).sum()
    }

    /// How much of a write fits on the disk.
    fn fitting(&self, inode: usize, offset: usize, length: usize) -> io::Result<usize> {
        let Some(room) = self.faults.room_bytes else {
            return Ok(length);
        };
        let present = self.inodes[inode].live.len();
        let end_max = present + room.saturating_sub(self.used());
        match end_max.saturating_sub(offset).min(length) {
            0 if length > 0 => Err(io::ErrorKind::StorageFull.into()),
            fits => Ok(fits),
        }
    }

    /// How much of `length` a call takes, or an interruption.
    fn short(&mut self, length: usize) -> io::Result<usize> {
        if !self.faults.short_io || length == 0 {
            return Ok(length);
        }
        match self.rng.below(8) {
            0 => Err(io::ErrorKind::Interrupted.into()),
            1..=3 => Ok(1 + self.rng.below(length as u64) as usize),
            _ => Ok(length),
        }
    }
}

fn split(path: &Path) -> (PathBuf, String) {
    let dir = path.parent().expect("a file lies in a folder").to_owned();
    let name = path
        .file_name()
        .expect("a file has a name")
        .to_str()
        .expect("UTF-8")
        .to_owned();
    (dir, name)
}

impl FaultyDisk {
    pub fn new(seed: u64) -> Self {
        let state = State {
            process: 0,
            rng: Rng(seed),
            faults: Faults::default(),
            inodes: Vec::new(),
            dirs: BTreeMap::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            process: 0,
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Bytes of all files that have a name.
    pub fn used(&self) -> usize {
        self.lock().used()
    }

    /// The bytes that a reader sees.
    pub fn contents(&self, path: &Path) -> Vec<u8> {
        let state = self.lock();
        let (dir, name) = split(path);
        state.inodes[state.dirs[&dir].live[&name]].live.clone()
    }

    /// Changes bytes behind everybody's back, durably.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let (dir, name) = split(path);
        let inode = state.dirs[&dir].live[&name];
        let inode = &mut state.inodes[inode];
        change(&mut inode.live);
        inode.durable = inode.live.clone();
        inode.pending.clear();
    }

    /// Takes a name away behind everybody's back, durably.
    pub fn lose(&self, path: &Path) {
        let mut state = self.lock();
        let (dir, name) = split(path);
        let dir = state.dirs.get_mut(&dir).expect("the folder exists");
        dir.live.remove(&name).expect("the file exists");
        dir.durable.remove(&name);
    }

    /// The process ends, the machine goes on: what was written can be read, but is no
    /// more durable than before.
    pub fn kill(&self) -> Self {
        let mut state = self.lock();
        state.process += 1;
        state.faults = Faults::default();
        Self {
            state: self.state.clone(),
            process: state.process,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    fn live(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.process == self.process {
            Ok(state)
        } else {
            Err(io::Error::other("the process is dead"))
        }
    }
}

impl Disk for FaultyDisk {
    type File = FaultyFile;

    async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.live()?.dirs.entry(path.to_owned()).or_default();
        Ok(())
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<FaultyFile> {
        let mut state = self.live()?;
        let (dir, name) = split(path);
        let new = state.inodes.len();
        let dir = state.dirs.get_mut(&dir).ok_or(io::ErrorKind::NotFound)?;
        let inode = match (dir.live.get(&name), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => *inode,
            (None, OpenMode::CreateNew) => {
                dir.change(NameChange::Link { name, inode: new });
                state.inodes.push(Inode::default());
                new
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(FaultyFile {
            disk: self.clone(),
            inode,
            path: path.to_owned(),
            writable: mode != OpenMode::Read,
        })
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        let ((from_dir, from), (to_dir, to)) = (split(from), split(to));
        if !state.dirs.contains_key(&to_dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let dir = state
            .dirs
            .get_mut(&from_dir)
            .ok_or(io::ErrorKind::NotFound)?;
        let inode = *dir.live.get(&from).ok_or(io::ErrorKind::NotFound)?;
        if from_dir != to_dir {
            // Two folders, two changes: either may be durable without the other.
            dir.change(NameChange::Unlink { name: from });
            let dir = state.dirs.get_mut(&to_dir).ok_or(io::ErrorKind::NotFound)?;
            dir.change(NameChange::Link { name: to, inode });
            return Ok(());
        }
        dir.change(NameChange::Rename { from, to, inode });
        Ok(())
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        let (dir, name) = split(path);
        let dir = state.dirs.get_mut(&dir).ok_or(io::ErrorKind::NotFound)?;
        dir.live.get(&name).ok_or(io::ErrorKind::NotFound)?;
        dir.change(NameChange::Unlink { name });
        Ok(())
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.live()?;
        Ok(state
            .dirs
            .get(dir)
            .ok_or(io::ErrorKind::NotFound)?
            .live
            .keys()
            .cloned()
            .collect())
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        let fails = state.sync_fails();
        let dir = state.dirs.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        let pending = std::mem::take(&mut dir.pending);
        if fails {
            // The changes count as clean now and are not on the disk.
            return Err(io::Error::other("input/output error"));
        }
        for change in pending {
            change.apply(&mut dir.durable);
        }
        Ok(())
    }
}

impl FaultyFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

impl DiskFile for FaultyFile {
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut state = self.disk.live()?;
        let live = &state.inodes[self.inode].live;
        let start = (offset as usize).min(live.len());
        let mut bytes = live[start..live.len().min(start + length)].to_vec();
        bytes.truncate(state.short(bytes.len())?);
        Ok(bytes)
    }

    async fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.check_writable()?;
        if self.disk.live()?.faults.stuck_writes {
            std::future::pending::<()>().await;
        }
        let mut state = self.disk.live()?;
        let fits = state.fitting(self.inode, offset as usize, data.len())?;
        let taken = state.short(fits)?;
        let change = Change::Write {
            offset: offset as usize,
            data: data[..taken].to_vec(),
        };
        let inode = &mut state.inodes[self.inode];
        change.apply(&mut inode.live);
        inode.pending.push(change);
        Ok(taken)
    }

    async fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.live()?;
        let fails = state.sync_fails();
        let inode = &mut state.inodes[self.inode];
        let pending = std::mem::take(&mut inode.pending);
        if fails {
            // Reads go on showing the data, the next sync has nothing to do.
            return Err(io::Error::other(format!(
                "input/output error at {}",
                self.path.display()
            )));
        }
        for change in pending {
            change.apply(&mut inode.durable);
        }
        Ok(())
    }

    async fn set_len(&self, length: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.disk.live()?;
        let change = Change::SetLength(length as usize);
        let inode = &mut state.inodes[self.inode];
        change.apply(&mut inode.live);
        inode.pending.push(change);
        Ok(())
    }

    async fn len(&self) -> io::Result<u64> {
        Ok(self.disk.live()?.inodes[self.inode].live.len() as u64)
    }
}
