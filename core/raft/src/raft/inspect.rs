//! What can be seen of a member from outside.

use std::ops::Range;

use super::Raft;
use crate::config::Config;
use crate::entry::{Entry, LogIndex, NodeId, Term};
use crate::invariants::{LogStart, MemberState};
use crate::membership::Membership;
use crate::progress::Progress;
use crate::ready::Role;
use crate::snapshot::SnapshotMeta;

impl Raft {
    /// This member.
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// The settings it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The latest term it has seen.
    pub fn term(&self) -> Term {
        self.term
    }

    /// Whom it voted for in this term.
    pub fn vote(&self) -> Option<NodeId> {
        self.vote
    }

    /// What it is in this term.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Who leads this term, as far as it knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The highest index it knows to be committed.
    pub fn commit_index(&self) -> LogIndex {
        self.commit
    }

    /// The highest index that the owner has applied.
    pub fn applied_index(&self) -> LogIndex {
        self.applied
    }

    /// The end of the durable part of the log.
    pub fn persisted_index(&self) -> LogIndex {
        self.persistence.persisted_index()
    }

    /// The end of the log; the beginning minus one if it is empty.
    pub fn last_index(&self) -> LogIndex {
        self.log.last_index()
    }

    /// The term of the entry at the end of the log.
    pub fn last_term(&self) -> Term {
        self.log.last_term()
    }

    /// The beginning of the log.
    pub fn first_index(&self) -> LogIndex {
        self.log.first_index()
    }

    /// The term at `index`, known from right before the log's beginning to its end.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.log.term_at(index)
    }

    /// The entries of `range` that the log has.
    pub fn entries(&self, range: Range<LogIndex>) -> impl DoubleEndedIterator<Item = &Entry> {
        self.log.range(range)
    }

    /// The membership in force, committed or not.
    pub fn membership(&self) -> &Membership {
        self.memberships.latest()
    }

    /// Where the last change of the membership is, as far as the log still has it; 0
    /// otherwise.
    pub fn membership_index(&self) -> LogIndex {
        self.memberships.last_change_index()
    }

    /// The membership as of the applied index: the one that a snapshot taken now names.
    pub fn membership_at_applied(&self) -> &Membership {
        self.memberships.at(self.applied)
    }

    /// What a snapshot of the state machine at `index` says about the log. `None`
    /// outside of what is applied and not compacted.
    pub fn snapshot_meta_at(&self, index: LogIndex) -> Option<SnapshotMeta> {
        if index > self.applied {
            return None;
        }
        Some(SnapshotMeta {
            index,
            term: self.log.term_at(index)?,
            membership: self.memberships.at(index).clone(),
        })
    }

    /// A leader's view of another member; `None` for itself and on anybody else.
    pub fn progress(&self, node: NodeId) -> Option<&Progress> {
        self.progress.get(&node)
    }

    /// To whom a leader can hand leadership over soonest: of the other voters that answer, the
    /// one that has most of the log. `None` on anybody else, and where nobody answers.
    pub fn successor(&self) -> Option<NodeId> {
        let answering = |voter: &NodeId| {
            let progress = self.progress.get(voter)?;
            (progress.is_recently_active() && progress.has_answered())
                .then_some((progress.matched(), *voter))
        };
        let voters = self.membership().voters.iter();
        let successor = voters.filter_map(answering).max();
        successor.map(|(_, voter)| voter)
    }

    /// Bytes of a leader's entries that are not committed; 0 on anybody else.
    pub fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes
    }

    /// To whom a leader is handing leadership.
    pub fn transferee(&self) -> Option<NodeId> {
        self.transfer.map(|transfer| transfer.to)
    }

    /// Reads that wait for an answer.
    pub fn pending_reads(&self) -> usize {
        self.reads.pending() + self.forwarded_reads.pending()
    }

    /// Readys that are not known to be durable.
    pub fn outstanding_readys(&self) -> usize {
        self.persistence.outstanding()
    }
}

impl From<&Raft> for MemberState {
    fn from(raft: &Raft) -> Self {
        Self {
            member: raft.id(),
            term: raft.term(),
            vote: raft.vote(),
            role: raft.role(),
            leader: raft.leader(),
            base_index: raft.first_index() - 1,
            applied: raft.applied_index(),
            commit: raft.commit_index(),
            persisted: raft.persisted_index(),
            last_index: raft.last_index(),
            last_term: raft.last_term(),
        }
    }
}

impl From<&Raft> for LogStart {
    fn from(raft: &Raft) -> Self {
        let base_index = raft.first_index() - 1;
        let base = raft.snapshot_meta_at(base_index).unwrap_or_default();
        Self {
            base_index,
            base_term: base.term,
            membership: base.membership,
            applied: raft.applied_index(),
        }
    }
}
