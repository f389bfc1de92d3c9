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
    // Every value once.
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
        shape(6, true, 0.05, false),
    ];
    for (index, shape) in shapes.into_iter().enumerate() {
        let (mut oks, mut violations, mut statistics_sum) = (0, 0, ObjectStatistics::default());
        for seed in 0..600 * scale() {
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
            oks > 200 && violations > 100,
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
