//! Elections, pre-vote and check-quorum.

use veridical_raft::{
    BLANK_ELECTION_TIMEOUTS, Config, Entry, HardState, Initial, Membership, Message, MessageBody,
    Payload, Raft, Role, SnapshotMeta,
};

use crate::harness::Cluster;

fn careful(size: u64) -> Cluster {
    Cluster::new(size, 1, |_| {})
}

fn tick(cluster: &mut Cluster, id: u64, ticks: u32) {
    for _ in 0..ticks {
        cluster.act(id, Raft::tick).expect("safe");
    }
}

#[test]
fn a_silent_cluster_elects_exactly_one_leader() {
    let mut cluster = careful(5);
    for _ in 0..100 {
        cluster.tick_all().expect("safe");
    }
    let leader = cluster.leader().expect("elected");
    for id in 1..=5 {
        assert_eq!(cluster.raft(id).leader(), Some(leader));
        assert_eq!(cluster.raft(id).term(), cluster.raft(leader).term());
    }
}

#[test]
fn election_timeouts_lie_in_the_configured_range_and_vary() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let mut cluster = Cluster::new(3, seed, |config| config.pre_vote = false);
        let mut ticks = 0;
        while cluster.raft(1).role() == Role::Follower {
            tick(&mut cluster, 1, 1);
            ticks += 1;
        }
        seen.insert(ticks);
    }
    assert_eq!((seen.first(), seen.last()), (Some(&10), Some(&19)));
}

#[test]
fn a_member_that_just_started_may_stand_after_two_ticks_and_up_to_a_timeout_later() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let mut cluster = Cluster::new(3, seed, |config| config.pre_vote = false);
        tick(&mut cluster, 1, 1);
        let shorten = Raft::shorten_first_election_timeout;
        cluster.act(1, shorten).expect("safe");
        let mut ticks = 0;
        while cluster.raft(1).role() == Role::Follower {
            tick(&mut cluster, 1, 1);
            ticks += 1;
        }
        seen.insert(ticks);
    }
    assert_eq!((seen.first(), seen.last()), (Some(&2), Some(&11)));
}

#[test]
fn an_election_timeout_is_not_shortened_once_there_was_a_leader() {
    let mut cluster = careful(3);
    cluster.elect(1);
    tick(&mut cluster, 2, 1);
    let shorten = Raft::shorten_first_election_timeout;
    cluster.act(2, shorten).expect("safe");
    tick(&mut cluster, 2, 8);
    assert_eq!(cluster.raft(2).role(), Role::Follower);
    assert_eq!(cluster.raft(2).leader(), Some(1));
}

#[test]
fn a_sole_voter_leads_only_once_its_vote_is_durable() {
    let mut cluster = careful(1);
    cluster.synchronous = false;
    cluster.act(1, Raft::campaign).expect("safe");
    assert_eq!(cluster.raft(1).role(), Role::Candidate);
    cluster.persist(1, usize::MAX).expect("safe");
    assert_eq!(cluster.raft(1).role(), Role::Leader);
    assert_eq!(cluster.raft(1).commit_index(), 0);
    cluster.persist(1, usize::MAX).expect("safe");
    assert_eq!(cluster.raft(1).commit_index(), 1);
}

#[test]
fn news_of_an_earlier_ready_does_not_make_a_vote_durable() {
    let applied = Entry {
        term: 1,
        index: 1,
        payload: Payload::Noop,
    };
    let initial = Initial {
        hard_state: HardState {
            term: 1,
            vote: Some(1),
            commit: 0,
        },
        snapshot: SnapshotMeta {
            membership: Membership::of_voters([1]),
            ..SnapshotMeta::default()
        },
        entries: vec![applied],
        applied: 1,
        seed: 1,
        blank: false,
    };
    let mut raft = Raft::new(Config::new(1), initial).expect("sound");
    let commit_moved = raft.ready().expect("the commit index was behind").number;
    raft.campaign();
    let vote = raft.ready().expect("a vote").number;
    raft.persisted(commit_moved);
    assert_eq!(raft.role(), Role::Candidate);
    raft.persisted(vote);
    assert_eq!(raft.role(), Role::Leader);
}

/// A member of three with nothing on its disk.
fn blank() -> Raft {
    let initial = Initial {
        snapshot: SnapshotMeta {
            membership: Membership::of_voters(1..=3),
            ..SnapshotMeta::default()
        },
        blank: true,
        ..Initial::default()
    };
    Raft::new(Config::new(1), initial).expect("sound")
}

/// Whether the member votes for 2 in `term`, whose log has `last_index` entries of term 1.
fn votes(raft: &mut Raft, term: u64, last_index: u64) -> bool {
    let body = MessageBody::Vote {
        last_index,
        last_term: u64::from(last_index > 0),
        transfer: false,
    };
    let request = Message {
        from: 2,
        to: 1,
        term,
        body,
    };
    raft.step(request).expect("correct");
    let ready = raft.ready().expect("an answer");
    let answers = ready.messages.iter().chain(&ready.persisted_messages);
    let granted = MessageBody::VoteResponse { granted: true };
    answers.into_iter().any(|answer| answer.body == granted)
}

fn append(term: u64, commit: u64) -> Message {
    let entry = Entry {
        term,
        index: 1,
        payload: Payload::Noop,
    };
    Message {
        from: 2,
        to: 1,
        term,
        body: MessageBody::Append {
            previous_index: 0,
            previous_term: 0,
            entries: vec![entry],
            commit,
        },
    }
}

#[test]
fn who_began_with_nothing_votes_at_first_only_for_those_who_have_nothing() {
    assert!(votes(&mut blank(), 2, 0));
    let mut raft = blank();
    assert!(!votes(&mut raft, 2, 7));
    for _ in 0..Config::new(1).election_ticks * BLANK_ELECTION_TIMEOUTS {
        raft.tick();
    }
    let term = raft.term() + 1;
    assert!(votes(&mut raft, term, 7));
}

#[test]
fn who_began_with_nothing_votes_again_once_it_has_caught_up() {
    let votes_after = |commit| {
        let mut raft = blank();
        raft.step(append(1, commit)).expect("correct");
        // The leader is silent for so long that another may be elected.
        for _ in 0..Config::new(1).election_ticks {
            raft.tick();
        }
        while raft.ready().is_some() {}
        votes(&mut raft, 3, 7)
    };
    // As long as it does not know what is committed it may lack some of that.
    assert!(!votes_after(0));
    assert!(votes_after(1));
}

#[test]
fn who_began_with_nothing_stands_for_election_with_nothing_or_not_at_all() {
    let mut raft = blank();
    raft.campaign();
    assert_eq!(raft.role(), Role::PreCandidate);
    let mut raft = blank();
    raft.step(append(2, 0)).expect("correct");
    raft.campaign();
    assert_eq!(raft.role(), Role::Follower);
}

#[test]
fn vote_requests_and_grants_wait_for_the_disk() {
    let mut cluster = Cluster::new(3, 1, |config| config.pre_vote = false);
    cluster.synchronous = false;
    cluster.act(1, Raft::campaign).expect("safe");
    assert_eq!(cluster.network, vec![]);
    cluster.persist(1, usize::MAX).expect("safe");
    let request = cluster.network.remove(0);
    assert!(matches!(request.body, MessageBody::Vote { .. }));
    cluster.network.clear();
    let voter = request.to;
    cluster.deliver(request).expect("safe");
    assert_eq!(cluster.network, vec![]);
    cluster.persist(voter, usize::MAX).expect("safe");
    assert_eq!(
        cluster.network[0].body,
        MessageBody::VoteResponse { granted: true }
    );
}

#[test]
fn a_member_votes_once_a_term_across_restarts() {
    let mut cluster = Cluster::new(3, 1, |config| config.pre_vote = false);
    let vote = |from| Message {
        from,
        to: 1,
        term: 5,
        body: MessageBody::Vote {
            last_index: 9,
            last_term: 4,
            transfer: false,
        },
    };
    let answer = |cluster: &mut Cluster, from| {
        cluster.deliver(vote(from)).expect("safe");
        cluster.network.pop().expect("answered").body
    };
    let granted = |granted| MessageBody::VoteResponse { granted };
    assert_eq!(answer(&mut cluster, 2), granted(true));
    cluster.crash(1);
    cluster.restart(1).expect("safe");
    assert_eq!(answer(&mut cluster, 3), granted(false));
    assert_eq!(answer(&mut cluster, 2), granted(true));
}

#[test]
fn a_log_that_lacks_entries_wins_no_vote() {
    let mut cluster = careful(3);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, "a");
    cluster.settle().expect("safe");
    cluster.crash(1);
    cluster.heal();
    for _ in 0..30 {
        cluster.act(3, Raft::campaign).expect("safe");
        cluster.settle().expect("safe");
        assert_ne!(cluster.raft(3).role(), Role::Leader);
    }
}

#[test]
fn a_returning_member_with_pre_vote_does_not_disturb_the_leader() {
    let mut cluster = careful(3);
    cluster.elect(1);
    let term = cluster.raft(1).term();
    cluster.isolate(3);
    for _ in 0..100 {
        cluster.tick_all().expect("safe");
    }
    assert_eq!(cluster.raft(3).term(), term);
    cluster.heal();
    for _ in 0..100 {
        cluster.tick_all().expect("safe");
    }
    assert_eq!(cluster.leader(), Some(1));
    assert_eq!(cluster.raft(3).term(), term);
    assert_eq!(cluster.raft(3).leader(), Some(1));
}

#[test]
fn a_member_that_hears_a_leader_votes_for_nobody_else() {
    let mut cluster = careful(3);
    cluster.elect(1);
    for transfer in [false, true] {
        cluster
            .deliver(Message {
                from: 3,
                to: 2,
                term: 9,
                body: MessageBody::Vote {
                    last_index: 99,
                    last_term: 8,
                    transfer,
                },
            })
            .expect("safe");
        assert_eq!(cluster.raft(2).term() == 9, transfer);
    }
}

#[test]
fn a_member_that_hears_a_leader_encourages_nobody_else() {
    let mut cluster = careful(3);
    cluster.elect(1);
    let pre_vote = Message {
        from: 3,
        to: 2,
        term: 9,
        body: MessageBody::PreVote {
            last_index: 99,
            last_term: 8,
        },
    };
    cluster.deliver(pre_vote.clone()).expect("safe");
    assert_eq!(cluster.network, vec![]);
    let patience = cluster.raft(2).config().election_ticks;
    tick(&mut cluster, 2, patience);
    cluster.network.clear();
    cluster.deliver(pre_vote).expect("safe");
    let answer = MessageBody::PreVoteResponse { granted: true };
    assert_eq!(
        cluster.network.pop().map(|message| message.body),
        Some(answer)
    );
    assert_eq!(cluster.raft(2).term(), 1, "asking changes no term");
}

#[test]
fn a_member_that_follows_without_having_voted_votes_for_no_rival_of_its_leader() {
    let mut cluster = Cluster::new(3, 1, |config| config.check_quorum = false);
    let from_leader = Message {
        from: 2,
        to: 1,
        term: 5,
        body: MessageBody::Heartbeat {
            commit: 0,
            read_sequence: 0,
        },
    };
    cluster.deliver(from_leader).expect("safe");
    cluster.network.clear();
    let from_rival = Message {
        from: 3,
        to: 1,
        term: 5,
        body: MessageBody::Vote {
            last_index: 9,
            last_term: 4,
            transfer: false,
        },
    };
    cluster.deliver(from_rival).expect("safe");
    let answer = MessageBody::VoteResponse { granted: false };
    assert_eq!(
        cluster.network.pop().map(|message| message.body),
        Some(answer)
    );
}

#[test]
fn a_stale_member_of_a_higher_term_is_not_shut_out() {
    let mut cluster = Cluster::new(3, 1, |config| config.pre_vote = config.id != 3);
    cluster.elect(1);
    cluster.isolate(3);
    for _ in 0..100 {
        cluster.tick_all().expect("safe");
    }
    assert!(cluster.raft(3).term() > cluster.raft(1).term() + 2);
    cluster.heal();
    for _ in 0..100 {
        cluster.tick_all().expect("safe");
    }
    let leader = cluster.leader().expect("elected");
    for id in 1..=3 {
        assert_eq!(cluster.raft(id).leader(), Some(leader));
    }
}

#[test]
fn a_lost_leader_is_replaced_within_one_and_a_half_election_timeouts_on_average() {
    const SEEDS: u64 = 200;
    let mut ticks_in_all = 0;
    for seed in 0..SEEDS {
        let mut cluster = Cluster::new(3 + 2 * (seed % 2), seed, |_| {});
        while cluster.leader().is_none() {
            cluster.tick_all().expect("safe");
        }
        let lost = cluster.leader().expect("elected");
        // Everybody has heard of it.
        for _ in 0..5 {
            cluster.tick_all().expect("safe");
        }
        cluster.isolate(lost);
        cluster.crash(lost);
        while cluster.leader().is_none() {
            cluster.tick_all().expect("safe");
            ticks_in_all += 1;
        }
    }
    let election_ticks = u64::from(careful(3).raft(1).config().election_ticks);
    let average = ticks_in_all as f64 / SEEDS as f64;
    assert!(average < 1.5 * election_ticks as f64, "{average} ticks");
}

#[test]
fn a_leader_without_a_majority_steps_down_within_two_election_timeouts() {
    let mut cluster = careful(3);
    cluster.elect(1);
    cluster.isolate(1);
    let patience = 2 * cluster.raft(1).config().election_ticks;
    tick(&mut cluster, 1, patience);
    assert_ne!(cluster.raft(1).role(), Role::Leader);
}

#[test]
fn without_check_quorum_an_isolated_leader_stays() {
    let mut cluster = Cluster::new(3, 1, |config| config.check_quorum = false);
    cluster.elect(1);
    cluster.isolate(1);
    tick(&mut cluster, 1, 100);
    assert_eq!(cluster.raft(1).role(), Role::Leader);
}

#[test]
fn a_leader_commits_nothing_of_earlier_terms_by_counting() {
    let mut cluster = Cluster::new(3, 1, |config| {
        config.max_append_bytes = 1;
        config.check_quorum = false;
    });
    cluster.elect(1);
    cluster.isolate(1);
    cluster.propose(1, "a");
    cluster.settle().expect("safe");
    cluster.heal();
    cluster.crash(1);
    cluster.restart(1).expect("safe");
    cluster.act(1, Raft::campaign).expect("safe");
    let mut seen_matched_but_uncommitted = false;
    while let Some(message) = (!cluster.network.is_empty()).then(|| cluster.network.remove(0)) {
        cluster.deliver(message).expect("safe");
        let leader = cluster.raft(1);
        let matched = leader.progress(2).map_or(0, |progress| progress.matched());
        seen_matched_but_uncommitted |= matched == 2 && leader.commit_index() < 2;
    }
    assert!(seen_matched_but_uncommitted);
    assert_eq!(cluster.raft(1).commit_index(), 3);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for spoil in [
        (|config| config.id = 0) as fn(&mut Config),
        |config| config.heartbeat_ticks = 0,
        |config| config.election_ticks = config.heartbeat_ticks,
        |config| config.election_ticks = u32::MAX,
        |config| config.max_append_bytes = 0,
        |config| config.max_inflight_appends = 0,
        |config| config.max_inflight_bytes = 0,
        |config| config.max_uncommitted_bytes = 0,
        |config| config.max_pending_reads = 0,
    ] {
        let mut config = Config::new(1);
        assert_eq!(config.validate(), Ok(()));
        spoil(&mut config);
        assert!(config.validate().is_err(), "{config:?}");
    }
}
