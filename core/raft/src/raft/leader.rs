//! What a leader does: replication (paper section 5.3), commitment (5.4.2), reads
//! (thesis section 6.4), membership (thesis chapter 4), handing over (3.10).

use veridical_planted::PlantedBug;
use veridical_probe::{queue, reachable, sometimes};

use super::{MAX_QUEUED_MESSAGES, Raft};
use crate::entry::{Entry, LogIndex, NodeId, Payload, Term};
use crate::error::StepError;
use crate::message::{AppendOutcome, Message, MessageBody};
use crate::progress::{Progress, ProgressState};
use crate::reads::ReadRequest;
use crate::ready::{ReadState, Role, SnapshotRequest};

impl Raft {
    pub(super) fn tick_leader(&mut self) {
        let patience = match self.config.planted.has(PlantedBug::CutOffLeaderStays) {
            true => self.config.election_ticks.saturating_mul(8),
            false => self.config.election_ticks,
        };
        if self.election_elapsed_ticks >= patience {
            self.reset_election_timer();
            if self.config.check_quorum && !self.hears_a_majority() {
                reachable!("raft.leader-stepped-down-without-a-quorum");
                self.become_follower(self.term, None);
                return;
            }
            let commit = self.commit;
            // A removed member is sent its removal as long as it is active.
            self.progress
                .retain(|_, progress| match progress.leaves_at {
                    Some(index) if index <= commit => {
                        progress.is_active() && progress.matched() < index
                    }
                    Some(_) | None => true,
                });
            for progress in self.progress.values_mut() {
                progress.begin_period();
            }
        }
        let first_index = self.log.first_index();
        for progress in self.progress.values_mut() {
            progress.tick(patience, first_index);
        }
        self.appends_due = true;
        if let Some(transfer) = &mut self.transfer {
            transfer.elapsed_ticks += 1;
            if transfer.elapsed_ticks >= patience {
                self.transfer = None;
            }
        }
        self.heartbeat_elapsed_ticks += 1;
        if self.heartbeat_elapsed_ticks >= self.config.heartbeat_ticks {
            self.heartbeat_elapsed_ticks = 0;
            self.heartbeat_due = true;
        }
    }

    fn hears_a_majority(&self) -> bool {
        self.membership().majority(|voter| {
            voter == self.config.id || self.progress.get(&voter).is_some_and(Progress::is_active)
        })
    }

    /// Appends an entry of the leader's term.
    pub(super) fn append_as_leader(&mut self, payload: Payload) -> (Term, LogIndex) {
        assert!(self.role == Role::Leader, "only a leader creates entries");
        let entry = Entry {
            term: self.term,
            index: self.log.last_index() + 1,
            payload,
        };
        let position = (entry.term, entry.index);
        self.uncommitted_bytes += entry.size_bytes();
        let membership_changed = self.append_entry(entry);
        self.appends_due = true;
        if membership_changed {
            self.adopt_membership(position.1);
        }
        position
    }

    /// Lets the membership change at `index` take effect on what the leader tracks.
    fn adopt_membership(&mut self, index: LogIndex) {
        let membership = self.memberships.latest();
        for (node, progress) in &mut self.progress {
            if !membership.contains(*node) {
                progress.leaves_at.get_or_insert(index);
            }
        }
        for node in membership.members() {
            let rejoins = self
                .progress
                .get(&node)
                .is_none_or(|progress| progress.leaves_at.is_some());
            if node != self.config.id && rejoins {
                self.progress.insert(node, Progress::new(index));
            }
        }
        assert!(
            !self.progress.contains_key(&self.config.id),
            "a leader's own match is that of its own disk"
        );
        if let Some(transfer) = self.transfer
            && !membership.voters.contains(&transfer.to)
        {
            self.transfer = None;
        }
        // The quorum may have shrunk.
        self.advance_commit();
        self.confirm_reads();
    }

    /// Whether an entry of the present term is committed.
    pub(super) fn has_committed_in_term(&self) -> bool {
        self.log.term_at(self.commit) == Some(self.term)
    }

    /// Commits what a majority holds durably, this member included only as far as its
    /// own disk says so (thesis section 10.2.1).
    pub(super) fn advance_commit(&mut self) {
        if self.role != Role::Leader {
            return;
        }
        let id = self.config.id;
        let own = if self.config.planted.has(PlantedBug::LeaderCountsUnsynced) {
            self.log.last_index()
        } else {
            self.persisted_index()
        };
        let matched = |voter: NodeId| {
            if voter == id {
                own
            } else {
                self.progress.get(&voter).map_or(0, Progress::matched)
            }
        };
        let reached = if self.config.planted.has(PlantedBug::CommitNeedsAll) {
            let voters = self.membership().voters.iter();
            voters.map(|voter| matched(*voter)).min().unwrap_or(0)
        } else {
            self.membership().reached_by_majority(matched)
        };
        // Only entries of the present term are committed by counting; earlier ones
        // follow by log matching (paper section 5.4.2, figure 8).
        let of_this_term = self.log.term_at(reached) == Some(self.term)
            || self.config.planted.has(PlantedBug::CommitOldTerm);
        sometimes!(
            reached > self.commit && !of_this_term,
            "raft.majority-holds-only-entries-of-an-earlier-term"
        );
        if reached <= self.commit || !of_this_term {
            return;
        }
        sometimes!(
            self.log.term_at(self.commit + 1) < Some(self.term),
            "raft.entry-of-an-earlier-term-committed-with-this-one"
        );
        sometimes!(reached > own, "raft.majority-durable-before-the-leader");
        assert!(
            reached <= self.log.last_index(),
            "what a majority has is in the leader's log"
        );
        let bytes = self.log.size_bytes(self.commit + 1..reached + 1);
        self.uncommitted_bytes -= bytes;
        self.commit = reached;
        assert!(
            (self.uncommitted_bytes == 0) == (self.commit == self.log.last_index()),
            "bytes are uncommitted as long as entries are"
        );
        self.appends_due = true;
        let removed = !self.membership().voters.contains(&id)
            && self.memberships.last_change_index() <= self.commit;
        if removed {
            reachable!("raft.leader-removed-itself");
            self.retire();
        }
    }

    /// Steps down after its own removal is committed (thesis section 4.2.2): sends the
    /// others the commit index, and asks the most advanced voter to stand for election.
    fn retire(&mut self) {
        self.flush_appends();
        let heir = self
            .membership()
            .voters
            .iter()
            .copied()
            .max_by_key(|voter| self.progress.get(voter).map_or(0, Progress::matched));
        if let Some(heir) = heir {
            self.send(heir, MessageBody::TimeoutNow);
        }
        self.become_follower(self.term, None);
    }

    /// Takes a member's answer to an append, or its word that it has installed a snapshot.
    pub(super) fn handle_append_response(
        &mut self,
        from: NodeId,
        outcome: AppendOutcome,
    ) -> Result<(), StepError> {
        if self.role != Role::Leader {
            return Ok(());
        }
        let (base_index, last_index) = (self.log.base_index(), self.log.last_index());
        let Some(progress) = self.progress.get_mut(&from) else {
            return Ok(());
        };
        match outcome {
            AppendOutcome::Accepted { index } => {
                if index > last_index {
                    return Err(StepError::LeaderLacksCommitted {
                        from,
                        index,
                        last_index,
                    });
                }
                progress.mark_active();
                let news = progress.accepted(index, base_index + 1);
                assert!(
                    progress.matched() <= last_index,
                    "no follower agrees beyond the end of the leader's log"
                );
                if news {
                    self.advance_commit();
                    self.hand_over_if_caught_up(from);
                }
            }
            AppendOutcome::Rejected {
                previous_index,
                hint_index,
                hint_term,
            } => {
                progress.mark_active();
                let agreed = if hint_index < base_index {
                    hint_index
                } else {
                    self.log.last_index_of_term_at_most(hint_index, hint_term)
                };
                let current = progress.rejected(previous_index, agreed);
                sometimes!(current, "raft.append-rejected");
                sometimes!(!current, "raft.late-rejection-ignored");
            }
            AppendOutcome::SnapshotNeeded => {
                progress.mark_active();
                let is_new = progress.matched() == 0
                    && !matches!(progress.state(), ProgressState::Snapshot { .. });
                if is_new {
                    reachable!("raft.newcomer-needs-a-snapshot");
                    progress.become_snapshot();
                    self.snapshots_to_send.push(SnapshotRequest { to: from });
                }
            }
        }
        self.appends_due = self.role == Role::Leader;
        Ok(())
    }

    /// A member confirms that it still follows.
    pub(super) fn handle_heartbeat_response(
        &mut self,
        from: NodeId,
        read_sequence: u64,
    ) -> Result<(), StepError> {
        if self.role != Role::Leader {
            return Ok(());
        }
        if read_sequence > self.reads.sequence() {
            return Err(StepError::Malformed {
                reason: "confirms a round of reads that never was",
            });
        }
        let last_index = self.log.last_index();
        let Some(progress) = self.progress.get_mut(&from) else {
            return Ok(());
        };
        progress.mark_active();
        progress.read_sequence = progress.read_sequence.max(read_sequence);
        progress.resume(
            last_index,
            self.config.max_inflight_appends,
            self.config.max_inflight_bytes,
        );
        self.appends_due = true;
        self.confirm_reads();
        self.hand_over_if_caught_up(from);
        Ok(())
    }

    /// Asks the transfer's target to start its election, once it holds the whole log.
    pub(super) fn hand_over_if_caught_up(&mut self, to: NodeId) {
        let caught_up = self
            .progress
            .get(&to)
            .is_some_and(|progress| progress.matched() == self.log.last_index());
        if caught_up && self.transferee() == Some(to) {
            self.send(to, MessageBody::TimeoutNow);
        }
    }

    /// A follower asks on behalf of its client.
    pub(super) fn answer_read_index(&mut self, from: NodeId, context: u64) {
        if self.role != Role::Leader || !self.progress.contains_key(&from) {
            return;
        }
        if self.config.planted.has(PlantedBug::StaleRead) {
            let index = Some(self.commit);
            self.send(from, MessageBody::ReadIndexResponse { context, index });
        } else if self.reads.pending() >= self.config.max_pending_reads {
            reachable!("raft.forwarded-read-refused-at-the-bound");
            let index = None;
            self.send(from, MessageBody::ReadIndexResponse { context, index });
        } else {
            self.reads.ask(ReadRequest { from, context });
            queue!(
                "raft.reads",
                self.reads.pending(),
                self.config.max_pending_reads
            );
        }
    }

    /// Whether waiting reads can be given an index: a new leader knows what is committed
    /// only after an entry of its own term is (paper section 8).
    pub(super) fn can_start_reads(&self) -> bool {
        let knows_commit = self.has_committed_in_term()
            || self.config.planted.has(PlantedBug::ReadBeforeOwnCommit);
        self.role == Role::Leader && self.reads.has_waiting() && knows_commit
    }

    /// Starts one round for all reads asked since the last one.
    pub(super) fn start_reads(&mut self) {
        assert!(
            self.has_committed_in_term()
                || self.config.planted.has(PlantedBug::ReadBeforeOwnCommit),
            "a leader that serves reads knows what is committed"
        );
        self.reads.start_round(self.commit);
        self.heartbeat_due = true;
        self.confirm_reads();
    }

    /// Releases the reads whose round a majority has confirmed.
    fn confirm_reads(&mut self) {
        let id = self.config.id;
        let confirmed = self.membership().reached_by_majority(|voter| {
            if voter == id {
                self.reads.sequence()
            } else {
                self.progress
                    .get(&voter)
                    .map_or(0, |peer| peer.read_sequence)
            }
        });
        while let Some((request, index)) = self.reads.pop_confirmed(confirmed) {
            assert!(
                index <= self.commit,
                "reads are served at what is committed"
            );
            let context = request.context;
            if request.from == id {
                self.read_states.push(ReadState { context, index });
            } else {
                let index = Some(index);
                self.send(
                    request.from,
                    MessageBody::ReadIndexResponse { context, index },
                );
            }
        }
    }

    /// Whether an append can be sent that some member needs.
    pub(super) fn has_appends(&self) -> bool {
        let (max_appends, max_bytes) = (
            self.config.max_inflight_appends,
            self.config.max_inflight_bytes,
        );
        self.appends_due
            && self.progress.values().any(|progress| {
                progress.can_send(max_appends, max_bytes)
                    && progress.wants_append(self.log.last_index(), self.commit)
            })
    }

    /// Sends every member what it lacks, as far as its window allows. Entries go out
    /// before they are durable here (thesis section 10.2.1).
    pub(super) fn flush_appends(&mut self) {
        let Raft {
            config,
            progress,
            log,
            messages,
            snapshots_to_send,
            ..
        } = self;
        let (last_index, commit) = (log.last_index(), self.commit);
        self.appends_due = false;
        for (to, progress) in progress {
            while progress.can_send(config.max_inflight_appends, config.max_inflight_bytes)
                && progress.wants_append(last_index, commit)
            {
                if messages.len() >= MAX_QUEUED_MESSAGES {
                    self.appends_due = true;
                    return;
                }
                let previous_index = progress.next_index() - 1;
                assert!(
                    previous_index <= last_index,
                    "nothing behind the end of the log is sent"
                );
                let Some(previous_term) = log.term_at(previous_index) else {
                    reachable!("raft.follower-fell-behind-the-log");
                    progress.become_snapshot();
                    snapshots_to_send.push(SnapshotRequest { to: *to });
                    break;
                };
                let (entries, bytes) =
                    log.batch(previous_index + 1..last_index + 1, config.max_append_bytes);
                progress.sent(previous_index + entries.len() as u64, bytes, commit);
                messages.push(Message {
                    from: config.id,
                    to: *to,
                    term: self.term,
                    body: MessageBody::Append {
                        previous_index,
                        previous_term,
                        entries,
                        commit,
                    },
                });
            }
        }
    }

    /// Sends a heartbeat to everybody.
    pub(super) fn flush_heartbeats(&mut self) {
        assert!(self.role == Role::Leader, "only a leader has heartbeats");
        self.heartbeat_due = false;
        let read_sequence = self.reads.sequence();
        let (id, term, commit) = (self.config.id, self.term, self.commit);
        let claims_all = self.config.planted.has(PlantedBug::CommitBeyondMatch);
        for (to, progress) in &self.progress {
            if self.messages.len() >= MAX_QUEUED_MESSAGES {
                return;
            }
            // Beyond what is known to agree, the member may hold other entries.
            let agreed = if claims_all {
                commit
            } else {
                commit.min(progress.matched())
            };
            self.messages.push(Message {
                from: id,
                to: *to,
                term,
                body: MessageBody::Heartbeat {
                    commit: agreed,
                    read_sequence,
                },
            });
        }
    }
}
