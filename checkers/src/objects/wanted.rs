//! What open operations want.

use veridical_histories::object::{Action, Value};

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
            other => Self::Other(Box::new(other.clone())),
        }
    }

    /// The value it writes, if it takes effect.
    pub fn written(&self) -> Option<&Value> {
        match self {
            Self::Write(value) => Some(value),
            Self::Delete => Some(&NIL),
            Self::Other(action) => match &**action {
                Action::Cas { to, .. } => Some(to),
                _ => None,
            },
            Self::Read => None,
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

#[derive(Clone, Debug)]
pub(super) struct OpenCall {
    pub slot: u32,
    pub call_event: u64,
    pub client: u64,
    pub call_ns: u64,
    pub wanted: Wanted,
}
