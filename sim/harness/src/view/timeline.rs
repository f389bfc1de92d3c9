//! A run as the viewer has it: processes as lanes, frames as parts of messages, and what the
//! scenario's [`Style`] says of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::{Map, Value, json};
use veridical_checkers::abridged;
use veridical_timeline as shown;
use veridical_timeline::{KeyId, KindId, LaneId, Timeline, TrackId};

use super::View;
use super::faults::{class, describe, processes};
use crate::recording::{Frame, Message, Recording, Turn};
use crate::report::RunReport;
use crate::scenario::Scenario;
use crate::style::{ShownOperation, Style};

/// Operations that are shown at most: the last ones.
const OPERATIONS_MAX: usize = 100_000;

/// Log lines of a process that are shown at most: its last ones.
const LOG_LINES_MAX: usize = 4_000;

/// Classes of faults in the order of their rows.
const FAULT_CLASSES: [&str; 6] = ["partition", "network", "crash", "pause", "clock", "disk"];

impl<S: Scenario> View<'_, S> {
    /// Writes the page: one HTML file that needs nothing else.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_page(&self, scenario: &S, sink: &mut impl io::Write) -> io::Result<()> {
        timeline(scenario, self).write_page(sink)
    }

    /// Writes the trace, as Chrome's trace event format has it (Google's "Trace Event Format",
    /// JSON object form), which Perfetto opens.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_trace(&self, scenario: &S, sink: &mut impl io::Write) -> io::Result<()> {
        timeline(scenario, self).write_chrome_trace(sink)
    }
}

/// The timeline of a run.
fn timeline<S: Scenario>(scenario: &S, view: &View<'_, S>) -> Timeline {
    let report = view.report;
    let style = scenario.style();
    let mut timeline = Timeline::new(format!("seed {}: {}", report.seed, report.verdict.word()));
    timeline.heading.clone_from(&report.reproduce);
    timeline.verdict = report.verdict.word().to_owned();
    timeline.about = about(view.report);
    timeline.end_ns = view.recording.end_ns;
    timeline.left_out = left_out(view.recording);
    timeline.finding = finding(view.report);
    let lanes = lanes(view.recording, &style, &mut timeline);
    let mut producer = Producer {
        view,
        style,
        timeline,
        lanes,
    };
    producer.messages();
    producer.lives();
    producer.faults();
    producer.states();
    producer.notes();
    producer.operations(scenario.operations(view.plan, view.history));
    producer.logs();
    producer.timeline
}

fn about(report: &RunReport) -> Map<String, Value> {
    let about = [
        ("reproduce", json!(report.reproduce)),
        ("scenario", json!(report.scenario)),
        ("seed", json!(report.seed)),
        ("planted", json!(report.planted)),
        ("digest", json!(report.digest)),
    ];
    let about = about.into_iter();
    about
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// What a recording does not hold, in words.
fn left_out<S>(recording: &Recording<S>) -> Vec<String> {
    let left_out = recording.left_out;
    [
        (left_out.messages, "the first", "messages"),
        (left_out.states, "the first", "changes of processes' states"),
        (left_out.incidents, "the first", "incidents"),
        (left_out.lives, "the last", "starts and ends of processes"),
        (left_out.faults, "the last", "faults"),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, which, what)| format!("{which} {count} {what}"))
    .collect()
}

fn finding(report: &RunReport) -> Option<shown::Finding> {
    let finding = report.finding.as_ref()?;
    let violation = finding.witness.as_ref();
    let operations = violation.iter().flat_map(|violation| &violation.operations);
    let witness = operations.map(|operation| shown::Witness {
        op: operation.op.map(|op| op.0),
        client: operation.client,
        call_ns: operation.call_ns,
        end_ns: operation.return_ns,
        text: abridged(&operation.text).into_owned(),
    });
    let key = violation.and_then(|violation| violation.key.as_deref());
    Some(shown::Finding {
        name: finding.signature.clone(),
        text: abridged(&finding.text).into_owned(),
        // As the keys of operations are shown.
        key: key.map(|key| key.trim_matches('"').to_owned()),
        expected: violation.map(|violation| abridged(&violation.expected).into_owned()),
        got: violation.map(|violation| abridged(&violation.got).into_owned()),
        witness: witness.collect(),
    })
}

/// A lane for each process: the system's are nodes, the others are hosts of clients.
fn lanes<S>(recording: &Recording<S>, style: &Style<S>, timeline: &mut Timeline) -> Vec<LaneId> {
    let followed: BTreeSet<u32> = recording.states.iter().map(|state| state.process).collect();
    let mut lanes = Vec::new();
    for (process, name) in (0..).zip(&recording.processes) {
        lanes.push(match followed.contains(&process) || (style.is_node)(name) {
            true => timeline.node(name),
            false => timeline.client_lane(name),
        });
    }
    lanes
}

/// A timeline that is being filled in.
struct Producer<'a, S: Scenario> {
    view: &'a View<'a, S>,
    style: Style<S::State>,
    timeline: Timeline,
    /// By process. A recording that was read may name processes that it does not have.
    lanes: Vec<LaneId>,
}

/// The kinds of frames as the timeline has them.
struct Kinds {
    all: Vec<KindId>,
    /// The kind of frames that may be empty, the place of the number that says so, and what
    /// they are shown as then.
    empty_variant: Option<(u16, usize, KindId)>,
}

impl Kinds {
    fn of<S>(recording: &Recording<S>, style: &Style<S>, timeline: &mut Timeline) -> Self {
        let mut names: Vec<&str> = style.groups.to_vec();
        let mut groups: Vec<_> = names.iter().map(|name| timeline.group(name)).collect();
        for name in style.quiet_groups {
            names.push(name);
            groups.push(timeline.quiet_group(name));
        }
        // What belongs to no group that the style names gets one of its own.
        for kind in &recording.kinds {
            if !names.contains(&kind.group.as_str()) {
                names.push(&kind.group);
                groups.push(timeline.group(&kind.group));
            }
        }
        let mut kinds = Self {
            all: Vec::new(),
            empty_variant: None,
        };
        for (number, kind) in (0..).zip(&recording.kinds) {
            let place = names.iter().position(|name| *name == kind.group);
            let group = groups[place.expect("each group has a place")];
            let fields: Vec<&str> = kind.fields.iter().map(String::as_str).collect();
            kinds
                .all
                .push(timeline.message_kind(&kind.name, group, &fields));
            if let Some(variant) = style.empty_variant.filter(|one| one.kind == kind.name)
                && let Some(field) = fields.iter().position(|field| *field == variant.field)
            {
                let empty = timeline.message_kind(variant.name, group, &fields);
                kinds.empty_variant = Some((number, field, empty));
            }
        }
        kinds
    }

    fn kind(&self, frame: &Frame) -> Option<KindId> {
        match self.empty_variant {
            Some((kind, field, empty))
                if kind == frame.kind && frame.numbers.get(field) == Some(&0) =>
            {
                Some(empty)
            }
            Some(_) | None => self.all.get(frame.kind as usize).copied(),
        }
    }
}

impl<S: Scenario> Producer<'_, S> {
    fn lane(&self, process: u32) -> Option<LaneId> {
        self.lanes.get(process as usize).copied()
    }

    fn messages(&mut self) {
        let recording = self.view.recording;
        let kinds = Kinds::of(recording, &self.style, &mut self.timeline);
        let keys = recording.keys.iter();
        let keys: Vec<KeyId> = keys.map(|key| self.timeline.key(key)).collect();
        for message in &recording.messages {
            if let Some(message) = self.message(message, &kinds, &keys) {
                self.timeline.messages.push(message);
            }
        }
    }

    fn message(&self, message: &Message, kinds: &Kinds, keys: &[KeyId]) -> Option<shown::Message> {
        let (from, to) = (self.lane(message.from)?, self.lane(message.to)?);
        let key = |key: &u32| keys.get(*key as usize).copied();
        let parts = message.frames.iter().filter_map(|frame| {
            Some(shown::Part {
                kind: kinds.kind(frame)?,
                numbers: frame.numbers.clone(),
                keys: frame.keys.iter().filter_map(key).collect(),
            })
        });
        Some(shown::Message {
            ended_ns: message.ended_ns,
            fate: message.fate,
            is_copy: message.copy,
            is_corrupt: message.corrupt,
            bytes: message.bytes,
            parts: parts.collect(),
            more_parts: message.more_frames,
            ..shown::Message::new(from, to, message.sent_ns)
        })
    }

    fn lives(&mut self) {
        for life in &self.view.recording.lives {
            let turn = match life.turn {
                Turn::Started => shown::Turn::Started,
                Turn::Paused => shown::Turn::Paused,
                Turn::Resumed => shown::Turn::Resumed,
                Turn::Exited => shown::Turn::Ended("exited".to_owned()),
                Turn::Panicked => shown::Turn::Ended("panicked".to_owned()),
                Turn::PowerLost => shown::Turn::Ended("lost power".to_owned()),
                Turn::Killed => shown::Turn::Ended("killed".to_owned()),
            };
            if let Some(lane) = self.lane(life.process) {
                let event = shown::LifeEvent::new(lane, life.at_ns, turn);
                self.timeline.lives.push(event);
            }
        }
    }

    fn faults(&mut self) {
        let recording = self.view.recording;
        for name in FAULT_CLASSES {
            self.timeline.fault_class(name);
        }
        for injected in &recording.faults {
            let fault = &injected.fault;
            let concerned = processes(fault).into_iter();
            let lanes: Vec<LaneId> = concerned.filter_map(|process| self.lane(process)).collect();
            let text = describe(fault, &recording.processes);
            let parameters = serde_json::to_value(fault).expect("a fault has a JSON form");
            let class = self.timeline.fault_class(class(fault));
            self.timeline.faults.push(shown::Fault {
                id: injected.id,
                end_ns: injected.end_ns(recording.end_ns),
                parameters,
                ..shown::Fault::moment(class, injected.at_ns, text, &lanes)
            });
        }
    }

    fn states(&mut self) {
        let Some(states) = &self.style.states else {
            return;
        };
        states.epoch_name.clone_into(&mut self.timeline.epoch_name);
        self.timeline.state_fields.clone_from(&states.fields);
        self.timeline.progress_field = states.progress_field;
        for change in &self.view.recording.states {
            if let Some(lane) = self.lane(change.process) {
                let state = (states.state)(lane, change.at_ns, &change.state);
                self.timeline.states.push(state);
            }
        }
    }

    fn notes(&mut self) {
        for incident in &self.view.recording.incidents {
            if let Some(lane) = self.lane(incident.process) {
                let note = shown::Note::new(lane, incident.at_ns, incident.text.as_str());
                self.timeline.notes.push(note);
            }
        }
    }

    fn operations(&mut self, mut all: Vec<ShownOperation>) {
        let too_many = all.len().saturating_sub(OPERATIONS_MAX);
        if too_many > 0 {
            all.drain(..too_many);
            let missing = format!("the first {too_many} operations");
            self.timeline.left_out.push(missing);
        }
        self.timeline.log_of = self.answerer(&all);
        let tracks = self.tracks(&all);
        for operation in all {
            let process = self.view.recording.process(&operation.process);
            let client = (self.style.client_of)(operation.session);
            let track = process.and_then(|process| tracks.get(&(process, client)));
            let Some(track) = track else {
                continue;
            };
            let names = operation.keys.iter();
            let keys = names.map(|name| self.timeline.key(name)).collect();
            self.timeline.operations.push(shown::Operation {
                op: operation.op,
                end_ns: operation.end_ns,
                ending: operation.ending,
                is_read: operation.is_read,
                keys,
                ..shown::Operation::new(
                    *track,
                    operation.session,
                    operation.call_ns,
                    operation.text,
                )
            });
        }
    }

    /// A track for each client, in the order of their numbers.
    fn tracks(&mut self, all: &[ShownOperation]) -> BTreeMap<(u32, u64), TrackId> {
        let recording = self.view.recording;
        let clients: BTreeSet<(u32, u64)> = all
            .iter()
            .filter_map(|operation| {
                let process = recording.process(&operation.process)?;
                Some((process, (self.style.client_of)(operation.session)))
            })
            .collect();
        let mut tracks = BTreeMap::new();
        for (process, client) in clients {
            let Some(lane) = self.lane(process) else {
                continue;
            };
            let label = (self.style.track_label)(&recording.processes[process as usize], client);
            tracks.insert((process, client), self.timeline.track(lane, &label));
        }
        tracks
    }

    /// The node that gave the answer which was called last of those in the witness.
    fn answerer(&self, all: &[ShownOperation]) -> Option<LaneId> {
        let finding = self.timeline.finding.as_ref()?;
        let last = finding.witness.iter().max_by_key(|w| w.call_ns)?;
        let operation = all
            .iter()
            .find(|shown| shown.op == last.op && shown.call_ns == last.call_ns)?;
        let process = (self.style.answered_by)(operation)?;
        self.lane(self.view.recording.process(&process)?)
    }

    fn logs(&mut self) {
        for (process, (lines, dropped)) in self.view.logs {
            let process_number = self.view.recording.process(process);
            let Some(lane) = process_number.and_then(|process| self.lane(process)) else {
                continue;
            };
            let first = lines.len().saturating_sub(LOG_LINES_MAX);
            let left_out = dropped + first as u64;
            if left_out > 0 {
                let missing = format!("the first {left_out} log lines of {process}");
                self.timeline.left_out.push(missing);
            }
            let mut shown_lines: Vec<shown::LogLine> = Vec::new();
            for line in &lines[first..] {
                // A line of several lines goes on without a time.
                let last_ns = shown_lines.last().map_or(0, |line| line.at_ns);
                let (at_ns, text) = split_line(line).unwrap_or((last_ns, line));
                let text = without_crate_prefix(text);
                shown_lines.push(shown::LogLine { at_ns, text });
            }
            self.timeline.logs.push(shown::Log {
                lane,
                left_out,
                lines: shown_lines,
            });
        }
    }
}

/// The time of a log line in ns, and the rest of it.
fn split_line(line: &str) -> Option<(u64, &str)> {
    let (seconds, text) = line.trim_start().split_once(' ')?;
    let seconds: f64 = seconds.parse().ok()?;
    Some(((seconds * 1e6).round() as u64 * 1_000, text))
}

/// A log line whose module is named without the prefix that all our crates have.
fn without_crate_prefix(text: &str) -> String {
    let level = text.split_whitespace().next().unwrap_or_default();
    let rest = text[level.len()..].trim_start();
    match rest.strip_prefix("veridical_") {
        Some(rest) if !text.starts_with(' ') => format!("{level} {rest}"),
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_a_time_a_level_and_a_text_without_our_prefix() {
        assert_eq!(
            split_line(" 1.000250 INFO x"),
            Some((1_000_250_000, "INFO x"))
        );
        assert_eq!(split_line("and so on"), None);
        let shown = without_crate_prefix("INFO  veridical_node::driver leads");
        assert_eq!(shown, "INFO node::driver leads");
        assert_eq!(without_crate_prefix("  indented text"), "  indented text");
    }
}
