//! The processes of a world: their programs, disks and clocks, and how they end.

use super::kernel::ProcessHandle;
use super::layered::Layered;
use crate::clock::ClockModel;
use crate::disk::{DiskFaults, DiskModel, DiskSnapshot};
use crate::fault::{CrashKind, CrashPoint, ProcessId, UnknownProcess};
use madsim::task::NodeId;
use std::fmt;
use std::future::Future;
use std::ops::{Index, IndexMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

/// How a process ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessExit {
    /// Its main future returned: well, or with an error.
    Returned(Result<(), String>),
    /// One of its tasks panicked: the text, and the line where it did.
    Panicked(String),
}

impl fmt::Display for ProcessExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned(Ok(())) => f.write_str("returned"),
            Self::Returned(Err(error)) => write!(f, "returned an error: {error}"),
            Self::Panicked(text) => write!(f, "panicked: {text}"),
        }
    }
}

/// What the main future of a process may return.
pub trait ProcessOutput {
    /// As the world reports it.
    fn into_exit(self) -> Result<(), String>;
}

impl ProcessOutput for () {
    fn into_exit(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> ProcessOutput for Result<(), E> {
    fn into_exit(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

/// The main future of a program.
pub(super) type BootFuture = Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// Starts a program in the name of a process.
pub(super) type Boot = Arc<dyn Fn(ProcessHandle) -> BootFuture + Send + Sync>;

/// A request to crash at a certain point: a [`CrashPoint`], or the name of a failpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct CrashAt<P> {
    pub(super) point: P,
    pub(super) skip: u64,
    pub(super) kind: CrashKind,
    pub(super) restart_after_ms: Option<u64>,
}

impl<P> CrashAt<P> {
    /// A request to crash when the process has passed `point` `skip` times.
    pub(super) const fn new(
        point: P,
        skip: u64,
        kind: CrashKind,
        restart_after_ms: Option<u64>,
    ) -> Self {
        Self {
            point,
            skip,
            kind,
            restart_after_ms,
        }
    }
}

/// One process with its host, disk and clocks.
pub(super) struct Process {
    /// Starts its program.
    pub(super) boot: Boot,
    /// The madsim node of its present or last start.
    pub(super) node: Option<NodeId>,
    /// How often it has been started before; the number of the present start.
    pub(super) incarnation: u32,
    /// Whether it has ever been started.
    pub(super) started: bool,
    /// When it was last stopped, or ended, in ns.
    pub(super) left_at_ns: u64,
    /// Whether it runs (or is paused).
    pub(super) running: bool,
    /// How many faults pause it now.
    pub(super) pauses: u32,
    /// How many faults suspend its monotonic clock now.
    pub(super) suspensions: u32,
    /// How it ended by itself, if it did and was not started again.
    pub(super) exit: Option<ProcessExit>,
    /// The panics of earlier starts, in order: a restart does not make them undone.
    pub(super) former_panics: Vec<ProcessExit>,
    /// Who waits for it to end.
    pub(super) exit_wakers: Vec<Waker>,
    /// The operation at which it is to crash.
    pub(super) crash_at: Option<CrashAt<CrashPoint>>,
    /// The failpoint of its code at which it is to crash. It stays over restarts, since some
    /// failpoints are passed only at a start.
    pub(super) failpoint: Option<CrashAt<String>>,
    /// Its disk.
    pub(super) disk: DiskModel,
    /// An image of its disk that a fault may put back.
    pub(super) kept_disk: Option<DiskSnapshot>,
    /// How its disk behaves, with what faults put on top.
    pub(super) disk_faults: Layered<DiskFaults>,
    /// What its disk may hold at most, in bytes.
    pub(super) capacity: Layered<Option<u64>>,
    /// How many files and connections it may have open at most.
    pub(super) open_files_max: Layered<Option<usize>>,
    /// Its clocks.
    pub(super) clock: ClockModel,
    /// How fast its clocks run, with what faults put on top.
    pub(super) drift: Layered<i64>,
}

impl Process {
    /// A process that has never been started.
    pub(super) fn new(
        boot: Boot,
        faults: DiskFaults,
        capacity_bytes: Option<u64>,
        clock: ClockModel,
    ) -> Self {
        Self {
            boot,
            node: None,
            incarnation: 0,
            started: false,
            left_at_ns: 0,
            running: false,
            pauses: 0,
            suspensions: 0,
            exit: None,
            former_panics: Vec::new(),
            exit_wakers: Vec::new(),
            crash_at: None,
            failpoint: None,
            disk: DiskModel::new(faults, capacity_bytes),
            kept_disk: None,
            disk_faults: Layered::new(faults),
            capacity: Layered::new(capacity_bytes),
            open_files_max: Layered::new(None),
            clock,
            drift: Layered::new(0),
        }
    }

    /// Makes ready for another start. What the last one panicked with is kept.
    pub(super) fn begin_start(&mut self) {
        self.incarnation += u32::from(std::mem::replace(&mut self.started, true));
        self.running = true;
        self.node = None;
        match self.exit.take() {
            Some(panic @ ProcessExit::Panicked(_)) => self.former_panics.push(panic),
            Some(ProcessExit::Returned(_)) | None => {}
        }
    }

    /// Every panic, and the return of a process that was not started again, in order.
    pub(super) fn exits(&self) -> impl Iterator<Item = &ProcessExit> {
        self.former_panics.iter().chain(&self.exit)
    }

    /// Puts the kept image back onto the disk, or empties the disk if none was kept.
    pub(super) fn restore_kept_disk(&mut self) {
        match &self.kept_disk {
            Some(kept) => self.disk.restore(kept),
            None => self.disk.wipe(),
        }
    }

    /// Whether this start of the process runs.
    #[inline]
    pub(super) fn is_live(&self, incarnation: u32) -> bool {
        self.running && self.incarnation == incarnation
    }
}

/// All processes of a world by number. To ask for one that is not there is a mistake of the
/// driver of the run, and ends the run with a panic that says so.
#[derive(Default)]
pub(super) struct Processes {
    list: Vec<Process>,
}

impl Processes {
    /// Adds a process; its number.
    pub(super) fn add(&mut self, process: Process) -> ProcessId {
        let id = self.next_id();
        self.list.push(process);
        id
    }

    /// The number of the process that is added next.
    pub(super) fn next_id(&self) -> ProcessId {
        ProcessId(u32::try_from(self.list.len()).expect("fewer processes than 2^32"))
    }

    /// Whether there is such a process.
    ///
    /// # Errors
    /// There is not.
    pub(super) fn check(&self, process: ProcessId) -> Result<(), UnknownProcess> {
        if process.index() < self.list.len() {
            Ok(())
        } else {
            Err(UnknownProcess {
                process,
                processes: self.list.len(),
            })
        }
    }

    /// The process with this number, if there is one.
    #[inline]
    pub(super) fn get(&self, id: ProcessId) -> Option<&Process> {
        self.list.get(id.index())
    }

    /// All numbers.
    pub(super) fn ids(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.list.len() as u32).map(ProcessId)
    }

    /// All processes by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ProcessId, &Process)> {
        self.ids().zip(&self.list)
    }

    /// All processes, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.list.iter_mut()
    }

    /// The running process whose tasks are those of this madsim node.
    pub(super) fn of_node(&self, node: NodeId) -> Option<ProcessId> {
        let found = |process: &Process| process.running && process.node == Some(node);
        self.ids()
            .zip(&self.list)
            .find_map(|(id, process)| found(process).then_some(id))
    }
}

impl Index<ProcessId> for Processes {
    type Output = Process;

    #[inline]
    fn index(&self, id: ProcessId) -> &Process {
        match self.list.get(id.index()) {
            Some(process) => process,
            None => unknown(id, self.list.len()),
        }
    }
}

impl IndexMut<ProcessId> for Processes {
    #[inline]
    fn index_mut(&mut self, id: ProcessId) -> &mut Process {
        let processes = self.list.len();
        match self.list.get_mut(id.index()) {
            Some(process) => process,
            None => unknown(id, processes),
        }
    }
}

#[cold]
fn unknown(process: ProcessId, processes: usize) -> ! {
    panic!("{}", UnknownProcess { process, processes })
}
