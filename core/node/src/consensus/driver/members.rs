//! Connections to those who are members, and answers to those who changed that.

use veridical_env::Environment;
use veridical_probe::{reachable, sometimes};
use veridical_raft::{Payload, Ready};
use veridical_store::ApiError;

use super::{Driver, connect};
use crate::membership::directory::Directory;

impl<E: Environment> Driver<E> {
    /// Opens and closes connections as the applied membership says.
    pub(super) fn follow_members(&mut self) {
        let directory = self.inputs.members.borrow_and_update().clone();
        connect(&self.outputs.transport, &directory, self.raft.id());
        self.let_go(&directory);
    }

    /// Closes the connections to those who are no members any more, but for those whom
    /// Raft still tells of their removal.
    pub(super) fn let_go(&mut self, directory: &Directory) {
        let raft = &self.raft;
        let mut leaving = false;
        self.outputs.transport.retain(|node| {
            let is_member = directory.get(node).is_some();
            let is_told = !is_member && raft.progress(node).is_some();
            sometimes!(is_told, "node.removed-member-still-told-of-it");
            leaving |= is_told;
            is_member || is_told
        });
        self.turn.leaving = leaving;
    }

    /// A new member has to be reachable as soon as it is in the log.
    pub(super) fn learn_addresses(&self, ready: &Ready) {
        for entry in &ready.entries {
            if let Payload::Membership(change) = &entry.payload {
                let mut directory = Directory::default();
                directory.apply(change);
                if let Some(address) = directory.peer_address(change.node) {
                    self.outputs.transport.set_peer(change.node, &address);
                }
            }
        }
    }

    /// Answers those who asked for a membership change once its index is committed.
    pub(super) fn settle_changes(&mut self, ready: &Ready) {
        for entry in &ready.committed {
            let (settled, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.turn.changes)
                .into_iter()
                .partition(|change| change.index <= entry.index);
            self.turn.changes = open;
            for change in settled {
                let result = if (change.index, change.term) == (entry.index, entry.term) {
                    Ok(())
                } else {
                    reachable!("node.membership-change-lost-with-its-leader");
                    Err(ApiError::leader_changed())
                };
                let _ = change.reply.send(result);
            }
        }
    }
}
