//! The graph of list-append transactions against brute force and against engine A.

use veridical_checkers::brute_force::sequential::is_linearizable;
use veridical_checkers::{
    CheckerOptions, ListChecker, ObjectKind, ObjectModel, Rejection, Verdict, check_events,
};
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, TxnStep, Value};
use veridical_histories::random::Random;
use veridical_histories::{EventKind, OperationId};

/// How many histories each test draws, times this factor; CI sets it higher.
fn scale() -> u64 {
    std::env::var("VERIDICAL_HISTORIES_SCALE")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1)
}

fn model() -> ObjectModel {
    ObjectModel::new(ObjectKind::ListAppend)
}

/// Feeds a history and returns the verdict.
fn check(events: &[ObjectEvent]) -> Verdict {
    let mut checker = ListChecker::new(model(), CheckerOptions::default());
    for event in events {
        match checker.observe(event) {
            Ok(()) => {}
            Err(Rejection::Violation(violation)) => return Verdict::Violation(violation),
            Err(Rejection::Malformed(malformed)) => panic!("{malformed}"),
        }
    }
    checker.finish()
}

/// A store of lists with clients whose transactions overlap: each takes effect at some
/// moment between its call and its end.
struct Generator {
    random: Random,
    lists: std::collections::BTreeMap<i64, Vec<Value>>,
    events: Vec<ObjectEvent>,
    next_value: i64,
    keys: u64,
    unknown_share: f64,
    failed_share: f64,
}

struct Running {
    op: OperationId,
    client: u64,
    steps: Vec<TxnStep>,
    answer: Option<Answer>,
    /// It ends without an outcome, or fails.
    end: End,
}

#[derive(PartialEq)]
enum End {
    Known,
    Unknown { takes_effect: bool },
    Failed,
}

impl Generator {
    fn steps(&mut self) -> Vec<TxnStep> {
        (0..1 + self.random.below(3))
            .map(|_| {
                let key = Value::Int(self.random.below(self.keys) as i64);
                let action = if self.random.below(2) == 0 {
                    Action::Read
                } else {
                    self.next_value += 1;
                    Action::Append(Value::Int(self.next_value))
                };
                TxnStep { key, action }
            })
            .collect()
    }

    fn apply(&mut self, steps: &[TxnStep]) -> Answer {
        let answers = steps.iter().map(|step| {
            let Value::Int(key) = step.key else {
                unreachable!()
            };
            let list = self.lists.entry(key).or_default();
            match &step.action {
                Action::Append(value) => {
                    list.push(value.clone());
                    Answer::Done
                }
                _ => Answer::Value(Value::List(list.clone().into())),
            }
        });
        Answer::Txn(answers.collect())
    }

    fn run(mut self, operations: u64, clients: usize) -> Vec<ObjectEvent> {
        let mut running: Vec<Option<Running>> = (0..clients).map(|_| None).collect();
        let mut client_numbers: Vec<u64> = (0..clients as u64).collect();
        let mut called = 0;
        while called < operations || running.iter().any(Option::is_some) {
            let at = self.random.index(clients);
            let now = self.events.len() as u64;
            match running[at].take() {
                None if called < operations => {
                    let steps = self.steps();
                    let op = OperationId(called);
                    called += 1;
                    let draw = self.random.below(1000) as f64 / 1000.0;
                    let end = if draw < self.unknown_share {
                        let takes_effect = self.random.below(2) == 0;
                        End::Unknown { takes_effect }
                    } else if draw < self.unknown_share + self.failed_share {
                        End::Failed
                    } else {
                        End::Known
                    };
                    let request = Request {
                        key: Value::Nil,
                        action: Action::Txn(steps.clone()),
                    };
                    let client = client_numbers[at];
                    self.events
                        .push(ObjectEvent::call(now, client, op, request));
                    running[at] = Some(Running {
                        op,
                        client,
                        steps,
                        answer: None,
                        end,
                    });
                }
                None => {}
                Some(mut one) if one.answer.is_none() && one.end != End::Failed => {
                    one.answer = Some(match one.end {
                        End::Unknown {
                            takes_effect: false,
                        } => Answer::Done,
                        _ => self.apply(&one.steps),
                    });
                    // The outcome may be lost before the effect.
                    if matches!(one.end, End::Unknown { .. }) && self.random.below(2) == 0 {
                        client_numbers[at] += clients as u64;
                        self.events
                            .push(ObjectEvent::unknown(now, one.client, one.op));
                    } else {
                        running[at] = Some(one);
                    }
                }
                Some(one) => {
                    let event = match (one.end, one.answer) {
                        (End::Known, Some(answer)) => {
                            ObjectEvent::returned(now, one.client, one.op, answer)
                        }
                        (End::Failed, _) => ObjectEvent::failed(now, one.client, one.op),
                        _ => {
                            client_numbers[at] += clients as u64;
                            ObjectEvent::unknown(now, one.client, one.op)
                        }
                    };
                    self.events.push(event);
                }
            }
        }
        self.events
    }
}

fn history(seed: u64, operations: u64, clients: usize, keys: u64) -> Vec<ObjectEvent> {
    let mut random = Random::new(seed);
    let unknown_share = *random.pick(&[0.0, 0.1, 0.4]);
    let failed_share = *random.pick(&[0.0, 0.1]);
    let generator = Generator {
        random,
        lists: Default::default(),
        events: Vec::new(),
        next_value: 0,
        keys,
        unknown_share,
        failed_share,
    };
    generator.run(operations, clients)
}

/// Changes what one transaction read, or swaps the answers of two, or moves an event.
fn spoil(events: &mut [ObjectEvent], random: &mut Random) {
    let returns: Vec<usize> = (0..events.len())
        .filter(|at| matches!(events[*at].kind, EventKind::Return { .. }))
        .collect();
    if returns.is_empty() {
        return;
    }
    let at = *random.pick(&returns);
    let other = random.index(events.len());
    if random.below(4) == 0 && other > 0 {
        // Two events of different operations change places, so that real time says something else.
        let (a, b) = (other - 1, other);
        if events[a].operation() != events[b].operation() {
            events.swap(a, b);
        }
        return;
    }
    let lists: Vec<Value> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Return {
                output: Answer::Txn(answers),
                ..
            } => Some(answers),
            _ => None,
        })
        .flatten()
        .filter_map(|answer| match answer {
            Answer::Value(list) => Some(list.clone()),
            _ => None,
        })
        .collect();
    let EventKind::Return {
        output: Answer::Txn(answers),
        ..
    } = &mut events[at].kind
    else {
        return;
    };
    let at = random.index(answers.len());
    if let Answer::Value(Value::List(list)) = &mut answers[at] {
        let mut changed = list.to_vec();
        match random.below(5) {
            0 => drop(changed.pop()),
            1 if changed.len() > 1 => changed.swap(0, 1),
            2 if !changed.is_empty() => drop(changed.remove(0)),
            3 if !changed.is_empty() => changed.push(changed[0].clone()),
            _ => {
                if let Value::List(other) = random.pick(&lists) {
                    changed = other.to_vec();
                }
            }
        }
        *list = changed.into();
    }
}

fn print(events: &[ObjectEvent]) -> String {
    let mut writer = veridical_histories::jsonl::Writer::new(Vec::new());
    events.iter().for_each(|event| writer.write(event).unwrap());
    String::from_utf8(writer.finish().unwrap()).unwrap()
}

#[test]
fn small_histories_agree_with_brute_force_and_name_the_first_wrong_event() {
    let (mut oks, mut violations) = (0, 0);
    for seed in 0..100_000 * scale() {
        let mut random = Random::new(!seed);
        let (operations, clients) = (1 + random.below(6), 1 + random.index(4));
        let keys = 1 + random.below(2);
        let mut events = history(seed, operations, clients, keys);
        for _ in 0..random.below(4) {
            spoil(&mut events, &mut random);
        }
        let expected = is_linearizable(&model(), &events);
        let verdict = check(&events);
        assert_eq!(
            verdict.is_ok(),
            expected,
            "{seed}: {verdict}\n{}",
            print(&events)
        );
        match verdict {
            Verdict::Violation(violation) => {
                violations += 1;
                let at = violation.event as usize;
                let text = format!("{seed}: {violation}\n{}", print(&events));
                assert!(!is_linearizable(&model(), &events[..=at]), "early {text}");
                assert!(is_linearizable(&model(), &events[..at]), "late {text}");
            }
            _ => oks += 1,
        }
    }
    println!("{oks} ok, {violations} violations");
    assert!(oks > 15_000 && violations > 15_000);
}

#[test]
fn longer_histories_agree_with_the_general_engine() {
    let (mut oks, mut violations) = (0, 0);
    for seed in 0..200 * scale() {
        let mut random = Random::new(!seed);
        let operations = 10 + random.below(12);
        let (clients, keys) = (1 + random.index(4), 1 + random.below(4));
        let mut events = history(seed, operations, clients, keys);
        for _ in 0..3 * random.below(2) {
            spoil(&mut events, &mut random);
        }
        let general = check_events(model(), &events).unwrap();
        let verdict = check(&events);
        if matches!(general, Verdict::Unknown(_)) {
            continue;
        }
        assert_eq!(
            verdict.is_ok(),
            general.is_ok(),
            "{seed}: {verdict}\n{general}\n{}",
            print(&events)
        );
        match (&verdict, &general) {
            (Verdict::Violation(a), Verdict::Violation(b)) => {
                violations += 1;
                assert_eq!(a.event, b.event, "{seed}: {a}\n{b}\n{}", print(&events));
            }
            _ => oks += 1,
        }
    }
    println!("{oks} ok, {violations} violations");
    assert!(oks > 50 && violations > 30);
}

#[test]
fn a_value_that_is_appended_twice_is_left_to_the_general_engine() {
    let append = |value| Request {
        key: Value::Int(1),
        action: Action::Append(Value::Int(value)),
    };
    let read = Request {
        key: Value::Int(1),
        action: Action::Read,
    };
    let list = |values: &[i64]| {
        let values: Vec<Value> = values.iter().map(|value| Value::Int(*value)).collect();
        Answer::Value(Value::List(values.into()))
    };
    let mut events = Vec::new();
    for (op, (request, answer)) in [
        (append(7), Answer::Done),
        (append(7), Answer::Done),
        (read.clone(), list(&[7, 7])),
        (read, list(&[7])),
    ]
    .into_iter()
    .enumerate()
    {
        let (op, now) = (OperationId(op as u64), 2 * op as u64);
        events.push(ObjectEvent::call(now, 0, op, request));
        events.push(ObjectEvent::returned(now + 1, 0, op, answer));
    }
    assert!(check(&events[..6]).is_ok());
    assert!(!check(&events).is_ok());
}

#[test]
fn what_is_forgotten_does_not_grow_with_the_history() {
    let operations = 20_000;
    let mut events = history(3, operations, 6, 40);
    let mut checker = ListChecker::new(model(), CheckerOptions::default());
    for event in &events {
        checker.observe(event).unwrap();
    }
    assert_eq!(checker.finish(), Verdict::Ok);
    let most = checker.statistics().configurations_max;
    assert!(most < 4_000, "{most} transactions were kept");
    // And the same history with one element fewer in a late read is found out.
    let late = events.len() - 200;
    let spoilt = events[late..]
        .iter_mut()
        .find_map(|event| match &mut event.kind {
            EventKind::Return {
                output: Answer::Txn(answers),
                ..
            } => answers.iter_mut().find_map(|answer| match answer {
                Answer::Value(Value::List(list)) if list.len() > 20 => {
                    *list = list[..list.len() - 20].into();
                    Some(())
                }
                _ => None,
            }),
            _ => None,
        });
    spoilt.expect("a late read of a long list");
    assert!(matches!(check(&events), Verdict::Violation(_)));
}
