//! Linearizable reads (thesis, section 6.4): the index that a question of readers is
//! answered with covers whatever any member knew to be committed when it was asked.

use std::collections::BTreeMap;
use veridical_raft::{LogIndex, NodeId, ReadState};

use super::Broken;

/// Questions of one member that are remembered; most are answered or asked again soon.
const QUESTIONS_MAX: usize = 4_096;

/// Questions without an answer.
#[derive(Default)]
pub struct ReadLaws {
    /// By member and context: what was committed.
    asked: BTreeMap<NodeId, BTreeMap<u64, LogIndex>>,
}

impl ReadLaws {
    /// A member starts, and nobody waits there for an answer.
    pub fn started(&mut self, member: NodeId) {
        self.asked.remove(&member);
    }

    /// A question is put to Raft at `member`, while `committed` is the highest index that
    /// some member knows to be committed.
    pub fn asked(&mut self, member: NodeId, context: u64, committed: LogIndex) {
        let asked = self.asked.entry(member).or_default();
        asked.insert(context, committed);
        if asked.len() > QUESTIONS_MAX {
            asked.pop_first();
        }
    }

    /// Raft at `member` has answered.
    ///
    /// # Errors
    /// The readers would miss something.
    pub fn answered(&mut self, member: NodeId, answers: &[ReadState]) -> Result<(), Broken> {
        for answer in answers {
            let asked = self.asked.entry(member).or_default();
            if let Some(committed) = asked.remove(&answer.context)
                && answer.index < committed
            {
                return Broken::new(
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
        let mut laws = ReadLaws::default();
        laws.asked(1, 7, 5);
        laws.asked(1, 8, 9);
        laws.asked(2, 8, 3);
        laws.answered(1, &answer(7, 5)).expect("as of then");
        laws.answered(2, &answer(8, 4)).expect("of another member");
        let broken = laws.answered(1, &answer(8, 8)).expect_err("too early");
        assert_eq!(broken.signature, "stale-read-index");
    }

    #[test]
    fn a_question_from_before_a_restart_is_forgotten() {
        let mut laws = ReadLaws::default();
        laws.asked(1, 1, 9);
        laws.started(1);
        laws.answered(1, &answer(1, 2)).expect("of nobody");
    }
}
