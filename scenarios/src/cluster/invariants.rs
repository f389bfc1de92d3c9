//! The properties that are checked at each step of a member.

use std::sync::{Arc, Mutex};
use veridical_node::{Directory, NodeObserver};
use veridical_raft::{Raft, Ready, Role};
use veridical_world::{ProcessId, World};

use crate::observer::Observer;
use crate::properties::members::MembershipInvariants;
use crate::properties::raft::{ClusterInvariants, LogStart, MemberState, ReadInvariants};
use crate::properties::{InvariantViolation, finding};

/// Watches over all members of a run.
#[derive(Clone)]
pub(super) struct Invariants {
    world: World,
    observer: Observer,
    state: Arc<Mutex<InvariantsState>>,
    /// The process of the member that is watched.
    process: Option<ProcessId>,
    /// Whether its disk decays.
    disk_decays: bool,
}

/// How the names of the segments of a log end.
const LOG_SUFFIX: &str = ".wal";

#[derive(Default)]
struct InvariantsState {
    raft: ClusterInvariants,
    members: MembershipInvariants,
    reads: ReadInvariants,
}

impl Invariants {
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

    fn check(&self, check: impl FnOnce(&mut InvariantsState) -> Result<(), InvariantViolation>) {
        let mut state = self
            .state
            .lock()
            .expect("no panic while the invariants are locked");
        if let Err(broken) = check(&mut state) {
            self.observer.report(finding(broken));
        }
    }
}

impl NodeObserver for Invariants {
    fn raft_started(&self, raft: &Raft) {
        let start = LogStart::from(raft);
        let entries = raft.entries(raft.first_index()..raft.last_index() + 1);
        self.check(|state| {
            if self.disk_decays {
                state.raft.disk_decays(raft.id());
            }
            state.reads.started(raft.id());
            state.raft.started(raft.into(), start, entries)?;
            state.raft.check_configuration(raft.id(), raft.membership())
        });
    }

    fn raft_stepped(&self, raft: &Raft, ready: &Ready) {
        let standing = MemberState::from(raft);
        let changes_log = !ready.entries.is_empty() || ready.install_snapshot.is_some();
        self.check(|state| {
            state.raft.stepped(standing, ready)?;
            if changes_log {
                state
                    .raft
                    .check_configuration(standing.member, raft.membership())?;
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
            state
                .raft
                .check_applied_configuration(member_id, index, &membership)?;
            state.members.applied(member_id, term, index, directory)
        });
    }
}
