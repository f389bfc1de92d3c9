//! First-in-first-out queues with unique values, exact at every event.
//!
//! A history in which everything has returned is linearizable iff no value is taken that
//! was not put in, none is taken twice, no value overtakes one that was put in before it
//! (put in: a before b; taken: b before a, or a never), and every answer "empty" has an
//! instant at which no value must have been in the queue (Henzinger, Sezgin, Vafeiadis
//! 2013; Bouajjani, Emmi, Enea, Hamza 2015). Here the rest may still be open: a dequeue
//! whose answer is not known may take any value, or none.
//!
//! - Once b is taken, every value that was certainly put in before it has to be gone: that event
//!   is its *deadline*. Values with a deadline can only be taken by dequeues that were called
//!   before it: each by one of its own. As any dequeue that is early enough for one value is
//!   early enough for each with a later deadline, counting decides it (Hall 1935).
//! - An answer "empty" asks the same of all values put in before some instant within it: they
//!   are taken, or there are enough open dequeues that were called before the instant. The
//!   values with a deadline are a prefix of all values in the order in which they were put in,
//!   so that the two demands never add up, and each can be judged by itself.
//!
//! A pair that was put in and taken is forgotten when the last dequeue that was called
//! before its end has returned (it can still be needed to tell engine A). Dequeues of
//! unknown outcome are only counted, once what they must have taken is certain. So what is
//! kept is what is in the queue and what is open; each event costs O(log n) plus one step
//! for each value that is due.

mod deadlines;
mod instants;

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use veridical_histories::OperationId;
use veridical_histories::object::{Action, Answer, Value};

use super::{Conflict, NEVER, Outside, Retained, Span, entry_bytes};
use deadlines::{Blocker, Deadlines};
use instants::Instants;

/// Pairs that are kept for engine A and for witnesses while a dequeue is open.
const CLOSED_MAX: usize = 1 << 12;

/// A value that was put in, or is being put in, and was not taken.
#[derive(Debug)]
struct Live {
    value: Value,
    span: Span,
    is_open: bool,
    /// The event by which it has to be gone; [`NEVER`] while it has no deadline.
    deadline: u64,
}

/// A value that was put in and taken.
#[derive(Debug)]
struct Closed {
    value: Value,
    put: Span,
    taken: Span,
}

/// One queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    live: FxHashMap<Value, Live>,
    /// Values whose enqueue has returned and that have no deadline, in order of its return;
    /// those that were taken are dropped when they come to the front.
    waiting: VecDeque<(u64, Value)>,
    /// How many values are in the queue whose enqueue has returned.
    settled: usize,
    /// Enqueues that are open although their value was taken.
    taken_while_open: Vec<(OperationId, Value)>,
    deadlines: Deadlines,
    instants: Instants,
    closed: VecDeque<Closed>,
    /// A pair was forgotten that engine A would have to know.
    has_forgotten: bool,
    open: usize,
    last_wrong: Option<Retained>,
}

impl Queue {
    pub fn insert_called(&mut self, span: Span, value: &Value) -> Result<(), Outside> {
        if value.is_nil() || self.live.contains_key(value) || self.instants.is_crowded() {
            return Err(Outside);
        }
        self.open += 1;
        let live = Live {
            value: value.clone(),
            span,
            is_open: true,
            deadline: NEVER,
        };
        self.live.insert(value.clone(), live);
        Ok(())
    }

    pub fn take_called(&mut self, span: Span) {
        self.open += 1;
        self.deadlines.called(span);
    }

    pub fn inserted(&mut self, span: Span, value: &Value) {
        self.open -= 1;
        if self.end_of_taken(span.op) {
            return;
        }
        let live = self.live.get_mut(value).expect("what is not taken is in");
        live.is_open = false;
        live.span = span;
        if self.deadlines.has_open() {
            let (needed, usable) = (self.settled, self.deadlines.usable());
            self.instants.put_in(span.end, needed, usable);
        }
        self.settled += 1;
        self.waiting.push_back((span.end, value.clone()));
    }

    /// An enqueue ends; whether its value was taken already.
    fn end_of_taken(&mut self, op: OperationId) -> bool {
        let at = self.taken_while_open.iter().position(|(it, _)| *it == op);
        at.map(|at| self.taken_while_open.swap_remove(at)).is_some()
    }

    pub fn insert_unknown(&mut self, span: Span, value: &Value) {
        self.open -= 1;
        if !self.end_of_taken(span.op)
            && let Some(live) = self.live.get_mut(value)
        {
            live.is_open = false;
        }
    }

    pub fn insert_failed(&mut self, span: Span, value: &Value) -> Result<(), Conflict> {
        self.open -= 1;
        if self.end_of_taken(span.op) {
            return Err(Conflict {
                expected: format!("nobody to take {value}, for it was not put in"),
                got: "a dequeue of it".to_owned(),
            });
        }
        self.live.remove(value);
        Ok(())
    }

    pub fn took(&mut self, span: Span, value: &Value) -> Result<(), Conflict> {
        self.open -= 1;
        self.deadlines.ended(span.call);
        let taken = |answer: &Value| {
            let answer = Some(Answer::Value(answer.clone()));
            Some(Retained::new(span, Action::Dequeue, answer, false))
        };
        let Some(live) = self.live.remove(value) else {
            self.last_wrong = taken(value);
            return Err(Conflict {
                expected: "a value that is in the queue".to_owned(),
                got: value.to_string(),
            });
        };
        if live.span.end != NEVER {
            self.settled -= 1;
        }
        if live.is_open {
            self.taken_while_open.push((live.span.op, value.clone()));
        }
        let put = live.span;
        self.close(Closed {
            value: value.clone(),
            put,
            taken: span,
        });
        if live.deadline < span.call {
            return Err(Conflict {
                expected: format!("{value} before what was put in after it"),
                got: format!("{value}, called when that had been taken"),
            });
        }
        if live.deadline != NEVER {
            self.deadlines.taken(live.deadline, value);
        }
        self.instants.taken(put.end, span.call);
        self.set_deadlines(put, span, value);
        self.judge()
    }

    /// `value` was taken: what was certainly put in before it has to be gone by now.
    fn set_deadlines(&mut self, put: Span, taken: Span, value: &Value) {
        while let Some((end, waiting)) = self.waiting.front() {
            match self.live.get_mut(waiting).filter(|it| it.span.end == *end) {
                Some(_) if *end > put.call => break,
                Some(live) if live.deadline == NEVER => {
                    live.deadline = taken.end;
                    let blocker = Blocker::Overtaking {
                        value: value.clone(),
                        put,
                        taken,
                    };
                    self.deadlines
                        .push(taken.end, *end, waiting.clone(), blocker);
                }
                // The value was taken meanwhile, or has a deadline already.
                _ => {}
            }
            self.waiting.pop_front();
        }
    }

    pub fn found_empty(&mut self, span: Span) -> Result<(), Conflict> {
        self.open -= 1;
        self.deadlines.ended(span.call);
        self.instants.withdrawn(span.call);
        let (needed, usable) = (self.settled, self.deadlines.usable());
        self.instants.found_empty(span, needed, usable);
        self.judge()
    }

    pub fn take_unknown(&mut self, span: Span) {
        self.open -= 1;
        self.deadlines.lost(span.call);
        self.decide();
    }

    pub fn take_failed(&mut self, span: Span) -> Result<(), Conflict> {
        self.open -= 1;
        self.deadlines.ended(span.call);
        self.instants.withdrawn(span.call);
        self.judge()
    }

    /// Whether everything that has to be gone can be.
    fn judge(&mut self) -> Result<(), Conflict> {
        if let Some(value) = self.deadlines.missing() {
            return Err(Conflict {
                expected: format!("{value} to be taken before what was put in after it"),
                got: "that was taken, and no dequeue can have taken it".to_owned(),
            });
        }
        if let Some(span) = self.instants.contradicted() {
            let answer = Some(Answer::Value(Value::Nil));
            self.last_wrong = Some(Retained::new(span, Action::Dequeue, answer, false));
            return Err(Conflict {
                expected: "a value, for there was one all the time".to_owned(),
                got: "the answer that there was none".to_owned(),
            });
        }
        self.decide();
        Ok(())
    }

    /// Takes in what is certain, and forgets what is over.
    fn decide(&mut self) {
        // Where the instant is certain, it is the deadline of all that was put in before.
        let deadlines = &mut self.deadlines;
        let oldest = deadlines.oldest_open();
        while let Some(at) = (self.instants).take_decided(oldest, |at| deadlines.count_by(at)) {
            for value in deadlines.hasten(at) {
                if let Some(live) = self.live.get_mut(&value) {
                    live.deadline = at;
                }
            }
            for (end, value) in self.waiting.iter().take_while(|(end, _)| *end < at) {
                if let Some(live) = self.live.get_mut(value)
                    && live.span.end == *end
                    && live.deadline == NEVER
                {
                    live.deadline = at;
                    deadlines.push(at, *end, value.clone(), Blocker::Empty { at });
                }
            }
        }
        self.forget();
    }

    /// The event from which on an answer that is still to come can matter.
    fn horizon(&self) -> u64 {
        self.deadlines.oldest_open().min(self.instants.oldest())
    }

    fn forget(&mut self) {
        self.instants.forget(self.deadlines.oldest_open());
        let horizon = self.horizon();
        while self
            .closed
            .front()
            .is_some_and(|closed| closed.taken.end < horizon)
        {
            self.closed.pop_front();
        }
        if horizon == NEVER {
            self.has_forgotten = false;
        }
        let horizon = self.instants.earliest().min(self.deadlines.oldest_open());
        for value in self.deadlines.settle(horizon) {
            self.live.remove(&value);
            self.settled -= 1;
            self.instants.cancelled();
        }
    }

    fn close(&mut self, closed: Closed) {
        if self.closed.len() == CLOSED_MAX {
            self.closed.pop_front();
            self.has_forgotten = true;
        }
        self.closed.push_back(closed);
    }

    pub fn is_idle(&self) -> bool {
        self.open == 0
            && self.live.is_empty()
            && self.deadlines.is_empty()
            && self.instants.is_empty()
    }

    pub fn len(&self) -> usize {
        self.live.len() + self.closed.len() + self.deadlines.len()
    }

    pub fn bytes(&self) -> usize {
        self.live.capacity() * entry_bytes::<Value, Live>() / 2
            + self.waiting.capacity() * size_of::<(u64, Value)>()
            + self.closed.capacity() * size_of::<Closed>()
            + self.deadlines.bytes()
            + self.instants.bytes()
    }

    pub fn retained(&self, token: u64) -> Option<Vec<Retained>> {
        (!self.has_forgotten).then(|| self.remembered(token))
    }

    /// Enqueues that are open although their value was taken: their ends tell nothing.
    pub fn taken_while_open(&self) -> impl Iterator<Item = OperationId> + '_ {
        self.taken_while_open.iter().map(|(op, _)| *op)
    }

    pub fn suspects(&self) -> Vec<Retained> {
        let mut suspects = self.remembered(u64::MAX / 4 * 3);
        suspects.extend(self.last_wrong.clone());
        suspects
    }

    fn remembered(&self, mut token: u64) -> Vec<Retained> {
        let mut retained: Vec<Retained> = Vec::new();
        for live in self.live.values() {
            let answer = (live.span.end != NEVER).then_some(Answer::Done);
            let action = Action::Enqueue(live.value.clone());
            retained.push(Retained::new(live.span, action, answer, live.is_open));
        }
        let mut pair = |value: Value, put: Span, taken: Span| {
            let answer = (put.end != NEVER).then_some(Answer::Done);
            let action = Action::Enqueue(value.clone());
            retained.push(Retained::new(put, action, answer, false));
            let answer = Some(Answer::Value(value));
            retained.push(Retained::new(taken, Action::Dequeue, answer, false));
        };
        for closed in &self.closed {
            let Closed { value, put, taken } = closed;
            pair(value.clone(), *put, *taken);
        }
        // A pair that is kept only for the deadlines it set gets another value, because its own
        // may be in the queue again.
        let is_closed = |op| self.closed.iter().any(|closed| closed.put.op == op);
        let mut instants = Vec::new();
        let mut last = None;
        for blocker in self.deadlines.blockers() {
            match blocker {
                Blocker::Empty { at } => instants.push(*at),
                Blocker::Overtaking { value, put, taken } => {
                    if last == Some(put.op) || is_closed(put.op) {
                        continue;
                    }
                    last = Some(put.op);
                    let name = match self.live.contains_key(value) {
                        true => Value::list([Value::text("earlier"), value.clone()]),
                        false => value.clone(),
                    };
                    pair(name, *put, *taken);
                }
            }
        }
        instants.dedup();
        for at in instants {
            let span = Span::called(OperationId(token), 0, at - 1, 0).ended(at, 0);
            token += 1;
            let mut instant = self.empty(span);
            instant.is_instant = true;
            retained.push(instant);
        }
        retained.extend(self.instants.unresolved().map(|span| self.empty(*span)));
        for (span, is_open) in self.deadlines.pending() {
            retained.push(Retained::new(*span, Action::Dequeue, None, is_open));
        }
        for _ in 0..self.deadlines.spare() {
            let span = Span::called(OperationId(token), 0, 0, 0);
            token += 1;
            retained.push(Retained::new(span, Action::Dequeue, None, false));
        }
        retained
    }

    fn empty(&self, span: Span) -> Retained {
        let answer = Some(Answer::Value(Value::Nil));
        Retained::new(span, Action::Dequeue, answer, false)
    }
}
