//! Whole clusters of the real [`veridical_raft::Raft`] under a deterministic scheduler.

mod chaos;
mod elections;
mod harness;
mod hostile;
mod majorities;
mod membership;
mod reads;
mod replication;

use veridical_planted::{Planted, PlantedBug};

use crate::chaos::{Chaos, Coverage};

const STEPS: usize = 3000;

#[test]
fn invariants_hold_and_progress_resumes_whatever_goes_wrong() {
    let mut total = Coverage::default();
    let (first, seeds) = seeds();
    for seed in first..first + seeds {
        match Chaos::new(seed, Planted::none()).run(STEPS) {
            Ok(run) => {
                total.elections += run.elections;
                total.committed += run.committed;
                total.crashes += run.crashes;
                total.snapshots += run.snapshots;
                total.membership_changes += run.membership_changes;
                total.transfers += run.transfers;
                total.reads += run.reads;
            }
            Err(violation) => panic!("seed {seed}: {violation}"),
        }
    }
    println!("{seeds} seeds: {total:?}");
    assert!(total.elections > 3 * seeds as usize, "{total:?}");
    assert!(total.committed > 30 * seeds, "{total:?}");
    assert!(total.crashes > seeds as usize, "{total:?}");
    assert!(total.snapshots > seeds as usize / 4, "{total:?}");
    assert!(total.membership_changes > seeds as usize / 2, "{total:?}");
    assert!(total.transfers > seeds as usize / 4, "{total:?}");
    assert!(total.reads > 10 * seeds as usize, "{total:?}");
}

/// Runs seeds with `bug` planted until the scheduler trips over it.
fn assert_found(bug: PlantedBug, signatures: &[&str]) {
    let found = (0..20_000).find_map(|seed| {
        let outcome = Chaos::new(seed, Planted::only(bug)).run(STEPS);
        outcome.err().map(|violation| (seed, violation))
    });
    let (seed, violation) = found.expect("the bug is found");
    println!("{bug}: seed {seed}: {}", violation);
    assert!(
        signatures.contains(&violation.signature),
        "{bug} shows in an unexpected way: {violation}"
    );
}

#[test]
fn the_scheduler_finds_reads_without_confirmation() {
    assert_found(PlantedBug::StaleRead, &["stale-read-index"]);
}

#[test]
fn the_scheduler_finds_votes_that_are_not_persisted() {
    let bug = PlantedBug::VoteNotPersisted;
    assert_found(bug, &["not-durable"]);
}

#[test]
fn the_scheduler_finds_old_terms_committed_by_counting() {
    let bug = PlantedBug::CommitOldTerm;
    assert_found(bug, &["committed-without-majority"]);
}

#[test]
fn the_scheduler_finds_votes_for_shorter_logs() {
    let bug = PlantedBug::VoteToShorterLog;
    assert_found(bug, &["vote-for-older-log"]);
}

#[test]
fn the_scheduler_finds_late_appends_that_remove_what_was_acknowledged() {
    let bug = PlantedBug::TruncateAgreeingLog;
    assert_found(bug, &["leader-completeness", "message-refused"]);
}

#[test]
fn the_scheduler_finds_heartbeats_that_commit_what_need_not_agree() {
    let bug = PlantedBug::CommitBeyondMatch;
    assert_found(bug, &["state-machine-safety", "message-refused"]);
}

#[test]
fn the_scheduler_finds_reads_before_an_entry_of_the_term_is_committed() {
    assert_found(PlantedBug::ReadBeforeOwnCommit, &["stale-read-index"]);
}

#[test]
fn the_scheduler_finds_snapshots_that_go_back() {
    assert_found(PlantedBug::SnapshotGoesBack, &["state-machine-safety"]);
}

#[test]
fn the_scheduler_finds_leaders_that_count_what_is_not_on_their_disk() {
    assert_found(
        PlantedBug::LeaderCountsUnsynced,
        &["committed-without-majority"],
    );
}

/// The seeds to run, `VERIDICAL_RAFT_SEEDS=first,count`; few by default.
fn seeds() -> (u64, u64) {
    let text = std::env::var("VERIDICAL_RAFT_SEEDS").unwrap_or_else(|_| "0,300".into());
    let (first, count) = text.split_once(',').expect("first,count");
    (
        first.parse().expect("number"),
        count.parse().expect("number"),
    )
}
