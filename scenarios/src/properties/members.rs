//! Who the members are, as of the applied log: all members agree on it, and who was
//! removed leads no more.

use std::collections::BTreeMap;
use veridical_node::Directory;
use veridical_raft::{LogIndex, NodeId, Term};

use super::Broken;

/// Changes of the membership that are remembered.
const CHANGES_MAX: usize = 1_024;

/// When a member was removed.
#[derive(Clone, Copy)]
struct Removal {
    index: LogIndex,
    /// A term in which it was known to be committed.
    known_in: Term,
}

/// The membership of one cluster.
#[derive(Default)]
pub struct MemberLaws {
    /// What the members were from an index on.
    lists: BTreeMap<LogIndex, Directory>,
    removed: BTreeMap<NodeId, Removal>,
}

impl MemberLaws {
    /// At member `at`, which is in `term`, the members are these as of the applied
    /// `index`.
    ///
    /// # Errors
    /// At another member they were others as of that index.
    pub fn applied(
        &mut self,
        at: NodeId,
        term: Term,
        index: LogIndex,
        list: &Directory,
    ) -> Result<(), Broken> {
        let last = self.lists.range(..=index).next_back();
        let known = last.map(|(since, list)| (*since, list.clone()));
        let newer = self.lists.range(index + 1..).next().is_some();
        match known {
            Some((_, known)) if known == *list => Ok(()),
            Some((since, known)) if since == index || newer => Broken::new(
                "members-differ",
                format!(
                    "as of entry {index} member {at} takes {} for the members, and others took \
                     {}",
                    tell(list),
                    tell(&known)
                ),
            ),
            known => {
                if let Some((_, known)) = known {
                    self.changes(&known, list, index, term);
                }
                self.lists.insert(index, list.clone());
                if self.lists.len() > CHANGES_MAX {
                    self.lists.pop_first();
                }
                Ok(())
            }
        }
    }

    fn changes(&mut self, before: &Directory, after: &Directory, index: LogIndex, term: Term) {
        for (node, _) in before.iter() {
            if after.get(node).is_none() {
                let removal = Removal {
                    index,
                    known_in: term,
                };
                self.removed.insert(node, removal);
            }
        }
        for (node, _) in after.iter() {
            self.removed.remove(&node);
        }
    }

    /// A member leads `term`.
    ///
    /// # Errors
    /// Its removal was committed in an earlier one.
    pub fn leads(&self, member: NodeId, term: Term) -> Result<(), Broken> {
        match self.removed.get(&member) {
            Some(removal) if removal.known_in < term => Broken::new(
                "removed-member-leads",
                format!(
                    "member {member} leads term {term}, and was removed by entry {}, which was \
                     applied in term {}",
                    removal.index, removal.known_in
                ),
            ),
            _ => Ok(()),
        }
    }
}

fn tell(list: &Directory) -> String {
    let members: Vec<String> = list
        .iter()
        .map(|(node, member)| {
            let role = if member.is_learner { " (learner)" } else { "" };
            format!("{node}{role}")
        })
        .collect();
    format!("[{}]", members.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_proto::etcdserverpb::Member;

    fn list(nodes: &[NodeId]) -> Directory {
        let member = |node: &NodeId| {
            (
                *node,
                Member {
                    id: *node,
                    ..Default::default()
                },
            )
        };
        Directory::new(nodes.iter().map(member).collect())
    }

    #[test]
    fn members_that_apply_the_same_changes_agree() {
        let mut laws = MemberLaws::default();
        for at in [1, 2] {
            laws.applied(at, 1, 0, &list(&[1, 2, 3])).expect("founded");
            laws.applied(at, 1, 7, &list(&[1, 2])).expect("removed");
            laws.applied(at, 2, 9, &list(&[1, 2, 4])).expect("added");
        }
        // From a snapshot in between.
        laws.applied(4, 2, 8, &list(&[1, 2])).expect("as it was");
    }

    #[test]
    fn members_that_apply_other_changes_are_found() {
        let mut laws = MemberLaws::default();
        laws.applied(1, 1, 0, &list(&[1, 2, 3])).expect("founded");
        laws.applied(1, 1, 7, &list(&[1, 2])).expect("removed");
        laws.applied(1, 2, 9, &list(&[1, 2, 4])).expect("added");
        for (index, nodes) in [(7, &[1, 3][..]), (8, &[1, 2, 4]), (0, &[1, 2])] {
            let broken = laws.applied(2, 1, index, &list(nodes));
            assert_eq!(broken.expect_err("differs").signature, "members-differ");
        }
    }

    #[test]
    fn a_removed_member_leads_no_later_term_unless_it_was_added_again() {
        let mut laws = MemberLaws::default();
        laws.applied(1, 1, 0, &list(&[1, 2, 3])).expect("founded");
        laws.applied(1, 4, 7, &list(&[1, 2])).expect("removed");
        laws.leads(3, 4).expect("a leader may remove itself");
        let broken = laws.leads(3, 5).expect_err("it is removed");
        assert_eq!(broken.signature, "removed-member-leads");
        laws.applied(1, 5, 8, &list(&[1, 2, 3])).expect("added");
        laws.leads(3, 6).expect("it is a member");
    }
}
