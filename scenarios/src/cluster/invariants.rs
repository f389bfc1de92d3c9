//! The properties that are checked at each step of a member.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use veridical_node::{Directory, Limits, NodeObserver, ProposalEnding, ProposalName};
use veridical_raft::{Entry, NodeId, Payload, Raft, Ready, Role, Term};
use veridical_world::{ProcessId, World};

use crate::cluster::moments::Moments;
use crate::observer::Observer;
use crate::plan::Moment;
use crate::properties::leadership::{LeadershipBound, LeadershipInvariants};
use crate::properties::log_size::LogSizes;
use crate::properties::members::MembershipInvariants;
use crate::properties::proposals::{Cause, ProposalInvariants};
use crate::properties::raft::{ClusterInvariants, LogStart, MemberState, ReadInvariants};
use crate::properties::{InvariantViolation, finding};

/// Watches over all members of a run.
#[derive(Clone)]
pub(super) struct Invariants {
    world: World,
    observer: Observer,
    state: Arc<Mutex<InvariantsState>>,
    moments: Arc<Moments>,
    /// The process of the member that is watched.
    process: Option<ProcessId>,
    /// Whether its disk decays.
    disk_decays: bool,
}

/// How the names of the segments of a log end.
const LOG_SUFFIX: &str = ".wal";

/// How the names of snapshots end.
const SNAPSHOT_SUFFIX: &str = ".snap";

struct InvariantsState {
    raft: ClusterInvariants,
    members: MembershipInvariants,
    reads: ReadInvariants,
    proposals: ProposalInvariants,
    leadership: LeadershipInvariants,
    log_sizes: LogSizes,
    /// The process of each member.
    processes: BTreeMap<NodeId, ProcessId>,
}

impl Invariants {
    pub(super) fn new(
        world: World,
        observer: Observer,
        moments: Arc<Moments>,
        limits: &Limits,
    ) -> Self {
        let bound = LeadershipBound {
            election_timeout: Duration::from_millis(limits.election_timeout_ms),
            heartbeat: Duration::from_millis(limits.heartbeat_ms),
        };
        let state = InvariantsState {
            raft: ClusterInvariants::default(),
            members: MembershipInvariants::default(),
            reads: ReadInvariants::default(),
            proposals: ProposalInvariants::default(),
            leadership: LeadershipInvariants::new(bound),
            log_sizes: LogSizes::default(),
            processes: BTreeMap::new(),
        };
        Self {
            world,
            observer,
            state: Arc::new(Mutex::new(state)),
            moments,
            process: None,
            disk_decays: false,
        }
    }

    /// The bytes of the log of a member.
    pub(super) fn log_bytes(&self, member: NodeId) -> u64 {
        let state = self.state.lock();
        let state = state.expect("no panic while the invariants are locked");
        state.log_sizes.bytes(member)
    }

    /// For the member of one process, whose disk may decay.
    pub(super) fn watching(&self, process: ProcessId, disk_decays: bool) -> Arc<dyn NodeObserver> {
        Arc::new(Self {
            process: Some(process),
            disk_decays,
            ..self.clone()
        })
    }

    /// What this member has read and relies on from now on must not be lost with the power: the
    /// log goes on in a segment that is synchronised, and so are snapshots and their names.
    fn check_what_was_read(&self) -> Result<(), InvariantViolation> {
        let Some(process) = self.process else {
            return Ok(());
        };
        let mut lossy = self.world.unsynchronised_files(process, SNAPSHOT_SUFFIX);
        if self.world.newest_file_is_pending(process, LOG_SUFFIX) {
            lossy.push("the newest segment of the log".to_owned());
        }
        match lossy[..] {
            [] => Ok(()),
            _ => InvariantViolation::new(
                "recovered-from-page-cache",
                format!("a member begins with what a loss of power may take back: {lossy:?}"),
            ),
        }
    }

    /// The term of a leader that no majority of its voters can answer.
    fn cut_off_in(&self, raft: &Raft, processes: &BTreeMap<NodeId, ProcessId>) -> Option<Term> {
        let own = (raft.role() == Role::Leader).then_some(self.process)??;
        let reaches = |voter: &NodeId| {
            *voter == raft.id()
                || processes.get(voter).is_none_or(|other| {
                    self.world.is_running(*other)
                        && !self.world.is_cut(own, *other)
                        && !self.world.is_cut(*other, own)
                })
        };
        let voters = &raft.membership().voters;
        let reached = voters.iter().filter(|voter| reaches(voter)).count();
        (reached * 2 <= voters.len()).then(|| raft.term())
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
            if let Some(process) = self.process {
                state.processes.insert(raft.id(), process);
            }
            if !self.disk_decays {
                self.check_what_was_read()?;
            }
            if self.disk_decays {
                state.raft.disk_decays(raft.id());
            }
            state.reads.started(raft.id());
            state.proposals.started(raft.id());
            let kept = raft.entries(raft.first_index()..raft.last_index() + 1);
            state.log_sizes.started(raft.id(), kept);
            state.raft.started(raft.into(), start, entries)?;
            state.raft.check_configuration(raft.id(), raft.membership())
        });
    }

    fn raft_stepped(&self, raft: &Raft, ready: &Ready) {
        let standing = MemberState::from(raft);
        let changes_log = !ready.entries.is_empty() || ready.install_snapshot.is_some();
        let is_configuration = |entry: &Entry| matches!(entry.payload, Payload::Membership(_));
        if standing.role == Role::Leader && ready.entries.iter().any(is_configuration) {
            self.moments
                .observe(Moment::ConfigurationUncommitted, standing.member);
        }
        self.check(|state| {
            state.raft.stepped(standing, ready)?;
            if changes_log {
                state
                    .raft
                    .check_configuration(standing.member, raft.membership())?;
            }
            state.log_sizes.stepped(raft, ready);
            state.reads.answered(standing.member, &ready.read_states)?;
            let cut_off_in = self.cut_off_in(raft, &state.processes);
            let now = self.world.now();
            let led_in = raft.leader().map(|_| standing.term);
            state.proposals.stepped(standing.member, led_in, now)?;
            state.leadership.stepped(standing.member, cut_off_in, now)?;
            match (standing.role, ready.soft_state) {
                (Role::Leader, Some(_)) => {
                    self.observer.judge().leads(standing.member, standing.term);
                    state.members.leads(standing.member, standing.term)
                }
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
        self.moments.observe(Moment::ReadIndexAsked, member_id);
        self.check(|state| {
            let committed = state.raft.committed();
            state.reads.asked(member_id, context, committed);
            Ok(())
        });
    }

    fn proposal_waits(&self, name: ProposalName) {
        self.check(|state| {
            state.proposals.waits(name);
            Ok(())
        });
    }

    fn proposal_applied(&self, name: ProposalName, is_duplicate: bool) {
        self.check(|state| state.proposals.applied(name, is_duplicate));
    }

    fn proposal_dispatched(&self, name: ProposalName, term: u64) {
        self.check(|state| {
            state.proposals.dispatched(name, term);
            Ok(())
        });
    }

    fn proposal_forgotten(&self, name: ProposalName) {
        self.check(|state| state.proposals.forgotten(name));
    }

    fn proposals_closed(&self, member_id: u64) {
        self.check(|state| {
            state.proposals.closed(member_id);
            Ok(())
        });
    }

    fn proposal_ended(&self, name: ProposalName, ending: ProposalEnding) {
        self.check(|state| {
            match state.proposals.ended(name, ending, self.world.now())? {
                None => {}
                Some(Cause::NotAppliedInTime) => self.observer.count("unknown.not_applied_in_time"),
                Some(Cause::StateTakenOver) => self.observer.count("unknown.state_taken_over"),
                Some(Cause::MemberEnds) => self.observer.count("unknown.member_ends"),
            }
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
