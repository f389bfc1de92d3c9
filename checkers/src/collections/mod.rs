//! Engine D: queues and stacks whose values are unambiguous.
//!
//! Inputs: calls and ends of the operations of one object, numbered by event. Outputs: a
//! [`Conflict`] as soon as the history is known to be wrong, or [`Outside`] where something
//! happens that only engine A can judge: a value is put in that is in already, the whole
//! content is read, an answer does not belong to the request. What is
//! [retained](Collection::retained) then is a history that allows exactly the same
//! continuations; engine A begins with that. The page `docs/algorithms/collections.md`
//! explains the engine with examples.

mod evidence;
mod queue;
mod stack;

use veridical_histories::OperationId;
use veridical_histories::object::{Action, Answer, Request, Value};

use crate::models::{ObjectKind, ObjectModel};
use crate::witness::RecordedFor;
pub(crate) use evidence::minimize;
use queue::Queue;
use stack::Stack;

/// The end of an operation that has not ended.
const NEVER: u64 = u64::MAX;

/// The identity of an operation, and its times in events and in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub op: OperationId,
    pub client: u64,
    pub call: u64,
    pub call_ns: u64,
    /// The event at which it returned; [`NEVER`] while it has not.
    pub end: u64,
    pub end_ns: u64,
}

impl Span {
    /// An operation that was just called.
    pub fn called(op: OperationId, client: u64, call: u64, call_ns: u64) -> Self {
        Self {
            op,
            client,
            call,
            call_ns,
            end: NEVER,
            end_ns: NEVER,
        }
    }

    /// The same operation after its return.
    #[must_use]
    pub fn ended(self, end: u64, end_ns: u64) -> Self {
        Self {
            end,
            end_ns,
            ..self
        }
    }
}

/// The history is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// What a correct object would have done.
    pub expected: String,
    /// What this one did.
    pub got: String,
}

/// Tells that only engine A can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outside;

/// An operation that still matters.
#[derive(Clone, Debug)]
pub(crate) struct Retained {
    pub span: Span,
    pub action: Action,
    /// What it answered, if it returned.
    pub answer: Option<Answer>,
    /// Whether it has neither returned nor ended otherwise.
    pub is_open: bool,
    /// It stands for something forgotten: it lies within the instant just before the event
    /// of its end, and no client has called it.
    is_instant: bool,
}

impl Retained {
    fn new(span: Span, action: Action, answer: Option<Answer>, is_open: bool) -> Self {
        Self {
            span,
            action,
            answer,
            is_open,
            is_instant: false,
        }
    }

    /// Whether it stands for an instant between two events.
    pub fn is_instant(&self) -> bool {
        self.is_instant
    }

    /// The operation as a witness shows it.
    pub fn recorded(&self, key: &Value) -> RecordedFor<ObjectModel> {
        RecordedFor::<ObjectModel> {
            op: self.span.op,
            client: self.span.client,
            call_event: self.span.call,
            call_ns: self.span.call_ns,
            input: Request {
                key: key.clone(),
                action: self.action.clone(),
            },
            end: self
                .answer
                .clone()
                .map(|answer| (self.span.end, self.span.end_ns, answer)),
        }
    }
}

/// A call or an end of a retained operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Call,
    End,
}

/// The calls and ends of retained operations in their order; operations without an answer
/// have no end.
pub(crate) fn moments(retained: &[Retained]) -> Vec<(usize, Moment)> {
    let mut moments: Vec<((u64, u8), usize, Moment)> = Vec::new();
    for (index, operation) in retained.iter().enumerate() {
        let (call, end) = match operation.is_instant {
            true => ((operation.span.end - 1, 2), (operation.span.end - 1, 3)),
            false => ((operation.span.call, 1), (operation.span.end, 1)),
        };
        moments.push((call, index, Moment::Call));
        if operation.answer.is_some() {
            moments.push((end, index, Moment::End));
        }
    }
    moments.sort_by_key(|(at, ..)| *at);
    let order = moments.into_iter();
    order.map(|(_, index, moment)| (index, moment)).collect()
}

/// A queue or a stack.
#[derive(Debug)]
pub(crate) enum Collection {
    Queue(Queue),
    Stack(Stack),
}

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked<'a> {
    Insert(&'a Value),
    Take,
}

impl<'a> Asked<'a> {
    /// What `action` asks of an object of this kind; `None` where it is neither.
    pub fn of(kind: ObjectKind, action: &'a Action) -> Option<Self> {
        match (kind, action) {
            (
                ObjectKind::Queue | ObjectKind::Stack,
                Action::Enqueue(value) | Action::Push(value),
            ) => Some(Self::Insert(value)),
            (ObjectKind::Queue, Action::Dequeue) | (ObjectKind::Stack, Action::Pop) => {
                Some(Self::Take)
            }
            _ => None,
        }
    }
}

impl Collection {
    /// An object of this kind that holds `values`, from the first that was put in to the
    /// last, before the event `now`. `None` where two are equal, or for another kind.
    pub fn resume(kind: ObjectKind, values: &[Value], now: u64) -> Option<Self> {
        let mut collection = match kind {
            ObjectKind::Queue => Self::Queue(Queue::default()),
            ObjectKind::Stack => Self::Stack(Stack::default()),
            ObjectKind::Register | ObjectKind::CasRegister | ObjectKind::Kv => return None,
            ObjectKind::KvAppend | ObjectKind::Set | ObjectKind::Lock => return None,
            ObjectKind::Counter | ObjectKind::ListAppend | ObjectKind::Log => return None,
        };
        if 2 * values.len() as u64 >= now {
            return None;
        }
        for (index, value) in values.iter().enumerate() {
            let at = 2 * index as u64;
            // No client called these operations.
            let op = OperationId(u64::MAX - index as u64);
            let span = Span::called(op, 0, at, 0);
            collection.called(span, &Asked::Insert(value)).ok()?;
            collection.inserted(span.ended(at + 1, 0), value);
        }
        Some(collection)
    }

    /// An operation was called.
    pub fn called(&mut self, span: Span, asked: &Asked<'_>) -> Result<(), Outside> {
        match (self, asked) {
            (Self::Queue(queue), Asked::Insert(value)) => queue.insert_called(span, value),
            (Self::Stack(stack), Asked::Insert(value)) => stack.insert_called(span, value),
            (Self::Queue(queue), Asked::Take) => {
                queue.take_called(span);
                Ok(())
            }
            (Self::Stack(stack), Asked::Take) => {
                stack.take_called(span);
                Ok(())
            }
        }
    }

    /// `value` was put in.
    pub fn inserted(&mut self, span: Span, value: &Value) {
        match self {
            Self::Queue(queue) => queue.inserted(span, value),
            Self::Stack(stack) => stack.inserted(span, value),
        }
    }

    /// `value` was taken out; nil means that nothing was there.
    pub fn took(&mut self, span: Span, value: &Value) -> Result<(), Conflict> {
        match (self, value.is_nil()) {
            (Self::Queue(queue), false) => queue.took(span, value),
            (Self::Queue(queue), true) => queue.found_empty(span),
            (Self::Stack(stack), false) => stack.took(span, value),
            (Self::Stack(stack), true) => stack.found_empty(span),
        }
    }

    /// Nobody will ever know whether the operation took effect.
    pub fn unknown(&mut self, span: Span, asked: &Asked<'_>) -> Result<(), Outside> {
        match (self, asked) {
            (Self::Queue(queue), Asked::Insert(value)) => {
                queue.insert_unknown(span, value);
                Ok(())
            }
            (Self::Queue(queue), Asked::Take) => {
                queue.take_unknown(span);
                Ok(())
            }
            (Self::Stack(stack), Asked::Insert(value)) => {
                stack.insert_unknown(span, value);
                Ok(())
            }
            // Engine A has to try what it may have taken.
            (Self::Stack(_), Asked::Take) => Err(Outside),
        }
    }

    /// The operation had no effect.
    pub fn failed(&mut self, span: Span, asked: &Asked<'_>) -> Result<(), Conflict> {
        match (self, asked) {
            (Self::Queue(queue), Asked::Insert(value)) => queue.insert_failed(span, value),
            (Self::Queue(queue), Asked::Take) => queue.take_failed(span),
            (Self::Stack(stack), Asked::Insert(value)) => stack.insert_failed(span, value),
            (Self::Stack(stack), Asked::Take) => {
                stack.take_failed(span);
                Ok(())
            }
        }
    }

    /// Judges what waits to be judged together; no operation is open.
    pub fn settle(&mut self) -> Result<(), Conflict> {
        match self {
            Self::Queue(_) => Ok(()),
            Self::Stack(stack) => stack.judge(),
        }
    }

    /// Whether nothing is in it, open, or to be remembered.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Queue(queue) => queue.is_idle(),
            Self::Stack(stack) => stack.is_idle(),
        }
    }

    /// A history that allows the same continuations as what happened; operations of the
    /// engine's own making have numbers from `token` on. `None` where too much is
    /// forgotten.
    pub fn retained(&self, token: u64) -> Option<Vec<Retained>> {
        match self {
            Self::Queue(queue) => queue.retained(token),
            Self::Stack(stack) => Some(stack.retained()),
        }
    }

    /// Operations that are open although what they put in was taken: their ends tell nothing.
    pub fn taken_while_open(&self) -> Vec<u64> {
        match self {
            Self::Queue(queue) => queue.taken_while_open().map(|op| op.0).collect(),
            Self::Stack(stack) => stack.popped_while_open().map(|op| op.0).collect(),
        }
    }

    /// All operations that may belong to the witness of the present conflict. Returns that are
    /// known to have happened earlier are shown as they were recorded, or as early as they must
    /// have been.
    pub fn suspects(&self, as_they_were: bool) -> Vec<Retained> {
        match self {
            Self::Queue(queue) => queue.suspects(),
            Self::Stack(stack) => stack.suspects(as_they_were),
        }
    }

    /// The event from which on the suspects tell the first wrong event; [`NEVER`] where the
    /// engine finds an error at once.
    pub fn suspected_since(&self) -> u64 {
        match self {
            Self::Queue(_) => NEVER,
            Self::Stack(stack) => stack.remembered_since(),
        }
    }

    /// Values and taken values that are kept.
    pub fn len(&self) -> usize {
        match self {
            Self::Queue(queue) => queue.len(),
            Self::Stack(stack) => stack.len(),
        }
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Queue(queue) => queue.bytes(),
            Self::Stack(stack) => stack.bytes(),
        }
    }
}

/// Bytes one entry of a hash table takes, its free room included.
const fn entry_bytes<K, V>() -> usize {
    2 * (size_of::<K>() + size_of::<V>() + 1)
}
