//! Events of the object vocabulary as bytes.
//!
//! ```text
//! event   kind and action u8 | time difference | client | operation difference | body
//! ```
//!
//! The first byte holds the kind in its lower three bits and the action (of a call) or
//! the answer (of a return) in its upper five.

use std::sync::Arc;

use super::BlockState;
use super::cursor::{Cursor, put_signed, put_varint};
use crate::object::{Action, Answer, LogAppend, ObjectEvent, Request, TxnStep, Value};
use crate::{EventKind, OperationId};

/// How deep lists may nest.
const DEPTH_MAX: u32 = 32;

const CALL: u8 = 0;
const RETURN: u8 = 1;
const UNKNOWN: u8 = 2;
const FAILED: u8 = 3;

pub(super) fn encode(event: &ObjectEvent, state: &mut BlockState, block: &mut Vec<u8>) {
    let (kind, op) = match &event.kind {
        EventKind::Call { op, input } => (CALL | action_code(&input.action) << 3, op),
        EventKind::Return { op, output } => (RETURN | answer_code(output) << 3, op),
        EventKind::Unknown { op } => (UNKNOWN, op),
        EventKind::Failed { op } => (FAILED, op),
        EventKind::Note { note } => match *note {},
    };
    block.push(kind);
    put_signed(block, event.time_ns.wrapping_sub(state.time_ns) as i64);
    state.time_ns = event.time_ns;
    put_varint(block, event.client);
    put_signed(block, op.0.wrapping_sub(state.op) as i64);
    state.op = op.0;
    match &event.kind {
        EventKind::Call { input, .. } => {
            put_value(block, &input.key);
            put_action(block, &input.action);
        }
        EventKind::Return { output, .. } => put_answer(block, output),
        EventKind::Unknown { .. } | EventKind::Failed { .. } => {}
        EventKind::Note { note } => match *note {},
    }
}

#[inline(always)]
pub(super) fn decode(state: &mut BlockState, bytes: &mut Cursor<'_>) -> Option<ObjectEvent> {
    let kind = bytes.byte()?;
    state.time_ns = state.time_ns.wrapping_add(bytes.signed()? as u64);
    let client = bytes.varint()?;
    state.op = state.op.wrapping_add(bytes.signed()? as u64);
    let op = OperationId(state.op);
    let kind = match kind & 7 {
        CALL => {
            let key = value(bytes, 0)?;
            let action = action(kind >> 3, bytes)?;
            EventKind::Call {
                op,
                input: Request { key, action },
            }
        }
        RETURN => EventKind::Return {
            op,
            output: answer(kind >> 3, bytes)?,
        },
        UNKNOWN => EventKind::Unknown { op },
        FAILED => EventKind::Failed { op },
        _ => return None,
    };
    Some(ObjectEvent {
        time_ns: state.time_ns,
        client,
        kind,
    })
}

fn action_code(action: &Action) -> u8 {
    match action {
        Action::Read => 0,
        Action::Write(_) => 1,
        Action::Cas { .. } => 2,
        Action::Delete => 3,
        Action::Append(_) => 4,
        Action::Add(_) => 5,
        Action::Remove(_) => 6,
        Action::Contains(_) => 7,
        Action::Enqueue(_) => 8,
        Action::Dequeue => 9,
        Action::Push(_) => 10,
        Action::Pop => 11,
        Action::Acquire(_) => 12,
        Action::Release(_) => 13,
        Action::Increment(_) => 14,
        Action::Txn(_) => 15,
        Action::LogAppend(_) => 16,
        Action::CheckTail => 17,
    }
}

fn put_action(block: &mut Vec<u8>, action: &Action) {
    match action {
        Action::Read | Action::Delete | Action::Dequeue | Action::Pop | Action::CheckTail => {}
        Action::Write(value)
        | Action::Append(value)
        | Action::Add(value)
        | Action::Remove(value)
        | Action::Contains(value)
        | Action::Enqueue(value)
        | Action::Push(value)
        | Action::Acquire(value)
        | Action::Release(value) => put_value(block, value),
        Action::Cas { from, to } => {
            put_value(block, from);
            put_value(block, to);
        }
        Action::Increment(by) => put_signed(block, *by),
        Action::Txn(steps) => {
            put_varint(block, steps.len() as u64);
            for step in steps {
                put_value(block, &step.key);
                block.push(action_code(&step.action));
                put_action(block, &step.action);
            }
        }
        Action::LogAppend(append) => {
            // It is rare and long, so that its JSON form is as good as any.
            let json = serde_json::to_vec(append).expect("an append has a JSON form");
            put_varint(block, json.len() as u64);
            block.extend_from_slice(&json);
        }
    }
}

#[inline]
fn action(code: u8, bytes: &mut Cursor<'_>) -> Option<Action> {
    Some(match code {
        0 => Action::Read,
        1 => Action::Write(value(bytes, 0)?),
        2 => Action::Cas {
            from: value(bytes, 0)?,
            to: value(bytes, 0)?,
        },
        3 => Action::Delete,
        4 => Action::Append(value(bytes, 0)?),
        5 => Action::Add(value(bytes, 0)?),
        6 => Action::Remove(value(bytes, 0)?),
        7 => Action::Contains(value(bytes, 0)?),
        8 => Action::Enqueue(value(bytes, 0)?),
        9 => Action::Dequeue,
        10 => Action::Push(value(bytes, 0)?),
        11 => Action::Pop,
        12 => Action::Acquire(value(bytes, 0)?),
        13 => Action::Release(value(bytes, 0)?),
        14 => Action::Increment(bytes.signed()?),
        15 => {
            let count = bytes.varint()?;
            let mut steps = Vec::new();
            for _ in 0..count {
                let key = value(bytes, 0)?;
                let code = bytes.byte()?;
                // Transactions do not nest.
                let action = if code == 15 {
                    return None;
                } else {
                    action(code, bytes)?
                };
                steps.push(TxnStep { key, action });
            }
            Action::Txn(steps)
        }
        16 => {
            let length = usize::try_from(bytes.varint()?).ok()?;
            let append: LogAppend = serde_json::from_slice(bytes.take(length)?).ok()?;
            Action::LogAppend(Arc::new(append))
        }
        17 => Action::CheckTail,
        _ => return None,
    })
}

fn answer_code(answer: &Answer) -> u8 {
    match answer {
        Answer::Done => 0,
        Answer::Value(_) => 1,
        Answer::Applied(false) => 2,
        Answer::Applied(true) => 3,
        Answer::Txn(_) => 4,
    }
}

fn put_answer(block: &mut Vec<u8>, answer: &Answer) {
    match answer {
        Answer::Done | Answer::Applied(_) => {}
        Answer::Value(value) => put_value(block, value),
        Answer::Txn(answers) => {
            put_varint(block, answers.len() as u64);
            for answer in answers {
                block.push(answer_code(answer));
                put_answer(block, answer);
            }
        }
    }
}

#[inline(always)]
fn answer(code: u8, bytes: &mut Cursor<'_>) -> Option<Answer> {
    if code != 4 {
        return plain_answer(code, bytes);
    }
    let count = bytes.varint()?;
    let mut answers = Vec::new();
    for _ in 0..count {
        let code = bytes.byte()?;
        answers.push(plain_answer(code, bytes)?);
    }
    Some(Answer::Txn(answers))
}

/// Any answer but that of a transaction, which does not nest.
#[inline(always)]
fn plain_answer(code: u8, bytes: &mut Cursor<'_>) -> Option<Answer> {
    Some(match code {
        0 => Answer::Done,
        1 => Answer::Value(value(bytes, 0)?),
        2 => Answer::Applied(false),
        3 => Answer::Applied(true),
        _ => return None,
    })
}

fn put_value(block: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Nil => block.push(0),
        Value::Int(number) => {
            block.push(1);
            put_signed(block, *number);
        }
        Value::Text(text) => {
            block.push(2);
            put_varint(block, text.len() as u64);
            block.extend_from_slice(text.as_bytes());
        }
        Value::List(values) => {
            block.push(3);
            put_varint(block, values.len() as u64);
            values.iter().for_each(|value| put_value(block, value));
        }
    }
}

/// Numbers, which are most of what there is, without a call.
#[inline(always)]
fn value(bytes: &mut Cursor<'_>, depth: u32) -> Option<Value> {
    match bytes.byte()? {
        0 => Some(Value::Nil),
        1 => Some(Value::Int(bytes.signed()?)),
        kind => long_value(kind, bytes, depth),
    }
}

fn long_value(kind: u8, bytes: &mut Cursor<'_>, depth: u32) -> Option<Value> {
    Some(match kind {
        2 => {
            let length = usize::try_from(bytes.varint()?).ok()?;
            Value::text(std::str::from_utf8(bytes.take(length)?).ok()?)
        }
        3 if depth < DEPTH_MAX => {
            let count = bytes.varint()?;
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(value(bytes, depth + 1)?);
            }
            Value::list(values)
        }
        _ => return None,
    })
}
