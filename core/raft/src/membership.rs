//! Who belongs to the cluster, now and at earlier points of the log.

use std::collections::{BTreeSet, VecDeque};

use crate::entry::{ChangeKind, Entry, LogIndex, MembershipChange, NodeId, Payload};
use crate::error::ChangeRefused;

/// The members at one point of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Members that count in quorums.
    pub voters: BTreeSet<NodeId>,
    /// Members that only receive the log.
    pub learners: BTreeSet<NodeId>,
}

impl Membership {
    /// A membership of voters only.
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            voters: voters.into_iter().collect(),
            learners: BTreeSet::new(),
        }
    }

    /// How many voters make a majority.
    pub fn quorum(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Whether `node` is a voter or a learner.
    pub fn contains(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }

    /// Voters and learners, voters first.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// Whether nobody belongs to it (a member that has yet to join).
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty() && self.learners.is_empty()
    }

    /// Whether a majority of the voters satisfies `holds`. Never so without voters.
    pub(crate) fn majority(&self, holds: impl Fn(NodeId) -> bool) -> bool {
        self.voters.iter().filter(|voter| holds(**voter)).count() >= self.quorum()
    }

    /// The greatest value that a majority of the voters has reached; 0 without voters.
    ///
    /// Quadratic in the voters, of which there are few, and free of allocations.
    pub(crate) fn reached_by_majority(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        self.voters
            .iter()
            .map(|voter| value(*voter))
            .filter(|reached| self.majority(|voter| value(voter) >= *reached))
            .max()
            .unwrap_or(0)
    }

    /// Whether `change` makes sense here.
    ///
    /// # Errors
    /// Returns the reason why it does not.
    pub fn check(&self, change: &MembershipChange) -> Result<(), ChangeRefused> {
        let node = change.node;
        if node == 0 {
            return Err(ChangeRefused::ReservedId);
        }
        match change.kind {
            ChangeKind::AddVoter | ChangeKind::AddLearner if self.voters.contains(&node) => {
                Err(ChangeRefused::AlreadyVoter(node))
            }
            ChangeKind::AddLearner if self.learners.contains(&node) => {
                Err(ChangeRefused::AlreadyLearner(node))
            }
            ChangeKind::Remove | ChangeKind::Update if !self.contains(node) => {
                Err(ChangeRefused::UnknownNode(node))
            }
            ChangeKind::Remove if self.voters.len() == 1 && self.voters.contains(&node) => {
                Err(ChangeRefused::LastVoter(node))
            }
            ChangeKind::AddVoter
            | ChangeKind::AddLearner
            | ChangeKind::Remove
            | ChangeKind::Update => Ok(()),
        }
    }

    /// The membership after `change`. A change that makes no sense leaves it as it is:
    /// entries come from the network, and every member must read them alike.
    pub fn after(&self, change: &MembershipChange) -> Membership {
        let mut next = self.clone();
        if self.check(change).is_err() {
            return next;
        }
        match change.kind {
            ChangeKind::AddVoter => {
                next.learners.remove(&change.node);
                next.voters.insert(change.node);
            }
            ChangeKind::AddLearner => {
                next.learners.insert(change.node);
            }
            ChangeKind::Remove => {
                next.voters.remove(&change.node);
                next.learners.remove(&change.node);
            }
            ChangeKind::Update => {}
        }
        next
    }
}

/// The memberships of a log: one for its base and one for each change in it. The last
/// one is in force, committed or not (thesis section 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MembershipHistory {
    base: Membership,
    changes: VecDeque<(LogIndex, Membership)>,
}

impl MembershipHistory {
    /// The history of an empty log that starts with `base`.
    pub(crate) fn new(base: Membership) -> Self {
        Self {
            base,
            changes: VecDeque::new(),
        }
    }

    /// The membership in force.
    pub(crate) fn latest(&self) -> &Membership {
        self.changes.back().map_or(&self.base, |(_, last)| last)
    }

    /// The membership before the last change that is kept apart from the base.
    pub(crate) fn previous(&self) -> &Membership {
        let previous = self.changes.iter().rev().nth(1);
        previous.map_or(&self.base, |(_, membership)| membership)
    }

    /// The membership at the base of the log.
    pub(crate) fn base(&self) -> &Membership {
        &self.base
    }

    /// Where the last change of the log is; 0 if there is none.
    pub(crate) fn last_change_index(&self) -> LogIndex {
        self.changes.back().map_or(0, |(index, _)| *index)
    }

    /// Whether a change at or before `index` is kept apart from the base.
    pub(crate) fn has_changes_up_to(&self, index: LogIndex) -> bool {
        self.changes.front().is_some_and(|(at, _)| *at <= index)
    }

    /// The membership as of `index`, which must not lie before the base.
    pub(crate) fn at(&self, index: LogIndex) -> &Membership {
        let later = self.changes.partition_point(|(at, _)| *at <= index);
        later
            .checked_sub(1)
            .map_or(&self.base, |last| &self.changes[last].1)
    }

    /// Follows an appended entry; returns whether it was a membership change.
    pub(crate) fn append(&mut self, entry: &Entry) -> bool {
        let Payload::Membership(change) = &entry.payload else {
            return false;
        };
        assert!(entry.index > self.last_change_index(), "log order");
        let next = self.latest().after(change);
        self.changes.push_back((entry.index, next));
        true
    }

    /// Forgets changes at `index` and after: those entries were overwritten, and what
    /// they changed is rolled back. Says whether there were any.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) -> bool {
        let before = self.changes.len();
        let keep = self.changes.partition_point(|(at, _)| *at < index);
        self.changes.truncate(keep);
        assert!(
            self.last_change_index() < index,
            "changes behind the end of the log are rolled back"
        );
        keep != before
    }

    /// Moves the base up to `index`.
    pub(crate) fn compact_to(&mut self, index: LogIndex) {
        while let Some((at, _)) = self.changes.front() {
            if *at > index {
                break;
            }
            let (_, membership) = self.changes.pop_front().expect("front exists");
            self.base = membership;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn change(kind: ChangeKind, node: NodeId) -> MembershipChange {
        MembershipChange {
            kind,
            node,
            context: Bytes::new(),
        }
    }

    fn entry(index: LogIndex, kind: ChangeKind, node: NodeId) -> Entry {
        Entry {
            term: 1,
            index,
            payload: Payload::Membership(change(kind, node)),
        }
    }

    #[test]
    fn majority_of_an_even_number_is_more_than_half() {
        let four = Membership::of_voters([1, 2, 3, 4]);
        assert!(!four.majority(|node| node <= 2));
        assert!(four.majority(|node| node <= 3));
        assert!(!Membership::default().majority(|_| true));
    }

    #[test]
    fn reached_by_majority_is_the_median_from_above() {
        let three = Membership::of_voters([1, 2, 3]);
        assert_eq!(
            three.reached_by_majority(|node| [9, 4, 7][node as usize - 1]),
            7
        );
        let four = Membership::of_voters([1, 2, 3, 4]);
        assert_eq!(
            four.reached_by_majority(|node| [9, 4, 7, 5][node as usize - 1]),
            5
        );
        assert_eq!(Membership::default().reached_by_majority(|_| 3), 0);
    }

    #[test]
    fn nonsense_changes_are_refused_and_change_nothing() {
        let membership = Membership {
            voters: [1].into(),
            learners: [2].into(),
        };
        for (kind, node, refusal) in [
            (ChangeKind::AddVoter, 0, ChangeRefused::ReservedId),
            (ChangeKind::AddVoter, 1, ChangeRefused::AlreadyVoter(1)),
            (ChangeKind::AddLearner, 1, ChangeRefused::AlreadyVoter(1)),
            (ChangeKind::AddLearner, 2, ChangeRefused::AlreadyLearner(2)),
            (ChangeKind::Remove, 3, ChangeRefused::UnknownNode(3)),
            (ChangeKind::Update, 3, ChangeRefused::UnknownNode(3)),
            (ChangeKind::Remove, 1, ChangeRefused::LastVoter(1)),
        ] {
            let change = change(kind, node);
            assert_eq!(membership.check(&change), Err(refusal));
            assert_eq!(membership.after(&change), membership);
        }
    }

    #[test]
    fn promotion_moves_a_learner_to_the_voters() {
        let membership = Membership {
            voters: [1].into(),
            learners: [2].into(),
        };
        let promoted = membership.after(&change(ChangeKind::AddVoter, 2));
        assert_eq!(promoted, Membership::of_voters([1, 2]));
    }

    #[test]
    fn history_answers_for_every_index_and_rolls_back() {
        let mut history = MembershipHistory::new(Membership::of_voters([1]));
        assert!(history.append(&entry(3, ChangeKind::AddVoter, 2)));
        assert!(history.append(&entry(5, ChangeKind::AddVoter, 3)));
        assert_eq!(history.at(2), &Membership::of_voters([1]));
        assert_eq!(history.at(4), &Membership::of_voters([1, 2]));
        assert_eq!(history.latest(), &Membership::of_voters([1, 2, 3]));
        assert!(history.truncate_from(5));
        assert!(!history.truncate_from(5));
        assert_eq!(history.latest(), &Membership::of_voters([1, 2]));
        history.compact_to(4);
        assert_eq!(history.base(), &Membership::of_voters([1, 2]));
        assert_eq!(history.last_change_index(), 0);
    }
}
