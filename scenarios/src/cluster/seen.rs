//! The states of members, compared.

use std::collections::BTreeMap;
use veridical_store::StateHash;

use crate::cluster::member_name;
use crate::report::{Class, Finding};

/// States of members that are remembered for comparison, by applied index.
const REMEMBERED_STATES_MAX: usize = 4_096;

/// What members have shown of their states so far.
#[derive(Default)]
pub(super) struct Seen {
    /// State hashes by applied index, and the site where each was seen first.
    states: BTreeMap<u64, (u32, StateHash)>,
}

impl Seen {
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

    #[test]
    fn states_that_differ_at_an_index_are_found() {
        let hash = |applied_index, revision| StateHash {
            applied_index,
            revision,
            compacted_revision: -1,
            hash: 0,
        };
        let mut seen = Seen::default();
        assert!(seen.has_state(0, hash(5, 9)).is_none());
        assert!(seen.has_state(1, hash(6, 10)).is_none());
        assert!(seen.has_state(1, hash(5, 9)).is_none());
        let found = seen.has_state(2, hash(5, 8)).expect("it differs");
        assert_eq!(found.class, Class::Violation);
    }
}
