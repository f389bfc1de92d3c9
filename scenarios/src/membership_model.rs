//! What the operator was told of the members, and what a list of them has to say then.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It belongs to the cluster.
    Member,
    /// It may belong to the cluster or not: its removal was asked for.
    Leaving,
    /// It does not, and never will again.
    Gone,
}

/// The members that there were and are.
#[derive(Clone, Debug, Default)]
pub struct MembershipModel {
    told: BTreeMap<u64, Told>,
}

impl MembershipModel {
    /// Of a cluster with these founders.
    pub fn new(founders: impl IntoIterator<Item = u64>) -> Self {
        let told = founders.into_iter().map(|id| (id, Told::Member));
        Self {
            told: told.collect(),
        }
    }

    /// A member was added.
    pub fn added(&mut self, id: u64) {
        self.told.insert(id, Told::Member);
    }

    /// The removal of a member was asked for.
    pub fn leaves(&mut self, id: u64) {
        self.told.insert(id, Told::Leaving);
    }

    /// The removal of a member was asked for by somebody else.
    pub fn may_leave(&mut self, id: u64) {
        if let Some(told @ Told::Member) = self.told.get_mut(&id) {
            *told = Told::Leaving;
        }
    }

    /// A member was removed.
    pub fn removed(&mut self, id: u64) {
        self.told.insert(id, Told::Gone);
    }

    /// Takes note of the list of members as of now. What contradicts what was told
    /// before, if anything does.
    pub fn listed(&mut self, list: &BTreeSet<u64>) -> Option<String> {
        for (id, told) in &mut self.told {
            let wrong = match (*told, list.contains(id)) {
                (Told::Member, false) => "lost",
                (Told::Gone, true) => "back",
                (Told::Leaving, false) => {
                    *told = Told::Gone;
                    continue;
                }
                _ => continue,
            };
            return Some(format!(
                "member {id:x} is {wrong}: the members are {list:x?}"
            ));
        }
        for id in list {
            self.told.entry(*id).or_insert(Told::Member);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(roll: &mut MembershipModel, list: &[u64]) -> bool {
        roll.listed(&list.iter().copied().collect()).is_none()
    }

    #[test]
    fn a_member_stays_until_its_removal_is_asked_for() {
        let mut roll = MembershipModel::new([1, 2]);
        roll.added(3);
        assert!(listed(&mut roll, &[1, 2, 3]));
        roll.leaves(2);
        assert!(listed(&mut roll, &[1, 2, 3]));
        assert!(listed(&mut roll, &[1, 3]));
        assert!(!listed(&mut roll, &[1]));
    }

    #[test]
    fn who_is_gone_never_comes_back() {
        let mut roll = MembershipModel::new([1, 2, 3]);
        roll.leaves(2);
        assert!(listed(&mut roll, &[1, 3]));
        assert!(!listed(&mut roll, &[1, 2, 3]));
        let mut roll = MembershipModel::new([1, 2, 3]);
        roll.removed(3);
        assert!(!listed(&mut roll, &[1, 2, 3]));
    }

    #[test]
    fn a_member_that_was_added_without_an_answer_counts_once_it_is_listed() {
        let mut roll = MembershipModel::new([1]);
        assert!(listed(&mut roll, &[1, 9]));
        assert!(!listed(&mut roll, &[1]));
    }
}
