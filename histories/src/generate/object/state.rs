//! What an object holds, and what it answers.

use std::collections::{BTreeSet, VecDeque};

use super::ObjectKind;
use crate::object::{Action, Answer, Value};

/// What nobody writes, adds, or puts in.
pub(super) const NEVER_ADDED: i64 = -2;
/// Elements of a set that are asked for.
pub(super) const ADDED_LATELY: usize = 16;

#[derive(Clone, Debug)]
pub(super) enum Object {
    /// 0 is nil; registers, locks, counters.
    Number(i64),
    Text(String),
    Members {
        members: BTreeSet<i64>,
        /// What was added lately, whether or not it is there.
        added: VecDeque<i64>,
    },
    Sequence(VecDeque<i64>),
}

impl Object {
    pub fn new(kind: ObjectKind) -> Self {
        match kind {
            ObjectKind::KvAppend => Self::Text(String::new()),
            ObjectKind::Set => Self::Members {
                members: BTreeSet::new(),
                added: VecDeque::new(),
            },
            ObjectKind::Queue | ObjectKind::Stack | ObjectKind::ListAppend => {
                Self::Sequence(VecDeque::new())
            }
            _ => Self::Number(0),
        }
    }

    /// The number of a register, lock or counter.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Carries out what is no transaction.
    pub fn apply(&mut self, kind: ObjectKind, action: &Action) -> Answer {
        match self {
            Self::Number(number) => match (kind, action) {
                (ObjectKind::Counter, Action::Read) => Answer::Value(Value::Int(*number)),
                _ => apply_number(number, action),
            },
            Self::Text(text) => match action {
                Action::Append(Value::Text(more)) => {
                    text.push_str(more);
                    Answer::Done
                }
                _ => Answer::Value(Value::text(text)),
            },
            Self::Members { members, .. } => match action {
                Action::Add(Value::Int(member)) => Answer::Applied(members.insert(*member)),
                Action::Remove(Value::Int(member)) => Answer::Applied(members.remove(member)),
                Action::Contains(Value::Int(member)) => Answer::Applied(members.contains(member)),
                _ => Answer::Value(Value::list(members.iter().map(|m| Value::Int(*m)))),
            },
            Self::Sequence(sequence) => match action {
                Action::Enqueue(Value::Int(value))
                | Action::Push(Value::Int(value))
                | Action::Append(Value::Int(value)) => {
                    sequence.push_back(*value);
                    Answer::Done
                }
                Action::Dequeue => {
                    Answer::Value(sequence.pop_front().map_or(Value::Nil, Value::Int))
                }
                Action::Pop => Answer::Value(sequence.pop_back().map_or(Value::Nil, Value::Int)),
                _ => Answer::Value(Value::list(sequence.iter().map(|v| Value::Int(*v)))),
            },
        }
    }
}

pub(super) fn number_value(number: i64) -> Value {
    if number == 0 {
        Value::Nil
    } else {
        Value::Int(number)
    }
}

fn apply_number(number: &mut i64, action: &Action) -> Answer {
    let of = |value: &Value| match value {
        Value::Int(number) => *number,
        _ => 0,
    };
    match action {
        Action::Read => Answer::Value(number_value(*number)),
        Action::Write(value) => {
            *number = of(value);
            Answer::Done
        }
        Action::Cas { from, to } => {
            let applies = *number == of(from);
            if applies {
                *number = of(to);
            }
            Answer::Applied(applies)
        }
        Action::Delete => {
            *number = 0;
            Answer::Done
        }
        Action::Acquire(owner) => {
            let applies = *number == 0;
            if applies {
                *number = of(owner);
            }
            Answer::Applied(applies)
        }
        Action::Release(owner) => {
            let applies = *number == of(owner);
            if applies {
                *number = 0;
            }
            Answer::Applied(applies)
        }
        Action::Increment(by) => {
            *number += by;
            Answer::Value(Value::Int(*number))
        }
        _ => unreachable!("numbers are not asked this"),
    }
}
