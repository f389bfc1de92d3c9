//! The configuration in force is that of the log: the one at its beginning, and after it
//! every change that the log has, committed or not (thesis, section 4.1).

use std::collections::VecDeque;
use veridical_raft::{
    ChangeKind, Entry, LogIndex, Membership, MembershipChange, NodeId, Payload, Ready,
};

use crate::properties::Broken;

/// Changes that are kept apart from what came before them.
const CHANGES_MAX: usize = 64;

/// The configurations of one member's log, worked out anew from its entries.
pub(super) struct Configurations {
    base_index: LogIndex,
    base: Membership,
    /// In the order of the log.
    changes: VecDeque<(LogIndex, Membership)>,
}

impl Configurations {
    /// Of a log that begins behind `base_index`.
    pub(super) fn begin(base_index: LogIndex, base: Membership) -> Self {
        Self {
            base_index,
            base,
            changes: VecDeque::new(),
        }
    }

    /// The configuration in force.
    pub(super) fn latest(&self) -> &Membership {
        self.changes.back().map_or(&self.base, |(_, last)| last)
    }

    /// As of `index`; `None` if it is too long ago.
    fn at(&self, index: LogIndex) -> Option<&Membership> {
        let last = self.changes.iter().rev().find(|(at, _)| *at <= index);
        match last {
            Some((_, membership)) => Some(membership),
            None => (index >= self.base_index).then_some(&self.base),
        }
    }

    /// The log has another entry.
    pub(super) fn append(&mut self, entry: &Entry) {
        let Payload::Membership(change) = &entry.payload else {
            return;
        };
        let next = after(self.latest(), change);
        self.changes.push_back((entry.index, next));
        if self.changes.len() > CHANGES_MAX
            && let Some((index, membership)) = self.changes.pop_front()
        {
            (self.base_index, self.base) = (index, membership);
        }
    }

    /// The log was handed out anew: behind a snapshot, or from its first new entry on.
    pub(super) fn hand_out(&mut self, ready: &Ready, kept: LogIndex) {
        if let Some(meta) = &ready.install_snapshot {
            *self = Self::begin(meta.index, meta.membership.clone());
        }
        while self.changes.pop_back_if(|(at, _)| *at > kept).is_some() {}
        for entry in &ready.entries {
            self.append(entry);
        }
    }

    /// Raft at `member` goes by `in_force`.
    ///
    /// # Errors
    /// Its log says otherwise.
    pub(super) fn check_in_force(
        &self,
        member: NodeId,
        in_force: &Membership,
    ) -> Result<(), Broken> {
        let of_log = self.latest();
        if in_force == of_log {
            return Ok(());
        }
        Broken::new(
            "configuration-differs",
            format!(
                "member {member} counts {}, and by its log these are {}",
                tell(in_force),
                tell(of_log)
            ),
        )
    }

    /// At `member` the applied members are `applied` as of `index`.
    ///
    /// # Errors
    /// Its log says otherwise.
    pub(super) fn check_applied(
        &self,
        member: NodeId,
        index: LogIndex,
        applied: &Membership,
    ) -> Result<(), Broken> {
        match self.at(index) {
            Some(of_log) if of_log != applied => Broken::new(
                "configuration-differs",
                format!(
                    "as of entry {index} member {member} tells of {}, and by its log these are {}",
                    tell(applied),
                    tell(of_log)
                ),
            ),
            _ => Ok(()),
        }
    }
}

/// What a change makes of a membership; one that makes no sense changes nothing.
fn after(before: &Membership, change: &MembershipChange) -> Membership {
    let mut next = before.clone();
    let node = change.node;
    match change.kind {
        ChangeKind::AddVoter => {
            next.learners.remove(&node);
            next.voters.insert(node);
        }
        ChangeKind::AddLearner if !before.voters.contains(&node) => {
            next.learners.insert(node);
        }
        // Nobody could ever change anything again.
        ChangeKind::Remove if before.voters.len() == 1 && before.voters.contains(&node) => {}
        ChangeKind::Remove => {
            next.voters.remove(&node);
            next.learners.remove(&node);
        }
        ChangeKind::AddLearner | ChangeKind::Update => {}
    }
    next
}

fn tell(membership: &Membership) -> String {
    format!(
        "the voters {:x?} and the learners {:x?}",
        membership.voters, membership.learners
    )
}
