//! One run of a world: how it is set up, what comes of it, and how it is carried out.

use super::driver::World;
use super::gatekeeping::Gatekeeping;
use super::kernel::Kernel;
use super::lifecycle::NodeWatch;
use super::panic_text::{self, PanicWatch};
use super::process::ProcessExit;
use super::reaper;
use crate::disk::DiskFaults;
use crate::fault::ProcessId;
use crate::network::NetworkFaults;
use crate::rng::{Stream, stream_seed};
use crate::schedule::Schedule;
use crate::trace::{
    Decision, DecisionMode, Decisions, Event, Journal, ReplayCounts, TraceListener, TraceMode,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    /// How processes ended by themselves, by process and in order: every panic, also of a
    /// process that was started again, and the return of those that were not.
    pub exits: Vec<(ProcessId, ProcessExit)>,
}

impl<T> RunOutcome<T> {
    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> RunOutcome<U> {
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

/// How long the tasks of stopped processes have to be dropped at the end of a run.
const GRACE: Duration = Duration::from_millis(1);

/// Runs a world on this thread, which must be fresh.
#[allow(
    clippy::disallowed_methods,
    reason = "the world's own task has no gate, and its end goes by true time"
)]
pub(super) fn run_here<F, Fut, T>(
    seed: u64,
    config: WorldConfig,
    driver: F,
) -> RunOutcome<Result<T, String>>
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
    let world = World::of(&kernel);
    let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(driver(world))));
    let output = ran.map_err(|payload| panic_text::take_last(Some(&*payload)));

    let outcome = outcome_of(&kernel, output);

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

/// What came of the run that has just ended.
fn outcome_of<T>(kernel: &Kernel, output: T) -> RunOutcome<T> {
    let simulated = Duration::from_nanos(kernel.now_ns());
    let counters = kernel.counters().by_name();
    kernel.with(|state, _| {
        let (trace, flushed) = state.journal.finish();
        let exits = state
            .processes
            .iter()
            .flat_map(|(id, process)| process.exits().map(move |exit| (id, exit.clone())))
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
    })
}
