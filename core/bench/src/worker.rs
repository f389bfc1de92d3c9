//! One client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use veridical_client::CallError;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;

use super::endpoint::{Called, Connection};
use super::live::Tally;
use super::local_cluster::MeasuredTime;
use super::pace::{Beginning, Pace, Pacer, Schedule};
use super::recording::Recorder;
use super::report::Measurements;
use super::workload::{StepKind, Workload};

/// Keys written by one transaction while loading; below etcd's limit on operations.
const LOAD_KEYS_PER_TXN: u64 = 100;

/// After an error, so that a store that refuses everything is not asked as fast as
/// possible.
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// A key that is loaded is written again this many times before it is given up.
const LOAD_ATTEMPTS_MAX: u32 = 5;

/// One client.
pub(crate) struct Worker {
    pub(crate) number: u64,
    pub(crate) connection: Connection,
    pub(crate) workload: Workload,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) measurements: Measurements,
    /// Where it counts for somebody who watches.
    pub(crate) tally: Option<Arc<Tally>>,
    /// Steps that it takes at once.
    pub(crate) batch: usize,
}

impl Worker {
    async fn call(&mut self, ask: Ask) -> Result<Answer, CallError> {
        let Some(recorder) = &self.recorder else {
            return self.connection.call(ask).await;
        };
        let operations = recorder.call(self.number, std::slice::from_ref(&ask));
        let result = self.connection.call(ask).await;
        recorder.ended(operations, std::slice::from_ref(&result));
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
        let operations = recorder.call(first, &asks);
        let results = self.connection.batch(asks).await;
        recorder.ended(operations, &results);
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
    pub(crate) async fn load(&mut self, keys: u64, workers: u64) -> Result<(), CallError> {
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

    /// Works until its shift has ended, and measures what was due from the beginning of
    /// measuring on.
    pub(crate) async fn work(mut self, mut shift: Shift) -> Self {
        while let Some(beginning) = shift.begin_next().await {
            let is_measured = beginning.due() >= shift.time.from;
            if is_measured {
                self.measurements.lag.begun(&beginning, self.batch);
            }
            let stepped = tokio::select! {
                biased;
                // The request in flight stays open in the history: its fate is unknown.
                () = shift.stop.cancelled() => break,
                stepped = self.steps() => stepped,
            };
            let latency = beginning.latency(Instant::now());
            let mut is_refused = false;
            for (kind, result) in stepped {
                if let Some(tally) = &self.tally {
                    tally.count(result.is_ok().then_some(latency));
                }
                match result {
                    Ok(()) if is_measured => self.measurements.succeeded(kind, latency),
                    Ok(()) => {}
                    Err(error) => {
                        is_refused = true;
                        if is_measured {
                            self.measurements.failed(kind, error.to_string());
                        }
                    }
                }
            }
            // In an open loop no more is asked than was due, and a pause would make the client
            // late for what comes next.
            if is_refused && matches!(shift.pace, Pace::Closed) {
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
        self.measurements.lag.not_begun += shift.not_begun();
        self
    }
}

/// When a client works.
pub(crate) struct Shift {
    time: MeasuredTime,
    stop: CancellationToken,
    pace: Pace,
    /// Rings when something may be due.
    bell: Arc<Notify>,
}

impl Shift {
    /// In a closed loop.
    pub(crate) fn new(time: MeasuredTime, stop: CancellationToken) -> Self {
        Self {
            time,
            stop,
            pace: Pace::Closed,
            bell: Arc::default(),
        }
    }

    /// The same in an open loop.
    pub(crate) fn at_pace(self, schedule: Schedule, client: usize, pacer: &Pacer) -> Self {
        Self {
            pace: Pace::open(schedule, client as u64),
            bell: pacer.bell(client),
            ..self
        }
    }

    /// Waits until something is due, and begins it. `None` when it is time to end.
    async fn begin_next(&mut self) -> Option<Beginning> {
        loop {
            let now = Instant::now();
            if now >= self.time.until {
                return None;
            }
            let due = self.pace.next_due(now);
            if due <= now {
                return Some(self.pace.begin(now));
            }
            let woken = async {
                match due < self.time.until {
                    true => self.bell.notified().await,
                    // The benchmark takes as long as it was told to, also after its last
                    // operation.
                    false => tokio::time::sleep_until(self.time.until.into()).await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = woken => {}
            }
        }
    }

    /// Operations that were due until now and that the client did not come to.
    fn not_begun(&self) -> u64 {
        let until = self.time.until.min(Instant::now());
        self.pace.not_begun(self.time.from, until)
    }
}
