//! What was measured.

use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use veridical_checkers::Verdict;

use super::local_cluster::{LocalClusterReport, Observed};
use super::recording::Recorded;
use super::workload::StepKind;

/// Three digits: a latency of 123 456 µs is kept as 123 500 µs at worst.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies of one kind of step, in microseconds, and how many steps failed.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) latency_us: Histogram<u64>,
    pub(crate) errors: u64,
}

/// What one client, or all of them, measured, by kind of step.
#[derive(Clone, Debug)]
pub(crate) struct Measurements {
    by_kind: [Measured; StepKind::ALL.len()],
    /// The first error seen.
    pub(crate) first_error: Option<String>,
}

impl Measurements {
    pub(crate) fn new() -> Self {
        let empty = || Measured {
            latency_us: Histogram::new(SIGNIFICANT_DIGITS).expect("3 digits are possible"),
            errors: 0,
        };
        Self {
            by_kind: std::array::from_fn(|_| empty()),
            first_error: None,
        }
    }

    /// Takes a step in that succeeded.
    pub(crate) fn succeeded(&mut self, kind: StepKind, latency: Duration) {
        let latency_us = latency.as_micros() as u64;
        self.by_kind[kind as usize]
            .latency_us
            .record(latency_us)
            .expect("the histogram grows with its values");
    }

    /// Takes a step in that failed.
    pub(crate) fn failed(&mut self, kind: StepKind, error: String) {
        self.by_kind[kind as usize].errors += 1;
        self.first_error.get_or_insert(error);
    }

    /// Adds what another client measured.
    pub(crate) fn add(&mut self, other: &Self) {
        for (own, other) in self.by_kind.iter_mut().zip(&other.by_kind) {
            own.latency_us
                .add(&other.latency_us)
                .expect("the histogram grows with its values");
            own.errors += other.errors;
        }
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
    }

    fn total(&self) -> Measured {
        let mut total = self.by_kind[0].clone();
        for other in &self.by_kind[1..] {
            total
                .latency_us
                .add(&other.latency_us)
                .expect("the histogram grows with its values");
            total.errors += other.errors;
        }
        total
    }
}

/// Percentiles of one kind of step.
#[derive(Debug, Serialize)]
struct Row {
    step: &'static str,
    operations: u64,
    operations_per_second: f64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
    errors: u64,
}

impl Row {
    fn new(step: &'static str, measured: &Measured, seconds: f64) -> Self {
        let latency_us = &measured.latency_us;
        Self {
            step,
            operations: latency_us.len(),
            operations_per_second: latency_us.len() as f64 / seconds,
            p50_us: latency_us.value_at_quantile(0.5),
            p99_us: latency_us.value_at_quantile(0.99),
            p999_us: latency_us.value_at_quantile(0.999),
            max_us: latency_us.max(),
            errors: measured.errors,
        }
    }
}

/// The result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    workload: String,
    protocol: String,
    clients: usize,
    connections: usize,
    value_bytes: usize,
    seconds: f64,
    interrupted: bool,
    #[serde(flatten)]
    total: Row,
    steps: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    /// Why it is not `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_events: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_cluster: Option<LocalClusterReport>,
}

/// How a run was set up, for its report.
pub(crate) struct Setting {
    pub(crate) workload: String,
    pub(crate) protocol: String,
    pub(crate) clients: usize,
    pub(crate) connections: usize,
    pub(crate) value_bytes: usize,
}

impl Report {
    pub(crate) fn new(
        setting: Setting,
        measurements: &Measurements,
        elapsed: Duration,
        interrupted: bool,
        recorded: Option<&Recorded>,
    ) -> Self {
        let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let steps = StepKind::ALL
            .into_iter()
            .map(|kind| (kind.name(), &measurements.by_kind[kind as usize]))
            .filter(|(_, measured)| !measured.latency_us.is_empty() || measured.errors > 0)
            .map(|(name, measured)| Row::new(name, measured, seconds))
            .collect();
        let verdict = recorded.and_then(|recorded| recorded.verdict.as_ref());
        Self {
            workload: setting.workload,
            protocol: setting.protocol,
            clients: setting.clients,
            connections: setting.connections,
            value_bytes: setting.value_bytes,
            seconds,
            interrupted,
            total: Row::new("total", &measurements.total(), seconds),
            steps,
            first_error: measurements.first_error.clone(),
            verdict: verdict.map(Verdict::word),
            verdict_reason: verdict
                .filter(|verdict| !verdict.is_ok())
                .map(ToString::to_string),
            history_events: recorded.map(|recorded| recorded.events),
            local_cluster: None,
        }
    }

    /// With what was seen of members that the benchmark started itself.
    pub(crate) fn with_local_cluster(mut self, observed: Option<Observed>) -> Self {
        let operations = self.total.operations;
        self.local_cluster = observed.map(|observed| LocalClusterReport::new(observed, operations));
        self
    }

    /// One JSON object.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts can be written as JSON")
    }

    /// For people.
    pub(crate) fn to_table(&self) -> String {
        let mut text = format!(
            "{}: {} clients on {} connections ({}), values of {} bytes, {:.1} s{}\n",
            self.workload,
            self.clients,
            self.connections,
            self.protocol,
            self.value_bytes,
            self.seconds,
            if self.interrupted {
                ", interrupted"
            } else {
                ""
            },
        );
        text.push_str(
            "                     ops     ops/s    p50 ms    p99 ms  p99.9 ms    max ms  errors\n",
        );
        // Of one kind of step the total says nothing more.
        let total = (self.steps.len() != 1).then_some(&self.total);
        for row in self.steps.iter().chain(total) {
            let ms = |us: u64| us as f64 / 1_000.0;
            writeln!(
                text,
                "{:<17}{:>7}{:>10.0}{:>10.3}{:>10.3}{:>10.3}{:>10.3}{:>8}",
                row.step,
                row.operations,
                row.operations_per_second,
                ms(row.p50_us),
                ms(row.p99_us),
                ms(row.p999_us),
                ms(row.max_us),
                row.errors,
            )
            .expect("a text takes everything");
        }
        if let Some(error) = &self.first_error {
            writeln!(text, "first error: {error}").expect("a text takes everything");
        }
        if let Some(local_cluster) = &self.local_cluster {
            text.push_str(&local_cluster.to_text());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut first = Measurements::new();
        let mut second = Measurements::new();
        for us in 1..=1_000 {
            first.succeeded(StepKind::Read, Duration::from_micros(us));
            second.succeeded(StepKind::Write, Duration::from_micros(1_000 + us));
        }
        second.failed(StepKind::Write, "lost".to_owned());
        first.add(&second);
        let setting = Setting {
            workload: "mixed".to_owned(),
            protocol: "grpc".to_owned(),
            clients: 2,
            connections: 1,
            value_bytes: 8,
        };
        Report::new(setting, &first, Duration::from_secs(2), false, None)
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let report = report();
        assert_eq!(report.total.operations, 2_000);
        assert_eq!(report.total.errors, 1);
        assert!((report.total.operations_per_second - 1_000.0).abs() < 1e-9);
        assert_eq!(report.total.p50_us, 1_000);
        assert!((1_978..=1_982).contains(&report.total.p99_us));
        assert!((1_999..=2_001).contains(&report.total.max_us));
        let steps: Vec<_> = report
            .steps
            .iter()
            .map(|row| (row.step, row.operations))
            .collect();
        assert_eq!(steps, [("read", 1_000), ("write", 1_000)]);
    }

    #[test]
    fn json_is_one_object_and_the_table_names_the_first_error() {
        let report = report();
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["operations"], 2_000);
        assert_eq!(json["steps"][1]["errors"], 1);
        assert!(json.get("verdict").is_none());
        assert!(report.to_table().contains("first error: lost"));
    }
}
