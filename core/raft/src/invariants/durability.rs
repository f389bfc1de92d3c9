//! What a member promises, compared with what is on its disk: votes that it gives, entries
//! that it acknowledges, entries that it applies (Raft paper, figure 2; thesis, section
//! 10.2.1). What is on the disk is what its log's task says, not what Raft believes.

use std::collections::VecDeque;

use super::InvariantViolation;
use super::log_view::{Link, LogView};
use super::member::{MemberState, Vote, describe_vote};
use crate::entry::{LogIndex, NodeId, Term};
use crate::message::{AppendOutcome, Message, MessageBody};
use crate::ready::Ready;

/// What a `Ready` writes.
#[derive(Clone, Debug)]
struct PendingWrite {
    number: u64,
    /// The log begins anew behind this snapshot.
    restart: Option<(LogIndex, Link)>,
    /// What was there stays up to this index.
    kept: LogIndex,
    links: Vec<Link>,
    vote: Option<Vote>,
    /// Votes that it lets go out. Where a member enters a later term in the same step, this one
    /// is all that says whom it voted for in the term before.
    given: Vec<(Term, NodeId)>,
    /// Whether it counts only once it is synchronised.
    must_sync: bool,
}

/// What is on the disk of one member.
#[derive(Clone, Debug)]
pub(super) struct DurableState {
    log: LogView,
    vote: Vote,
    /// Bounded by what Raft lets be under way.
    pending: VecDeque<PendingWrite>,
}

impl DurableState {
    /// A member starts with this log and this vote on its disk.
    pub(super) fn begin(log: LogView, vote: Vote) -> Self {
        Self {
            log,
            vote,
            pending: VecDeque::new(),
        }
    }

    /// Its durable vote.
    pub(super) fn vote(&self) -> Vote {
        self.vote
    }

    /// A `Ready` is handed out. With it the log is `log`, of which it writes what follows
    /// `kept`.
    pub(super) fn hand_out(&mut self, ready: &Ready, kept: LogIndex, log: &LogView) {
        let restart = ready.install_snapshot.as_ref().map(|_| log.base());
        let vote = ready.hard_state.map(|state| (state.term, state.vote));
        if restart.is_none() && ready.entries.is_empty() && vote.is_none() {
            return;
        }
        let links = match ready.entries.first() {
            Some(first) => log.since(first.index).collect(),
            None => Vec::new(),
        };
        let given = ready.persisted_messages.iter();
        let given = given.filter(|message| is_vote_given(message));
        self.pending.push_back(PendingWrite {
            number: ready.number,
            restart,
            kept,
            links,
            vote,
            given: given.map(|message| (message.term, message.to)).collect(),
            must_sync: ready.must_sync,
        });
    }

    /// Whether something up to this `Ready` needs more than the page cache.
    pub(super) fn needs_sync(&self, number: u64) -> bool {
        let mut until = self.pending.iter();
        until.any(|written| written.number <= number && written.must_sync)
    }

    /// Everything up to this `Ready` is on the disk; the votes that count from now on go to
    /// `note`.
    ///
    /// # Errors
    /// Returns those of `note`.
    pub(super) fn persisted(
        &mut self,
        number: u64,
        mut note: impl FnMut(Term, NodeId) -> Result<(), InvariantViolation>,
    ) -> Result<(), InvariantViolation> {
        while let Some(written) = self.pending.pop_front_if(|first| first.number <= number) {
            if let Some((index, link)) = written.restart {
                self.log = LogView::after(index, link);
            }
            if !written.links.is_empty() {
                self.log.truncate(written.kept);
                for link in written.links {
                    self.log.push_link(link);
                }
            }
            for (term, candidate) in written.given {
                note(term, candidate)?;
            }
            if let Some((term, vote)) = written.vote {
                self.vote = (term, vote);
                if let Some(candidate) = vote {
                    note(term, candidate)?;
                }
            }
        }
        Ok(())
    }

    /// Whether this log is on the disk up to `index`, as far as that is known.
    pub(super) fn has(&self, log: &LogView, index: LogIndex) -> bool {
        index <= log.base_index()
            || index <= self.log.base_index()
            || (index <= self.log.last_index() && self.log.at(index) == log.at(index))
    }

    /// The vote that is on the disk once everything handed out is.
    fn vote_handed_out(&self) -> Vote {
        let votes = self.pending.iter().rev();
        votes
            .filter_map(|written| written.vote)
            .next()
            .unwrap_or(self.vote)
    }

    /// What a member hands out, and says, agrees with its disk.
    ///
    /// # Errors
    /// The promise that it cannot keep.
    pub(super) fn check(
        &self,
        state: &MemberState,
        log: &LogView,
        ready: &Ready,
    ) -> Result<(), InvariantViolation> {
        let not_durable = |what: &str, index: LogIndex| {
            InvariantViolation::new(
                "not-durable",
                format!(
                    "member {} {what} up to entry {index}, and its disk has another one there or \
                     none; it ends at {}",
                    state.member,
                    self.log.last_index(),
                ),
            )
        };
        if !self.has(log, state.persisted) {
            return not_durable("takes its log for durable", state.persisted);
        }
        if let Some(last) = ready.committed.last()
            && !self.has(log, last.index)
        {
            return not_durable("applies its log", last.index);
        }
        if let Some(hard_state) = &ready.hard_state
            && !self.has(log, hard_state.commit)
        {
            return not_durable("writes down that its log is committed", hard_state.commit);
        }
        for message in &ready.messages {
            if let MessageBody::AppendResponse {
                outcome: AppendOutcome::Accepted { index },
            } = message.body
                && !self.has(log, index)
            {
                return not_durable("acknowledges its log", index);
            }
            if is_vote_given(message) {
                self.check_vote(state.member, message, self.vote)?;
            }
        }
        for message in &ready.persisted_messages {
            if is_vote_given(message) {
                self.check_vote(state.member, message, self.vote_handed_out())?;
            }
        }
        Ok(())
    }

    /// A vote that is sent can be relied on.
    fn check_vote(
        &self,
        member: NodeId,
        message: &Message,
        on_disk: Vote,
    ) -> Result<(), InvariantViolation> {
        let (term, vote) = on_disk;
        if term > message.term || (term == message.term && vote == Some(message.to)) {
            return Ok(());
        }
        InvariantViolation::new(
            "not-durable",
            format!(
                "member {member} gives its vote of term {} to {}, and its disk knows of {}",
                message.term,
                message.to,
                describe_vote(on_disk),
            ),
        )
    }

    /// A member leads: it has counted its own vote.
    ///
    /// # Errors
    /// That vote is not on its disk.
    pub(super) fn leads(&self, state: &MemberState) -> Result<(), InvariantViolation> {
        if self.vote == (state.term, Some(state.member)) {
            return Ok(());
        }
        InvariantViolation::new(
            "not-durable",
            format!(
                "member {} leads term {}, and its disk knows of {}",
                state.member,
                state.term,
                describe_vote(self.vote),
            ),
        )
    }
}

fn is_vote_given(message: &Message) -> bool {
    message.body == (MessageBody::VoteResponse { granted: true })
}
