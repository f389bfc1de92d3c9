//! Linearizable reads (thesis, section 6.4): a read index covers whatever any
//! member knew to be committed when it was asked for.

use std::collections::BTreeMap;

use super::InvariantViolation;
use crate::entry::{LogIndex, NodeId};
use crate::ready::ReadState;

/// The most unanswered reads of one member that are remembered; most are answered or
/// asked again soon.
const READS_MAX: usize = 4_096;

/// Reads that wait for their index.
#[derive(Clone, Debug, Default)]
pub struct ReadInvariants {
    /// By member and context: what was committed.
    asked: BTreeMap<NodeId, BTreeMap<u64, LogIndex>>,
}

impl ReadInvariants {
    /// A member starts, and nobody waits there for an answer.
    pub fn started(&mut self, member: NodeId) {
        self.asked.remove(&member);
    }

    /// Raft at `member` is asked for a read index, while `committed` is the highest index that
    /// some member knows to be committed.
    pub fn asked(&mut self, member: NodeId, context: u64, committed: LogIndex) {
        let asked = self.asked.entry(member).or_default();
        asked.insert(context, committed);
        if asked.len() > READS_MAX {
            asked.pop_first();
        }
    }

    /// Whether a read of this context waits at `member`.
    pub fn is_waiting(&self, member: NodeId, context: u64) -> bool {
        let asked = self.asked.get(&member);
        asked.is_some_and(|asked| asked.contains_key(&context))
    }

    /// Raft at `member` has answered.
    ///
    /// # Errors
    /// `stale-read-index`: the readers would miss something.
    pub fn answered(
        &mut self,
        member: NodeId,
        answers: &[ReadState],
    ) -> Result<(), InvariantViolation> {
        for answer in answers {
            let asked = self.asked.entry(member).or_default();
            if let Some(committed) = asked.remove(&answer.context)
                && answer.index < committed
            {
                return InvariantViolation::new(
                    "stale-read-index",
                    format!(
                        "readers at member {member} are to see everything up to entry {}, and \
                         when they asked, the entries up to {committed} were committed",
                        answer.index
                    ),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(context: u64, index: LogIndex) -> [ReadState; 1] {
        [ReadState { context, index }]
    }

    #[test]
    fn readers_see_what_was_committed_when_they_asked() {
        let mut invariants = ReadInvariants::default();
        invariants.asked(1, 7, 5);
        invariants.asked(1, 8, 9);
        invariants.asked(2, 8, 3);
        invariants.answered(1, &answer(7, 5)).expect("as of then");
        invariants
            .answered(2, &answer(8, 4))
            .expect("of another member");
        let broken = invariants
            .answered(1, &answer(8, 8))
            .expect_err("too early");
        assert_eq!(broken.signature, "stale-read-index");
    }

    #[test]
    fn a_read_from_before_a_restart_is_forgotten() {
        let mut invariants = ReadInvariants::default();
        invariants.asked(1, 1, 9);
        invariants.started(1);
        invariants.answered(1, &answer(1, 2)).expect("of nobody");
    }
}
