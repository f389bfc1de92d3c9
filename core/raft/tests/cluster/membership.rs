//! Membership changes and leadership transfer.

use bytes::Bytes;
use veridical_raft::{
    ChangeKind, ChangeRefused, Config, LogIndex, Membership, MembershipChange, NodeId,
    ProposeError, Raft, Role, Term, TransferError,
};

use crate::harness::Cluster;

fn change(kind: ChangeKind, node: NodeId) -> MembershipChange {
    MembershipChange {
        kind,
        node,
        context: Bytes::new(),
    }
}

fn try_change(
    cluster: &mut Cluster,
    leader: NodeId,
    kind: ChangeKind,
    node: NodeId,
) -> Result<(Term, LogIndex), ProposeError> {
    cluster
        .act(leader, |raft| raft.propose_membership(change(kind, node)))
        .expect("safe")
}

fn join(cluster: &mut Cluster, node: NodeId) {
    cluster.add(Config::new(node), Membership::default());
}

#[test]
fn a_newcomer_learns_then_votes() {
    let mut cluster = Cluster::new(1, 1, |_| {});
    cluster.elect(1);
    join(&mut cluster, 2);
    try_change(&mut cluster, 1, ChangeKind::AddLearner, 2).expect("taken");
    cluster.settle().expect("safe");
    assert_eq!(cluster.raft(2).last_index(), cluster.raft(1).last_index());
    assert!(cluster.raft(2).membership().learners.contains(&2));
    try_change(&mut cluster, 1, ChangeKind::AddVoter, 2).expect("taken");
    cluster.settle().expect("safe");
    for id in 1..=2 {
        assert_eq!(
            cluster.raft(id).membership(),
            &Membership::of_voters([1, 2])
        );
    }
}

#[test]
fn a_newcomer_that_knows_no_bootstrap_members_starts_from_a_snapshot_and_never_campaigns_before() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    join(&mut cluster, 4);
    cluster.isolate(4);
    try_change(&mut cluster, 1, ChangeKind::AddVoter, 4).expect("taken");
    for _ in 0..100 {
        cluster.tick_all().expect("safe");
    }
    assert_eq!(
        (cluster.raft(4).term(), cluster.raft(4).role()),
        (0, Role::Follower)
    );
    cluster.heal();
    cluster.tick_all().expect("safe");
    cluster.tick_all().expect("safe");
    assert_eq!(cluster.raft(4).membership(), &Membership::of_voters(1..=4));
}

#[test]
fn learners_count_in_no_quorum_and_never_campaign() {
    let mut cluster = Cluster::new(2, 1, |_| {});
    cluster.elect(1);
    join(&mut cluster, 3);
    try_change(&mut cluster, 1, ChangeKind::AddLearner, 3).expect("taken");
    cluster.settle().expect("safe");
    cluster.isolate(2);
    let (_, index) = cluster.propose(1, "a");
    cluster.settle().expect("safe");
    assert_eq!(cluster.raft(3).last_index(), index);
    assert!(cluster.raft(1).commit_index() < index);
    for _ in 0..100 {
        cluster.act(3, Raft::tick).expect("safe");
    }
    assert_eq!(cluster.raft(3).role(), Role::Follower);
    assert_eq!(cluster.raft(3).leader(), None);
}

#[test]
fn changes_come_one_at_a_time_and_only_in_a_settled_term() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.act(1, Raft::campaign).expect("safe");
    while cluster.raft(1).role() != Role::Leader {
        let message = cluster.network.remove(0);
        cluster.deliver(message).expect("safe");
    }
    let refused = try_change(&mut cluster, 1, ChangeKind::AddLearner, 4);
    assert_eq!(refused, Err(ProposeError::TermNotCommitted));
    cluster.settle().expect("safe");
    let (_, index) = try_change(&mut cluster, 1, ChangeKind::AddLearner, 4).expect("taken");
    let refused = try_change(&mut cluster, 1, ChangeKind::AddLearner, 5);
    assert_eq!(
        refused,
        Err(ProposeError::MembershipChangePending { index })
    );
    cluster.settle().expect("safe");
    let refused = try_change(&mut cluster, 1, ChangeKind::Remove, 9);
    assert_eq!(refused, Err(ChangeRefused::UnknownNode(9).into()));
    assert!(try_change(&mut cluster, 1, ChangeKind::AddLearner, 5).is_ok());
}

#[test]
fn a_change_is_in_force_when_appended_and_rolled_back_when_overwritten() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    cluster.isolate(1);
    try_change(&mut cluster, 1, ChangeKind::AddVoter, 4).expect("taken");
    assert_eq!(cluster.raft(1).membership(), &Membership::of_voters(1..=4));
    for _ in 0..60 {
        cluster.tick_all().expect("safe");
    }
    assert_eq!(cluster.raft(1).membership(), &Membership::of_voters(1..=4));
    cluster.heal();
    for _ in 0..60 {
        cluster.tick_all().expect("safe");
    }
    assert_eq!(cluster.raft(1).membership(), &Membership::of_voters(1..=3));
}

#[test]
fn a_removed_leader_leads_until_its_removal_is_committed_and_leaves_an_heir() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    let (_, index) = try_change(&mut cluster, 1, ChangeKind::Remove, 1).expect("taken");
    assert_eq!(cluster.raft(1).role(), Role::Leader);
    cluster.settle().expect("safe");
    assert_eq!(cluster.raft(1).role(), Role::Follower);
    assert!(cluster.raft(1).commit_index() >= index);
    let heir = cluster.leader().expect("without waiting for a timeout");
    assert_ne!(heir, 1);
    for _ in 0..100 {
        cluster.tick_all().expect("safe");
    }
    assert_eq!(cluster.raft(1).role(), Role::Follower);
    assert_eq!(cluster.leader(), Some(heir));
}

#[test]
fn the_last_but_one_voter_can_remove_itself_after_a_crash() {
    // The removal reached nobody else, so only the removed member can complete it.
    let mut cluster = Cluster::new(2, 1, |_| {});
    cluster.elect(1);
    let (_, index) = try_change(&mut cluster, 1, ChangeKind::Remove, 1).expect("taken");
    cluster.network.clear();
    cluster.crash(1);
    cluster.restart(1).expect("safe");
    for _ in 0..200 {
        cluster.tick_all().expect("safe");
    }
    assert_eq!(cluster.leader(), Some(2));
    assert!(cluster.raft(2).commit_index() >= index);
    assert_eq!(cluster.raft(2).membership(), &Membership::of_voters([2]));
}

#[test]
fn a_removed_member_is_told_and_one_that_was_not_told_does_not_disturb() {
    for told in [true, false] {
        let mut cluster = Cluster::new(3, 1, |_| {});
        cluster.elect(1);
        if !told {
            cluster.isolate(3);
        }
        let (_, index) = try_change(&mut cluster, 1, ChangeKind::Remove, 3).expect("taken");
        cluster.settle().expect("safe");
        for _ in 0..60 {
            cluster.tick_all().expect("safe");
        }
        assert!(
            cluster.raft(1).progress(3).is_none(),
            "forgotten in the end"
        );
        assert_eq!(cluster.raft(3).commit_index() >= index, told);
        cluster.heal();
        let term = cluster.raft(1).term();
        for _ in 0..100 {
            cluster.tick_all().expect("safe");
        }
        assert_eq!((cluster.leader(), cluster.raft(1).term()), (Some(1), term));
    }
}

#[test]
fn a_removed_member_that_missed_the_news_is_told_as_long_as_it_listens() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    for _ in 1..cluster.raft(1).config().election_ticks {
        cluster.tick_all().expect("safe");
    }
    let (_, index) = try_change(&mut cluster, 1, ChangeKind::Remove, 3).expect("taken");
    cluster.cut.insert((1, 3));
    cluster.settle().expect("safe");
    assert_eq!(cluster.raft(1).commit_index(), index);
    cluster.heal();
    // The first of these ticks ends the leader's quorum interval.
    for _ in 0..3 {
        cluster.tick_all().expect("safe");
    }
    assert_eq!(cluster.raft(3).commit_index(), index);
}

#[test]
fn shrinking_the_quorum_commits_what_waited_for_it() {
    let mut cluster = Cluster::new(2, 1, |_| {});
    cluster.elect(1);
    cluster.isolate(2);
    cluster.propose(1, "a");
    let (_, index) = try_change(&mut cluster, 1, ChangeKind::Remove, 2).expect("taken");
    assert_eq!(cluster.raft(1).commit_index(), index);
}

#[test]
fn an_update_changes_no_quorum() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    try_change(&mut cluster, 1, ChangeKind::Update, 2).expect("taken");
    cluster.settle().expect("safe");
    assert_eq!(cluster.raft(1).membership(), &Membership::of_voters(1..=3));
}

#[test]
fn a_snapshot_names_the_membership_of_its_index() {
    let mut cluster = Cluster::new(1, 1, |_| {});
    cluster.elect(1);
    let (_, index) = try_change(&mut cluster, 1, ChangeKind::AddLearner, 2).expect("taken");
    let at = |index| {
        cluster
            .raft(1)
            .snapshot_meta_at(index)
            .map(|meta| meta.membership)
    };
    assert_eq!(at(index - 1), Some(Membership::of_voters([1])));
    assert_eq!(
        at(index).as_ref(),
        Some(cluster.raft(1).membership_at_applied())
    );
    assert_eq!(at(index + 1), None);
}

#[test]
fn leadership_moves_to_a_member_that_lags_without_a_timeout() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, "a");
    cluster.settle().expect("safe");
    cluster.heal();
    cluster
        .act(1, |raft| raft.transfer_leadership(3))
        .expect("safe")
        .expect("taken");
    assert_eq!(cluster.raft(1).transferee(), Some(3));
    let refused = cluster
        .act(1, |raft| raft.propose(Bytes::new()))
        .expect("safe");
    assert_eq!(refused, Err(ProposeError::Transferring { to: 3 }));
    cluster.act(1, Raft::tick).expect("safe");
    cluster.settle().expect("safe");
    assert_eq!(cluster.leader(), Some(3));
    assert_eq!(cluster.raft(1).role(), Role::Follower);
}

#[test]
fn a_transfer_that_gets_nowhere_ends_after_an_election_timeout() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    cluster.isolate(3);
    cluster
        .act(1, |raft| raft.transfer_leadership(3))
        .expect("safe")
        .expect("taken");
    for _ in 0..cluster.raft(1).config().election_ticks {
        cluster.tick_all().expect("safe");
    }
    assert_eq!(cluster.raft(1).transferee(), None);
    cluster.propose(1, "a");
}

#[test]
fn a_transfer_to_nobody_in_particular_is_refused() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    let mut to = |from: NodeId, to| {
        cluster
            .act(from, |raft| raft.transfer_leadership(to))
            .expect("safe")
    };
    assert_eq!(to(1, 9), Err(TransferError::NotAVoter { to: 9 }));
    assert_eq!(to(2, 3), Err(TransferError::NotLeader { leader: Some(1) }));
    assert_eq!(to(1, 1), Ok(()));
}
