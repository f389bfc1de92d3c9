//! What is durable, while several Readys are on their way to the disk.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use veridical_probe::{always, sometimes};

use crate::entry::{LogIndex, NodeId, Term};

/// Names a Ready. Numbers say nothing about what a member will do next, only their
/// order does, which the queue has already. So they stay out of the hash: a model
/// checker that identifies states by their hash then merges states that behave alike.
/// (Equal values still hash alike, as `Hash` demands.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct ReadyNumber(u64);

impl Hash for ReadyNumber {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

/// A Ready that was issued and is not known to be durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Outstanding {
    number: ReadyNumber,
    /// The log is durable up to here once this Ready is; 0 if it says nothing about
    /// the log. Lowered when a later Ready overwrites part of what this one wrote.
    last_index: LogIndex,
    /// The term and vote that it carries.
    vote: Option<(Term, Option<NodeId>)>,
}

/// Tracks which part of the log, and which vote, is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Persistence {
    last_number: ReadyNumber,
    outstanding: VecDeque<Outstanding>,
    persisted_index: LogIndex,
    persisted_vote: (Term, Option<NodeId>),
}

impl Persistence {
    pub(crate) fn new(persisted_index: LogIndex, vote: (Term, Option<NodeId>)) -> Self {
        Self {
            last_number: ReadyNumber::default(),
            outstanding: VecDeque::new(),
            persisted_index,
            persisted_vote: vote,
        }
    }

    /// The end of the durable part of the present log.
    pub(crate) fn persisted_index(&self) -> LogIndex {
        self.persisted_index
    }

    /// The durable term and vote.
    pub(crate) fn persisted_vote(&self) -> (Term, Option<NodeId>) {
        self.persisted_vote
    }

    /// How many Readys with something to persist are under way.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Issues the next number. `last_index` is the last index that the Ready writes, if
    /// it writes any; `vote` the term and vote, if it carries them.
    pub(crate) fn issue(
        &mut self,
        last_index: Option<LogIndex>,
        vote: Option<(Term, Option<NodeId>)>,
    ) -> u64 {
        self.last_number.0 += 1;
        assert!(
            vote.is_none_or(|(term, _)| term >= self.latest_term()),
            "the terms that are written never fall"
        );
        if last_index.is_some() || vote.is_some() {
            self.outstanding.push_back(Outstanding {
                number: self.last_number,
                last_index: last_index.unwrap_or(0),
                vote,
            });
        }
        self.last_number.0
    }

    /// The latest term that was handed out to be written.
    fn latest_term(&self) -> Term {
        let handed_out = self.outstanding.iter().rev().find_map(|ready| ready.vote);
        handed_out.unwrap_or(self.persisted_vote).0
    }

    /// Everything up to Ready `number` is durable.
    pub(crate) fn persisted(&mut self, number: u64) {
        always!(
            number <= self.last_number.0,
            "raft.persisted-was-issued",
            "Ready {number} after {}",
            self.last_number.0
        );
        while let Some(ready) = self.outstanding.front() {
            if ready.number.0 > number {
                break;
            }
            self.persisted_index = self.persisted_index.max(ready.last_index);
            if let Some(vote) = ready.vote {
                self.persisted_vote = vote;
            }
            self.outstanding.pop_front();
        }
        assert!(
            self.outstanding
                .front()
                .is_none_or(|ready| ready.number.0 > number),
            "what is durable is no longer under way"
        );
    }

    /// The log after `index` is void: neither what is durable there nor what is on its
    /// way counts for the entries that take its place, even if they should be the same
    /// again, since the writes in between are still to come.
    pub(crate) fn truncate_to(&mut self, index: LogIndex) {
        sometimes!(
            self.outstanding
                .iter()
                .any(|ready| ready.last_index > index),
            "raft.overwritten-while-on-its-way-to-the-disk"
        );
        self.persisted_index = self.persisted_index.min(index);
        for ready in &mut self.outstanding {
            ready.last_index = ready.last_index.min(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_news_covers_all_earlier_readys() {
        let mut persistence = Persistence::new(0, (0, None));
        persistence.issue(Some(2), None);
        persistence.issue(None, Some((1, Some(1))));
        let third = persistence.issue(Some(5), None);
        persistence.persisted(third);
        assert_eq!(persistence.persisted_index(), 5);
        assert_eq!(persistence.persisted_vote(), (1, Some(1)));
        assert_eq!(persistence.outstanding(), 0);
    }

    #[test]
    fn an_overwritten_suffix_does_not_count_as_durable() {
        let mut persistence = Persistence::new(0, (0, None));
        let first = persistence.issue(Some(5), None);
        persistence.truncate_to(2);
        let second = persistence.issue(Some(3), None);
        persistence.truncate_to(2);
        let third = persistence.issue(Some(7), None);
        persistence.persisted(first);
        assert_eq!(persistence.persisted_index(), 2);
        persistence.persisted(second);
        assert_eq!(persistence.persisted_index(), 2);
        persistence.persisted(third);
        assert_eq!(persistence.persisted_index(), 7);
    }

    #[test]
    fn truncation_takes_back_what_was_durable() {
        let mut persistence = Persistence::new(9, (0, None));
        persistence.truncate_to(4);
        assert_eq!(persistence.persisted_index(), 4);
    }

    #[test]
    fn repeated_and_old_news_change_nothing() {
        let mut persistence = Persistence::new(0, (0, None));
        let first = persistence.issue(Some(1), None);
        let second = persistence.issue(Some(2), None);
        persistence.persisted(second);
        let settled = persistence.clone();
        persistence.persisted(first);
        persistence.persisted(second);
        assert_eq!(persistence, settled);
    }
}
