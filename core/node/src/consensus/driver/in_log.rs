//! Which commands a leader has in its log and has not applied yet, so that it does not append
//! what is handed to it once more.
//!
//! Members hand a proposal out again when nothing comes of it, and to each new leader. Where
//! everything takes long, leaders that append the repetitions have more to replicate in every
//! term than in the one before. (Applying them is harmless: a command counts once.)

use std::collections::BTreeMap;

use prost::Message;
use veridical_probe::sometimes;
use veridical_raft::{Payload, Raft};

/// What names a command: the fields with which its encoding begins. What follows is passed over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Message)]
pub(super) struct CommandName {
    #[prost(uint64, tag = "1")]
    pub(super) member_id: u64,
    #[prost(uint64, tag = "2")]
    pub(super) incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub(super) sequence: u64,
}

/// Commands by name, with their index. Bounded by what may be in a log and not applied.
#[derive(Default)]
pub(super) struct InLog {
    indices: BTreeMap<CommandName, u64>,
}

impl InLog {
    /// Those that a member has which begins to lead. It keeps them while it does.
    pub(super) fn of(raft: &Raft) -> Self {
        let waiting = raft.entries(raft.applied_index() + 1..raft.last_index() + 1);
        let named = waiting.filter_map(|entry| match &entry.payload {
            Payload::Command(command) => {
                let name = CommandName::decode(command.as_ref()).ok()?;
                Some((name, entry.index))
            }
            Payload::Noop | Payload::Membership(_) => None,
        });
        let indices = BTreeMap::from_iter(named);
        sometimes!(
            !indices.is_empty(),
            "node.leader-begins-with-commands-of-earlier-terms"
        );
        Self { indices }
    }

    pub(super) fn has(&self, name: &CommandName) -> bool {
        self.indices.contains_key(name)
    }

    /// The command was appended at `index`.
    pub(super) fn insert(&mut self, name: CommandName, index: u64) {
        self.indices.insert(name, index);
    }

    /// Everything up to `index` is applied.
    pub(super) fn applied(&mut self, index: u64) {
        self.indices.retain(|_, at| *at > index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_proto::command::Command;
    use veridical_proto::command::command::Request;
    use veridical_proto::etcdserverpb::PutRequest;

    #[test]
    fn a_command_is_named_by_how_its_encoding_begins() {
        let command = Command {
            member_id: u64::MAX,
            incarnation: 3,
            sequence: 300,
            settled_below: 7,
            request: Some(Request::Put(PutRequest {
                key: "k".into(),
                value: vec![7; 1000].into(),
                ..Default::default()
            })),
        };
        let name = CommandName::decode(command.encode_to_vec().as_slice()).expect("a command");
        let expected = CommandName {
            member_id: u64::MAX,
            incarnation: 3,
            sequence: 300,
        };
        assert_eq!(name, expected);
    }

    #[test]
    fn a_command_is_known_until_it_is_applied() {
        let mut in_log = InLog::default();
        let name = CommandName::default();
        in_log.insert(name, 7);
        in_log.applied(6);
        assert!(in_log.has(&name));
        in_log.applied(7);
        assert!(!in_log.has(&name));
    }
}
