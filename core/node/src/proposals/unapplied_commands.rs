//! Which commands a leader has in its log and has not applied yet, so that it does not append
//! a second time what is dispatched to it again.
//!
//! Members dispatch a proposal again when nothing comes of it, and to each new leader. Where
//! everything takes long, leaders that append the repetitions have more to replicate in every
//! term than in the one before. (Applying them is harmless: a command counts once.)

use std::collections::BTreeMap;

use prost::Message;
use veridical_probe::sometimes;
use veridical_raft::{Payload, Raft};

/// What names a command: the fields with which its encoding begins. Decoding passes over what
/// follows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Message)]
pub(crate) struct CommandName {
    #[prost(uint64, tag = "1")]
    pub(crate) member_id: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) incarnation: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) sequence: u64,
}

/// Commands by name, with their index. Bounded by what may be in a log and not applied.
#[derive(Default)]
pub(crate) struct UnappliedCommands {
    indices: BTreeMap<CommandName, u64>,
}

impl UnappliedCommands {
    /// The commands that the log of a member has when it begins to lead.
    pub(crate) fn of(raft: &Raft) -> Self {
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

    /// Whether a command is in the log and not applied.
    pub(crate) fn has(&self, name: &CommandName) -> bool {
        self.indices.contains_key(name)
    }

    /// The command was appended at `index`.
    pub(crate) fn insert(&mut self, name: CommandName, index: u64) {
        let other = self.indices.insert(name, index);
        assert!(
            other.is_none(),
            "the command at {index} was in the log already, at {other:?}"
        );
    }

    /// Everything up to `index` is applied.
    pub(crate) fn applied(&mut self, index: u64) {
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
        let mut unapplied = UnappliedCommands::default();
        let name = CommandName::default();
        unapplied.insert(name, 7);
        unapplied.applied(6);
        assert!(unapplied.has(&name));
        unapplied.applied(7);
        assert!(!unapplied.has(&name));
    }

    #[test]
    #[should_panic(expected = "the command at 9 was in the log already, at Some(7)")]
    fn a_command_is_in_the_log_once() {
        let mut unapplied = UnappliedCommands::default();
        unapplied.insert(CommandName::default(), 7);
        unapplied.insert(CommandName::default(), 9);
    }
}
