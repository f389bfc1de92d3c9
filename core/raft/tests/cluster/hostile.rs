//! No message, whatever it says, makes a member panic or take anything back.
#![cfg(not(madsim))]

use bytes::Bytes;
use proptest::prelude::*;
use veridical_raft::{
    AppendOutcome, ChangeKind, Config, Entry, Initial, Membership, MembershipChange, Message,
    MessageBody, Payload, Raft, SnapshotMeta, SnapshotOutcome,
};

/// Small numbers collide with the member's state; huge ones overflow careless sums.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0..8u64,
        1 => (1u64 << 62) - 1..(1 << 62) + 2,
        1 => u64::MAX - 1..=u64::MAX,
    ]
}

fn payload() -> impl Strategy<Value = Payload> {
    let kind = prop_oneof![
        Just(ChangeKind::AddVoter),
        Just(ChangeKind::AddLearner),
        Just(ChangeKind::Remove),
        Just(ChangeKind::Update),
    ];
    prop_oneof![
        Just(Payload::Noop),
        Just(Payload::Command(Bytes::from_static(b"x"))),
        (kind, 0..6u64).prop_map(|(kind, node)| Payload::Membership(MembershipChange {
            kind,
            node,
            context: Bytes::new(),
        })),
    ]
}

/// Entries that are mostly consecutive, so that some get through.
fn entries() -> impl Strategy<Value = (u64, u64, Vec<Entry>)> {
    let entry = (
        prop_oneof![9 => Just(None), 1 => number().prop_map(Some)],
        0..3u64,
        payload(),
    );
    (number(), number(), prop::collection::vec(entry, 0..4)).prop_map(|(index, term, list)| {
        let mut last_term = term;
        let entries = list
            .into_iter()
            .enumerate()
            .map(|(offset, (odd, step, payload))| {
                last_term = last_term.wrapping_add(step / 2);
                Entry {
                    term: last_term,
                    index: odd.unwrap_or(index.wrapping_add(offset as u64 + 1)),
                    payload,
                }
            });
        (index, term, entries.collect())
    })
}

fn body() -> impl Strategy<Value = MessageBody> {
    let outcome = prop_oneof![
        number().prop_map(|index| AppendOutcome::Accepted { index }),
        (number(), number(), number()).prop_map(|(previous_index, hint_index, hint_term)| {
            AppendOutcome::Rejected {
                previous_index,
                hint_index,
                hint_term,
            }
        }),
        Just(AppendOutcome::SnapshotNeeded),
    ];
    let append =
        (entries(), number()).prop_map(|((index, term, entries), commit)| MessageBody::Append {
            previous_index: index,
            previous_term: term,
            entries,
            commit,
        });
    let vote = |(last_index, last_term, transfer)| MessageBody::Vote {
        last_index,
        last_term,
        transfer,
    };
    prop_oneof![
        1 => (number(), number()).prop_map(|(last_index, last_term)| MessageBody::PreVote {
            last_index,
            last_term
        }),
        1 => any::<bool>().prop_map(|granted| MessageBody::PreVoteResponse { granted }),
        1 => (number(), number(), any::<bool>()).prop_map(vote),
        1 => any::<bool>().prop_map(|granted| MessageBody::VoteResponse { granted }),
        4 => append,
        2 => outcome.prop_map(|outcome| MessageBody::AppendResponse { outcome }),
        1 => (number(), number()).prop_map(|(commit, read_sequence)| MessageBody::Heartbeat {
            commit,
            read_sequence
        }),
        1 => number().prop_map(|read_sequence| MessageBody::HeartbeatResponse { read_sequence }),
        1 => number().prop_map(|context| MessageBody::ReadIndex { context }),
        1 => (number(), prop::option::of(number()))
            .prop_map(|(context, index)| MessageBody::ReadIndexResponse { context, index }),
        1 => Just(MessageBody::TimeoutNow),
    ]
}

#[derive(Clone, Debug)]
enum Input {
    Message(Message),
    Snapshot(u64, u64, SnapshotMeta),
    Tick,
    Campaign,
    Propose(Payload),
    Read,
    Report(u64, bool),
    Persist,
    Compact(u64),
}

fn input() -> impl Strategy<Value = Input> {
    let message = (number(), number(), 0..20, body()).prop_map(|(from, term, to, body)| {
        let to = if to == 0 { 9 } else { 1 };
        Input::Message(Message {
            from,
            to,
            term,
            body,
        })
    });
    let snapshot = (number(), number(), number(), number(), 0..4u64).prop_map(
        |(from, term, index, entry_term, voters)| {
            let membership = Membership::of_voters(1..=voters);
            Input::Snapshot(
                from,
                term,
                SnapshotMeta {
                    index,
                    term: entry_term,
                    membership,
                },
            )
        },
    );
    prop_oneof![
        12 => message,
        1 => snapshot,
        2 => Just(Input::Tick),
        2 => Just(Input::Campaign),
        1 => payload().prop_map(Input::Propose),
        1 => Just(Input::Read),
        1 => (0..6u64, any::<bool>()).prop_map(|(to, sent)| Input::Report(to, sent)),
        4 => Just(Input::Persist),
        1 => (0..8u64).prop_map(Input::Compact),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn nothing_anybody_says_makes_a_member_panic_or_take_something_back(
        bootstrap_members in 0..4u64,
        careful in any::<bool>(),
        inputs in prop::collection::vec(input(), 1..60),
    ) {
        let config = Config {
            election_ticks: 3,
            max_append_bytes: 40,
            max_inflight_appends: 2,
            pre_vote: careful,
            check_quorum: careful,
            ..Config::new(1)
        };
        let snapshot = SnapshotMeta {
            membership: Membership::of_voters(1..=bootstrap_members),
            ..SnapshotMeta::default()
        };
        let initial = Initial { snapshot, ..Initial::default() };
        let mut raft = Raft::new(config, initial).expect("sound");
        let mut number = 0;
        for input in inputs {
            let (term, commit) = (raft.term(), raft.commit_index());
            match input {
                Input::Message(message) => {
                    // Refused or taken: either is fine.
                    let _ = raft.step(message);
                }
                Input::Snapshot(from, term, meta) => {
                    raft.offer_snapshot(from, term, meta);
                }
                Input::Tick => raft.tick(),
                Input::Campaign => raft.campaign(),
                Input::Propose(Payload::Membership(change)) => {
                    let _ = raft.propose_membership(change);
                }
                Input::Propose(_) => {
                    let _ = raft.propose(Bytes::new());
                }
                Input::Read => {
                    let _ = raft.read_index(7);
                }
                Input::Report(to, sent) => {
                    let outcome = if sent { SnapshotOutcome::Sent } else { SnapshotOutcome::Failed };
                    raft.report_snapshot(to, outcome);
                    raft.report_unreachable(to);
                }
                Input::Persist => raft.persisted(number),
                Input::Compact(index) => {
                    let _ = raft.compact(index);
                }
            }
            prop_assert!(raft.term() >= term);
            prop_assert!(raft.commit_index() >= commit);
            prop_assert!(raft.commit_index() <= raft.last_index());
            let mut handed = 0;
            while let Some(ready) = raft.ready() {
                number = ready.number;
                handed = ready.committed.last().map_or(handed, |entry| entry.index);
            }
            if handed > 0 {
                raft.applied(handed);
            }
        }
    }
}
