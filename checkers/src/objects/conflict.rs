//! Conflicts that engine B found, told as violations.

use veridical_histories::object::Value;

use super::FIRST_TOKEN;
use crate::models::ObjectState;
use crate::verdict::{Violation, ViolationKind, WitnessOperation};
use crate::zones::{ClusterTrace, Conflict, Trace};

fn witness(value: &Value, trace: &Trace) -> WitnessOperation {
    WitnessOperation {
        // Operations of the checker's own making stand for forgotten ones.
        op: Some(trace.op).filter(|op| op.0 < FIRST_TOKEN),
        client: trace.client,
        call_ns: trace.call_ns,
        return_ns: trace.return_ns,
        text: if trace.is_write {
            format!("write {value}")
        } else if trace.is_refused {
            format!("refused to replace {value}")
        } else {
            format!("read → {value}")
        },
    }
}

/// The write, the earliest return and the latest call of a cluster, each once.
fn witnesses(value: &Value, trace: &ClusterTrace) -> Vec<WitnessOperation> {
    let mut seen = Vec::new();
    for trace in [trace.write, trace.earliest_return, trace.latest_call]
        .into_iter()
        .flatten()
    {
        if seen.iter().all(|known: &Trace| known.op != trace.op) {
            seen.push(trace);
        }
    }
    seen.iter().map(|trace| witness(value, trace)).collect()
}

pub(super) fn violation(conflict: &Conflict, key: &Value, event: u64) -> Violation {
    let (expected, got, operations) = match conflict {
        Conflict::Unwritten {
            value,
            reader,
            overwritten_by,
        } => {
            let (expected, mut operations) = match overwritten_by {
                Some((by, trace)) => (
                    format!("{by} or something later, for it was there before the read began"),
                    witnesses(by, trace),
                ),
                None => ("a value that somebody wrote".to_owned(), Vec::new()),
            };
            operations.push(witness(value, reader));
            (expected, format!("{value}"), operations)
        }
        Conflict::Interleaved {
            first: (a, a_trace),
            second: (b, b_trace),
        } => {
            let mut operations = witnesses(a, a_trace);
            operations.extend(witnesses(b, b_trace));
            (
                format!("{a} to be there in one piece, and {b} before or after it"),
                format!("{b} seen both before and after {a}"),
                operations,
            )
        }
        Conflict::ReadOfFailed { value, trace } => (
            format!("nobody to read {value}, for its write failed"),
            "a read of it".to_owned(),
            witnesses(value, trace),
        ),
        Conflict::Chain {
            first: (a, a_trace),
            second: (b, b_trace),
        } => {
            let mut operations = witnesses(a, a_trace);
            operations.extend(witnesses(b, b_trace));
            (
                format!("{a} to be replaced once, and not to be there after {b}"),
                format!("{b} comes after {a} by one replacement, and not by another"),
                operations,
            )
        }
        Conflict::Refused {
            value: (value, trace),
            refused,
        } => {
            let mut operations = witnesses(value, trace);
            operations.push(witness(value, refused));
            (
                format!("{value} to be replaced, for it was there all the time"),
                "a refusal".to_owned(),
                operations,
            )
        }
    };
    Violation {
        kind: ViolationKind::NotLinearizable,
        key: Some(key.to_string()),
        event,
        expected,
        got,
        operations,
    }
}

/// A state as a person reads it.
pub(super) fn describe_state(state: &ObjectState) -> String {
    match state {
        ObjectState::Value(value) => value.to_string(),
        ObjectState::Sequence(values) => Value::list(values.iter().cloned()).to_string(),
        ObjectState::Members(members) => Value::list(members.iter().cloned()).to_string(),
        ObjectState::Lists(lists) => {
            let lists = lists
                .iter()
                .map(|(key, list)| format!("{key}: {}", Value::list(list.iter().cloned())));
            lists.collect::<Vec<_>>().join(", ")
        }
        ObjectState::Log(log) => format!("a log of {} records", log.tail),
    }
}
