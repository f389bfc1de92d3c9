//! Elections: paper section 5.2, pre-vote (thesis section 9.6), check-quorum (thesis
//! sections 6.2 and 4.2.3).

use veridical_planted::PlantedBug;
use veridical_probe::{always, reachable, sometimes};

use super::Raft;
use crate::entry::{LogIndex, MAX_TERM, NodeId, Payload, Term};
use crate::message::MessageBody;
use crate::progress::{Progress, ProgressState};
use crate::reads::ReadRounds;
use crate::ready::Role;

/// Forwarded reads are given up after this many election timeouts.
const FORWARDED_READ_TIMEOUTS: u64 = 2;

impl Raft {
    /// Whether this member may stand for election. A member that the last change of the
    /// log removes may, as long as that change is not known to be committed: its vote
    /// counts for nothing, but its log may be the only one with which the change can be
    /// completed (thesis section 4.2.2).
    pub(super) fn may_campaign(&self) -> bool {
        let id = self.config.id;
        let is_voter = self.membership().voters.contains(&id)
            || self.memberships.at(self.commit).voters.contains(&id);
        // With a part of what it may have had before it could win against those who have
        // the rest.
        let has_a_part = self.blank_ticks > 0 && self.log.last_index() > 0;
        // Not while a snapshot is being installed: the log before it is void.
        is_voter
            && !has_a_part
            && self.log.base_index() <= self.persisted_index()
            && self.term < MAX_TERM
    }

    pub(super) fn tick_election(&mut self) {
        let patience = FORWARDED_READ_TIMEOUTS * u64::from(self.config.election_ticks);
        if let Some(old) = self.now_tick.checked_sub(patience) {
            self.forwarded_reads.expire(old);
        }
        let timeout = match self.election_timeout_ticks {
            Some(timeout) => timeout,
            None => {
                let drawn = self.random.below(self.config.election_ticks);
                *self
                    .election_timeout_ticks
                    .insert(self.config.election_ticks + drawn)
            }
        };
        if self.election_elapsed_ticks < timeout {
            return;
        }
        if self.may_campaign() {
            self.campaign();
        } else {
            reachable!("raft.election-due-where-none-may-stand");
            self.reset_election_timer();
            self.set_leader(None);
        }
    }

    pub(super) fn reset_election_timer(&mut self) {
        self.election_elapsed_ticks = 0;
        self.election_timeout_ticks = None;
    }

    /// Whether a live leader was heard of so recently that nobody else shall be elected.
    pub(super) fn hears_a_leader(&self) -> bool {
        self.config.check_quorum
            && self.leader.is_some()
            && self.election_elapsed_ticks < self.config.election_ticks
    }

    /// Follows `leader`, or nobody yet, in `term`, which is not below the present one.
    pub(super) fn become_follower(&mut self, term: Term, leader: Option<NodeId>) {
        always!(
            term >= self.term,
            "raft.terms-never-fall",
            "{term} after {}",
            self.term
        );
        sometimes!(
            self.role == Role::Leader && self.log.last_index() > self.commit,
            "raft.leader-deposed-with-uncommitted-entries"
        );
        if term > self.term {
            self.term = term;
            self.vote = None;
        }
        if self.role != Role::Follower {
            self.role = Role::Follower;
            self.votes.clear();
            self.leave_leadership();
            self.reset_election_timer();
        }
        self.set_leader(leader);
    }

    /// Asks around whether an election would succeed. Neither term nor vote change.
    pub(super) fn become_pre_candidate(&mut self) {
        sometimes!(
            self.role == Role::Candidate,
            "raft.election-repeated-after-a-split-vote"
        );
        self.role = Role::PreCandidate;
        self.set_leader(None);
        self.votes.clear();
        self.reset_election_timer();
        let body = MessageBody::PreVote {
            last_index: self.log.last_index(),
            last_term: self.log.last_term(),
        };
        for voter in self.other_voters() {
            self.send_in_term(voter, self.term + 1, body.clone());
        }
        self.count_vote(self.config.id, true);
    }

    /// Stands for election. The requests, like this member's own vote, wait until the
    /// new term and vote are durable.
    pub(super) fn become_candidate(&mut self, transfer: bool) {
        assert!(
            self.role != Role::Leader && self.term < MAX_TERM,
            "a leader does not stand, and terms have an end"
        );
        self.term += 1;
        self.vote = Some(self.config.id);
        self.role = Role::Candidate;
        self.set_leader(None);
        self.votes.clear();
        self.reset_election_timer();
        let body = MessageBody::Vote {
            last_index: self.log.last_index(),
            last_term: self.log.last_term(),
            transfer,
        };
        for voter in self.other_voters() {
            self.send_when_persisted(voter, body.clone());
        }
    }

    /// Takes a vote, or a pre-vote, for or against this candidate.
    pub(super) fn count_vote(&mut self, from: NodeId, granted: bool) {
        assert!(
            matches!(self.role, Role::PreCandidate | Role::Candidate),
            "only candidates count votes"
        );
        self.votes.entry(from).or_insert(granted);
        let has = |answer: bool| {
            self.membership()
                .majority(|voter| self.votes.get(&voter) == Some(&answer))
        };
        let (won, lost) = (has(true), has(false));
        sometimes!(
            self.role == Role::PreCandidate && lost,
            "raft.pre-vote-lost"
        );
        sometimes!(self.role == Role::Candidate && lost, "raft.election-lost");
        match self.role {
            Role::PreCandidate if won => self.become_candidate(false),
            Role::Candidate if won => self.become_leader(),
            Role::PreCandidate | Role::Candidate if lost => self.become_follower(self.term, None),
            Role::PreCandidate | Role::Candidate | Role::Follower | Role::Leader => {}
        }
    }

    fn become_leader(&mut self) {
        always!(
            self.role == Role::Candidate,
            "raft.only-candidates-win",
            "a {:?} won an election",
            self.role
        );
        sometimes!(
            self.log.last_index() > self.commit,
            "raft.leader-elected-with-uncommitted-entries"
        );
        self.role = Role::Leader;
        self.blank_ticks = 0;
        self.set_leader(Some(self.config.id));
        self.votes.clear();
        self.reset_election_timer();
        self.heartbeat_elapsed_ticks = 0;
        let next = self.log.last_index() + 1;
        let id = self.config.id;
        self.progress = self
            .membership()
            .members()
            .filter(|member| *member != id)
            .map(|member| (member, Progress::new(next)))
            .collect();
        self.uncommitted_bytes = self.log.size_bytes(self.commit + 1..next);
        // Entries of earlier terms commit together with this one (paper section 5.4.2).
        self.append_as_leader(Payload::Noop);
    }

    /// Forgets what only a leader knows.
    fn leave_leadership(&mut self) {
        sometimes!(
            self.reads.pending() > 0,
            "raft.reads-lost-with-the-leadership"
        );
        sometimes!(
            self.progress
                .values()
                .any(|progress| matches!(progress.state(), ProgressState::Snapshot { .. })),
            "raft.leader-deposed-while-its-snapshot-was-under-way"
        );
        assert!(
            self.role != Role::Leader,
            "who leads keeps what a leader knows"
        );
        self.progress.clear();
        self.reads = ReadRounds::default();
        self.transfer = None;
        self.uncommitted_bytes = 0;
        self.heartbeat_elapsed_ticks = 0;
        self.heartbeat_due = false;
        self.appends_due = false;
        self.snapshots_to_send.clear();
    }

    pub(super) fn set_leader(&mut self, leader: Option<NodeId>) {
        if self.leader != leader {
            sometimes!(
                self.forwarded_reads.pending() > 0,
                "raft.forwarded-reads-lost-with-the-leader"
            );
            self.leader = leader;
            self.forwarded_reads.clear();
        }
    }

    /// The receiver's side of a pre-vote.
    pub(super) fn answer_pre_vote(
        &mut self,
        from: NodeId,
        term: Term,
        last_index: LogIndex,
        last_term: Term,
    ) {
        let free = term > self.term || self.can_vote_for(from);
        let granted = free && self.is_up_to_date(last_index, last_term);
        let term = if granted { term } else { self.term };
        self.send_in_term(from, term, MessageBody::PreVoteResponse { granted });
    }

    /// The receiver's side of RequestVote (paper figure 2), in the present term.
    pub(super) fn answer_vote(&mut self, from: NodeId, last_index: LogIndex, last_term: Term) {
        let (free, up_to_date) = (
            self.can_vote_for(from),
            self.is_up_to_date(last_index, last_term),
        );
        sometimes!(!free, "raft.vote-refused-that-another-has");
        sometimes!(free && !up_to_date, "raft.vote-refused-to-an-older-log");
        let granted = free && up_to_date;
        let response = MessageBody::VoteResponse { granted };
        if !granted {
            self.send(from, response);
            return;
        }
        assert!(
            matches!(self.role, Role::Follower | Role::PreCandidate),
            "who has voted for itself votes for nobody else"
        );
        self.vote = Some(from);
        self.reset_election_timer();
        if self.config.planted.has(PlantedBug::VoteNotPersisted) {
            self.send(from, response);
        } else {
            self.send_when_persisted(from, response);
        }
    }

    /// Whether a log that ends with (`last_index`, `last_term`) may win an election here.
    fn is_up_to_date(&self, last_index: LogIndex, last_term: Term) -> bool {
        if self.blank_ticks > 0 && last_term > 0 {
            reachable!("raft.vote-held-back-by-one-that-began-with-nothing");
            return false;
        }
        if self.config.planted.has(PlantedBug::VoteToShorterLog) {
            return last_term >= self.log.last_term();
        }
        self.log.is_up_to_date(last_index, last_term)
    }

    fn can_vote_for(&self, candidate: NodeId) -> bool {
        match self.vote {
            Some(vote) => vote == candidate,
            None => self.leader.is_none(),
        }
    }

    fn other_voters(&self) -> Vec<NodeId> {
        let id = self.config.id;
        let voters = &self.membership().voters;
        voters
            .iter()
            .copied()
            .filter(|voter| *voter != id)
            .collect()
    }
}
