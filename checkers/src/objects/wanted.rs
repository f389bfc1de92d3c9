//! What open operations want, as short as possible.

use veridical_histories::object::{Action, Answer, Value};

use crate::models::ObjectModel;

/// What an open operation wants, as short as possible.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Read,
    Write(Value),
    Delete,
    Other(Box<Action>),
}

/// What a deletion writes.
static NIL: Value = Value::Nil;

impl Wanted {
    pub fn of(action: &Action) -> Self {
        match action {
            Action::Read => Self::Read,
            Action::Write(value) => Self::Write(value.clone()),
            Action::Delete => Self::Delete,
            Action::Cas { .. }
            | Action::Append(_)
            | Action::Add(_)
            | Action::Remove(_)
            | Action::Contains(_)
            | Action::Enqueue(_)
            | Action::Dequeue
            | Action::Push(_)
            | Action::Pop
            | Action::Acquire(_)
            | Action::Release(_)
            | Action::Increment(_)
            | Action::LogAppend(_)
            | Action::CheckTail
            | Action::Txn(_) => Self::Other(Box::new(action.clone())),
        }
    }

    /// The value it writes, if it takes effect.
    pub fn written(&self) -> Option<&Value> {
        match self {
            Self::Write(value) => Some(value),
            Self::Delete => Some(&NIL),
            Self::Other(action) => written_by(action),
            Self::Read => None,
        }
    }

    /// Whether it can be answered by `answer` at all.
    pub fn is_answered_by(&self, model: &ObjectModel, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Read, Answer::Value(value)) => model.can_be_read(value),
            (Self::Read, Answer::Done | Answer::Applied(_) | Answer::Txn(_)) => false,
            (Self::Write(_), answer) => matches!(answer, Answer::Done | Answer::Applied(true)),
            (Self::Delete, answer) => matches!(answer, Answer::Done | Answer::Applied(_)),
            (Self::Other(action), answer) => model.can_answer(action, answer),
        }
    }

    pub fn action(&self) -> Action {
        match self {
            Self::Read => Action::Read,
            Self::Write(value) => Action::Write(value.clone()),
            Self::Delete => Action::Delete,
            Self::Other(action) => (**action).clone(),
        }
    }
}

/// The value that a register holds once `action` took effect, where that does not depend on
/// what it held.
fn written_by(action: &Action) -> Option<&Value> {
    use Action as A;
    match action {
        A::Write(value) | A::Cas { to: value, .. } => Some(value),
        A::Delete => Some(&NIL),
        A::Read | A::Append(_) | A::Add(_) | A::Remove(_) | A::Contains(_) | A::Enqueue(_) => None,
        A::Dequeue | A::Push(_) | A::Pop | A::Acquire(_) | A::Release(_) | A::Increment(_) => None,
        A::LogAppend(_) | A::CheckTail | A::Txn(_) => None,
    }
}

/// A call that has not ended.
#[derive(Clone, Debug)]
pub(super) struct OpenCall {
    pub slot: u32,
    pub call_event: u64,
    pub client: u64,
    pub call_ns: u64,
    pub wanted: Wanted,
}
