//! A run as the viewer has it: members and client hosts as lanes, frames as parts of messages,
//! terms as epochs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use veridical_timeline as shown;
use veridical_timeline::{Emphasis, KeyId, KindId, LaneId, StateField, Timeline, TrackId};

use super::View;
use super::faults::{class, describe, processes};
use super::frames::MEMBER_PREFIX;
use super::operations::{Ending, ShownOperation, operations};
use super::recording::{Fate, Frame, Message, Recording, StateChange, Turn};
use crate::sessions::client_of;

/// Operations that are shown at most: the last ones.
const OPERATIONS_MAX: usize = 100_000;

/// Log lines of a process that are shown at most: its last ones.
const LOG_LINES_MAX: usize = 4_000;

/// Groups of frames by how much they tell; the quiet ones come after them.
const GROUPS: [&str; 8] = [
    "election",
    "snapshot",
    "replication",
    "forward",
    "client",
    "watch",
    "read",
    "lease",
];
const QUIET_GROUPS: [&str; 2] = ["heartbeat", "connection"];

/// Classes of faults in the order of their rows.
const FAULT_CLASSES: [&str; 6] = ["partition", "network", "crash", "pause", "clock", "disk"];

/// The frame that only asks, or tells of commits, if it has no entries.
const APPEND: &str = "AppendEntries";
const EMPTY_APPEND: &str = "AppendEntries (empty)";
const ENTRIES: &str = "entries";

/// The timeline of a run.
pub fn timeline(view: &View<'_>) -> Timeline {
    let report = view.report;
    let mut timeline = Timeline::new(format!("seed {}: {}", report.seed, report.verdict.word()));
    timeline.heading.clone_from(&report.reproduce);
    timeline.verdict = report.verdict.word().to_owned();
    timeline.about = about(view);
    timeline.end_ns = view.recording.end_ns;
    timeline.left_out = left_out(view.recording);
    timeline.finding = finding(view);
    let lanes = lanes(view.recording, &mut timeline);
    let mut producer = Producer {
        view,
        timeline,
        lanes,
    };
    producer.messages();
    producer.lives();
    producer.faults();
    producer.states();
    producer.notes();
    producer.operations();
    producer.logs();
    producer.timeline
}

fn about(view: &View<'_>) -> Map<String, Value> {
    let report = view.report;
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
fn left_out(recording: &Recording) -> Vec<String> {
    let left_out = recording.left_out;
    [
        (left_out.messages, "the first", "messages"),
        (left_out.states, "the first", "changes of members' states"),
        (left_out.incidents, "the first", "incidents"),
        (left_out.lives, "the last", "starts and ends of processes"),
        (left_out.faults, "the last", "faults"),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, which, what)| format!("{which} {count} {what}"))
    .collect()
}

fn finding(view: &View<'_>) -> Option<shown::Finding> {
    let finding = view.report.finding.as_ref()?;
    let violation = finding.witness.as_ref();
    let operations = violation.iter().flat_map(|violation| &violation.operations);
    let witness = operations.map(|operation| shown::Witness {
        op: operation.op.map(|op| op.0),
        client: operation.client,
        call_ns: operation.call_ns,
        end_ns: operation.return_ns,
        text: operation.text.clone(),
    });
    let key = violation.and_then(|violation| violation.key.as_deref());
    Some(shown::Finding {
        name: finding.signature.clone(),
        text: finding.text.clone(),
        // As the keys of operations are shown.
        key: key.map(|key| key.trim_matches('"').to_owned()),
        expected: violation.map(|violation| violation.expected.clone()),
        got: violation.map(|violation| violation.got.clone()),
        witness: witness.collect(),
    })
}

/// A lane for each process: members are nodes, the others are hosts of clients.
fn lanes(recording: &Recording, timeline: &mut Timeline) -> Vec<LaneId> {
    let members: BTreeSet<u32> = recording.states.iter().map(|state| state.process).collect();
    let mut lanes = Vec::new();
    for (process, name) in (0..).zip(&recording.processes) {
        lanes.push(
            match members.contains(&process) || name.starts_with(MEMBER_PREFIX) {
                true => timeline.node(name),
                false => timeline.client_lane(name),
            },
        );
    }
    lanes
}

/// A timeline that is being filled in.
struct Producer<'a> {
    view: &'a View<'a>,
    timeline: Timeline,
    /// By process. A recording that was read may name processes that it does not have.
    lanes: Vec<LaneId>,
}

/// The kinds of frames as the timeline has them.
struct Kinds {
    all: Vec<KindId>,
    /// The kind of frames with entries, the place of their number, and the kind without.
    append: Option<(u16, usize, KindId)>,
}

impl Kinds {
    fn of(recording: &Recording, timeline: &mut Timeline) -> Self {
        let mut groups: Vec<_> = GROUPS.iter().map(|name| timeline.group(name)).collect();
        groups.extend(QUIET_GROUPS.iter().map(|name| timeline.quiet_group(name)));
        let names: Vec<&str> = GROUPS.into_iter().chain(QUIET_GROUPS).collect();
        let mut kinds = Self {
            all: Vec::new(),
            append: None,
        };
        for (number, kind) in (0..).zip(&recording.kinds) {
            let place = names.iter().position(|name| *name == kind.group);
            let group = groups[place.unwrap_or(groups.len() - 1)];
            let fields: Vec<&str> = kind.fields.iter().map(String::as_str).collect();
            kinds
                .all
                .push(timeline.message_kind(&kind.name, group, &fields));
            let entries = fields.iter().position(|field| *field == ENTRIES);
            if let Some(entries) = entries.filter(|_| kind.name == APPEND) {
                let empty = timeline.message_kind(EMPTY_APPEND, group, &fields);
                kinds.append = Some((number, entries, empty));
            }
        }
        kinds
    }

    fn kind(&self, frame: &Frame) -> Option<KindId> {
        match self.append {
            Some((append, entries, empty))
                if append == frame.kind && frame.numbers.get(entries) == Some(&0) =>
            {
                Some(empty)
            }
            Some(_) | None => self.all.get(frame.kind as usize).copied(),
        }
    }
}

impl Producer<'_> {
    fn lane(&self, process: u32) -> Option<LaneId> {
        self.lanes.get(process as usize).copied()
    }

    fn messages(&mut self) {
        let recording = self.view.recording;
        let kinds = Kinds::of(recording, &mut self.timeline);
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
            fate: match message.fate {
                Fate::Open => shown::Fate::Open,
                Fate::Delivered => shown::Fate::Delivered,
                Fate::Lost => shown::Fate::Lost,
                Fate::Cut => shown::Fate::Cut,
                Fate::Unheard => shown::Fate::Unheard,
            },
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
        let field = |name: &str, is_in_table, counter: Option<&str>| StateField {
            name: name.to_owned(),
            is_in_table,
            counter: counter.map(str::to_owned),
        };
        self.timeline.epoch_name = "term".to_owned();
        self.timeline.state_fields = vec![
            field("commit", true, Some("log")),
            field("applied", true, Some("log")),
            field("log", true, Some("log")),
            field("revision", false, None),
            field("uncommitted", false, Some("log queues")),
            field("unapplied", false, Some("log queues")),
        ];
        self.timeline.progress_field = Some(0);
        for change in &self.view.recording.states {
            if let Some(lane) = self.lane(change.process) {
                self.timeline.states.push(state(lane, change));
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

    fn operations(&mut self) {
        let mut all = operations(self.view.plan, self.view.history);
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
            let client = client_of(operation.session);
            let track = process.and_then(|process| tracks.get(&(process, client)));
            let Some(track) = track else {
                continue;
            };
            let names = operation.keys.iter();
            let keys = names.map(|name| self.timeline.key(name)).collect();
            self.timeline.operations.push(shown::Operation {
                op: operation.op,
                end_ns: operation.end_ns,
                ending: match operation.ending {
                    Ending::Open => shown::Ending::Open,
                    Ending::Done => shown::Ending::Done,
                    Ending::Refused => shown::Ending::Refused,
                    Ending::Unknown => shown::Ending::Unknown,
                    Ending::Failed => shown::Ending::NoEffect,
                },
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
                Some((process, client_of(operation.session)))
            })
            .collect();
        let mut tracks = BTreeMap::new();
        for (process, client) in clients {
            let Some(lane) = self.lane(process) else {
                continue;
            };
            let label = match recording.processes[process as usize].as_str() {
                "probe" => "writes".to_owned(),
                name if name.starts_with("watcher") => "watch".to_owned(),
                _ => format!("client {client}"),
            };
            tracks.insert((process, client), self.timeline.track(lane, &label));
        }
        tracks
    }

    /// The member that gave the answer which was called last of those in the witness.
    fn answerer(&self, all: &[ShownOperation]) -> Option<LaneId> {
        let finding = self.timeline.finding.as_ref()?;
        let last = finding.witness.iter().max_by_key(|w| w.call_ns)?;
        let operation = all
            .iter()
            .find(|shown| shown.op == last.op && shown.call_ns == last.call_ns)?;
        let (_, member) = operation.text.rsplit_once(" from member ")?;
        let process = format!("{MEMBER_PREFIX}{member}");
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

fn state(lane: LaneId, change: &StateChange) -> shown::State {
    let state = &change.state;
    let emphasis = match state.role.as_str() {
        "leader" => Emphasis::High,
        role if role.contains("candidate") => Emphasis::Changing,
        _ => Emphasis::Low,
    };
    let leader = state.leader.filter(|_| emphasis != Emphasis::High);
    let values = [
        state.commit as i64,
        state.applied as i64,
        state.last as i64,
        state.revision,
        state.last.saturating_sub(state.commit) as i64,
        state.commit.saturating_sub(state.applied) as i64,
    ];
    shown::State {
        lane,
        at_ns: change.at_ns,
        role: state.role.clone(),
        epoch: state.term,
        emphasis,
        detail: leader.map_or_else(String::new, |leader| format!("of {leader}")),
        values: values.to_vec(),
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
