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
    /// By member.
    waiting: BTreeMap<NodeId, BTreeMap<(u64, u64), Waiting>>,
    /// Those whose callers are about to hear of a state taken over.
    forgotten: BTreeSet<ProposalName>,
    /// Members that have told callers that nobody knows, and took over no state: when.
    ending: BTreeMap<NodeId, Duration>,
    /// The leader that each member knows.
    leaders: BTreeMap<NodeId, KnownLeader>,
}

/// What became so far of a proposal whose caller waits.
#[derive(Clone, Copy, Default)]
struct Waiting {
    is_applied: bool,
    /// Before it was applied its caller was told that its member ends.
    is_told: bool,
    /// The last term to whose leader it was handed.
    dispatched_in: Option<u64>,
}

/// A leader that a member knows.
#[derive(Clone, Copy)]
struct KnownLeader {
    term: u64,
    since: Duration,
    /// The steps that the member has made since then, one of each instant.
    steps: u32,
    last_step: Duration,
}

/// A member that tells its callers that it ends has ended after this.
const END_MAX: Duration = Duration::from_secs(2);

/// After so long, and so many steps, with one leader a member has handed it the oldest of what
/// waits. Both, since a member may stand still, or do much in an instant.
const HAND_ON_MAX: Duration = Duration::from_secs(2);
const HAND_ON_STEPS_MAX: u32 = 20;

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
        self.leaders.remove(&member);
        self.forgotten.retain(|name| name.member_id != member);
    }

    /// A member makes a step `now`, and knows the leader of a term or none.
    ///
    /// # Errors
    /// It goes on, and has told a caller that nobody knows as if it ended.
    pub fn stepped(
        &mut self,
        member: NodeId,
        led_in: Option<u64>,
        now: Duration,
    ) -> Result<(), InvariantViolation> {
        self.note_leader(member, led_in, now);
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

    fn note_leader(&mut self, member: NodeId, led_in: Option<u64>, now: Duration) {
        match (led_in, self.leaders.get_mut(&member)) {
            (None, _) => {
                self.leaders.remove(&member);
            }
            (Some(term), Some(known)) if known.term == term => {
                known.steps += u32::from(known.last_step < now);
                known.last_step = now;
            }
            (Some(term), _) => {
                let known = KnownLeader {
                    term,
                    since: now,
                    steps: 0,
                    last_step: now,
                };
                self.leaders.insert(member, known);
            }
        }
    }

    /// The caller of a proposal begins to wait.
    pub fn waits(&mut self, name: ProposalName) {
        let waiting = self.waiting.entry(name.member_id).or_default();
        waiting.insert((name.incarnation, name.sequence), Waiting::default());
    }

    /// A proposal is handed to the leader of a term.
    pub fn dispatched(&mut self, name: ProposalName, term: u64) {
        let waiting = self.waiting.entry(name.member_id).or_default();
        if let Some(waiting) = waiting.get_mut(&(name.incarnation, name.sequence)) {
            waiting.dispatched_in = Some(term);
        }
    }

    /// The member has taken over a state in which a proposal may be, and says so to its caller,
    /// who has not heard it yet: nothing more is owed to him.
    ///
    /// # Errors
    /// It was handed to nobody, and is in no state.
    pub fn forgotten(&mut self, name: ProposalName) -> Result<(), InvariantViolation> {
        let waiting = self.waiting.entry(name.member_id).or_default();
        if let Some(waiting) = waiting.remove(&(name.incarnation, name.sequence)) {
            self.forgotten.insert(name);
            check_dispatched(name, waiting)?;
        }
        Ok(())
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
        let Some(waiting) = waiting.get_mut(&(name.incarnation, name.sequence)) else {
            return Ok(());
        };
        if is_duplicate && !waiting.is_applied {
            return InvariantViolation::new(
                "waiting-command-refused",
                format!("{name:x?} is taken for one that was applied, and its caller waits for it"),
            );
        }
        waiting.is_applied = true;
        Ok(())
    }

    /// The member ends, and all whose proposals wait are being told so.
    pub fn closed(&mut self, member: NodeId) {
        let waiting = self.waiting.entry(member).or_default();
        for waiting in waiting.values_mut() {
            waiting.is_told = !waiting.is_applied;
        }
    }

    /// The caller of a proposal waits no more. If he was told that nobody knows what came of it,
    /// it returns why.
    ///
    /// # Errors
    /// He was told so although the proposal was applied, or could not be because no leader has
    /// it, or because a leader that the member has known for long was never handed it.
    pub fn ended(
        &mut self,
        name: ProposalName,
        ending: ProposalEnding,
        now: Duration,
    ) -> Result<Option<Cause>, InvariantViolation> {
        let waiting = self.waiting.entry(name.member_id).or_default();
        let number = (name.incarnation, name.sequence);
        let is_oldest = waiting.keys().next() == Some(&number);
        let waiting = waiting.remove(&number);
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
        let Some(waiting) = waiting else {
            return Ok(Some(cause));
        };
        if waiting.is_applied && !waiting.is_told {
            return InvariantViolation::new(
                "answer-withheld",
                format!("{name:x?} was applied, and its caller is told that nobody knows"),
            );
        }
        check_dispatched(name, waiting)?;
        if is_oldest && cause == Cause::NotAppliedInTime {
            self.check_handed_on(name, waiting)?;
        }
        Ok(Some(cause))
    }

    /// A member hands to each leader that it comes to know what waits, the oldest first.
    fn check_handed_on(
        &self,
        name: ProposalName,
        waiting: Waiting,
    ) -> Result<(), InvariantViolation> {
        match self.leaders.get(&name.member_id) {
            Some(leader)
                if waiting.dispatched_in < Some(leader.term)
                    && leader.last_step > leader.since + HAND_ON_MAX
                    && leader.steps > HAND_ON_STEPS_MAX =>
            {
                InvariantViolation::new(
                    "not-handed-on",
                    format!(
                        "{name:x?} was last handed to the leader of term {}; its member knew the \
                         leader of term {} from {} ms on and let the caller wait",
                        waiting.dispatched_in.unwrap_or_default(),
                        leader.term,
                        leader.since.as_millis()
                    ),
                )
            }
            Some(_) | None => Ok(()),
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

/// What no leader was handed has no effect, and that is known.
fn check_dispatched(name: ProposalName, waiting: Waiting) -> Result<(), InvariantViolation> {
    match waiting.dispatched_in {
        Some(_) => Ok(()),
        None => InvariantViolation::new(
            "known-told-as-unknown",
            format!("{name:x?} was handed to no leader, and its caller is told that nobody knows"),
        ),
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
        proposals.dispatched(NAME, 4);
        proposals
    }

    /// Its member has made many steps with the leader of a term.
    fn led(proposals: &mut ProposalInvariants, term: u64, steps: u64) {
        let last = HAND_ON_MAX + Duration::from_millis(1);
        for step in 0..=steps {
            let at = NOW + last * u32::try_from(step).expect("few") / 100;
            let stepped = proposals.stepped(NAME.member_id, Some(term), at);
            stepped.expect("nothing is told");
        }
    }

    #[test]
    fn what_no_leader_was_handed_is_known() {
        for ending in [ProposalEnding::TimedOut, ProposalEnding::Unanswered] {
            let mut proposals = ProposalInvariants::default();
            proposals.waits(NAME);
            let violation = proposals.ended(NAME, ending, NOW).expect_err("it is known");
            assert_eq!(violation.signature, "known-told-as-unknown");
        }
        let mut proposals = ProposalInvariants::default();
        proposals.waits(NAME);
        let violation = proposals.forgotten(NAME).expect_err("it is in no state");
        assert_eq!(violation.signature, "known-told-as-unknown");
    }

    #[test]
    fn a_leader_that_is_known_for_long_has_been_handed_the_oldest() {
        let ended = |term, steps, with_older| {
            let mut proposals = waiting();
            if with_older {
                proposals.waits(ProposalName {
                    sequence: 6,
                    ..NAME
                });
            }
            led(&mut proposals, term, steps);
            proposals.ended(NAME, ProposalEnding::TimedOut, NOW)
        };
        let violation = ended(5, 100, false).expect_err("it was not");
        assert_eq!(violation.signature, "not-handed-on");
        ended(4, 100, false).expect("it has it");
        ended(5, 99, false).expect("it may be about to");
        ended(5, 100, true).expect("the leader may take no more");
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
    fn what_is_applied_once_a_member_ends_is_too_late_for_its_callers() {
        let mut proposals = waiting();
        proposals.closed(NAME.member_id);
        proposals.applied(NAME, false).expect("the first time");
        let told = proposals.ended(NAME, ProposalEnding::Unanswered, NOW);
        assert_eq!(told.expect("he was told before"), Some(Cause::MemberEnds));
        let mut proposals = waiting();
        proposals.applied(NAME, false).expect("the first time");
        proposals.closed(NAME.member_id);
        let told = proposals.ended(NAME, ProposalEnding::Unanswered, NOW);
        let violation = told.expect_err("he should know already");
        assert_eq!(violation.signature, "answer-withheld");
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
            proposals.forgotten(NAME).expect("it may be in there");
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
            .stepped(NAME.member_id, None, NOW + END_MAX)
            .expect("not yet");
        let later = NOW + END_MAX + Duration::from_millis(1);
        let violation = proposals
            .stepped(NAME.member_id, None, later)
            .expect_err("it goes on");
        assert_eq!(violation.signature, "outcome-given-up");
        proposals.started(NAME.member_id);
        proposals
            .stepped(NAME.member_id, None, later)
            .expect("it had ended");
    }
}
