//! A member that goes on alone when the majority of its cluster is lost for good (etcd:
//! `--force-new-cluster`).
//!
//! Nobody is asked, so this is for an operator to decide, and no safety of Raft's covers it:
//! the entries that this member has become committed, whether or not they were, and all other
//! members are removed by entries at the end of its log, of a term that only this member has
//! voted in. What the others had and this one had not is lost. The others must never be
//! started again with what is on their disks.

use prost::Message as _;
use tracing::warn;
use veridical_env::Disk;
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::reachable;
use veridical_proto::etcdserverpb::Member;
use veridical_raft::{
    ChangeKind, Entry, HardState, Initial, LogIndex, MembershipChange, NodeId, Payload, Term,
};
use veridical_storage::wal::{self, Wal, WalRecord};

use crate::assembly::error::StartError;
use crate::codec::entry_to_log;
use crate::membership::directory::Directory;

/// Makes the member the only one of its cluster, durably. `directory` is as of the applied
/// entry of `initial`, which is as the disk had it. A member that is alone is left as it is.
///
/// # Errors
/// It was removed from its cluster, or the log cannot be written.
pub(crate) async fn go_on_alone<D: Disk>(
    wal: &mut Wal<D>,
    member_id: NodeId,
    directory: &Directory,
    initial: &mut Initial,
    planted: Planted,
) -> Result<(), StartError> {
    let mut directory = directory.clone();
    for entry in &initial.entries {
        if let Payload::Membership(change) = &entry.payload
            && entry.index > initial.applied
        {
            directory.apply(change);
        }
    }
    let mut changes = changes_to_one(member_id, &directory)?;
    if planted.has(PlantedBug::ForcedKeepsAMember) {
        changes.pop();
    }
    if changes.is_empty() {
        return Ok(());
    }
    reachable!("node.went-on-alone", rare: "nobody gives a majority up; the scenario forced-cluster comes by");
    let (last_term, last_index) = end_of(initial);
    let term = initial.hard_state.term.max(last_term) + 1;
    let entries = changes
        .into_iter()
        .zip(last_index + 1..)
        .map(|(change, index)| Entry {
            term,
            index,
            payload: Payload::Membership(change),
        });
    let entries: Vec<Entry> = entries.collect();
    let commit = last_index + entries.len() as u64;
    warn!(
        removed = entries.len(),
        assumed_committed = last_index.saturating_sub(initial.hard_state.commit),
        term,
        "goes on without the other members; they must never be started again"
    );
    let mut records: Vec<WalRecord> = entries
        .iter()
        .map(|entry| WalRecord::Entry(entry_to_log(entry)))
        .collect();
    // Behind the entries: a commit index beyond the log is refused at the next start.
    records.push(WalRecord::HardState(wal::HardState {
        term,
        vote: member_id,
        commit,
    }));
    wal.append(&records).await?;
    wal.sync().await?;
    initial.entries.extend(entries);
    initial.hard_state = HardState {
        term,
        vote: Some(member_id),
        commit,
    };
    Ok(())
}

/// The term and the index of the last entry.
fn end_of(initial: &Initial) -> (Term, LogIndex) {
    let base = (initial.snapshot.term, initial.snapshot.index);
    initial
        .entries
        .last()
        .map_or(base, |entry| (entry.term, entry.index))
}

/// What leaves nobody but this member: it votes, and the others go, one by one.
fn changes_to_one(
    member_id: NodeId,
    directory: &Directory,
) -> Result<Vec<MembershipChange>, StartError> {
    let change = |kind, node, member: &Member| MembershipChange {
        kind,
        node,
        context: member.encode_to_vec().into(),
    };
    let own = directory
        .get(member_id)
        .ok_or(StartError::NoMember { member_id })?;
    let mut changes = Vec::new();
    if own.is_learner {
        changes.push(change(ChangeKind::AddVoter, member_id, own));
    }
    for (node, member) in directory.iter().filter(|(node, _)| *node != member_id) {
        changes.push(change(ChangeKind::Remove, node, member));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(learners: &[u64]) -> Directory {
        let member = |id| Member {
            id,
            is_learner: learners.contains(&id),
            ..Member::default()
        };
        Directory::new([1, 2, 3].into_iter().map(|id| (id, member(id))).collect())
    }

    fn kinds(member_id: u64, learners: &[u64]) -> Vec<(ChangeKind, u64)> {
        let changes = changes_to_one(member_id, &directory(learners)).expect("it is a member");
        let mut after = directory(learners).membership();
        for change in &changes {
            assert_eq!(after.check(change), Ok(()));
            after = after.after(change);
        }
        assert_eq!(after.voters, [member_id].into());
        assert!(after.learners.is_empty());
        let kinds = changes.iter().map(|change| (change.kind, change.node));
        kinds.collect()
    }

    #[test]
    fn all_others_are_removed_one_by_one() {
        let removed = |node| (ChangeKind::Remove, node);
        assert_eq!(kinds(2, &[]), [removed(1), removed(3)]);
    }

    #[test]
    fn a_learner_votes_before_the_others_go() {
        assert_eq!(kinds(3, &[3])[0], (ChangeKind::AddVoter, 3));
    }

    #[test]
    fn whoever_was_removed_does_not_go_on() {
        assert!(matches!(
            changes_to_one(4, &directory(&[])),
            Err(StartError::NoMember { member_id: 4 })
        ));
    }
}
