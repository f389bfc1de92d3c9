//! The vocabulary of single objects: registers, maps, sets, queues, stacks, locks,
//! counters and lists, each object under a key.

mod kind;

use std::fmt;
use std::sync::Arc;

use serde::de::{self, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub use kind::ObjectKind;

/// A key, or something stored. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Nothing.
    #[default]
    Nil,
    /// A number.
    Int(i64),
    /// Text.
    Text(Arc<str>),
    /// Several values, in order.
    List(Arc<[Value]>),
}

impl Value {
    /// Text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// Several values, in order.
    pub fn list(values: impl IntoIterator<Item = Value>) -> Self {
        Self::List(values.into_iter().collect())
    }

    /// Bytes that it takes elsewhere, estimated.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Nil | Self::Int(_) => 0,
            Self::Text(text) => text.len(),
            Self::List(values) => {
                let inner: usize = values.iter().map(Self::heap_bytes).sum();
                size_of_val::<[Self]>(values) + inner
            }
        }
    }

    /// Whether it is [`Value::Nil`].
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// Reads a [`Value`] without keeping a copy, and says what it found instead.
struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, an integer of 64 bits, a string or a list of these")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        let value = i64::try_from(number).map(Value::Int);
        value.map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Value::list(list))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Int(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(values) => {
                f.write_str("[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i > 0 { " " } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// What is asked of one object, or of several at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Reads the whole object.
    Read,
    /// Replaces its value.
    Write(Value),
    /// Replaces `from` by `to`, if it is `from` that is there.
    Cas {
        /// What has to be there.
        from: Value,
        /// What replaces it.
        to: Value,
    },
    /// Makes it nil.
    Delete,
    /// Appends text to text, or an element to a list.
    Append(Value),
    /// Adds an element to a set.
    Add(Value),
    /// Takes an element out of a set.
    Remove(Value),
    /// Asks whether an element is in a set.
    Contains(Value),
    /// Puts an element at the end of a queue.
    Enqueue(Value),
    /// Takes the element at the front of a queue.
    Dequeue,
    /// Puts an element onto a stack.
    Push(Value),
    /// Takes the top element of a stack.
    Pop,
    /// Takes a lock for an owner.
    Acquire(Value),
    /// Gives a lock back.
    Release(Value),
    /// Adds to a counter.
    Increment(i64),
    /// Appends records to a log, on conditions.
    LogAppend(Arc<LogAppend>),
    /// Asks for the end of a log.
    CheckTail,
    /// Several reads, writes and appends at once; its key is nil.
    Txn(Vec<TxnStep>),
}

/// An append to a log of records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogAppend {
    /// How many records.
    pub records: u64,
    /// A hash of each record's body, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub record_hashes: Vec<u64>,
    /// The log's fencing token from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_fencing_token: Option<String>,
    /// Refuse, unless this is the log's fencing token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fencing_token: Option<String>,
    /// Refuse, unless the log ends here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub match_seq_num: Option<u64>,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TxnStep {
    /// The object.
    pub key: Value,
    /// `Read`, `Write` or `Append`.
    pub action: Action,
}

/// A request to one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The object that is asked.
    #[serde(default, skip_serializing_if = "Value::is_nil")]
    pub key: Value,
    /// What is asked.
    #[serde(rename = "do")]
    pub action: Action,
}

impl Action {
    /// Bytes that its values take, estimated.
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Write(value) | Self::Append(value) | Self::Add(value) | Self::Remove(value) => {
                value.heap_bytes()
            }
            Self::Contains(value) | Self::Enqueue(value) | Self::Push(value) => value.heap_bytes(),
            Self::Acquire(owner) | Self::Release(owner) => owner.heap_bytes(),
            Self::Cas { from, to } => from.heap_bytes() + to.heap_bytes(),
            Self::LogAppend(append) => size_of_val::<[u64]>(&append.record_hashes),
            Self::Txn(steps) => {
                let step_bytes = |step: &TxnStep| step.key.heap_bytes() + step.action.heap_bytes();
                size_of_val::<[TxnStep]>(steps) + steps.iter().map(step_bytes).sum::<usize>()
            }
            Self::Read | Self::Delete | Self::Dequeue | Self::Pop => 0,
            Self::Increment(_) | Self::CheckTail => 0,
        }
    }
}

impl Request {
    /// Bytes that its values take, estimated.
    pub fn heap_bytes(&self) -> usize {
        self.key.heap_bytes() + self.action.heap_bytes()
    }
}

impl Answer {
    /// Bytes that its values take, estimated.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.heap_bytes(),
            Self::Txn(answers) => answers.iter().map(Self::heap_bytes).sum(),
            Self::Done | Self::Applied(_) => 0,
        }
    }
}

/// An answer of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done; there is nothing to tell.
    Done,
    /// What was read or taken. Nil where there was nothing.
    Value(Value),
    /// Whether it took effect, or whether it is so.
    Applied(bool),
    /// One answer for each step of a transaction.
    Txn(Vec<Answer>),
}

/// An event of a history of objects.
pub type ObjectEvent = crate::Event<Request, Answer>;

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("read"),
            Self::Write(value) => write!(f, "write {value}"),
            Self::Cas { from, to } => write!(f, "cas {from} → {to}"),
            Self::Delete => f.write_str("delete"),
            Self::Append(value) => write!(f, "append {value}"),
            Self::Add(value) => write!(f, "add {value}"),
            Self::Remove(value) => write!(f, "remove {value}"),
            Self::Contains(value) => write!(f, "contains {value}"),
            Self::Enqueue(value) => write!(f, "enqueue {value}"),
            Self::Dequeue => f.write_str("dequeue"),
            Self::Push(value) => write!(f, "push {value}"),
            Self::Pop => f.write_str("pop"),
            Self::Acquire(owner) => write!(f, "acquire for {owner}"),
            Self::Release(owner) => write!(f, "release for {owner}"),
            Self::Increment(by) => write!(f, "increment by {by}"),
            Self::LogAppend(append) => write!(f, "append {} records", append.records),
            Self::CheckTail => f.write_str("check tail"),
            Self::Txn(steps) => {
                f.write_str("txn (")?;
                for (i, step) in steps.iter().enumerate() {
                    write!(
                        f,
                        "{}{} {}",
                        if i > 0 { "; " } else { "" },
                        step.key,
                        step.action
                    )?;
                }
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_nil() {
            self.action.fmt(f)
        } else {
            write!(f, "{}: {}", self.key, self.action)
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Value(value) => value.fmt(f),
            Self::Applied(applied) => applied.fmt(f),
            Self::Txn(answers) => {
                f.write_str("(")?;
                for (i, answer) in answers.iter().enumerate() {
                    write!(f, "{}{answer}", if i > 0 { "; " } else { "" })?;
                }
                f.write_str(")")
            }
        }
    }
}
