//! The clients of a benchmark.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use veridical_client::CallError;
use veridical_proto::etcdserverpb::RangeRequest;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;

use super::endpoint::{Called, Connection, Opening};
use super::flags::{Batch, BenchFlags};
use super::local_cluster::{LocalClusterError, MeasuredTime, Supervisor};
use super::recording::{Recorded, Recorder, Recording, RecordingError, Sinks};
use super::report::Measurements;
use super::workload::{Common, StepKind, Workload};

/// Keys written by one transaction while loading; below etcd's limit on operations.
const LOAD_KEYS_PER_TXN: u64 = 100;

/// After an error, so that a store that refuses everything is not asked as fast as
/// possible.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// A key that is loaded is written again this many times before it is given up.
const LOAD_ATTEMPTS_MAX: u32 = 5;

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
    /// Nobody answers there.
    #[error("{0}")]
    Connect(String),
    /// The store to verify holds that many keys already.
    #[error("--verify needs an empty store, this one has {0} keys")]
    NotEmpty(i64),
    /// The keys to begin with could not be written.
    #[error("cannot write the keys to begin with: {0}")]
    Load(CallError),
    /// The store to verify does not tell its revision.
    #[error("cannot read the revision to begin with: {0}")]
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
            | Self::Signals(_)
            | Self::Output(_) => false,
            Self::LocalCluster(error) => error.is_usage_error(),
            Self::Recording(RecordingError::File { .. })
            | Self::NoEndpoint
            | Self::UnevenShards { .. }
            | Self::Connect(_)
            | Self::NotEmpty(_)
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
    pub(crate) interrupted: bool,
    pub(crate) recorded: Option<Recorded>,
}

/// One client.
struct Worker {
    number: u64,
    connection: Connection,
    workload: Workload,
    recorder: Option<Recorder>,
    measurements: Measurements,
    /// Steps that it takes at once.
    batch: usize,
}

impl Worker {
    async fn call(&mut self, ask: Ask) -> Result<Answer, CallError> {
        let Some(recorder) = &self.recorder else {
            return self.connection.call(ask).await;
        };
        let operation = recorder.call(self.number, &ask);
        let result = self.connection.call(ask).await;
        recorder.ended(self.number, operation, &result);
        result
    }

    /// Several requests at once; in a history each is a session's.
    async fn call_all(&mut self, mut asks: Vec<Ask>) -> Vec<Called> {
        if asks.len() == 1 {
            let ask = asks.pop().expect("there is one");
            return vec![self.call(ask).await];
        }
        let Some(recorder) = &self.recorder else {
            return self.connection.batch(asks).await;
        };
        let first = self.number * self.batch as u64;
        let sessions = first..;
        let operations: Vec<_> = sessions
            .zip(&asks)
            .map(|(session, ask)| (session, recorder.call(session, ask)))
            .collect();
        let results = self.connection.batch(asks).await;
        for ((session, operation), result) in operations.into_iter().zip(&results) {
            recorder.ended(session, operation, result);
        }
        results
    }

    /// As many steps as it takes at once, with both halves of those that have two.
    async fn steps(&mut self) -> Vec<(StepKind, Result<(), CallError>)> {
        let steps: Vec<_> = (0..self.batch).map(|_| self.workload.next()).collect();
        let (kinds, asks): (Vec<_>, Vec<_>) =
            steps.into_iter().map(|step| (step.kind, step.ask)).unzip();
        let keys: Vec<_> = asks
            .iter()
            .zip(&kinds)
            .map(|(ask, kind)| match (ask, kind) {
                (Ask::Range(range), StepKind::ReadModifyWrite) => Some(range.key.clone()),
                _ => None,
            })
            .collect();
        let mut results = self.call_all(asks).await;
        let mut places = Vec::new();
        let mut halves = Vec::new();
        for (place, (result, key)) in results.iter().zip(keys).enumerate() {
            if let (Ok(Answer::Range(read)), Some(key)) = (result, key) {
                places.push(place);
                halves.push(self.workload.modify(key, read));
            }
        }
        if !halves.is_empty() {
            for (place, result) in places.into_iter().zip(self.call_all(halves).await) {
                results[place] = result;
            }
        }
        let results = results.into_iter().map(|result| result.map(|_| ()));
        kinds.into_iter().zip(results).collect()
    }

    /// Writes its share of the keys.
    async fn load(&mut self, keys: u64, workers: u64) -> Result<(), CallError> {
        let mut begin = self.number * LOAD_KEYS_PER_TXN;
        while begin < keys {
            let end = (begin + LOAD_KEYS_PER_TXN).min(keys);
            let mut attempts = 1;
            loop {
                match self.load_some(begin, end).await {
                    Ok(()) => break,
                    Err(error) if attempts == LOAD_ATTEMPTS_MAX => return Err(error),
                    Err(_) => tokio::time::sleep(ERROR_PAUSE).await,
                }
                attempts += 1;
            }
            begin += workers * LOAD_KEYS_PER_TXN;
        }
        Ok(())
    }

    /// Writes the keys `begin..end`: at once, unless they are in several shards.
    async fn load_some(&mut self, begin: u64, end: u64) -> Result<(), CallError> {
        if let Connection::Sharded(_) = self.connection {
            let puts = self.workload.load_each(begin, end);
            let results = self.connection.batch(puts).await;
            return results
                .into_iter()
                .try_for_each(|result| result.map(|_| ()));
        }
        let ask = self.workload.load(begin, end);
        self.call(ask).await.map(|_| ())
    }

    /// Works until it is time to end; measures from `measure_from` on.
    async fn work(
        mut self,
        measure_from: Instant,
        until: Instant,
        stop: CancellationToken,
    ) -> Self {
        loop {
            let begun = Instant::now();
            if begun >= until {
                return self;
            }
            let stepped = tokio::select! {
                biased;
                // The request in flight stays open in the history: its fate is unknown.
                () = stop.cancelled() => return self,
                stepped = self.steps() => stepped,
            };
            let ended = Instant::now();
            let is_measured = begun >= measure_from;
            let mut is_refused = false;
            for (kind, result) in stepped {
                match result {
                    Ok(()) if is_measured => self.measurements.succeeded(kind, ended - begun),
                    Ok(()) => {}
                    Err(error) => {
                        is_refused = true;
                        if is_measured {
                            self.measurements.failed(kind, error.to_string());
                        }
                    }
                }
            }
            if is_refused {
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// Runs the whole benchmark, until it is told to `stop` at the latest. A supervisor watches
/// over members that belong to it.
///
/// # Errors
/// See [`BenchError`]. Requests that fail are no errors here; they are counted.
pub(crate) async fn run(
    flags: &BenchFlags,
    stop: &CancellationToken,
    supervisor: Option<&mut Supervisor>,
) -> Result<Finished, BenchError> {
    let connections = connect(flags).await?;
    let recording = record(flags, &connections[0]).await?;
    let mut workers = hire(flags, &connections, recording.as_ref());
    if flags.workload.reads() {
        workers = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(BenchError::Interrupted),
            loaded = load(workers, flags.keys as u64) => loaded?,
        };
    }
    let measure_from = Instant::now() + flags.warmup;
    let until = measure_from + flags.duration;
    let mut working = JoinSet::new();
    for worker in workers {
        working.spawn(worker.work(measure_from, until, stop.clone()));
    }
    let clients_ended = CancellationToken::new();
    let time = MeasuredTime {
        from: measure_from,
        until,
    };
    let ((measurements, ended), watched) = tokio::join!(gather(working, &clients_ended), async {
        match supervisor {
            Some(supervisor) => supervisor.watch(time, stop, &clients_ended).await,
            None => Ok(()),
        }
    });
    let recorded = match recording {
        // Waits for the checker, which may be behind.
        Some(recording) => Some(tokio::task::block_in_place(|| recording.finish())?),
        None => None,
    };
    watched?;
    Ok(Finished {
        measurements,
        elapsed: ended.saturating_duration_since(measure_from),
        interrupted: ended < until,
        recorded,
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
) -> Result<Option<Recording>, BenchError> {
    if !flags.verify && flags.history.is_none() {
        return Ok(None);
    }
    let verify_from_revision = match flags.verify {
        true => Some(initial_revision(connection.clone()).await?),
        false => None,
    };
    let sinks = Sinks {
        verify_from_revision,
        history: flags.history.as_deref(),
    };
    Ok(Some(Recording::start(&sinks)?))
}

/// The revision of a store without keys.
async fn initial_revision(mut connection: Connection) -> Result<i64, BenchError> {
    let all = RangeRequest {
        key: bytes::Bytes::from_static(b"\0"),
        range_end: bytes::Bytes::from_static(b"\0"),
        count_only: true,
        ..RangeRequest::default()
    };
    match connection
        .call(Ask::Range(all))
        .await
        .map_err(BenchError::Look)?
    {
        Answer::Range(answer) if answer.count > 0 => Err(BenchError::NotEmpty(answer.count)),
        Answer::Range(answer) => Ok(answer.header.map_or(0, |header| header.revision)),
        other => unreachable!("a read was answered with {other:?}"),
    }
}

fn hire(
    flags: &BenchFlags,
    connections: &[Connection],
    recording: Option<&Recording>,
) -> Vec<Worker> {
    let keys = flags.keys as u64;
    let common = Common::new(flags.workload, keys, flags.value_bytes, flags.seed);
    let worker = |number: usize| Worker {
        number: number as u64,
        connection: connections[number % connections.len()].clone(),
        workload: Workload::new(&common, number as u64),
        recorder: recording.map(Recording::recorder),
        measurements: Measurements::new(),
        batch: match flags.batch {
            Batch::Auto => 1,
            Batch::Of(operations) => operations,
        },
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
