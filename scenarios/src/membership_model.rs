//! What the operator was told of the members, and what a list of them has to say then.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
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
    members: BTreeMap<u64, Membership>,
}

impl MembershipModel {
    /// Of a cluster with these bootstrap members.
    pub fn new(bootstrap_members: impl IntoIterator<Item = u64>) -> Self {
        let members = bootstrap_members
            .into_iter()
            .map(|id| (id, Membership::Member));
        Self {
            members: members.collect(),
        }
    }

    /// A member was added.
    pub fn added(&mut self, id: u64) {
        self.members.insert(id, Membership::Member);
    }

    /// The removal of a member was asked for.
    pub fn leaves(&mut self, id: u64) {
        self.members.insert(id, Membership::Leaving);
    }

    /// The removal of a member was asked for by somebody else.
    pub fn may_leave(&mut self, id: u64) {
        if let Some(membership @ Membership::Member) = self.members.get_mut(&id) {
            *membership = Membership::Leaving;
        }
    }

    /// A member was removed.
    pub fn removed(&mut self, id: u64) {
        self.members.insert(id, Membership::Gone);
    }

    /// Takes note of the list of members as of now. What contradicts what was told
    /// before, if anything does.
    pub fn listed(&mut self, list: &BTreeSet<u64>) -> Option<String> {
        for (id, membership) in &mut self.members {
            let wrong = match (*membership, list.contains(id)) {
                (Membership::Member, false) => "lost",
                (Membership::Gone, true) => "back",
                (Membership::Leaving, false) => {
                    *membership = Membership::Gone;
                    continue;
                }
                _ => continue,
            };
            return Some(format!(
                "member {id:x} is {wrong}: the members are {list:x?}"
            ));
        }
        for id in list {
            self.members.entry(*id).or_insert(Membership::Member);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(model: &mut MembershipModel, list: &[u64]) -> bool {
        model.listed(&list.iter().copied().collect()).is_none()
    }

    #[test]
    fn a_member_stays_until_its_removal_is_asked_for() {
        let mut model = MembershipModel::new([1, 2]);
        model.added(3);
        assert!(listed(&mut model, &[1, 2, 3]));
        model.leaves(2);
        assert!(listed(&mut model, &[1, 2, 3]));
        assert!(listed(&mut model, &[1, 3]));
        assert!(!listed(&mut model, &[1]));
    }

    #[test]
    fn who_is_gone_never_comes_back() {
        let mut model = MembershipModel::new([1, 2, 3]);
        model.leaves(2);
        assert!(listed(&mut model, &[1, 3]));
        assert!(!listed(&mut model, &[1, 2, 3]));
        let mut model = MembershipModel::new([1, 2, 3]);
        model.removed(3);
        assert!(!listed(&mut model, &[1, 2, 3]));
    }

    #[test]
    fn a_member_that_was_added_without_an_answer_counts_once_it_is_listed() {
        let mut model = MembershipModel::new([1]);
        assert!(listed(&mut model, &[1, 9]));
        assert!(!listed(&mut model, &[1]));
    }
}
