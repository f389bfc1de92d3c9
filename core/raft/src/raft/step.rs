//! Messages from the network: what is believed, and what a term means.

use veridical_planted::PlantedBug;
use veridical_probe::{reachable, sometimes};

use super::Raft;
use crate::entry::{Entry, LogIndex, MAX_INDEX, MAX_TERM, NodeId, Term};
use crate::error::StepError;
use crate::message::{AppendOutcome, Message, MessageBody};
use crate::ready::Role;

impl Raft {
    /// Takes a message from the network. Never panics, whatever the message says.
    ///
    /// # Errors
    /// No correct member would have sent this here; nothing was changed. What is malformed may be
    /// left out. What shows that a promise was broken (acknowledged entries are lost, committed
    /// ones contradicted or unknown to a leader, a term has two leaders) comes again for ever:
    /// the member has to stop, and to say so.
    pub fn step(&mut self, message: Message) -> Result<(), StepError> {
        self.validate(&message)?;
        let before = self.observe();
        let outcome = self.receive(message);
        self.assert_step(&before);
        outcome
    }

    /// Takes a message that a correct member may have sent.
    fn receive(&mut self, message: Message) -> Result<(), StepError> {
        if message.term < self.term {
            self.answer_from_later_term(&message);
            return Ok(());
        }
        if message.term > self.term && !self.enter_later_term(&message) {
            return Ok(());
        }
        let Message {
            from, term, body, ..
        } = message;
        match body {
            MessageBody::PreVote {
                last_index,
                last_term,
            } => self.answer_pre_vote(from, term, last_index, last_term),
            MessageBody::PreVoteResponse { granted } => {
                let current = if granted { self.term + 1 } else { self.term };
                if self.role == Role::PreCandidate && term == current {
                    self.count_vote(from, granted);
                }
            }
            MessageBody::Vote {
                last_index,
                last_term,
                ..
            } => self.answer_vote(from, last_index, last_term),
            MessageBody::VoteResponse { granted } => {
                if self.role == Role::Candidate {
                    self.count_vote(from, granted);
                }
            }
            MessageBody::Append {
                previous_index,
                previous_term,
                entries,
                commit,
            } => {
                self.follow(from)?;
                self.append_from_leader(from, previous_index, previous_term, entries, commit)?;
            }
            MessageBody::Heartbeat {
                commit,
                read_sequence,
            } => {
                self.follow(from)?;
                self.handle_heartbeat(from, commit, read_sequence)?;
            }
            MessageBody::AppendResponse { outcome } => {
                self.handle_append_response(from, outcome)?
            }
            MessageBody::HeartbeatResponse { read_sequence } => {
                self.handle_heartbeat_response(from, read_sequence)?;
            }
            MessageBody::ReadIndex { context } => self.answer_read_index(from, context),
            MessageBody::ReadIndexResponse { context, index } => {
                self.handle_read_index_response(from, context, index);
            }
            MessageBody::TimeoutNow => {
                if self.leader == Some(from) && self.role == Role::Follower && self.may_campaign() {
                    self.become_candidate(true);
                }
            }
        }
        Ok(())
    }

    /// Refuses what no correct member sends, before it can change anything.
    fn validate(&self, message: &Message) -> Result<(), StepError> {
        let malformed = |reason| Err(StepError::Malformed { reason });
        let id = self.config.id;
        if message.to != id {
            return Err(StepError::WrongRecipient { to: message.to, id });
        }
        if message.from == id || message.from == 0 {
            return Err(StepError::ImpossibleSender { from: message.from });
        }
        if message.term == 0 || message.term > MAX_TERM {
            return malformed("term out of range");
        }
        match &message.body {
            MessageBody::Append {
                previous_index,
                previous_term,
                entries,
                ..
            } => {
                if message.term == self.term && self.role == Role::Leader {
                    return Err(StepError::SecondLeader {
                        from: message.from,
                        term: message.term,
                    });
                }
                validate_entries(*previous_index, *previous_term, entries, message.term)
            }
            MessageBody::Heartbeat { .. } => {
                if message.term == self.term && self.role == Role::Leader {
                    return Err(StepError::SecondLeader {
                        from: message.from,
                        term: message.term,
                    });
                }
                Ok(())
            }
            MessageBody::AppendResponse { outcome } => match outcome {
                AppendOutcome::Accepted { index } if *index > MAX_INDEX => {
                    malformed("index out of range")
                }
                AppendOutcome::Rejected {
                    previous_index,
                    hint_index,
                    ..
                } if *previous_index > MAX_INDEX || hint_index > previous_index => {
                    malformed("index out of range")
                }
                AppendOutcome::Accepted { .. }
                | AppendOutcome::Rejected { .. }
                | AppendOutcome::SnapshotNeeded => Ok(()),
            },
            MessageBody::PreVote { .. }
            | MessageBody::PreVoteResponse { .. }
            | MessageBody::Vote { .. }
            | MessageBody::VoteResponse { .. }
            | MessageBody::HeartbeatResponse { .. }
            | MessageBody::ReadIndex { .. }
            | MessageBody::ReadIndexResponse { .. }
            | MessageBody::TimeoutNow => Ok(()),
        }
    }

    /// A message of an earlier term changes nothing here; but whoever asks for
    /// something learns of the later term, so that it catches up, or, if it leads, so
    /// that a member whose term has run ahead is not shut out for ever.
    fn answer_from_later_term(&mut self, message: &Message) {
        let is_silent = self.config.planted.has(PlantedBug::PreVoteUnanswered);
        let answer = match message.body {
            MessageBody::PreVote { .. } if is_silent => return,
            MessageBody::PreVote { .. } => MessageBody::PreVoteResponse { granted: false },
            MessageBody::Vote { .. } => MessageBody::VoteResponse { granted: false },
            MessageBody::Append { .. } | MessageBody::Heartbeat { .. } => {
                reachable!("raft.former-leader-told-of-a-later-term");
                MessageBody::AppendResponse {
                    outcome: AppendOutcome::Rejected {
                        previous_index: 0,
                        hint_index: 0,
                        hint_term: 0,
                    },
                }
            }
            MessageBody::PreVoteResponse { .. }
            | MessageBody::VoteResponse { .. }
            | MessageBody::AppendResponse { .. }
            | MessageBody::HeartbeatResponse { .. }
            | MessageBody::ReadIndex { .. }
            | MessageBody::ReadIndexResponse { .. }
            | MessageBody::TimeoutNow => {
                sometimes!(
                    self.role == Role::Leader
                        && matches!(message.body, MessageBody::AppendResponse { .. }),
                    "raft.acknowledgement-of-an-earlier-term-ignored"
                );
                return;
            }
        };
        self.send(message.from, answer);
    }

    /// Decides what a later term means (paper section 5.1). False: the message is to be
    /// ignored.
    fn enter_later_term(&mut self, message: &Message) -> bool {
        match message.body {
            MessageBody::PreVote { .. } => !self.hears_a_leader(),
            MessageBody::PreVoteResponse { granted: true } => true,
            MessageBody::Vote { transfer, .. } => {
                if self.hears_a_leader() && !transfer {
                    reachable!("raft.vote-ignored-because-a-leader-is-heard");
                    return false;
                }
                self.become_follower(message.term, None);
                true
            }
            MessageBody::Append { .. } | MessageBody::Heartbeat { .. } => {
                self.become_follower(message.term, Some(message.from));
                true
            }
            MessageBody::PreVoteResponse { granted: false }
            | MessageBody::VoteResponse { .. }
            | MessageBody::AppendResponse { .. }
            | MessageBody::HeartbeatResponse { .. }
            | MessageBody::ReadIndex { .. }
            | MessageBody::ReadIndexResponse { .. }
            | MessageBody::TimeoutNow => {
                // Only members are asked or ask for anything else, so a stranger was
                // removed meanwhile; its term shall not disturb those who remain.
                let known = self.membership().contains(message.from)
                    || self.progress.contains_key(&message.from);
                if known {
                    self.become_follower(message.term, None);
                }
                known
            }
        }
    }

    /// Acknowledges `from` as the leader of the present term.
    fn follow(&mut self, from: NodeId) -> Result<(), StepError> {
        if let Some(leader) = self.leader
            && leader != from
        {
            return Err(StepError::SecondLeader {
                from,
                term: self.term,
            });
        }
        self.become_follower(self.term, Some(from));
        self.reset_election_timer();
        Ok(())
    }
}

fn validate_entries(
    previous_index: LogIndex,
    previous_term: Term,
    entries: &[Entry],
    leader_term: Term,
) -> Result<(), StepError> {
    let malformed = |reason| Err(StepError::Malformed { reason });
    if previous_index > MAX_INDEX || entries.len() as u64 > MAX_INDEX - previous_index {
        return malformed("index out of range");
    }
    if previous_term > leader_term {
        return malformed("previous term above the leader's term");
    }
    let mut last_index = previous_index;
    let mut last_term = previous_term;
    for entry in entries {
        if entry.index != last_index + 1 {
            return malformed("entries are not consecutive");
        }
        if entry.term < last_term || entry.term > leader_term {
            return malformed("terms of entries fall or exceed the leader's term");
        }
        last_index = entry.index;
        last_term = entry.term;
    }
    Ok(())
}
