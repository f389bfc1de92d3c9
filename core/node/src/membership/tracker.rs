//! The driver's end of the membership: connections to those who are members, changes that
//! wait to be committed, and the answers to those who asked for them.

use veridical_env::Environment;
use veridical_probe::{reachable, sometimes};
use veridical_proto::etcdserverpb::Member;
use veridical_raft::{Entry, LogIndex, Payload, Raft, Term};
use veridical_store::ApiError;

use crate::handles::Handles;
use crate::membership::changes::propose_change;
use crate::membership::directory::Directory;
use crate::peers::transport::Transport;
use crate::requests::{Intent, Reply};

/// Membership changes that wait until something at their index is committed. Raft takes
/// one at a time; those of leaders that were deposed may still wait.
pub(crate) const MEMBERSHIP_CHANGES_MAX: usize = 64;

/// A membership change that is in the log.
struct PendingChange {
    index: LogIndex,
    term: Term,
    reply: Reply,
}

/// Follows the membership for the driver.
pub(crate) struct MembershipTracker<E: Environment> {
    transport: Transport<E>,
    changes: Vec<PendingChange>,
    /// Whether connections are open to members that were removed.
    leaving: bool,
    learners_max: usize,
}

impl<E: Environment> MembershipTracker<E> {
    pub(crate) fn new(handles: &Handles<E>) -> Self {
        Self {
            transport: handles.transport.clone(),
            changes: Vec::new(),
            leaving: false,
            learners_max: handles.config.limits.max_learners,
        }
    }

    /// Whether connections are open to members that were removed.
    pub(crate) fn has_leaving(&self) -> bool {
        self.leaving
    }

    /// How many callers wait for a change.
    pub(crate) fn waiting(&self) -> usize {
        self.changes.len()
    }

    /// Opens and closes connections as `directory` says.
    pub(crate) fn follow(&mut self, raft: &Raft, directory: &Directory) {
        self.transport.connect(directory);
        self.drop_removed_peers(raft, directory);
    }

    /// Closes the connections to those who are no members any more, but for those whom
    /// Raft still tells of their removal.
    pub(crate) fn drop_removed_peers(&mut self, raft: &Raft, directory: &Directory) {
        let mut leaving = false;
        self.transport.retain(|node| {
            let is_member = directory.get(node).is_some();
            let is_told = !is_member && raft.progress(node).is_some();
            sometimes!(is_told, "node.removed-member-still-told-of-it");
            leaving |= is_told;
            is_member || is_told
        });
        self.leaving = leaving;
    }

    /// Opens connections to the members that `entries` add: a new member has to be
    /// reachable as soon as it is in the log.
    pub(crate) fn learn_addresses(&self, entries: &[Entry]) {
        for entry in entries {
            if let Payload::Membership(change) = &entry.payload {
                let mut directory = Directory::default();
                directory.apply(change);
                if let Some(address) = directory.peer_address(change.node) {
                    self.transport.set_peer(change.node, &address);
                }
            }
        }
    }

    /// Proposes a change as seen from the applied members; `reply` is answered once its
    /// index is committed, or now if it is refused.
    pub(crate) fn propose(
        &mut self,
        raft: &mut Raft,
        applied: (LogIndex, &Directory),
        intent: Intent,
        member: Member,
        reply: Reply,
    ) {
        if self.changes.len() >= MEMBERSHIP_CHANGES_MAX {
            let _ = reply.send(Err(ApiError::too_many_requests()));
            return;
        }
        match propose_change(raft, applied, intent, member, self.learners_max) {
            Ok((term, index)) => {
                assert!(
                    index > raft.commit_index(),
                    "the change at {index} was committed when it was proposed"
                );
                self.changes.push(PendingChange { index, term, reply });
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Answers those who asked for a membership change once its index is committed.
    pub(crate) fn settle_changes(&mut self, committed: &[Entry]) {
        for entry in committed {
            let (settled, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.changes)
                .into_iter()
                .partition(|change| change.index <= entry.index);
            self.changes = open;
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
