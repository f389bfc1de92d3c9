//! Elections (Raft paper, sections 5.2 and 5.4.1): a member votes for another only if the log
//! of that one ends no earlier than its own, and whoever leads has a majority of durable votes.

use std::collections::{BTreeMap, BTreeSet};

use super::InvariantViolation;
use super::log_view::LogView;
use super::member::MemberState;
use crate::entry::{LogIndex, NodeId, Term};
use crate::message::MessageBody;
use crate::ready::Ready;

/// The most terms that are remembered.
const TERMS_MAX: usize = 256;

/// What members have asked and said in elections.
#[derive(Clone, Debug, Default)]
pub(super) struct Elections {
    /// The durable votes: by term, who has voted for whom.
    votes: BTreeMap<Term, BTreeMap<NodeId, NodeId>>,
    /// By term, who has asked for votes, with the last term and index of its log.
    candidacies: BTreeMap<Term, BTreeMap<NodeId, (Term, LogIndex)>>,
    /// Members whose disks may lose a vote without their noticing.
    unreliable_disks: BTreeSet<NodeId>,
}

impl Elections {
    /// The disk of a member may lose what was durable.
    pub(super) fn disk_decays(&mut self, member: NodeId) {
        self.unreliable_disks.insert(member);
    }

    /// The vote of a member for this candidate is durable.
    ///
    /// # Errors
    /// It had another one in this term.
    pub(super) fn has_voted(
        &mut self,
        member: NodeId,
        term: Term,
        candidate: NodeId,
    ) -> Result<(), InvariantViolation> {
        let votes = self.votes.entry(term).or_default();
        let before = votes.insert(member, candidate);
        if self.votes.len() > TERMS_MAX {
            self.votes.pop_first();
        }
        match before {
            Some(other) if other != candidate && !self.unreliable_disks.contains(&member) => {
                InvariantViolation::new(
                    "voted-twice",
                    format!(
                        "in term {term} member {member} votes for {candidate}, and has voted for {other}"
                    ),
                )
            }
            _ => Ok(()),
        }
    }

    /// Notes a member that asks for votes, if it does.
    pub(super) fn stand(&mut self, ready: &Ready) {
        for message in &ready.persisted_messages {
            if let MessageBody::Vote {
                last_index,
                last_term,
                ..
            } = message.body
            {
                let candidates = self.candidacies.entry(message.term).or_default();
                candidates.insert(message.from, (last_term, last_index));
            }
        }
        if self.candidacies.len() > TERMS_MAX {
            self.candidacies.pop_first();
        }
    }

    /// A member may have voted since `before`; `log` is its log, which has not changed.
    ///
    /// # Errors
    /// It has voted for one whose log ends earlier.
    pub(super) fn check_vote(
        &self,
        before: &MemberState,
        state: &MemberState,
        log: &LogView,
    ) -> Result<(), InvariantViolation> {
        let (id, term) = (state.member, state.term);
        let is_new = (before.term, before.vote) != (term, state.vote);
        let Some(vote) = state.vote.filter(|vote| is_new && *vote != id) else {
            return Ok(());
        };
        let candidates = self.candidacies.get(&term);
        let Some((last_term, last_index)) = candidates.and_then(|known| known.get(&vote)) else {
            return Ok(());
        };
        let own_index = log.last_index();
        let own_term = log.at(own_index).map_or(0, |link| link.term);
        if (*last_term, *last_index) >= (own_term, own_index) {
            return Ok(());
        }
        InvariantViolation::new(
            "vote-for-older-log",
            format!(
                "in term {term} member {id}, whose log ends at entry {own_index} of term \
                 {own_term}, votes for {vote}, whose log ends at {last_index} of term {last_term}"
            ),
        )
    }

    /// A member leads, and counts these voters.
    ///
    /// # Errors
    /// No majority of them has voted for it.
    pub(super) fn check_majority(
        &self,
        state: &MemberState,
        voters: &BTreeSet<NodeId>,
    ) -> Result<(), InvariantViolation> {
        let (id, term) = (state.member, state.term);
        let votes = self.votes.get(&term);
        let has_voted = |voter: &&NodeId| votes.is_some_and(|votes| votes.get(*voter) == Some(&id));
        let count = voters.iter().filter(has_voted).count();
        if count * 2 > voters.len() {
            return Ok(());
        }
        InvariantViolation::new(
            "elected-without-majority",
            format!("member {id} leads term {term} with {count} votes of {voters:x?}"),
        )
    }
}
