//! The worked examples of `docs/algorithms/`, so that the pages stay true.

use std::collections::BTreeMap;

use veridical_checkers::{
    CheckerOptions, ListChecker, ObjectChecker, ObjectKind, ObjectModel, Rejection,
};
use veridical_histories::OperationId;
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, TxnStep, Value};

/// A history that is written down operation by operation, under short names.
#[derive(Default)]
struct Script {
    events: Vec<ObjectEvent>,
    numbers: BTreeMap<&'static str, u64>,
}

impl Script {
    fn call(mut self, name: &'static str, action: Action) -> Self {
        let number = self.numbers.len() as u64;
        self.numbers.insert(name, number);
        let request = Request {
            key: Value::Nil,
            action,
        };
        let now = self.events.len() as u64;
        let call = ObjectEvent::call(now, number, OperationId(number), request);
        self.events.push(call);
        self
    }

    fn returned(mut self, name: &'static str, answer: Answer) -> Self {
        let (now, number) = (self.events.len() as u64, self.numbers[name]);
        let end = ObjectEvent::returned(now, number, OperationId(number), answer);
        self.events.push(end);
        self
    }

    fn unknown(mut self, name: &'static str) -> Self {
        let (now, number) = (self.events.len() as u64, self.numbers[name]);
        let end = ObjectEvent::unknown(now, number, OperationId(number));
        self.events.push(end);
        self
    }

    /// An operation that nothing overlaps.
    fn alone(self, name: &'static str, action: Action, answer: Answer) -> Self {
        self.call(name, action).returned(name, answer)
    }

    /// The event that is wrong, counted from 1 as on the pages; `None` for `ok`.
    fn wrong_event(&self, kind: ObjectKind) -> Option<u64> {
        let (model, options) = (ObjectModel::new(kind), CheckerOptions::default());
        let mut lists = (kind == ObjectKind::ListAppend)
            .then(|| ListChecker::new(model.clone(), options.clone()));
        let mut objects = ObjectChecker::new(model, options);
        for event in &self.events {
            let result = match &mut lists {
                Some(lists) => lists.observe(event),
                None => objects.observe(event),
            };
            match result {
                Ok(()) => {}
                Err(Rejection::Violation(violation)) => return Some(violation.event + 1),
                Err(Rejection::Malformed(malformed)) => panic!("{malformed}"),
            }
        }
        let verdict = match &mut lists {
            Some(lists) => lists.finish(),
            None => objects.finish(),
        };
        assert!(
            verdict.is_ok() || verdict.violation().is_some(),
            "{verdict}"
        );
        verdict.violation().map(|violation| violation.event + 1)
    }
}

fn value(number: i64) -> Answer {
    Answer::Value(Value::Int(number))
}

#[test]
fn the_frontier_page_says_what_the_engine_says() {
    let text = |text: &str| Answer::Value(Value::text(text));
    let overlapping = || {
        Script::default()
            .call("A", Action::Append("a".into()))
            .call("B", Action::Append("b".into()))
            .call("R", Action::Read)
            .returned("A", Answer::Done)
            .returned("R", text("b"))
            .returned("B", Answer::Done)
    };
    let right = overlapping().alone("later", Action::Read, text("ba"));
    assert_eq!(right.wrong_event(ObjectKind::KvAppend), None);
    let wrong = overlapping().alone("later", Action::Read, text("ab"));
    assert_eq!(wrong.wrong_event(ObjectKind::KvAppend), Some(8));
}

#[test]
fn the_registers_page_says_what_the_engine_says() {
    let write = |number: i64| Action::Write(number.into());
    let cas = || Action::Cas {
        from: 5.into(),
        to: 9.into(),
    };
    let until_the_read = Script::default()
        .alone("first 5", write(5), Answer::Done)
        .call("1", write(1))
        .call("2", write(2))
        .unknown("1")
        .unknown("2")
        .alone("first cas", cas(), Answer::Applied(false))
        .alone("second 5", write(5), Answer::Done)
        .alone("second cas", cas(), Answer::Applied(false))
        .alone("read", Action::Read, value(2));
    assert_eq!(until_the_read.wrong_event(ObjectKind::CasRegister), None);
    let wrong = until_the_read
        .alone("third 5", write(5), Answer::Done)
        .alone("third cas", cas(), Answer::Applied(false));
    let last = wrong.events.len() as u64;
    assert_eq!(wrong.wrong_event(ObjectKind::CasRegister), Some(last));
}

#[test]
fn the_zones_page_says_what_the_engine_says() {
    let reads = |last: i64| {
        Script::default()
            .call("1", Action::Write(1.into()))
            .call("2", Action::Write(2.into()))
            .alone("first", Action::Read, value(1))
            .alone("second", Action::Read, value(2))
            .alone("third", Action::Read, value(last))
            .returned("1", Answer::Done)
            .returned("2", Answer::Done)
    };
    assert_eq!(reads(1).wrong_event(ObjectKind::Register), Some(8));
    assert_eq!(reads(2).wrong_event(ObjectKind::Register), None);
}

#[test]
fn the_collections_page_says_what_the_engine_says() {
    let enqueued = || {
        Script::default()
            .alone("1", Action::Enqueue(1.into()), Answer::Done)
            .alone("2", Action::Enqueue(2.into()), Answer::Done)
    };
    let overtaking = || {
        enqueued()
            .call("d", Action::Dequeue)
            .alone("e", Action::Dequeue, value(2))
    };
    let queue = ObjectKind::Queue;
    assert_eq!(
        overtaking().returned("d", value(1)).wrong_event(queue),
        None
    );
    let empty = Answer::Value(Value::Nil);
    assert_eq!(
        overtaking().returned("d", empty).wrong_event(queue),
        Some(8)
    );
    let alone = enqueued().alone("e", Action::Dequeue, value(2));
    assert_eq!(alone.wrong_event(queue), Some(6));

    let pushed = || {
        Script::default()
            .alone("1", Action::Push(1.into()), Answer::Done)
            .alone("2", Action::Push(2.into()), Answer::Done)
    };
    let stack = ObjectKind::Stack;
    let one_after_the_other =
        pushed()
            .alone("pop 1", Action::Pop, value(1))
            .alone("pop 2", Action::Pop, value(2));
    assert!(one_after_the_other.wrong_event(stack).is_some());
    let overlapping = pushed()
        .call("pop 1", Action::Pop)
        .alone("pop 2", Action::Pop, value(2))
        .returned("pop 1", value(1));
    assert_eq!(overlapping.wrong_event(stack), None);
}

#[test]
fn the_lists_page_says_what_the_engine_says() {
    let transaction = |read: &str, append: &str| {
        let steps = [(read, Action::Read), (append, Action::Append(1.into()))];
        let steps = steps.map(|(key, action)| TxnStep {
            key: key.into(),
            action,
        });
        Action::Txn(steps.to_vec())
    };
    let answer = |list: &[i64]| {
        let list = Value::list(list.iter().map(|number| Value::Int(*number)));
        Answer::Txn(vec![Answer::Value(list), Answer::Done])
    };
    let overlapping = |second: &[i64]| {
        Script::default()
            .call("T1", transaction("x", "y"))
            .call("T2", transaction("y", "x"))
            .returned("T1", answer(&[]))
            .returned("T2", answer(second))
    };
    assert_eq!(
        overlapping(&[]).wrong_event(ObjectKind::ListAppend),
        Some(4)
    );
    assert_eq!(overlapping(&[1]).wrong_event(ObjectKind::ListAppend), None);
}
