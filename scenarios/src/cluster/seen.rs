//! What members have shown so far, for properties over all of them.

use std::collections::BTreeMap;
use veridical_store::StateHash;

use crate::cluster::member_name;
use crate::report::{Class, Finding};

/// States of members that are remembered for comparison, by applied index.
const REMEMBERED_STATES_MAX: usize = 4_096;

/// What members have shown so far.
#[derive(Default)]
pub(super) struct Seen {
    /// The member that led a term, by its id, and where it ran.
    leaders: BTreeMap<u64, (u64, u32)>,
    /// State hashes by applied index, and where each was seen first.
    states: BTreeMap<u64, (u32, StateHash)>,
    /// Members that have applied their own removal, and in which term.
    removed: BTreeMap<u64, u64>,
}

impl Seen {
    /// Member `id` at `site` leads `term`. There is one leader at most in a term (Raft
    /// paper, election safety), and nobody leads who knows that it was removed.
    pub(super) fn leads(&mut self, id: u64, site: u32, term: u64) -> Option<Finding> {
        let (leader, led_at) = *self.leaders.entry(term).or_insert((id, site));
        if leader != id {
            return Some(Finding::new(
                Class::Violation,
                "two-leaders",
                format!(
                    "{} and {} both led term {term}",
                    member_name(led_at),
                    member_name(site)
                ),
            ));
        }
        let removed_in = *self.removed.get(&id)?;
        (term > removed_in).then(|| {
            Finding::new(
                Class::Violation,
                "removed-member-leads",
                format!(
                    "{} leads term {term}, though it applied its own removal in term {removed_in}",
                    member_name(site)
                ),
            )
        })
    }

    /// Member `id` has applied its own removal, and is in `term`.
    pub(super) fn is_removed(&mut self, id: u64, term: u64) {
        self.removed.entry(id).or_insert(term);
    }

    /// The state of the member at `site`: equal states at equal applied indexes (Raft
    /// paper, state machine safety).
    pub(super) fn has_state(&mut self, site: u32, hash: StateHash) -> Option<Finding> {
        let applied = hash.applied_index;
        let (other, known) = *self.states.entry(applied).or_insert((site, hash));
        while self.states.len() > REMEMBERED_STATES_MAX {
            self.states.pop_first();
        }
        (known != hash).then(|| {
            Finding::new(
                Class::Violation,
                "states-differ",
                format!(
                    "{} and {} differ at applied index {applied}: {known:?} and {hash:?}",
                    member_name(other),
                    member_name(site),
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(finding: Option<Finding>) -> Option<Class> {
        finding.map(|finding| finding.class)
    }

    #[test]
    fn two_leaders_of_one_term_are_found_and_one_that_leads_twice_is_not() {
        let mut seen = Seen::default();
        assert_eq!(class_of(seen.leads(7, 0, 3)), None);
        assert_eq!(class_of(seen.leads(7, 0, 3)), None);
        assert_eq!(class_of(seen.leads(8, 1, 3)), Some(Class::Violation));
    }

    #[test]
    fn a_member_may_lead_the_term_that_removes_it_and_none_after() {
        let mut seen = Seen::default();
        seen.is_removed(7, 4);
        assert_eq!(class_of(seen.leads(7, 0, 4)), None);
        assert_eq!(class_of(seen.leads(7, 0, 5)), Some(Class::Violation));
        // The machine may go on under another id.
        assert_eq!(class_of(seen.leads(9, 0, 6)), None);
    }

    #[test]
    fn states_that_differ_at_an_index_are_found() {
        let hash = |applied_index, revision| StateHash {
            applied_index,
            revision,
            compacted_revision: -1,
            hash: 0,
        };
        let mut seen = Seen::default();
        assert_eq!(class_of(seen.has_state(0, hash(5, 9))), None);
        assert_eq!(class_of(seen.has_state(1, hash(6, 10))), None);
        assert_eq!(class_of(seen.has_state(1, hash(5, 9))), None);
        assert_eq!(
            class_of(seen.has_state(2, hash(5, 8))),
            Some(Class::Violation)
        );
    }
}
