//! What decisions survive.

use super::decision::{Decision, DecisionMode, Decisions, ReplayCounts, Site};
use crate::fault::ProcessId;
use crate::rng::Stream;
use crate::trace::DiskOperation;

const MS: u64 = 1_000_000;

const KEPT: DecisionMode = DecisionMode {
    keep: true,
    record: None,
};

fn replayed(record: Vec<Decision>) -> DecisionMode {
    DecisionMode {
        keep: false,
        record: Some(record),
    }
}

fn unit(from: u32, to: u32) -> Site {
    Site::Unit {
        from: ProcessId(from),
        to: ProcessId(to),
    }
}

/// Something decided about: where, when, what.
type About = (Site, u64, u64);

fn decide(mode: DecisionMode, about: &[About]) -> (Vec<u64>, Vec<Decision>, Option<ReplayCounts>) {
    let mut decisions = Decisions::new(7, mode);
    let drawn = about
        .iter()
        .map(|(site, at_ns, content)| decisions.draw(*site, *at_ns, *content).next_u64())
        .collect();
    (drawn, decisions.take_kept(), decisions.counts())
}

/// Twenty units on one link, 5 ms apart, and operations of a disk between them.
fn story() -> Vec<About> {
    let sync = Site::DiskBegin {
        process: ProcessId(1),
        operation: DiskOperation::Sync,
    };
    (1..=20)
        .flat_map(|n| {
            [
                (unit(0, 1), n * 5 * MS, 1_000 + n),
                (sync, n * 5 * MS + 2 * MS, 0),
            ]
        })
        .collect()
}

#[test]
fn a_decision_more_at_one_site_moves_no_other_site() {
    let mut more = vec![(unit(2, 1), 0, 5); 3];
    more.extend(story());
    let (alone, ..) = decide(DecisionMode::default(), &story());
    let (behind, ..) = decide(DecisionMode::default(), &more);
    assert_eq!(alone, behind[3..]);
}

#[test]
fn sites_ordinals_and_seeds_differ() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut decisions = Decisions::new(seed, DecisionMode::default());
        for from in 0..5 {
            for to in 0..5 {
                for _ in 0..5 {
                    assert!(seen.insert(decisions.draw(unit(from, to), 0, 0).next_u64()));
                }
            }
        }
        let driver = Site::Driver {
            stream: Stream::Nemesis,
        };
        assert!(seen.insert(decisions.draw(driver, 0, 0).next_u64()));
    }
}

#[test]
fn the_same_run_takes_every_decision_from_its_record() {
    let (drawn, record, _) = decide(KEPT, &story());
    let (again, _, counts) = decide(replayed(record), &story());
    assert_eq!(drawn, again);
    let counts = counts.expect("a replay counts");
    assert_eq!(
        (counts.matched, counts.by_time, counts.diverged),
        (40, 0, 0)
    );
}

#[test]
fn a_message_that_was_added_or_left_out_takes_no_fate_from_the_others() {
    let (drawn, record, _) = decide(KEPT, &story());
    let mut changed = story();
    changed.insert(10, (unit(0, 1), 28 * MS, 77));
    let removed = changed.remove(21);
    assert_eq!(removed.2, 1_011);
    let (again, _, counts) = decide(replayed(record.clone()), &changed);
    let mut expected = drawn.clone();
    expected.insert(10, again[10]);
    expected.remove(21);
    assert_eq!(again, expected);
    assert_eq!(counts.map(|counts| counts.diverged), Some(1));
    // By the seed alone, everything on that link behind the addition is another draw.
    let (keyed, ..) = decide(DecisionMode::default(), &changed);
    assert_ne!(keyed[11..], expected[11..]);
}

#[test]
fn a_message_with_another_content_keeps_the_fate_of_its_place() {
    let (drawn, record, _) = decide(KEPT, &story());
    let changed: Vec<About> = story()
        .into_iter()
        .map(|(site, at_ns, content)| (site, at_ns + 300_000, content * 31))
        .collect();
    let (again, _, counts) = decide(replayed(record), &changed);
    assert_eq!(drawn, again);
    assert_eq!(
        counts.map(|counts| (counts.by_time, counts.diverged)),
        Some((20, 0))
    );
}

#[test]
fn a_run_that_is_late_finds_its_place_by_content() {
    let (drawn, record, _) = decide(KEPT, &story());
    let late: Vec<About> = story()
        .into_iter()
        .map(|(site, at_ns, content)| (site, at_ns + 400 * MS, content))
        .collect();
    let (again, ..) = decide(replayed(record), &late);
    assert_eq!(drawn, again);
}

#[test]
fn a_decision_survives_its_written_form() {
    let (_, record, _) = decide(KEPT, &story());
    for decision in record {
        let text = serde_json::to_string(&decision).expect("a decision can be written");
        let read: Decision = serde_json::from_str(&text).expect("and read");
        assert_eq!(read, decision, "{text}");
    }
}
