//! The disk of a simulated process.
//!
//! An operation first takes its time, then takes effect: one that is cut short by a
//! crash before that has done nothing. A synchronisation covers what was written before
//! it began.

use super::kernel::{ProcessHandle, State};
use super::timer::TimerId;
use crate::disk::{Completion, DiskContext, DiskModel, FileId};
use crate::fault::CrashPoint;
use crate::trace::{DiskOperation, Site};
use std::future::{Future, pending};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use veridical_env::{Disk, DiskFile, OpenMode};

/// A disk that keeps exactly what POSIX promises, and fails as its faults say.
#[derive(Clone)]
pub struct SimDisk(ProcessHandle);

/// An open file on a [`SimDisk`].
pub struct SimFile {
    handle: ProcessHandle,
    file: FileId,
    writable: bool,
}

/// Whether the process is still there after it passed a crash point.
enum Passed<T> {
    Alive(T),
    Crashed,
}

/// An operation: which, and where around it the process may be asked to crash.
#[derive(Clone, Copy)]
struct Operation {
    kind: DiskOperation,
    before: Option<CrashPoint>,
    after: Option<CrashPoint>,
}

impl Operation {
    const fn plain(kind: DiskOperation) -> Self {
        Self {
            kind,
            before: None,
            after: None,
        }
    }
}

const WRITE: Operation = Operation {
    kind: DiskOperation::Write,
    before: Some(CrashPoint::BeforeWrite),
    after: Some(CrashPoint::AfterWrite),
};

const SYNC: Operation = Operation {
    kind: DiskOperation::Sync,
    before: Some(CrashPoint::BeforeSync),
    after: Some(CrashPoint::AfterSync),
};

const RENAME: Operation = Operation {
    kind: DiskOperation::Rename,
    before: Some(CrashPoint::BeforeRename),
    after: Some(CrashPoint::AfterRename),
};

const SYNC_DIR: Operation = Operation {
    kind: DiskOperation::SyncDir,
    before: Some(CrashPoint::BeforeSyncDir),
    after: None,
};

impl ProcessHandle {
    /// Does `begin`, waits as long as the operation takes, then does `end`.
    async fn disk<B, R>(
        &self,
        operation: Operation,
        begin: impl FnOnce(&mut DiskModel, &mut DiskContext<'_>) -> io::Result<B>,
        end: impl FnOnce(&mut DiskModel, &mut DiskContext<'_>, B) -> io::Result<R>,
    ) -> io::Result<R> {
        let begun = self.act(|state, now_ns| {
            self.pass(state, now_ns, operation.before, |state| {
                let site = Site::DiskBegin {
                    process: self.id,
                    operation: operation.kind,
                };
                state.on_disk(now_ns, self.id, site, |disk, context| {
                    let completion = disk.completion(context, operation.kind);
                    begin(disk, context).map(|begun| (completion, begun))
                })
            })
        })?;
        let (completion, begun) = match begun {
            Passed::Alive(begun) => begun?,
            Passed::Crashed => pending().await,
        };
        self.completed(completion).await;
        let ended = self.act(|state, now_ns| {
            let site = Site::DiskEnd {
                process: self.id,
                operation: operation.kind,
            };
            let result = state.on_disk(now_ns, self.id, site, |disk, context| {
                end(disk, context, begun)
            });
            self.pass(state, now_ns, operation.after, |_| result)
        })?;
        match ended {
            Passed::Alive(result) => result,
            Passed::Crashed => pending().await,
        }
    }

    fn pass<T>(
        &self,
        state: &mut State,
        now_ns: u64,
        point: Option<CrashPoint>,
        act: impl FnOnce(&mut State) -> T,
    ) -> Passed<T> {
        match point {
            Some(point) if state.passes(now_ns, self.id, point) => Passed::Crashed,
            _ => Passed::Alive(act(state)),
        }
    }

    /// Waits by true time, and longer while the device is stalled, or throttled.
    async fn completed(&self, completion: Completion) {
        let until = |state: &mut State, now_ns| {
            let disk = &state.processes[self.id].disk;
            disk.wait_ns(completion, now_ns)
        };
        while let Some(at_ns) = self.kernel.with(until) {
            TrueSleep {
                handle: self,
                at_ns,
                timer: None,
            }
            .await;
        }
    }

    async fn simple<R>(
        &self,
        operation: Operation,
        act: impl FnOnce(&mut DiskModel, &mut DiskContext<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        self.disk(
            operation,
            |_, _| Ok(()),
            |disk, context, ()| act(disk, context),
        )
        .await
    }
}

/// Waits by true time.
struct TrueSleep<'a> {
    handle: &'a ProcessHandle,
    at_ns: u64,
    timer: Option<TimerId>,
}

impl Future for TrueSleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.handle.kernel.with(|state, now_ns| match this.timer {
            Some(timer) if state.timers.poll(timer, context.waker()) => Poll::Ready(()),
            Some(_) => Poll::Pending,
            None if now_ns >= this.at_ns => Poll::Ready(()),
            None => {
                this.timer = Some(state.add_true_timer(this.at_ns, context.waker().clone()));
                Poll::Pending
            }
        })
    }
}

impl Drop for TrueSleep<'_> {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.handle
                .kernel
                .with(|state, _| state.timers.remove(timer));
        }
    }
}

impl SimDisk {
    /// The disk of a process.
    pub(super) const fn new(handle: ProcessHandle) -> Self {
        Self(handle)
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let operation = Operation::plain(DiskOperation::Query);
        self.0
            .simple(operation, |disk, context| {
                disk.create_dir_all(context, path)
            })
            .await
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SimFile> {
        let operation = Operation::plain(DiskOperation::Open);
        self.0.act(|state, _| state.may_open(self.0.id))??;
        let file = self
            .0
            .simple(operation, |disk, context| disk.open(context, path, mode))
            .await?;
        Ok(SimFile {
            handle: self.0.clone(),
            file,
            writable: mode != OpenMode::Read,
        })
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0
            .simple(RENAME, |disk, context| disk.rename(context, from, to))
            .await
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        let operation = Operation::plain(DiskOperation::Remove);
        self.0
            .simple(operation, |disk, context| disk.remove(context, path))
            .await
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let operation = Operation::plain(DiskOperation::Query);
        self.0
            .simple(operation, |disk, context| disk.list(context, dir))
            .await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0
            .simple(SYNC_DIR, |disk, context| disk.sync_dir(context, dir))
            .await
    }
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

impl DiskFile for SimFile {
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let operation = Operation::plain(DiskOperation::Read);
        self.handle
            .simple(operation, |disk, context| {
                disk.read(context, self.file, offset, length)
            })
            .await
    }

    async fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.check_writable()?;
        self.handle
            .simple(WRITE, |disk, context| {
                disk.write(context, self.file, offset, data)
            })
            .await
    }

    async fn sync(&self) -> io::Result<()> {
        let file = self.file;
        self.handle
            .disk(
                SYNC,
                |disk, context| disk.begin_sync(context, file),
                |disk, context, (outcome, mark)| disk.end_sync(context, file, outcome, mark),
            )
            .await
    }

    async fn set_len(&self, length: u64) -> io::Result<()> {
        self.check_writable()?;
        let operation = Operation::plain(DiskOperation::SetLength);
        self.handle
            .simple(operation, |disk, context| {
                disk.set_len(context, self.file, length)
            })
            .await
    }

    async fn len(&self) -> io::Result<u64> {
        let id = self.handle.id;
        self.handle
            .act(|state, _| state.processes[id].disk.len(self.file))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        // After a crash the fence refuses, and that is right: the handles are gone.
        let id = self.handle.id;
        let _ = self
            .handle
            .act(|state, _| state.processes[id].disk.close(self.file));
    }
}
