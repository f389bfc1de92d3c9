//! Instants at which the queue may have been empty.
//!
//! Only those just before the return of an enqueue, or of the answer "empty" itself, need
//! be looked at: between two of them the later one is never worse.

use super::super::{NEVER, Span};

/// How many answers may wait for their instant; with more, engine A takes over.
const UNRESOLVED_MAX: usize = 256;

/// The instant just before an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instant {
    at: u64,
    /// Values put in before it that were not taken: they have to be gone by then.
    needed: usize,
    /// Dequeues called before it that may have taken them.
    usable: usize,
}

impl Instant {
    /// A value put in at the event `end` was taken by a dequeue called at `call`; whether
    /// the queue can still have been empty.
    fn taken(&mut self, end: u64, call: u64) -> bool {
        if end < self.at {
            if call > self.at {
                return false;
            }
            self.needed -= 1;
        }
        self.withdrawn(call)
    }

    /// A dequeue called at `call` takes none of the values.
    fn withdrawn(&mut self, call: u64) -> bool {
        if call < self.at {
            self.usable -= 1;
        }
        self.needed <= self.usable
    }
}

/// Drops instants that are no better than a later one: the same values have to be gone.
fn prune(instants: &mut Vec<Instant>) {
    let mut later = None;
    for index in (0..instants.len()).rev() {
        if later == Some(instants[index].needed) {
            instants.remove(index);
        } else {
            later = Some(instants[index].needed);
        }
    }
}

/// An answer "empty" whose instant is not found yet.
#[derive(Debug)]
struct Empty {
    span: Span,
    instants: Vec<Instant>,
}

/// Instants that matter to open dequeues and to answers.
#[derive(Debug, Default)]
pub(super) struct Instants {
    /// Instants since the call of the oldest open dequeue.
    recent: Vec<Instant>,
    unresolved: Vec<Empty>,
}

impl Instants {
    /// An enqueue returns at the event `at`; `needed` values were in before.
    pub fn put_in(&mut self, at: u64, needed: usize, usable: usize) {
        if needed > usable {
            return;
        }
        if self.recent.last().is_some_and(|it| it.needed == needed) {
            self.recent.pop();
        }
        self.recent.push(Instant { at, needed, usable });
    }

    fn update(&mut self, update: impl Fn(&mut Instant) -> bool) {
        self.recent.retain_mut(&update);
        prune(&mut self.recent);
        for empty in &mut self.unresolved {
            empty.instants.retain_mut(&update);
            prune(&mut empty.instants);
        }
    }

    pub fn taken(&mut self, end: u64, call: u64) {
        self.update(|instant| instant.taken(end, call));
    }

    pub fn withdrawn(&mut self, call: u64) {
        self.update(|instant| instant.withdrawn(call));
    }

    /// A value that has to be gone, and a dequeue that took it for certain, go together.
    pub fn cancelled(&mut self) {
        self.update(|instant| {
            instant.needed -= 1;
            instant.usable -= 1;
            true
        });
    }

    /// A dequeue answered "empty".
    pub fn found_empty(&mut self, span: Span, needed: usize, usable: usize) {
        let since = self.recent.partition_point(|it| it.at <= span.call);
        let mut instants = self.recent[since..].to_vec();
        if needed <= usable {
            let at = span.end;
            instants.push(Instant { at, needed, usable });
        }
        prune(&mut instants);
        self.unresolved.push(Empty { span, instants });
    }

    /// An answer for which no instant is left.
    pub fn contradicted(&self) -> Option<Span> {
        let empty = self.unresolved.iter().find(|it| it.instants.is_empty())?;
        Some(empty.span)
    }

    /// Takes out an answer whose instant is certain, and returns the instant: it is the only
    /// one, or it is the first of several and every open dequeue was called after the last. In
    /// the second case only dequeues of unknown outcome can have taken what has to be gone, and
    /// whatever rules the first instant out rules out the others. Answers with an instant before
    /// which every needed value has a deadline (`count_due_by` counts those) are explained, and
    /// are dropped.
    pub fn take_decided(
        &mut self,
        oldest_open: u64,
        count_due_by: impl Fn(u64) -> usize,
    ) -> Option<u64> {
        self.unresolved.retain(|empty| {
            let is_free = |it: &Instant| it.needed == 0 || it.needed == count_due_by(it.at);
            !empty.instants.iter().any(is_free)
        });
        let decided = self.unresolved.iter().position(|empty| {
            let last = empty.instants.last();
            empty.instants.len() == 1 || last.is_some_and(|last| last.at < oldest_open)
        })?;
        Some(self.unresolved.swap_remove(decided).instants[0].at)
    }

    /// Forgets what no dequeue called at `oldest_open` or later needs.
    pub fn forget(&mut self, oldest_open: u64) {
        self.recent.retain(|instant| instant.at > oldest_open);
    }

    /// The first instant that still matters.
    pub fn earliest(&self) -> u64 {
        let unresolved = self.unresolved.iter().flat_map(|empty| &empty.instants);
        let all = self.recent.iter().chain(unresolved);
        all.map(|instant| instant.at).min().unwrap_or(NEVER)
    }

    /// The first call of an answer that waits.
    pub fn oldest(&self) -> u64 {
        let calls = self.unresolved.iter().map(|empty| empty.span.call);
        calls.min().unwrap_or(NEVER)
    }

    pub fn is_crowded(&self) -> bool {
        self.unresolved.len() >= UNRESOLVED_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.unresolved.is_empty()
    }

    pub fn unresolved(&self) -> impl Iterator<Item = &Span> {
        self.unresolved.iter().map(|empty| &empty.span)
    }

    pub fn bytes(&self) -> usize {
        let instants = (self.unresolved.iter())
            .map(|empty| empty.instants.capacity())
            .sum::<usize>()
            + self.recent.capacity();
        instants * size_of::<Instant>() + self.unresolved.capacity() * size_of::<Empty>()
    }
}
