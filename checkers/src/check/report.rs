//! What a check ends with, for people and for machines.

use serde::{Deserialize, Serialize};

use super::simultaneous::SIMULTANEOUS_MAX;
use crate::etcd::EtcdStatistics;
use crate::objects::ObjectStatistics;
use crate::verdict::{Undecided, Verdict, Violation};

/// Operations by the engine that judged them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineCounts {
    /// Engine A, the exact frontier.
    pub frontier: u64,
    /// Engine B, unambiguous registers.
    pub zones: u64,
    /// Engine C, along revisions.
    pub revisions: u64,
    /// Engine D, queues and stacks.
    #[serde(default)]
    pub collections: u64,
    /// Engine E, the graph of list-append transactions.
    #[serde(default)]
    pub graph: u64,
}

/// What a check ends with. Its JSON form is what `veridical check --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "ReportJson", from = "ReportJson")]
pub struct Report {
    /// The answer.
    pub verdict: Verdict,
    /// How the history was written.
    pub format: String,
    /// What it was judged by.
    pub model: String,
    /// From what that was told, where nobody had said it.
    pub model_because: Option<String>,
    /// Events read.
    pub events: u64,
    /// Operations with a known outcome.
    pub operations: u64,
    /// Different keys; above a few thousand an estimate to within three percent.
    pub keys: u64,
    /// Operations whose outcome stayed unknown.
    pub unknown_outcomes: u64,
    /// Operations by engine.
    pub engine: EngineCounts,
    /// How often a key went from engine B or D to engine A.
    pub handovers: u64,
    /// The most configurations, clusters or hypotheses kept for one object at a time.
    pub max_configurations: u64,
    /// Operations a second.
    pub operations_per_second: f64,
    /// The most memory the process had, in bytes; 0 where the system does not tell.
    pub peak_memory_bytes: u64,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// Lines that were no events.
    pub bad_line_count: u64,
    /// The first of them, with their places.
    pub bad_lines: Vec<String>,
    /// Where a binary file was cut off.
    pub truncated: Option<String>,
    /// The check was ended before the history.
    pub stopped_early: bool,
    /// How the history was read where that is not certain, one sentence each.
    pub notes: Vec<String>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            verdict: Verdict::Ok,
            format: String::new(),
            model: String::new(),
            model_because: None,
            events: 0,
            operations: 0,
            keys: 0,
            unknown_outcomes: 0,
            engine: EngineCounts::default(),
            handovers: 0,
            max_configurations: 0,
            operations_per_second: 0.0,
            peak_memory_bytes: 0,
            elapsed_ms: 0,
            bad_line_count: 0,
            bad_lines: Vec::new(),
            truncated: None,
            stopped_early: false,
            notes: Vec::new(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct ReportJson {
    verdict: String,
    format: String,
    model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_because: Option<String>,
    events: u64,
    operations: u64,
    keys: u64,
    unknown_outcomes: u64,
    engine: EngineCounts,
    handovers: u64,
    max_configurations: u64,
    operations_per_second: f64,
    peak_memory_bytes: u64,
    elapsed_ms: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    bad_line_count: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bad_lines: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    truncated: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stopped_early: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    witness: Option<Box<Violation>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<Undecided>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<Report> for ReportJson {
    fn from(report: Report) -> Self {
        let verdict = report.verdict.word().to_owned();
        let (witness, cause) = match report.verdict {
            Verdict::Ok => (None, None),
            Verdict::Violation(violation) => (Some(violation), None),
            Verdict::Unknown(undecided) => (None, Some(undecided)),
        };
        Self {
            verdict,
            format: report.format,
            model: report.model,
            model_because: report.model_because,
            events: report.events,
            operations: report.operations,
            keys: report.keys,
            unknown_outcomes: report.unknown_outcomes,
            engine: report.engine,
            handovers: report.handovers,
            max_configurations: report.max_configurations,
            operations_per_second: report.operations_per_second,
            peak_memory_bytes: report.peak_memory_bytes,
            elapsed_ms: report.elapsed_ms,
            bad_line_count: report.bad_line_count,
            bad_lines: report.bad_lines,
            truncated: report.truncated,
            stopped_early: report.stopped_early,
            notes: report.notes,
            witness,
            cause,
        }
    }
}

impl From<ReportJson> for Report {
    fn from(json: ReportJson) -> Self {
        Self {
            verdict: match (json.witness, json.cause) {
                (Some(violation), _) => Verdict::Violation(violation),
                (None, Some(undecided)) => Verdict::Unknown(undecided),
                (None, None) => Verdict::Ok,
            },
            format: json.format,
            model: json.model,
            model_because: json.model_because,
            events: json.events,
            operations: json.operations,
            keys: json.keys,
            unknown_outcomes: json.unknown_outcomes,
            engine: json.engine,
            handovers: json.handovers,
            max_configurations: json.max_configurations,
            operations_per_second: json.operations_per_second,
            peak_memory_bytes: json.peak_memory_bytes,
            elapsed_ms: json.elapsed_ms,
            bad_line_count: json.bad_line_count,
            bad_lines: json.bad_lines,
            truncated: json.truncated,
            stopped_early: json.stopped_early,
            notes: json.notes,
        }
    }
}

impl Report {
    /// Notes how the history was read, once.
    pub(super) fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|other| other == note) {
            self.notes.push(note.to_owned());
        }
    }

    /// Notes that the order of events of one time was taken from their places.
    pub(super) fn note_places_count(&mut self) {
        self.note(&format!(
            "more than {SIMULTANEOUS_MAX} events have the same time: their order is that of the \
             file"
        ));
    }

    pub(super) fn count_objects(&mut self, statistics: &ObjectStatistics) {
        self.operations = statistics.operations;
        self.unknown_outcomes = statistics.unknown_outcomes;
        self.engine.frontier = statistics.frontier_operations;
        self.engine.zones = statistics.zones_operations;
        self.engine.collections = statistics.collection_operations;
        self.engine.graph = statistics.graph_operations;
        self.handovers = statistics.handovers;
        self.max_configurations = statistics.configurations_max.max(statistics.clusters_max) as u64;
    }

    pub(super) fn count_etcd(&mut self, statistics: &EtcdStatistics, keys: usize) {
        self.operations = statistics.operations;
        self.unknown_outcomes = statistics.unknown_outcomes;
        self.engine.revisions = statistics.operations;
        self.max_configurations = statistics.hypotheses_max as u64;
        self.keys = keys as u64;
    }

    /// Whether something was wrong with the input, beside what it says.
    pub fn is_damaged(&self) -> bool {
        self.bad_line_count > 0 || self.truncated.is_some()
    }

    /// The exit code of a program that checks: 0 ok, 1 violation, 2 bad input, 3 unknown.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Violation(_) => 1,
            Verdict::Ok | Verdict::Unknown(_) if self.is_damaged() => 2,
            Verdict::Ok => 0,
            Verdict::Unknown(_) => 3,
        }
    }

    /// The report as JUnit's XML: one test case named `name`.
    pub fn to_junit(&self, name: &str) -> String {
        let seconds = self.elapsed_ms as f64 / 1e3;
        let (failures, errors, body) = match &self.verdict {
            Verdict::Ok => (0, 0, String::new()),
            Verdict::Violation(violation) => (
                1,
                0,
                element("failure", "violation", &violation.to_string()),
            ),
            Verdict::Unknown(undecided) => {
                (0, 1, element("error", "unknown", &undecided.to_string()))
            }
        };
        let name = escape(name);
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuites>\n  <testsuite name=\"veridical check\" tests=\"1\" \
             failures=\"{failures}\" errors=\"{errors}\" time=\"{seconds:.3}\">\n    \
             <testcase name=\"{name}\" classname=\"{}\" time=\"{seconds:.3}\">{body}</testcase>\n  \
             </testsuite>\n</testsuites>\n",
            escape(&self.model)
        )
    }
}

fn element(name: &str, message: &str, text: &str) -> String {
    format!("<{name} message=\"{message}\">{}</{name}>", escape(text))
}

/// Text for XML: markup escaped, characters that XML cannot hold left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(character),
            other if other.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

/// The most memory this process had so far, in bytes; 0 where the system does not tell.
pub fn peak_memory_bytes() -> u64 {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return 0;
    };
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}
