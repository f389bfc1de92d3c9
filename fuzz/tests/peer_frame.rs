//! Any bytes as what a peer sends: frames, and the Raft messages in them.

use bolero::TypeGenerator;
use bytes::BytesMut;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use veridical_node::{message_from_wire, message_to_wire};
use veridical_proto::frame::{decode_message, encode_frame};
use veridical_proto::peer::PeerFrame;
use veridical_proto::peer::peer_frame::Body;
use veridical_raft::{Config, Initial, Membership, Raft, SnapshotMeta};

const TEST_TIME: Duration = Duration::from_secs(1);

/// Steps over every frame in `wire`; returns how many Raft messages were understood. What
/// is understood says the same again when it is encoded, and a member takes it without
/// a panic.
fn check(wire: &[u8], raft: &mut Raft) -> u64 {
    let mut buffer = BytesMut::from(wire);
    let mut understood = 0;
    while let Ok(Some(frame)) = decode_message::<PeerFrame>(&mut buffer) {
        let Some(Body::Raft(message)) = frame.body else {
            continue;
        };
        let Ok(message) = message_from_wire(message) else {
            continue;
        };
        let again = message_from_wire(message_to_wire(&message));
        assert_eq!(again.as_ref(), Ok(&message));
        // Refused or not, that is Raft's business.
        let _ = raft.step(message);
        while let Some(ready) = raft.ready() {
            raft.persisted(ready.number);
        }
        understood += 1;
    }
    understood
}

fn member() -> Raft {
    let snapshot = SnapshotMeta {
        index: 0,
        term: 0,
        membership: Membership::of_voters([1, 2, 3]),
    };
    let initial = Initial {
        snapshot,
        ..Initial::default()
    };
    Raft::new(Config::new(1), initial).expect("a founding member starts")
}

#[test]
fn any_bytes_are_frames_or_an_error() {
    bolero::check!()
        .with_test_time(TEST_TIME)
        .for_each(|bytes: &[u8]| {
            check(bytes, &mut member());
        });
}

/// The varints of a message, so that most of what is generated decodes.
#[derive(Debug, TypeGenerator)]
struct Forged {
    body: u8,
    numbers: [u16; 4],
    flag: bool,
    entries: Vec<(u8, u8, u8)>,
}

fn forge(forged: &[Forged]) -> BytesMut {
    use veridical_proto::peer as wire;
    use wire::raft_message::Body as Message;
    let mut bytes = BytesMut::new();
    for one in forged {
        let [a, b, c, d] = one.numbers.map(u64::from);
        let entries = one
            .entries
            .iter()
            .zip(b + 1..)
            .map(|((term, kind, byte), index)| wire::Entry {
                term: u64::from(*term),
                index,
                payload: Some(if kind % 4 == 0 {
                    wire::entry::Payload::Noop(true)
                } else {
                    wire::entry::Payload::Command(vec![*byte].into())
                }),
            })
            .collect();
        let vote = wire::VoteRequest {
            last_index: a,
            last_term: b,
            transfer: one.flag,
        };
        let body = match one.body % 10 {
            0 => Message::PreVote(vote),
            1 => Message::Vote(vote),
            2 => Message::VoteResponse(wire::VoteResponse { granted: one.flag }),
            3 => Message::PreVoteResponse(wire::VoteResponse { granted: one.flag }),
            4 | 5 => Message::Append(wire::Append {
                previous_index: b,
                previous_term: c,
                commit: d,
                entries,
            }),
            6 => Message::AppendResponse(wire::AppendResponse {
                outcome: Some(wire::append_response::Outcome::AcceptedIndex(a)),
            }),
            7 => Message::Heartbeat(wire::Heartbeat {
                commit: a,
                read_sequence: b,
            }),
            8 => Message::ReadIndexResponse(wire::ReadIndexResponse {
                context: a,
                index: b,
                refused: one.flag,
            }),
            _ => Message::TimeoutNow(wire::TimeoutNow {}),
        };
        let message = wire::RaftMessage {
            from: 2 + d % 2,
            to: 1,
            term: c % 8,
            body: Some(body),
        };
        let frame = PeerFrame {
            body: Some(Body::Raft(message)),
        };
        encode_frame(&frame, &mut bytes);
    }
    bytes
}

#[test]
fn forged_messages_are_understood_and_harm_no_member() {
    static UNDERSTOOD: AtomicU64 = AtomicU64::new(0);
    bolero::check!()
        .with_test_time(TEST_TIME)
        .with_type::<Vec<Forged>>()
        .for_each(|forged| {
            let understood = check(&forge(forged), &mut member());
            UNDERSTOOD.fetch_add(understood, Relaxed);
        });
    // A target that never gets past the decoder tests nothing behind it.
    assert!(UNDERSTOOD.load(Relaxed) > 0);
}
