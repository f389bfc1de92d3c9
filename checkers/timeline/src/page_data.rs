//! The data of the page, as JSON that its script reads.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::columns::{
    MessageColumns, OperationColumns, PartColumns, StateColumns, messages, operations, states,
};
use crate::{Timeline, Turn};

/// All of it.
#[derive(Serialize)]
pub(crate) struct PageData<'a> {
    title: &'a str,
    heading: &'a str,
    verdict: &'a str,
    about: &'a Map<String, Value>,
    /// As text: the times of clocks are too large for numbers of JavaScript.
    origin: String,
    end: u64,
    finding: Option<FindingData<'a>>,
    lanes: Vec<LaneData<'a>>,
    tracks: Vec<TrackData<'a>>,
    groups: Vec<GroupData<'a>>,
    kinds: Vec<KindData<'a>>,
    keys: &'a [String],
    texts: Vec<String>,
    messages: MessageColumns,
    parts: PartColumns,
    /// When, whose, which turn (0 started, 1 paused, 2 resumed, 3 ended), in which words.
    lives: Vec<(u64, u32, u8, &'a str)>,
    fault_classes: &'a [String],
    faults: Vec<FaultData<'a>>,
    epoch: &'a str,
    fields: Vec<FieldData<'a>>,
    /// −1 if there is none.
    progress: i64,
    states: StateColumns<'a>,
    /// When, whose, what.
    notes: Vec<(u64, u32, &'a str)>,
    operations: OperationColumns,
    logs: BTreeMap<u32, LogData<'a>>,
    log_of: i64,
    left_out: &'a [String],
}

#[derive(Serialize)]
struct FindingData<'a> {
    name: &'a str,
    text: &'a str,
    key: Option<&'a str>,
    expected: Option<&'a str>,
    got: Option<&'a str>,
    witness: Vec<WitnessData<'a>>,
}

#[derive(Serialize)]
struct WitnessData<'a> {
    op: Option<u64>,
    client: u64,
    call: u64,
    end: Option<u64>,
    text: &'a str,
}

#[derive(Serialize)]
struct LaneData<'a> {
    name: &'a str,
    node: bool,
}

#[derive(Serialize)]
struct TrackData<'a> {
    lane: u32,
    label: &'a str,
}

#[derive(Serialize)]
struct GroupData<'a> {
    name: &'a str,
    quiet: bool,
}

#[derive(Serialize)]
struct KindData<'a> {
    name: &'a str,
    group: u32,
    fields: &'a [String],
}

#[derive(Serialize)]
struct FieldData<'a> {
    name: &'a str,
    table: bool,
}

#[derive(Serialize)]
struct FaultData<'a> {
    id: u64,
    at: u64,
    /// −1 for a fault of a moment.
    end: i64,
    class: u32,
    text: &'a str,
    whom: Vec<u32>,
}

#[derive(Serialize)]
struct LogData<'a> {
    missing: u64,
    t: Vec<u64>,
    text: Vec<&'a str>,
}

impl<'a> PageData<'a> {
    /// The data of a timeline.
    pub(crate) fn new(timeline: &'a Timeline) -> Self {
        let (messages, parts) = messages(timeline);
        let (operations, texts) = operations(timeline);
        let heading = match timeline.heading.is_empty() {
            true => &timeline.title,
            false => &timeline.heading,
        };
        Self {
            title: &timeline.title,
            heading,
            verdict: &timeline.verdict,
            about: &timeline.about,
            origin: timeline.origin_ns.to_string(),
            end: timeline.last_ns().saturating_sub(timeline.origin_ns),
            finding: finding(timeline),
            lanes: lanes(timeline),
            tracks: tracks(timeline),
            groups: groups(timeline),
            kinds: kinds(timeline),
            keys: timeline.keys.all(),
            texts,
            messages,
            parts,
            lives: lives(timeline),
            fault_classes: timeline.fault_classes.all(),
            faults: faults(timeline),
            epoch: &timeline.epoch_name,
            fields: fields(timeline),
            progress: timeline.progress_field.map_or(-1, |field| field as i64),
            states: states(timeline),
            notes: notes(timeline),
            operations,
            logs: logs(timeline),
            log_of: timeline.log_of.map_or(-1, |lane| lane.0.into()),
            left_out: &timeline.left_out,
        }
    }
}

fn finding(timeline: &Timeline) -> Option<FindingData<'_>> {
    let finding = timeline.finding.as_ref()?;
    let since = |at_ns: u64| at_ns.saturating_sub(timeline.origin_ns);
    let witness = finding.witness.iter().map(|witness| WitnessData {
        op: witness.op,
        client: witness.client,
        call: since(witness.call_ns),
        end: witness.end_ns.map(since),
        text: &witness.text,
    });
    Some(FindingData {
        name: &finding.name,
        text: &finding.text,
        key: finding.key.as_deref(),
        expected: finding.expected.as_deref(),
        got: finding.got.as_deref(),
        witness: witness.collect(),
    })
}

fn lanes(timeline: &Timeline) -> Vec<LaneData<'_>> {
    let lanes = timeline.lanes.iter();
    let data = lanes.map(|lane| LaneData {
        name: &lane.name,
        node: lane.is_node,
    });
    data.collect()
}

fn tracks(timeline: &Timeline) -> Vec<TrackData<'_>> {
    let tracks = timeline.tracks.iter();
    let data = tracks.map(|track| TrackData {
        lane: track.lane.0,
        label: &track.label,
    });
    data.collect()
}

fn groups(timeline: &Timeline) -> Vec<GroupData<'_>> {
    let groups = timeline.groups.iter();
    let data = groups.map(|group| GroupData {
        name: &group.name,
        quiet: group.is_quiet,
    });
    data.collect()
}

fn kinds(timeline: &Timeline) -> Vec<KindData<'_>> {
    let kinds = timeline.kinds.iter();
    let data = kinds.map(|kind| KindData {
        name: &kind.name,
        group: kind.group.0,
        fields: &kind.fields,
    });
    data.collect()
}

fn fields(timeline: &Timeline) -> Vec<FieldData<'_>> {
    let fields = timeline.state_fields.iter();
    let data = fields.map(|field| FieldData {
        name: &field.name,
        table: field.is_in_table,
    });
    data.collect()
}

fn lives(timeline: &Timeline) -> Vec<(u64, u32, u8, &str)> {
    let lives = timeline.lives.iter();
    let data = lives.map(|life| {
        let (turn, words) = match &life.turn {
            Turn::Started => (0, "started"),
            Turn::Paused => (1, "paused"),
            Turn::Resumed => (2, "resumed"),
            Turn::Ended(words) => (3, words.as_str()),
        };
        let at_ns = life.at_ns.saturating_sub(timeline.origin_ns);
        (at_ns, life.lane.0, turn, words)
    });
    data.collect()
}

fn faults(timeline: &Timeline) -> Vec<FaultData<'_>> {
    let since = |at_ns: u64| at_ns.saturating_sub(timeline.origin_ns);
    let faults = timeline.faults.iter();
    let data = faults.map(|fault| FaultData {
        id: fault.id,
        at: since(fault.at_ns),
        end: fault.end_ns.map_or(-1, |end_ns| since(end_ns) as i64),
        class: fault.class.0,
        text: &fault.text,
        whom: fault.lanes.iter().map(|lane| lane.0).collect(),
    });
    data.collect()
}

fn notes(timeline: &Timeline) -> Vec<(u64, u32, &str)> {
    let notes = timeline.notes.iter();
    let data = notes.map(|note| {
        let at_ns = note.at_ns.saturating_sub(timeline.origin_ns);
        (at_ns, note.lane.0, note.text.as_str())
    });
    data.collect()
}

fn logs(timeline: &Timeline) -> BTreeMap<u32, LogData<'_>> {
    let logs = timeline.logs.iter();
    let data = logs.map(|log| {
        let times = log.lines.iter().map(|line| line.at_ns);
        let data = LogData {
            missing: log.left_out,
            t: times
                .map(|at_ns| at_ns.saturating_sub(timeline.origin_ns))
                .collect(),
            text: log.lines.iter().map(|line| line.text.as_str()).collect(),
        };
        (log.lane.0, data)
    });
    data.collect()
}
