//! What is owed to the callers of proposals: whoever waits for a command that is applied at the
//! member that proposed it is told what came of it, and it is not taken for one that was applied
//! before unless it was.
//!
//! A caller may be told that nobody knows what came of a command. That is always true, so no
//! checker of histories objects; but a member has to have a cause.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use veridical_node::{ProposalEnding, ProposalName};
use veridical_raft::NodeId;

use super::InvariantViolation;

/// The proposals whose callers wait.
#[derive(Default)]
pub struct ProposalInvariants {
    /// By member, whether each was applied there.
    waiting: BTreeMap<NodeId, BTreeMap<(u64, u64), bool>>,
    /// Those whose callers are about to hear of a state taken over.
    forgotten: BTreeSet<ProposalName>,
    /// Members that have told callers that nobody knows, and took over no state: when.
    ending: BTreeMap<NodeId, Duration>,
}

/// A member that tells its callers that it ends has ended after this.
const END_MAX: Duration = Duration::from_secs(2);

/// Why nobody knows what came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was not applied at its member when its time was up.
    NotAppliedInTime,
    /// Its member took over a state in which it may be.
    StateTakenOver,
    /// Its member ends.
    MemberEnds,
}

impl ProposalInvariants {
    /// A member starts: nobody waits there any more.
    pub fn started(&mut self, member: NodeId) {
        self.waiting.remove(&member);
        self.ending.remove(&member);
        self.forgotten.retain(|name| name.member_id != member);
    }

    /// A member makes a step `now`.
    ///
    /// # Errors
    /// It goes on, and has told a caller that nobody knows as if it ended.
    pub fn stepped(&mut self, member: NodeId, now: Duration) -> Result<(), InvariantViolation> {
        match self.ending.get(&member) {
            Some(told_at) if now > *told_at + END_MAX => InvariantViolation::new(
                "outcome-given-up",
                format!(
                    "member {member:x} told a caller at {} ms that nobody knows what came of its \
                     command, took over no state, and goes on",
                    told_at.as_millis()
                ),
            ),
            Some(_) | None => Ok(()),
        }
    }

    /// The caller of a proposal begins to wait.
    pub fn waits(&mut self, name: ProposalName) {
        let waiting = self.waiting.entry(name.member_id).or_default();
        waiting.insert((name.incarnation, name.sequence), false);
    }

    /// The member has taken over a state in which a proposal may be, and says so to its caller,
    /// who has not heard it yet: nothing more is owed to him.
    pub fn forgotten(&mut self, name: ProposalName) {
        let waiting = self.waiting.entry(name.member_id).or_default();
        if waiting.remove(&(name.incarnation, name.sequence)).is_some() {
            self.forgotten.insert(name);
        }
    }

    /// A proposal is applied at its member.
    ///
    /// # Errors
    /// It is taken for one that was applied before, and was not.
    pub fn applied(
        &mut self,
        name: ProposalName,
        is_duplicate: bool,
    ) -> Result<(), InvariantViolation> {
        let waiting = self.waiting.entry(name.member_id).or_default();
        let Some(was_applied) = waiting.get_mut(&(name.incarnation, name.sequence)) else {
            return Ok(());
        };
        if is_duplicate && !*was_applied {
            return InvariantViolation::new(
                "waiting-command-refused",
                format!("{name:x?} is taken for one that was applied, and its caller waits for it"),
            );
        }
        *was_applied = true;
        Ok(())
    }

    /// The caller of a proposal waits no more. If he was told that nobody knows what came of it,
    /// it returns why.
    ///
    /// # Errors
    /// He was told so although the proposal was applied.
    pub fn ended(
        &mut self,
        name: ProposalName,
        ending: ProposalEnding,
        now: Duration,
    ) -> Result<Option<Cause>, InvariantViolation> {
        let waiting = self.waiting.entry(name.member_id).or_default();
        let was_applied = waiting.remove(&(name.incarnation, name.sequence));
        let is_forgotten = self.forgotten.remove(&name);
        let cause = match ending {
            ProposalEnding::Answered => return Ok(None),
            ProposalEnding::TimedOut => Cause::NotAppliedInTime,
            ProposalEnding::Unanswered if is_forgotten => Cause::StateTakenOver,
            ProposalEnding::Unanswered => {
                self.ending.entry(name.member_id).or_insert(now);
                Cause::MemberEnds
            }
        };
        match was_applied {
            Some(true) => InvariantViolation::new(
                "answer-withheld",
                format!("{name:x?} was applied, and its caller is told that nobody knows"),
            ),
            Some(false) | None => Ok(Some(cause)),
        }
    }

    /// Those that wait, for a report.
    pub fn waiting(&self) -> BTreeSet<ProposalName> {
        let members = self.waiting.iter();
        let names = members.flat_map(|(member_id, waiting)| {
            waiting.keys().map(|(incarnation, sequence)| ProposalName {
                member_id: *member_id,
                incarnation: *incarnation,
                sequence: *sequence,
            })
        });
        names.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: ProposalName = ProposalName {
        member_id: 1,
        incarnation: 3,
        sequence: 7,
    };

    const NOW: Duration = Duration::from_secs(9);

    fn waiting() -> ProposalInvariants {
        let mut proposals = ProposalInvariants::default();
        proposals.waits(NAME);
        proposals
    }

    #[test]
    fn who_waits_for_what_is_applied_is_told() {
        let mut proposals = waiting();
        proposals.applied(NAME, false).expect("the first time");
        proposals.applied(NAME, true).expect("the second time");
        let told = proposals.ended(NAME, ProposalEnding::Answered, NOW);
        assert_eq!(told.expect("he is"), None);
    }

    #[test]
    fn who_is_not_told_of_what_is_applied_is_found() {
        for ending in [ProposalEnding::TimedOut, ProposalEnding::Unanswered] {
            let mut proposals = waiting();
            proposals.applied(NAME, false).expect("the first time");
            let violation = proposals
                .ended(NAME, ending, NOW)
                .expect_err("he should be");
            assert_eq!(violation.signature, "answer-withheld");
        }
    }

    #[test]
    fn what_is_not_applied_has_a_cause() {
        let ended = waiting().ended(NAME, ProposalEnding::TimedOut, NOW);
        assert_eq!(ended.expect("it happens"), Some(Cause::NotAppliedInTime));
    }

    #[test]
    fn a_duplicate_without_an_original_is_found_while_somebody_waits() {
        let violation = waiting().applied(NAME, true).expect_err("there was none");
        assert_eq!(violation.signature, "waiting-command-refused");
        let mut given_up = waiting();
        let ended = given_up.ended(NAME, ProposalEnding::TimedOut, NOW);
        ended.expect("it was not applied");
        given_up.applied(NAME, true).expect("nobody waits");
    }

    #[test]
    fn nothing_is_owed_to_who_is_about_to_hear_that_nobody_knows() {
        for is_duplicate in [false, true] {
            let mut proposals = waiting();
            proposals.forgotten(NAME);
            proposals.applied(NAME, is_duplicate).expect("it may be");
            let ended = proposals.ended(NAME, ProposalEnding::Unanswered, NOW);
            assert_eq!(ended.expect("it is so"), Some(Cause::StateTakenOver));
        }
    }

    #[test]
    fn a_member_that_starts_owes_nothing() {
        let mut proposals = waiting();
        proposals.started(NAME.member_id);
        assert!(proposals.waiting().is_empty());
        proposals.applied(NAME, true).expect("nobody waits");
    }

    #[test]
    fn a_member_that_gives_an_outcome_up_and_goes_on_is_found() {
        let mut proposals = waiting();
        let ended = proposals.ended(NAME, ProposalEnding::Unanswered, NOW);
        assert_eq!(ended.expect("it may end"), Some(Cause::MemberEnds));
        proposals
            .stepped(NAME.member_id, NOW + END_MAX)
            .expect("not yet");
        let later = NOW + END_MAX + Duration::from_millis(1);
        let violation = proposals
            .stepped(NAME.member_id, later)
            .expect_err("it goes on");
        assert_eq!(violation.signature, "outcome-given-up");
        proposals.started(NAME.member_id);
        proposals
            .stepped(NAME.member_id, later)
            .expect("it had ended");
    }
}
