//! The columns of the page's data: numbers by column, so that a hundred thousand messages stay
//! a few megabytes. Times are ns since [`Timeline::origin_ns`](crate::Timeline::origin_ns).

use std::collections::BTreeSet;

use serde::Serialize;

use crate::names::Names;
use crate::{Emphasis, Ending, Fate, Finding, Message, Timeline};

/// Messages, in the order of their sending.
#[derive(Default, Serialize)]
pub(crate) struct MessageColumns {
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
    /// How many parts of it are in the columns of parts.
    parts: Vec<usize>,
    /// How many are not.
    more: Vec<u32>,
}

/// What messages carry, one message after the other.
#[derive(Default, Serialize)]
pub(crate) struct PartColumns {
    kind: Vec<u32>,
    /// As many for each part as its kind has fields.
    numbers: Vec<u64>,
    key_count: Vec<usize>,
    keys: Vec<u32>,
}

/// The columns of all messages and of what they carry.
pub(crate) fn messages(timeline: &Timeline) -> (MessageColumns, PartColumns) {
    let (mut columns, mut parts) = (MessageColumns::default(), PartColumns::default());
    let mut messages: Vec<&Message> = timeline.messages.iter().collect();
    messages.sort_by_key(|message| message.sent_ns);
    let mut before_ns = timeline.origin_ns;
    for message in messages {
        columns.sent.push(message.sent_ns.saturating_sub(before_ns));
        before_ns = message.sent_ns;
        columns.flight.push(message.ended_ns.map_or(-1, |ended_ns| {
            ended_ns.saturating_sub(message.sent_ns) as i64
        }));
        columns.from.push(message.from.0);
        columns.to.push(message.to.0);
        columns.fate.push(match message.fate {
            Fate::Open => 0,
            Fate::Delivered => 1,
            Fate::Lost => 2,
            Fate::Cut => 3,
            Fate::Unheard => 4,
        });
        let flags = u8::from(message.is_copy) | u8::from(message.is_corrupt) << 1;
        columns.flags.push(flags);
        columns.bytes.push(message.bytes);
        columns.parts.push(message.parts.len());
        columns.more.push(message.more_parts);
        for part in &message.parts {
            let fields = timeline.kinds[part.kind.0 as usize].fields.len();
            let numbers = part.numbers.iter().copied().chain(std::iter::repeat(0));
            parts.kind.push(part.kind.0);
            parts.numbers.extend(numbers.take(fields));
            parts.key_count.push(part.keys.len());
            parts.keys.extend(part.keys.iter().map(|key| key.0));
        }
    }
    (columns, parts)
}

/// What nodes were.
#[derive(Default, Serialize)]
pub(crate) struct StateColumns<'a> {
    t: Vec<u64>,
    lane: Vec<u32>,
    role: Vec<&'a str>,
    epoch: Vec<u64>,
    /// 0 low, 1 changing, 2 high.
    emphasis: Vec<u8>,
    detail: Vec<&'a str>,
    /// As many for each state as there are fields.
    values: Vec<i64>,
}

/// The columns of all states.
pub(crate) fn states(timeline: &Timeline) -> StateColumns<'_> {
    let mut columns = StateColumns::default();
    for state in &timeline.states {
        columns
            .t
            .push(state.at_ns.saturating_sub(timeline.origin_ns));
        columns.lane.push(state.lane.0);
        columns.role.push(&state.role);
        columns.epoch.push(state.epoch);
        columns.emphasis.push(match state.emphasis {
            Emphasis::Low => 0,
            Emphasis::Changing => 1,
            Emphasis::High => 2,
        });
        columns.detail.push(&state.detail);
        let values = state.values.iter().copied().chain(std::iter::repeat(0));
        columns
            .values
            .extend(values.take(timeline.state_fields.len()));
    }
    columns
}

/// Operations, in the order of their calls.
#[derive(Default, Serialize)]
pub(crate) struct OperationColumns {
    /// −1 if it has none.
    op: Vec<i64>,
    client: Vec<u64>,
    track: Vec<u32>,
    call: Vec<u64>,
    /// −1 if it did not end, or nobody knows when.
    end: Vec<i64>,
    /// 0 open, 1 done, 2 refused, 3 unknown, 4 without effect.
    ending: Vec<u8>,
    read: Vec<u8>,
    witness: Vec<u8>,
    keys: Vec<Vec<u32>>,
    /// Into the texts.
    text: Vec<u32>,
    /// −1 if it is not known.
    point: Vec<i64>,
}

/// The columns of all operations, and their texts, each once.
pub(crate) fn operations(timeline: &Timeline) -> (OperationColumns, Vec<String>) {
    let since = |at_ns: u64| at_ns.saturating_sub(timeline.origin_ns);
    let known = |at_ns: Option<u64>| at_ns.map_or(-1, |at_ns| since(at_ns) as i64);
    let marked = Marked::of(timeline.finding.as_ref());
    let mut texts = Names::default();
    let mut columns = OperationColumns::default();
    let mut operations: Vec<_> = timeline.operations.iter().collect();
    operations.sort_by_key(|operation| operation.call_ns);
    for operation in operations {
        columns.op.push(operation.op.map_or(-1, |op| op as i64));
        columns.client.push(operation.client);
        columns.track.push(operation.track.0);
        columns.call.push(since(operation.call_ns));
        columns.end.push(known(operation.end_ns));
        columns.ending.push(match operation.ending {
            Ending::Open => 0,
            Ending::Done => 1,
            Ending::Refused => 2,
            Ending::Unknown => 3,
            Ending::NoEffect => 4,
        });
        columns.read.push(operation.is_read.into());
        let is_witness = match operation.op {
            Some(op) => marked.ops.contains(&op),
            None => marked
                .calls
                .contains(&(operation.client, operation.call_ns)),
        };
        columns.witness.push(is_witness.into());
        let keys = operation.keys.iter().map(|key| key.0);
        columns.keys.push(keys.collect());
        columns.text.push(texts.number(&operation.text));
        columns.point.push(known(operation.point_ns));
    }
    (columns, texts.all().to_vec())
}

/// The operations of the witness: by number, or by client and call.
#[derive(Default)]
struct Marked {
    ops: BTreeSet<u64>,
    calls: BTreeSet<(u64, u64)>,
}

impl Marked {
    fn of(finding: Option<&Finding>) -> Self {
        let mut marked = Self::default();
        for witness in finding.iter().flat_map(|finding| &finding.witness) {
            match witness.op {
                Some(op) => {
                    marked.ops.insert(op);
                }
                None => {
                    marked.calls.insert((witness.client, witness.call_ns));
                }
            }
        }
        marked
    }
}
