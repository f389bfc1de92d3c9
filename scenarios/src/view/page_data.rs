//! The data of the page: columns of numbers, times as differences, so that a hundred
//! thousand messages stay a few megabytes. Times are ns since the start of the run, those
//! of log lines µs.

use serde::Serialize;
use std::collections::BTreeMap;

use super::operations::operations;
use super::{Recording, View};
use crate::sessions::client_of;
use veridical_harness::artefact::Logs;
use veridical_harness::view::{
    Ending, Fate, FrameKind, Message, ShownOperation, Turn, class, describe, processes,
};

/// Operations on the page at most: the last ones.
pub const PAGE_OPERATIONS_MAX: usize = 100_000;

/// Log lines of a process on the page at most: its last ones.
pub const PAGE_LOG_LINES_MAX: usize = 4_000;

/// All of it.
#[derive(Serialize)]
pub struct PageData<'a> {
    reproduce: &'a str,
    scenario: &'a str,
    seed: u64,
    planted: Option<&'a str>,
    digest: &'a str,
    verdict: &'static str,
    end: u64,
    finding: Option<FindingData<'a>>,
    processes: &'a [String],
    kinds: &'a [FrameKind],
    keys: Vec<String>,
    messages: MessageColumns,
    frames: FrameColumns,
    lives: Vec<(u64, u32, &'static str)>,
    faults: Vec<FaultData>,
    states: StateColumns<'a>,
    incidents: Vec<(u64, u32, &'a str)>,
    operations: OperationColumns,
    logs: BTreeMap<&'a str, LogData<'a>>,
    missing: Vec<String>,
}

#[derive(Serialize)]
struct FindingData<'a> {
    signature: &'a str,
    text: &'a str,
    key: Option<&'a str>,
    expected: Option<&'a str>,
    got: Option<&'a str>,
    witness: Vec<WitnessData<'a>>,
}

#[derive(Serialize)]
struct WitnessData<'a> {
    op: Option<u64>,
    session: u64,
    call: u64,
    end: Option<u64>,
    text: &'a str,
}

#[derive(Default, Serialize)]
struct MessageColumns {
    /// Since the message before.
    sent: Vec<u64>,
    /// How long it was under way; −1 if its fate is open.
    flight: Vec<i64>,
    from: Vec<u32>,
    to: Vec<u32>,
    /// 0 open, 1 delivered, 2 lost, 3 cut, 4 unheard.
    fate: Vec<u8>,
    /// 1 a copy, 2 corrupt.
    flags: Vec<u8>,
    bytes: Vec<u64>,
    /// How many frames of it are in the columns of frames.
    frames: Vec<usize>,
    /// How many are not.
    more: Vec<u32>,
}

#[derive(Default, Serialize)]
struct FrameColumns {
    kind: Vec<u16>,
    /// As many for each frame as its kind has fields.
    numbers: Vec<u64>,
    key_count: Vec<usize>,
    keys: Vec<u32>,
}

#[derive(Serialize)]
struct FaultData {
    id: u64,
    at: u64,
    /// −1 for a fault of a moment.
    end: i64,
    class: &'static str,
    name: &'static str,
    text: String,
    whom: Vec<u32>,
}

#[derive(Default, Serialize)]
struct StateColumns<'a> {
    t: Vec<u64>,
    process: Vec<u32>,
    role: Vec<&'a str>,
    term: Vec<u64>,
    leader: Vec<u64>,
    commit: Vec<u64>,
    applied: Vec<u64>,
    last: Vec<u64>,
    revision: Vec<i64>,
}

#[derive(Default, Serialize)]
struct OperationColumns {
    op: Vec<i64>,
    session: Vec<u64>,
    client: Vec<u64>,
    process: Vec<i64>,
    call: Vec<u64>,
    /// −1 if it did not end.
    end: Vec<i64>,
    /// 0 open, 1 done, 2 refused, 3 unknown, 4 without effect.
    ending: Vec<u8>,
    read: Vec<u8>,
    witness: Vec<u8>,
    keys: Vec<Vec<u32>>,
    text: Vec<String>,
}

#[derive(Default, Serialize)]
struct LogData<'a> {
    missing: u64,
    t: Vec<u64>,
    text: Vec<&'a str>,
}

impl<'a> PageData<'a> {
    /// The data of a view.
    pub fn new(view: &View<'a>) -> Self {
        let recording = view.recording;
        let mut missing = missing(recording);
        let mut keys = Keys::of(recording);
        let mut shown = operations(view.plan, view.history);
        let too_many = shown.len().saturating_sub(PAGE_OPERATIONS_MAX);
        if too_many > 0 {
            shown.drain(..too_many);
            missing.push(format!("the first {too_many} operations"));
        }
        let witness = witness(view);
        let operations = operation_columns(shown, &witness, recording, &mut keys);
        let (messages, frames) = message_columns(recording);
        Self {
            reproduce: &view.report.reproduce,
            scenario: &view.report.scenario,
            seed: view.report.seed,
            planted: view.report.planted.as_deref(),
            digest: &view.report.digest,
            verdict: view.report.verdict.word(),
            end: recording.end_ns,
            finding: finding(view, witness),
            processes: &recording.processes,
            kinds: &recording.kinds,
            keys: keys.all,
            messages,
            frames,
            lives: lives(recording),
            faults: faults(recording),
            states: states(recording),
            incidents: recording
                .incidents
                .iter()
                .map(|incident| (incident.at_ns, incident.process, incident.text.as_str()))
                .collect(),
            operations,
            logs: logs(view.logs, &mut missing),
            missing,
        }
    }
}

/// What a recording does not hold, in words.
fn missing(recording: &Recording) -> Vec<String> {
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

fn witness<'a>(view: &View<'a>) -> Vec<WitnessData<'a>> {
    let finding = view.report.finding.as_ref();
    let violation = finding.and_then(|finding| finding.witness.as_ref());
    violation.map_or_else(Vec::new, |violation| {
        let operations = violation.operations.iter();
        operations
            .map(|operation| WitnessData {
                op: operation.op.map(|op| op.0),
                session: operation.client,
                call: operation.call_ns,
                end: operation.return_ns,
                text: &operation.text,
            })
            .collect()
    })
}

fn finding<'a>(view: &View<'a>, witness: Vec<WitnessData<'a>>) -> Option<FindingData<'a>> {
    let finding = view.report.finding.as_ref()?;
    let violation = finding.witness.as_ref();
    Some(FindingData {
        signature: &finding.signature,
        text: &finding.text,
        key: violation.and_then(|violation| violation.key.as_deref()),
        expected: violation.map(|violation| violation.expected.as_str()),
        got: violation.map(|violation| violation.got.as_str()),
        witness,
    })
}

fn message_columns(recording: &Recording) -> (MessageColumns, FrameColumns) {
    let (mut columns, mut frames) = (MessageColumns::default(), FrameColumns::default());
    let mut messages: Vec<&Message> = recording.messages.iter().collect();
    // A copy is recorded when it arrives.
    messages.sort_by_key(|message| message.sent_ns);
    let mut before_ns = 0;
    for message in messages {
        columns.sent.push(message.sent_ns - before_ns);
        before_ns = message.sent_ns;
        columns.flight.push(message.ended_ns.map_or(-1, |ended_ns| {
            ended_ns.saturating_sub(message.sent_ns) as i64
        }));
        columns.from.push(message.from);
        columns.to.push(message.to);
        columns.fate.push(match message.fate {
            Fate::Open => 0,
            Fate::Delivered => 1,
            Fate::Lost => 2,
            Fate::Cut => 3,
            Fate::Unheard => 4,
        });
        let flags = u8::from(message.copy) | u8::from(message.corrupt) << 1;
        columns.flags.push(flags);
        columns.bytes.push(message.bytes);
        columns.frames.push(message.frames.len());
        columns.more.push(message.more_frames);
        for frame in &message.frames {
            frames.kind.push(frame.kind);
            frames.numbers.extend(&frame.numbers);
            frames.key_count.push(frame.keys.len());
            frames.keys.extend(&frame.keys);
        }
    }
    (columns, frames)
}

/// The word for a turn of a life.
pub const fn turn(turn: Turn) -> &'static str {
    match turn {
        Turn::Started => "started",
        Turn::Exited => "exited",
        Turn::Panicked => "panicked",
        Turn::PowerLost => "lost power",
        Turn::Killed => "killed",
        Turn::Paused => "paused",
        Turn::Resumed => "resumed",
    }
}

fn lives(recording: &Recording) -> Vec<(u64, u32, &'static str)> {
    let lives = recording.lives.iter();
    lives
        .map(|life| (life.at_ns, life.process, turn(life.turn)))
        .collect()
}

fn faults(recording: &Recording) -> Vec<FaultData> {
    let faults = recording.faults.iter();
    faults
        .map(|injected| FaultData {
            id: injected.id,
            at: injected.at_ns,
            end: injected
                .end_ns(recording.end_ns)
                .map_or(-1, |end| end as i64),
            class: class(&injected.fault),
            name: injected.fault.name(),
            text: describe(&injected.fault, &recording.processes),
            whom: processes(&injected.fault).into_iter().collect(),
        })
        .collect()
}

fn states(recording: &Recording) -> StateColumns<'_> {
    let mut columns = StateColumns::default();
    for change in &recording.states {
        let state = &change.state;
        columns.t.push(change.at_ns);
        columns.process.push(change.process);
        columns.role.push(&state.role);
        columns.term.push(state.term);
        columns.leader.push(state.leader.unwrap_or(0));
        columns.commit.push(state.commit);
        columns.applied.push(state.applied);
        columns.last.push(state.last);
        columns.revision.push(state.revision);
    }
    columns
}

fn operation_columns(
    shown: Vec<ShownOperation>,
    witness: &[WitnessData<'_>],
    recording: &Recording,
    keys: &mut Keys,
) -> OperationColumns {
    let mut columns = OperationColumns::default();
    for operation in shown {
        let is_witness = witness.iter().any(|witness| {
            witness.op.is_some() && witness.op == operation.op
                || witness.op.is_none()
                    && operation.op.is_none()
                    && witness.session == operation.session
                    && witness.call == operation.call_ns
        });
        let process = recording.process(&operation.process);
        columns.op.push(operation.op.map_or(-1, |op| op as i64));
        columns.session.push(operation.session);
        columns.client.push(client_of(operation.session));
        columns.process.push(process.map_or(-1, i64::from));
        columns.call.push(operation.call_ns);
        columns
            .end
            .push(operation.end_ns.map_or(-1, |end| end as i64));
        columns.ending.push(match operation.ending {
            Ending::Open => 0,
            Ending::Done => 1,
            Ending::Refused => 2,
            Ending::Unknown => 3,
            Ending::Failed => 4,
        });
        columns.read.push(operation.is_read.into());
        columns.witness.push(is_witness.into());
        let numbers = operation.keys.into_iter().map(|key| keys.number(key));
        columns.keys.push(numbers.collect());
        columns.text.push(operation.text);
    }
    columns
}

/// The time of a log line in µs, and the rest of it.
fn split_line(line: &str) -> Option<(u64, &str)> {
    let (seconds, text) = line.trim_start().split_once(' ')?;
    let seconds: f64 = seconds.parse().ok()?;
    Some(((seconds * 1e6).round() as u64, text))
}

fn logs<'a>(logs: &'a Logs, missing: &mut Vec<String>) -> BTreeMap<&'a str, LogData<'a>> {
    let mut data = BTreeMap::new();
    for (process, (lines, dropped)) in logs {
        let first = lines.len().saturating_sub(PAGE_LOG_LINES_MAX);
        let left_out = dropped + first as u64;
        if left_out > 0 {
            missing.push(format!("the first {left_out} log lines of {process}"));
        }
        let mut log = LogData {
            missing: left_out,
            ..LogData::default()
        };
        for line in &lines[first..] {
            // A line of several lines goes on without a time.
            let at = log.t.last().copied().unwrap_or(0);
            let (at, text) = split_line(line).unwrap_or((at, line));
            log.t.push(at);
            log.text.push(text);
        }
        data.insert(process.as_str(), log);
    }
    data
}

/// Keys by number, each once.
struct Keys {
    all: Vec<String>,
    numbers: BTreeMap<String, u32>,
}

impl Keys {
    fn of(recording: &Recording) -> Self {
        let all = recording.keys.clone();
        let numbers = all.iter().cloned().zip(0..).collect();
        Self { all, numbers }
    }

    fn number(&mut self, key: String) -> u32 {
        let next = self.all.len() as u32;
        *self.numbers.entry(key).or_insert_with_key(|key| {
            self.all.push(key.clone());
            next
        })
    }
}
