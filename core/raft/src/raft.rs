//! The member: its state, and the entry points of its owner.

mod election;
mod follower;
mod inspect;
mod leader;
mod output;
mod step;

use std::collections::BTreeMap;

use bytes::Bytes;
use veridical_planted::PlantedBug;
use veridical_probe::{always, queue, reachable};

use crate::config::{BLANK_ELECTION_TIMEOUTS, Config, ConfigError, Initial};
use crate::entry::{
    ENTRY_OVERHEAD_BYTES, Entry, HardState, LogIndex, MAX_INDEX, MembershipChange, NodeId, Payload,
    Term,
};
use crate::error::{CompactError, ProposeError, ReadError, TransferError};
use crate::invariants::configuration::check_single_step;
use crate::invariants::member::{MemberState, check_state, check_step};
use crate::log::Log;
use crate::membership::MembershipHistory;
use crate::message::{Message, MessageBody};
use crate::persistence::Persistence;
use crate::progress::Progress;
use crate::random::SplitMix64;
use crate::reads::{ForwardedReads, ReadRequest, ReadRounds};
use crate::ready::{ReadState, Role, SnapshotOutcome, SnapshotRequest, SoftState};
use crate::snapshot::SnapshotMeta;

/// The most messages that wait for the next Ready, of either kind; further ones are
/// dropped, which is as harmless as a lossy network.
pub const MAX_QUEUED_MESSAGES: usize = 16 * 1024;

/// One member of a Raft group. See the crate's header for the owner's loop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    config: Config,
    random: SplitMix64,

    // Persistent state (paper figure 2); durable only as far as `persistence` says.
    term: Term,
    vote: Option<NodeId>,
    log: Log,
    memberships: MembershipHistory,
    persistence: Persistence,

    // Volatile state of every member.
    commit: LogIndex,
    /// The last index carried to the owner for application.
    handed_for_apply: LogIndex,
    applied: LogIndex,
    role: Role,
    leader: Option<NodeId>,
    /// Ticks since this member last heard its leader, voted, or (as a leader) checked
    /// its quorum.
    election_elapsed_ticks: u32,
    /// Drawn when first needed after each reset.
    election_timeout_ticks: Option<u32>,
    /// Ticks for which this member, having started with nothing, still holds back in
    /// elections.
    blank_ticks: u32,
    /// Ticks since the start.
    now_tick: u64,
    forwarded_reads: ForwardedReads,

    // Volatile state of candidates.
    votes: BTreeMap<NodeId, bool>,

    // Volatile state of leaders.
    /// Every other member, and removed ones for a while.
    progress: BTreeMap<NodeId, Progress>,
    heartbeat_elapsed_ticks: u32,
    heartbeat_due: bool,
    /// Something changed that appends could tell.
    appends_due: bool,
    uncommitted_bytes: usize,
    reads: ReadRounds,
    transfer: Option<Transfer>,

    // What waits for the next Ready.
    messages: Vec<Message>,
    persisted_messages: Vec<Message>,
    read_states: Vec<ReadState>,
    snapshots_to_send: Vec<SnapshotRequest>,
    install_snapshot: Option<SnapshotMeta>,
    handed_hard_state: HardState,
    handed_soft_state: SoftState,
}

/// Of the first election timeout so much is left where most of it is let pass at once: a leader is
/// heard of in every tick.
const TICKS_FOR_A_LEADER: u32 = 2;

/// Leadership on its way to another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Transfer {
    to: NodeId,
    elapsed_ticks: u32,
}

impl Raft {
    /// A member that starts, for the first time or again, from what its owner persisted.
    ///
    /// # Errors
    /// The settings cannot work, or the persisted state shows that durable data is
    /// missing.
    pub fn new(config: Config, initial: Initial) -> Result<Raft, ConfigError> {
        config.validate()?;
        initial.validate()?;
        let Initial {
            hard_state,
            snapshot,
            entries,
            applied,
            seed,
            blank,
        } = initial;
        // If the snapshot's term is news, no vote was promised in it: that would have
        // needed the hard state, which was lost on the way.
        let (term, vote) = if snapshot.term > hard_state.term {
            (snapshot.term, None)
        } else {
            (hard_state.term, hard_state.vote)
        };
        let log = Log::new(&snapshot, entries);
        let mut memberships = MembershipHistory::new(snapshot.membership);
        for entry in log.range(log.first_index()..log.last_index() + 1) {
            memberships.append(entry);
        }
        let soft_state = SoftState {
            role: Role::Follower,
            leader: None,
        };
        Ok(Raft {
            random: SplitMix64::new(seed),
            term,
            vote,
            persistence: Persistence::new(log.last_index(), (hard_state.term, hard_state.vote)),
            log,
            memberships,
            // Whatever was applied was committed, whether or not the hard state that
            // says so was written in time.
            commit: hard_state.commit.max(applied),
            handed_for_apply: applied,
            applied,
            role: soft_state.role,
            leader: soft_state.leader,
            election_elapsed_ticks: 0,
            election_timeout_ticks: None,
            blank_ticks: if blank {
                BLANK_ELECTION_TIMEOUTS * config.election_ticks
            } else {
                0
            },
            now_tick: 0,
            forwarded_reads: ForwardedReads::default(),
            votes: BTreeMap::new(),
            progress: BTreeMap::new(),
            heartbeat_elapsed_ticks: 0,
            heartbeat_due: false,
            appends_due: false,
            uncommitted_bytes: 0,
            reads: ReadRounds::default(),
            transfer: None,
            messages: Vec::new(),
            persisted_messages: Vec::new(),
            read_states: Vec::new(),
            snapshots_to_send: Vec::new(),
            install_snapshot: None,
            handed_hard_state: hard_state,
            handed_soft_state: soft_state,
            config,
        })
    }

    /// One tick of the owner's clock.
    pub fn tick(&mut self) {
        let before = self.observe();
        self.now_tick += 1;
        self.blank_ticks = self.blank_ticks.saturating_sub(1);
        self.election_elapsed_ticks += 1;
        if self.role == Role::Leader {
            self.tick_leader();
        } else {
            self.tick_election();
        }
        self.assert_step(&before);
    }

    /// Lets most of the first election timeout pass at once, as far as no leader was heard of: to be
    /// called by a member that has just started and reaches a majority. Where there is a leader it
    /// would have had a timeout to be heard of, of which two ticks are left; and pre-vote keeps a
    /// member that was too quick from disturbing it. (etcd: `--initial-election-tick-advance`.)
    pub fn shorten_first_election_timeout(&mut self) {
        let was_never_reset = u64::from(self.election_elapsed_ticks) == self.now_tick;
        if self.role != Role::Follower || self.leader.is_some() || !was_never_reset {
            return;
        }
        let before = self.observe();
        let passed = self
            .config
            .election_ticks
            .saturating_sub(TICKS_FOR_A_LEADER);
        self.election_elapsed_ticks = self.election_elapsed_ticks.max(passed);
        self.assert_step(&before);
    }

    /// Starts an election now, beginning with a pre-vote if the settings say so. Does
    /// nothing on a leader and on a member that may not stand for election.
    pub fn campaign(&mut self) {
        if self.role == Role::Leader || !self.may_campaign() {
            return;
        }
        let before = self.observe();
        if self.config.pre_vote {
            self.become_pre_candidate();
        } else {
            self.become_candidate(false);
        }
        self.assert_step(&before);
    }

    /// Appends a command to the leader's log. It is committed once it comes out of
    /// [`crate::Ready::committed`] with this index *and* term; an entry of another term
    /// at the index means that it was lost.
    ///
    /// # Errors
    /// Says why it was not taken.
    pub fn propose(&mut self, command: Bytes) -> Result<(Term, LogIndex), ProposeError> {
        self.append_proposal(Payload::Command(command))
    }

    /// Appends a membership change to the leader's log; it is in force at once (thesis
    /// section 4.1). One at a time, and only after an entry of the leader's own term is
    /// committed.
    ///
    /// # Errors
    /// Says why it was not taken.
    pub fn propose_membership(
        &mut self,
        change: MembershipChange,
    ) -> Result<(Term, LogIndex), ProposeError> {
        self.check_may_propose()?;
        let planted = self.config.planted;
        if !self.has_committed_in_term() && !planted.has(PlantedBug::ChangeBeforeOwnCommit) {
            return Err(ProposeError::TermNotCommitted);
        }
        let pending = self.memberships.last_change_index();
        if pending > self.commit && !planted.has(PlantedBug::ChangesOverlap) {
            return Err(ProposeError::MembershipChangePending { index: pending });
        }
        self.membership().check(&change)?;
        let position = self.append_proposal(Payload::Membership(change))?;
        assert!(
            self.memberships.last_change_index() == position.1,
            "a membership change is in force as soon as it is in the log"
        );
        Ok(position)
    }

    /// Hands leadership to voter `to` (thesis section 3.10). Proposals are refused
    /// until it succeeds, or fails after an election timeout. To oneself: done already.
    ///
    /// # Errors
    /// This member does not lead, or `to` cannot.
    pub fn transfer_leadership(&mut self, to: NodeId) -> Result<(), TransferError> {
        if self.role != Role::Leader {
            return Err(TransferError::NotLeader {
                leader: self.leader,
            });
        }
        let membership = self.membership();
        let may_learn = self.config.planted.has(PlantedBug::HandedOverToLearner);
        let is_meant =
            membership.voters.contains(&to) || (may_learn && membership.learners.contains(&to));
        if !is_meant {
            return Err(TransferError::NotAVoter { to });
        }
        if to == self.config.id {
            self.transfer = None;
            return Ok(());
        }
        self.transfer = Some(Transfer {
            to,
            elapsed_ticks: 0,
        });
        self.appends_due = true;
        self.hand_over_if_caught_up(to);
        Ok(())
    }

    /// Asks for a linearizable read (thesis section 6.4). The answer comes in
    /// [`crate::Ready::read_states`] under `context`, or never if it is lost on the way
    /// or the leader changes.
    ///
    /// # Errors
    /// Nobody can be asked, or too many reads wait.
    pub fn read_index(&mut self, context: u64) -> Result<(), ReadError> {
        let limit = self.config.max_pending_reads;
        if self.role == Role::Leader {
            let pending = self.reads.pending() + self.read_states.len();
            if pending >= limit {
                return Err(ReadError::Overloaded { pending });
            }
            if self.config.planted.has(PlantedBug::StaleRead) {
                self.read_states.push(ReadState {
                    context,
                    index: self.commit,
                });
                return Ok(());
            }
            self.reads.ask(ReadRequest {
                from: self.config.id,
                context,
            });
            return Ok(());
        }
        let leader = self.leader.ok_or(ReadError::NoLeader)?;
        let pending = self.forwarded_reads.pending() + self.read_states.len();
        if pending >= limit {
            return Err(ReadError::Overloaded { pending });
        }
        let ticket = self.random.next_u64();
        self.forwarded_reads.ask(ticket, context, self.now_tick);
        self.send(leader, MessageBody::ReadIndex { context: ticket });
        Ok(())
    }

    /// Everything in all Readys up to `number` is durable, and a snapshot among them is
    /// restored. May come late, and for several Readys at once.
    pub fn persisted(&mut self, number: u64) {
        let before = self.observe();
        self.persistence.persisted(number);
        // A snapshot that is durable is restored as well.
        if self.persisted_index() >= self.log.base_index() {
            self.applied = self.applied.max(self.log.base_index());
        }
        match self.role {
            // A candidate counts its own vote when it is durable, like any other vote:
            // otherwise a sole voter could lead, crash, and lead the same term again.
            Role::Candidate
                if self.persistence.persisted_vote() == (self.term, Some(self.config.id)) =>
            {
                self.count_vote(self.config.id, true);
            }
            Role::Leader => self.advance_commit(),
            Role::Follower | Role::PreCandidate | Role::Candidate => {}
        }
        self.assert_step(&before);
    }

    /// Everything up to `index` is applied.
    pub fn applied(&mut self, index: LogIndex) {
        always!(
            index <= self.handed_for_apply,
            "raft.applied-was-handed-out",
            "index {index} after {}",
            self.handed_for_apply
        );
        let before = self.observe();
        self.applied = self.applied.max(index);
        self.assert_step(&before);
    }

    /// Forgets the entries up to `index`. The owner can no longer help members that
    /// need them but by a snapshot.
    ///
    /// # Errors
    /// The entries are still needed here, or gone already.
    pub fn compact(&mut self, index: LogIndex) -> Result<(), CompactError> {
        if index <= self.log.base_index() {
            return Err(CompactError::AlreadyCompacted {
                index,
                first_index: self.log.first_index(),
            });
        }
        if index > self.applied {
            return Err(CompactError::NotApplied {
                index,
                applied: self.applied,
            });
        }
        let before = self.observe();
        self.log.compact_to(index);
        self.memberships.compact_to(index);
        assert!(
            self.log.base_index() == index && !self.memberships.has_changes_up_to(index),
            "log and memberships begin after the same entry"
        );
        self.assert_step(&before);
        Ok(())
    }

    /// The owner has received a whole snapshot from the leader `from` of `term` and
    /// verified it. True: it will be installed, see
    /// [`crate::Ready::install_snapshot`]. False: it is not needed, or outdated.
    pub fn offer_snapshot(&mut self, from: NodeId, term: Term, meta: SnapshotMeta) -> bool {
        let before = self.observe();
        let installs = self.consider_snapshot(from, term, meta);
        self.assert_step(&before);
        assert!(
            !installs || self.install_snapshot.is_some(),
            "a snapshot that is accepted is handed out"
        );
        installs
    }

    /// Sending a snapshot to `to` has ended.
    pub fn report_snapshot(&mut self, to: NodeId, outcome: SnapshotOutcome) {
        if let Some(progress) = self.progress.get_mut(&to) {
            match outcome {
                SnapshotOutcome::Sent => progress.snapshot_sent(),
                SnapshotOutcome::Failed => progress.snapshot_failed(),
            }
        }
    }

    /// Messages to `to` may have been lost: stop pipelining and find out.
    pub fn report_unreachable(&mut self, to: NodeId) {
        if let Some(progress) = self.progress.get_mut(&to) {
            progress.unreachable();
        }
    }

    fn append_proposal(&mut self, payload: Payload) -> Result<(Term, LogIndex), ProposeError> {
        self.check_may_propose()?;
        let bytes = self.uncommitted_bytes;
        let size = payload.size_bytes() + ENTRY_OVERHEAD_BYTES;
        if bytes > 0 && bytes.saturating_add(size) > self.config.max_uncommitted_bytes {
            reachable!("raft.proposal-refused-at-the-bound");
            return Err(ProposeError::Overloaded {
                uncommitted_bytes: bytes,
            });
        }
        queue!(
            "raft.uncommitted-bytes",
            bytes + size,
            self.config.max_uncommitted_bytes.max(size)
        );
        let before = self.observe();
        let position = self.append_as_leader(payload);
        self.assert_step(&before);
        Ok(position)
    }

    fn check_may_propose(&self) -> Result<(), ProposeError> {
        if self.role != Role::Leader || self.log.last_index() >= MAX_INDEX {
            return Err(ProposeError::NotLeader {
                leader: self.leader,
            });
        }
        match self.transfer {
            Some(transfer) => Err(ProposeError::Transferring { to: transfer.to }),
            None => Ok(()),
        }
    }

    /// What can be seen of this member, to compare it with what follows.
    fn observe(&self) -> MemberState {
        MemberState::from(self)
    }

    /// Stops a member that finds itself in an impossible state, before its next Ready can
    /// tell anybody: what it knows can no longer be trusted.
    fn assert_step(&self, before: &MemberState) {
        // This bug is to be found by those who watch the cluster, not by the member itself.
        if self.config.planted.has(PlantedBug::SnapshotGoesBack) {
            return;
        }
        let after = self.observe();
        let checked = check_state(&after).and_then(|()| check_step(before, &after));
        if let Err(violation) = checked {
            panic!("{violation}");
        }
    }

    /// Appends to the log and lets a membership change take effect.
    fn append_entry(&mut self, entry: Entry) -> bool {
        let changed = self.memberships.append(&entry);
        if changed {
            let (before, after) = (self.memberships.previous(), self.memberships.latest());
            if let Err(violation) = check_single_step(before, after) {
                panic!("{violation}");
            }
        }
        self.log.push(entry);
        changed
    }

    /// Queues a message that may go out at once.
    fn send(&mut self, to: NodeId, body: MessageBody) {
        self.send_in_term(to, self.term, body);
    }

    fn send_in_term(&mut self, to: NodeId, term: Term, body: MessageBody) {
        queue!("raft.messages", self.messages.len(), MAX_QUEUED_MESSAGES);
        if self.messages.len() < MAX_QUEUED_MESSAGES {
            self.messages.push(Message {
                from: self.config.id,
                to,
                term,
                body,
            });
        }
    }

    /// Queues a message that promises something about what is durable here.
    fn send_when_persisted(&mut self, to: NodeId, body: MessageBody) {
        if self.persisted_messages.len() < MAX_QUEUED_MESSAGES {
            self.persisted_messages.push(Message {
                from: self.config.id,
                to,
                term: self.term,
                body,
            });
        }
    }
}
