//! What a message means: the frames of the peer protocol and of the client protocol, by
//! kind, with the few numbers and the keys that one looks for.
//!
//! A unit of the network is one write, and members and clients write whole frames, so a
//! unit is understood by itself.

use bytes::BytesMut;
use prost::Message as _;
use veridical_client::record;
use veridical_node::sessions::NATIVE_MAGIC;
use veridical_proto::command::write::Write as WriteKind;
use veridical_proto::command::{Command, command::Request as CommandRequest};
use veridical_proto::frame::decode_frame;
use veridical_proto::native::request::Body as Ask;
use veridical_proto::native::response::Body as Answer;
use veridical_proto::native::{Request, Response};
use veridical_proto::peer::append_response::Outcome;
use veridical_proto::peer::entry::Payload;
use veridical_proto::peer::peer_frame::Body as Peer;
use veridical_proto::peer::raft_message::Body as Raft;
use veridical_proto::peer::{Append, PeerFrame, Pong, RaftMessage};

use super::keys::keys_of;
use veridical_harness::recording::{Decoded, Kind, NUMBERS_MAX};

/// Members' names begin so.
pub const MEMBER_PREFIX: &str = "member-";

/// The frames of a unit that `from` sent to `to`, as far as they are understood.
pub fn decode(from: &str, to: &str, unit: &[u8]) -> Vec<Decoded> {
    // A client begins a connection with these bytes.
    let unit = unit.strip_prefix(NATIVE_MAGIC).unwrap_or(unit);
    let mut buffer = BytesMut::from(unit);
    let mut decoded = Vec::new();
    while let Ok(Some(payload)) = decode_frame(&mut buffer) {
        let is_peer = from.starts_with(MEMBER_PREFIX) && to.starts_with(MEMBER_PREFIX);
        decoded.push(if is_peer {
            // What goes against a connection's direction is no frame of a peer.
            match PeerFrame::decode(payload.clone()) {
                Ok(PeerFrame { body: Some(body) }) => peer(body),
                _ => pong(Pong::decode(payload).ok()),
            }
        } else if to.starts_with(MEMBER_PREFIX) {
            request(Request::decode(payload).unwrap_or_default())
        } else {
            response(Response::decode(payload).unwrap_or_default())
        });
    }
    decoded
}

fn frame(
    name: &'static str,
    group: &'static str,
    fields: &'static [&'static str],
    numbers: &[u64],
) -> Decoded {
    let mut all = [0; NUMBERS_MAX];
    all[..numbers.len()].copy_from_slice(numbers);
    Decoded {
        kind: Kind {
            name,
            group,
            fields,
        },
        numbers: all,
        keys: Vec::new(),
    }
}

fn pong(pong: Option<Pong>) -> Decoded {
    match pong {
        Some(pong) => frame("Pong", "connection", &["number"], &[pong.ordinal]),
        None => frame("?", "connection", &[], &[]),
    }
}

fn peer(body: Peer) -> Decoded {
    match body {
        Peer::Hello(_) => frame("Hello", "connection", &[], &[]),
        Peer::Ping(ping) => frame("Ping", "connection", &["number"], &[ping.ordinal]),
        Peer::MembersCall(_) => frame("MembersCall", "connection", &[], &[]),
        Peer::Raft(message) => raft(message),
        Peer::Forward(forward) => Decoded {
            keys: command_keys(&forward.command),
            ..frame("Forward", "forward", &["sequence"], &[forward.sequence])
        },
        Peer::ForwardRefused(refused) => frame(
            "ForwardRefused",
            "forward",
            &["sequence"],
            &[refused.sequence],
        ),
        Peer::SnapshotChunk(chunk) => frame(
            "SnapshotChunk",
            "snapshot",
            &["term", "index", "chunk", "last"],
            &[chunk.term, chunk.index, chunk.ordinal, chunk.last.into()],
        ),
        Peer::SnapshotAck(ack) => frame(
            "SnapshotAck",
            "snapshot",
            &["next", "refused"],
            &[ack.next_ordinal, ack.refused.into()],
        ),
        Peer::LeaseCall(call) => frame(
            "LeaseCall",
            "lease",
            &["lease", "renew"],
            &[call.lease as u64, call.renew.into()],
        ),
        Peer::LeaseReply(reply) => frame(
            "LeaseReply",
            "lease",
            &["refused", "remaining_s"],
            &[reply.refused.into(), reply.remaining_ttl_s as u64],
        ),
    }
}

fn raft(message: RaftMessage) -> Decoded {
    let term = message.term;
    let vote = &["term", "last_index", "last_term"];
    match message.body {
        Some(Raft::PreVote(ask)) => frame(
            "PreVote",
            "election",
            vote,
            &[term, ask.last_index, ask.last_term],
        ),
        Some(Raft::PreVoteResponse(answer)) => frame(
            "PreVoteResponse",
            "election",
            &["term", "granted"],
            &[term, answer.granted.into()],
        ),
        Some(Raft::Vote(ask)) => frame(
            "Vote",
            "election",
            vote,
            &[term, ask.last_index, ask.last_term],
        ),
        Some(Raft::VoteResponse(answer)) => frame(
            "VoteResponse",
            "election",
            &["term", "granted"],
            &[term, answer.granted.into()],
        ),
        Some(Raft::Append(append)) => entries(term, &append),
        Some(Raft::AppendResponse(answer)) => appended(term, answer.outcome),
        Some(Raft::Heartbeat(beat)) => frame(
            "Heartbeat",
            "heartbeat",
            &["term", "commit", "read_round"],
            &[term, beat.commit, beat.read_sequence],
        ),
        Some(Raft::HeartbeatResponse(answer)) => frame(
            "HeartbeatResponse",
            "heartbeat",
            &["term", "read_round"],
            &[term, answer.read_sequence],
        ),
        Some(Raft::ReadIndex(ask)) => frame(
            "ReadIndex",
            "read",
            &["term", "question"],
            &[term, ask.context],
        ),
        Some(Raft::ReadIndexResponse(answer)) => frame(
            "ReadIndexResponse",
            "read",
            &["term", "question", "index", "refused"],
            &[term, answer.context, answer.index, answer.refused.into()],
        ),
        Some(Raft::TimeoutNow(_)) => frame("TimeoutNow", "election", &["term"], &[term]),
        None => frame("?", "connection", &[], &[]),
    }
}

fn entries(term: u64, append: &Append) -> Decoded {
    let mut keys = Vec::new();
    for entry in &append.entries {
        if let Some(Payload::Command(command)) = &entry.payload {
            keys.extend(command_keys(command));
        }
    }
    keys.sort_unstable();
    keys.dedup();
    Decoded {
        keys,
        ..frame(
            "AppendEntries",
            "replication",
            &["term", "previous", "entries", "commit"],
            &[
                term,
                append.previous_index,
                append.entries.len() as u64,
                append.commit,
            ],
        )
    }
}

fn appended(term: u64, outcome: Option<Outcome>) -> Decoded {
    match outcome {
        Some(Outcome::AcceptedIndex(index)) => frame(
            "AppendResponse",
            "replication",
            &["term", "accepted"],
            &[term, index],
        ),
        Some(Outcome::Rejected(rejected)) => frame(
            "AppendRejected",
            "replication",
            &["term", "previous", "hint_index", "hint_term"],
            &[
                term,
                rejected.previous_index,
                rejected.hint_index,
                rejected.hint_term,
            ],
        ),
        Some(Outcome::SnapshotNeeded(_)) | None => {
            frame("SnapshotNeeded", "replication", &["term"], &[term])
        }
    }
}

/// The keys that a command is about.
fn command_keys(command: &[u8]) -> Vec<String> {
    let ask = match Command::decode(command).ok().and_then(|c| c.request) {
        Some(CommandRequest::Put(put)) => Ask::Put(put),
        Some(CommandRequest::DeleteRange(delete)) => Ask::DeleteRange(delete),
        Some(CommandRequest::Txn(txn)) => Ask::Txn(txn),
        Some(CommandRequest::Batch(batch)) => {
            let writes = batch.writes.into_iter().filter_map(|write| write.write);
            let asks = writes.map(|write| match write {
                WriteKind::Put(put) => Ask::Put(put),
                WriteKind::DeleteRange(delete) => Ask::DeleteRange(delete),
                WriteKind::Txn(txn) => Ask::Txn(txn),
            });
            return asks.flat_map(|ask| keys_asked(&ask)).collect();
        }
        _ => return Vec::new(),
    };
    keys_asked(&ask)
}

/// The keys that a request is about.
fn keys_asked(ask: &Ask) -> Vec<String> {
    if let Ask::Batch(batch) = ask {
        let operations = batch.operations.iter();
        let asks = operations.filter_map(|operation| operation.operation.as_ref());
        return asks
            .flat_map(|operation| keys_asked(&record::ask(operation.clone())))
            .collect();
    }
    record::request(ask).map_or_else(Vec::new, |request| keys_of(&request))
}

/// The name of a request's kind and, with `Response` behind it, that of its answer.
macro_rules! client_kinds {
    ($($variant:ident => $group:literal,)+) => {
        const fn request_kind(ask: &Ask) -> (&'static str, &'static str) {
            match ask {
                $(Ask::$variant(_) => (stringify!($variant), $group),)+
            }
        }

        const fn response_kind(answer: &Answer) -> (&'static str, &'static str) {
            match answer {
                $(Answer::$variant(_) => (concat!(stringify!($variant), "Response"), $group),)+
                Answer::Failure(_) => ("Failure", "client"),
            }
        }
    };
}

client_kinds! {
    Range => "client",
    Put => "client",
    DeleteRange => "client",
    Txn => "client",
    Compaction => "client",
    LeaseGrant => "lease",
    LeaseRevoke => "lease",
    LeaseKeepAlive => "lease",
    LeaseTimeToLive => "lease",
    LeaseLeases => "lease",
    Watch => "watch",
    Status => "client",
    MemberList => "client",
    HashKv => "client",
    Hash => "client",
    Alarm => "client",
    Defragment => "client",
    MemberAdd => "client",
    MemberRemove => "client",
    MemberPromote => "client",
    MemberUpdate => "client",
    MoveLeader => "client",
    Batch => "client",
}

fn request(request: Request) -> Decoded {
    let Some(ask) = request.body else {
        return frame("?", "client", &["request"], &[request.id]);
    };
    let (name, group) = request_kind(&ask);
    Decoded {
        keys: keys_asked(&ask),
        ..frame(name, group, &["request"], &[request.id])
    }
}

fn response(response: Response) -> Decoded {
    let Some(answer) = response.body else {
        return frame("?", "client", &["request"], &[response.id]);
    };
    let (name, group) = response_kind(&answer);
    match &answer {
        Answer::Watch(watch) => frame(
            name,
            group,
            &["watch", "revision", "events"],
            &[
                watch.watch_id as u64,
                watch.header.as_ref().map_or(0, |h| h.revision as u64),
                watch.events.len() as u64,
            ],
        ),
        Answer::Failure(failure) => frame(
            name,
            group,
            &["request", "code"],
            &[response.id, failure.code.into()],
        ),
        answer => match record::response(answer) {
            Some(veridical_histories::etcd::Outcome::Done { header, .. }) => frame(
                name,
                group,
                &["request", "revision"],
                &[response.id, header.revision as u64],
            ),
            _ => frame(name, group, &["request"], &[response.id]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_node::message_to_wire;
    use veridical_proto::etcdserverpb as api;
    use veridical_proto::frame::encode_frame;
    use veridical_raft::{Message, MessageBody};

    fn put(key: &str) -> api::PutRequest {
        api::PutRequest {
            key: key.to_owned().into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_unit_of_several_frames_between_members_is_understood_by_kind_number_and_key() {
        let beat = Message {
            from: 1,
            to: 2,
            term: 7,
            body: MessageBody::Heartbeat {
                commit: 40,
                read_sequence: 3,
            },
        };
        let command = Command {
            request: Some(CommandRequest::Put(put("k07"))),
            ..Default::default()
        };
        let entry = veridical_raft::Entry {
            term: 7,
            index: 42,
            payload: veridical_raft::Payload::Command(command.encode_to_vec().into()),
        };
        let append = Message {
            body: MessageBody::Append {
                previous_index: 41,
                previous_term: 6,
                entries: vec![entry],
                commit: 40,
            },
            ..beat.clone()
        };
        let mut unit = BytesMut::new();
        for message in [&beat, &append] {
            let body = Some(Peer::Raft(message_to_wire(message)));
            encode_frame(&PeerFrame { body }, &mut unit);
        }
        let decoded = decode("member-1", "member-2", &unit);
        let kinds: Vec<_> = decoded.iter().map(|frame| frame.kind.name).collect();
        assert_eq!(kinds, ["Heartbeat", "AppendEntries"]);
        assert_eq!(decoded[0].numbers, [7, 40, 3, 0]);
        assert_eq!(decoded[1].numbers, [7, 41, 1, 40]);
        assert_eq!(decoded[1].keys, ["k07"]);
    }

    #[test]
    fn what_goes_against_a_connection_and_what_clients_say_is_understood_by_who_says_it() {
        let mut unit = BytesMut::new();
        encode_frame(
            &Pong {
                ordinal: 5,
                protocol_version: 0,
            },
            &mut unit,
        );
        assert_eq!(decode("member-1", "member-2", &unit)[0].kind.name, "Pong");
        let mut unit = BytesMut::from(&NATIVE_MAGIC[..]);
        let ask = Request {
            id: 9,
            body: Some(Ask::Put(put("k01"))),
        };
        encode_frame(&ask, &mut unit);
        let decoded = decode("clients-0", "member-2", &unit);
        assert_eq!((decoded[0].kind.name, decoded[0].numbers[0]), ("Put", 9));
        assert_eq!(decoded[0].keys, ["k01"]);
        let mut unit = BytesMut::new();
        let answer = Response {
            id: 9,
            body: Some(Answer::Put(api::PutResponse::default())),
            ..Default::default()
        };
        encode_frame(&answer, &mut unit);
        let decoded = decode("member-2", "clients-0", &unit);
        assert_eq!(decoded[0].kind.name, "PutResponse");
        assert!(decode("member-2", "clients-0", &unit[..5]).is_empty());
    }
}
