//! Equivalent hypotheses: those that came to the same state.
//!
//! A gap that is explained by a put of one key or of another leaves two hypotheses. Once
//! both keys were deleted, no read will ever distinguish them, and every further gap would
//! double them. All that is left of the difference is which operation is used up, and that
//! is an undetermined write with two candidates; so the two become one again, and nothing
//! is lost. Old revisions still differ: a later read of one of those ends the ambiguity in
//! favour of the candidate that is kept, and from then on a contradiction proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use veridical_histories::OperationId;

use crate::etcd::replay::{LastChanges, Replay};

use super::candidates::{CandidateWriter, DivergenceRange};
use super::hypothesis::Hypothesis;
use super::unknowns::Unknowns;

/// The most others with which it is tried to merge one hypothesis.
const MERGES_TRIED_MAX: usize = 64;

/// What equivalence depends on beside the hypotheses themselves.
pub(super) struct Equivalence<'a> {
    pub replay: &'a Replay,
    pub unknown: &'a Unknowns,
    /// Answers to come show no state before this revision, unless they ask for it.
    pub observable_from: i64,
}

impl Equivalence<'_> {
    /// Merges hypotheses as long as two of them can be.
    pub fn merged(&self, mut hypotheses: Vec<Hypothesis>) -> Vec<Hypothesis> {
        loop {
            let before = hypotheses.len();
            hypotheses = self.merged_once(hypotheses);
            assert!(
                (1..=before).contains(&hypotheses.len()),
                "merging leaves a hypothesis, and adds none"
            );
            if hypotheses.len() == before {
                return hypotheses;
            }
        }
    }

    /// Merges each with the first of those before it that it can be merged with.
    fn merged_once(&self, hypotheses: Vec<Hypothesis>) -> Vec<Hypothesis> {
        let mut places: FxHashMap<AllButOne, Vec<usize>> = FxHashMap::default();
        let mut kept: Vec<Hypothesis> = Vec::new();
        for hypothesis in hypotheses {
            let parts = self.all_but_one(&hypothesis);
            let similar = parts.iter().filter_map(|part| places.get(part)).flatten();
            let merged = similar.take(MERGES_TRIED_MAX).find_map(|number| {
                let other = &kept[*number];
                let is_same = self.state(other) == self.state(&hypothesis);
                let merged = is_same.then(|| self.merge(other, &hypothesis));
                Some((*number, merged.flatten()?))
            });
            let (number, parts) = match merged {
                Some((number, merged)) => {
                    let parts = self.all_but_one(&merged);
                    kept[number] = merged;
                    (number, parts)
                }
                None => {
                    kept.push(hypothesis);
                    (kept.len() - 1, parts)
                }
            };
            for part in parts {
                places.entry(part).or_default().push(number);
            }
        }
        kept
    }

    /// The state of a hypothesis with how it explains all revisions but one, for each of
    /// them: two hypotheses that can be merged have one of these in common.
    fn all_but_one(&self, hypothesis: &Hypothesis) -> Vec<AllButOne> {
        let state = fxhash(&self.state(hypothesis));
        let writers = self.writers(hypothesis);
        let hashes: Vec<(i64, u64)> = { writers.iter() }
            .map(|writer| (*writer.0, fxhash(&writer)))
            .collect();
        let sum = |sum: u64, writer: &(i64, u64)| sum.wrapping_add(writer.1);
        let all = hashes.iter().fold(0u64, sum);
        let part = |(revision, hash): &(i64, u64)| AllButOne {
            state,
            revision: *revision,
            others: all.wrapping_sub(*hash),
        };
        hashes.iter().map(part).collect()
    }

    /// Keeps one hypothesis of each state.
    pub fn thinned(&self, hypotheses: Vec<Hypothesis>) -> Vec<Hypothesis> {
        let mut kept: FxHashMap<State<'_>, usize> = FxHashMap::default();
        for (number, hypothesis) in hypotheses.iter().enumerate() {
            let place = kept.entry(self.state(hypothesis)).or_insert(number);
            // What was called long ago and had no effect so far will hardly have one yet:
            // that it is used up is the safer assumption.
            if used(hypothesis) < used(&hypotheses[*place]) {
                *place = number;
            }
        }
        let numbers: BTreeSet<usize> = kept.into_values().collect();
        let numbered = hypotheses.into_iter().enumerate();
        numbered
            .filter(|(number, _)| numbers.contains(number))
            .map(|(_, hypothesis)| hypothesis)
            .collect()
    }

    fn state<'a>(&'a self, hypothesis: &'a Hypothesis) -> State<'a> {
        let placed = hypothesis.placed.iter().map(|(op, at)| (*op, *at));
        State {
            changes: self.replay.last_changes(&hypothesis.overlay),
            ended: hypothesis.ended.keys().copied().collect(),
            open: placed
                .filter(|(op, _)| !self.unknown.contains(*op))
                .collect(),
        }
    }

    /// Both as one, with an undetermined write. `None` if they differ in more than one
    /// revision, or if what is in flight may still distinguish them.
    fn merge(&self, one: &Hypothesis, other: &Hypothesis) -> Option<Hypothesis> {
        let (writers, theirs) = (self.writers(one), self.writers(other));
        let mut differing = writers
            .keys()
            .chain(theirs.keys())
            .filter(|at| writers.get(at) != theirs.get(at));
        let revision = *differing.next()?;
        if differing.any(|at| *at != revision) {
            return None;
        }
        let mut candidates = writers.get(&revision)?.to_vec();
        for candidate in theirs.get(&revision)?.iter() {
            if !candidates.contains(candidate) {
                candidates.push(candidate.clone());
            }
        }
        let (keys, until) = self.replay.differences(&one.overlay, &other.overlay);
        let known = [one, other].into_iter().filter_map(|hypothesis| {
            let write = hypothesis.undetermined.at(revision)?;
            write.divergence.clone()
        });
        let all = DivergenceRange { keys, until };
        let divergence = known.fold(all, |sum, known| sum.with(&known));
        if divergence.until > self.observable_from {
            return None;
        }
        let mut merged = one.clone();
        let placed = merged.placed.iter().find(|(_, at)| **at == revision);
        let op = match placed {
            Some((op, _)) => *op,
            None => one.undetermined.at(revision)?.op,
        };
        merged.placed.retain(|_, at| *at != revision);
        let (candidates, divergence) = (candidates.into(), Arc::new(divergence));
        merged
            .undetermined
            .open(revision, candidates, op, divergence);
        Some(merged)
    }

    /// By revision, the operations of unknown outcome that can have written it.
    fn writers(&self, hypothesis: &Hypothesis) -> BTreeMap<i64, Arc<[CandidateWriter]>> {
        let placed = hypothesis.placed.iter();
        let placed = placed.filter(|(op, _)| self.unknown.contains(**op));
        let placed = placed.map(|(op, at)| (*at, [CandidateWriter::Operation(*op)].into()));
        let undetermined = hypothesis.undetermined.iter();
        let undetermined = undetermined.map(|(at, write)| (at, write.candidates.clone()));
        placed.chain(undetermined).collect()
    }
}

/// All that decides what a hypothesis allows from now on, but for the operations that are
/// left.
#[derive(PartialEq, Eq, Hash)]
struct State<'a> {
    changes: LastChanges<'a>,
    ended: Vec<i64>,
    /// The placed operations that may still return, and show their revision.
    open: Vec<(OperationId, i64)>,
}

/// Hashes of what a hypothesis says but for how one revision was written.
#[derive(PartialEq, Eq, Hash)]
struct AllButOne {
    state: u64,
    revision: i64,
    others: u64,
}

fn fxhash(value: &impl Hash) -> u64 {
    rustc_hash::FxBuildHasher.hash_one(value)
}

/// The operations that are used up, the latest first.
fn used(hypothesis: &Hypothesis) -> Vec<OperationId> {
    hypothesis.placed.keys().rev().copied().collect()
}
