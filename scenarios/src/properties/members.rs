//! Who the members are, as of the applied log: all members agree on it, and who has
//! applied its own removal leads no more.

use std::collections::BTreeMap;
use veridical_node::Directory;
use veridical_raft::{LogIndex, NodeId, Term};

use super::InvariantViolation;

/// The most changes of the membership that are remembered.
const CHANGES_MAX: usize = 1_024;

/// What a removed member knows of its removal.
#[derive(Clone, Copy)]
struct Removal {
    index: LogIndex,
    /// The term in which it applied it.
    known_in: Term,
}

/// The membership of one cluster.
#[derive(Default)]
pub struct MembershipInvariants {
    /// The members from an index on.
    lists: BTreeMap<LogIndex, Directory>,
    removed: BTreeMap<NodeId, Removal>,
}

impl MembershipInvariants {
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
    ) -> Result<(), InvariantViolation> {
        self.note_removal(at, term, index, list);
        let last = self.lists.range(..=index).next_back();
        let known = last.map(|(since, list)| (*since, list.clone()));
        let newer = self.lists.range(index + 1..).next().is_some();
        match known {
            Some((_, known)) if known == *list => Ok(()),
            Some((since, known)) if since == index || newer => InvariantViolation::new(
                "members-differ",
                format!(
                    "as of entry {index} member {at} takes {} for the members, and others took \
                     {}",
                    describe(list),
                    describe(&known)
                ),
            ),
            known => {
                if let Some((_, known)) = known {
                    check_addresses(index, &known, list)?;
                }
                self.lists.insert(index, list.clone());
                if self.lists.len() > CHANGES_MAX {
                    self.lists.pop_first();
                }
                Ok(())
            }
        }
    }

    /// Notes a member's own removal, when it applies it. Until then it may lead
    /// again, with the removal in its log, and complete it (thesis section 4.2.2).
    fn note_removal(&mut self, at: NodeId, term: Term, index: LogIndex, list: &Directory) {
        let mut before = self.lists.range(..index);
        if list.get(at).is_some() {
            self.removed.remove(&at);
        } else if before.any(|(_, list)| list.get(at).is_some()) {
            let known_in = term;
            self.removed
                .entry(at)
                .or_insert(Removal { index, known_in });
        }
    }

    /// A member leads `term`.
    ///
    /// # Errors
    /// It had applied its own removal in an earlier one.
    pub fn leads(&self, member: NodeId, term: Term) -> Result<(), InvariantViolation> {
        match self.removed.get(&member) {
            Some(removal) if removal.known_in < term => InvariantViolation::new(
                "removed-member-leads",
                format!(
                    "member {member} leads term {term}, and was removed by entry {}, which it \
                     applied in term {}",
                    removal.index, removal.known_in
                ),
            ),
            _ => Ok(()),
        }
    }
}

/// Whoever has told where clients and members reach it is known there until it tells something
/// else: each change of a member says less than the list has, and takes nothing away.
fn check_addresses(
    index: LogIndex,
    before: &Directory,
    list: &Directory,
) -> Result<(), InvariantViolation> {
    for (node, member) in list.iter() {
        let Some(known) = before.get(node) else {
            continue;
        };
        let is_lost = [
            (known.name.is_empty(), member.name.is_empty()),
            (
                known.client_ur_ls.is_empty(),
                member.client_ur_ls.is_empty(),
            ),
            (known.peer_ur_ls.is_empty(), member.peer_ur_ls.is_empty()),
        ];
        if is_lost.contains(&(false, true)) {
            return InvariantViolation::new(
                "member-forgotten-in-part",
                format!("with entry {index} the members no longer know of {node} what they knew"),
            );
        }
    }
    Ok(())
}

fn describe(list: &Directory) -> String {
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
        let mut invariants = MembershipInvariants::default();
        for at in [1, 2] {
            invariants
                .applied(at, 1, 0, &list(&[1, 2, 3]))
                .expect("founded");
            invariants
                .applied(at, 1, 7, &list(&[1, 2]))
                .expect("removed");
            invariants
                .applied(at, 2, 9, &list(&[1, 2, 4]))
                .expect("added");
        }
        // From a snapshot in between.
        invariants
            .applied(4, 2, 8, &list(&[1, 2]))
            .expect("as it was");
    }

    #[test]
    fn members_that_apply_other_changes_are_found() {
        let mut invariants = MembershipInvariants::default();
        invariants
            .applied(1, 1, 0, &list(&[1, 2, 3]))
            .expect("founded");
        invariants
            .applied(1, 1, 7, &list(&[1, 2]))
            .expect("removed");
        invariants
            .applied(1, 2, 9, &list(&[1, 2, 4]))
            .expect("added");
        for (index, nodes) in [(7, &[1, 3][..]), (8, &[1, 2, 4]), (0, &[1, 2])] {
            let violation = invariants.applied(2, 1, index, &list(nodes));
            assert_eq!(violation.expect_err("differs").signature, "members-differ");
        }
    }

    #[test]
    fn a_removed_member_leads_no_later_term_unless_it_was_added_again() {
        let mut invariants = MembershipInvariants::default();
        invariants
            .applied(1, 1, 0, &list(&[1, 2, 3]))
            .expect("founded");
        invariants
            .applied(1, 4, 7, &list(&[1, 2]))
            .expect("removed");
        invariants.leads(3, 5).expect("it does not know yet");
        invariants
            .applied(3, 4, 7, &list(&[1, 2]))
            .expect("removed");
        invariants.leads(3, 4).expect("a leader may remove itself");
        let violation = invariants.leads(3, 5).expect_err("it is removed");
        assert_eq!(violation.signature, "removed-member-leads");
        invariants
            .applied(3, 5, 8, &list(&[1, 2, 3]))
            .expect("added");
        invariants.leads(3, 6).expect("it is a member");
    }

    #[test]
    fn a_change_of_a_member_takes_nothing_away_that_was_known_of_it() {
        let named = |name: &str, urls: &[&str]| {
            let member = Member {
                id: 1,
                name: name.to_owned(),
                client_ur_ls: urls.iter().map(|url| (*url).to_owned()).collect(),
                ..Default::default()
            };
            Directory::new([(1, member)].into())
        };
        let after = |second: Directory| {
            let mut invariants = MembershipInvariants::default();
            let first = invariants.applied(1, 1, 0, &named("a", &["http://a:1"]));
            first.expect("it is the first");
            invariants.applied(1, 1, 7, &second)
        };
        after(named("b", &["http://b:1", "http://b:2"])).expect("it has others now");
        for less in [named("", &["http://a:1"]), named("a", &[])] {
            let violation = after(less).expect_err("it is known");
            assert_eq!(violation.signature, "member-forgotten-in-part");
        }
    }
}
