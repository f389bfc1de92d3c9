//! Values that have to be gone, and the dequeues that can have taken them.

use std::collections::VecDeque;

use veridical_histories::object::Value;

use super::super::{NEVER, Span};

/// Why a value has to be gone.
#[derive(Clone, Debug)]
pub(super) enum Blocker {
    /// This one was put in after it, and is taken.
    Overtaking {
        value: Value,
        put: Span,
        taken: Span,
    },
    /// The queue was empty just before this event.
    Empty { at: u64 },
}

#[derive(Debug)]
struct Due {
    /// The event by which it has to be gone.
    by: u64,
    /// When it was put in.
    end: u64,
    value: Value,
    blocker: Blocker,
}

#[derive(Debug)]
struct Pending {
    span: Span,
    is_open: bool,
}

/// Values that are due, and dequeues whose answer is not known.
#[derive(Debug, Default)]
pub(super) struct Dues {
    /// In order of `by`.
    dues: Vec<Due>,
    /// In order of their call.
    pending: VecDeque<Pending>,
    open: usize,
    /// Dequeues of unknown outcome that were called before all others and all that is due.
    spare: usize,
}

impl Dues {
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

    /// It never returns.
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

    /// Dequeues that may take something.
    pub fn usable(&self) -> usize {
        self.pending.len() + self.spare
    }

    pub fn push(&mut self, by: u64, end: u64, value: Value, blocker: Blocker) {
        let at = self.dues.partition_point(|due| due.by <= by);
        let due = Due {
            by,
            end,
            value,
            blocker,
        };
        self.dues.insert(at, due);
    }

    /// A value that was due by `by` is taken.
    pub fn taken(&mut self, by: u64, value: &Value) {
        let first = self.dues.partition_point(|due| due.by < by);
        let at = (self.dues[first..].iter())
            .position(|due| due.value == *value)
            .expect("a value that is due is known");
        self.dues.remove(first + at);
    }

    /// Those put in before `at` are due by then; returns which of them were due later.
    pub fn hasten(&mut self, at: u64) -> Vec<Value> {
        let later = self.dues.partition_point(|due| due.by <= at);
        let mut hastened = Vec::new();
        for mut due in self.dues.split_off(later) {
            if due.end < at {
                hastened.push(due.value.clone());
                due.by = at;
                due.blocker = Blocker::Empty { at };
                self.dues
                    .insert(self.dues.partition_point(|due| due.by <= at), due);
            } else {
                self.dues.push(due);
            }
        }
        hastened
    }

    /// How many values are due by `at`.
    pub fn count_by(&self, at: u64) -> usize {
        self.dues.partition_point(|due| due.by <= at)
    }

    /// A value that no pending dequeue can have taken in time.
    pub fn missing(&self) -> Option<&Value> {
        let mut pending = 0;
        for (index, due) in self.dues.iter().enumerate() {
            while self
                .pending
                .get(pending)
                .is_some_and(|it| it.span.call < due.by)
            {
                pending += 1;
            }
            if pending + self.spare <= index {
                return Some(&due.value);
            }
        }
        None
    }

    /// Forgets what is decided: before `horizon` nothing is open, and nothing will become
    /// due. Returns the values that are gone.
    pub fn settle(&mut self, horizon: u64) -> Vec<Value> {
        let is_before = |it: &Pending| !it.is_open && it.span.call < horizon;
        while self.pending.front().is_some_and(is_before) {
            self.pending.pop_front();
            self.spare += 1;
        }
        let gone = self.dues.partition_point(|due| due.by < horizon);
        self.spare -= gone;
        self.dues.drain(..gone).map(|due| due.value).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.dues.is_empty() && self.pending.is_empty() && self.spare == 0
    }

    pub fn len(&self) -> usize {
        self.dues.len() + self.pending.len()
    }

    pub fn bytes(&self) -> usize {
        self.dues.capacity() * size_of::<Due>() + self.pending.capacity() * size_of::<Pending>()
    }

    pub fn blockers(&self) -> impl Iterator<Item = &Blocker> {
        self.dues.iter().map(|due| &due.blocker)
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
