//! A run: its connections, its clients, and what came of them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use veridical_checkers::etcd::InitialContentError;
use veridical_client::CallError;

use super::endpoint::{Connection, Opening};
use super::flags::BenchFlags;
use super::live::Status;
use super::local_cluster::{LocalClusterError, MeasuredTime, Supervisor};
use super::pace::{Pacer, Schedule};
use super::present::Present;
use super::recording::{Recorded, Recording, RecordingError, Sinks, checker_from};
use super::report::Measurements;
use super::worker::{Shift, Worker};
use super::workload::{Common, Workload};

/// The revision of a store that nobody has written to.
const NEW_STORE_REVISION: i64 = 1;

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The system refuses a runtime.
    #[error("no runtime: {0}")]
    Runtime(std::io::Error),
    /// No address was given.
    #[error("--endpoints: at least one is needed")]
    NoEndpoint,
    /// The clusters of the shards have not all the same number of members.
    #[error("--shards {shards}: {endpoints} endpoints cannot be shared out evenly")]
    UnevenShards {
        /// Shards that were asked for.
        shards: usize,
        /// Endpoints that were given.
        endpoints: usize,
    },
    /// The system refuses the thread that keeps to `--rate`.
    #[error("no thread for --rate: {0}")]
    Pacer(std::io::Error),
    /// Two runs of one program are not two programs.
    #[error("--program: each program can be named once")]
    ProgramTwice,
    /// Nobody answers there.
    #[error("{0}")]
    Connect(String),
    /// What one run leaves in flight may still change the store under the next one.
    #[error(
        "--verify needs a store for each number of clients that what was asked before can no \
         longer change: with --scale it needs --local-cluster, which starts new members for each"
    )]
    ScaleVerify,
    /// The store cannot be verified from its present content on.
    #[error("--verify: {0}")]
    Content(#[from] InitialContentError),
    /// A file tells nobody what the store held before.
    #[error(
        "--history: what is recorded can be checked later only if it begins with a new store, and \
         this one is at revision {0}"
    )]
    NotNew(i64),
    /// The keys to begin with could not be written.
    #[error("cannot write the keys to begin with: {0}")]
    Load(CallError),
    /// The store to verify does not tell what it holds.
    #[error("cannot read what the store holds to begin with: {0}")]
    Look(CallError),
    /// The history could not be recorded.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The members of `--local-cluster` cannot be measured.
    #[error(transparent)]
    LocalCluster(#[from] LocalClusterError),
    /// The system refuses to tell of signals.
    #[error("signals: {0}")]
    Signals(std::io::Error),
    /// An interrupt came before anything was measured.
    #[error("interrupted before anything was measured")]
    Interrupted,
    /// The page cannot be written.
    #[error("--html {}: {source}", path.display())]
    Page {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// What was measured could not be printed.
    #[error("cannot print the report: {0}")]
    Output(std::io::Error),
}

impl BenchError {
    /// Whether it is for the user to set right. The others are bugs, or the system refuses.
    pub fn is_usage_error(&self) -> bool {
        match self {
            Self::Recording(RecordingError::Malformed(_))
            | Self::Runtime(_)
            | Self::Pacer(_)
            | Self::Signals(_)
            | Self::Output(_) => false,
            Self::LocalCluster(error) => error.is_usage_error(),
            Self::Recording(RecordingError::File { .. })
            | Self::NoEndpoint
            | Self::UnevenShards { .. }
            | Self::ProgramTwice
            | Self::Page { .. }
            | Self::Connect(_)
            | Self::ScaleVerify
            | Self::Content(_)
            | Self::NotNew(_)
            | Self::Load(_)
            | Self::Look(_)
            | Self::Interrupted => true,
        }
    }
}

/// What a run came to.
pub(crate) struct Finished {
    pub(crate) measurements: Measurements,
    pub(crate) elapsed: Duration,
    /// What this process used while it was measured.
    pub(crate) clients_cpu: Duration,
    pub(crate) interrupted: bool,
    pub(crate) recorded: Option<Recorded>,
    /// What went wrong with the members beside a violation; alone it is the run's error.
    pub(crate) member_failure: Option<LocalClusterError>,
}

impl Finished {
    /// Whether the store did not tell the truth.
    pub(crate) fn is_violation(&self) -> bool {
        self.recorded.as_ref().is_some_and(Recorded::is_violation)
    }
}

/// Runs the whole benchmark, until it is told to `stop` or the store has not told the truth, at
/// the latest. A supervisor watches over members that belong to it. Of several runs the label
/// says which one it is.
///
/// # Errors
/// See [`BenchError`]. Requests that fail are no errors here; they are counted.
pub(crate) async fn run(
    flags: &BenchFlags,
    label: Option<String>,
    stop: &CancellationToken,
    supervisor: Option<&mut Supervisor>,
) -> Result<Finished, BenchError> {
    let status = Status::on_terminal(label, flags.clients, flags.verify);
    let connections = connect(flags).await?;
    // Whoever stops the series stops this run; what this run finds is no interrupt.
    let run_stop = stop.child_token();
    let recording = record(flags, &connections[0], &run_stop).await?;
    let mut workers = hire(flags, &connections, recording.as_ref(), status.as_ref());
    if flags.workload.reads() {
        if let Some(status) = &status {
            status.say(&format!("writing {} keys", flags.keys));
        }
        workers = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(BenchError::Interrupted),
            loaded = load(workers, flags.keys as u64) => loaded?,
        };
    }
    let start = Instant::now();
    let measure_from = start + flags.warmup;
    let until = measure_from + flags.duration;
    let time = MeasuredTime {
        from: measure_from,
        until,
    };
    let schedule = schedule(flags, start);
    let pacer = schedule
        .map(|schedule| Pacer::start(schedule, until))
        .transpose()
        .map_err(BenchError::Pacer)?;
    let mut working = JoinSet::new();
    for (client, worker) in workers.into_iter().enumerate() {
        let shift = Shift::new(time, run_stop.clone());
        let shift = match (&schedule, &pacer) {
            (Some(schedule), Some(pacer)) => shift.at_pace(*schedule, client, pacer),
            (None, _) | (_, None) => shift,
        };
        working.spawn(worker.work(shift));
    }
    let clients_ended = CancellationToken::new();
    let mut showing = JoinSet::new();
    if let Some(status) = status {
        showing.spawn(status.show(time, clients_ended.clone()));
    }
    let ((measurements, ended), clients_cpu, watched) = tokio::join!(
        gather(working, &clients_ended),
        clients_cpu(measure_from, &clients_ended),
        async {
            match supervisor {
                Some(supervisor) => supervisor.watch(time, &run_stop, &clients_ended).await,
                None => Ok(()),
            }
        }
    );
    let recorded = match recording {
        // Waits for the checker, which may be behind.
        Some(recording) => Some(tokio::task::block_in_place(|| recording.finish())?),
        None => None,
    };
    showing.shutdown().await;
    // Members that lie may be in no state to go on, and that is not to hide that they lied.
    let is_violation = recorded.as_ref().is_some_and(Recorded::is_violation);
    let member_failure = match watched {
        Err(error) if !is_violation => return Err(error.into()),
        watched => watched.err(),
    };
    Ok(Finished {
        measurements,
        elapsed: ended.saturating_duration_since(measure_from),
        clients_cpu,
        interrupted: ended < until && stop.is_cancelled(),
        recorded,
        member_failure,
    })
}

/// What this process uses until the clients have ended.
async fn clients_cpu(measure_from: Instant, clients_ended: &CancellationToken) -> Duration {
    let used = || {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        Duration::try_from(used).expect("no processor time is negative")
    };
    tokio::select! {
        () = clients_ended.cancelled() => return Duration::ZERO,
        () = tokio::time::sleep_until(measure_from.into()) => {}
    }
    let before = used();
    clients_ended.cancelled().await;
    used().saturating_sub(before)
}

/// When the operations are due, if that is not left to the answers.
fn schedule(flags: &BenchFlags, start: Instant) -> Option<Schedule> {
    Some(Schedule {
        start,
        operations_per_second: flags.rate?,
        clients: flags.clients as u64,
        batch: flags.batch.of_each_client() as u64,
    })
}

/// Waits for the clients, and says what they measured and when the last one ended.
async fn gather(
    mut working: JoinSet<Worker>,
    clients_ended: &CancellationToken,
) -> (Measurements, Instant) {
    let mut measurements = Measurements::new();
    while let Some(worker) = working.join_next().await {
        let worker = worker.expect("no client panics");
        measurements.add(&worker.measurements);
    }
    clients_ended.cancel();
    (measurements, Instant::now())
}

async fn connect(flags: &BenchFlags) -> Result<Vec<Connection>, BenchError> {
    let endpoints = flags.addresses().len();
    if endpoints == 0 {
        return Err(BenchError::NoEndpoint);
    }
    let uneven = || BenchError::UnevenShards {
        shards: flags.shards,
        endpoints,
    };
    let opening = Opening {
        protocol: flags.protocol,
        batch: flags.batch,
        shards: flags.addresses_by_shard().ok_or_else(uneven)?,
    };
    let mut connections = Vec::new();
    for number in 0..flags.connections() {
        let opened = opening.open(number).await;
        connections.push(opened.map_err(BenchError::Connect)?);
    }
    Ok(connections)
}

async fn record(
    flags: &BenchFlags,
    connection: &Connection,
    run_stop: &CancellationToken,
) -> Result<Option<Recording>, BenchError> {
    if !flags.verify && flags.history.is_none() {
        return Ok(None);
    }
    let present = Present::read(connection.clone()).await?;
    if flags.history.is_some() && present.revision != NEW_STORE_REVISION {
        return Err(BenchError::NotNew(present.revision));
    }
    let checker = match flags.verify {
        true => Some(checker_from(&present, flags.asked_at_once())?),
        false => None,
    };
    let sinks = Sinks {
        checker,
        history: flags.history.as_deref(),
    };
    Ok(Some(Recording::start(sinks, run_stop.clone())?))
}

fn hire(
    flags: &BenchFlags,
    connections: &[Connection],
    recording: Option<&Recording>,
    status: Option<&Status>,
) -> Vec<Worker> {
    let keys = flags.keys as u64;
    let common = Common::new(flags.workload, keys, flags.value_bytes, flags.seed);
    let worker = |number: usize| Worker {
        number: number as u64,
        connection: connections[number % connections.len()].clone(),
        workload: Workload::new(&common, number as u64),
        recorder: recording.map(Recording::recorder),
        measurements: Measurements::new(),
        tally: status.map(|status| status.tally(number)),
        batch: flags.batch.of_each_client(),
    };
    (0..flags.clients).map(worker).collect()
}

async fn load(workers: Vec<Worker>, keys: u64) -> Result<Vec<Worker>, BenchError> {
    let count = workers.len() as u64;
    let mut loading = JoinSet::new();
    for mut worker in workers {
        loading.spawn(async move {
            worker.load(keys, count).await?;
            Ok::<_, CallError>(worker)
        });
    }
    let mut workers = Vec::new();
    while let Some(worker) = loading.join_next().await {
        workers.push(
            worker
                .expect("no client panics")
                .map_err(BenchError::Load)?,
        );
    }
    Ok(workers)
}
