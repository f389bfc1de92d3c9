//! Engine A against brute force, for every model.

use veridical_checkers::brute_force::sequential::is_linearizable;
use veridical_checkers::{
    Checker, CheckerOptions, ObjectKind, ObjectModel, Rejection, Verdict, check_events,
};
use veridical_histories::generate::Distribution;
use veridical_histories::generate::object::{ObjectHistory, ObjectWorkload};
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, Value};
use veridical_histories::random::Random;
use veridical_histories::{EventKind, OperationId};

/// How many histories each test draws, times this factor; CI sets it higher.
fn scale() -> u64 {
    std::env::var("VERIDICAL_HISTORIES_SCALE")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1)
}

fn print(events: &[ObjectEvent]) -> String {
    let mut writer = veridical_histories::jsonl::Writer::new(Vec::new());
    events.iter().for_each(|event| writer.write(event).unwrap());
    String::from_utf8(writer.finish().unwrap()).unwrap()
}

fn small(kind: ObjectKind, seed: u64) -> Vec<ObjectEvent> {
    let mut random = Random::new(!seed);
    let workload = ObjectWorkload {
        seed,
        kind,
        operations: 2 + random.below(6),
        clients: 1 + random.index(4),
        keys: 1 + random.below(2),
        distribution: Distribution::Uniform,
        reads: 0.5,
        unknown: *random.pick(&[0.0, 0.2, 0.5]),
        values: None,
        injection: None,
    };
    let mut events: Vec<ObjectEvent> = ObjectHistory::new(workload).collect();
    for _ in 0..random.below(3) {
        mutate(&mut events, &mut random);
    }
    events
}

/// Gives one answer to another operation, or changes it.
fn mutate(events: &mut [ObjectEvent], random: &mut Random) {
    let answers: Vec<usize> = (0..events.len())
        .filter(|at| matches!(events[*at].kind, EventKind::Return { .. }))
        .collect();
    if answers.is_empty() {
        return;
    }
    let (a, b) = (*random.pick(&answers), *random.pick(&answers));
    let other = match &events[b].kind {
        EventKind::Return { output, .. } => output.clone(),
        _ => unreachable!(),
    };
    if let EventKind::Return { output, .. } = &mut events[a].kind {
        *output = match (&*output, other) {
            (Answer::Value(_), Answer::Value(other)) => Answer::Value(other),
            (Answer::Value(_), _) => Answer::Value(Value::Nil),
            (Answer::Applied(applied), _) => Answer::Applied(!applied),
            (Answer::Txn(answers), Answer::Txn(other)) if answers.len() == other.len() => {
                Answer::Txn(other)
            }
            (same, _) => same.clone(),
        };
    }
}

#[test]
fn every_model_agrees_with_brute_force() {
    // Logs are not generated; their model is compared with an import.
    for kind in ObjectKind::ALL
        .iter()
        .filter(|kind| **kind != ObjectKind::Log)
    {
        let (mut oks, mut violations) = (0, 0);
        for seed in 0..10_000 * scale() {
            let events = small(*kind, seed);
            let expected = is_linearizable(&ObjectModel::new(*kind), &events);
            let verdict = check_events(ObjectModel::new(*kind), &events).unwrap();
            assert_eq!(
                verdict.is_ok(),
                expected,
                "{kind} {seed}: {verdict}\n{}",
                print(&events)
            );
            if expected { oks += 1 } else { violations += 1 }
        }
        println!("{kind}: {oks} ok, {violations} violations");
        assert!(
            oks > 500 && violations > 500,
            "{kind}: {oks} ok, {violations} violations"
        );
    }
}

#[test]
fn a_violation_names_the_first_event_that_is_wrong() {
    let mut violations = 0;
    for kind in [ObjectKind::CasRegister, ObjectKind::Queue] {
        for seed in 0..1_500 * scale() {
            let events = small(kind, seed);
            let model = ObjectModel::new(kind);
            let Verdict::Violation(violation) = check_events(model.clone(), &events).unwrap()
            else {
                continue;
            };
            violations += 1;
            let at = violation.event as usize;
            // The event is that of the violating key; another key may be wrong earlier,
            // but never later than what is reported.
            assert!(
                !is_linearizable(&model, &events[..=at]),
                "{kind} {seed}: too early"
            );
        }
    }
    assert!(violations > 300);
}

#[test]
fn a_witness_is_wrong_and_none_of_its_operations_can_go() {
    let mut violations = 0;
    for seed in 0..1_500 * scale() {
        let events = small(ObjectKind::CasRegister, seed);
        let model = ObjectModel::new(ObjectKind::CasRegister);
        let Verdict::Violation(violation) = check_events(model.clone(), &events).unwrap() else {
            continue;
        };
        violations += 1;
        let ops: Vec<OperationId> = violation
            .operations
            .iter()
            .filter_map(|operation| operation.op)
            .collect();
        let initial = violation.expected.contains("beginning with Value(Nil)");
        if !initial {
            continue;
        }
        let only = |ops: &[OperationId]| -> Vec<ObjectEvent> {
            events[..=violation.event as usize]
                .iter()
                .filter(|event| event.operation().is_some_and(|op| ops.contains(&op)))
                .cloned()
                .collect()
        };
        assert!(!is_linearizable(&model, &only(&ops)), "{seed}: {violation}");
        for left_out in 0..ops.len() {
            let mut fewer = ops.clone();
            fewer.remove(left_out);
            assert!(
                is_linearizable(&model, &only(&fewer)),
                "{seed}: {violation}"
            );
        }
    }
    assert!(violations > 100, "{violations}");
}

/// Every history of three operations on one cas-register, with every order of events.
#[test]
fn all_histories_of_three_operations_agree_with_brute_force() {
    let value = |number: i64| {
        if number == 0 {
            Value::Nil
        } else {
            Value::Int(number)
        }
    };
    let mut operations: Vec<(Action, Option<Answer>)> = Vec::new();
    for a in 0..2 {
        operations.push((Action::Read, Some(Answer::Value(value(a)))));
        operations.push((Action::Write(value(a)), Some(Answer::Done)));
        let cas = Action::Cas {
            from: value(a),
            to: value(1 - a),
        };
        operations.push((cas.clone(), Some(Answer::Applied(true))));
        operations.push((cas.clone(), Some(Answer::Applied(false))));
        operations.push((cas, None));
    }
    let orders = orders(3);
    let mut count = [0, 0];
    for a in &operations {
        for b in &operations {
            for c in &operations {
                for order in &orders {
                    let mut called = [false; 3];
                    let mut events = Vec::new();
                    for (time, index) in order.iter().enumerate() {
                        let (action, answer) = [a, b, c][*index];
                        let (op, client) = (OperationId(*index as u64), *index as u64);
                        let now = time as u64;
                        if !std::mem::replace(&mut called[*index], true) {
                            let request = Request {
                                key: Value::Nil,
                                action: action.clone(),
                            };
                            events.push(ObjectEvent::call(now, client, op, request));
                        } else if let Some(answer) = answer {
                            events.push(ObjectEvent::returned(now, client, op, answer.clone()));
                        } else {
                            events.push(ObjectEvent::unknown(now, client, op));
                        }
                    }
                    let model = ObjectModel::new(ObjectKind::CasRegister);
                    let expected = is_linearizable(&model, &events);
                    let verdict = check_events(model, &events).unwrap();
                    assert_eq!(verdict.is_ok(), expected, "{verdict}\n{}", print(&events));
                    count[usize::from(expected)] += 1;
                }
            }
        }
    }
    println!("{} violations, {} ok", count[0], count[1]);
    assert!(count[0] > 10_000 && count[1] > 10_000);
}

/// All orders of two events each of `n` operations.
fn orders(n: usize) -> Vec<Vec<usize>> {
    fn extend(left: &mut Vec<u8>, order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if left.iter().all(|left| *left == 0) {
            all.push(order.clone());
        }
        for index in 0..left.len() {
            if left[index] > 0 {
                left[index] -= 1;
                order.push(index);
                extend(left, order, all);
                order.pop();
                left[index] += 1;
            }
        }
    }
    let mut all = Vec::new();
    extend(&mut vec![2; n], &mut Vec::new(), &mut all);
    all
}

#[test]
fn a_low_limit_may_leave_a_verdict_open_but_never_flips_it() {
    let mut open = 0;
    for kind in [
        ObjectKind::CasRegister,
        ObjectKind::Queue,
        ObjectKind::KvAppend,
    ] {
        for seed in 0..1_000 * scale() {
            let events = small(kind, seed);
            let expected = check_events(ObjectModel::new(kind), &events).unwrap();
            for configurations_max in [0, 1, 2, 4, 8] {
                let options = CheckerOptions {
                    configurations_max,
                    ..CheckerOptions::default()
                };
                let mut checker = Checker::new(ObjectModel::new(kind), options);
                let mut verdict = None;
                for event in &events {
                    match checker.observe(event) {
                        Ok(()) => {}
                        Err(Rejection::Violation(violation)) => {
                            verdict = Some(Verdict::Violation(violation));
                            break;
                        }
                        Err(Rejection::Malformed(malformed)) => panic!("{malformed}"),
                    }
                }
                let verdict = verdict.unwrap_or_else(|| checker.finish());
                match verdict {
                    Verdict::Unknown(_) => open += 1,
                    verdict => assert_eq!(
                        verdict.is_ok(),
                        expected.is_ok(),
                        "{kind} {seed} at {configurations_max}\n{}",
                        print(&events)
                    ),
                }
            }
        }
    }
    assert!(open > 0, "no limit was low enough");
}
