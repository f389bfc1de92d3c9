//! Engine A for single values, and engine B, against brute force on histories with many
//! operations of unknown outcome.

mod small;

use small::{Shape, draw, print};
use veridical_checkers::brute_force::sequential::is_linearizable;
use veridical_checkers::{
    CheckerOptions, ObjectChecker, ObjectKind, ObjectModel, ObjectStatistics, Rejection, Verdict,
    check_events,
};
use veridical_histories::object::ObjectEvent;

/// How many histories each test draws, times this factor.
fn scale() -> u64 {
    std::env::var("VERIDICAL_HISTORIES_SCALE")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1)
}

fn check(
    kind: ObjectKind,
    events: &[ObjectEvent],
    options: CheckerOptions,
) -> (Verdict, ObjectStatistics) {
    let mut checker = ObjectChecker::new(ObjectModel::new(kind), options);
    for event in events {
        match checker.observe(event) {
            Ok(()) => {}
            Err(Rejection::Violation(violation)) => {
                return (Verdict::Violation(violation), checker.statistics());
            }
            Err(Rejection::Malformed(malformed)) => panic!("{malformed}\n{}", print(events)),
        }
    }
    (checker.finish(), checker.statistics())
}

const SHAPES: [Shape; 6] = [
    // Few values, and nearly everything is unknown.
    Shape {
        operations: 8,
        open: 3,
        domain: 2,
        is_unique: false,
        unknown: 0.5,
        has_cas: true,
        has_delete: false,
    },
    Shape {
        operations: 8,
        open: 2,
        domain: 4,
        is_unique: false,
        unknown: 0.6,
        has_cas: true,
        has_delete: false,
    },
    Shape {
        operations: 8,
        open: 4,
        domain: 3,
        is_unique: false,
        unknown: 0.2,
        has_cas: true,
        has_delete: true,
    },
    // Every value is written once, so that each read tells which write it saw.
    Shape {
        operations: 8,
        open: 3,
        domain: 3,
        is_unique: true,
        unknown: 0.5,
        has_cas: true,
        has_delete: false,
    },
    Shape {
        operations: 8,
        open: 4,
        domain: 3,
        is_unique: true,
        unknown: 0.2,
        has_cas: true,
        has_delete: false,
    },
    Shape {
        operations: 8,
        open: 4,
        domain: 3,
        is_unique: true,
        unknown: 0.4,
        has_cas: false,
        has_delete: true,
    },
];

#[test]
fn verdicts_equal_brute_force() {
    for (index, shape) in SHAPES.into_iter().enumerate() {
        let (mut oks, mut violations, mut engines) = (0, 0, [0, 0]);
        for seed in 0..20_000 * scale() {
            let events = draw(seed, shape);
            let model = ObjectModel::new(ObjectKind::Kv);
            let expected = is_linearizable(&model, &events);
            let (verdict, statistics) = check(ObjectKind::Kv, &events, CheckerOptions::default());
            assert_eq!(
                verdict.is_ok(),
                expected,
                "shape {index}, seed {seed}: {verdict}\n{}",
                print(&events)
            );
            engines[0] += statistics.frontier_operations;
            engines[1] += statistics.zones_operations;
            if expected { oks += 1 } else { violations += 1 }
        }
        println!(
            "shape {index}: {oks} ok, {violations} violations; operations in A {}, in B {}",
            engines[0], engines[1]
        );
        assert!(
            oks > 1_000 && violations > 400,
            "{oks} ok, {violations} violations"
        );
    }
}

/// Long enough for engine B to forget, too long for brute force: the general search of
/// engine A is the judge.
#[test]
fn engines_agree_on_longer_histories() {
    let shape = |open, is_unique, unknown, has_cas| Shape {
        operations: 60,
        open,
        domain: 4,
        is_unique,
        unknown,
        has_cas,
        has_delete: !has_cas,
    };
    let shapes = [
        shape(4, true, 0.0, true),
        shape(6, true, 0.0, true),
        shape(4, true, 0.05, true),
        shape(4, false, 0.03, true),
        shape(9, false, 0.0, true),
        shape(8, false, 0.01, false),
        shape(6, true, 0.05, false),
    ];
    for (index, shape) in shapes.into_iter().enumerate() {
        let (mut oks, mut violations, mut statistics_sum) = (0, 0, ObjectStatistics::default());
        for seed in 0..3_000 * scale() {
            let events = draw(seed, shape);
            let model = ObjectModel::new(ObjectKind::Kv);
            let expected = check_events(model, &events).unwrap();
            if matches!(expected, Verdict::Unknown(_)) {
                continue;
            }
            let (verdict, statistics) = check(ObjectKind::Kv, &events, CheckerOptions::default());
            assert_eq!(
                verdict.is_ok(),
                expected.is_ok(),
                "shape {index}, seed {seed}: {verdict} and {expected}\n{}",
                print(&events)
            );
            statistics_sum = statistics_sum.plus(statistics);
            if expected.is_ok() {
                oks += 1
            } else {
                violations += 1
            }
        }
        println!("shape {index}: {oks} ok, {violations} violations; {statistics_sum:?}");
        assert!(
            oks > 1_000 && violations > 400,
            "{oks} ok, {violations} violations"
        );
    }
}

/// Whether the first event at which a history is wrong is the one that is reported.
#[test]
fn engine_b_reports_the_first_wrong_event_of_chains() {
    let mut violations = 0;
    for shape in &SHAPES[3..] {
        for seed in 0..8_000 * scale() {
            let events = draw(seed, *shape);
            let (verdict, statistics) = check(ObjectKind::Kv, &events, CheckerOptions::default());
            let Some(violation) = verdict.violation() else {
                continue;
            };
            if statistics.frontier_operations > 0 {
                continue;
            }
            violations += 1;
            let (model, at) = (ObjectModel::new(ObjectKind::Kv), violation.event as usize);
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
            assert!((1..=6).contains(&violation.operations.len()), "{violation}");
        }
    }
    println!("{violations} violations");
    assert!(violations > 1_000);
}

#[test]
fn a_low_limit_may_leave_a_verdict_open_but_never_flips_it() {
    let mut open = 0;
    for shape in SHAPES {
        for seed in 0..1_000 * scale() {
            let events = draw(seed, shape);
            let expected = is_linearizable(&ObjectModel::new(ObjectKind::Kv), &events);
            for configurations_max in [0, 1, 2, 4, 8] {
                let options = CheckerOptions {
                    configurations_max,
                    ..CheckerOptions::default()
                };
                match check(ObjectKind::Kv, &events, options).0 {
                    Verdict::Unknown(_) => open += 1,
                    verdict => assert_eq!(
                        verdict.is_ok(),
                        expected,
                        "seed {seed} at {configurations_max}\n{}",
                        print(&events)
                    ),
                }
            }
        }
    }
    assert!(open > 0, "no limit was low enough");
}

/// Whatever the limit is: a pursuit that was given up tells nothing, and one that went on
/// shows that all before was right.
#[test]
fn engine_a_reports_the_first_wrong_event() {
    let mut violations = 0;
    for shape in SHAPES {
        for seed in 0..3_000 * scale() {
            let events = draw(!seed, shape);
            let model = ObjectModel::new(ObjectKind::Kv);
            for configurations_max in [1, 3, 1 << 18] {
                let options = CheckerOptions {
                    configurations_max,
                    ..CheckerOptions::default()
                };
                let (verdict, _) = check(ObjectKind::Kv, &events, options);
                let Some(violation) = verdict.violation() else {
                    continue;
                };
                let at = violation.event as usize;
                violations += 1;
                assert!(
                    !is_linearizable(&model, &events[..=at]),
                    "{seed}: early\n{}",
                    print(&events)
                );
                assert!(
                    configurations_max < 1 << 18 || is_linearizable(&model, &events[..at]),
                    "{seed}: late\n{}",
                    print(&events)
                );
            }
        }
    }
    println!("{violations} violations");
    assert!(violations > 1_000);
}

/// Many clients on one register of five values: far more configurations than can be looked
/// at, but one order is enough, and what nobody wrote is wrong in all of them.
#[test]
fn a_hot_register_of_few_values_is_decided() {
    use veridical_histories::EventKind;
    use veridical_histories::generate::object::{ObjectHistory, ObjectWorkload};
    use veridical_histories::object::{Answer, Value};

    for (clients, unknown) in [(32, 0.0), (256, 0.0), (256, 0.05)] {
        let workload = ObjectWorkload {
            seed: clients as u64,
            kind: ObjectKind::CasRegister,
            operations: 4_000,
            clients,
            keys: 1,
            reads: 0.3,
            values: Some(5),
            unknown,
            ..ObjectWorkload::default()
        };
        let mut events: Vec<ObjectEvent> = ObjectHistory::new(workload).collect();
        let (verdict, statistics) =
            check(ObjectKind::CasRegister, &events, CheckerOptions::default());
        assert!(verdict.is_ok(), "{clients} clients: {verdict}");
        assert!(statistics.frontier_operations > 3_000, "{statistics:?}");
        let wrong = events.iter().skip(6_000).position(|event| {
            matches!(
                &event.kind,
                EventKind::Return {
                    output: Answer::Value(_),
                    ..
                }
            )
        });
        let wrong = 6_000 + wrong.expect("there are reads");
        if let EventKind::Return { output, .. } = &mut events[wrong].kind {
            *output = Answer::Value(Value::Int(6));
        }
        let (verdict, _) = check(
            ObjectKind::CasRegister,
            &events,
            CheckerOptions {
                // What goes before is forgotten, so that no witness is looked for.
                witness_operations_max: 64,
                ..CheckerOptions::default()
            },
        );
        let violation = verdict.violation().expect("nobody wrote 6");
        assert_eq!(violation.event, wrong as u64);
    }
}

/// Histories that were judged wrongly once, and whether they are right.
const REGRESSIONS: [(&str, bool); 3] = [
    // What replaced a value can be a write of the value that was left before.
    (
        r#"{"t":0,"c":0,"e":"call","op":0,"in":{"do":{"cas":{"from":null,"to":2}}}}
{"t":1,"c":0,"e":"unknown","op":0}
{"t":2,"c":1,"e":"call","op":1,"in":{"do":{"write":null}}}
{"t":3,"c":1,"e":"unknown","op":1}
{"t":4,"c":2,"e":"call","op":2,"in":{"do":{"cas":{"from":null,"to":2}}}}
{"t":5,"c":3,"e":"call","op":3,"in":{"do":"read"}}
{"t":6,"c":4,"e":"call","op":4,"in":{"do":{"cas":{"from":2,"to":2}}}}
{"t":7,"c":3,"e":"return","op":3,"out":{"value":null}}
{"t":8,"c":5,"e":"call","op":5,"in":{"do":{"cas":{"from":null,"to":null}}}}
{"t":9,"c":5,"e":"return","op":5,"out":{"applied":true}}
{"t":10,"c":4,"e":"unknown","op":4}
{"t":11,"c":2,"e":"return","op":2,"out":{"applied":false}}
{"t":12,"c":6,"e":"call","op":6,"in":{"do":{"cas":{"from":2,"to":1}}}}
{"t":13,"c":6,"e":"return","op":6,"out":{"applied":false}}"#,
        true,
    ),
    // What stands for the forgotten beginning of a chain may be earlier than its return.
    (
        r#"{"t":0,"c":0,"e":"call","op":0,"in":{"do":{"write":1}}}
{"t":1,"c":1,"e":"call","op":1,"in":{"do":{"cas":{"from":null,"to":null}}}}
{"t":2,"c":1,"e":"unknown","op":1}
{"t":3,"c":0,"e":"unknown","op":0}
{"t":4,"c":2,"e":"call","op":2,"in":{"do":{"cas":{"from":1,"to":4}}}}
{"t":5,"c":3,"e":"call","op":3,"in":{"do":{"write":2}}}
{"t":6,"c":3,"e":"return","op":3,"out":"done"}
{"t":7,"c":2,"e":"return","op":2,"out":{"applied":true}}
{"t":8,"c":4,"e":"call","op":4,"in":{"do":{"cas":{"from":2,"to":2}}}}
{"t":9,"c":5,"e":"call","op":5,"in":{"do":{"cas":{"from":2,"to":2}}}}
{"t":10,"c":5,"e":"return","op":5,"out":{"applied":true}}
{"t":11,"c":4,"e":"unknown","op":4}
{"t":12,"c":6,"e":"call","op":6,"in":{"do":{"write":4}}}
{"t":13,"c":6,"e":"return","op":6,"out":"done"}"#,
        true,
    ),
    // Two deletions cannot both find the same value.
    (
        r#"{"t":0,"c":0,"e":"call","op":0,"in":{"do":{"write":1}}}
{"t":1,"c":0,"e":"return","op":0,"out":"done"}
{"t":2,"c":1,"e":"call","op":1,"in":{"do":"delete"}}
{"t":3,"c":2,"e":"call","op":2,"in":{"do":"delete"}}
{"t":4,"c":1,"e":"return","op":1,"out":{"applied":true}}
{"t":5,"c":2,"e":"return","op":2,"out":{"applied":true}}"#,
        false,
    ),
];

#[test]
fn what_was_judged_wrongly_once_is_judged_rightly() {
    for (lines, is_right) in REGRESSIONS {
        let events: Vec<ObjectEvent> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            is_linearizable(&ObjectModel::new(ObjectKind::Kv), &events),
            is_right
        );
        let (verdict, _) = check(ObjectKind::Kv, &events, CheckerOptions::default());
        assert_eq!(verdict.is_ok(), is_right, "{verdict}\n{lines}");
    }
}

/// The first two departures from x use up both writes that were called before them; the
/// same write called once more later cannot have done what was over by then.
#[test]
fn a_write_called_later_does_not_explain_what_was_left_before() {
    use veridical_histories::OperationId;
    use veridical_histories::object::{Action, Answer, Request, Value};

    let [x, a, b] = ["x", "a", "b"].map(Value::text);
    let refused = Action::Cas {
        from: x.clone(),
        to: Value::text("y"),
    };
    let write = |value: &Value| Action::Write(value.clone());
    let (done, no) = (Some(Answer::Done), Some(Answer::Applied(false)));
    let read = |value: &Value| (Action::Read, Some(Answer::Value(value.clone())));
    let history = |later: bool, reads_b: bool| {
        let mut operations = vec![
            (write(&x), done.clone()),
            (write(&a), None),
            (write(&b), None),
            (refused.clone(), no.clone()),
            (write(&x), done.clone()),
            (refused.clone(), no.clone()),
        ];
        if later {
            operations.push((write(&a), None));
        }
        operations.push(read(&a));
        operations.push((write(&x), done.clone()));
        if reads_b {
            operations.push(read(&b));
        }
        let mut events = Vec::new();
        for (index, (action, answer)) in operations.into_iter().enumerate() {
            let (at, op) = (2 * index as u64, OperationId(index as u64));
            let key = Value::Nil;
            events.push(ObjectEvent::call(at, 0, op, Request { key, action }));
            events.push(match answer {
                Some(answer) => ObjectEvent::returned(at + 1, 0, op, answer),
                None => ObjectEvent::unknown(at + 1, 0, op),
            });
        }
        events
    };
    for later in [false, true] {
        for reads_b in [false, true] {
            let events = history(later, reads_b);
            let model = ObjectModel::new(ObjectKind::CasRegister);
            assert_eq!(is_linearizable(&model, &events), !reads_b);
            let (verdict, statistics) =
                check(ObjectKind::CasRegister, &events, CheckerOptions::default());
            assert_eq!(verdict.is_ok(), !reads_b, "{verdict}\n{}", print(&events));
            assert!(
                statistics.frontier_operations > 0,
                "engine A has to judge it"
            );
        }
    }
}
