//! Which model a history is judged by where nobody says so.
//!
//! A guess is made only where every other model that knows the operations would come to the same
//! verdict, and it always carries its reason.

use rustc_hash::FxHashSet;
use veridical_histories::object::{Action, Answer, ObjectEvent, Value};
use veridical_histories::{EventKind, OperationId};

use crate::models::ObjectKind;

/// What a history seems to be about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guess {
    pub kind: ObjectKind,
    /// What it was told from: the end of a sentence that begins with "because".
    pub because: &'static str,
}

/// What the calls and answers of a history's beginning show.
#[derive(Debug, Default)]
struct Evidence {
    writes: bool,
    compare_and_swaps: bool,
    deletions: bool,
    text_appends: bool,
    other_appends: bool,
    transactions: bool,
    number_adds: bool,
    other_adds: bool,
    set_operations: bool,
    queue: bool,
    stack: bool,
    lock: bool,
    increments: bool,
    log: bool,
    list_reads: bool,
    number_reads: bool,
    text_reads: bool,
    nil_reads: bool,
    /// A read found an empty text that nobody had written.
    unwritten_empty_text: bool,
    empty_text_writes: bool,
}

impl Evidence {
    fn of<'a>(events: impl IntoIterator<Item = &'a ObjectEvent>) -> Self {
        let mut evidence = Self::default();
        let mut reads: FxHashSet<OperationId> = FxHashSet::default();
        for event in events {
            match &event.kind {
                EventKind::Call { op, input } => {
                    if input.action == Action::Read {
                        reads.insert(*op);
                    }
                    evidence.called(&input.action);
                }
                EventKind::Return { op, output } => {
                    if reads.remove(op)
                        && let Answer::Value(value) = output
                    {
                        evidence.read(value);
                    }
                }
                EventKind::Unknown { op } | EventKind::Failed { op } => {
                    reads.remove(op);
                }
                EventKind::Note { note } => match *note {},
            }
        }
        evidence
    }

    fn called(&mut self, action: &Action) {
        match action {
            Action::Read => {}
            Action::Write(value) => {
                self.writes = true;
                self.empty_text_writes |= *value == Value::text("");
            }
            Action::Cas { to, .. } => {
                self.compare_and_swaps = true;
                self.empty_text_writes |= *to == Value::text("");
            }
            Action::Delete => self.deletions = true,
            Action::Append(Value::Text(_)) => self.text_appends = true,
            Action::Append(_) => self.other_appends = true,
            Action::Txn(_) => self.transactions = true,
            Action::Add(Value::Int(_)) => self.number_adds = true,
            Action::Add(_) => self.other_adds = true,
            Action::Remove(_) | Action::Contains(_) => self.set_operations = true,
            Action::Enqueue(_) | Action::Dequeue => self.queue = true,
            Action::Push(_) | Action::Pop => self.stack = true,
            Action::Acquire(_) | Action::Release(_) => self.lock = true,
            Action::Increment(_) => self.increments = true,
            Action::LogAppend(_) | Action::CheckTail => self.log = true,
        }
    }

    fn read(&mut self, value: &Value) {
        match value {
            Value::Nil => self.nil_reads = true,
            Value::Int(_) => self.number_reads = true,
            Value::Text(text) => {
                self.text_reads = true;
                self.unwritten_empty_text |= text.is_empty() && !self.empty_text_writes;
            }
            Value::List(_) => self.list_reads = true,
        }
    }

    fn has_register(&self) -> bool {
        self.writes || self.compare_and_swaps || self.deletions
    }

    fn has_adds(&self) -> bool {
        self.number_adds || self.other_adds
    }

    /// The groups of operations that are there, each of which some model has and no other group.
    fn groups(&self) -> usize {
        let appends = self.text_appends || self.other_appends;
        let groups = [
            self.has_register() && !appends,
            appends || self.transactions,
            self.has_adds() || self.set_operations || self.increments,
            self.queue,
            self.stack,
            self.lock,
            self.log,
        ];
        groups.into_iter().filter(|is_there| *is_there).count()
    }
}

/// The model of a history that begins with these events.
///
/// # Errors
/// Why none can be told, for a person.
pub(super) fn guess<'a>(
    events: impl IntoIterator<Item = &'a ObjectEvent>,
) -> Result<Guess, &'static str> {
    let evidence = Evidence::of(events);
    if evidence.groups() > 1 {
        return Err("it has operations that no model has together");
    }
    let told = |kind, because| Ok(Guess { kind, because });
    if evidence.queue {
        return told(ObjectKind::Queue, "it has enqueues and dequeues");
    }
    if evidence.stack {
        return told(ObjectKind::Stack, "it has pushes and pops");
    }
    if evidence.lock {
        return told(ObjectKind::Lock, "it has acquisitions and releases");
    }
    if evidence.log {
        return told(ObjectKind::Log, "it appends records to a log");
    }
    if evidence.has_adds() || evidence.set_operations || evidence.increments {
        return guess_of_adds(&evidence);
    }
    if evidence.text_appends || evidence.other_appends || evidence.transactions {
        return guess_of_appends(&evidence);
    }
    guess_of_registers(&evidence)
}

fn guess_of_adds(evidence: &Evidence) -> Result<Guess, &'static str> {
    let is_set = evidence.set_operations || evidence.other_adds || evidence.list_reads;
    let is_counter = evidence.increments || evidence.number_reads;
    match (is_set, is_counter) {
        (true, true) => Err("what is added to is read as a set and as a number"),
        (false, true) => Ok(Guess {
            kind: ObjectKind::Counter,
            because: "what is added to is read as a number",
        }),
        (true, false) => Ok(Guess {
            kind: ObjectKind::Set,
            because: "it has the operations of a set",
        }),
        // Nothing was read, or nothing was there: a counter is never nil.
        (false, false) => Ok(Guess {
            kind: ObjectKind::Set,
            because: "it has additions and nobody read a number",
        }),
    }
}

fn guess_of_appends(evidence: &Evidence) -> Result<Guess, &'static str> {
    let has_lists = evidence.transactions || evidence.other_appends || evidence.list_reads;
    let has_texts = evidence.text_reads || evidence.has_register();
    match (has_lists, has_texts) {
        (true, true) => Err("what is appended to is read as a list and as a text"),
        (true, false) => Ok(Guess {
            kind: ObjectKind::ListAppend,
            because: "it appends to lists",
        }),
        (false, false) if evidence.nil_reads => {
            Err("a text begins empty and a list as nil, and nobody read anything else than nil")
        }
        (false, _) => Ok(Guess {
            kind: ObjectKind::KvAppend,
            because: "it appends to texts, which begin empty",
        }),
    }
}

fn guess_of_registers(evidence: &Evidence) -> Result<Guess, &'static str> {
    if evidence.unwritten_empty_text {
        return Err(
            "an empty text was read that nobody had written: of a kv-append, where texts begin \
             empty, of a register with --initial '\"\"', or wrongly",
        );
    }
    let (kind, because) = if evidence.deletions {
        (ObjectKind::Kv, "it has deletions")
    } else if evidence.compare_and_swaps {
        (ObjectKind::CasRegister, "it has compare-and-swaps")
    } else {
        (ObjectKind::Register, "it has reads and writes alone")
    };
    Ok(Guess { kind, because })
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_histories::object::Request;

    /// A history of operations one after the other.
    fn history(operations: Vec<(Action, Option<Answer>)>) -> Vec<ObjectEvent> {
        let mut events = Vec::new();
        for (at, (action, answer)) in operations.into_iter().enumerate() {
            let op = OperationId(at as u64);
            let key = Value::Nil;
            events.push(ObjectEvent::call(0, 0, op, Request { key, action }));
            events.extend(answer.map(|answer| ObjectEvent::returned(0, 0, op, answer)));
        }
        events
    }

    fn guessed(operations: Vec<(Action, Option<Answer>)>) -> Option<ObjectKind> {
        guess(&history(operations)).ok().map(|guess| guess.kind)
    }

    fn read(value: impl Into<Value>) -> (Action, Option<Answer>) {
        (Action::Read, Some(Answer::Value(value.into())))
    }

    fn nil_read() -> (Action, Option<Answer>) {
        (Action::Read, Some(Answer::Value(Value::Nil)))
    }

    #[test]
    fn additions_are_of_a_counter_where_a_number_is_read_and_of_a_set_otherwise() {
        let add = || (Action::Add(1.into()), Some(Answer::Done));
        let list = || read(Value::List(Vec::new().into()));
        assert_eq!(guessed(vec![add(), read(1)]), Some(ObjectKind::Counter));
        assert_eq!(guessed(vec![add(), list()]), Some(ObjectKind::Set));
        assert_eq!(guessed(vec![add()]), Some(ObjectKind::Set));
        assert_eq!(guessed(vec![add(), read(1), list()]), None);
    }

    #[test]
    fn appends_of_text_are_told_by_what_is_read() {
        let append = || (Action::Append("a".into()), Some(Answer::Done));
        let list = || read(Value::list(["a".into()]));
        assert_eq!(
            guessed(vec![append(), read("a")]),
            Some(ObjectKind::KvAppend)
        );
        assert_eq!(
            guessed(vec![append(), list()]),
            Some(ObjectKind::ListAppend)
        );
        assert_eq!(guessed(vec![append()]), Some(ObjectKind::KvAppend));
        assert_eq!(guessed(vec![append(), nil_read()]), None);
        assert_eq!(guessed(vec![append(), read("a"), list()]), None);
    }

    #[test]
    fn registers_are_told_by_what_they_can_and_not_where_they_begin_otherwise() {
        let write = || (Action::Write(1.into()), Some(Answer::Done));
        let cas = (
            Action::Cas {
                from: 1.into(),
                to: 2.into(),
            },
            None,
        );
        assert_eq!(guessed(vec![nil_read()]), Some(ObjectKind::Register));
        assert_eq!(guessed(vec![write(), cas]), Some(ObjectKind::CasRegister));
        let delete = (Action::Delete, None);
        assert_eq!(guessed(vec![write(), delete]), Some(ObjectKind::Kv));
        assert_eq!(guessed(vec![write(), read("")]), None);
        let empty = (Action::Write("".into()), None);
        assert_eq!(guessed(vec![empty, read("")]), Some(ObjectKind::Register));
    }

    #[test]
    fn operations_that_no_model_has_together_are_not_guessed() {
        let write = (Action::Write(1.into()), None);
        let push = (Action::Push(1.into()), None);
        assert_eq!(guessed(vec![write, push]), None);
    }
}
