//! Sequential specifications for the objects of [`veridical_histories::object`].

mod container;
mod log;
mod register;
mod txn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use veridical_histories::object::{Action, Answer, Request, Value};

use crate::model::Model;
pub use log::LogState;

/// Which object a history is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A value that is read and written.
    Register,
    /// The same with compare-and-swap.
    CasRegister,
    /// A map of such registers; deleting makes nil.
    Kv,
    /// A map of texts with append; they begin empty.
    KvAppend,
    /// A set: add, remove, contains, read.
    Set,
    /// A first-in-first-out queue.
    Queue,
    /// A last-in-first-out stack.
    Stack,
    /// A lock that one owner holds at a time.
    Lock,
    /// A number that is incremented and read.
    Counter,
    /// Lists to which transactions append.
    ListAppend,
    /// A log of records.
    Log,
}

impl ObjectKind {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Register,
        Self::CasRegister,
        Self::Kv,
        Self::KvAppend,
        Self::Set,
        Self::Queue,
        Self::Stack,
        Self::Lock,
        Self::Counter,
        Self::ListAppend,
        Self::Log,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::CasRegister => "cas-register",
            Self::Kv => "kv",
            Self::KvAppend => "kv-append",
            Self::Set => "set",
            Self::Queue => "queue",
            Self::Stack => "stack",
            Self::Lock => "lock",
            Self::Counter => "counter",
            Self::ListAppend => "list-append",
            Self::Log => "log",
        }
    }

    /// The kind a history is about, as far as its calls tell.
    pub fn guess<'a>(actions: impl IntoIterator<Item = &'a Action>) -> Option<Self> {
        let mut guess = None;
        for action in actions {
            let kind = match action {
                Action::Read => continue,
                Action::Write(_) => Self::Register,
                Action::Cas { .. } => Self::CasRegister,
                Action::Delete => Self::Kv,
                Action::Append(Value::Text(_)) => Self::KvAppend,
                Action::Append(_) | Action::Txn(_) => Self::ListAppend,
                Action::Add(_) | Action::Remove(_) | Action::Contains(_) => Self::Set,
                Action::Enqueue(_) | Action::Dequeue => Self::Queue,
                Action::Push(_) | Action::Pop => Self::Stack,
                Action::Acquire(_) | Action::Release(_) => Self::Lock,
                Action::Increment(_) => Self::Counter,
                Action::LogAppend(_) | Action::CheckTail => Self::Log,
            };
            // A map can do what a register can; one with append begins empty.
            guess = guess.max(Some(kind));
        }
        guess
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an object remembers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ObjectState {
    /// Registers, maps, texts, locks (their owner), counters.
    Value(Value),
    /// Sets.
    Members(BTreeSet<Value>),
    /// Queues and stacks.
    Sequence(VecDeque<Value>),
    /// Lists by key; a list that is not there is empty.
    Lists(BTreeMap<Value, Vec<Value>>),
    /// Logs.
    Log(LogState),
}

/// The specification of one [`ObjectKind`].
#[derive(Clone, Debug)]
pub struct ObjectModel {
    kind: ObjectKind,
    /// A read of nil tells nothing (as Knossos has it), instead of "there is nothing".
    nil_reads_anything: bool,
}

impl ObjectModel {
    /// The specification of `kind`.
    pub fn new(kind: ObjectKind) -> Self {
        Self {
            kind,
            nil_reads_anything: false,
        }
    }

    /// Lets an acknowledged read of nil stand for a read of anything.
    #[must_use]
    pub fn with_nil_as_wildcard(mut self) -> Self {
        self.nil_reads_anything = true;
        self
    }

    /// Whether objects of this kind can be asked for `action`: one that never can be
    /// answered is a mistake of whoever chose the model, and no violation.
    pub fn knows(&self, action: &Action) -> bool {
        use Action as A;
        match self.kind {
            ObjectKind::Set => {
                matches!(action, A::Add(_) | A::Remove(_) | A::Contains(_) | A::Read)
            }
            ObjectKind::Queue | ObjectKind::Stack => matches!(
                action,
                A::Enqueue(_) | A::Dequeue | A::Push(_) | A::Pop | A::Read
            ),
            ObjectKind::ListAppend | ObjectKind::Log => true,
            _ => matches!(
                action,
                A::Read
                    | A::Write(_)
                    | A::Cas { .. }
                    | A::Delete
                    | A::Append(_)
                    | A::Acquire(_)
                    | A::Release(_)
                    | A::Increment(_)
            ),
        }
    }

    /// Which object.
    pub fn kind(&self) -> ObjectKind {
        self.kind
    }

    /// Whether a read of nil tells nothing.
    pub fn nil_is_wildcard(&self) -> bool {
        self.nil_reads_anything
    }

    /// What a register holds before it is written.
    pub fn initial_value(&self) -> Value {
        match self.kind {
            ObjectKind::KvAppend => Value::text(""),
            ObjectKind::Counter => Value::Int(0),
            _ => Value::Nil,
        }
    }
}

impl Model for ObjectModel {
    type State = ObjectState;
    type Input = Request;
    type Output = Answer;
    type Key = Value;

    fn key(&self, input: &Request) -> Value {
        match self.kind {
            ObjectKind::ListAppend => Value::Nil,
            _ => input.key.clone(),
        }
    }

    fn initial(&self) -> ObjectState {
        match self.kind {
            ObjectKind::Set => ObjectState::Members(BTreeSet::new()),
            ObjectKind::Queue | ObjectKind::Stack => ObjectState::Sequence(VecDeque::new()),
            ObjectKind::ListAppend => ObjectState::Lists(BTreeMap::new()),
            ObjectKind::Log => ObjectState::Log(LogState::default()),
            _ => ObjectState::Value(self.initial_value()),
        }
    }

    fn step(
        &self,
        state: &ObjectState,
        input: &Request,
        output: Option<&Answer>,
        next: &mut Vec<ObjectState>,
    ) {
        let after = match state {
            ObjectState::Value(value) => register::step(self, value, &input.action, output),
            ObjectState::Members(members) => container::step_set(members, &input.action, output),
            ObjectState::Sequence(sequence) => {
                container::step_sequence(sequence, &input.action, output)
            }
            ObjectState::Log(log) => log::step(log, &input.action, output),
            ObjectState::Lists(lists) => txn::step(self, lists, input, output),
        };
        next.extend(after);
    }

    fn is_read_only(&self, input: &Request) -> bool {
        fn is_read_only(action: &Action) -> bool {
            match action {
                Action::Read | Action::Contains(_) | Action::CheckTail => true,
                Action::Txn(steps) => steps.iter().all(|step| is_read_only(&step.action)),
                _ => false,
            }
        }
        is_read_only(&input.action)
    }

    fn is_observer(&self, input: &Request, output: &Answer) -> bool {
        match (&input.action, output) {
            // Refused, or there was nothing to take.
            (
                Action::Cas { .. }
                | Action::Add(_)
                | Action::Remove(_)
                | Action::Acquire(_)
                | Action::Release(_)
                | Action::Dequeue
                | Action::Pop,
                Answer::Applied(false),
            )
            | (Action::Dequeue | Action::Pop, Answer::Value(Value::Nil)) => true,
            _ => self.is_read_only(input),
        }
    }

    fn describe(&self, input: &Request, output: Option<&Answer>) -> String {
        match output {
            Some(output) => format!("{input} → {output}"),
            None => format!("{input} → unknown"),
        }
    }
}

/// Whether `output` is `answer`, or not known.
fn is_answer(output: Option<&Answer>, answer: &Answer) -> bool {
    output.is_none_or(|output| output == answer)
}

/// Whether `output` says that it was done, or is not known.
fn is_done(output: Option<&Answer>) -> bool {
    matches!(output, None | Some(Answer::Done | Answer::Applied(true)))
}
