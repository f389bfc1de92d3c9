//! What a check ends with.

use std::fmt;

use serde::{Deserialize, Serialize};
use veridical_histories::OperationId;

use crate::abridged::abridged;

/// The answer about a history, or about one key of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every part was checked, and a legal order exists.
    Ok,
    /// No legal order exists.
    Violation(Box<Violation>),
    /// A limit was reached before the answer was known, or a part of the history could not be
    /// read. Never reported as `Ok`.
    Unknown(Undecided),
}

impl Verdict {
    /// Whether it is [`Verdict::Ok`].
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok)
    }

    /// The violation, if it is one.
    pub fn violation(&self) -> Option<&Violation> {
        match self {
            Self::Violation(violation) => Some(violation),
            Self::Ok | Self::Unknown(_) => None,
        }
    }

    /// The more severe of two verdicts about parts of one history: a violation before an
    /// undecided part before `Ok`. Of two equally severe ones it is `self`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Violation(_), _) | (_, Self::Ok) => self,
            (_, Self::Violation(_)) | (Self::Ok, _) => other,
            (Self::Unknown(_), Self::Unknown(_)) => self,
        }
    }

    /// The word used in machine-readable reports.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Violation(_) => "violation",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Violation(violation) => violation.fmt(f),
            Self::Unknown(undecided) => undecided.fmt(f),
        }
    }
}

/// What a violation breaks. The names appear in machine-readable reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ViolationKind {
    /// No order of the operations explains the results.
    NotLinearizable,
    /// An operation saw less than what had been acknowledged before it began.
    StaleRevision,
    /// Two writes claim one revision.
    DuplicateRevision,
    /// A revision exists that nothing can have written.
    UnexplainedRevision,
    /// A result is not what the replay gives at that revision.
    WrongResult,
    /// A refusal that no state allows.
    WrongRefusal,
    /// A lease ended before its time, or outlived its end.
    Lease,
    /// A compacted revision was read, or a live one refused.
    Compaction,
    /// A member showed a session an older state than before.
    SessionWentBack,
    /// A watch left out, repeated, reordered, split or invented something.
    Watch,
}

/// One operation of a witness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessOperation {
    /// Which operation; `None` for a record of a side stream or an event of the store's
    /// own, such as the expiry of a lease.
    pub op: Option<OperationId>,
    /// The client session.
    pub client: u64,
    /// When it was called, in nanoseconds.
    pub call_ns: u64,
    /// When it returned, in nanoseconds; `None` while its outcome is unknown.
    pub return_ns: Option<u64>,
    /// What it asked and what it got.
    pub text: String,
}

impl fmt::Display for WitnessOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.op {
            Some(op) => write!(f, "{op} ")?,
            None => f.write_str("- ")?,
        }
        write!(f, "client {} [{} ns, ", self.client, self.call_ns)?;
        match self.return_ns {
            Some(return_ns) => write!(f, "{return_ns} ns]")?,
            None => f.write_str("∞)")?,
        }
        write!(f, " {}", self.text)
    }
}

/// Proof that a history is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// What is broken.
    pub kind: ViolationKind,
    /// The key concerned, printable, where it is one key.
    pub key: Option<String>,
    /// The index of the event at which it was detected, counted from 0.
    pub event: u64,
    /// What was expected.
    pub expected: String,
    /// What was seen instead.
    pub got: String,
    /// The operations that contradict each other.
    pub operations: Vec<WitnessOperation>,
}

/// Long keys and values are abridged; the fields have them whole.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "violation ({:?}) at event {}", self.kind, self.event)?;
        if let Some(key) = &self.key {
            write!(f, ", key {}", abridged(key))?;
        }
        write!(
            f,
            "\n  expected: {}\n  got:      {}",
            abridged(&self.expected),
            abridged(&self.got)
        )?;
        self.operations
            .iter()
            .try_for_each(|operation| write!(f, "\n  {}", abridged(&operation.to_string())))
    }
}

/// Why no answer was found: the limits that can be reached, and what a file can lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// More configurations than allowed would have to be kept.
    Configurations,
    /// A read or a watch went further back than versions are kept.
    Retention,
    /// More memory than allowed would be needed.
    Memory,
    /// Something that it may depend on could not be read.
    Unreadable,
    /// The file ends before the history does.
    Truncated,
}

/// A part of a history for which no answer was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undecided {
    /// The limit that was reached, or what was missing.
    pub cause: Cause,
    /// The key concerned, printable, where it is one key.
    pub key: Option<String>,
    /// The first and the last event of the part, counted from 0.
    pub events: (u64, u64),
    /// One sentence for a person.
    pub text: String,
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown ({:?}), events {} to {}",
            self.cause, self.events.0, self.events.1
        )?;
        if let Some(key) = &self.key {
            write!(f, ", key {}", abridged(key))?;
        }
        write!(f, ": {}", abridged(&self.text))
    }
}

/// Why a stream of events is not a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event}: {reason}")]
pub struct Malformed {
    /// The index of the event, counted from 0.
    pub event: u64,
    /// What is wrong with it.
    pub reason: MalformedReason,
}

/// What is wrong with an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedReason {
    /// An operation was called twice.
    #[error("operation {0} is called a second time")]
    CalledTwice(OperationId),
    /// An operation ended that is not open.
    #[error("operation {0} ends, but it is not open")]
    NotOpen(OperationId),
    /// The model has no such operation.
    #[error("operation {0} is none of this model: is it another one?")]
    InputOfOtherKind(OperationId),
    /// The output does not belong to the input.
    #[error("operation {0} has an answer of another kind than its request")]
    OutputOfOtherKind(OperationId),
    /// A watch was created twice.
    #[error("watch {0} is created a second time")]
    WatchCreatedTwice(u64),
    /// A response came on a watch that does not exist.
    #[error("a response on watch {0}, which does not exist")]
    NoSuchWatch(u64),
}

/// Why an online checker refuses an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The history is wrong from this event on.
    #[error("{0}")]
    Violation(Box<Violation>),
    /// The stream is not a history.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}
