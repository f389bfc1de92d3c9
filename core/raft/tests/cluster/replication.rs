//! Replication, flow control, durability and compaction.

use bytes::Bytes;
use veridical_raft::{
    AppendOutcome, CompactError, Config, ConfigError, Entry, HardState, Initial, Membership,
    Message, MessageBody, Payload, ProgressState, ProposeError, Raft, Role, SnapshotMeta,
    StepError,
};

use crate::harness::Cluster;

fn entry(index: u64, term: u64) -> Entry {
    Entry {
        term,
        index,
        payload: Payload::Noop,
    }
}

fn append(term: u64, from: u64, previous: (u64, u64), entries: Vec<Entry>, commit: u64) -> Message {
    Message {
        from,
        to: 1,
        term,
        body: MessageBody::Append {
            previous_index: previous.0,
            previous_term: previous.1,
            entries,
            commit,
        },
    }
}

#[test]
fn a_command_reaches_every_state_machine_once() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    let (term, index) = cluster.propose(1, "a");
    cluster.settle().expect("safe");
    for id in 1..=3 {
        let applied = &cluster.member(id).applied;
        let found: Vec<_> = applied
            .iter()
            .filter(|entry| entry.index == index)
            .collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].term, term);
        assert_eq!(found[0].payload, Payload::Command(Bytes::from_static(b"a")));
    }
}

#[test]
fn proposals_between_two_readys_share_one_append() {
    let mut cluster = Cluster::new(2, 1, |_| {});
    cluster.elect(1);
    cluster
        .act(1, |raft| {
            for _ in 0..10 {
                raft.propose(Bytes::new()).expect("accepted");
            }
        })
        .expect("safe");
    assert_eq!(cluster.network.len(), 1);
    let MessageBody::Append { entries, .. } = &cluster.network[0].body else {
        panic!("an append");
    };
    assert_eq!(entries.len(), 10);
}

#[test]
fn the_window_of_appends_and_of_bytes_is_never_exceeded_and_reopens() {
    for (appends, bytes) in [(3, usize::MAX), (usize::MAX, 100)] {
        let mut cluster = Cluster::new(2, 1, |config| {
            config.max_append_bytes = 1;
            config.max_inflight_appends = appends;
            config.max_inflight_bytes = bytes;
        });
        cluster.elect(1);
        for _ in 0..20 {
            cluster.propose(1, "");
        }
        let progress = cluster.raft(1).progress(2).expect("a member");
        assert!(progress.inflight_appends() <= 4, "{progress:?}");
        assert!(cluster.network.len() <= 4);
        cluster.settle().expect("safe");
        assert_eq!(cluster.raft(2).last_index(), cluster.raft(1).last_index());
        assert_eq!(
            cluster.raft(1).progress(2).map(|p| p.inflight_bytes()),
            Some(0)
        );
    }
}

#[test]
fn a_full_window_whose_appends_were_lost_reopens_after_a_heartbeat() {
    for (appends, bytes) in [(3, usize::MAX), (usize::MAX, 100)] {
        let mut cluster = Cluster::new(2, 1, |config| {
            config.max_append_bytes = 1;
            config.max_inflight_appends = appends;
            config.max_inflight_bytes = bytes;
        });
        cluster.elect(1);
        for _ in 0..20 {
            cluster.propose(1, "");
        }
        cluster.network.clear();
        for _ in 0..3 {
            cluster.tick_all().expect("safe");
        }
        assert_eq!(cluster.raft(2).last_index(), cluster.raft(1).last_index());
    }
}

#[test]
fn uncommitted_bytes_are_limited_and_freed_by_commitment() {
    let mut cluster = Cluster::new(3, 1, |config| config.max_uncommitted_bytes = 100);
    cluster.elect(1);
    assert_eq!(cluster.raft(1).uncommitted_bytes(), 0);
    let big = Bytes::from(vec![0; 1000]);
    let try_it = |cluster: &mut Cluster| {
        let big = big.clone();
        cluster.act(1, |raft| raft.propose(big)).expect("safe")
    };
    assert!(try_it(&mut cluster).is_ok(), "one is always admitted");
    assert_eq!(
        try_it(&mut cluster),
        Err(ProposeError::Overloaded {
            uncommitted_bytes: 1032
        })
    );
    cluster.settle().expect("safe");
    assert_eq!(cluster.raft(1).uncommitted_bytes(), 0);
    assert!(try_it(&mut cluster).is_ok());
}

#[test]
fn only_a_leader_takes_proposals_and_others_say_who_leads() {
    let mut cluster = Cluster::new(2, 1, |_| {});
    cluster.elect(1);
    let refused = cluster
        .act(2, |raft| raft.propose(Bytes::new()))
        .expect("safe");
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(1) }));
}

#[test]
fn a_leader_commits_without_its_own_disk_but_counts_itself_only_when_durable() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    cluster.synchronous = false;
    cluster.isolate(3);
    let (_, index) = cluster.propose(1, "a");
    for message in std::mem::take(&mut cluster.network) {
        cluster.deliver(message).expect("safe");
    }
    cluster.persist(2, usize::MAX).expect("safe");
    cluster.settle().expect("safe");
    assert_eq!(cluster.raft(1).commit_index(), index - 1);
    cluster.persist(1, usize::MAX).expect("safe");
    assert_eq!(cluster.raft(1).commit_index(), index);

    cluster.heal();
    let (_, index) = cluster.propose(1, "b");
    for _ in 0..3 {
        cluster.settle().expect("safe");
        cluster.persist(2, usize::MAX).expect("safe");
        cluster.persist(3, usize::MAX).expect("safe");
    }
    let leader = cluster.raft(1);
    assert_eq!(leader.commit_index(), index);
    assert_eq!(leader.persisted_index(), index - 1);
    let applied = &cluster.member(1).applied;
    assert_eq!(applied.last().map(|entry| entry.index), Some(index - 1));
}

#[test]
fn acknowledgements_wait_for_the_disk() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.synchronous = false;
    let message = append(1, 2, (0, 0), vec![entry(1, 1)], 0);
    cluster.deliver(message).expect("safe");
    assert_eq!(cluster.network, vec![]);
    cluster.persist(1, usize::MAX).expect("safe");
    let outcome = AppendOutcome::Accepted { index: 1 };
    assert_eq!(
        cluster.network[0].body,
        MessageBody::AppendResponse { outcome }
    );
}

#[test]
fn an_overwritten_suffix_is_not_taken_for_durable() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.synchronous = false;
    let old = append(1, 2, (0, 0), vec![entry(1, 1), entry(2, 1), entry(3, 1)], 0);
    cluster.deliver(old).expect("safe");
    let new = append(2, 3, (1, 1), vec![entry(2, 2)], 0);
    cluster.deliver(new).expect("safe");
    cluster.persist(1, 1).expect("safe");
    assert_eq!(cluster.raft(1).persisted_index(), 1);
    cluster.persist(1, 1).expect("safe");
    assert_eq!(cluster.raft(1).persisted_index(), 2);
    assert_eq!(
        cluster.member(1).disk.entries,
        vec![entry(1, 1), entry(2, 2)]
    );
}

#[test]
fn a_diverged_log_is_repaired_term_by_term() {
    let mut cluster = Cluster::new(2, 1, |_| {});
    cluster.elect(2);
    let mut term = 1;
    // Member 1 gathers entries of terms that never committed.
    let member = cluster.members.get_mut(&1).expect("exists");
    for index in 2..200 {
        term = 2 + index / 50;
        member.disk.entries.push(entry(index, term));
    }
    member.disk.hard_state.term = term;
    cluster.crash(1);
    cluster.restart(1).expect("safe");
    for index in 2..100 {
        assert_eq!(cluster.propose(2, "x").1, index);
    }
    cluster.network.clear();
    let member = cluster.members.get_mut(&2).expect("exists");
    member.disk.hard_state.term = term + 1;
    member.disk.entries.push(entry(100, term + 1));
    cluster.crash(2);
    cluster.restart(2).expect("safe");
    cluster.act(2, Raft::campaign).expect("safe");
    let mut rejections = 0;
    while let Some(message) = (!cluster.network.is_empty()).then(|| cluster.network.remove(0)) {
        let is_rejection = matches!(
            message.body,
            MessageBody::AppendResponse {
                outcome: AppendOutcome::Rejected { .. }
            }
        );
        rejections += u32::from(is_rejection);
        cluster.deliver(message).expect("safe");
    }
    assert_eq!(cluster.raft(1).last_index(), cluster.raft(2).last_index());
    assert!((1..=3).contains(&rejections), "{rejections} round trips");
}

#[test]
fn a_follower_commits_only_what_is_known_to_match() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    let old = append(1, 2, (0, 0), vec![entry(1, 1), entry(2, 1)], 0);
    cluster.deliver(old).expect("safe");
    // The later leader committed another entry at index 2 and does not say which yet.
    cluster
        .deliver(append(2, 3, (1, 1), vec![], 2))
        .expect("safe");
    assert_eq!(cluster.raft(1).commit_index(), 1);
}

#[test]
fn a_leader_claiming_a_contradiction_to_committed_entries_is_refused() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    let good = append(1, 2, (0, 0), vec![entry(1, 1), entry(2, 1)], 2);
    cluster.deliver(good).expect("safe");
    let bad = append(2, 3, (1, 1), vec![entry(2, 2)], 2);
    let outcome = cluster.act(1, |raft| raft.step(bad)).expect("safe");
    assert_eq!(outcome, Err(StepError::ConflictsWithCommitted { index: 2 }));
    assert_eq!(cluster.raft(1).term_at(2), Some(1));
}

#[test]
fn an_acknowledgement_of_entries_that_do_not_exist_is_refused() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    let leader = cluster.raft(1);
    let (term, last_index) = (leader.term(), leader.last_index());
    let acknowledgement = |index| Message {
        from: 2,
        to: 1,
        term,
        body: MessageBody::AppendResponse {
            outcome: AppendOutcome::Accepted { index },
        },
    };
    let impossible = acknowledgement(last_index + 1);
    let outcome = cluster.act(1, |raft| raft.step(impossible)).expect("safe");
    let refusal = StepError::LeaderLacksCommitted {
        from: 2,
        index: last_index + 1,
        last_index,
    };
    assert_eq!(outcome, Err(refusal));
    cluster.deliver(acknowledgement(last_index)).expect("safe");
}

#[test]
fn a_heartbeat_that_counts_on_lost_entries_is_refused() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    let heartbeat = Message {
        from: 2,
        to: 1,
        term: 1,
        body: MessageBody::Heartbeat {
            commit: 7,
            read_sequence: 0,
        },
    };
    let outcome = cluster.act(1, |raft| raft.step(heartbeat)).expect("safe");
    let lost = StepError::AcknowledgedEntriesLost {
        commit: 7,
        last_index: 0,
    };
    assert_eq!(outcome, Err(lost));
}

#[test]
fn a_member_behind_the_log_gets_a_snapshot_and_goes_on_from_there() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    cluster.isolate(3);
    for _ in 0..10 {
        cluster.propose(1, "a");
    }
    cluster.settle().expect("safe");
    let applied = cluster.raft(1).applied_index();
    cluster.compact(1, applied);
    cluster.heal();
    for _ in 0..2 {
        for id in 1..=3 {
            cluster.act(id, Raft::tick).expect("safe");
        }
        for message in std::mem::take(&mut cluster.network) {
            cluster.deliver(message).expect("safe");
        }
        for message in std::mem::take(&mut cluster.network) {
            cluster.deliver(message).expect("safe");
        }
    }
    assert_eq!(cluster.snapshots.len(), 1, "asked for once");
    let state = cluster.raft(1).progress(3).map(|progress| progress.state());
    assert!(matches!(state, Some(ProgressState::Snapshot { .. })));
    cluster.settle().expect("safe");
    cluster.propose(1, "b");
    cluster.settle().expect("safe");
    assert_eq!(cluster.raft(3).applied_index(), applied + 1);
    assert_eq!(cluster.raft(3).first_index(), applied + 1);
    cluster.crash(3);
    cluster.restart(3).expect("safe");
    assert_eq!(cluster.raft(3).last_index(), applied + 1);
}

#[test]
fn a_failed_snapshot_is_asked_for_again_and_a_sent_but_lost_one_too() {
    for outcome in [
        veridical_raft::SnapshotOutcome::Failed,
        veridical_raft::SnapshotOutcome::Sent,
    ] {
        let mut cluster = Cluster::new(3, 1, |_| {});
        cluster.elect(1);
        cluster.isolate(3);
        cluster.propose(1, "a");
        cluster.settle().expect("safe");
        let applied = cluster.raft(1).applied_index();
        cluster.compact(1, applied);
        cluster.heal();
        while cluster.snapshots.is_empty() {
            cluster.act(1, Raft::tick).expect("safe");
            for message in std::mem::take(&mut cluster.network) {
                cluster.deliver(message).expect("safe");
            }
        }
        cluster.snapshots.clear();
        cluster
            .act(1, |raft| raft.report_snapshot(3, outcome))
            .expect("safe");
        for _ in 0..30 {
            cluster.tick_all().expect("safe");
        }
        assert_eq!(cluster.raft(3).last_index(), cluster.raft(1).last_index());
    }
}

#[test]
fn a_snapshot_counts_as_applied_and_lets_its_member_campaign_only_once_it_is_durable() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.synchronous = false;
    let earlier = append(1, 2, (0, 0), vec![entry(1, 1)], 0);
    cluster.deliver(earlier).expect("safe");
    let meta = SnapshotMeta {
        index: 5,
        term: 1,
        membership: Membership::of_voters(1..=3),
    };
    assert!(
        cluster
            .act(1, |raft| raft.offer_snapshot(2, 1, meta))
            .expect("safe")
    );
    cluster.persist(1, 1).expect("safe");
    cluster.act(1, Raft::campaign).expect("safe");
    assert_eq!(cluster.raft(1).applied_index(), 0);
    assert_eq!(cluster.raft(1).role(), Role::Follower);
    cluster.persist(1, usize::MAX).expect("safe");
    cluster.act(1, Raft::campaign).expect("safe");
    assert_eq!(cluster.raft(1).applied_index(), 5);
    assert_eq!(cluster.raft(1).role(), Role::PreCandidate);
}

#[test]
fn a_snapshot_of_what_the_log_has_is_declined() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.settle().expect("safe");
    let meta = cluster.raft(1).snapshot_meta_at(2).expect("applied");
    let term = cluster.raft(1).term();
    let wanted = cluster
        .act(2, |raft| raft.offer_snapshot(1, term, meta))
        .expect("safe");
    assert!(!wanted);
}

#[test]
fn compaction_forgets_only_what_is_applied_and_keeps_the_term() {
    let mut cluster = Cluster::new(1, 1, |_| {});
    cluster.elect(1);
    cluster.propose(1, "a");
    let mut raft = cluster.raft(1).clone();
    assert_eq!(raft.applied_index(), 2);
    let refused = raft.compact(3);
    assert!(matches!(refused, Err(CompactError::NotApplied { .. })));
    assert_eq!(raft.compact(2), Ok(()));
    let refused = raft.compact(2);
    assert!(matches!(
        refused,
        Err(CompactError::AlreadyCompacted { .. })
    ));
    assert_eq!((raft.first_index(), raft.last_index()), (3, 2));
    assert_eq!(raft.term_at(2), Some(1));
    assert_eq!(raft.propose(Bytes::new()).map(|(_, index)| index), Ok(3));
}

#[test]
fn a_restart_that_finds_durable_data_missing_is_refused() {
    let sound = Initial {
        hard_state: HardState {
            term: 2,
            vote: None,
            commit: 2,
        },
        entries: vec![entry(1, 1), entry(2, 2)],
        applied: 1,
        ..Initial::default()
    };
    assert_eq!(sound.validate(), Ok(()));
    let spoilt = |spoil: fn(&mut Initial)| {
        let mut initial = sound.clone();
        spoil(&mut initial);
        initial.validate().expect_err("refused")
    };
    let error = spoilt(|initial| initial.entries.truncate(1));
    assert!(matches!(error, ConfigError::CommitBeyondLog { .. }));
    let error = spoilt(|initial| initial.applied = 3);
    assert!(matches!(error, ConfigError::AppliedBeyondLog { .. }));
    let error = spoilt(|initial| initial.hard_state.term = 1);
    assert!(matches!(error, ConfigError::TermBehindLog { .. }));
    let error = spoilt(|initial| initial.entries[1].index = 3);
    assert!(matches!(error, ConfigError::LogNotContiguous { .. }));
    let error = spoilt(|initial| initial.entries[0].term = 3);
    assert!(matches!(error, ConfigError::LogTermsFall { .. }));
    let error = spoilt(|initial| initial.hard_state.term = u64::MAX);
    assert!(matches!(error, ConfigError::OutOfRange { .. }));
}

#[test]
fn a_crash_between_a_snapshot_and_its_hard_state_keeps_the_later_term() {
    let initial = Initial {
        hard_state: HardState {
            term: 1,
            vote: Some(2),
            commit: 0,
        },
        snapshot: SnapshotMeta {
            index: 5,
            term: 3,
            membership: Membership::of_voters(1..=3),
        },
        applied: 5,
        ..Initial::default()
    };
    let mut raft = Raft::new(Config::new(1), initial).expect("sound");
    assert_eq!((raft.term(), raft.vote()), (3, None));
    let ready = raft.ready().expect("the term has to be persisted");
    let expected = HardState {
        term: 3,
        vote: None,
        commit: 5,
    };
    assert_eq!((ready.hard_state, ready.must_sync), (Some(expected), true));
}

#[test]
fn readys_wait_while_too_many_are_on_their_way_to_the_disk() {
    let mut cluster = Cluster::new(1, 1, |_| {});
    cluster.elect(1);
    let mut raft = cluster.raft(1).clone();
    let mut last = 0;
    for _ in 0..raft.config().max_outstanding_readys {
        raft.propose(Bytes::new()).expect("accepted");
        last = raft.ready().expect("room").number;
    }
    raft.propose(Bytes::new()).expect("accepted");
    assert!(!raft.has_ready());
    assert_eq!(raft.ready(), None);
    raft.persisted(last);
    assert!(raft.has_ready());
}

#[test]
fn a_commit_index_alone_needs_no_synchronisation() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    let mut raft = cluster.raft(2).clone();
    assert_eq!(raft.role(), Role::Follower);
    let (term, last) = (raft.term(), raft.last_index());
    let step = |raft: &mut Raft, entries, commit| {
        let body = MessageBody::Append {
            previous_index: last,
            previous_term: term,
            entries,
            commit,
        };
        let message = Message {
            from: 1,
            to: 2,
            term,
            body,
        };
        raft.step(message).expect("sound");
        raft.ready().expect("something")
    };
    let ready = step(&mut raft, vec![entry(last + 1, term)], last);
    assert!(ready.must_sync);
    raft.persisted(ready.number);
    let ready = step(&mut raft, vec![entry(last + 1, term)], last + 1);
    assert!(!ready.must_sync);
    assert_eq!(ready.hard_state.map(|state| state.commit), Some(last + 1));
    assert_eq!(ready.committed.len(), 1);
}
