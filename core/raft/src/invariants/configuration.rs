//! The configuration in force is that of the log: the one at its beginning, and after it
//! every change that the log has, committed or not (thesis, section 4.1).

use std::collections::VecDeque;

use super::InvariantViolation;
use super::member::MemberState;
use crate::entry::{ChangeKind, Entry, LogIndex, MembershipChange, NodeId, Payload, Term};
use crate::membership::Membership;
use crate::ready::Ready;

/// The most changes that are kept apart from what came before them.
const CHANGES_MAX: usize = 64;

/// The configurations of one member's log, worked out anew from its entries.
#[derive(Clone, Debug)]
pub(super) struct Configurations {
    base_index: LogIndex,
    base: Membership,
    /// In the order of the log.
    changes: VecDeque<(LogIndex, Membership)>,
}

impl Configurations {
    /// The configurations of a log that begins behind `base_index`.
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

    /// The configuration as of `index`; `None` if it is too long ago.
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

    /// The leader in this state appends these entries: it changes the configuration only when
    /// the change before is committed (thesis, section 4.1), and an entry of its own term, too
    /// (the correction of that section): else one that it does not know may become committed
    /// by another majority. `committed_term` is the term of the last committed entry.
    ///
    /// # Errors
    /// `configuration-changes-overlap`, `configuration-changed-too-early`.
    pub(super) fn check_one_at_a_time(
        &self,
        leader: &MemberState,
        committed_term: Option<Term>,
        ready: &Ready,
    ) -> Result<(), InvariantViolation> {
        let mut previous = self.changes.back().map_or(0, |(index, _)| *index);
        for entry in &ready.entries {
            if !matches!(entry.payload, Payload::Membership(_)) {
                continue;
            }
            if committed_term.is_some_and(|term| term < leader.term) {
                return InvariantViolation::new(
                    "configuration-changed-too-early",
                    format!(
                        "member {} changes the configuration at entry {}, and has committed no \
                         entry of its term {}",
                        leader.member, entry.index, leader.term
                    ),
                );
            }
            if previous > leader.commit {
                return InvariantViolation::new(
                    "configuration-changes-overlap",
                    format!(
                        "member {} changes the configuration at entry {}, and the change at \
                         {previous} is not committed",
                        leader.member, entry.index
                    ),
                );
            }
            previous = entry.index;
        }
        Ok(())
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

    /// Raft at `member` counts majorities in `in_force`.
    ///
    /// # Errors
    /// Its log says otherwise.
    pub(super) fn check_in_force(
        &self,
        member: NodeId,
        in_force: &Membership,
    ) -> Result<(), InvariantViolation> {
        let of_log = self.latest();
        if in_force == of_log {
            return Ok(());
        }
        InvariantViolation::new(
            "configuration-differs",
            format!(
                "member {member} counts {}, and by its log these are {}",
                describe(in_force),
                describe(of_log)
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
    ) -> Result<(), InvariantViolation> {
        match self.at(index) {
            Some(of_log) if of_log != applied => InvariantViolation::new(
                "configuration-differs",
                format!(
                    "as of entry {index} member {member} tells of {}, and by its log these are {}",
                    describe(applied),
                    describe(of_log)
                ),
            ),
            _ => Ok(()),
        }
    }
}

/// Two configurations that follow each other have a majority in common if no more than one
/// voter differs (thesis, section 4.1).
///
/// # Errors
/// `configuration-jumps`: more voters differ.
pub fn check_single_step(
    before: &Membership,
    after: &Membership,
) -> Result<(), InvariantViolation> {
    let changed = before.voters.symmetric_difference(&after.voters).count();
    if changed <= 1 {
        return Ok(());
    }
    InvariantViolation::new(
        "configuration-jumps",
        format!("{} are followed by {}", describe(before), describe(after)),
    )
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

fn describe(membership: &Membership) -> String {
    format!(
        "the voters {:x?} and the learners {:x?}",
        membership.voters, membership.learners
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ready::Role;

    fn changes(index: LogIndex) -> Entry {
        Entry {
            term: 1,
            index,
            payload: Payload::Membership(MembershipChange {
                kind: ChangeKind::AddLearner,
                node: index,
                context: Bytes::new(),
            }),
        }
    }

    #[test]
    fn a_configuration_that_changes_by_two_voters_is_found() {
        let three = Membership::of_voters([1, 2, 3]);
        for voters in [&[1, 2][..], &[1, 2, 3], &[1, 2, 3, 4]] {
            let next = Membership::of_voters(voters.iter().copied());
            check_single_step(&three, &next).expect("one voter at most");
        }
        for voters in [&[1][..], &[1, 2, 4], &[1, 2, 3, 4, 5]] {
            let next = Membership::of_voters(voters.iter().copied());
            let violation = check_single_step(&three, &next).expect_err("two voters");
            assert_eq!(violation.signature, "configuration-jumps");
        }
    }

    #[test]
    fn a_leader_that_changes_the_configuration_twice_at_once_or_too_early_is_found() {
        let configurations = Configurations::begin(0, Membership::of_voters([1, 2, 3]));
        let check_as_of = |commit, committed_term, entries| {
            let leader = MemberState {
                member: 1,
                term: 1,
                vote: Some(1),
                role: Role::Leader,
                leader: Some(1),
                base_index: 0,
                applied: 0,
                commit,
                persisted: 9,
                last_index: 9,
                last_term: 1,
            };
            let ready = Ready {
                entries,
                ..Ready::default()
            };
            configurations.check_one_at_a_time(&leader, committed_term, &ready)
        };
        let check = |commit, entries| check_as_of(commit, Some(1), entries);
        check(0, vec![changes(7)]).expect("only one");
        check(7, vec![changes(7), changes(8)]).expect("the first one is committed");
        let violation = check(6, vec![changes(7), changes(8)]).expect_err("both are not");
        assert_eq!(violation.signature, "configuration-changes-overlap");
        let violation = check_as_of(0, Some(0), vec![changes(7)]).expect_err("not yet");
        assert_eq!(violation.signature, "configuration-changed-too-early");
    }
}
