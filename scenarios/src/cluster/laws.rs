//! The properties that are checked at each step of a member.

use std::sync::{Arc, Mutex};
use veridical_node::{Directory, NodeObserver};
use veridical_raft::{Raft, Ready, Role};
use veridical_world::{ProcessId, World};

use crate::observer::Observer;
use crate::properties::Broken;
use crate::properties::members::MemberLaws;
use crate::properties::raft::{Beginning, RaftLaws, Standing};
use crate::properties::reads::ReadLaws;

/// Watches over all members of a run.
#[derive(Clone)]
pub(super) struct Laws {
    world: World,
    observer: Observer,
    state: Arc<Mutex<LawsState>>,
    /// The process of the member that is watched.
    process: Option<ProcessId>,
    /// Whether its disk decays.
    disk_decays: bool,
}

/// How the names of the segments of a log end.
const LOG_SUFFIX: &str = ".wal";

#[derive(Default)]
struct LawsState {
    raft: RaftLaws,
    members: MemberLaws,
    reads: ReadLaws,
}

impl Laws {
    pub(super) fn new(world: World, observer: Observer) -> Self {
        Self {
            world,
            observer,
            state: Arc::default(),
            process: None,
            disk_decays: false,
        }
    }

    /// For the member of one process, whose disk may decay.
    pub(super) fn watching(&self, process: ProcessId, disk_decays: bool) -> Arc<dyn NodeObserver> {
        Arc::new(Self {
            process: Some(process),
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
        let (first, applied) = (raft.first_index(), raft.applied_index());
        let base = raft.snapshot_meta_at(first - 1).unwrap_or_default();
        let beginning = Beginning {
            base_index: first - 1,
            base_term: base.term,
            membership: base.membership,
            applied,
        };
        let entries = raft.entries(first..raft.last_index() + 1);
        self.check(|state| {
            if self.disk_decays {
                state.raft.disk_decays(raft.id());
            }
            state.reads.started(raft.id());
            state.raft.started(raft.into(), beginning, entries)?;
            state.raft.goes_by(raft.id(), raft.membership())
        });
    }

    fn raft_stepped(&self, raft: &Raft, ready: &Ready) {
        let standing = Standing::from(raft);
        let changes_log = !ready.entries.is_empty() || ready.install_snapshot.is_some();
        self.check(|state| {
            state.raft.stepped(standing, ready)?;
            if changes_log {
                state.raft.goes_by(standing.member, raft.membership())?;
            }
            state.reads.answered(standing.member, &ready.read_states)?;
            match (standing.role, ready.soft_state) {
                (Role::Leader, Some(_)) => state.members.leads(standing.member, standing.term),
                _ => Ok(()),
            }
        });
    }

    fn log_persisted(&self, member_id: u64, number: u64) {
        let is_pending = || match self.process {
            Some(process) => self.world.newest_file_is_pending(process, LOG_SUFFIX),
            None => false,
        };
        self.check(|state| state.raft.persisted(member_id, number, is_pending));
    }

    fn read_asked(&self, member_id: u64, context: u64) {
        self.check(|state| {
            let committed = state.raft.committed();
            state.reads.asked(member_id, context, committed);
            Ok(())
        });
    }

    fn members_applied(&self, member_id: u64, index: u64, directory: &Directory) {
        self.check(|state| {
            let term = state.raft.term_of(member_id).unwrap_or_default();
            let membership = directory.membership();
            state.raft.has_applied(member_id, index, &membership)?;
            state.members.applied(member_id, term, index, directory)
        });
    }
}
