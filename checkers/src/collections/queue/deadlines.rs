//! Deadlines: values that have to be gone by some event, and the dequeues that can have taken them.

use std::collections::VecDeque;

use veridical_histories::object::Value;

use super::super::{NEVER, Span};

/// Why a value has to be gone.
#[derive(Clone, Debug)]
pub(super) enum Blocker {
    /// A value that was put in after it was taken.
    Overtaking {
        value: Value,
        put: Span,
        taken: Span,
    },
    /// The queue was empty just before this event.
    Empty { at: u64 },
}

#[derive(Debug)]
struct Deadline {
    /// The event by which it has to be gone.
    by: u64,
    /// The event at which it was put in.
    end: u64,
    value: Value,
    blocker: Blocker,
}

#[derive(Debug)]
struct Pending {
    span: Span,
    is_open: bool,
}

/// Values with a deadline, and dequeues whose answer is not known.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// Deadlines in order of `by`.
    deadlines: Vec<Deadline>,
    /// Dequeues whose answer is not known, in order of their call.
    pending: VecDeque<Pending>,
    open: usize,
    /// How many dequeues of unknown outcome were called before all others and before every
    /// deadline.
    spare: usize,
}

impl Deadlines {
    pub fn called(&mut self, span: Span) {
        self.open += 1;
        self.pending.push_back(Pending {
            span,
            is_open: true,
        });
    }

    fn find(&self, call: u64) -> usize {
        self.pending
            .binary_search_by_key(&call, |pending| pending.span.call)
            .expect("an open dequeue is pending")
    }

    /// The dequeue called at this event has returned or failed.
    pub fn ended(&mut self, call: u64) {
        self.open -= 1;
        self.pending.remove(self.find(call));
    }

    /// The dequeue called at this event never returns.
    pub fn lost(&mut self, call: u64) {
        self.open -= 1;
        let at = self.find(call);
        self.pending[at].is_open = false;
    }

    pub fn has_open(&self) -> bool {
        self.open > 0
    }

    /// The call of the dequeue that is open longest.
    pub fn oldest_open(&self) -> u64 {
        match self.open {
            0 => NEVER,
            _ => (self.pending.iter().find(|pending| pending.is_open))
                .map_or(NEVER, |pending| pending.span.call),
        }
    }

    /// How many dequeues may take something.
    pub fn usable(&self) -> usize {
        self.pending.len() + self.spare
    }

    pub fn push(&mut self, by: u64, end: u64, value: Value, blocker: Blocker) {
        let at = self.deadlines.partition_point(|deadline| deadline.by <= by);
        let deadline = Deadline {
            by,
            end,
            value,
            blocker,
        };
        self.deadlines.insert(at, deadline);
    }

    /// A value that was due by `by` is taken.
    pub fn taken(&mut self, by: u64, value: &Value) {
        let first = self.deadlines.partition_point(|deadline| deadline.by < by);
        let at = (self.deadlines[first..].iter())
            .position(|deadline| deadline.value == *value)
            .expect("a value that is due is known");
        self.deadlines.remove(first + at);
    }

    /// Moves the deadlines of values put in before `at` forward to `at`; returns those that were
    /// later.
    pub fn hasten(&mut self, at: u64) -> Vec<Value> {
        let later = self.deadlines.partition_point(|deadline| deadline.by <= at);
        let mut hastened = Vec::new();
        for mut deadline in self.deadlines.split_off(later) {
            if deadline.end < at {
                hastened.push(deadline.value.clone());
                deadline.by = at;
                deadline.blocker = Blocker::Empty { at };
                self.deadlines.insert(
                    self.deadlines.partition_point(|deadline| deadline.by <= at),
                    deadline,
                );
            } else {
                self.deadlines.push(deadline);
            }
        }
        hastened
    }

    /// How many values are due by `at`.
    pub fn count_by(&self, at: u64) -> usize {
        self.deadlines.partition_point(|deadline| deadline.by <= at)
    }

    /// A value that no pending dequeue can have taken in time.
    pub fn missing(&self) -> Option<&Value> {
        let mut pending = 0;
        for (index, deadline) in self.deadlines.iter().enumerate() {
            while self
                .pending
                .get(pending)
                .is_some_and(|it| it.span.call < deadline.by)
            {
                pending += 1;
            }
            if pending + self.spare <= index {
                return Some(&deadline.value);
            }
        }
        None
    }

    /// Forgets what is decided: before `horizon` nothing is open, and no deadline will be set
    /// there. Returns the values that are gone.
    pub fn settle(&mut self, horizon: u64) -> Vec<Value> {
        let is_before = |it: &Pending| !it.is_open && it.span.call < horizon;
        while self.pending.front().is_some_and(is_before) {
            self.pending.pop_front();
            self.spare += 1;
        }
        let gone = self
            .deadlines
            .partition_point(|deadline| deadline.by < horizon);
        self.spare -= gone;
        self.deadlines
            .drain(..gone)
            .map(|deadline| deadline.value)
            .collect()
    }

    pub fn is_empty(&self) -> bool {
        self.deadlines.is_empty() && self.pending.is_empty() && self.spare == 0
    }

    pub fn len(&self) -> usize {
        self.deadlines.len() + self.pending.len()
    }

    pub fn bytes(&self) -> usize {
        self.deadlines.capacity() * size_of::<Deadline>()
            + self.pending.capacity() * size_of::<Pending>()
    }

    pub fn blockers(&self) -> impl Iterator<Item = &Blocker> {
        self.deadlines.iter().map(|deadline| &deadline.blocker)
    }

    /// Dequeues without an answer, and whether they are open.
    pub fn pending(&self) -> impl Iterator<Item = (&Span, bool)> {
        self.pending
            .iter()
            .map(|pending| (&pending.span, pending.is_open))
    }

    pub fn spare(&self) -> usize {
        self.spare
    }
}
