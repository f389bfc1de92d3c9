//! One thing that happened at one client.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Names one operation within a history. Unique for the whole history: the call and
/// the end of an operation carry the same number.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct OperationId(pub u64);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The note type of histories without side streams: it has no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoNote {}

/// One event. The order of events in a stream is the order in which they happened; a
/// call and a return with the same time are ordered call first (so that the two
/// operations count as concurrent).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event<I, O, N = NoNote> {
    /// When it happened, in nanoseconds since an origin of the history's own.
    #[serde(rename = "t")]
    pub time_ns: u64,
    /// The client session. A client that reconnects after losing its session is a new
    /// session and gets a new number.
    #[serde(rename = "c")]
    pub client: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind<I, O, N>,
}

/// The fields of an event as they are written: those of one kind of event, and no others.
#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    bound(deserialize = "I: Deserialize<'de>, O: Deserialize<'de>, N: Deserialize<'de>")
)]
struct Fields<I, O, N> {
    t: u64,
    c: u64,
    e: KindName,
    op: Option<OperationId>,
    #[serde(rename = "in")]
    input: Option<I>,
    #[serde(rename = "out")]
    output: Option<O>,
    note: Option<N>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindName {
    Call,
    Return,
    Unknown,
    Failed,
    Note,
}

impl<'de, I, O, N> Deserialize<'de> for Event<I, O, N>
where
    I: Deserialize<'de>,
    O: Deserialize<'de>,
    N: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields {
            t,
            c,
            e,
            op,
            input,
            output,
            note,
        } = Fields::deserialize(deserializer)?;
        let operation = || op.ok_or_else(|| D::Error::missing_field("op"));
        let (kind, is_alone) = match e {
            KindName::Call => {
                let input = input.ok_or_else(|| D::Error::missing_field("in"))?;
                let op = operation()?;
                (
                    EventKind::Call { op, input },
                    output.is_none() && note.is_none(),
                )
            }
            KindName::Return => {
                let is_alone = input.is_none() && note.is_none();
                let output = output.ok_or_else(|| D::Error::missing_field("out"))?;
                let op = operation()?;
                (EventKind::Return { op, output }, is_alone)
            }
            KindName::Unknown => {
                let is_alone = input.is_none() && output.is_none() && note.is_none();
                (EventKind::Unknown { op: operation()? }, is_alone)
            }
            KindName::Failed => {
                let is_alone = input.is_none() && output.is_none() && note.is_none();
                (EventKind::Failed { op: operation()? }, is_alone)
            }
            KindName::Note => {
                let is_alone = input.is_none() && output.is_none() && op.is_none();
                let note = note.ok_or_else(|| D::Error::missing_field("note"))?;
                (EventKind::Note { note }, is_alone)
            }
        };
        if !is_alone {
            return Err(D::Error::custom(
                "only the fields of one kind of event, found those of another",
            ));
        }
        Ok(Self {
            time_ns: t,
            client: c,
            kind,
        })
    }
}

/// What happened in an [`Event`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum EventKind<I, O, N = NoNote> {
    /// The operation was called, strictly before its request was sent.
    Call {
        /// The operation that is meant.
        op: OperationId,
        /// What was asked.
        #[serde(rename = "in")]
        input: I,
    },
    /// The operation returned with a known result, strictly after the response came in.
    Return {
        /// The operation that is meant.
        op: OperationId,
        /// What was answered.
        #[serde(rename = "out")]
        output: O,
    },
    /// The outcome is ambiguous (timeout, lost connection): the operation may take
    /// effect at any time after its call, once or never.
    Unknown {
        /// The operation that is meant.
        op: OperationId,
    },
    /// It is certain that the operation had no effect and saw nothing.
    Failed {
        /// The operation that is meant.
        op: OperationId,
    },
    /// A record of a side stream that is not an operation, such as a watch.
    Note {
        /// The record.
        note: N,
    },
}

impl<I, O, N> Event<I, O, N> {
    /// A call of `op`.
    pub fn call(time_ns: u64, client: u64, op: OperationId, input: I) -> Self {
        Self {
            time_ns,
            client,
            kind: EventKind::Call { op, input },
        }
    }

    /// A return of `op` with a known result.
    pub fn returned(time_ns: u64, client: u64, op: OperationId, output: O) -> Self {
        Self {
            time_ns,
            client,
            kind: EventKind::Return { op, output },
        }
    }

    /// The end of `op` with an ambiguous outcome.
    pub fn unknown(time_ns: u64, client: u64, op: OperationId) -> Self {
        Self {
            time_ns,
            client,
            kind: EventKind::Unknown { op },
        }
    }

    /// The end of `op`, which certainly had no effect.
    pub fn failed(time_ns: u64, client: u64, op: OperationId) -> Self {
        Self {
            time_ns,
            client,
            kind: EventKind::Failed { op },
        }
    }

    /// A record of a side stream.
    pub fn note(time_ns: u64, client: u64, note: N) -> Self {
        Self {
            time_ns,
            client,
            kind: EventKind::Note { note },
        }
    }

    /// The operation this event belongs to; `None` for a note.
    pub fn operation(&self) -> Option<OperationId> {
        match &self.kind {
            EventKind::Call { op, .. }
            | EventKind::Return { op, .. }
            | EventKind::Unknown { op }
            | EventKind::Failed { op } => Some(*op),
            EventKind::Note { .. } => None,
        }
    }

    /// Whether this event opens an operation.
    pub fn is_call(&self) -> bool {
        matches!(self.kind, EventKind::Call { .. })
    }
}
