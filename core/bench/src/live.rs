//! How far a run is: a line on a terminal that is rewritten once a second.
//!
//! Every client counts into a tally of its own with relaxed counters, so that being watched
//! costs it no lock and no cache line that another client writes to. Where standard error is
//! no terminal there are no tallies and nothing is printed.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::local_cluster::MeasuredTime;

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// Each doubling of a latency has so many buckets, so a percentile is at most a sixteenth too
/// high. The report is exact; this is for the eye.
const BUCKETS_PER_DOUBLING: u64 = 16;

/// Doublings that are told apart; 2^32 µs is more than an hour.
const DOUBLINGS: u64 = 32;

const BUCKETS: usize = (BUCKETS_PER_DOUBLING * (DOUBLINGS - 3)) as usize;

/// What one client did so far. Only this client writes to it.
pub(crate) struct Tally {
    operations_by_latency: [AtomicU64; BUCKETS],
    errors: AtomicU64,
}

impl Tally {
    fn new() -> Self {
        Self {
            operations_by_latency: std::array::from_fn(|_| AtomicU64::new(0)),
            errors: AtomicU64::new(0),
        }
    }

    /// Counts an operation that took so long, or that failed.
    pub(crate) fn count(&self, latency: Option<Duration>) {
        let counter = match latency {
            Some(latency) => &self.operations_by_latency[bucket(latency.as_micros() as u64)],
            None => &self.errors,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn bucket(latency_us: u64) -> usize {
    let exponent = u64::from(latency_us.max(1).ilog2());
    let bucket = match exponent.checked_sub(4) {
        // Below 16 µs each microsecond has a bucket.
        None => latency_us,
        Some(shift) => {
            let within = (latency_us >> shift) - BUCKETS_PER_DOUBLING;
            (shift + 1) * BUCKETS_PER_DOUBLING + within
        }
    };
    (bucket as usize).min(BUCKETS - 1)
}

/// The longest latency that is counted in a bucket.
fn longest_us(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    match (bucket / BUCKETS_PER_DOUBLING).checked_sub(1) {
        None => bucket,
        Some(shift) => {
            let within = bucket % BUCKETS_PER_DOUBLING;
            ((BUCKETS_PER_DOUBLING + within + 1) << shift) - 1
        }
    }
}

/// What all clients did up to an instant, or between two.
#[derive(Clone)]
struct Count {
    operations_by_latency: Vec<u64>,
    errors: u64,
}

impl Count {
    fn of(tallies: &[Arc<Tally>]) -> Self {
        let mut count = Self {
            operations_by_latency: vec![0; BUCKETS],
            errors: 0,
        };
        for tally in tallies {
            let counters = tally.operations_by_latency.iter();
            for (sum, counter) in count.operations_by_latency.iter_mut().zip(counters) {
                *sum += counter.load(Ordering::Relaxed);
            }
            count.errors += tally.errors.load(Ordering::Relaxed);
        }
        count
    }

    fn since(&self, earlier: &Self) -> Self {
        let pairs = self.operations_by_latency.iter();
        let pairs = pairs.zip(&earlier.operations_by_latency);
        Self {
            operations_by_latency: pairs.map(|(now, then)| now - then).collect(),
            errors: self.errors - earlier.errors,
        }
    }

    fn operations(&self) -> u64 {
        self.operations_by_latency.iter().sum()
    }

    /// `None` without operations.
    fn p99_us(&self) -> Option<u64> {
        let operations = self.operations();
        let rank = operations - operations / 100;
        let mut seen = 0;
        self.operations_by_latency
            .iter()
            .position(|count| {
                seen += count;
                seen >= rank && seen > 0
            })
            .map(longest_us)
    }
}

/// What a run is busy with.
enum Phase {
    WarmingUp,
    Measuring,
    /// The clients have ended.
    Checking,
}

/// The line.
pub(crate) struct Status {
    bar: ProgressBar,
    /// Which run it is, if there are several.
    label: Option<String>,
    is_verified: bool,
    tallies: Vec<Arc<Tally>>,
}

impl Status {
    /// A line for that many clients. `None` where standard error is no terminal.
    pub(crate) fn on_terminal(
        label: Option<String>,
        clients: usize,
        is_verified: bool,
    ) -> Option<Self> {
        if !stderr().is_terminal() {
            return None;
        }
        let bar = ProgressBar::no_length();
        bar.set_draw_target(ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg}").expect("the template is one");
        Some(Self {
            bar: bar.with_style(style),
            label,
            is_verified,
            tallies: (0..clients).map(|_| Arc::new(Tally::new())).collect(),
        })
    }

    /// Where a client counts.
    pub(crate) fn tally(&self, client: usize) -> Arc<Tally> {
        Arc::clone(&self.tallies[client])
    }

    /// Shows a text.
    pub(crate) fn say(&self, text: &str) {
        let label = self.label.iter().map(|label| format!("{label}: "));
        self.bar
            .set_message(label.chain([text.to_owned()]).collect::<String>());
    }

    /// Rewrites the line once a second, until this is dropped.
    pub(crate) async fn show(self, time: MeasuredTime, clients_ended: CancellationToken) {
        let mut then = Count::of(&self.tallies);
        let mut seen_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = clients_ended.cancelled() => break,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            let (now, count) = (Instant::now(), Count::of(&self.tallies));
            let phase = match now < time.from {
                true => Phase::WarmingUp,
                false => Phase::Measuring,
            };
            let last = count.since(&then);
            let seconds = now.duration_since(seen_at).as_secs_f64();
            let line = line(&phase, time, now, &last, seconds);
            self.say(&self.with_verdict(line, count.errors));
            (then, seen_at) = (count, now);
        }
        if self.is_verified {
            let last = then.since(&then);
            let line = line(&Phase::Checking, time, Instant::now(), &last, 1.0);
            self.say(&line);
            std::future::pending::<()>().await;
        }
    }

    fn with_verdict(&self, line: String, errors: u64) -> String {
        let verified = match self.is_verified {
            true => ", being verified",
            false => "",
        };
        format!("{line}, {errors} errors{verified}")
    }
}

impl Drop for Status {
    /// The report begins on an empty line.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn line(phase: &Phase, time: MeasuredTime, now: Instant, last: &Count, seconds: f64) -> String {
    let duration_s = time.until.duration_since(time.from).as_secs_f64();
    let done_s = now.saturating_duration_since(time.from).as_secs_f64();
    let at = match phase {
        Phase::WarmingUp => {
            let left_s = time.from.saturating_duration_since(now).as_secs_f64();
            format!("warming up, {left_s:.0} s left")
        }
        Phase::Measuring => format!("{:.0} of {duration_s:.0} s", done_s.min(duration_s)),
        Phase::Checking => return "the clients have ended, the checker goes on".to_owned(),
    };
    let rate = last.operations() as f64 / seconds;
    let p99 = match last.p99_us() {
        Some(us) => format!("{:.2} ms", us as f64 / 1_000.0),
        None => "-".to_owned(),
    };
    format!("{at}: {rate:.0} ops/s, p99 {p99}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_in_a_bucket_that_is_at_most_a_sixteenth_too_high() {
        for latency_us in (0..100_000).chain((0..31).map(|exponent| 3 << exponent)) {
            let longest_us = longest_us(bucket(latency_us));
            assert!(longest_us >= latency_us, "{latency_us}");
            assert!(longest_us - latency_us <= latency_us / 16, "{latency_us}");
            assert!((0..=1).contains(&(bucket(latency_us + 1) - bucket(latency_us))));
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn a_line_tells_of_the_last_second_alone() {
        let tallies: Vec<_> = (0..2).map(|_| Arc::new(Tally::new())).collect();
        for _ in 0..50 {
            tallies[0].count(Some(Duration::from_secs(5)));
        }
        tallies[1].count(None);
        let first = Count::of(&tallies);
        for operation in 0..200 {
            tallies[operation % 2].count(Some(Duration::from_millis(1)));
        }
        let last = Count::of(&tallies).since(&first);
        assert_eq!((last.operations(), last.errors), (200, 0));
        let from = Instant::now();
        let time = MeasuredTime {
            from,
            until: from + Duration::from_secs(20),
        };
        let line = |after_s, last: &Count| {
            let now = from + Duration::from_secs(after_s);
            line(&Phase::Measuring, time, now, last, 2.0)
        };
        assert_eq!(line(7, &last), "7 of 20 s: 100 ops/s, p99 1.02 ms");
        assert_eq!(
            line(25, &last.since(&last)),
            "20 of 20 s: 0 ops/s, p99 -",
            "nothing was answered"
        );
    }

    #[test]
    fn the_slowest_hundredth_is_above_the_99th_percentile() {
        let tally = [Arc::new(Tally::new())];
        for _ in 0..990 {
            tally[0].count(Some(Duration::from_micros(10)));
        }
        for _ in 0..10 {
            tally[0].count(Some(Duration::from_secs(1)));
        }
        assert_eq!(Count::of(&tally).p99_us(), Some(10));
        tally[0].count(Some(Duration::from_secs(1)));
        assert!(Count::of(&tally).p99_us() > Some(900_000));
    }
}
