//! Exhaustive exploration of small clusters of the real [`veridical_raft::Raft`] with
//! stateright. Not in the simulated world: the checker has threads of its own.
#![cfg(not(madsim))]

mod model;

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model};
use veridical_planted::{Planted, PlantedBug};

use crate::model::{Bounds, Cluster, Step};

/// Figure 8 of the paper, up to its step (b): member 1 led term 1 and kept its entry to
/// itself, member 3 led term 2 likewise.
const FIGURE_8: &[Step] = &[
    Step::Timeout(1),
    Step::Deliver(1, 2),
    Step::Deliver(2, 1),
    Step::LoseAll,
    Step::Timeout(3),
    Step::Timeout(3),
    Step::Deliver(3, 2),
    Step::Deliver(2, 3),
    Step::Restart(1),
    Step::Restart(3),
    Step::Timeout(1),
    Step::Timeout(3),
    Step::LoseAll,
];

/// Two elections in a fresh cluster, over two terms, without crashes.
const TWO_TERMS: Bounds = Bounds {
    max_term: 2,
    timeouts: 2,
    crashes: 0,
    proposals: 0,
    duplicates: 0,
};

/// Two candidates of one term, two crashes anywhere.
const ONE_TERM_WITH_CRASHES: Bounds = Bounds {
    max_term: 1,
    timeouts: 2,
    crashes: 2,
    proposals: 0,
    duplicates: 0,
};

/// Two candidates of one term, a crash and a duplicate anywhere.
const ONE_TERM_WITH_DUPLICATES: Bounds = Bounds {
    max_term: 1,
    timeouts: 2,
    crashes: 1,
    proposals: 0,
    duplicates: 1,
};

/// One leader, a proposal and a crash anywhere.
const ONE_LEADER_AT_WORK: Bounds = Bounds {
    max_term: 1,
    timeouts: 1,
    crashes: 1,
    proposals: 1,
    duplicates: 0,
};

/// From [`FIGURE_8`] on, two more elections.
const FIGURE_8_ON: Bounds = Bounds {
    max_term: 4,
    timeouts: 2,
    crashes: 0,
    proposals: 0,
    duplicates: 0,
};

const COMMITS: &[&str] = &["an entry is committed"];
const COMMITS_TWICE: &[&str] = &["an entry is committed", "a second term commits"];

/// Explores everything within `bounds` from the end of `prefix` on; says which
/// properties were decided by an example. Ends early at `enough`.
fn explore(
    bounds: Bounds,
    prefix: &[Step],
    planted: Planted,
    enough: Option<&'static str>,
) -> BTreeSet<&'static str> {
    let model = Cluster {
        bounds,
        planted,
        prefix: prefix.to_vec(),
    };
    let mut builder = model.checker();
    if let Some(property) = enough {
        builder = builder.finish_when(HasDiscoveries::AllOf([property].into()));
    }
    let checker = builder.spawn_dfs().join();
    println!(
        "{} states, {} of them different, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
    );
    checker.discoveries().into_keys().collect()
}

/// Everything within the bounds is explored, no safety property fails, and what `reached`
/// names happens somewhere: otherwise the bounds would prove nothing.
fn assert_safe(bounds: Bounds, prefix: &[Step], reached: &[&'static str]) {
    let found = explore(bounds, prefix, Planted::none(), None);
    assert_eq!(found, reached.iter().copied().collect());
}

/// The exploration ends with a counterexample to `property`.
fn assert_caught(bug: PlantedBug, bounds: Bounds, prefix: &[Step], property: &'static str) {
    let found = explore(bounds, prefix, Planted::only(bug), Some(property));
    assert!(
        found.contains(property),
        "{bug} breaks {property}: {found:?}"
    );
}

#[test]
fn safe_over_two_terms() {
    assert_safe(TWO_TERMS, &[], COMMITS_TWICE);
}

#[test]
fn safe_when_rival_candidates_and_their_voters_crash() {
    assert_safe(ONE_TERM_WITH_CRASHES, &[], COMMITS);
}

#[test]
fn safe_when_messages_come_twice() {
    assert_safe(ONE_TERM_WITH_DUPLICATES, &[], COMMITS);
}

#[test]
fn safe_when_a_leader_crashes_at_work() {
    assert_safe(ONE_LEADER_AT_WORK, &[], COMMITS);
}

#[test]
fn safe_after_figure_8_of_the_paper() {
    assert_safe(FIGURE_8_ON, FIGURE_8, COMMITS_TWICE);
}

#[test]
fn committing_old_terms_by_counting_is_caught() {
    let bug = PlantedBug::CommitOldTerm;
    assert_caught(bug, FIGURE_8_ON, FIGURE_8, "leader completeness");
}

#[test]
fn granting_votes_that_are_not_persisted_is_caught() {
    let bug = PlantedBug::VoteNotPersisted;
    assert_caught(bug, ONE_TERM_WITH_CRASHES, &[], "election safety");
}
