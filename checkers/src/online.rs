//! The online checker for any [`Model`]: one frontier for each object.

use rustc_hash::FxHashMap;
use veridical_histories::{Event, EventKind, OperationId};

use crate::feed::{FeedVerdict, FrontierFeed};
use crate::frontier::Frontier;
use crate::model::Model;
use crate::verdict::{
    Cause, Malformed, MalformedReason, Rejection, Undecided, Verdict, Violation, ViolationKind,
    WitnessOperation,
};
use crate::witness::{Recorded, Recording};

/// Events between two looks at the memory in use, at least.
const EVENTS_PER_LOOK: u64 = 1 << 10;

/// What small tables of an object in use take beyond their entries.
const SMALL_TABLES_BYTES: usize = 1 << 10;

/// Limits of a [`Checker`].
#[derive(Clone, Debug)]
pub struct CheckerOptions {
    /// Configurations that may be looked at for one return before the search is bounded
    /// from two sides instead of exact.
    pub configurations_max: usize,
    /// Operations kept per object for the witness of a violation.
    pub witness_operations_max: usize,
}

impl Default for CheckerOptions {
    fn default() -> Self {
        Self {
            configurations_max: 1 << 18,
            witness_operations_max: 1 << 12,
        }
    }
}

/// What a [`Checker`] has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckerStatistics {
    /// Events taken in.
    pub events: u64,
    /// Operations that returned with a known outcome.
    pub operations: u64,
    /// Operations whose outcome stayed unknown.
    pub unknown_outcomes: u64,
    /// The most configurations of one object after any return.
    pub configurations_max: usize,
    /// Model steps taken.
    pub expansions: u64,
}

/// One object.
#[derive(Debug)]
enum Object<M: Model> {
    /// Nothing is open and the state is certain.
    Idle(M::State),
    Active(Box<ActiveObject<M>>),
    /// The object is too large for the memory allowed, and is not judged any more.
    GivenUp,
}

#[derive(Debug)]
struct ActiveObject<M: Model> {
    feed: FrontierFeed<M>,
    recording: Recording<M>,
}

impl<M: Model> Object<M> {
    /// Bytes held outside the table.
    fn bytes(&self) -> usize {
        match self {
            Self::Active(object) => {
                let active = size_of::<ActiveObject<M>>() + SMALL_TABLES_BYTES;
                active + object.feed.bytes() + object.recording.bytes()
            }
            Self::Idle(_) | Self::GivenUp => 0,
        }
    }
}

/// Checks a history of any length while it happens, exactly, in memory bounded by concurrency
/// and the number of objects: engine A.
///
/// A violation is reported once the operations that overlap the contradicting return
/// have ended, or at [`Checker::finish`].
#[derive(Debug)]
pub struct Checker<M: Model> {
    model: M,
    options: CheckerOptions,
    objects: FxHashMap<M::Key, Object<M>>,
    open: FxHashMap<OperationId, M::Key>,
    statistics: CheckerStatistics,
    undecided: Option<Undecided>,
    violation: Option<Box<Violation>>,
    bytes_max: usize,
    /// At how many events the memory in use is looked at next.
    next_look: u64,
    /// Objects that were not active when memory ran out are not judged any more.
    is_full: bool,
}

impl<M: Model> Checker<M> {
    /// A checker at the start of a history.
    pub fn new(model: M, options: CheckerOptions) -> Self {
        Self {
            model,
            options,
            objects: FxHashMap::default(),
            open: FxHashMap::default(),
            statistics: CheckerStatistics::default(),
            undecided: None,
            violation: None,
            bytes_max: usize::MAX,
            next_look: u64::MAX,
            is_full: false,
        }
    }

    /// Keeps what is held for objects within `limit_bytes`, as far as sizes of types tell:
    /// what states, inputs and outputs hold elsewhere is not known. What does not fit is
    /// undecided: first the largest objects in use, then all that are not in use.
    pub fn limit_memory(&mut self, limit_bytes: Option<u64>) {
        let limit = limit_bytes.and_then(|limit| usize::try_from(limit).ok());
        // The rest is for what growing tables leave behind.
        self.bytes_max = limit.map_or(usize::MAX, |limit| limit / 4 * 3);
        self.next_look = if limit.is_some() { 0 } else { u64::MAX };
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        let table = self.objects.capacity() * (size_of::<(M::Key, Object<M>)>() + 1)
            + self.open.capacity() * (size_of::<(OperationId, M::Key)>() + 1);
        // A table that grows takes thrice its size for a moment.
        2 * table + self.objects.values().map(Object::bytes).sum::<usize>()
    }

    /// Looks at the memory in use, now and then, and gives up what does not fit.
    fn mind_memory(&mut self) {
        if self.statistics.events < self.next_look {
            return;
        }
        // A look costs a step for each object.
        self.next_look = self.statistics.events + EVENTS_PER_LOOK + self.objects.len() as u64 / 4;
        let mut bytes = self.bytes();
        if bytes <= self.bytes_max {
            return;
        }
        let mut largest: Vec<(usize, M::Key)> = (self.objects.iter())
            .map(|(key, object)| (object.bytes(), key.clone()))
            .filter(|(size, _)| *size > 0)
            .collect();
        largest.sort_unstable();
        while bytes > self.bytes_max
            && let Some((size, key)) = largest.pop()
        {
            bytes -= size;
            self.out_of_memory(format!("{key:?}"));
            self.objects.insert(key, Object::GivenUp);
        }
        if bytes > self.bytes_max {
            self.is_full = true;
            self.out_of_memory("of all objects that are not in use".to_owned());
            let idle = self
                .objects
                .extract_if(|_, it| !matches!(it, Object::Active(_)));
            idle.for_each(drop);
            self.objects.shrink_to_fit();
        }
    }

    fn out_of_memory(&mut self, key: String) {
        let at = self.statistics.events;
        self.undecided.get_or_insert_with(|| Undecided {
            cause: Cause::Memory,
            key: Some(key),
            events: (at, at),
            text: "what has to be remembered does not fit into the memory allowed; it is not \
                   checked any further"
                .to_owned(),
        });
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Counts so far.
    pub fn statistics(&self) -> CheckerStatistics {
        self.statistics
    }

    /// Takes the next event in.
    ///
    /// # Errors
    /// [`Rejection::Violation`] once the history is known to be wrong;
    /// [`Rejection::Malformed`] where the event cannot follow those before it, which
    /// leaves the checker as it was.
    pub fn observe<N>(&mut self, event: &Event<M::Input, M::Output, N>) -> Result<(), Rejection> {
        if let Some(violation) = &self.violation {
            return Err(Rejection::Violation(violation.clone()));
        }
        self.mind_memory();
        let at = self.statistics.events;
        let malformed = |reason| Rejection::Malformed(Malformed { event: at, reason });
        if let EventKind::Call { op, input } = &event.kind {
            if self.open.contains_key(op) {
                return Err(malformed(MalformedReason::CalledTwice(*op)));
            }
            self.statistics.events += 1;
            let key = self.model.key(input);
            self.open.insert(*op, key.clone());
            let Some(object) = self.activate(key) else {
                return Ok(());
            };
            object.feed.call(op.0, input.clone());
            object.recording.call(Recorded {
                op: *op,
                client: event.client,
                call_event: at,
                call_ns: event.time_ns,
                input: input.clone(),
                end: None,
            });
            return Ok(());
        }
        let Some(op) = event.operation() else {
            self.statistics.events += 1;
            return Ok(());
        };
        let key = self
            .open
            .remove(&op)
            .ok_or(malformed(MalformedReason::NotOpen(op)))?;
        self.statistics.events += 1;
        match &event.kind {
            EventKind::Return { .. } => self.statistics.operations += 1,
            EventKind::Unknown { .. } => self.statistics.unknown_outcomes += 1,
            EventKind::Failed { .. } | EventKind::Call { .. } | EventKind::Note { .. } => {}
        }
        let Some(Object::Active(object)) = self.objects.get_mut(&key) else {
            // An object with an open operation is active, or given up.
            return Ok(());
        };
        match &event.kind {
            EventKind::Return { output, .. } => {
                object.feed.returned(op.0, output.clone(), at);
                object
                    .recording
                    .returned(op, at, event.time_ns, output.clone());
            }
            EventKind::Unknown { .. } => {
                object.feed.unknown(op.0);
            }
            EventKind::Failed { .. } => {
                object.feed.failed(op.0);
                object.recording.failed(op);
            }
            EventKind::Call { .. } | EventKind::Note { .. } => {
                unreachable!("calls and notes are handled above")
            }
        }
        self.advance(&key)?;
        Ok(())
    }

    /// `None` where it is given up.
    fn activate(&mut self, key: M::Key) -> Option<&mut ActiveObject<M>> {
        if self.is_full && !self.objects.contains_key(&key) {
            return None;
        }
        let model = &self.model;
        let operations_max = self.options.witness_operations_max;
        let object = self
            .objects
            .entry(key)
            .or_insert_with(|| Object::Idle(model.initial()));
        if let Object::Idle(state) = object {
            *object = Object::Active(Box::new(ActiveObject {
                feed: FrontierFeed::new(model, vec![state.clone()]),
                recording: Recording::new(vec![state.clone()], operations_max),
            }));
        }
        match object {
            Object::Active(object) => Some(object),
            Object::GivenUp => None,
            Object::Idle(_) => unreachable!("it was activated above"),
        }
    }

    fn advance(&mut self, key: &M::Key) -> Result<(), Rejection> {
        let Some(Object::Active(object)) = self.objects.get_mut(key) else {
            return Ok(());
        };
        let verdict = object
            .feed
            .advance(&self.model, self.options.configurations_max);
        match verdict {
            FeedVerdict::Explained => {}
            FeedVerdict::Violation { event } => {
                let violation = Box::new(self.violation_of(key, event));
                self.violation = Some(violation.clone());
                return Err(Rejection::Violation(violation));
            }
            FeedVerdict::Unknown { cause, first_event } => {
                let events = (first_event, self.statistics.events);
                self.undecided.get_or_insert_with(|| Undecided {
                    cause,
                    key: Some(format!("{key:?}")),
                    events,
                    text: "more configurations than allowed, and the bounds disagree".to_owned(),
                });
            }
        }
        let Some(Object::Active(object)) = self.objects.get_mut(key) else {
            return Ok(());
        };
        let idle = object.feed.idle_state();
        if let Some(state) = idle {
            self.retire(key, state);
        }
        Ok(())
    }

    fn retire(&mut self, key: &M::Key, state: M::State) {
        if let Some(Object::Active(object)) = self.objects.get(key) {
            let (configurations, expansions) = object.feed.counts();
            let statistics = &mut self.statistics;
            statistics.configurations_max = statistics.configurations_max.max(configurations);
            statistics.expansions += expansions;
        }
        // Once full, no object that is not in use is judged.
        if self.is_full || state == self.model.initial() {
            self.objects.remove(key);
        } else if let Some(object) = self.objects.get_mut(key) {
            *object = Object::Idle(state);
        }
    }

    fn violation_of(&self, key: &M::Key, event: u64) -> Violation {
        let Some(Object::Active(object)) = self.objects.get(key) else {
            unreachable!("an object with a violation is active");
        };
        let limit = self.options.configurations_max;
        let witness = object
            .recording
            .minimize::<Frontier<M>>(&self.model, event, limit);
        let operations: Vec<WitnessOperation> = witness
            .operations
            .iter()
            .map(|recorded| recorded.witness(&self.model))
            .collect();
        let got = operations
            .iter()
            .max_by_key(|operation| operation.return_ns)
            .map_or_else(String::new, |operation| operation.text.clone());
        Violation {
            kind: ViolationKind::NotLinearizable,
            key: Some(format!("{key:?}")),
            event: witness.event,
            expected: format!(
                "an order of these operations that explains them, beginning with {}",
                witness
                    .states
                    .iter()
                    .map(|state| format!("{state:?}"))
                    .collect::<Vec<_>>()
                    .join(" or ")
            ),
            got: format!("none; the last answer is {got}"),
            operations,
        }
    }

    /// Ends the history: operations still open count as unknown.
    pub fn finish(&mut self) -> Verdict {
        if self.violation.is_none() {
            let mut keys: Vec<M::Key> = self.objects.keys().cloned().collect();
            keys.sort_unstable();
            for key in keys {
                if let Some(Object::Active(object)) = self.objects.get_mut(&key) {
                    object.feed.finish();
                    let (configurations, expansions) = object.feed.counts();
                    let statistics = &mut self.statistics;
                    statistics.configurations_max =
                        statistics.configurations_max.max(configurations);
                    statistics.expansions += expansions;
                }
                if self.advance(&key).is_err() {
                    break;
                }
            }
        }
        match (&self.violation, &self.undecided) {
            (Some(violation), _) => Verdict::Violation(violation.clone()),
            (None, Some(undecided)) => Verdict::Unknown(undecided.clone()),
            (None, None) => Verdict::Ok,
        }
    }
}

/// Checks a whole history.
///
/// # Errors
/// [`Malformed`] where the events are not a history.
pub fn check_events<'a, M, N>(
    model: M,
    events: impl IntoIterator<Item = &'a Event<M::Input, M::Output, N>>,
) -> Result<Verdict, Malformed>
where
    M: Model,
    M::Input: 'a,
    M::Output: 'a,
    N: 'a,
{
    let mut checker = Checker::new(model, CheckerOptions::default());
    for event in events {
        match checker.observe(event) {
            Ok(()) => {}
            Err(Rejection::Violation(violation)) => return Ok(Verdict::Violation(violation)),
            Err(Rejection::Malformed(malformed)) => return Err(malformed),
        }
    }
    Ok(checker.finish())
}

/// One operation of a recorded history.
#[derive(Clone, Debug)]
pub struct Operation<I, O> {
    /// The client that called.
    pub client: u64,
    /// What was asked.
    pub input: I,
    /// When it was called.
    pub call_ns: u64,
    /// When it returned, and what; `None` where its outcome is unknown.
    pub end: Option<(u64, O)>,
}

/// Checks recorded operations, in any order.
///
/// ```
/// use veridical_checkers::{ObjectKind, ObjectModel, Operation, check_operations};
/// use veridical_histories::object::{Action, Answer, Request, Value};
///
/// let request = |action| Request { key: Value::Nil, action };
/// let write = request(Action::Write(1.into()));
/// let operations = vec![
///     Operation { client: 1, input: write, call_ns: 0, end: Some((10, Answer::Done)) },
///     Operation { client: 2, input: request(Action::Read), call_ns: 20,
///                 end: Some((30, Answer::Value(Value::Nil))) },
/// ];
/// let verdict = check_operations(ObjectModel::new(ObjectKind::Register), operations);
/// assert!(verdict.violation().is_some());
/// ```
pub fn check_operations<M: Model>(
    model: M,
    operations: impl IntoIterator<Item = Operation<M::Input, M::Output>>,
) -> Verdict {
    let mut events: Vec<Event<M::Input, M::Output>> = Vec::new();
    for (index, operation) in operations.into_iter().enumerate() {
        let op = OperationId(index as u64);
        events.push(Event::call(
            operation.call_ns,
            operation.client,
            op,
            operation.input,
        ));
        if let Some((return_ns, output)) = operation.end {
            events.push(Event::returned(return_ns, operation.client, op, output));
        }
    }
    // On a tie calls come first: operations that touch are concurrent.
    events.sort_by_key(|event| (event.time_ns, !event.is_call()));
    match check_events(model, &events) {
        Ok(verdict) => verdict,
        Err(malformed) => unreachable!("the events were made from operations: {malformed}"),
    }
}
