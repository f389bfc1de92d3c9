//! Requests of clients that have become proposals and wait to be applied.
//!
//! A proposal is named (member, incarnation, sequence). It may be dispatched to a leader
//! more than once, because a leader can change or a message get lost; the state machine
//! applies it once (`veridical_store`, session table). When its time is up its caller is
//! told that the outcome is unknown, and it is not dispatched again.

use bytes::Bytes;
use prost::Message as _;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::oneshot;
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{queue, reachable, sometimes};
use veridical_proto::command::{Command, command::Request as CommandRequest};
use veridical_store::{ApiError, CommandResponse};

/// What came of a proposal.
pub(crate) type Outcome = Result<CommandResponse, ApiError>;

/// The proposals of this incarnation that wait.
#[derive(Clone)]
pub(crate) struct Proposals {
    shared: Arc<Shared>,
}

struct Shared {
    member_id: u64,
    incarnation: u64,
    max_pending: usize,
    planted: Planted,
    state: Mutex<State>,
}

struct State {
    next_sequence: u64,
    /// The promise of the last command: its proposer dispatches nothing below it.
    settled_below: u64,
    pending: BTreeMap<u64, Pending>,
    /// Set when the member stops: nothing is taken any more.
    closed: Option<ApiError>,
}

struct Pending {
    command: Bytes,
    reply: oneshot::Sender<Outcome>,
    /// The last attempt that has not been refused.
    attempt: Option<Attempt>,
    /// Whether it was ever dispatched: then it may take effect at any time.
    dispatched: bool,
    /// Whether it was dispatched in a second term.
    dispatched_again: bool,
}

/// To whom a proposal was dispatched last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) at: Duration,
    pub(crate) term: u64,
    pub(crate) leader: u64,
}

/// A registered proposal, as its caller holds it. Dropping it settles the proposal: it
/// is not dispatched again.
pub(crate) struct Ticket {
    pub(crate) sequence: u64,
    pub(crate) command: Bytes,
    pub(crate) reply: oneshot::Receiver<Outcome>,
    proposals: Proposals,
}

impl Ticket {
    /// Settles the proposal: from now on nobody dispatches it. Returns whether anybody
    /// did: if not, it has no effect and never will. This is one step, so that it cannot
    /// be dispatched between the answer and the settling.
    pub(crate) fn give_up(&self) -> bool {
        let pending = self.proposals.state().pending.remove(&self.sequence);
        // One that is not pending any more has been answered.
        pending.is_none_or(|pending| pending.dispatched)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // After a panic elsewhere nothing is dispatched any more, and a second one in here
        // would hide the first.
        if let Ok(mut state) = self.proposals.shared.state.lock() {
            state.pending.remove(&self.sequence);
        }
    }
}

impl Proposals {
    pub(crate) fn new(
        member_id: u64,
        incarnation: u64,
        max_pending: usize,
        planted: Planted,
    ) -> Self {
        let state = State {
            next_sequence: 1,
            settled_below: 0,
            pending: BTreeMap::new(),
            closed: None,
        };
        Self {
            shared: Arc::new(Shared {
                member_id,
                incarnation,
                max_pending,
                planted,
                state: Mutex::new(state),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .expect("no panic while the proposals are locked")
    }

    /// How many times this member has started.
    pub(crate) fn incarnation(&self) -> u64 {
        self.shared.incarnation
    }

    /// Names a command and keeps it until its ticket is dropped.
    pub(crate) fn register(
        &self,
        request: CommandRequest,
        max_bytes: usize,
    ) -> Result<Ticket, ApiError> {
        let mut state = self.state();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        if state.pending.len() >= self.shared.max_pending {
            reachable!("node.proposal-refused-at-the-bound");
            return Err(ApiError::too_many_requests());
        }
        let (sequence, command) = self.name(&mut state, request, max_bytes)?;
        let (reply, receiver) = oneshot::channel();
        let pending = Pending {
            command: command.clone(),
            reply,
            attempt: None,
            dispatched: false,
            dispatched_again: false,
        };
        state.pending.insert(sequence, pending);
        queue!(
            "node.proposals",
            state.pending.len(),
            self.shared.max_pending
        );
        drop(state);
        Ok(Ticket {
            sequence,
            command,
            reply: receiver,
            proposals: self.clone(),
        })
    }

    /// Names a command that nobody waits for and that is never dispatched again.
    pub(crate) fn unattended(&self, request: CommandRequest) -> Bytes {
        let mut state = self.state();
        let (_, command) = self
            .name(&mut state, request, usize::MAX)
            .expect("without a limit every command is small enough");
        command
    }

    fn name(
        &self,
        state: &mut State,
        request: CommandRequest,
        max_bytes: usize,
    ) -> Result<(u64, Bytes), ApiError> {
        let sequence = state.next_sequence;
        let settled_below = match state.pending.keys().next() {
            Some(first) if !self.shared.planted.has(PlantedBug::SettlesWhatWaits) => *first,
            _ => sequence,
        };
        assert!(
            (state.settled_below..=sequence).contains(&settled_below),
            "command {sequence} settles what is below {settled_below}, after {}",
            state.settled_below
        );
        let command = Command {
            member_id: self.shared.member_id,
            incarnation: self.shared.incarnation,
            sequence,
            settled_below,
            request: Some(request),
        };
        if command.encoded_len() > max_bytes {
            return Err(ApiError::request_too_large());
        }
        state.next_sequence += 1;
        state.settled_below = settled_below;
        Ok((sequence, command.encode_to_vec().into()))
    }

    /// Notes that a proposal is about to be dispatched to `attempt.leader`. Returns
    /// `false` if its caller has given it up: then it must not be.
    pub(crate) fn attempt(&self, sequence: u64, attempt: Attempt) -> bool {
        let mut state = self.state();
        assert!(
            sequence < state.next_sequence,
            "command {sequence} is dispatched and was never named"
        );
        match state.pending.get_mut(&sequence) {
            Some(pending) => {
                sometimes!(
                    pending
                        .attempt
                        .is_some_and(|last| last.term != attempt.term),
                    "node.proposal-handed-to-another-leader"
                );
                sometimes!(
                    pending
                        .attempt
                        .is_some_and(|last| last.term == attempt.term),
                    "node.proposal-forwarded-again-after-a-silence"
                );
                pending.dispatched_again |= pending
                    .attempt
                    .is_some_and(|last| last.term != attempt.term);
                pending.attempt = Some(attempt);
                pending.dispatched = true;
                true
            }
            None => {
                reachable!("node.proposal-given-up-before-it-was-handed-out");
                false
            }
        }
    }

    /// Notes that the receiver did not take the proposal.
    pub(crate) fn refused(&self, sequence: u64) {
        if let Some(pending) = self.state().pending.get_mut(&sequence) {
            pending.attempt = None;
        }
    }

    /// The proposals to dispatch (again): those never dispatched, dispatched to somebody who
    /// led another term, or forwarded longer than `retry_after` ago. What was put into this
    /// member's own log in this term (`own`) stays there while the term lasts.
    pub(crate) fn due(
        &self,
        now: Duration,
        term: u64,
        retry_after: Duration,
        own: u64,
    ) -> Vec<(u64, Bytes)> {
        let stays = self.shared.planted.has(PlantedBug::StaysWithLostLeader);
        self.state()
            .pending
            .iter()
            .filter(|(_, pending)| match pending.attempt {
                None => true,
                Some(attempt) if attempt.term != term && !stays => true,
                Some(attempt) => {
                    attempt.leader != own && now >= attempt.at.saturating_add(retry_after)
                }
            })
            .map(|(sequence, pending)| (*sequence, pending.command.clone()))
            .collect()
    }

    /// Answers the caller of an applied proposal of this incarnation.
    pub(crate) fn resolve(&self, incarnation: u64, sequence: u64, outcome: Outcome) {
        let is_own = incarnation == self.shared.incarnation;
        if !is_own
            && !self
                .shared
                .planted
                .has(PlantedBug::AnswersFormerIncarnation)
        {
            reachable!("node.command-of-an-earlier-incarnation-applied");
            return;
        }
        let (next_sequence, pending) = {
            let mut state = self.state();
            (state.next_sequence, state.pending.remove(&sequence))
        };
        // The checkers have to find the planted bug, which breaks this.
        let planted = self.shared.planted.has(PlantedBug::IncarnationReused);
        assert!(
            !is_own || planted || sequence < next_sequence,
            "command {sequence} is applied and was never named"
        );
        if let Some(pending) = pending {
            assert!(
                !is_own || planted || pending.dispatched,
                "command {sequence} is applied and was never dispatched"
            );
            let unanswered = self.shared.planted.has(PlantedBug::SecondLeaderUnanswered);
            let outcome = match outcome {
                Ok(_) if unanswered && pending.dispatched_again => {
                    Err(ApiError::timeout_leader_failure())
                }
                outcome => outcome,
            };
            // The caller may have given up.
            let _ = pending.reply.send(outcome);
        }
    }

    /// Answers with an unknown outcome all that were ever dispatched: the state came
    /// from a snapshot, which does not say what became of them. Returns their sequence numbers.
    pub(crate) fn forget_attempted(&self) -> Vec<u64> {
        let mut state = self.state();
        let attempted: Vec<u64> = state
            .pending
            .iter()
            .filter(|(_, pending)| pending.dispatched)
            .map(|(sequence, _)| *sequence)
            .collect();
        for sequence in &attempted {
            if let Some(pending) = state.pending.remove(sequence) {
                reachable!("node.outcome-hidden-by-a-snapshot");
                let _ = pending.reply.send(Err(ApiError::timeout_leader_failure()));
            }
        }
        attempted
    }

    /// Takes nothing any more; what waits gets `error`, as an unknown outcome if it was
    /// dispatched.
    pub(crate) fn close(&self, error: &ApiError) {
        let mut state = self.state();
        state.closed = Some(error.clone());
        for pending in std::mem::take(&mut state.pending).into_values() {
            let error = error.clone();
            let error = if pending.dispatched {
                error.with_unknown_outcome()
            } else {
                error
            };
            let _ = pending.reply.send(Err(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_proto::etcdserverpb::PutRequest;

    const ATTEMPT: Attempt = Attempt {
        at: Duration::ZERO,
        term: 1,
        leader: 2,
    };

    fn proposals() -> Proposals {
        Proposals::new(1, 1, 16, Planted::none())
    }

    fn put() -> CommandRequest {
        CommandRequest::Put(PutRequest {
            key: "k".into(),
            ..Default::default()
        })
    }

    /// Found by the simulator: a proposal that waited in front of a stalled driver was
    /// dispatched after its caller had been told that nobody took it, and the caller,
    /// rightly, sent it again.
    #[test]
    fn a_proposal_that_was_given_up_is_never_dispatched() {
        let proposals = proposals();
        let ticket = proposals
            .register(put(), usize::MAX)
            .expect("there is room");
        assert!(!ticket.give_up(), "nobody has it");
        assert!(!proposals.attempt(ticket.sequence, ATTEMPT));
        assert!(
            proposals
                .due(Duration::MAX, 9, Duration::ZERO, 1)
                .is_empty()
        );
    }

    #[test]
    fn a_proposal_that_was_dispatched_is_unknown_when_it_is_given_up() {
        let proposals = proposals();
        let ticket = proposals
            .register(put(), usize::MAX)
            .expect("there is room");
        assert!(proposals.attempt(ticket.sequence, ATTEMPT));
        proposals.refused(ticket.sequence);
        assert!(ticket.give_up(), "another copy may be under way");
    }

    #[test]
    fn what_is_in_the_own_log_is_dispatched_again_only_in_another_term() {
        let proposals = proposals();
        let ticket = proposals
            .register(put(), usize::MAX)
            .expect("there is room");
        assert_eq!(proposals.due(Duration::ZERO, 1, Duration::ZERO, 2).len(), 1);
        assert!(proposals.attempt(ticket.sequence, ATTEMPT));
        assert!(
            proposals
                .due(Duration::MAX, 1, Duration::ZERO, 2)
                .is_empty()
        );
        assert_eq!(proposals.due(Duration::MAX, 1, Duration::ZERO, 3).len(), 1);
        assert_eq!(proposals.due(Duration::ZERO, 2, Duration::ZERO, 2).len(), 1);
    }

    #[test]
    #[should_panic(expected = "command 1 settles what is below 1, after 2")]
    fn what_is_settled_stays_settled() {
        let proposals = proposals();
        proposals.state().settled_below = 2;
        proposals.unattended(put());
    }

    #[test]
    #[should_panic(expected = "command 1 is applied and was never named")]
    fn a_command_that_was_never_named_does_not_come_out_of_the_log() {
        proposals().resolve(1, 1, Err(ApiError::no_leader()));
    }

    #[test]
    #[should_panic(expected = "command 1 is dispatched and was never named")]
    fn a_command_that_was_never_named_is_not_dispatched() {
        proposals().attempt(1, ATTEMPT);
    }

    #[test]
    #[should_panic(expected = "was never dispatched")]
    fn a_command_that_was_never_dispatched_does_not_come_out_of_the_log() {
        let proposals = proposals();
        let ticket = proposals
            .register(put(), usize::MAX)
            .expect("there is room");
        proposals.resolve(1, ticket.sequence, Err(ApiError::no_leader()));
    }

    #[test]
    fn a_full_table_refuses_and_takes_again_when_there_is_room() {
        let proposals = Proposals::new(1, 1, 1, Planted::none());
        let first = proposals
            .register(put(), usize::MAX)
            .expect("there is room");
        assert!(proposals.register(put(), usize::MAX).is_err());
        drop(first);
        assert!(proposals.register(put(), usize::MAX).is_ok());
    }

    /// What becomes of a caller when the command of that sequence comes out of the log
    /// with the name of another incarnation.
    fn answered_by_a_former_incarnation(planted: Planted) -> bool {
        let proposals = Proposals::new(1, 2, 16, planted);
        let mut ticket = proposals
            .register(put(), usize::MAX)
            .expect("there is room");
        let error = ApiError::no_leader();
        proposals.resolve(1, ticket.sequence, Err(error));
        ticket.reply.try_recv().is_ok()
    }

    #[test]
    fn a_command_of_an_earlier_incarnation_answers_nobody() {
        assert!(!answered_by_a_former_incarnation(Planted::none()));
    }

    #[cfg(feature = "planted-bugs")]
    #[test]
    fn planted_a_command_of_an_earlier_incarnation_answers_the_wrong_caller() {
        let planted = Planted::only(PlantedBug::AnswersFormerIncarnation);
        assert!(answered_by_a_former_incarnation(planted));
    }
}
