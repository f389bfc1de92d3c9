//! Sequential specifications for the objects of [`veridical_histories::object`].

mod container;
mod log;
mod register;
mod txn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use veridical_histories::object::{Action, Answer, Request, Value};

use crate::model::Model;
pub use log::LogState;
pub use veridical_histories::object::ObjectKind;

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
    /// What every object holds in the beginning, instead of what those of its kind do.
    initial: Option<Value>,
}

impl ObjectModel {
    /// The specification of `kind`.
    pub fn new(kind: ObjectKind) -> Self {
        Self {
            kind,
            nil_reads_anything: false,
            initial: None,
        }
    }

    /// Lets every object begin with `value`.
    ///
    /// # Errors
    /// Objects of this kind are not one value, or not this one.
    pub fn with_initial(mut self, value: Value) -> Result<Self, InitialRefused> {
        let is_of_kind = match (self.kind, &value) {
            (ObjectKind::KvAppend, value) => matches!(value, Value::Text(_)),
            (ObjectKind::Counter, value) => matches!(value, Value::Int(_)),
            (_, Value::Nil | Value::Int(_) | Value::Text(_) | Value::List(_)) => true,
        };
        if !is_of_kind || !self.kind.has_initial() {
            let kind = self.kind;
            return Err(InitialRefused { kind, value });
        }
        self.initial = Some(value);
        Ok(self)
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
            ObjectKind::Register => matches!(action, A::Read | A::Write(_)),
            ObjectKind::CasRegister => matches!(action, A::Read | A::Write(_) | A::Cas { .. }),
            ObjectKind::Kv => {
                matches!(action, A::Read | A::Write(_) | A::Cas { .. } | A::Delete)
            }
            ObjectKind::KvAppend => matches!(
                action,
                A::Read | A::Write(_) | A::Cas { .. } | A::Delete | A::Append(_)
            ),
            ObjectKind::Set => {
                matches!(action, A::Add(_) | A::Remove(_) | A::Contains(_) | A::Read)
            }
            ObjectKind::Queue => matches!(action, A::Enqueue(_) | A::Dequeue | A::Read),
            ObjectKind::Stack => matches!(action, A::Push(_) | A::Pop | A::Read),
            ObjectKind::Lock => matches!(action, A::Acquire(_) | A::Release(_) | A::Read),
            ObjectKind::Counter => {
                matches!(action, A::Increment(_) | A::Add(Value::Int(_)) | A::Read)
            }
            ObjectKind::ListAppend => {
                let is_transaction = matches!(
                    action,
                    A::Txn(steps) if steps.iter().all(|step| is_step_of_list(&step.action))
                );
                is_transaction || is_step_of_list(action)
            }
            ObjectKind::Log => matches!(action, A::LogAppend(_) | A::CheckTail | A::Read),
        }
    }

    /// Whether `action` can be answered by `answer` in some state: an answer that never can be
    /// given was misread, and is no violation.
    pub fn can_answer(&self, action: &Action, answer: &Answer) -> bool {
        use Action as A;
        match action {
            A::Read => matches!(answer, Answer::Value(value) if self.can_be_read(value)),
            A::Write(_) | A::Append(_) | A::Enqueue(_) | A::Push(_) => {
                matches!(answer, Answer::Done | Answer::Applied(true))
            }
            A::Cas { .. } | A::Delete | A::Add(_) | A::Remove(_) => {
                matches!(answer, Answer::Done | Answer::Applied(_))
            }
            A::Acquire(_) | A::Release(_) => matches!(answer, Answer::Done | Answer::Applied(_)),
            A::Contains(_) => matches!(answer, Answer::Applied(_)),
            A::Dequeue | A::Pop => {
                matches!(answer, Answer::Value(_) | Answer::Applied(false))
            }
            A::Increment(_) => matches!(
                answer,
                Answer::Done | Answer::Applied(true) | Answer::Value(Value::Int(_))
            ),
            A::LogAppend(_) => matches!(answer, Answer::Value(Value::Int(_))),
            A::CheckTail => matches!(answer, Answer::Value(Value::Int(_) | Value::List(_))),
            A::Txn(steps) => match answer {
                Answer::Txn(answers) => {
                    let mut pairs = steps.iter().zip(answers);
                    steps.len() == answers.len()
                        && pairs.all(|(step, answer)| self.can_answer(&step.action, answer))
                }
                Answer::Done | Answer::Value(_) | Answer::Applied(_) => false,
            },
        }
    }

    /// Whether a read of an object of this kind can find `value` at all.
    pub(crate) fn can_be_read(&self, value: &Value) -> bool {
        match (self.kind, value) {
            (_, Value::Nil) => self.kind != ObjectKind::Counter || self.nil_reads_anything,
            (ObjectKind::Set | ObjectKind::Queue | ObjectKind::Stack, value) => {
                matches!(value, Value::List(_))
            }
            (ObjectKind::Counter, value) => matches!(value, Value::Int(_)),
            (ObjectKind::KvAppend, value) => !matches!(value, Value::List(_)),
            (ObjectKind::Log, value) => matches!(value, Value::Int(_) | Value::List(_)),
            (ObjectKind::Register | ObjectKind::CasRegister | ObjectKind::Kv, _) => true,
            (ObjectKind::Lock | ObjectKind::ListAppend, _) => true,
        }
    }

    /// The kind of object that is specified.
    pub fn kind(&self) -> ObjectKind {
        self.kind
    }

    /// Whether a read of nil tells nothing.
    pub fn nil_is_wildcard(&self) -> bool {
        self.nil_reads_anything
    }

    /// What a register holds before it is written.
    pub fn initial_value(&self) -> Value {
        if let Some(value) = &self.initial {
            return value.clone();
        }
        match self.kind {
            ObjectKind::KvAppend => Value::text(""),
            ObjectKind::Counter => Value::Int(0),
            ObjectKind::Register | ObjectKind::CasRegister | ObjectKind::Kv => Value::Nil,
            ObjectKind::Set | ObjectKind::Queue | ObjectKind::Stack | ObjectKind::Lock => {
                Value::Nil
            }
            ObjectKind::ListAppend | ObjectKind::Log => Value::Nil,
        }
    }
}

/// Why objects cannot begin with a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} cannot begin with {value}")]
pub struct InitialRefused {
    /// The kind of the objects.
    pub kind: ObjectKind,
    /// What they were to begin with.
    pub value: Value,
}

fn is_step_of_list(action: &Action) -> bool {
    matches!(action, Action::Read | Action::Write(_) | Action::Append(_))
}

impl Model for ObjectModel {
    type State = ObjectState;
    type Input = Request;
    type Output = Answer;
    type Key = Value;

    fn key(&self, input: &Request) -> Value {
        // All lists are one object, as a transaction reads and appends to several.
        if self.kind == ObjectKind::ListAppend {
            Value::Nil
        } else {
            input.key.clone()
        }
    }

    fn initial(&self) -> ObjectState {
        match self.kind {
            ObjectKind::Set => ObjectState::Members(BTreeSet::new()),
            ObjectKind::Queue | ObjectKind::Stack => ObjectState::Sequence(VecDeque::new()),
            ObjectKind::ListAppend => ObjectState::Lists(BTreeMap::new()),
            ObjectKind::Log => ObjectState::Log(LogState::default()),
            ObjectKind::Register
            | ObjectKind::CasRegister
            | ObjectKind::Kv
            | ObjectKind::KvAppend
            | ObjectKind::Lock
            | ObjectKind::Counter => ObjectState::Value(self.initial_value()),
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
            use Action as A;
            match action {
                A::Read | A::Contains(_) | A::CheckTail => true,
                A::Txn(steps) => steps.iter().all(|step| is_read_only(&step.action)),
                A::Write(_) | A::Cas { .. } | A::Delete | A::Append(_) => false,
                A::Add(_) | A::Remove(_) | A::Enqueue(_) | A::Dequeue => false,
                A::Push(_) | A::Pop | A::Acquire(_) | A::Release(_) => false,
                A::Increment(_) | A::LogAppend(_) => false,
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
