//! A connected majority is enough: from wherever a scheduler has left a cluster, every smallest
//! majority of its voters, alone with itself, elects a leader and commits. Healing everything
//! at once does not show this, because then the member that makes up for a defect is always
//! there.

use std::collections::BTreeSet;

use bytes::Bytes;
use veridical_planted::Planted;
use veridical_raft::invariants::InvariantViolation;
use veridical_raft::{NodeId, Raft};

use crate::chaos::{Chaos, Dice};
use crate::harness::Cluster;

const STEPS: usize = 3000;

/// A majority commits within so many election timeouts of `election_ticks`. Two pass until
/// whoever led is missed, two until the member with the better log has asked and learned the
/// term, and two for every election after that. A smallest majority needs the vote of each of
/// its members, so such an election fails if another one stands in the same tick. With the
/// shortest timeout, five ticks to draw from, that is less than every second time even where
/// five make a majority; 23 such draws in a row come less than once in eight million.
const ELECTION_TIMEOUTS_MAX: usize = 50;

/// No cluster of these tests has a longer election timeout.
const ELECTION_TICKS_MAX: usize = 14;

/// How far the logs of a majority lie apart.
#[derive(Debug, Default)]
struct Coverage {
    majorities: usize,
    /// Majorities in which every member with the best log is two terms or more behind.
    two_terms_behind: usize,
    /// The longest that one of them took, in percent of the bound.
    percent_max: usize,
}

/// Each smallest majority of `cluster` alone commits something.
fn check(mut cluster: Cluster, coverage: &mut Coverage) -> Result<(), InvariantViolation> {
    cluster.heal();
    // An append under way may bring a configuration that its sender has lost meanwhile, and by
    // which those who are a majority now are none.
    cluster.network.clear();
    let ids: Vec<_> = cluster.members.keys().copied().collect();
    for id in &ids {
        if !cluster.is_alive(*id) {
            cluster.restart(*id)?;
        }
    }
    for chosen in 1..1u32 << ids.len() {
        let picked = ids.iter().enumerate();
        let picked = picked.filter(|(position, _)| chosen & (1 << position) != 0);
        let some: BTreeSet<NodeId> = picked.map(|(_, id)| *id).collect();
        if is_smallest_majority(&cluster, &some) {
            coverage.majorities += 1;
            coverage.two_terms_behind += usize::from(best_is_behind(&cluster, &some));
            let percent = commit_alone(cluster.clone(), &some)?;
            coverage.percent_max = coverage.percent_max.max(percent);
        }
    }
    Ok(())
}

fn is_smallest_majority(cluster: &Cluster, some: &BTreeSet<NodeId>) -> bool {
    let without = |id: &NodeId| some.iter().copied().filter(|other| other != id).collect();
    is_majority(cluster, some) && !some.iter().any(|id| is_majority(cluster, &without(id)))
}

/// Whether `some` are voters, and a majority, by every configuration that one of them has: by
/// the last one of its log, and by the one that it may fall back to.
fn is_majority(cluster: &Cluster, some: &BTreeSet<NodeId>) -> bool {
    let rafts = some.iter().map(|id| cluster.raft(*id));
    let mut known = rafts
        .flat_map(|raft| [raft.membership(), raft.membership_at_applied()])
        .filter(|membership| !membership.is_empty())
        .peekable();
    known.peek().is_some()
        && known.all(|membership| {
            some.is_subset(&membership.voters) && some.len() >= membership.quorum()
        })
}

fn best_is_behind(cluster: &Cluster, some: &BTreeSet<NodeId>) -> bool {
    let rafts = || some.iter().map(|id| cluster.raft(*id));
    let log = |raft: &Raft| (raft.last_term(), raft.last_index());
    let best_log = rafts().map(log).max();
    let with_best_log = rafts().filter(|raft| Some(log(raft)) == best_log);
    let (best, newest) = (
        with_best_log.map(Raft::term).max(),
        rafts().map(Raft::term).max(),
    );
    best.zip(newest)
        .is_some_and(|(best, newest)| best + 2 <= newest)
}

/// The others are gone, with what they sent. Returns after how many percent of the
/// bound something was committed.
fn commit_alone(
    mut cluster: Cluster,
    some: &BTreeSet<NodeId>,
) -> Result<usize, InvariantViolation> {
    for id in cluster.alive() {
        if !some.contains(&id) {
            cluster.isolate(id);
            cluster.crash(id);
        }
    }
    let rafts = some.iter().map(|id| cluster.raft(*id));
    let election_ticks = rafts.clone().map(|raft| raft.config().election_ticks).max();
    // Where an append carries one entry, and one is under way, a log arrives entry by entry.
    let entries = rafts
        .map(|raft| raft.last_index() + 1 - raft.first_index())
        .max();
    let ticks_max = ELECTION_TIMEOUTS_MAX * election_ticks.unwrap_or(0) as usize
        + entries.unwrap_or(0) as usize;
    let mut proposed = None;
    for ticks in 0..ticks_max {
        if let Some(leader) = cluster.leader() {
            let (term, commit) = (
                cluster.raft(leader).term(),
                cluster.raft(leader).commit_index(),
            );
            match proposed {
                Some((proposed_term, index)) if proposed_term == term => {
                    if commit >= index {
                        return Ok(100 * ticks / ticks_max);
                    }
                }
                Some(_) | None => {
                    let outcome = cluster.act(leader, |raft| raft.propose(Bytes::new()))?;
                    proposed = outcome.ok();
                }
            }
        }
        cluster.fair_tick()?;
    }
    let states = cluster.describe();
    InvariantViolation::new(
        "majority-without-progress",
        format!("{some:?} alone commit nothing for {ticks_max} ticks: {states:#?}"),
    )
}

/// The state after elections that failed when they were won: a leader was cut off with
/// entries that nobody else has, and each of its successors lost its power before its first
/// entry had left and was durable. The longest log is then the one of the earliest term,
/// which chaos rarely comes to: an election is over at once, and what is cut off or crashes
/// there has to do so between two of its messages.
fn after_failed_elections(seed: u64) -> Result<Cluster, InvariantViolation> {
    let mut dice = Dice::new(seed);
    let size = [3, 5][dice.roll(2)];
    let (election_ticks, careful) = (5 + dice.roll(10) as u32, dice.chance(75));
    let mut cluster = Cluster::new(size, seed, |config| {
        config.election_ticks = election_ticks;
        config.pre_vote = careful;
        config.check_quorum = careful;
    });
    cluster.synchronous = false;
    let first = until_won(&mut cluster, None)?;
    for _ in 0..dice.roll(4) {
        cluster.fair_tick()?;
    }
    cluster.isolate(first);
    for _ in 0..1 + dice.roll(3) {
        cluster.propose(first, "of nobody else");
    }
    cluster.persist(first, usize::MAX)?;
    for _ in 0..1 + dice.roll(4) {
        let winner = until_won(&mut cluster, Some(first))?;
        cluster.crash(winner);
        cluster.restart(winner)?;
    }
    Ok(cluster)
}

/// Until somebody else than `former` has just been elected; what was under way is lost then.
fn until_won(cluster: &mut Cluster, former: Option<NodeId>) -> Result<NodeId, InvariantViolation> {
    for _ in 0..ELECTION_TIMEOUTS_MAX * ELECTION_TICKS_MAX {
        for id in cluster.alive() {
            cluster.act(id, Raft::tick)?;
        }
        for _ in 0..3 {
            for id in cluster.alive() {
                cluster.persist(id, usize::MAX)?;
            }
            for message in std::mem::take(&mut cluster.network) {
                cluster.deliver(message)?;
                let winner = cluster.leader().filter(|id| Some(*id) != former);
                if let Some(winner) = winner {
                    cluster.network.clear();
                    return Ok(winner);
                }
            }
        }
    }
    let states = cluster.describe();
    InvariantViolation::new("nobody-wins", format!("no election is won: {states:#?}"))
}

#[test]
fn every_majority_goes_on_alone_whatever_went_wrong_before() {
    let mut coverage = Coverage::default();
    let (first, seeds) = crate::seeds();
    for seed in first..first + seeds {
        let mut chaos = Chaos::new(seed, Planted::none());
        let outcome = chaos.wreck(STEPS);
        let outcome = outcome.and_then(|()| check(chaos.cluster, &mut coverage));
        if let Err(violation) = outcome {
            panic!("seed {seed}: {violation}");
        }
    }
    println!("{seeds} seeds: {coverage:?}");
    assert!(coverage.majorities > 2 * seeds as usize, "{coverage:?}");
}

#[test]
fn every_majority_goes_on_alone_after_elections_that_failed_when_they_were_won() {
    let mut coverage = Coverage::default();
    let (first, seeds) = crate::seeds();
    for seed in first..first + seeds {
        let outcome = after_failed_elections(seed);
        let outcome = outcome.and_then(|cluster| check(cluster, &mut coverage));
        if let Err(violation) = outcome {
            panic!("seed {seed}: {violation}");
        }
    }
    println!("{seeds} seeds: {coverage:?}");
    assert!(coverage.two_terms_behind > seeds as usize, "{coverage:?}");
}
