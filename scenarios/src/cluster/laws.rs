//! The properties that are checked at each step of a member.

use std::sync::{Arc, Mutex};
use veridical_node::{Directory, NodeObserver};
use veridical_raft::{Raft, Ready, Role};

use crate::observer::Observer;
use crate::properties::Broken;
use crate::properties::members::MemberLaws;
use crate::properties::raft::{RaftLaws, Standing};

/// Watches over all members of a run.
#[derive(Clone)]
pub(super) struct Laws {
    observer: Observer,
    state: Arc<Mutex<LawsState>>,
    /// Whether the disk of the member that is watched decays.
    disk_decays: bool,
}

#[derive(Default)]
struct LawsState {
    raft: RaftLaws,
    members: MemberLaws,
}

impl Laws {
    pub(super) fn new(observer: Observer) -> Self {
        Self {
            observer,
            state: Arc::default(),
            disk_decays: false,
        }
    }

    /// For one member, whose disk may decay.
    pub(super) fn watching(&self, disk_decays: bool) -> Arc<dyn NodeObserver> {
        Arc::new(Self {
            disk_decays,
            ..self.clone()
        })
    }

    fn check(&self, check: impl FnOnce(&mut LawsState) -> Result<(), Broken>) {
        let mut state = self
            .state
            .lock()
            .expect("no panic while the laws are locked");
        if let Err(broken) = check(&mut state) {
            self.observer.report(broken.into());
        }
    }
}

impl NodeObserver for Laws {
    fn raft_started(&self, raft: &Raft) {
        let first = raft.first_index();
        let base = (first - 1, raft.term_at(first - 1).unwrap_or_default());
        let entries = raft.entries(first..raft.last_index() + 1);
        self.check(|state| {
            if self.disk_decays {
                state.raft.disk_decays(raft.id());
            }
            state
                .raft
                .started(raft.into(), base, raft.applied_index(), entries)
        });
    }

    fn raft_stepped(&self, raft: &Raft, ready: &Ready) {
        let standing = Standing::from(raft);
        self.check(|state| {
            state.raft.stepped(standing, ready)?;
            match (standing.role, ready.soft_state) {
                (Role::Leader, Some(_)) => state.members.leads(standing.member, standing.term),
                _ => Ok(()),
            }
        });
    }

    fn members_applied(&self, member_id: u64, index: u64, directory: &Directory) {
        self.check(|state| {
            let term = state.raft.term_of(member_id).unwrap_or_default();
            state.members.applied(member_id, term, index, directory)
        });
    }
}
