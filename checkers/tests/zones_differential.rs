//! Engine B with its handover to engine A, against brute force.

use veridical_checkers::brute_force::sequential::is_linearizable;
use veridical_checkers::{
    CheckerOptions, ObjectChecker, ObjectKind, ObjectModel, Rejection, Verdict,
};
use veridical_histories::generate::object::{ObjectHistory, ObjectWorkload};
use veridical_histories::object::{Action, Answer, ObjectEvent, Value};
use veridical_histories::random::Random;
use veridical_histories::{EventKind, jsonl};

/// How many histories each test draws, times this factor; CI sets it higher.
fn scale() -> u64 {
    std::env::var("VERIDICAL_HISTORIES_SCALE")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1)
}

fn print(events: &[ObjectEvent]) -> String {
    let mut writer = jsonl::Writer::new(Vec::new());
    events.iter().for_each(|event| writer.write(event).unwrap());
    String::from_utf8(writer.finish().unwrap()).unwrap()
}

fn check(kind: ObjectKind, events: &[ObjectEvent]) -> (Verdict, ObjectChecker, usize) {
    let mut checker = ObjectChecker::new(ObjectModel::new(kind), CheckerOptions::default());
    for (at, event) in events.iter().enumerate() {
        match checker.observe(event) {
            Ok(()) => {}
            Err(Rejection::Violation(violation)) => {
                return (Verdict::Violation(violation), checker, at);
            }
            Err(Rejection::Malformed(malformed)) => panic!("{malformed}\n{}", print(events)),
        }
    }
    (checker.finish(), checker, events.len())
}

/// A small history; every value above `domain` is mapped below it, so that values repeat.
fn small(kind: ObjectKind, seed: u64, domain: i64) -> Vec<ObjectEvent> {
    let mut random = Random::new(!seed);
    let workload = ObjectWorkload {
        seed,
        kind,
        operations: 2 + random.below(6),
        clients: 1 + random.index(4),
        keys: 1 + random.below(2),
        reads: 0.5,
        unknown: *random.pick(&[0.0, 0.2, 0.5]),
        ..ObjectWorkload::default()
    };
    let mut events: Vec<ObjectEvent> = ObjectHistory::new(workload).collect();
    let fold = |value: &mut Value| {
        if let Value::Int(number) = value
            && *number > 0
        {
            *number = 1 + *number % domain;
        }
    };
    for event in &mut events {
        match &mut event.kind {
            EventKind::Call { input, .. } => match &mut input.action {
                Action::Write(value) => fold(value),
                Action::Cas { from, to } => {
                    fold(from);
                    fold(to);
                }
                _ => {}
            },
            EventKind::Return {
                output: Answer::Value(value),
                ..
            } => {
                fold(value);
                if random.chance(0.1) {
                    *value = Value::Int(1 + random.below(domain as u64) as i64);
                }
            }
            EventKind::Unknown { op } if random.chance(0.2) => {
                event.kind = EventKind::Failed { op: *op };
            }
            _ => {}
        }
    }
    events
}

#[test]
fn verdicts_equal_brute_force_with_unique_and_with_repeated_values() {
    for kind in [
        ObjectKind::Register,
        ObjectKind::Kv,
        ObjectKind::CasRegister,
    ] {
        for domain in [2, 3, 1_000] {
            let (mut oks, mut violations, mut handovers, mut zones) = (0, 0, 0, 0);
            for seed in 0..12_000 * scale() {
                let events = small(kind, seed, domain);
                let expected = is_linearizable(&ObjectModel::new(kind), &events);
                let (verdict, checker, _) = check(kind, &events);
                assert_eq!(
                    verdict.is_ok(),
                    expected,
                    "{kind}, {domain} values, seed {seed}: {verdict}\n{}",
                    print(&events)
                );
                handovers += checker.statistics().handovers;
                zones += checker.statistics().zones_operations;
                if expected { oks += 1 } else { violations += 1 }
            }
            println!(
                "{kind}, {domain} values: {oks} ok, {violations} violations, \
                 {handovers} handovers, {zones} operations in engine B"
            );
            assert!(oks > 1_000 && violations > 1_000 && zones > 10_000);
            assert!(domain > 3 || handovers > 300);
        }
    }
}

#[test]
fn engine_b_reports_the_first_event_that_is_wrong() {
    let mut violations = 0;
    for seed in 0..4_000 * scale() {
        let events = small(ObjectKind::Register, seed, 1_000);
        let (verdict, checker, at) = check(ObjectKind::Register, &events);
        if verdict.is_ok() || checker.statistics().handovers > 0 {
            continue;
        }
        violations += 1;
        let model = ObjectModel::new(ObjectKind::Register);
        assert!(
            is_linearizable(&model, &events[..at]),
            "{seed}: late\n{}",
            print(&events)
        );
        assert!(
            !is_linearizable(&model, &events[..=at]),
            "{seed}: early\n{}",
            print(&events)
        );
        let witness = verdict.violation().unwrap();
        assert_eq!(witness.event, at as u64);
        assert!((1..=6).contains(&witness.operations.len()));
    }
    assert!(violations > 300, "{violations}");
}

#[test]
fn an_idle_key_is_forgotten_but_for_its_value() {
    let workload = ObjectWorkload {
        operations: 200_000,
        clients: 16,
        keys: 10_000,
        reads: 0.5,
        ..ObjectWorkload::default()
    };
    let events: Vec<ObjectEvent> = ObjectHistory::new(workload).collect();
    let (verdict, checker, _) = check(ObjectKind::Kv, &events);
    assert_eq!(verdict, Verdict::Ok);
    let statistics = checker.statistics();
    println!("{statistics:?}");
    assert!(statistics.idle_keys > 1_000);
    assert!(statistics.active_keys < 4_200);
    assert!(statistics.zones_operations > 150_000);
}
