//! The states of members, compared.

use std::collections::BTreeMap;
use veridical_store::StateHash;

use crate::cluster::names::member_name;
use veridical_harness::report::{Class, Finding};

/// States of members that are remembered for comparison, by applied index.
const REMEMBERED_STATES_MAX: usize = 4_096;

/// What members have shown of their states so far.
#[derive(Default)]
pub(super) struct Seen {
    /// State hashes by applied index, and the site where each was seen first.
    states: BTreeMap<u64, (u32, StateHash)>,
    /// Hashes of the keys by revision and compacted revision, and the site where each was seen
    /// first.
    hashes: BTreeMap<(i64, i64), (u32, u32)>,
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

    /// The hash that the member at `site` tells of its keys as of `place`, a revision and a
    /// compacted revision: whoever compares members by it must not be misled.
    pub(super) fn has_hash(&mut self, site: u32, place: (i64, i64), hash: u32) -> Option<Finding> {
        let (other, known) = *self.hashes.entry(place).or_insert((site, hash));
        while self.hashes.len() > REMEMBERED_STATES_MAX {
            self.hashes.pop_first();
        }
        (known != hash).then(|| {
            Finding::new(
                Class::Violation,
                "hashes-differ",
                format!(
                    "{} and {} tell the hashes {known:#x} and {hash:#x} of revision {}, compacted \
                     at {}",
                    member_name(other),
                    member_name(site),
                    place.0,
                    place.1,
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_that_differ_at_a_revision_are_found() {
        let mut seen = Seen::default();
        assert!(seen.has_hash(0, (9, -1), 7).is_none());
        assert!(seen.has_hash(1, (9, 4), 8).is_none());
        assert!(seen.has_hash(1, (9, -1), 7).is_none());
        assert!(seen.has_hash(2, (9, 4), 7).is_some());
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
        assert!(seen.has_state(0, hash(5, 9)).is_none());
        assert!(seen.has_state(1, hash(6, 10)).is_none());
        assert!(seen.has_state(1, hash(5, 9)).is_none());
        let found = seen.has_state(2, hash(5, 8)).expect("it differs");
        assert_eq!(found.class, Class::Violation);
    }
}
