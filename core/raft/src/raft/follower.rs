//! The receiver's side of replication: paper section 5.3, snapshots, reads.

use veridical_planted::PlantedBug;
use veridical_probe::{reachable, sometimes};

use super::Raft;
use crate::entry::{Entry, LogIndex, MAX_INDEX, MAX_TERM, NodeId, Term};
use crate::error::StepError;
use crate::membership::MembershipHistory;
use crate::message::{AppendOutcome, Message, MessageBody};
use crate::ready::{ReadState, Role};
use crate::snapshot::SnapshotMeta;

impl Raft {
    /// AppendEntries (paper figure 2), from the leader of the present term.
    pub(super) fn append_from_leader(
        &mut self,
        leader: NodeId,
        mut previous_index: LogIndex,
        previous_term: Term,
        mut entries: Vec<Entry>,
        leader_commit: LogIndex,
    ) -> Result<(), StepError> {
        if self.has_yet_to_join() {
            self.answer_append(leader, AppendOutcome::SnapshotNeeded);
            return Ok(());
        }
        let base = self.log.base_index();
        if previous_index < base {
            // What lies before the base is committed, so the leader has it alike.
            let known = (base - previous_index).min(entries.len() as u64);
            entries.drain(..known as usize);
            previous_index += known;
            reachable!("raft.append-began-below-the-log");
            if previous_index < base {
                reachable!("raft.append-ended-below-the-log");
                let index = self.commit;
                self.answer_append(leader, AppendOutcome::Accepted { index });
                return Ok(());
            }
        } else if !self.log.matches(previous_index, previous_term) {
            let end = previous_index.min(self.log.last_index());
            let hint_index = self.log.last_index_of_term_at_most(end, previous_term);
            let hint_term = self.log.term_at(hint_index).unwrap_or(0);
            self.answer_append(
                leader,
                AppendOutcome::Rejected {
                    previous_index,
                    hint_index,
                    hint_term,
                },
            );
            return Ok(());
        }
        let last_new = previous_index + entries.len() as u64;
        let truncates = self.config.planted.has(PlantedBug::TruncateAgreeingLog);
        let new = entries.iter().position(|entry| {
            !self.log.matches(entry.index, entry.term) || (truncates && entry.index > self.commit)
        });
        sometimes!(
            new.is_none() && last_new < self.log.last_index() && !entries.is_empty(),
            "raft.late-append-left-newer-entries-alone"
        );
        if let Some(new) = new {
            self.overwrite(entries.split_off(new))?;
        }
        sometimes!(
            leader_commit > last_new && self.log.last_index() > last_new,
            "raft.commit-known-beyond-what-agrees"
        );
        assert!(
            self.role == Role::Follower && self.leader == Some(leader),
            "only a follower takes entries, and only from its leader"
        );
        assert!(
            last_new <= self.log.last_index(),
            "what was appended is in the log"
        );
        self.commit = self.commit.max(leader_commit.min(last_new));
        if leader_commit > 0 && leader_commit <= last_new {
            // Whatever this member had acknowledged, and was committed, it has again.
            self.blank_ticks = 0;
        }
        self.answer_append(leader, AppendOutcome::Accepted { index: last_new });
        Ok(())
    }

    /// Appends `entries`, after removing whatever the log has in their place.
    fn overwrite(&mut self, entries: Vec<Entry>) -> Result<(), StepError> {
        let Some(first) = entries.first().map(|entry| entry.index) else {
            return Ok(());
        };
        let falls = self.log.term_at(first - 1) > entries.first().map(|entry| entry.term);
        if first <= self.commit || falls {
            return Err(StepError::ConflictsWithCommitted { index: first });
        }
        if first <= self.log.last_index() {
            sometimes!(
                first <= self.persisted_index(),
                "raft.durable-entries-overwritten"
            );
            sometimes!(
                self.memberships.last_change_index() >= first,
                "raft.membership-change-rolled-back"
            );
            self.log.truncate_from(first);
            self.memberships.truncate_from(first);
            self.persistence.truncate_to(first - 1);
        }
        for entry in entries {
            self.append_entry(entry);
        }
        Ok(())
    }

    /// Whether this member started without any membership and has not received a
    /// snapshot: the log alone does not name the bootstrap members.
    fn has_yet_to_join(&self) -> bool {
        self.log.last_index() == 0 && self.memberships.base().is_empty()
    }

    fn answer_append(&mut self, leader: NodeId, outcome: AppendOutcome) {
        let response = MessageBody::AppendResponse { outcome };
        match outcome {
            AppendOutcome::Accepted { index } => {
                // One acknowledgement a Ready is enough.
                if let Some(Message {
                    to,
                    term,
                    body:
                        MessageBody::AppendResponse {
                            outcome: AppendOutcome::Accepted { index: earlier },
                        },
                    ..
                }) = self.persisted_messages.last_mut()
                    && (*to, *term) == (leader, self.term)
                {
                    reachable!("raft.acknowledgements-joined");
                    *earlier = index.max(*earlier);
                } else {
                    self.send_when_persisted(leader, response);
                }
            }
            AppendOutcome::Rejected { .. } | AppendOutcome::SnapshotNeeded => {
                self.send(leader, response);
            }
        }
    }

    /// A heartbeat from the leader of the present term. The answer need not wait for
    /// the disk: it says only that this member has not moved to a later term yet.
    pub(super) fn handle_heartbeat(
        &mut self,
        leader: NodeId,
        commit: LogIndex,
        read_sequence: u64,
    ) -> Result<(), StepError> {
        // A leader names no commit index beyond what this member acknowledged.
        if commit > self.log.last_index() {
            return Err(StepError::AcknowledgedEntriesLost {
                commit,
                last_index: self.log.last_index(),
            });
        }
        self.commit = self.commit.max(commit);
        self.send(leader, MessageBody::HeartbeatResponse { read_sequence });
        Ok(())
    }

    /// See [`Raft::offer_snapshot`].
    pub(super) fn consider_snapshot(
        &mut self,
        from: NodeId,
        term: Term,
        meta: SnapshotMeta,
    ) -> bool {
        let impossible = from == self.config.id
            || from == 0
            || term == 0
            || term > MAX_TERM
            || meta.term > term
            || meta.index > MAX_INDEX
            || meta.index == 0
            || meta.membership.voters.is_empty();
        let second_leader = term == self.term
            && (self.role == Role::Leader || self.leader.is_some_and(|leader| leader != from));
        if impossible || term < self.term || second_leader {
            return false;
        }
        self.become_follower(term, Some(from));
        self.reset_election_timer();
        let index = meta.index;
        let has_it_all = index <= self.commit || self.log.matches(index, meta.term);
        if has_it_all && !self.config.planted.has(PlantedBug::SnapshotGoesBack) {
            reachable!("raft.snapshot-came-that-was-not-needed");
            // The log has it all already (paper section 7); the leader just learns so.
            self.commit = self.commit.max(index);
            let index = self.commit;
            self.answer_append(from, AppendOutcome::Accepted { index });
            return false;
        }
        sometimes!(
            self.log.last_index() > self.commit,
            "raft.snapshot-replaced-a-log-with-a-tail"
        );
        self.persistence.truncate_to(self.commit);
        self.log.reset(index, meta.term);
        self.memberships = MembershipHistory::new(meta.membership.clone());
        self.commit = index;
        self.handed_for_apply = index;
        assert!(
            self.log.last_index() == index && (self.persisted_index() <= index || has_it_all),
            "a snapshot takes the place of the whole log"
        );
        self.install_snapshot = Some(meta);
        self.answer_append(from, AppendOutcome::Accepted { index });
        true
    }

    /// The leader's answer to a forwarded read.
    pub(super) fn handle_read_index_response(
        &mut self,
        from: NodeId,
        ticket: u64,
        index: Option<LogIndex>,
    ) {
        if self.leader != Some(from) {
            return;
        }
        if let Some(context) = self.forwarded_reads.take(ticket)
            && let Some(index) = index
        {
            self.read_states.push(ReadState { context, index });
        }
    }
}
