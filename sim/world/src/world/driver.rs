//! The world as the driver of a run sees it.

use super::environment::SimEnvironment;
use super::gate::Gatekeeping;
use super::kernel::Kernel;
use super::panic_text::{self, PanicWatch};
use super::process::{Boot, NodeWatch, ProcessExit, ProcessOutput};
use super::reaper;
use crate::disk::{DiskFaults, DiskSnapshot};
use crate::fault::{CrashKind, Fault, FaultId, ProcessId};
use crate::network::NetworkFaults;
use crate::rng::{Rng, Stream, stream_seed};
use crate::schedule::Schedule;
use crate::trace::{
    Decision, DecisionMode, Decisions, Event, EventKind, Journal, ReplayCounts, Site,
    TraceListener, TraceMode,
};
use std::collections::BTreeMap;
use std::future::{Future, pending, poll_fn};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How a world is set up.
pub struct WorldConfig {
    /// How the network behaves as long as no fault says otherwise.
    pub network: NetworkFaults,
    /// How disks behave as long as no fault says otherwise.
    pub disk: DiskFaults,
    /// What each disk may hold at most, in bytes.
    pub disk_capacity_bytes: Option<u64>,
    /// Which events are kept for [`RunOutcome::trace`].
    pub trace: TraceMode,
    /// Where each event is written as a line of JSON.
    pub trace_sink: Option<Box<dyn Write + Send>>,
    /// Who is told of everything that happens.
    pub trace_listener: Option<Box<dyn TraceListener>>,
    /// Where random decisions come from, and whether they are kept.
    pub decisions: DecisionMode,
    /// The seed of the scheduler; derived from the run's seed if there is none.
    pub schedule_seed: Option<u64>,
    /// In which order tasks run and messages arrive.
    pub schedule: Schedule,
    /// A panic in a process ends the run, rather than the process.
    pub stop_on_panic: bool,
    /// Panics are not printed.
    pub quiet_panics: bool,
    /// The run fails when it has not ended after this simulated time.
    pub time_limit: Option<Duration>,
    /// Lets processes start threads of the operating system, which C++ libraries do.
    /// What they do must not be visible to the result.
    pub allow_system_threads: bool,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            network: NetworkFaults::none(),
            disk: DiskFaults::none(),
            disk_capacity_bytes: None,
            trace: TraceMode::Off,
            trace_sink: None,
            trace_listener: None,
            decisions: DecisionMode::default(),
            schedule_seed: None,
            schedule: Schedule::Uniform,
            stop_on_panic: false,
            quiet_panics: false,
            time_limit: None,
            allow_system_threads: false,
        }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct RunOutcome<T> {
    /// What the driver returned.
    pub output: T,
    /// The digest over every event: two runs of the same program with the same seed have
    /// the same one.
    pub digest: u128,
    /// How much simulated time passed.
    pub simulated: Duration,
    /// What happened how often, by name.
    pub counters: BTreeMap<&'static str, u64>,
    /// How many events there were.
    pub events: u64,
    /// The events that were kept.
    pub trace: Vec<Event>,
    /// The decisions that were kept.
    pub decisions: Vec<Decision>,
    /// How well a record of decisions fitted, if the run was made from one.
    pub replay: Option<ReplayCounts>,
    /// Why the stream of events is not complete, if it is not.
    pub trace_error: Option<std::io::Error>,
    /// How processes ended by themselves that were not started again.
    pub exits: Vec<(ProcessId, ProcessExit)>,
}

impl<T> RunOutcome<T> {
    fn map<U>(self, convert: impl FnOnce(T) -> U) -> RunOutcome<U> {
        RunOutcome {
            output: convert(self.output),
            digest: self.digest,
            simulated: self.simulated,
            counters: self.counters,
            events: self.events,
            trace: self.trace,
            decisions: self.decisions,
            replay: self.replay,
            trace_error: self.trace_error,
            exits: self.exits,
        }
    }
}

/// How much stack a run gets, in bytes: as much as a main thread.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// How long the tasks of stopped processes have to be dropped at the end of a run.
const GRACE: Duration = Duration::from_millis(1);

/// The simulated world, in the hands of the driver of a run. Cheap to clone.
#[derive(Clone)]
pub struct World {
    kernel: Arc<Kernel>,
}

impl World {
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
    pub async fn sleep(&self, duration: Duration) {
        madsim::time::sleep(duration).await;
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
        let boot: Boot = Arc::new(move |environment| {
            let program = boot(environment);
            Box::pin(async move { program.await.into_exit() })
        });
        self.kernel.with(|state, now_ns| {
            let faults = state.default_disk.0;
            let capacity_bytes = state.default_disk.1;
            state.add_process(now_ns, name, boot, faults, capacity_bytes)
        })
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
            let process = &state.processes[id.index()];
            process.running.then_some(process.incarnation)
        })?;
        Some(SimEnvironment::new(&self.kernel, id, incarnation))
    }

    /// The numbers of all processes.
    pub fn processes(&self) -> Vec<ProcessId> {
        self.kernel
            .with(|state, _| (0..state.processes.len() as u32).map(ProcessId).collect())
    }

    /// The name of a process.
    pub fn name(&self, id: ProcessId) -> String {
        self.kernel.with(|state, _| state.names[id.index()].clone())
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
        self.kernel
            .with(|state, _| state.processes[id.index()].running)
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
    pub fn inject(&self, fault: &Fault) -> FaultId {
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
        self.kernel.with(|state, _| state.network.is_cut(from, to))
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
        self.kernel.with(|state, _| {
            let process = &mut state.processes[id.index()];
            process.disk_faults.set_base(faults);
            process.disk.faults = process.disk_faults.get();
        });
    }

    /// Whether the newest file on the disk of a process, of those whose names end in `suffix`,
    /// has changes that were not synchronised: what a program calls durable can be compared
    /// with that.
    pub fn newest_file_is_pending(&self, id: ProcessId, suffix: &str) -> bool {
        self.kernel.with(|state, _| {
            let disk = &state.processes[id.index()].disk;
            disk.newest_is_pending(suffix)
        })
    }

    /// What the disk of a process holds now, page cache and medium.
    pub fn snapshot_disk(&self, id: ProcessId) -> DiskSnapshot {
        self.kernel
            .with(|state, _| state.processes[id.index()].disk.snapshot())
    }

    /// Puts an old image onto a disk.
    ///
    /// # Panics
    /// If the process runs.
    pub fn restore_disk(&self, id: ProcessId, snapshot: &DiskSnapshot) {
        self.kernel.with(|state, _| {
            let process = &mut state.processes[id.index()];
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

/// Runs a world on this thread, which must be fresh.
fn run_here<F, Fut, T>(seed: u64, config: WorldConfig, driver: F) -> RunOutcome<Result<T, String>>
where
    F: FnOnce(World) -> Fut,
    Fut: Future<Output = T>,
{
    let mut runtime = madsim::runtime::Runtime::with_seed_and_config(
        config
            .schedule_seed
            .unwrap_or_else(|| stream_seed(seed, Stream::Schedule)),
        madsim::Config::default(),
    );
    runtime.set_allow_system_thread(config.allow_system_threads);
    if let Some(limit) = config.time_limit {
        runtime.set_time_limit(limit);
    }
    runtime.add_simulator::<NodeWatch>();
    let _watch = PanicWatch::begin(config.quiet_panics);

    let mut journal = Journal::new(config.trace, config.trace_sink);
    if let Some(listener) = config.trace_listener {
        journal.listen_with(listener);
    }
    let decisions = Decisions::new(seed, config.decisions);
    let kernel = runtime.block_on(async {
        let kernel = Kernel::new(
            seed,
            journal,
            decisions,
            config.network,
            &config.schedule,
            config.stop_on_panic,
        );
        kernel.with(|state, _| state.default_disk = (config.disk, config.disk_capacity_bytes));
        madsim::plugin::simulator::<NodeWatch>().attach(&kernel);
        madsim::task::spawn(reaper::run(kernel.clone()));
        kernel
    });
    let _gatekeeping = Gatekeeping::begin(&kernel);

    let _failpoints = kernel.watch_failpoints();
    let world = World {
        kernel: kernel.clone(),
    };
    let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(driver(world))));
    let output = ran.map_err(|payload| panic_text::take_last(Some(&*payload)));

    let simulated = Duration::from_nanos(kernel.now_ns());
    let counters = kernel.counters().by_name();
    let outcome = kernel.with(|state, _| {
        let (trace, flushed) = state.journal.finish();
        let exits = (0..state.processes.len() as u32)
            .filter_map(|index| Some((ProcessId(index), state.exit_of(ProcessId(index))?)))
            .collect();
        RunOutcome {
            output,
            digest: state.journal.digest().value(),
            simulated,
            counters,
            events: state.journal.count(),
            trace,
            decisions: state.decisions.take_kept(),
            replay: state.decisions.counts(),
            trace_error: flushed.err(),
            exits,
        }
    });

    // Nothing from here on is part of the run. Stopped tasks are dropped by madsim when
    // it next looks at them; a program that panics even then has been reported.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            kernel.stop_all();
            kernel.with(|state, _| state.reaper.close());
            madsim::time::sleep(GRACE).await;
        });
    }));
    kernel.dismantle();
    outcome
}
