//! Engine C against brute force, on small histories, right ones and broken ones.

use veridical_checkers::brute_force::etcd::is_linearizable;
use veridical_checkers::etcd::{EtcdChecker, EtcdOptions};
use veridical_checkers::{Rejection, Verdict};
use veridical_histories::etcd::EtcdEvent;
use veridical_histories::generate::etcd::{EtcdHistory, EtcdWorkload};
use veridical_histories::generate::inject_etcd::{EtcdInjection, inject};
use veridical_histories::random::Random;

/// How many histories each test draws, times this factor; CI sets it higher.
fn scale() -> u64 {
    std::env::var("VERIDICAL_HISTORIES_SCALE")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1)
}

/// The verdict, and the event at which a violation was reported.
fn check(events: &[EtcdEvent], patience: usize) -> (Verdict, usize) {
    let options = EtcdOptions {
        patience,
        ..EtcdOptions::default()
    };
    check_with(events, &mut EtcdChecker::new(options))
}

fn check_with(events: &[EtcdEvent], checker: &mut EtcdChecker) -> (Verdict, usize) {
    for (index, event) in events.iter().enumerate() {
        match checker.observe(event) {
            Ok(()) => {}
            Err(Rejection::Violation(violation)) => {
                return (Verdict::Violation(violation), index);
            }
            Err(Rejection::Malformed(malformed)) => panic!("{malformed}: {events:#?}"),
        }
    }
    (checker.finish(), events.len())
}

fn small(seed: u64) -> EtcdWorkload {
    let mut random = Random::new(seed);
    EtcdWorkload {
        seed,
        operations: 3 + random.below(4),
        clients: 1 + random.index(4),
        keys: 1 + random.below(2),
        unknown: *random.pick(&[0.0, 0.2, 0.5]),
        stale_reads: *random.pick(&[0.0, 0.3]),
        watches: random.below(2),
        ..EtcdWorkload::default()
    }
}

fn history(workload: EtcdWorkload, random: &mut Random) -> Vec<EtcdEvent> {
    let mut events: Vec<EtcdEvent> = EtcdHistory::new(workload).collect();
    for _ in 0..random.below(3) {
        let injection = *random.pick(EtcdInjection::ALL);
        inject(&mut events, injection, random);
    }
    events
}

#[test]
fn verdicts_equal_brute_force_without_leases() {
    let (mut violations, mut oks) = (0, 0);
    for seed in 0..100_000 * scale() {
        let mut random = Random::new(!seed);
        let events = history(small(seed), &mut random);
        let expected = is_linearizable(&events, 0);
        for patience in [usize::MAX, 0, 1] {
            let (verdict, _) = check(&events, patience);
            assert_eq!(
                verdict.is_ok(),
                expected,
                "seed {seed}, patience {patience}: {verdict}\n{}",
                print(&events)
            );
        }
        if expected { oks += 1 } else { violations += 1 }
    }
    println!("{oks} ok, {violations} violations");
    assert!(
        oks > 500 && violations > 500,
        "{oks} ok, {violations} violations"
    );
}

/// Few hypotheses are followed as they are, and all others are merged: what that leaves open
/// is `unknown`, and seldom.
#[test]
fn merged_hypotheses_prove_nothing_wrong() {
    let (mut undecided, mut violations, mut oks, mut merged) = (0, 0, 0, 0);
    let seeds = 30_000 * scale();
    for seed in 0..seeds {
        let mut random = Random::new(!seed);
        let workload = EtcdWorkload {
            operations: 6 + random.below(6),
            keys: 2 + random.below(2),
            clients: 1 + random.index(2),
            unknown: 0.4,
            gets: 3.0,
            puts: 10.0,
            deletes: 6.0,
            txns: 1.0,
            ranges: 1.0,
            watches: u64::from(random.below(4) == 0),
            ..small(seed)
        };
        let events = history(workload, &mut random);
        let expected = is_linearizable(&events, 0);
        let options = EtcdOptions {
            equivalent_hypotheses_max: 1,
            distinct_hypotheses_max: 4,
            patience: *random.pick(&[usize::MAX, 0, 1]),
            evidence_patience: *random.pick(&[0, 2, 64]),
            ..EtcdOptions::default()
        };
        let mut checker = EtcdChecker::new(options);
        let (verdict, _) = check_with(&events, &mut checker);
        merged += checker.statistics().merged;
        match verdict {
            Verdict::Unknown(_) => undecided += 1,
            verdict => {
                assert_eq!(
                    verdict.is_ok(),
                    expected,
                    "seed {seed}: {verdict}\n{}",
                    print(&events)
                );
                if expected { oks += 1 } else { violations += 1 }
            }
        }
    }
    println!("{oks} ok, {violations} violations, {undecided} undecided, {merged} merged");
    assert!(merged > seeds / 100, "{merged} merged");
    assert!(oks > seeds / 10 && violations > seeds / 10);
    assert!(
        undecided > 0 && undecided < seeds / 50,
        "{undecided} of {seeds} undecided"
    );
}

#[test]
fn without_patience_the_first_wrong_event_is_the_one_reported() {
    let mut violations = 0;
    for seed in 0..2_000 * scale() {
        let mut random = Random::new(!seed);
        let events = history(small(seed), &mut random);
        let (verdict, at) = check(&events, 0);
        if verdict.is_ok() {
            continue;
        }
        violations += 1;
        let prefix = &events[..(at + 1).min(events.len())];
        assert!(
            !is_linearizable(prefix, 0),
            "seed {seed}: too early\n{verdict}\n{}",
            print(prefix)
        );
        assert!(
            is_linearizable(&events[..at], 0),
            "seed {seed}: late, at event {at}\n{verdict}\n{}",
            print(&events)
        );
    }
    println!("{violations} violations");
    assert!(violations > 300);
}

#[test]
fn nothing_right_is_refused_with_leases_and_compactions() {
    let (mut found, mut violations) = (0, 0);
    for seed in 0..4_000 * scale() {
        let mut random = Random::new(!seed);
        let mut workload = small(seed);
        workload.operations = workload.operations.min(5);
        workload.leases = 60.0;
        workload.compactions = if seed % 3 == 0 { 20.0 } else { 0.0 };
        workload.step_ns = *random.pick(&[1_000_000, 300_000_000]);
        let events = history(workload, &mut random);
        let expected = is_linearizable(&events, 0);
        for patience in [usize::MAX, 0] {
            let (verdict, _) = check(&events, patience);
            assert!(
                verdict.is_ok() || !expected,
                "seed {seed}, patience {patience}: {verdict}\n{}",
                print(&events)
            );
            found += usize::from(!verdict.is_ok());
        }
        violations += 2 * usize::from(!expected);
    }
    println!("{found} of {violations} violations found");
    assert!(
        found > 300 && found * 10 > violations * 9,
        "{found} of {violations} found"
    );
}

#[test]
fn each_kind_of_error_is_detected() {
    for injection in EtcdInjection::ALL {
        let (mut injected, mut detected) = (0, 0);
        for seed in 0..300 {
            let workload = EtcdWorkload {
                seed,
                operations: 60,
                clients: 4,
                keys: 4,
                leases: if *injection == EtcdInjection::EarlyExpiry {
                    30.0
                } else {
                    0.0
                },
                unknown: 0.02,
                watches: 1,
                ..EtcdWorkload::default()
            };
            let mut events: Vec<EtcdEvent> = EtcdHistory::new(workload).collect();
            let (verdict, _) = check(&events, usize::MAX);
            assert!(
                verdict.is_ok(),
                "seed {seed}: {verdict}\n{}",
                print(&events)
            );
            if inject(&mut events, *injection, &mut Random::new(seed)) {
                injected += 1;
                detected += usize::from(!check(&events, usize::MAX).0.is_ok());
            }
        }
        println!("{}: {detected} of {injected} detected", injection.name());
        assert!(detected > 0, "{} is never detected", injection.name());
    }
}

fn print(events: &[EtcdEvent]) -> String {
    let mut writer = veridical_histories::jsonl::Writer::new(Vec::new());
    events.iter().for_each(|event| writer.write(event).unwrap());
    String::from_utf8(writer.finish().unwrap()).unwrap()
}
