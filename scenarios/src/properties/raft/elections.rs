//! Elections (Raft paper, sections 5.2 and 5.4.1): a member votes for another only if the log
//! of that one ends no earlier than its own, and whoever leads has a majority of durable votes.

use std::collections::{BTreeMap, BTreeSet};
use veridical_raft::{LogIndex, MessageBody, NodeId, Ready, Term};

use super::Standing;
use super::log::LogView;
use crate::properties::Broken;

/// Terms that are remembered.
const TERMS_MAX: usize = 256;

/// What members have asked and said in elections.
#[derive(Default)]
pub(super) struct Elections {
    /// Votes that are durable: by term, who has voted for whom.
    votes: BTreeMap<Term, BTreeMap<NodeId, NodeId>>,
    /// By term, who has asked for votes, with the last term and index of its log.
    candidacies: BTreeMap<Term, BTreeMap<NodeId, (Term, LogIndex)>>,
    /// Members whose disks may lose a vote without their noticing.
    forgetful: BTreeSet<NodeId>,
}

impl Elections {
    /// The disk of a member decays.
    pub(super) fn disk_decays(&mut self, member: NodeId) {
        self.forgetful.insert(member);
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
    ) -> Result<(), Broken> {
        let votes = self.votes.entry(term).or_default();
        let before = votes.insert(member, candidate);
        if self.votes.len() > TERMS_MAX {
            self.votes.pop_first();
        }
        match before {
            Some(other) if other != candidate && !self.forgetful.contains(&member) => Broken::new(
                "voted-twice",
                format!(
                    "in term {term} member {member} votes for {candidate}, and has voted for {other}"
                ),
            ),
            _ => Ok(()),
        }
    }

    /// Takes note of a member that asks for votes, if it does.
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
        before: &Standing,
        standing: &Standing,
        log: &LogView,
    ) -> Result<(), Broken> {
        let (id, term) = (standing.member, standing.term);
        let is_new = (before.term, before.vote) != (term, standing.vote);
        let Some(vote) = standing.vote.filter(|vote| is_new && *vote != id) else {
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
        Broken::new(
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
        standing: &Standing,
        voters: &BTreeSet<NodeId>,
    ) -> Result<(), Broken> {
        let (id, term) = (standing.member, standing.term);
        let votes = self.votes.get(&term);
        let has_voted = |voter: &&NodeId| votes.is_some_and(|votes| votes.get(*voter) == Some(&id));
        let count = voters.iter().filter(has_voted).count();
        if count * 2 > voters.len() {
            return Ok(());
        }
        Broken::new(
            "elected-without-majority",
            format!("member {id} leads term {term} with {count} votes of {voters:x?}"),
        )
    }
}
