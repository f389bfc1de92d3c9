//! What was measured.

use std::fmt::Write;
use std::time::Duration;

use clap::ValueEnum;
use hdrhistogram::Histogram;
use serde::Serialize;
use veridical_checkers::Verdict;

use super::flags::BenchFlags;
use super::local_cluster::{LocalClusterReport, Observed};
use super::pace::Lag;
use super::run::Finished;
use super::series::Point;
use super::workload::StepKind;

/// Three digits: a latency of 123 456 µs is kept as 123 500 µs at worst.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Clients that come to all but this part of what was due have kept up.
const NOT_BEGUN_SHARE: u64 = 100;

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
    /// How far clients fell behind their schedule, in an open loop.
    pub(crate) lag: Lag,
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
            lag: Lag::default(),
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
        self.lag += other.lag;
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

/// Whether the clients of an open loop kept to their schedule.
#[derive(Debug, Serialize)]
struct OpenLoop {
    /// Operations each second.
    rate_asked: u64,
    /// Operations that succeeded each second.
    rate_achieved: f64,
    #[serde(flatten)]
    lag: Lag,
    /// Whether the clients came to all but a hundredth of what was due. Else less was measured
    /// than was asked for; what lags for a moment at the end is not meant.
    kept_up: bool,
}

impl OpenLoop {
    fn new(rate_asked: u64, total: &Row, lag: Lag) -> Self {
        let due = total.operations + total.errors + lag.not_begun;
        Self {
            rate_asked,
            rate_achieved: total.operations_per_second,
            lag,
            kept_up: lag.not_begun <= due / NOT_BEGUN_SHARE,
        }
    }

    /// That the figures are not those of the rate that was asked for, if so.
    fn shortfall(&self) -> Option<String> {
        let Lag {
            not_begun,
            lag_max_us,
            ..
        } = self.lag;
        (!self.kept_up).then(|| {
            format!(
                "did not keep up, {not_begun} operations not begun, latest by {} ms",
                lag_max_us / 1_000
            )
        })
    }

    /// For people.
    fn to_text(&self) -> String {
        let lag = &self.lag;
        let mut text = format!(
            "asked for {} ops/s, {:.0} achieved; {} begun over 1 ms late, {} not begun, latest by {:.3} ms\n",
            self.rate_asked,
            self.rate_achieved,
            lag.begun_late,
            lag.not_begun,
            lag.lag_max_us as f64 / 1_000.0,
        );
        if !self.kept_up {
            text.push_str(
                "the clients did not keep up: the rate is more than they, or the store, can do\n",
            );
        }
        text
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
    /// Processor time of the process of the clients, with the checker if there is one.
    clients_cpu_seconds: f64,
    /// Not there if no operation succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    clients_cpu_us_per_operation: Option<f64>,
    #[serde(flatten)]
    open_loop: Option<OpenLoop>,
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
    /// Operations each second, in an open loop.
    pub(crate) rate_asked: Option<u64>,
}

impl Setting {
    /// That of the flags of one run.
    pub(crate) fn of(flags: &BenchFlags) -> Self {
        Self {
            workload: name_of(flags.workload),
            protocol: name_of(flags.protocol),
            clients: flags.clients,
            connections: flags.connections(),
            value_bytes: flags.value_bytes,
            rate_asked: flags.rate,
        }
    }
}

/// The name of a flag's value.
fn name_of(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

impl Report {
    pub(crate) fn new(setting: Setting, finished: &Finished) -> Self {
        let measurements = &finished.measurements;
        let recorded = finished.recorded.as_ref();
        let seconds = finished.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let cpu_seconds = finished.clients_cpu.as_secs_f64();
        let steps = StepKind::ALL
            .into_iter()
            .map(|kind| (kind.name(), &measurements.by_kind[kind as usize]))
            .filter(|(_, measured)| !measured.latency_us.is_empty() || measured.errors > 0)
            .map(|(name, measured)| Row::new(name, measured, seconds))
            .collect();
        let total = Row::new("total", &measurements.total(), seconds);
        let open_loop = setting
            .rate_asked
            .map(|rate_asked| OpenLoop::new(rate_asked, &total, measurements.lag));
        let verdict = recorded.and_then(|recorded| recorded.verdict.as_ref());
        Self {
            workload: setting.workload,
            protocol: setting.protocol,
            clients: setting.clients,
            connections: setting.connections,
            value_bytes: setting.value_bytes,
            seconds,
            interrupted: finished.interrupted,
            clients_cpu_seconds: cpu_seconds,
            clients_cpu_us_per_operation: (total.operations > 0)
                .then(|| cpu_seconds * 1_000_000.0 / total.operations as f64),
            open_loop,
            total,
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

    /// What a series compares.
    pub(crate) fn point(&self) -> Point {
        let local = self.local_cluster.as_ref();
        let operations = self.total.operations;
        let per_operation = |bytes: u64| (operations > 0).then(|| bytes as f64 / operations as f64);
        let mut remarks = Vec::new();
        if self.interrupted {
            remarks.push("interrupted".to_owned());
        }
        let open_loop = self.open_loop.as_ref();
        remarks.extend(open_loop.and_then(OpenLoop::shortfall));
        if let Some(error) = &self.first_error {
            remarks.push(format!("first error: {error}"));
        }
        Point {
            program: local.map(LocalClusterReport::program),
            clients: self.clients,
            operations_per_second: self.total.operations_per_second,
            p50_us: self.total.p50_us,
            p99_us: self.total.p99_us,
            p999_us: self.total.p999_us,
            errors: self.total.errors,
            cpu_us_per_operation: local.and_then(LocalClusterReport::cpu_us_per_operation),
            peak_resident_bytes: local.map(LocalClusterReport::peak_resident_bytes),
            written_bytes_per_operation: local
                .and_then(|local| per_operation(local.written_bytes())),
            network_bytes_per_operation: local
                .and_then(|local| per_operation(local.network_bytes()?)),
            clients_cpu_us_per_operation: self.clients_cpu_us_per_operation,
            remarks,
        }
    }

    /// How many members there were, and of what, if the benchmark started them.
    pub(crate) fn members(&self) -> Option<String> {
        let local = self.local_cluster.as_ref()?;
        Some(local.members_text())
    }

    /// What does not depend on the number of clients.
    pub(crate) fn setting_text(&self) -> String {
        let rate = self.open_loop.as_ref();
        let rate = rate.map(|open_loop| format!(", {} ops/s asked for", open_loop.rate_asked));
        format!(
            "{} ({}), values of {} bytes, {:.1} s each{}",
            self.workload,
            self.protocol,
            self.value_bytes,
            self.seconds,
            rate.unwrap_or_default()
        )
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
        if let Some(open_loop) = &self.open_loop {
            text.push_str(&open_loop.to_text());
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
        report_of_rate(None, Lag::default())
    }

    fn report_of_rate(rate_asked: Option<u64>, lag: Lag) -> Report {
        let mut first = Measurements::new();
        let mut second = Measurements::new();
        for us in 1..=1_000 {
            first.succeeded(StepKind::Read, Duration::from_micros(us));
            second.succeeded(StepKind::Write, Duration::from_micros(1_000 + us));
        }
        second.failed(StepKind::Write, "lost".to_owned());
        second.lag = lag;
        first.add(&second);
        let setting = Setting {
            workload: "mixed".to_owned(),
            protocol: "grpc".to_owned(),
            clients: 2,
            connections: 1,
            value_bytes: 8,
            rate_asked,
        };
        let finished = Finished {
            measurements: first,
            elapsed: Duration::from_secs(2),
            clients_cpu: Duration::from_millis(500),
            interrupted: false,
            recorded: None,
            member_failure: None,
        };
        Report::new(setting, &finished)
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
        assert_eq!(json["clients_cpu_us_per_operation"], 250.0);
        assert!(json.get("verdict").is_none());
        assert!(report.to_table().contains("first error: lost"));
    }

    #[test]
    fn an_open_loop_tells_whether_its_clients_kept_up() {
        let lag = Lag {
            begun_late: 3,
            not_begun: 2_000,
            lag_max_us: 1_500,
        };
        let report = report_of_rate(Some(2_000), lag);
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["rate_asked"], 2_000);
        assert_eq!(json["rate_achieved"], 1_000.0);
        assert_eq!(json["begun_late"], 3);
        assert_eq!(json["not_begun"], 2_000);
        assert_eq!(json["lag_max_us"], 1_500);
        assert_eq!(json["kept_up"], false);
        let table = report.to_table();
        assert!(table.contains("3 begun over 1 ms late, 2000 not begun, latest by 1.500 ms\n"));
        assert!(table.contains("did not keep up"), "{table}");

        let for_a_moment = Lag {
            not_begun: 20,
            ..lag
        };
        let in_time = report_of_rate(Some(2_000), for_a_moment).to_table();
        assert!(!in_time.contains("did not keep up"), "{in_time}");
        let closed = report_of_rate(None, Lag::default());
        assert!(!closed.to_table().contains("asked for"));
        let json: serde_json::Value = serde_json::from_str(&closed.to_json()).unwrap();
        assert!(json.get("rate_asked").is_none());
    }
}
