//! Every small history there is: of up to four operations for each model, of five for
//! registers, over few values; every engine that judges the model, against brute force.

use veridical_checkers::brute_force::sequential::is_linearizable;
use veridical_checkers::{
    CheckerOptions, ObjectChecker, ObjectKind, ObjectModel, Verdict, check_events,
};
use veridical_histories::OperationId;
use veridical_histories::jsonl;
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, TxnStep, Value};

/// What can be done, and how it can end; `None` is an unknown outcome.
type Choice = (Action, Option<Answer>);

/// All orders of the calls and ends of `count` operations that are numbered by call.
fn orders(count: usize) -> Vec<Vec<usize>> {
    fn extend(
        count: usize,
        called: usize,
        open: &[usize],
        order: &[usize],
        all: &mut Vec<Vec<usize>>,
    ) {
        if order.len() == 2 * count {
            all.push(order.to_vec());
            return;
        }
        let with = |operation: usize| [order, &[operation]].concat();
        if called < count {
            extend(
                count,
                called + 1,
                &[open, &[called]].concat(),
                &with(called),
                all,
            );
        }
        for (at, operation) in open.iter().enumerate() {
            let open = [&open[..at], &open[at + 1..]].concat();
            extend(count, called, &open, &with(*operation), all);
        }
    }
    let mut all = Vec::new();
    extend(count, 0, &[], &[], &mut all);
    all
}

fn events(choices: &[&Choice], order: &[usize]) -> Vec<ObjectEvent> {
    let mut called = 0;
    let event = |(now, index): (usize, &usize)| {
        let (action, answer) = choices[*index];
        let (now, op) = (now as u64, OperationId(*index as u64));
        if *index == called {
            called += 1;
            let key = Value::Nil;
            let action = action.clone();
            ObjectEvent::call(now, op.0, op, Request { key, action })
        } else if let Some(answer) = answer {
            ObjectEvent::returned(now, op.0, op, answer.clone())
        } else {
            ObjectEvent::unknown(now, op.0, op)
        }
    };
    order.iter().enumerate().map(event).collect()
}

fn print(events: &[ObjectEvent]) -> String {
    let mut writer = jsonl::Writer::new(Vec::new());
    events.iter().for_each(|event| writer.write(event).unwrap());
    String::from_utf8(writer.finish().unwrap()).unwrap()
}

/// The verdict of the engines for objects, which hand keys over to each other.
fn is_ok(model: &ObjectModel, events: &[ObjectEvent]) -> bool {
    let mut checker = ObjectChecker::new(model.clone(), CheckerOptions::default());
    events.iter().all(|event| checker.observe(event).is_ok()) && checker.finish() == Verdict::Ok
}

/// Every history of up to `most` of these operations.
fn check_all(kind: ObjectKind, choices: &[Choice], most: usize) {
    let model = ObjectModel::new(kind);
    let mut count = [0u64; 2];
    for operations in 1..=most {
        let orders = orders(operations);
        for number in 0..choices.len().pow(operations as u32) {
            let digit = |at| number / choices.len().pow(at as u32) % choices.len();
            let chosen: Vec<&Choice> = (0..operations).map(|at| &choices[digit(at)]).collect();
            for order in &orders {
                let events = events(&chosen, order);
                let expected = is_linearizable(&model, &events);
                let general = check_events(model.clone(), &events).unwrap().is_ok();
                let special = is_ok(&model, &events);
                assert!(
                    general == expected && special == expected,
                    "{kind}: {expected}, but engine A {general} and the others {special}\n{}",
                    print(&events)
                );
                count[usize::from(expected)] += 1;
            }
        }
    }
    println!("{kind}: {} ok, {} violations", count[1], count[0]);
    assert!(count[0] > 10_000 && count[1] > 10_000, "{count:?}");
}

const DONE: Option<Answer> = Some(Answer::Done);
const YES: Option<Answer> = Some(Answer::Applied(true));
const NO: Option<Answer> = Some(Answer::Applied(false));

fn value(value: impl Into<Value>) -> Option<Answer> {
    Some(Answer::Value(value.into()))
}

fn cas(from: impl Into<Value>, to: impl Into<Value>) -> Action {
    let (from, to) = (from.into(), to.into());
    Action::Cas { from, to }
}

#[test]
fn registers_with_five_operations() {
    let choices = [
        (Action::Read, value(Value::Nil)),
        (Action::Read, value(1)),
        (Action::Write(1.into()), DONE),
        (Action::Write(1.into()), None),
    ];
    check_all(ObjectKind::Register, &choices, 5);
}

#[test]
fn registers() {
    let choices = [
        (Action::Read, value(Value::Nil)),
        (Action::Read, value(1)),
        (Action::Read, value(2)),
        (Action::Write(1.into()), DONE),
        (Action::Write(2.into()), DONE),
        (Action::Write(1.into()), None),
        (Action::Delete, YES),
    ];
    check_all(ObjectKind::Kv, &choices, 4);
}

#[test]
fn registers_with_compare_and_swap() {
    let choices = [
        (Action::Read, value(1)),
        (Action::Write(1.into()), DONE),
        (cas(Value::Nil, 1), YES),
        (cas(Value::Nil, 1), NO),
        (cas(1, Value::Nil), YES),
        (cas(1, 2), YES),
        (cas(1, 2), NO),
        (cas(1, 2), None),
    ];
    check_all(ObjectKind::CasRegister, &choices, 4);
}

#[test]
fn locks() {
    let choices = [
        (Action::Acquire(1.into()), YES),
        (Action::Acquire(1.into()), NO),
        (Action::Acquire(2.into()), YES),
        (Action::Acquire(2.into()), None),
        (Action::Release(1.into()), YES),
        (Action::Release(1.into()), NO),
    ];
    check_all(ObjectKind::Lock, &choices, 4);
}

#[test]
fn sets() {
    let choices = [
        (Action::Add(1.into()), YES),
        (Action::Add(1.into()), None),
        (Action::Remove(1.into()), YES),
        (Action::Contains(1.into()), YES),
        (Action::Contains(1.into()), NO),
        (Action::Read, value(Value::list([1.into(), 2.into()]))),
        (Action::Add(2.into()), None),
    ];
    check_all(ObjectKind::Set, &choices, 4);
}

#[test]
fn queues() {
    let choices = [
        (Action::Enqueue(1.into()), DONE),
        (Action::Enqueue(2.into()), DONE),
        (Action::Enqueue(1.into()), None),
        (Action::Dequeue, value(1)),
        (Action::Dequeue, value(2)),
        (Action::Dequeue, value(Value::Nil)),
        (Action::Dequeue, None),
    ];
    check_all(ObjectKind::Queue, &choices, 4);
}

#[test]
fn stacks() {
    let choices = [
        (Action::Push(1.into()), DONE),
        (Action::Push(2.into()), DONE),
        (Action::Push(1.into()), None),
        (Action::Pop, value(1)),
        (Action::Pop, value(2)),
        (Action::Pop, value(Value::Nil)),
        (Action::Pop, None),
    ];
    check_all(ObjectKind::Stack, &choices, 4);
}

#[test]
fn counters() {
    let choices = [
        (Action::Increment(1), value(1)),
        (Action::Increment(1), value(2)),
        (Action::Increment(2), None),
        (Action::Read, value(0)),
        (Action::Read, value(1)),
        (Action::Read, value(3)),
    ];
    check_all(ObjectKind::Counter, &choices, 4);
}

#[test]
fn texts_with_append() {
    let choices = [
        (Action::Append("a".into()), DONE),
        (Action::Append("b".into()), DONE),
        (Action::Append("a".into()), None),
        (Action::Read, value("")),
        (Action::Read, value("a")),
        (Action::Read, value("ab")),
    ];
    check_all(ObjectKind::KvAppend, &choices, 4);
}

#[test]
fn lists_with_transactions() {
    let step = |key: i64, action| TxnStep {
        key: key.into(),
        action,
    };
    let append = |key, number: i64| step(key, Action::Append(number.into()));
    let read = |numbers: &[i64]| {
        let numbers = numbers.iter().map(|number| Value::Int(*number));
        Answer::Value(Value::list(numbers))
    };
    let one = Action::Txn(vec![append(1, 1)]);
    let both = Action::Txn(vec![append(1, 2), append(2, 2)]);
    let see = |a: &[i64], b: &[i64]| {
        let steps = vec![step(1, Action::Read), step(2, Action::Read)];
        (
            Action::Txn(steps),
            Some(Answer::Txn(vec![read(a), read(b)])),
        )
    };
    let choices = [
        (one.clone(), Some(Answer::Txn(vec![Answer::Done]))),
        (one, None),
        (
            both.clone(),
            Some(Answer::Txn(vec![Answer::Done, Answer::Done])),
        ),
        (both, None),
        see(&[1], &[]),
        see(&[1, 2], &[2]),
    ];
    check_all(ObjectKind::ListAppend, &choices, 4);
}
