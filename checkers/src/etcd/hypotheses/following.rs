//! All ways to go on behind a gap.

use std::borrow::Cow;
use std::cmp::Reverse;

use super::gap::{Candidate, Gap};
use super::hypothesis::Hypothesis;
use super::unobservable::{UnobservedDeletions, join_unobservable};

/// All ways to go on behind a gap.
pub(super) struct Followed {
    /// The hypotheses behind the gap.
    pub hypotheses: Vec<Hypothesis>,
    /// How many candidates became one with another.
    pub joined: usize,
    /// How many hypotheses there was room for.
    pub room: usize,
    /// Whether candidates were left out.
    pub is_crowded: bool,
    /// A lease whose expiry would explain the gap, had it lived long enough.
    pub early_lease: Option<i64>,
}

/// Each of `hypotheses` with each explanation of the gap, as far as there is `room`. Where
/// there are more than `equivalent_max` explanations, those that nobody will observe are
/// one.
pub(super) fn follow(
    gap: &Gap<'_>,
    hypotheses: &[Hypothesis],
    room: usize,
    equivalent_max: usize,
) -> Followed {
    let mut followed = Followed {
        hypotheses: Vec::new(),
        joined: 0,
        room,
        is_crowded: false,
        early_lease: None,
    };
    let mut deletions = UnobservedDeletions::default();
    let mut waiting: Vec<Cow<'_, Hypothesis>> =
        hypotheses.iter().rev().map(Cow::Borrowed).collect();
    while let Some(hypothesis) = waiting.pop() {
        let explanations = match gap.explanations(&hypothesis) {
            Ok(explanations) => explanations,
            Err(unresolved) => {
                let resolved = hypothesis.resolved(gap.replay, gap.pool(&hypothesis), &unresolved);
                waiting.extend(resolved.into_iter().rev().map(Cow::Owned));
                continue;
            }
        };
        followed.early_lease = explanations.early_lease.or(followed.early_lease);
        let candidates = explanations.candidates;
        let all = candidates.len();
        let candidates =
            join_unobservable(gap, &mut deletions, &hypothesis, candidates, equivalent_max);
        followed.joined += all - candidates.len();
        followed.add(gap, &hypothesis, candidates, waiting.len());
    }
    followed
}

impl Followed {
    /// Adds the ways in which `hypothesis` goes on behind the gap, as far as there is room
    /// beside the `waiting` others.
    fn add(
        &mut self,
        gap: &Gap<'_>,
        hypothesis: &Hypothesis,
        mut candidates: Vec<Candidate>,
        waiting: usize,
    ) {
        // Each hypothesis is to go on in one way at least.
        let room = self.room.saturating_sub(self.hypotheses.len());
        let room = room.saturating_sub(waiting).max(1);
        if candidates.len() > room {
            self.is_crowded = true;
            // An operation that has an effect has it soon after its call, as a rule.
            candidates.sort_by_key(|candidate| Reverse(candidate.called()));
            candidates.truncate(room);
        }
        for candidate in candidates {
            let mut next = hypothesis.clone();
            candidate.place.take(&mut next, gap.revision);
            next.ended.extend(candidate.ends);
            let (changes, writer) = (candidate.changes, candidate.writer);
            gap.replay
                .commit_to(&mut next.overlay, gap.revision, changes, writer);
            self.hypotheses.push(next);
        }
    }
}
