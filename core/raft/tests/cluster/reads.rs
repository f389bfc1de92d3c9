//! Linearizable reads.

use veridical_raft::{Config, MessageBody, Raft, ReadError};

use crate::harness::Cluster;

fn answered(cluster: &Cluster, id: u64, context: u64) -> Option<u64> {
    let mut answers = cluster.member(id).answered_reads.iter();
    answers
        .find(|(answered, _)| *answered == context)
        .map(|(_, index)| *index)
}

fn ask(cluster: &mut Cluster, id: u64) -> u64 {
    cluster.read(id).expect("safe").expect("taken")
}

#[test]
fn a_leader_answers_after_a_majority_confirmed_and_not_before() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    let context = ask(&mut cluster, 1);
    assert_eq!(answered(&cluster, 1, context), None);
    cluster.settle().expect("safe");
    assert_eq!(answered(&cluster, 1, context), Some(1));
}

#[test]
fn reads_between_two_readys_share_one_round_of_heartbeats() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    cluster
        .act(1, |raft| {
            (100..110).for_each(|context| raft.read_index(context).expect("taken"))
        })
        .expect("safe");
    assert_eq!(cluster.network.len(), 2);
    (100..110).for_each(|context| cluster.reads.asked(1, context, 1));
    cluster.settle().expect("safe");
    for context in 100..110 {
        assert_eq!(answered(&cluster, 1, context), Some(1));
    }
}

#[test]
fn an_answer_to_an_earlier_heartbeat_confirms_no_later_read() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    cluster.act(1, Raft::tick).expect("safe");
    for heartbeat in std::mem::take(&mut cluster.network) {
        cluster.deliver(heartbeat).expect("safe");
    }
    let earlier_answers = std::mem::take(&mut cluster.network);
    assert_eq!(earlier_answers.len(), 2);
    let context = ask(&mut cluster, 1);
    let round = std::mem::take(&mut cluster.network);
    for answer in earlier_answers {
        cluster.deliver(answer).expect("safe");
    }
    assert_eq!(answered(&cluster, 1, context), None);
    cluster.network = round;
    cluster.settle().expect("safe");
    assert_eq!(answered(&cluster, 1, context), Some(1));
}

#[test]
fn a_deposed_leader_answers_no_read() {
    let mut cluster = Cluster::new(3, 1, |config| config.check_quorum = false);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.elect(2);
    cluster.propose(2, "newer");
    cluster.settle().expect("safe");
    let context = ask(&mut cluster, 1);
    for _ in 0..30 {
        cluster.tick_all().expect("safe");
    }
    cluster.heal();
    for _ in 0..30 {
        cluster.tick_all().expect("safe");
    }
    assert_eq!(answered(&cluster, 1, context), None);
}

#[test]
fn a_new_leader_answers_only_after_an_entry_of_its_term_is_committed() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.settle().expect("safe");
    cluster
        .act(2, |raft| raft.step(timeout_now()))
        .expect("safe")
        .expect("sound");
    // Only votes pass: nothing of the new term can be committed.
    while cluster.raft(2).role() != veridical_raft::Role::Leader {
        let message = cluster.network.remove(0);
        cluster.deliver(message).expect("safe");
    }
    let hold_back = std::mem::take(&mut cluster.network);
    let context = ask(&mut cluster, 2);
    for _ in 0..3 {
        cluster.act(2, Raft::tick).expect("safe");
        let messages = std::mem::take(&mut cluster.network);
        let heartbeats = messages.into_iter().filter(|message| {
            matches!(
                message.body,
                MessageBody::Heartbeat { .. } | MessageBody::HeartbeatResponse { .. }
            )
        });
        for message in heartbeats.collect::<Vec<_>>() {
            cluster.deliver(message).expect("safe");
        }
    }
    assert_eq!(answered(&cluster, 2, context), None);
    cluster.network = hold_back;
    cluster.settle().expect("safe");
    cluster.tick_all().expect("safe");
    assert_eq!(answered(&cluster, 2, context), Some(3));
}

fn timeout_now() -> veridical_raft::Message {
    veridical_raft::Message {
        from: 1,
        to: 2,
        term: 1,
        body: MessageBody::TimeoutNow,
    }
}

#[test]
fn a_follower_reads_through_the_leader() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    cluster.propose(1, "a");
    cluster.settle().expect("safe");
    let context = ask(&mut cluster, 3);
    cluster.settle().expect("safe");
    assert_eq!(answered(&cluster, 3, context), Some(2));
}

#[test]
fn an_answer_from_before_a_restart_answers_nothing() {
    let mut cluster = Cluster::new(3, 1, |_| {});
    cluster.elect(1);
    let context = ask(&mut cluster, 3);
    for _ in 0..5 {
        for message in std::mem::take(&mut cluster.network) {
            let is_answer = matches!(message.body, MessageBody::ReadIndexResponse { .. });
            if is_answer {
                cluster.crash(3);
                cluster.restart(3).expect("safe");
                // The same context again, for a later read.
                cluster.tick_all().expect("safe");
                cluster.propose(1, "later");
                cluster.settle().expect("safe");
                cluster
                    .act(3, |raft| raft.read_index(context))
                    .expect("safe")
                    .expect("taken");
                cluster.network.clear();
                cluster.deliver(message).expect("safe");
                assert_eq!(answered(&cluster, 3, context), None);
                return;
            }
            cluster.deliver(message).expect("safe");
        }
    }
    panic!("no answer was sent");
}

#[test]
fn reads_are_bounded_and_lost_ones_make_room() {
    let few = |config: &mut Config| config.max_pending_reads = 2;
    let mut cluster = Cluster::new(3, 1, few);
    assert_eq!(
        cluster.act(1, |raft| raft.read_index(1)).expect("safe"),
        Err(ReadError::NoLeader)
    );
    cluster.elect(1);
    for id in [1, 3] {
        assert!(cluster.read(id).expect("safe").is_some());
        assert!(cluster.read(id).expect("safe").is_some());
        assert_eq!(cluster.read(id).expect("safe"), None);
    }
    cluster.network.clear();
    for _ in 0..40 {
        cluster.tick_all().expect("safe");
    }
    assert_eq!(cluster.raft(1).pending_reads(), 0);
    assert_eq!(cluster.raft(3).pending_reads(), 0);
    ask(&mut cluster, 3);
}

#[test]
fn a_sole_voter_answers_at_once() {
    let mut cluster = Cluster::new(1, 1, |_| {});
    cluster.elect(1);
    let context = ask(&mut cluster, 1);
    assert_eq!(answered(&cluster, 1, context), Some(1));
}
