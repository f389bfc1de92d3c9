//! The world as the driver of a run sees it.

use super::environment::SimEnvironment;
use super::kernel::Kernel;
use super::process::{Boot, ProcessExit, ProcessOutput};
use super::run::{RunOutcome, WorldConfig, run_here};
use crate::counter::Counter;
use crate::disk::{DiskFaults, DiskSnapshot};
use crate::fault::{CrashKind, Fault, FaultId, ProcessId, UnknownProcess};
use crate::network::NetworkFaults;
use crate::rng::{Rng, Stream};
use crate::trace::{EventKind, Site};
use madsim::task::JoinHandle;
use std::collections::BTreeMap;
use std::future::{Future, pending, poll_fn};
use std::sync::Arc;
use std::time::Duration;

/// How much stack a run gets, in bytes: as much as a main thread.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// The simulated world, in the hands of the driver of a run. Cheap to clone.
///
/// To name a process that the world does not have is a mistake of the driver: every method
/// that takes a [`ProcessId`] panics then, and says which processes there are.
#[derive(Clone)]
pub struct World {
    kernel: Arc<Kernel>,
}

impl World {
    /// The world that this kernel is the heart of.
    pub(super) fn of(kernel: &Arc<Kernel>) -> Self {
        Self {
            kernel: Arc::clone(kernel),
        }
    }

    /// Runs `driver` in a new world. When it returns, the run is over and every process
    /// is stopped. The run has a thread of its own, since madsim can make the standard
    /// library's hash maps deterministic only in a fresh one.
    ///
    /// # Panics
    /// With the driver, with a process if [`WorldConfig::stop_on_panic`] is set, when all
    /// tasks wait for ever, and at the time limit.
    pub fn run<F, Fut, T>(seed: u64, config: WorldConfig, driver: F) -> RunOutcome<T>
    where
        F: FnOnce(World) -> Fut + Send,
        Fut: Future<Output = T>,
        T: Send,
    {
        let outcome = Self::run_catching(seed, config, driver);
        outcome.map(|output| output.unwrap_or_else(|text| panic!("seed {seed}: {text}")))
    }

    /// The same, but a panic is part of the outcome: its text is the error.
    #[allow(
        clippy::disallowed_methods,
        reason = "the run as a whole has a thread; nothing in it has another"
    )]
    pub fn run_catching<F, Fut, T>(
        seed: u64,
        config: WorldConfig,
        driver: F,
    ) -> RunOutcome<Result<T, String>>
    where
        F: FnOnce(World) -> Fut + Send,
        Fut: Future<Output = T>,
        T: Send,
    {
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name(format!("world-{seed}"))
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || run_here(seed, config, driver))
                .expect("the operating system gives a thread")
                .join()
                .expect("panics of the run are caught in it")
        })
    }

    /// The seed of the run.
    pub fn seed(&self) -> u64 {
        self.kernel.seed
    }

    /// The simulated time of the run that this thread carries out, if it does.
    pub fn time_here() -> Option<Duration> {
        madsim::time::TimeHandle::try_current().map(|time| time.elapsed())
    }

    /// The simulated time since the start of the run.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.kernel.now_ns())
    }

    /// Waits by true time; at least 1 ms.
    #[allow(
        clippy::disallowed_methods,
        reason = "the driver of a run has no clock of its own and goes by true time"
    )]
    pub async fn sleep(&self, duration: Duration) {
        madsim::time::sleep(duration).await;
    }

    /// Starts a task of the driver's own. It belongs to no process, goes by true time, and no
    /// schedule has a say over it.
    #[allow(
        clippy::disallowed_methods,
        reason = "the driver of a run has no gates: its tasks are not those of the system"
    )]
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        madsim::task::spawn(task)
    }

    /// A new generator of random numbers out of a stream. Each call gives another one.
    pub fn rng(&self, stream: Stream) -> Rng {
        self.kernel
            .with(|state, now_ns| state.decisions.draw(Site::Driver { stream }, now_ns, 0))
    }

    /// Adds a process on a host of its own and starts it: `boot` makes its main future,
    /// at each start anew. When that returns, the process has ended.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn add_process<B, Fut>(&self, name: &str, boot: B) -> ProcessId
    where
        B: Fn(SimEnvironment) -> Fut + Send + Sync + 'static,
        Fut: Future + 'static,
        Fut::Output: ProcessOutput,
    {
        let id = self.add_stopped_process(name, boot);
        self.kernel.start(id);
        id
    }

    /// The same, without starting it.
    pub fn add_stopped_process<B, Fut>(&self, name: &str, boot: B) -> ProcessId
    where
        B: Fn(SimEnvironment) -> Fut + Send + Sync + 'static,
        Fut: Future + 'static,
        Fut::Output: ProcessOutput,
    {
        let boot: Boot = Arc::new(move |process| {
            let program = boot(SimEnvironment::new(process));
            Box::pin(async move { program.await.into_exit() })
        });
        self.kernel
            .with(|state, now_ns| state.add_process(now_ns, name, boot))
    }

    /// Adds a host on which no program runs, for the driver to act on: its environment.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn add_host(&self, name: &str) -> SimEnvironment {
        let id = self.add_process(name, |_| pending::<()>());
        self.environment(id).expect("it was just started")
    }

    /// The environment of the present start of a process, if it runs. What the driver
    /// does with it is done in the process's name, but not by its tasks.
    pub fn environment(&self, id: ProcessId) -> Option<SimEnvironment> {
        let incarnation = self.kernel.with(|state, _| {
            let process = &state.processes[id];
            process.running.then_some(process.incarnation)
        })?;
        Some(SimEnvironment::new(self.kernel.handle(id, incarnation)))
    }

    /// The numbers of all processes.
    pub fn processes(&self) -> Vec<ProcessId> {
        self.kernel.with(|state, _| state.processes.ids().collect())
    }

    /// The name of a process.
    pub fn name(&self, id: ProcessId) -> String {
        self.kernel.with(|state, _| state.name(id).to_owned())
    }

    /// The number of the process with this name.
    pub fn process(&self, name: &str) -> Option<ProcessId> {
        self.kernel.with(|state, _| {
            state
                .names
                .iter()
                .position(|known| known == name)
                .map(|index| ProcessId(index as u32))
        })
    }

    /// Crashes a process by loss of power. If it has ended by itself or was killed, what
    /// its machine had not synchronised is still lost.
    pub fn crash(&self, id: ProcessId) {
        self.kernel.crash(id, CrashKind::PowerLoss);
    }

    /// Kills a process; its machine, and with it the page cache, lives on.
    pub fn kill(&self, id: ProcessId) {
        self.kernel.crash(id, CrashKind::Kill);
    }

    /// Starts a process again, 1 ms from now; crashes it first if it runs.
    pub fn restart(&self, id: ProcessId) {
        self.kernel.restart(id, 0);
    }

    /// Pauses a process until it was resumed as often as it was paused.
    pub fn pause(&self, id: ProcessId) {
        self.kernel.pause(id);
    }

    /// Takes one pause back.
    pub fn resume(&self, id: ProcessId) {
        self.kernel.resume(id);
    }

    /// Whether a process runs (or is paused).
    pub fn is_running(&self, id: ProcessId) -> bool {
        self.kernel.with(|state, _| state.processes[id].running)
    }

    /// How a process ended by itself, if it did and was not started again.
    pub fn exit_of(&self, id: ProcessId) -> Option<ProcessExit> {
        self.kernel.with(|state, _| state.exit_of(id))
    }

    /// Waits until a process has ended by itself.
    pub async fn exited(&self, id: ProcessId) -> ProcessExit {
        poll_fn(|context| {
            self.kernel
                .with(|state, _| state.poll_exit(id, context.waker()))
        })
        .await
    }

    /// Injects a fault. It ends after its duration, by [`World::heal`], or by
    /// [`World::heal_all`].
    ///
    /// # Panics
    /// If it names a process that is not there; see [`World::try_inject`].
    pub fn inject(&self, fault: &Fault) -> FaultId {
        self.try_inject(fault)
            .unwrap_or_else(|unknown| panic!("{}: {unknown}", fault.name()))
    }

    /// Injects a fault that was not made for this very world, such as one out of a file.
    ///
    /// # Errors
    /// It names a process that is not there; then nothing has happened.
    pub fn try_inject(&self, fault: &Fault) -> Result<FaultId, UnknownProcess> {
        self.kernel.inject(fault)
    }

    /// Ends a fault. Does nothing if it has ended.
    pub fn heal(&self, id: FaultId) {
        self.kernel.heal(id);
    }

    /// Ends all faults: partitions, clogs, pauses, drifts, and whatever replaced the
    /// behaviour of the network or of a disk; and no schedule holds messages any more.
    /// What has happened stays so: processes that
    /// crashed are not started, jumps of clocks are not taken back.
    pub fn heal_all(&self) {
        self.kernel.heal_all();
    }

    /// Whether what `from` sends to `to` is lost because of a cut.
    pub fn is_cut(&self, from: ProcessId, to: ProcessId) -> bool {
        self.kernel.with(|state, _| {
            for process in [from, to] {
                if let Err(unknown) = state.processes.check(process) {
                    panic!("{unknown}");
                }
            }
            state.network.is_cut(from, to)
        })
    }

    /// Replaces how the network behaves as long as no fault says otherwise. The offsets
    /// of pairs of hosts stay as they were when the hosts were added.
    pub fn set_network_faults(&self, faults: NetworkFaults) {
        self.kernel.with(|state, _| {
            state.network_faults.set_base(faults);
            state.network.faults = state.network_faults.get();
        });
    }

    /// Replaces how a disk behaves as long as no fault says otherwise.
    pub fn set_disk_faults(&self, id: ProcessId, faults: DiskFaults) {
        self.kernel.with(|state, now_ns| {
            let process = &mut state.processes[id];
            process.disk_faults.set_base(faults);
            process.disk.set_faults(process.disk_faults.get(), now_ns);
        });
    }

    /// Whether the newest file on the disk of a process, of those whose names end in `suffix`,
    /// has changes that were not synchronised: what a program calls durable can be compared
    /// with that.
    pub fn newest_file_is_pending(&self, id: ProcessId, suffix: &str) -> bool {
        self.kernel.with(|state, _| {
            let disk = &state.processes[id].disk;
            disk.newest_is_pending(suffix)
        })
    }

    /// The files on the disk of a process, of those whose names end in `suffix`, that a loss of
    /// power might take something from: a program that has read them and relies on them can be
    /// asked what it would do then.
    pub fn unsynchronised_files(&self, id: ProcessId, suffix: &str) -> Vec<String> {
        self.kernel
            .with(|state, _| state.processes[id].disk.unsynchronised(suffix))
    }

    /// The files on the disk of a process whose names end in `suffix`, in the order of their
    /// names, as reads show them: for whoever knows their format.
    pub fn read_files(&self, id: ProcessId, suffix: &str) -> Vec<(String, Vec<u8>)> {
        self.kernel.with(|state, _| {
            let disk = &state.processes[id].disk;
            let files = disk.named(suffix).into_iter();
            files
                .map(|(name, file)| (name, disk.contents_of(file)))
                .collect()
        })
    }

    /// Changes bytes of a file on the disk of a process, on the medium and in the page cache,
    /// as decay would that hits a format where it hurts. Nothing happens without such a file.
    pub fn forge_file(&self, id: ProcessId, name: &str, offset: usize, bytes: &[u8]) {
        self.kernel.with(|state, now_ns| {
            let site = Site::BitRot { process: id };
            state.on_disk(now_ns, id, site, |disk, context| {
                let file = disk
                    .named(name)
                    .into_iter()
                    .find(|(known, _)| known == name);
                if let Some((_, file)) = file {
                    disk.damage(context, file, Counter::ForgedRange, offset, bytes);
                }
            });
        });
    }

    /// What the disk of a process holds now, page cache and medium.
    pub fn snapshot_disk(&self, id: ProcessId) -> DiskSnapshot {
        self.kernel
            .with(|state, _| state.processes[id].disk.snapshot())
    }

    /// Puts an old image onto a disk.
    ///
    /// # Panics
    /// If the process runs.
    pub fn restore_disk(&self, id: ProcessId, snapshot: &DiskSnapshot) {
        self.kernel.with(|state, _| {
            let process = &mut state.processes[id];
            assert!(
                !process.running,
                "a disk is changed while its process does not run"
            );
            process.disk.restore(snapshot);
        });
    }

    /// Records an event of the application's own: it becomes part of the digest.
    pub fn record(&self, label: &str, value: u64) {
        self.kernel.with(|state, now_ns| {
            state.journal.record(
                now_ns,
                None,
                EventKind::Custom {
                    label: label.to_owned(),
                    value,
                },
            );
        });
    }

    /// What happened how often so far, by name.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.kernel.counters().by_name()
    }

    /// The digest so far.
    pub fn digest(&self) -> u128 {
        self.kernel.with(|state, _| state.journal.digest().value())
    }
}
