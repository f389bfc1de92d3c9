//! Raft messages and entries to and from their wire and disk forms.
//!
//! Decoding is strict: what a correct member would not send is an error, so that
//! nothing half-understood reaches Raft.

use bytes::Bytes;
use prost::Message as _;
use veridical_proto::etcdserverpb::Member;
use veridical_proto::peer as wire;
use veridical_raft::{
    AppendOutcome, ChangeKind, Entry, MembershipChange, Message, MessageBody, Payload, SnapshotMeta,
};
use veridical_storage::wal::LogEntry;

use crate::membership::directory::Directory;

/// Bytes that are no message of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A part that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value outside its range.
    #[error("{what} is {value}")]
    Invalid {
        /// Which value.
        what: &'static str,
        /// What it was.
        value: i64,
    },
    /// An embedded message does not decode.
    #[error("{what}: {source}")]
    Payload {
        /// Which message.
        what: &'static str,
        /// Why.
        source: prost::DecodeError,
    },
}

/// The kinds of log entries on disk.
const KIND_NOOP: u8 = 0;
const KIND_COMMAND: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

fn change_to_wire(change: &MembershipChange) -> wire::MembershipChange {
    use wire::membership_change::Kind;
    let kind = match change.kind {
        ChangeKind::AddVoter => Kind::AddVoter,
        ChangeKind::AddLearner => Kind::AddLearner,
        ChangeKind::Remove => Kind::Remove,
        ChangeKind::Update => Kind::Update,
    };
    wire::MembershipChange {
        kind: kind as i32,
        node: change.node,
        context: change.context.clone(),
    }
}

fn change_from_wire(change: wire::MembershipChange) -> Result<MembershipChange, CodecError> {
    use wire::membership_change::Kind;
    let kind = match Kind::try_from(change.kind) {
        Ok(Kind::AddVoter) => ChangeKind::AddVoter,
        Ok(Kind::AddLearner) => ChangeKind::AddLearner,
        Ok(Kind::Remove) => ChangeKind::Remove,
        Ok(Kind::Update) => ChangeKind::Update,
        Err(_) => {
            return Err(CodecError::Invalid {
                what: "membership change",
                value: i64::from(change.kind),
            });
        }
    };
    if change.node == 0 {
        return Err(CodecError::Missing("node of a membership change"));
    }
    Member::decode(change.context.clone()).map_err(|source| CodecError::Payload {
        what: "member",
        source,
    })?;
    Ok(MembershipChange {
        kind,
        node: change.node,
        context: change.context,
    })
}

fn entry_to_wire(entry: &Entry) -> wire::Entry {
    use wire::entry::Payload as Wire;
    let payload = match &entry.payload {
        Payload::Noop => Wire::Noop(true),
        Payload::Command(command) => Wire::Command(command.clone()),
        Payload::Membership(change) => Wire::Membership(change_to_wire(change)),
    };
    wire::Entry {
        term: entry.term,
        index: entry.index,
        payload: Some(payload),
    }
}

/// A command in memory of its own. As it comes it is a part of what was read from a connection at
/// once, and would keep all of that for as long as it is in the log.
pub(crate) fn detached(command: &Bytes) -> Bytes {
    Bytes::copy_from_slice(command)
}

fn entry_from_wire(entry: wire::Entry) -> Result<Entry, CodecError> {
    use wire::entry::Payload as Wire;
    let payload = match entry
        .payload
        .ok_or(CodecError::Missing("payload of an entry"))?
    {
        Wire::Noop(_) => Payload::Noop,
        Wire::Command(command) => Payload::Command(detached(&command)),
        Wire::Membership(change) => Payload::Membership(change_from_wire(change)?),
    };
    Ok(Entry {
        term: entry.term,
        index: entry.index,
        payload,
    })
}

/// The form of an entry in the write-ahead log.
pub(crate) fn entry_to_log(entry: &Entry) -> LogEntry {
    let (kind, data) = match &entry.payload {
        Payload::Noop => (KIND_NOOP, Bytes::new()),
        Payload::Command(command) => (KIND_COMMAND, command.clone()),
        Payload::Membership(change) => (
            KIND_MEMBERSHIP,
            change_to_wire(change).encode_to_vec().into(),
        ),
    };
    LogEntry {
        term: entry.term,
        index: entry.index,
        kind,
        data,
    }
}

/// An entry from its form in the write-ahead log.
pub(crate) fn entry_from_log(entry: LogEntry) -> Result<Entry, CodecError> {
    let payload = match entry.kind {
        KIND_NOOP => Payload::Noop,
        KIND_COMMAND => Payload::Command(entry.data),
        KIND_MEMBERSHIP => {
            let change = wire::MembershipChange::decode(entry.data).map_err(|source| {
                CodecError::Payload {
                    what: "membership change",
                    source,
                }
            })?;
            Payload::Membership(change_from_wire(change)?)
        }
        kind => {
            return Err(CodecError::Invalid {
                what: "kind of a log entry",
                value: i64::from(kind),
            });
        }
    };
    Ok(Entry {
        term: entry.term,
        index: entry.index,
        payload,
    })
}

fn outcome_to_wire(outcome: AppendOutcome) -> wire::append_response::Outcome {
    use wire::append_response::Outcome as Wire;
    match outcome {
        AppendOutcome::Accepted { index } => Wire::AcceptedIndex(index),
        AppendOutcome::Rejected {
            previous_index,
            hint_index,
            hint_term,
        } => Wire::Rejected(wire::AppendRejected {
            previous_index,
            hint_index,
            hint_term,
        }),
        AppendOutcome::SnapshotNeeded => Wire::SnapshotNeeded(true),
    }
}

fn outcome_from_wire(outcome: wire::append_response::Outcome) -> AppendOutcome {
    use wire::append_response::Outcome as Wire;
    match outcome {
        Wire::AcceptedIndex(index) => AppendOutcome::Accepted { index },
        Wire::Rejected(rejected) => AppendOutcome::Rejected {
            previous_index: rejected.previous_index,
            hint_index: rejected.hint_index,
            hint_term: rejected.hint_term,
        },
        Wire::SnapshotNeeded(_) => AppendOutcome::SnapshotNeeded,
    }
}

/// The wire form of a Raft message.
pub fn message_to_wire(message: &Message) -> wire::RaftMessage {
    use wire::raft_message::Body;
    let body = match &message.body {
        MessageBody::PreVote {
            last_index,
            last_term,
        } => Body::PreVote(wire::VoteRequest {
            last_index: *last_index,
            last_term: *last_term,
            transfer: false,
        }),
        MessageBody::PreVoteResponse { granted } => {
            Body::PreVoteResponse(wire::VoteResponse { granted: *granted })
        }
        MessageBody::Vote {
            last_index,
            last_term,
            transfer,
        } => Body::Vote(wire::VoteRequest {
            last_index: *last_index,
            last_term: *last_term,
            transfer: *transfer,
        }),
        MessageBody::VoteResponse { granted } => {
            Body::VoteResponse(wire::VoteResponse { granted: *granted })
        }
        MessageBody::Append {
            previous_index,
            previous_term,
            entries,
            commit,
        } => Body::Append(wire::Append {
            previous_index: *previous_index,
            previous_term: *previous_term,
            commit: *commit,
            entries: entries.iter().map(entry_to_wire).collect(),
        }),
        MessageBody::AppendResponse { outcome } => Body::AppendResponse(wire::AppendResponse {
            outcome: Some(outcome_to_wire(*outcome)),
        }),
        MessageBody::Heartbeat {
            commit,
            read_sequence,
        } => Body::Heartbeat(wire::Heartbeat {
            commit: *commit,
            read_sequence: *read_sequence,
        }),
        MessageBody::HeartbeatResponse { read_sequence } => {
            Body::HeartbeatResponse(wire::HeartbeatResponse {
                read_sequence: *read_sequence,
            })
        }
        MessageBody::ReadIndex { context } => {
            Body::ReadIndex(wire::ReadIndex { context: *context })
        }
        MessageBody::ReadIndexResponse { context, index } => {
            Body::ReadIndexResponse(wire::ReadIndexResponse {
                context: *context,
                index: index.unwrap_or(0),
                refused: index.is_none(),
            })
        }
        MessageBody::TimeoutNow => Body::TimeoutNow(wire::TimeoutNow {}),
    };
    wire::RaftMessage {
        from: message.from,
        to: message.to,
        term: message.term,
        body: Some(body),
    }
}

/// A Raft message from its wire form.
///
/// # Errors
/// What no correct member would send.
pub fn message_from_wire(message: wire::RaftMessage) -> Result<Message, CodecError> {
    use wire::raft_message::Body;
    if message.from == 0 {
        return Err(CodecError::Missing("sender"));
    }
    if message.to == 0 {
        return Err(CodecError::Missing("receiver"));
    }
    let body = match message
        .body
        .ok_or(CodecError::Missing("body of a Raft message"))?
    {
        Body::PreVote(vote) => MessageBody::PreVote {
            last_index: vote.last_index,
            last_term: vote.last_term,
        },
        Body::PreVoteResponse(vote) => MessageBody::PreVoteResponse {
            granted: vote.granted,
        },
        Body::Vote(vote) => MessageBody::Vote {
            last_index: vote.last_index,
            last_term: vote.last_term,
            transfer: vote.transfer,
        },
        Body::VoteResponse(vote) => MessageBody::VoteResponse {
            granted: vote.granted,
        },
        Body::Append(append) => MessageBody::Append {
            previous_index: append.previous_index,
            previous_term: append.previous_term,
            commit: append.commit,
            entries: append
                .entries
                .into_iter()
                .map(entry_from_wire)
                .collect::<Result<_, _>>()?,
        },
        Body::AppendResponse(response) => {
            let outcome = response
                .outcome
                .ok_or(CodecError::Missing("outcome of an append"))?;
            MessageBody::AppendResponse {
                outcome: outcome_from_wire(outcome),
            }
        }
        Body::Heartbeat(heartbeat) => MessageBody::Heartbeat {
            commit: heartbeat.commit,
            read_sequence: heartbeat.read_sequence,
        },
        Body::HeartbeatResponse(response) => MessageBody::HeartbeatResponse {
            read_sequence: response.read_sequence,
        },
        Body::ReadIndex(read) => MessageBody::ReadIndex {
            context: read.context,
        },
        Body::ReadIndexResponse(response) => MessageBody::ReadIndexResponse {
            context: response.context,
            index: (!response.refused).then_some(response.index),
        },
        Body::TimeoutNow(_) => MessageBody::TimeoutNow,
    };
    Ok(Message {
        from: message.from,
        to: message.to,
        term: message.term,
        body,
    })
}

/// What a snapshot file says beside the state machine: the members as of its index.
pub(crate) fn membership_to_bytes(meta: &SnapshotMeta, directory: &Directory) -> Bytes {
    wire::MembershipRecord {
        voters: meta.membership.voters.iter().copied().collect(),
        learners: meta.membership.learners.iter().copied().collect(),
        contexts: directory
            .iter()
            .map(|(node, member)| wire::MemberContext {
                node,
                context: member.encode_to_vec().into(),
            })
            .collect(),
    }
    .encode_to_vec()
    .into()
}

/// The inverse of [`membership_to_bytes`].
pub(crate) fn membership_from_bytes(
    index: u64,
    term: u64,
    bytes: Bytes,
) -> Result<(SnapshotMeta, Directory), CodecError> {
    let record = wire::MembershipRecord::decode(bytes).map_err(|source| CodecError::Payload {
        what: "membership of a snapshot",
        source,
    })?;
    let membership = veridical_raft::Membership {
        voters: record.voters.into_iter().collect(),
        learners: record.learners.into_iter().collect(),
    };
    let mut directory = Directory::default();
    for context in record.contexts {
        let member = Member::decode(context.context).map_err(|source| CodecError::Payload {
            what: "member",
            source,
        })?;
        directory.insert(context.node, member);
    }
    Ok((
        SnapshotMeta {
            index,
            term,
            membership,
        },
        directory,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_does_not_keep_what_was_read_together_with_it() {
        let read_at_once = Bytes::from(vec![7; 16 * 1024]);
        let entry = wire::Entry {
            term: 1,
            index: 1,
            payload: Some(wire::entry::Payload::Command(read_at_once.slice(100..200))),
        };
        let entry = entry_from_wire(entry).expect("it is whole");
        assert_eq!(entry.payload, Payload::Command(vec![7; 100].into()));
        assert!(read_at_once.is_unique());
    }
}
