//! Last-in-first-out stacks with unique values.
//!
//! A value whose pop was called before its push returned can come and go at one instant,
//! and is in nobody's way: it is forgotten at once. The others are collected and judged
//! together, now and then (see [`peel`]), so that a violation is found a little later than
//! it happens; the first wrong event is looked for afterwards.
//!
//! A part of what was popped that is covered without a gap is over for good once every
//! open pop was called after all of it: what is popped later ends later, so that nothing
//! of the part can be below it. All that is left of the part is that nothing that outlives
//! it can have been pushed while it lasted: a push that returned in between happened before
//! the part began. So what is kept is what is on the stack, and what overlaps the oldest
//! open pop, however long the history is.
//!
//! An answer "empty" needs an instant at which no value is certainly there; that is known
//! when the pops called before it returned have all returned.

mod peel;

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;
use veridical_histories::OperationId;
use veridical_histories::object::{Action, Answer, Value};

use super::{Conflict, NEVER, Outside, Retained, Span, entry_bytes};
use peel::{Stay, nest, parts};

/// Popped values and answers that are collected before they are judged, at least.
const COLLECTED_MIN: usize = 64;
/// Values that are forgotten, but kept for a witness.
const RECENT_MAX: usize = 512;

/// A value that is pushed, or being pushed, and was not popped.
#[derive(Debug)]
struct Live {
    span: Span,
    is_open: bool,
    /// The event by which it is on the stack: the return of its push, or earlier.
    there: u64,
}

/// A value that was popped.
#[derive(Clone, Debug)]
struct Popped {
    value: Value,
    push: Span,
    pop: Span,
    there: u64,
}

impl Popped {
    fn stay(&self) -> Stay {
        Stay {
            push_call: self.push.call,
            push_end: self.there,
            pop_call: self.pop.call,
            pop_end: self.pop.end,
        }
    }
}

/// A pop that returned no value, or failed.
#[derive(Clone, Copy, Debug)]
struct Ended {
    span: Span,
    has_failed: bool,
}

/// One stack.
#[derive(Debug, Default)]
pub(crate) struct Stack {
    live: FxHashMap<Value, Live>,
    /// Values that are certainly on the stack, by the event since which they are and the event
    /// of their push.
    there: BTreeMap<(u64, u64), Value>,
    popped: Vec<Popped>,
    /// Pops that were answered "empty" and wait to be judged.
    empties: Vec<Span>,
    /// Open pops by the event of their call.
    open_pops: BTreeMap<u64, Span>,
    open_pushes: usize,
    /// Pushes that are open although their value was popped.
    popped_while_open: Vec<OperationId>,
    /// How many are collected when they are judged next.
    judged_at: usize,
    recent: VecDeque<Popped>,
    /// Pops that ended lately without a value.
    ended: VecDeque<Ended>,
    last_wrong: Option<Retained>,
}

impl Stack {
    pub fn insert_called(&mut self, span: Span, value: &Value) -> Result<(), Outside> {
        if value.is_nil() || self.live.contains_key(value) {
            return Err(Outside);
        }
        self.open_pushes += 1;
        let live = Live {
            span,
            is_open: true,
            there: NEVER,
        };
        self.live.insert(value.clone(), live);
        Ok(())
    }

    pub fn take_called(&mut self, span: Span) {
        self.open_pops.insert(span.call, span);
    }

    pub fn inserted(&mut self, span: Span, value: &Value) {
        self.open_pushes -= 1;
        if self.end_of_popped(span.op) {
            return;
        }
        let live = self
            .live
            .get_mut(value)
            .expect("what is not popped is there");
        live.is_open = false;
        live.span = span;
        live.there = span.end;
        self.there.insert((span.end, span.call), value.clone());
    }

    /// A push ends; whether its value was popped already.
    fn end_of_popped(&mut self, op: OperationId) -> bool {
        let at = self.popped_while_open.iter().position(|it| *it == op);
        at.map(|at| self.popped_while_open.swap_remove(at))
            .is_some()
    }

    pub fn insert_unknown(&mut self, span: Span, value: &Value) {
        self.open_pushes -= 1;
        if !self.end_of_popped(span.op)
            && let Some(live) = self.live.get_mut(value)
        {
            live.is_open = false;
        }
    }

    pub fn insert_failed(&mut self, span: Span, value: &Value) -> Result<(), Conflict> {
        self.open_pushes -= 1;
        if self.end_of_popped(span.op) {
            return Err(Conflict {
                expected: format!("nobody to pop {value}, for it was not pushed"),
                got: "a pop of it".to_owned(),
            });
        }
        self.live.remove(value);
        Ok(())
    }

    pub fn took(&mut self, span: Span, value: &Value) -> Result<(), Conflict> {
        self.open_pops.remove(&span.call);
        let Some(live) = self.live.remove(value) else {
            let answer = Some(Answer::Value(value.clone()));
            let wrong = Retained::new(span, Action::Pop, answer, false);
            self.last_wrong = Some(wrong);
            return Err(Conflict {
                expected: "a value that is on the stack".to_owned(),
                got: value.to_string(),
            });
        };
        self.there.remove(&(live.there, live.span.call));
        if live.is_open {
            self.popped_while_open.push(live.span.op);
        }
        let popped = Popped {
            value: value.clone(),
            push: live.span,
            pop: span,
            there: live.there,
        };
        if popped.there < popped.pop.call {
            self.popped.push(popped);
        } else {
            self.keep_recent(popped);
        }
        self.judge_when_many()
    }

    pub fn found_empty(&mut self, span: Span) -> Result<(), Conflict> {
        self.open_pops.remove(&span.call);
        self.keep_ended(span, false);
        // Every value may have been popped just before this answer.
        if !self.is_there_before(span.end) {
            return Ok(());
        }
        self.empties.push(span);
        self.judge_when_many()
    }

    fn is_there_before(&self, at: u64) -> bool {
        let first = self.there.keys().next();
        first.is_some_and(|(there, _)| *there < at)
    }

    pub fn take_failed(&mut self, span: Span) {
        self.open_pops.remove(&span.call);
        self.keep_ended(span, true);
    }

    fn keep_ended(&mut self, span: Span, has_failed: bool) {
        if self.ended.len() == RECENT_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(Ended { span, has_failed });
    }

    fn judge_when_many(&mut self) -> Result<(), Conflict> {
        if self.popped.len() + self.empties.len() < self.judged_at.max(COLLECTED_MIN) {
            return Ok(());
        }
        self.judge()
    }

    /// Judges what is collected, and forgets what is over.
    pub fn judge(&mut self) -> Result<(), Conflict> {
        self.popped
            .sort_unstable_by_key(|popped| (popped.there, popped.push.call));
        let stays: Vec<Stay> = self.popped.iter().map(Popped::stay).collect();
        if !nest(&stays) {
            return Err(Conflict {
                expected: "what was pushed later to be popped earlier".to_owned(),
                got: "values that cannot be on top of each other in any order".to_owned(),
            });
        }
        let parts = parts(&stays);
        let oldest_pop = self.open_pops.keys().next().copied().unwrap_or(NEVER);
        self.judge_empties(&parts, oldest_pop)?;
        let waiting = self.empties.iter().map(|empty| empty.call).min();
        let horizon = oldest_pop.min(waiting.unwrap_or(NEVER));
        let mut over = vec![false; self.popped.len()];
        for part in parts.iter().filter(|part| part.last_end < horizon) {
            over[part.stays.clone()].fill(true);
            self.push_below(part)?;
        }
        let mut left = Vec::with_capacity(self.popped.len());
        for (popped, is_over) in std::mem::take(&mut self.popped).into_iter().zip(over) {
            match is_over {
                true => self.keep_recent(popped),
                false => left.push(popped),
            }
        }
        self.popped = left;
        self.judged_at = 2 * (self.popped.len() + self.empties.len());
        Ok(())
    }

    fn keep_recent(&mut self, popped: Popped) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(popped);
    }

    /// What is on the stack and whose push returned during `part`, was pushed before it.
    fn push_below(&mut self, part: &peel::Part) -> Result<(), Conflict> {
        let (begin, end) = part.covered;
        let during: Vec<((u64, u64), Value)> = self
            .there
            .range((begin + 1, 0)..(end, 0))
            .map(|(there, value)| (*there, value.clone()))
            .collect();
        for (there, value) in during {
            if there.1 > begin {
                return Err(Conflict {
                    expected: format!("{value} to be popped before what is below it"),
                    got: "that was popped, and it was not".to_owned(),
                });
            }
            self.there.remove(&there);
            self.there.insert((begin, there.1), value.clone());
            if let Some(live) = self.live.get_mut(&value) {
                live.there = begin;
            }
        }
        Ok(())
    }

    /// Judges the answers "empty" of which everything is known: every pop called before they
    /// returned has returned.
    fn judge_empties(&mut self, parts: &[peel::Part], oldest_pop: u64) -> Result<(), Conflict> {
        let there = self.there.keys().next().map_or(NEVER, |(there, _)| *there);
        let mut waiting = Vec::new();
        for empty in std::mem::take(&mut self.empties) {
            if empty.end > oldest_pop {
                waiting.push(empty);
                continue;
            }
            // `free` is the first instant within the answer that no popped value covers.
            let before = parts.partition_point(|part| part.covered.0 < empty.call);
            let free = match before.checked_sub(1).map(|at| parts[at].covered.1) {
                Some(end) if end > empty.call => end,
                _ => empty.call,
            };
            if free > empty.end.min(there) {
                let answer = Some(Answer::Value(Value::Nil));
                self.last_wrong = Some(Retained::new(empty, Action::Pop, answer, false));
                let below = self.there.first_key_value();
                let expected = match below.filter(|((there, _), _)| *there < empty.call) {
                    Some((_, value)) => {
                        format!("a value, for {value} was on the stack all the time")
                    }
                    None => "a value, for there was one all the time".to_owned(),
                };
                return Err(Conflict {
                    expected,
                    got: "nil, as of an empty stack".to_owned(),
                });
            }
        }
        self.empties = waiting;
        Ok(())
    }

    pub fn is_idle(&self) -> bool {
        self.live.is_empty()
            && self.popped.is_empty()
            && self.empties.is_empty()
            && self.open_pops.is_empty()
            && self.open_pushes == 0
    }

    pub fn len(&self) -> usize {
        self.live.len() + self.popped.len() + self.empties.len()
    }

    pub fn bytes(&self) -> usize {
        let there = size_of::<((u64, u64), Value)>() * 3 / 2;
        self.live.capacity() * entry_bytes::<Value, Live>() / 2
            + self.there.len() * there
            + (self.popped.capacity() + self.recent.capacity()) * size_of::<Popped>()
            + self.ended.capacity() * size_of::<Ended>()
            + self.empties.capacity() * size_of::<Span>()
    }

    /// Pushes that are open although their value was popped: their ends tell nothing.
    pub fn popped_while_open(&self) -> impl Iterator<Item = OperationId> + '_ {
        self.popped_while_open.iter().copied()
    }

    pub fn retained(&self) -> Vec<Retained> {
        self.remembered(false)
    }

    /// All that is remembered, with the returns of pushes as they were recorded, or as early as
    /// they must have been.
    fn remembered(&self, as_they_were: bool) -> Vec<Retained> {
        let pairs = self.popped.iter();
        let mut retained: Vec<Retained> = pairs
            .flat_map(|popped| pair(popped, as_they_were))
            .collect();
        for (value, live) in &self.live {
            let mut span = live.span;
            let mut answer = None;
            if live.there != NEVER {
                if !as_they_were {
                    span.end = live.there;
                }
                answer = Some(Answer::Done);
            }
            let action = Action::Push(value.clone());
            retained.push(Retained::new(span, action, answer, live.is_open));
        }
        for empty in &self.empties {
            let answer = Some(Answer::Value(Value::Nil));
            retained.push(Retained::new(*empty, Action::Pop, answer, false));
        }
        for span in self.open_pops.values() {
            retained.push(Retained::new(*span, Action::Pop, None, true));
        }
        retained
    }

    pub fn suspects(&self, as_they_were: bool) -> Vec<Retained> {
        let mut suspects = self.remembered(as_they_were);
        suspects.extend(self.last_wrong.clone());
        let recent = self.recent.iter();
        suspects.extend(recent.flat_map(|popped| pair(popped, as_they_were)));
        for Ended { span, has_failed } in &self.ended {
            let answer = (!has_failed).then_some(Answer::Value(Value::Nil));
            suspects.push(Retained::new(*span, Action::Pop, answer, false));
        }
        suspects
    }

    /// The event from which on everything that was open at some time is among the suspects.
    pub fn remembered_since(&self) -> u64 {
        let popped = self.recent.front().map_or(0, |popped| popped.pop.end);
        let ended = self.ended.front().map_or(0, |ended| ended.span.end);
        let of = |is_full, end| if is_full { end } else { 0 };
        of(self.recent.len() == RECENT_MAX, popped).max(of(self.ended.len() == RECENT_MAX, ended))
    }
}

/// The push and the pop of a value.
fn pair(popped: &Popped, as_they_were: bool) -> [Retained; 2] {
    let Popped {
        value,
        push,
        pop,
        there,
    } = popped;
    let (mut push, mut answer) = (*push, None);
    if *there != NEVER {
        if !as_they_were {
            push.end = *there;
        }
        answer = Some(Answer::Done);
    }
    let put = Retained::new(push, Action::Push(value.clone()), answer, false);
    let answer = Some(Answer::Value(value.clone()));
    [put, Retained::new(*pop, Action::Pop, answer, false)]
}
