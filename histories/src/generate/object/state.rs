//! What an object holds, and what it answers.

use std::collections::{BTreeSet, VecDeque};

use crate::object::{Action, Answer, ObjectKind, Value};

/// What nobody writes, adds, or puts in.
pub(super) const NEVER_ADDED: i64 = -2;
/// Elements of a set that are asked for.
pub(super) const ADDED_LATELY: usize = 16;

#[derive(Clone, Debug)]
pub(super) enum Object {
    /// A register, a lock, a counter or the tail of a log; 0 is nil.
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
            ObjectKind::Register
            | ObjectKind::CasRegister
            | ObjectKind::Kv
            | ObjectKind::Lock
            | ObjectKind::Counter
            | ObjectKind::Log => Self::Number(0),
        }
    }

    /// The number of a register, a lock, a counter or a log.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) | Self::Members { .. } | Self::Sequence(_) => None,
        }
    }

    /// Carries out an action that is no transaction.
    pub fn apply(&mut self, kind: ObjectKind, action: &Action) -> Answer {
        match (self, action) {
            (Self::Number(number), Action::Read) if kind == ObjectKind::Counter => {
                Answer::Value(Value::Int(*number))
            }
            (Self::Number(number), action) => apply_number(number, action),
            (Self::Text(text), Action::Read) => Answer::Value(Value::text(text)),
            (Self::Text(text), Action::Append(Value::Text(more))) => {
                text.push_str(more);
                Answer::Done
            }
            (Self::Members { members, .. }, Action::Read) => {
                Answer::Value(Value::list(members.iter().map(|m| Value::Int(*m))))
            }
            (Self::Members { members, .. }, Action::Add(Value::Int(member))) => {
                Answer::Applied(members.insert(*member))
            }
            (Self::Members { members, .. }, Action::Remove(Value::Int(member))) => {
                Answer::Applied(members.remove(member))
            }
            (Self::Members { members, .. }, Action::Contains(Value::Int(member))) => {
                Answer::Applied(members.contains(member))
            }
            (
                Self::Sequence(sequence),
                Action::Enqueue(Value::Int(value))
                | Action::Push(Value::Int(value))
                | Action::Append(Value::Int(value)),
            ) => {
                sequence.push_back(*value);
                Answer::Done
            }
            (Self::Sequence(sequence), Action::Dequeue) => {
                Answer::Value(sequence.pop_front().map_or(Value::Nil, Value::Int))
            }
            (Self::Sequence(sequence), Action::Pop) => {
                Answer::Value(sequence.pop_back().map_or(Value::Nil, Value::Int))
            }
            (Self::Sequence(sequence), Action::Read) => {
                Answer::Value(Value::list(sequence.iter().map(|v| Value::Int(*v))))
            }
            (Self::Text(_) | Self::Members { .. } | Self::Sequence(_), action) => {
                unreachable!("no object of kind {kind} is asked for {action}")
            }
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
        Value::Nil | Value::Text(_) | Value::List(_) => 0,
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
        Action::LogAppend(append) => {
            *number += append.records as i64;
            Answer::Value(Value::Int(*number))
        }
        Action::CheckTail => Answer::Value(Value::Int(*number)),
        Action::Append(_)
        | Action::Add(_)
        | Action::Remove(_)
        | Action::Contains(_)
        | Action::Enqueue(_)
        | Action::Dequeue
        | Action::Push(_)
        | Action::Pop
        | Action::Txn(_) => unreachable!("no number is asked for {action}"),
    }
}
