//! Every small history there is: of up to five operations for each model, over few values;
//! every engine that judges the model, against brute force.
//!
//! Whether a history is right depends on what was done, what was answered, and which
//! operation ended before which was called. So histories that agree in that are drawn once:
//! time passes in rounds, of calls and then of returns, and a history is a set of operations
//! with the round of the call and that of the return. Which operation has which number, in
//! which order those of a round are called or return, and where the end of one of unknown
//! outcome is told, is drawn at random.

use veridical_checkers::brute_force::sequential::is_linearizable;
use veridical_checkers::{
    CheckerOptions, ObjectChecker, ObjectKind, ObjectModel, Verdict, check_events,
};
use veridical_histories::OperationId;
use veridical_histories::jsonl;
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, TxnStep, Value};
use veridical_histories::random::Random;

/// The most operations of a history.
const OPERATIONS_MAX: usize = 5;

/// What can be done, and how it can end; `None` is an unknown outcome.
type Choice = (Action, Option<Answer>);

/// One operation: which choice, the round of its call, and that of its return; those of
/// unknown outcome have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    choice: usize,
    call: usize,
    end: Option<usize>,
}

/// Every set of `count` operations in `rounds` rounds, each of which has a call and, but for
/// the last, a return: otherwise it would be one with the next.
fn histories(choices: &[Choice], count: usize, rounds: usize, visit: &mut dyn FnMut(&[Placed])) {
    let mut kinds = Vec::new();
    for (choice, (_, answer)) in choices.iter().enumerate() {
        for call in 0..rounds {
            if answer.is_none() {
                let end = None;
                kinds.push(Placed { choice, call, end });
            } else {
                kinds.extend((call..rounds).map(|end| Placed {
                    choice,
                    call,
                    end: Some(end),
                }));
            }
        }
    }
    fn extend(
        kinds: &[Placed],
        first: usize,
        left: usize,
        drawn: &mut Vec<Placed>,
        visit: &mut dyn FnMut(&[Placed]),
    ) {
        if left == 0 {
            return visit(drawn);
        }
        for at in first..kinds.len() {
            drawn.push(kinds[at]);
            extend(kinds, at, left - 1, drawn, visit);
            drawn.pop();
        }
    }
    extend(&kinds, 0, count, &mut Vec::new(), &mut |drawn| {
        let has_call = |round| drawn.iter().any(|placed| placed.call == round);
        let has_end = |round| drawn.iter().any(|placed| placed.end == Some(round));
        if (0..rounds).all(has_call) && (0..rounds - 1).all(has_end) {
            visit(drawn);
        }
    });
}

fn shuffled<T>(random: &mut Random, mut of: Vec<T>) -> Vec<T> {
    for at in (1..of.len()).rev() {
        of.swap(at, random.index(at + 1));
    }
    of
}

fn events(choices: &[Choice], drawn: &[Placed], random: &mut Random) -> Vec<ObjectEvent> {
    let numbers = shuffled(random, (0..drawn.len() as u64).collect());
    let operations: Vec<(u64, Placed)> = numbers.into_iter().zip(drawn.iter().copied()).collect();
    let mut events: Vec<ObjectEvent> = Vec::new();
    let mut untold = Vec::new();
    let last = drawn.iter().map(|placed| placed.call).max().unwrap_or(0);
    for round in 0..=last {
        for (number, placed) in shuffled(random, operations.clone()) {
            if placed.call == round {
                let (key, action) = (Value::Nil, choices[placed.choice].0.clone());
                let op = OperationId(number);
                let now = events.len() as u64;
                events.push(ObjectEvent::call(now, number, op, Request { key, action }));
                if placed.end.is_none() {
                    untold.push(number);
                }
            }
        }
        for (number, placed) in shuffled(random, operations.clone()) {
            let (now, op) = (events.len() as u64, OperationId(number));
            if placed.end == Some(round) {
                let answer = choices[placed.choice].1.clone();
                let answer = answer.expect("what has no answer has no end");
                events.push(ObjectEvent::returned(now, number, op, answer));
            } else if untold.contains(&number) && random.chance(0.4) {
                untold.retain(|other| *other != number);
                events.push(ObjectEvent::unknown(now, number, op));
            }
        }
    }
    events
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

/// Every history of up to five of these operations.
fn check_all(kind: ObjectKind, choices: &[Choice]) {
    let model = ObjectModel::new(kind);
    let mut count = [0u64; 2];
    let mut random = Random::new(5);
    for operations in 1..=OPERATIONS_MAX {
        for rounds in 1..=operations {
            histories(choices, operations, rounds, &mut |drawn| {
                let events = events(choices, drawn, &mut random);
                let expected = is_linearizable(&model, &events);
                let general = check_events(model.clone(), &events).unwrap().is_ok();
                let special = is_ok(&model, &events);
                assert!(
                    general == expected && special == expected,
                    "{kind}: {expected}, but engine A {general} and the others {special}\n{}",
                    print(&events)
                );
                count[usize::from(expected)] += 1;
            });
        }
    }
    println!("{kind}: {} ok, {} violations", count[1], count[0]);
    assert!(count[0] > 50_000 && count[1] > 4_000, "{count:?}");
}

/// There are 53 ways in which five intervals that are not told apart can overlap (Fishburn
/// 1970), and 15, 5, 2 and 1 of fewer.
#[test]
fn every_order_of_intervals_is_drawn_once() {
    let choices = [(Action::Read, value(1))];
    let count = |operations: usize| {
        let mut orders = 0;
        for rounds in 1..=operations {
            histories(&choices, operations, rounds, &mut |drawn| {
                // A last round without a return is one of unknown outcomes alone.
                assert!(drawn.iter().any(|placed| placed.end == Some(rounds - 1)));
                orders += 1;
            });
        }
        orders
    };
    assert_eq!([1, 2, 3, 4, 5].map(count), [1, 2, 5, 15, 53]);
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
    check_all(ObjectKind::Kv, &choices);
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
    check_all(ObjectKind::CasRegister, &choices);
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
    check_all(ObjectKind::Lock, &choices);
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
    check_all(ObjectKind::Set, &choices);
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
    check_all(ObjectKind::Queue, &choices);
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
    check_all(ObjectKind::Stack, &choices);
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
    check_all(ObjectKind::Counter, &choices);
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
    check_all(ObjectKind::KvAppend, &choices);
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
    check_all(ObjectKind::ListAppend, &choices);
}
