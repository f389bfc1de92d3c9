//! Sets, element by element and as a whole, against brute force and against engine A.

use std::collections::BTreeSet;

use veridical_checkers::brute_force::sequential::is_linearizable;
use veridical_checkers::{
    CheckerOptions, ObjectChecker, ObjectKind, ObjectModel, ObjectStatistics, Verdict, check_events,
};
use veridical_histories::object::{Action, Answer, ObjectEvent, Request, Value};
use veridical_histories::random::Random;
use veridical_histories::{OperationId, jsonl};

/// How many histories each test draws, times this factor; CI sets it higher.
fn scale() -> u64 {
    std::env::var("VERIDICAL_HISTORIES_SCALE")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1)
}

fn apply(members: &mut BTreeSet<i64>, action: &Action) -> Answer {
    match action {
        Action::Add(Value::Int(element)) => Answer::Applied(members.insert(*element)),
        Action::Remove(Value::Int(element)) => Answer::Applied(members.remove(element)),
        Action::Contains(Value::Int(element)) => Answer::Applied(members.contains(element)),
        _ => Answer::Value(Value::list(members.iter().map(|it| Value::Int(*it)))),
    }
}

struct Pending {
    op: OperationId,
    action: Action,
    answer: Option<Answer>,
}

/// A history of two sets of few elements, with at most one wrong answer.
fn draw(seed: u64, operations: u64, reads: f64, unknown: f64) -> Vec<ObjectEvent> {
    let mut random = Random::new(!seed);
    let mut members = [BTreeSet::new(), BTreeSet::new()];
    let mut events: Vec<ObjectEvent> = Vec::new();
    let mut pending: Vec<(usize, Pending)> = Vec::new();
    let mut lost: Vec<(usize, Action)> = Vec::new();
    let mut wrong_at = random.below(2 * operations);
    let open = 1 + random.index(4);
    let mut called = 0;
    while called < operations || !pending.is_empty() {
        let now = events.len() as u64;
        if !lost.is_empty() && random.chance(0.2) {
            let (key, action) = lost.swap_remove(random.index(lost.len()));
            apply(&mut members[key], &action);
        }
        if !pending.is_empty() && random.chance(0.4) {
            let at = random.index(pending.len());
            let (key, pending) = &mut pending[at];
            if pending.answer.is_none() {
                pending.answer = Some(apply(&mut members[*key], &pending.action));
            }
        }
        let calls = pending.is_empty() || random.chance(0.5) && pending.len() < open;
        if called < operations && calls {
            let element = Value::Int(random.below(3) as i64);
            let action = match random.below(5) {
                _ if random.chance(reads) => Action::Read,
                0 | 1 => Action::Add(element),
                2 => Action::Remove(element),
                _ => Action::Contains(element),
            };
            let (op, key) = (OperationId(called), random.index(2));
            let request = Request {
                key: Value::Int(key as i64),
                action: action.clone(),
            };
            events.push(ObjectEvent::call(now, called, op, request));
            let answer = None;
            pending.push((key, Pending { op, action, answer }));
            called += 1;
        } else if !pending.is_empty() {
            let (key, it) = pending.swap_remove(random.index(pending.len()));
            if random.chance(unknown) {
                if it.answer.is_none() {
                    lost.push((key, it.action));
                }
                events.push(ObjectEvent::unknown(now, it.op.0, it.op));
                continue;
            }
            if it.answer.is_none() && random.chance(0.05) {
                events.push(ObjectEvent::failed(now, it.op.0, it.op));
                continue;
            }
            let right = || apply(&mut members[key], &it.action);
            let mut answer = it.answer.unwrap_or_else(right);
            if called > wrong_at {
                wrong_at = u64::MAX;
                answer = match answer {
                    Answer::Applied(applied) => Answer::Applied(!applied),
                    _ => Answer::Value(Value::list([Value::Int(random.below(3) as i64)])),
                };
            }
            events.push(ObjectEvent::returned(now, it.op.0, it.op, answer));
        }
    }
    events
}

fn print(events: &[ObjectEvent]) -> String {
    let mut writer = jsonl::Writer::new(Vec::new());
    events.iter().for_each(|event| writer.write(event).unwrap());
    String::from_utf8(writer.finish().unwrap()).unwrap()
}

fn check(events: &[ObjectEvent]) -> (Verdict, ObjectStatistics) {
    let model = ObjectModel::new(ObjectKind::Set);
    let mut checker = ObjectChecker::new(model, CheckerOptions::default());
    // The verdict of a checker that has refused an event stays.
    let _ = events.iter().try_for_each(|event| checker.observe(event));
    (checker.finish(), checker.statistics())
}

#[test]
fn small_histories_agree_with_brute_force() {
    for reads in [0.0, 0.15] {
        let (mut count, mut gathered) = ([0, 0], 0);
        for seed in 0..50_000 * scale() {
            let unknown = [0.0, 0.2, 0.4][(seed % 3) as usize];
            let events = draw(seed, 4 + seed % 5, reads, unknown);
            let expected = is_linearizable(&ObjectModel::new(ObjectKind::Set), &events);
            let (verdict, statistics) = check(&events);
            assert_eq!(
                verdict.is_ok(),
                expected,
                "{seed}: {verdict}\n{}",
                print(&events)
            );
            gathered += statistics.handovers;
            count[usize::from(expected)] += 1;
        }
        println!("{} ok, {} wrong, {gathered} gathered", count[1], count[0]);
        assert!(count[0] > 5_000 && count[1] > 5_000, "{count:?}");
        assert!((gathered > 5_000) == (reads > 0.0));
    }
}

#[test]
fn longer_histories_agree_with_engine_a() {
    let mut count = [0, 0];
    for seed in 0..2_000 * scale() {
        let events = draw(seed, 80, [0.0, 0.02][(seed % 2) as usize], 0.01);
        let general = check_events(ObjectModel::new(ObjectKind::Set), &events).unwrap();
        let (verdict, _) = check(&events);
        assert_eq!(
            verdict.is_ok(),
            general.is_ok(),
            "{seed}: {verdict}, but {general}\n{}",
            print(&events)
        );
        count[usize::from(general.is_ok())] += 1;
    }
    println!("{} ok, {} wrong", count[1], count[0]);
    assert!(count[0] > 300 && count[1] > 300, "{count:?}");
}

#[test]
fn a_witness_is_about_one_element_where_nobody_reads_the_whole() {
    let mut violations = 0;
    for seed in 0..2_000 * scale() {
        let (verdict, _) = check(&draw(seed, 60, 0.0, 0.0));
        let Verdict::Violation(violation) = verdict else {
            continue;
        };
        violations += 1;
        assert!(violation.operations.len() <= 6, "{violation}");
        let key = violation.key.as_deref();
        assert!(matches!(key, Some("0" | "1")), "{violation}");
    }
    assert!(violations > 300, "{violations}");
}
