//! Engine D (queues and stacks) against brute force and against engine A.

mod sequences;

use sequences::{Shape, draw, print};
use veridical_checkers::brute_force::sequential::is_linearizable;
use veridical_checkers::{
    Checker, CheckerOptions, ObjectChecker, ObjectKind, ObjectModel, ObjectStatistics, Rejection,
    Verdict, check_events,
};
use veridical_histories::object::ObjectEvent;
use veridical_histories::{EventKind, OperationId};

/// How many histories each test draws, times this factor; CI sets it higher.
fn scale() -> u64 {
    std::env::var("VERIDICAL_HISTORIES_SCALE")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1)
}

const KINDS: [ObjectKind; 2] = [ObjectKind::Queue, ObjectKind::Stack];

/// The verdict, at how many events it was known, and what judged.
fn check(kind: ObjectKind, events: &[ObjectEvent]) -> (Verdict, usize, ObjectStatistics) {
    let mut checker = ObjectChecker::new(ObjectModel::new(kind), CheckerOptions::default());
    for (at, event) in events.iter().enumerate() {
        match checker.observe(event) {
            Ok(()) => {}
            Err(Rejection::Violation(violation)) => {
                return (Verdict::Violation(violation), at + 1, checker.statistics());
            }
            Err(Rejection::Malformed(malformed)) => panic!("{malformed}"),
        }
    }
    let verdict = checker.finish();
    (verdict, events.len() + 1, checker.statistics())
}

fn small(seed: u64) -> Shape {
    Shape {
        operations: 4 + seed % 5,
        open: 1 + (seed / 5 % 4) as usize,
        unknown: [0.0, 0.2, 0.5][(seed % 3) as usize],
        failed: [0.0, 0.1][(seed % 2) as usize],
        wrong: 0.6,
        repeats: 0.0,
        inserts: 0.0,
        reads: 0.0,
    }
}

#[test]
fn small_histories_agree_with_brute_force() {
    for kind in KINDS {
        let (mut count, mut judged) = ([0, 0], 0);
        for seed in 0..50_000 * scale() {
            let events = draw(seed, kind, small(seed));
            let expected = is_linearizable(&ObjectModel::new(kind), &events);
            let (verdict, _, statistics) = check(kind, &events);
            assert_eq!(
                verdict.is_ok(),
                expected,
                "{kind} {seed}: {verdict}\n{}",
                print(&events)
            );
            judged += statistics.collection_operations;
            count[usize::from(expected)] += 1;
        }
        println!(
            "{kind}: {} ok, {} wrong, engine D {judged}",
            count[1], count[0]
        );
        assert!(count[0] > 5_000 && count[1] > 5_000 && judged > 80_000);
    }
}

/// Values that repeat, and reads of the whole content, are engine A's.
#[test]
fn what_engine_d_hands_over_is_neither_lost_nor_changed() {
    for kind in KINDS {
        let (mut count, mut handovers) = ([0, 0], 0);
        for seed in 0..15_000 * scale() {
            let shape = Shape {
                repeats: 0.15,
                reads: 0.1,
                ..small(seed)
            };
            let events = draw(seed, kind, shape);
            let expected = is_linearizable(&ObjectModel::new(kind), &events);
            let (verdict, _, statistics) = check(kind, &events);
            assert_eq!(
                verdict.is_ok(),
                expected,
                "{kind} {seed}: {verdict}\n{}",
                print(&events)
            );
            handovers += statistics.handovers;
            count[usize::from(expected)] += 1;
        }
        println!(
            "{kind}: {} ok, {} wrong, {handovers} handovers",
            count[1], count[0]
        );
        assert!(count[0] > 1_000 && count[1] > 1_000 && handovers > 3_000);
    }
}

/// A queue's verdict is right after every event, whatever is open; a stack's is never
/// early, and the first event that is named is right.
#[test]
fn a_violation_is_known_at_the_first_event_that_is_wrong() {
    for kind in KINDS {
        let (mut violations, mut exact) = (0, 0);
        for seed in 0..20_000 * scale() {
            let events = draw(seed, kind, small(seed));
            let (verdict, known, statistics) = check(kind, &events);
            let Verdict::Violation(violation) = verdict else {
                continue;
            };
            if statistics.handovers > 0 {
                continue;
            }
            violations += 1;
            let model = ObjectModel::new(kind);
            let first = (1..=events.len())
                .find(|first| !is_linearizable(&model, &events[..*first]))
                .expect("it is wrong at the end");
            let named = violation.event as usize + 1;
            assert!(
                named >= first,
                "{kind} {seed}: too early\n{}",
                print(&events)
            );
            exact += usize::from(named == first);
            if kind == ObjectKind::Queue {
                assert_eq!(known, first, "{seed}\n{}", print(&events));
                assert_eq!(named, first, "{seed}\n{}", print(&events));
            }
        }
        println!("{kind}: {violations} violations, {exact} named at their first event");
        assert!(violations > 2_000 && exact * 100 >= violations * 90);
    }
}

/// The operations of a witness contradict each other without any others.
#[test]
fn a_witness_is_wrong_by_itself_and_small() {
    for kind in KINDS {
        let (mut violations, mut operations) = (0, 0);
        for seed in 0..5_000 * scale() {
            let shape = Shape {
                operations: 30,
                open: 4,
                unknown: match kind {
                    ObjectKind::Queue => 0.05,
                    _ => 0.0,
                },
                wrong: 1.0,
                ..small(seed)
            };
            let events = draw(seed, kind, shape);
            let (Verdict::Violation(violation), _, statistics) = check(kind, &events) else {
                continue;
            };
            let ops: Vec<OperationId> =
                violation.operations.iter().filter_map(|it| it.op).collect();
            if statistics.handovers > 0 || ops.len() < violation.operations.len() {
                continue;
            }
            violations += 1;
            operations += ops.len();
            let only: Vec<ObjectEvent> = events
                .iter()
                .filter(|event| event.operation().is_some_and(|op| ops.contains(&op)))
                .cloned()
                .collect();
            let model = ObjectModel::new(kind);
            let general = check_events(model, &only).unwrap();
            assert!(
                !general.is_ok(),
                "{kind} {seed}: {violation}\n{}",
                print(&events)
            );
        }
        println!(
            "{kind}: {violations} witnesses of {:.1} operations",
            operations as f64 / violations as f64
        );
        assert!(violations > 500 && operations < 6 * violations);
    }
}

#[test]
fn longer_histories_agree_with_engine_a() {
    for kind in KINDS {
        let (mut count, mut judged) = ([0, 0], 0);
        for seed in 0..2_000 * scale() {
            let shape = Shape {
                operations: 60,
                open: 2 + (seed % 3) as usize,
                unknown: match kind {
                    ObjectKind::Queue => 0.01,
                    _ => 0.0,
                },
                failed: 0.02,
                wrong: 0.7,
                repeats: 0.0,
                inserts: 0.0,
                reads: 0.0,
            };
            let events = draw(seed, kind, shape);
            let options = CheckerOptions {
                configurations_max: 1 << 12,
                ..CheckerOptions::default()
            };
            let mut engine_a = Checker::new(ObjectModel::new(kind), options);
            let general = match events.iter().try_for_each(|event| engine_a.observe(event)) {
                Ok(()) => engine_a.finish(),
                Err(Rejection::Violation(violation)) => Verdict::Violation(violation),
                Err(Rejection::Malformed(malformed)) => panic!("{malformed}"),
            };
            let (verdict, _, statistics) = check(kind, &events);
            if matches!(general, Verdict::Unknown(_)) {
                continue;
            }
            assert_eq!(
                verdict.is_ok(),
                general.is_ok(),
                "{kind} {seed}: {verdict}, but {general}\n{}",
                print(&events)
            );
            judged += statistics.collection_operations;
            count[usize::from(general.is_ok())] += 1;
        }
        println!(
            "{kind}: {} ok, {} wrong, engine D {judged}",
            count[1], count[0]
        );
        assert!(
            count[0] > 300 && count[1] > 300 && judged > 50_000,
            "{count:?}"
        );
    }
}

/// What is kept depends on what is in it and on what is open, not on the length.
#[test]
fn little_is_kept_of_a_long_history() {
    for kind in KINDS {
        let shape = Shape {
            operations: 100_000,
            open: 32,
            unknown: match kind {
                ObjectKind::Queue => 0.01,
                _ => 0.0,
            },
            failed: 0.01,
            wrong: 0.0,
            inserts: 0.48,
            repeats: 0.0,
            reads: 0.0,
        };
        let events = draw(7, kind, shape);
        let (verdict, _, statistics) = check(kind, &events);
        assert!(verdict.is_ok(), "{kind}: {verdict}");
        let is_returned = |event: &&ObjectEvent| matches!(event.kind, EventKind::Return { .. });
        let returned = events.iter().filter(is_returned).count() as u64;
        assert_eq!(statistics.collection_operations, returned);
        println!("{kind}: {} kept", statistics.clusters_max);
        assert!(statistics.clusters_max < 2_000, "{statistics:?}");
    }
}
