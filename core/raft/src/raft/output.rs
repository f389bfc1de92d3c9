//! Effects for the owner.

use veridical_planted::PlantedBug;
use veridical_probe::{queue, sometimes};

use super::Raft;
use crate::entry::{HardState, LogIndex};
use crate::ready::{Ready, Role, SoftState};

impl Raft {
    /// Whether [`Raft::ready`] has something.
    pub fn has_ready(&self) -> bool {
        if self.persistence.outstanding() >= self.config.max_outstanding_readys {
            return false;
        }
        let to_persist = self.log.has_unhanded()
            || self.install_snapshot.is_some()
            || self.hard_state() != self.handed_hard_state;
        let to_send = !self.messages.is_empty()
            || !self.persisted_messages.is_empty()
            || !self.snapshots_to_send.is_empty();
        let to_tell = !self.read_states.is_empty()
            || self.soft_state() != self.handed_soft_state
            || self.may_apply() > self.handed_for_apply;
        let to_make = self.role == Role::Leader
            && (self.heartbeat_due || self.can_start_reads() || self.has_appends());
        to_persist || to_send || to_tell || to_make
    }

    /// The effects since the last Ready, if there are any and fewer than
    /// [`Config::max_outstanding_readys`](crate::Config) are under way.
    pub fn ready(&mut self) -> Option<Ready> {
        if !self.has_ready() {
            return None;
        }
        if self.role == Role::Leader {
            if self.can_start_reads() {
                self.start_reads();
            }
            sometimes!(
                self.reads.has_waiting(),
                "raft.read-waited-for-a-new-leader-to-commit"
            );
            if self.heartbeat_due {
                self.flush_heartbeats();
            }
            self.flush_appends();
        }
        let install_snapshot = self.install_snapshot.take();
        assert!(
            install_snapshot
                .as_ref()
                .is_none_or(|meta| meta.index <= self.log.base_index()),
            "the log that is handed out begins behind the snapshot"
        );
        let entries = self.log.take_unhanded();
        let hard_state = self.take_hard_state();
        let vote_changed = hard_state.is_some_and(|(_, vote_changed)| vote_changed);
        let must_sync = !entries.is_empty() || install_snapshot.is_some() || vote_changed;
        let hard_state = hard_state.map(|(hard_state, _)| hard_state);
        let number = self.persistence.issue(
            entries
                .last()
                .map(|last| last.index)
                .or(install_snapshot.as_ref().map(|meta| meta.index)),
            hard_state.map(|state| (state.term, state.vote)),
        );
        queue!(
            "raft.outstanding-readys",
            self.persistence.outstanding(),
            self.config.max_outstanding_readys
        );
        let (committed, _) = self.log.batch(
            self.handed_for_apply + 1..self.may_apply() + 1,
            self.config.max_committed_bytes,
        );
        if let (Some(first), Some(last)) = (committed.first(), committed.last()) {
            assert!(
                first.index == self.handed_for_apply + 1,
                "entries are applied without a gap"
            );
            assert!(
                last.index <= self.commit && last.index <= self.persisted_index(),
                "only what is committed and durable is applied"
            );
            self.handed_for_apply = last.index;
        }
        let soft_state = self.soft_state();
        let soft_state_changed = soft_state != self.handed_soft_state;
        self.handed_soft_state = soft_state;
        Some(Ready {
            number,
            install_snapshot,
            hard_state,
            entries,
            must_sync,
            messages: std::mem::take(&mut self.messages),
            persisted_messages: std::mem::take(&mut self.persisted_messages),
            committed,
            read_states: std::mem::take(&mut self.read_states),
            snapshots_to_send: std::mem::take(&mut self.snapshots_to_send),
            soft_state: soft_state_changed.then_some(soft_state),
        })
    }

    /// The end of what may be applied: committed, and durable here, so that a restarted
    /// member never finds its state machine ahead of its log.
    fn may_apply(&self) -> LogIndex {
        self.commit.min(self.persisted_index())
    }

    /// What the owner shall persist. Its commit index stays within what is durable
    /// already; whoever finds the log ending before it knows that entries were lost.
    fn hard_state(&self) -> HardState {
        let forgets_grants = self.config.planted.has(PlantedBug::VoteNotPersisted);
        HardState {
            term: self.term,
            vote: self
                .vote
                .filter(|vote| !forgets_grants || *vote == self.config.id),
            commit: self.may_apply(),
        }
    }

    /// The hard state, if it changed, and whether its term or vote did.
    fn take_hard_state(&mut self) -> Option<(HardState, bool)> {
        let new = self.hard_state();
        let old = std::mem::replace(&mut self.handed_hard_state, new);
        // The exception shows to those who watch the cluster.
        let goes_back = self.config.planted.has(PlantedBug::SnapshotGoesBack);
        assert!(
            new.term >= old.term && (new.commit >= old.commit || goes_back),
            "what is written down never goes back: {new:?} after {old:?}"
        );
        let vote_changed = (old.term, old.vote) != (new.term, new.vote);
        (old != new).then_some((new, vote_changed))
    }

    fn soft_state(&self) -> SoftState {
        SoftState {
            role: self.role,
            leader: self.leader,
        }
    }
}
