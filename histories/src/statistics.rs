//! What a history looks like: counts, concurrency, latencies.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::{Event, EventKind, OperationId};

/// Subdivisions of each power of two: latencies are right to within 1/32.
const SUBDIVISIONS: u64 = 32;

/// Latencies in classes that grow with the latency, as in HdrHistogram.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    counts: BTreeMap<u64, u64>,
    total: u64,
}

impl Latencies {
    fn class(latency_ns: u64) -> u64 {
        if latency_ns < SUBDIVISIONS {
            return latency_ns;
        }
        let power = u64::from(latency_ns.ilog2());
        let step = power - u64::from(SUBDIVISIONS.ilog2());
        (step + 1) * SUBDIVISIONS + (latency_ns >> step) - SUBDIVISIONS
    }

    fn upper_ns(class: u64) -> u64 {
        if class < SUBDIVISIONS {
            return class;
        }
        let step = class / SUBDIVISIONS - 1;
        ((class % SUBDIVISIONS + SUBDIVISIONS + 1) << step) - 1
    }

    /// Counts one latency.
    pub fn record(&mut self, latency_ns: u64) {
        *self.counts.entry(Self::class(latency_ns)).or_default() += 1;
        self.total += 1;
    }

    /// The latency that a `share` (0 to 1) of all operations did not exceed, in
    /// nanoseconds; 0 where there are none.
    pub fn percentile_ns(&self, share: f64) -> u64 {
        let rank = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (class, count) in &self.counts {
            seen += count;
            if seen >= rank {
                return Self::upper_ns(*class);
            }
        }
        0
    }
}

/// What has been seen of a history.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    open: BTreeMap<OperationId, u64>,
    clients: BTreeMap<u64, u64>,
    latencies: Latencies,
    summary: Summary,
}

/// Statistics for people and machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Events.
    pub events: u64,
    /// Operations called.
    pub operations: u64,
    /// Operations that returned.
    pub returned: u64,
    /// Operations whose outcome stayed unknown.
    pub unknown: u64,
    /// Operations without effect.
    pub failed: u64,
    /// Operations that never ended.
    pub open: u64,
    /// Records of side streams.
    pub notes: u64,
    /// Client sessions.
    pub clients: u64,
    /// The most operations open at once.
    pub concurrency_max: u64,
    /// From the first event to the last, in nanoseconds.
    pub duration_ns: u64,
    /// Latency that half of the returned operations did not exceed, in nanoseconds.
    pub latency_p50_ns: u64,
    /// Latency that 99 in 100 of the returned operations did not exceed, in nanoseconds.
    pub latency_p99_ns: u64,
    /// Latency that 999 in 1000 of the returned operations did not exceed, in nanoseconds.
    pub latency_p999_ns: u64,
    /// The longest latency, in nanoseconds.
    pub latency_max_ns: u64,
    #[serde(skip)]
    first_ns: Option<u64>,
}

impl Statistics {
    /// Takes one event in.
    pub fn record<I, O, N>(&mut self, event: &Event<I, O, N>) {
        let summary = &mut self.summary;
        summary.events += 1;
        let first = *summary.first_ns.get_or_insert(event.time_ns);
        summary.duration_ns = summary.duration_ns.max(event.time_ns.saturating_sub(first));
        *self.clients.entry(event.client).or_default() += 1;
        match &event.kind {
            EventKind::Call { op, .. } => {
                summary.operations += 1;
                self.open.insert(*op, event.time_ns);
                summary.concurrency_max = summary.concurrency_max.max(self.open.len() as u64);
            }
            EventKind::Return { op, .. } => {
                summary.returned += 1;
                if let Some(call_ns) = self.open.remove(op) {
                    let latency_ns = event.time_ns.saturating_sub(call_ns);
                    self.latencies.record(latency_ns);
                    summary.latency_max_ns = summary.latency_max_ns.max(latency_ns);
                }
            }
            EventKind::Unknown { op } => {
                summary.unknown += 1;
                self.open.remove(op);
            }
            EventKind::Failed { op } => {
                summary.failed += 1;
                self.open.remove(op);
            }
            EventKind::Note { .. } => summary.notes += 1,
        }
    }

    /// The statistics so far.
    pub fn summary(&self) -> Summary {
        Summary {
            open: self.open.len() as u64,
            clients: self.clients.len() as u64,
            latency_p50_ns: self.latencies.percentile_ns(0.5),
            latency_p99_ns: self.latencies.percentile_ns(0.99),
            latency_p999_ns: self.latencies.percentile_ns(0.999),
            ..self.summary.clone()
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "events       {}", self.events)?;
        writeln!(
            f,
            "operations   {} ({} returned, {} unknown, {} failed, {} open)",
            self.operations, self.returned, self.unknown, self.failed, self.open
        )?;
        writeln!(
            f,
            "clients      {}, at most {} operations at once",
            self.clients, self.concurrency_max
        )?;
        writeln!(f, "duration     {:.3} ms", self.duration_ns as f64 / 1e6)?;
        let ms = |ns: u64| ns as f64 / 1e6;
        write!(
            f,
            "latency      p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, max {:.3} ms",
            ms(self.latency_p50_ns),
            ms(self.latency_p99_ns),
            ms(self.latency_p999_ns),
            ms(self.latency_max_ns)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::object::{ObjectHistory, ObjectWorkload};

    #[test]
    fn percentiles_are_right_to_within_a_thirtieth() {
        let mut latencies = Latencies::default();
        (1..=100_000).for_each(|latency| latencies.record(latency));
        for share in [0.001, 0.1, 0.5, 0.99, 0.999, 1.0] {
            let (exact, told) = (share * 100_000.0, latencies.percentile_ns(share) as f64);
            assert!((told / exact - 1.0).abs() < 1.0 / 30.0, "{share}: {told}");
        }
    }

    #[test]
    fn every_operation_is_counted_once() {
        let workload = ObjectWorkload {
            unknown: 0.1,
            clients: 7,
            ..ObjectWorkload::default()
        };
        let mut statistics = Statistics::default();
        ObjectHistory::new(workload).for_each(|event| statistics.record(&event));
        let summary = statistics.summary();
        assert_eq!(summary.operations, 1_000);
        assert_eq!(summary.returned + summary.unknown, 1_000);
        assert_eq!(
            (summary.concurrency_max, summary.clients, summary.open),
            (7, 7, 0)
        );
        assert!(summary.latency_p50_ns <= summary.latency_p99_ns);
        assert!(summary.to_string().contains("1000 ("));
    }
}
