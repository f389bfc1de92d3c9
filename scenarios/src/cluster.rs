//! The members of a run: how they boot, and what is checked of them from outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;
use tracing::info;
use veridical_env::{Environment, Network};
use veridical_node::session::accept_clients;
use veridical_node::{Directory, Node, NodeConfig, NodeObserver, StartError, Status, StopReason};
use veridical_probe::reachable;
use veridical_proto::etcdserverpb::Member;
use veridical_raft::{Raft, Ready, Role};
use veridical_sim::{ProcessExit, ProcessId, SimEnvironment, World};
use veridical_storage::engine::{Engine, MemoryEngine};
use veridical_storage::snapshot::SnapshotError;
use veridical_storage::wal::WalError;
use veridical_store::{StateHash, StoreReader};

use crate::observer::Observer;
use crate::plan::Plan;
use crate::properties::Broken;
use crate::properties::leases::LeaseDeadlines;
use crate::properties::members::MemberLaws;
use crate::properties::raft::{RaftLaws, Standing};
use crate::report::{Class, Finding};
use crate::view::{MemberState, Recorder};

/// Where members listen for clients.
pub const CLIENT_PORT: u16 = 2379;

/// Where members listen for each other.
const PEER_PORT: u16 = 2380;

/// The cluster that all members of a run belong to.
const CLUSTER_ID: u64 = 0x5eed;

/// The host name of a member.
pub fn member_name(index: u32) -> String {
    format!("member-{}", index + 1)
}

/// Where a member listens for clients.
pub fn client_address(index: u32) -> String {
    format!("{}:{CLIENT_PORT}", member_name(index))
}

/// Why a member's process ended.
#[derive(Debug, thiserror::Error)]
enum MemberExit {
    #[error("does not start: {0}")]
    Start(#[from] StartError),
    #[error("cannot listen for clients: {0}")]
    Listen(std::io::Error),
    #[error(transparent)]
    Stopped(StopReason),
}

impl MemberExit {
    /// Whether the member refuses what it finds on its disk, and says so.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Start(_) => true,
            Self::Stopped(reason) => matches!(reason, StopReason::Disk(_) | StopReason::Log(_)),
            Self::Listen(_) => false,
        }
    }

    /// Whether a fault of the disk explains it.
    fn is_disk_trouble(&self) -> bool {
        match self {
            Self::Stopped(reason) => matches!(reason, StopReason::Disk(_)),
            Self::Start(error) => matches!(
                error,
                StartError::Io(_)
                    | StartError::Wal(WalError::Io { .. })
                    | StartError::Snapshot(SnapshotError::Io { .. })
            ),
            Self::Listen(_) => false,
        }
    }
}

/// The members of a run, seen from outside.
#[derive(Clone)]
pub struct Cluster {
    world: World,
    observer: Observer,
    processes: Vec<ProcessId>,
    nodes: Arc<Mutex<BTreeMap<u32, Node<SimEnvironment>>>>,
    seen: Arc<Mutex<Seen>>,
    elections: Arc<watch::Sender<Election>>,
    /// The member whose disk decays.
    rotten: Option<u32>,
}

/// A member has become leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Election {
    /// Of this term.
    pub term: u64,
    /// This member.
    pub leader: u32,
}

/// What members have shown so far, for properties over all of them.
#[derive(Default)]
struct Seen {
    states: BTreeMap<u64, (u32, StateHash)>,
}

/// States of members that are remembered for comparison, by applied index.
const REMEMBERED_STATES_MAX: usize = 4_096;

impl Cluster {
    /// Adds the members to the world and starts them.
    pub fn start(
        world: &World,
        observer: &Observer,
        plan: &Plan,
        recorder: Option<Recorder>,
    ) -> Self {
        let nodes = Arc::new(Mutex::new(BTreeMap::new()));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let elections = Arc::new(watch::Sender::new(Election::default()));
        let laws: Arc<dyn NodeObserver> = Arc::new(Laws {
            observer: observer.clone(),
            state: Mutex::default(),
        });
        let processes = (0..plan.members)
            .map(|index| {
                let config = node_config(plan, index, &laws);
                let is_rotten = plan.rotten_member == Some(index);
                let engine = plan
                    .engine
                    .then(|| Arc::new(Mutex::new(MemoryEngine::new())));
                let outside = Outside {
                    index,
                    nodes: Arc::clone(&nodes),
                    elections: Arc::clone(&elections),
                    observer: observer.clone(),
                    recorder: recorder.clone(),
                };
                world.add_process(&member_name(index), move |environment| {
                    let (config, outside) = (config.clone(), outside.clone());
                    let engine = engine.as_deref().map(reopened);
                    async move {
                        let observer = outside.observer.clone();
                        let exit = run_member(environment, config, engine, outside).await;
                        if is_rotten && exit.is_refusal() {
                            reachable!("scenario.rotten-disk-refused");
                        } else if !exit.is_disk_trouble() {
                            observer.report(Finding::new(
                                Class::Crash,
                                "member-gave-up",
                                format!("{} {exit}", member_name(index)),
                            ));
                        }
                        Err::<(), MemberExit>(exit)
                    }
                })
            })
            .collect();
        Self {
            world: world.clone(),
            observer: observer.clone(),
            processes,
            nodes,
            seen,
            elections,
            rotten: plan.rotten_member,
        }
    }

    /// Waits until a member's commit index has risen, or until it has stopped.
    pub async fn commits_something(&self, index: u32) {
        let node = self
            .nodes
            .lock()
            .expect("no panic while the nodes are locked")
            .get(&index)
            .cloned();
        let Some(node) = node else { return };
        let mut status = node.watch_status();
        let before = status.borrow().commit_index;
        // A member that has stopped commits nothing more.
        let _ = status.wait_for(|status| status.commit_index > before).await;
    }

    /// Tells of each new leader.
    pub fn elections(&self) -> watch::Receiver<Election> {
        self.elections.subscribe()
    }

    /// The process of a member.
    pub fn process(&self, index: u32) -> ProcessId {
        self.processes[index as usize]
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<u32, Node<SimEnvironment>>> {
        self.nodes
            .lock()
            .expect("no panic while the nodes are locked")
    }

    /// The members that run now.
    pub fn running(&self) -> Vec<(u32, Node<SimEnvironment>)> {
        self.nodes()
            .iter()
            .filter(|(index, _)| self.world.is_running(self.processes[**index as usize]))
            .map(|(index, node)| (*index, node.clone()))
            .collect()
    }

    /// Starts a member again whenever it has ended by itself, as a supervisor would. A
    /// panic is a finding.
    pub async fn supervise(self, index: u32, restart_delay: std::time::Duration) {
        let process = self.process(index);
        loop {
            let exit = self.world.exited(process).await;
            info!(member = %member_name(index), %exit, "a member ended");
            if let ProcessExit::Panicked(text) = exit {
                self.observer.report(Finding::new(
                    Class::Crash,
                    "panic",
                    format!("{} panicked: {text}", member_name(index)),
                ));
            }
            self.world.sleep(restart_delay).await;
            if self.world.is_running(process) {
                continue;
            }
            self.world.restart(process);
            // The restart takes a moment; until then the old exit would be seen again.
            self.world.sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Looks at all members and compares what must agree: equal states at equal applied
    /// indexes (Raft paper, state machine safety).
    pub fn compare(&self) {
        let mut seen = self
            .seen
            .lock()
            .expect("no panic while the comparison is locked");
        for (index, node) in self.running() {
            let hash = node.reader().state_hash();
            let applied = hash.applied_index;
            let (other, known) = *seen.states.entry(applied).or_insert((index, hash));
            if known != hash {
                self.observer.report(Finding::new(
                    Class::Violation,
                    "states-differ",
                    format!(
                        "{} and {} differ at applied index {applied}: {known:?} and {hash:?}",
                        member_name(other),
                        member_name(index),
                    ),
                ));
            }
            while seen.states.len() > REMEMBERED_STATES_MAX {
                seen.states.pop_first();
            }
        }
    }

    /// Looks at the leases that are left, by what the most advanced member has applied.
    /// Whether there are none.
    pub fn leases_end(&self, deadlines: &mut LeaseDeadlines) -> Result<bool, Finding> {
        let running = self.running();
        let newest = running
            .iter()
            .max_by_key(|(_, node)| node.reader().applied_index());
        let Some((_, node)) = newest else {
            return Ok(false);
        };
        let left: BTreeMap<i64, i64> = node.reader().leases().into_iter().collect();
        let terms = running.iter().map(|(_, node)| node.raft_status().term);
        deadlines.look(self.world.now(), terms.max().unwrap_or_default(), &left)?;
        Ok(left.is_empty())
    }

    /// Whether all members run and have applied the same index; but for the one whose disk
    /// decays, which may be down for good.
    pub fn is_level(&self) -> bool {
        let mut running = self.running();
        running.retain(|(index, _)| Some(*index) != self.rotten);
        let expected = self.processes.len() - usize::from(self.rotten.is_some());
        let first = running
            .first()
            .map(|(_, node)| node.reader().applied_index());
        running.len() == expected
            && running
                .iter()
                .all(|(_, node)| Some(node.reader().applied_index()) == first)
    }

    /// What the members are doing, for a report.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for index in 0..self.processes.len() as u32 {
            let name = member_name(index);
            let node = self.nodes().get(&index).cloned();
            match node {
                Some(node) if self.world.is_running(self.process(index)) => {
                    let status = node.raft_status();
                    text.push_str(&format!(
                        "\n  {name}: {:?} of term {}, leader {:?}, log {}, commit {}, applied {}, \
                         revision {}",
                        status.role,
                        status.term,
                        status.leader,
                        status.last_index,
                        status.commit_index,
                        node.reader().applied_index(),
                        node.reader().revision(),
                    ));
                }
                _ => text.push_str(&format!("\n  {name}: down")),
            }
        }
        text
    }
}

fn node_config(plan: &Plan, index: u32, laws: &Arc<dyn NodeObserver>) -> NodeConfig {
    let initial_members = (0..plan.members)
        .map(|index| {
            let id = u64::from(index) + 1;
            let member = Member {
                id,
                name: member_name(index),
                peer_ur_ls: vec![format!("http://{}:{PEER_PORT}", member_name(index))],
                client_ur_ls: vec![format!("http://{}", client_address(index))],
                is_learner: false,
            };
            (id, member)
        })
        .collect();
    NodeConfig {
        member_id: u64::from(index) + 1,
        cluster_id: CLUSTER_ID,
        initial_members,
        join: false,
        data_dir: "/data".into(),
        listen_peer_address: format!("{}:{PEER_PORT}", member_name(index)),
        limits: plan.knobs.clone(),
        planted: plan.planted(),
        observer: Some(Arc::clone(laws)),
    }
}

/// The properties that are checked at each step of a member.
struct Laws {
    observer: Observer,
    state: Mutex<LawsState>,
}

#[derive(Default)]
struct LawsState {
    raft: RaftLaws,
    members: MemberLaws,
}

impl Laws {
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

/// What a member's process tells the world outside.
#[derive(Clone)]
struct Outside {
    index: u32,
    nodes: Arc<Mutex<BTreeMap<u32, Node<SimEnvironment>>>>,
    elections: Arc<watch::Sender<Election>>,
    observer: Observer,
    recorder: Option<Recorder>,
}

impl Outside {
    /// Tells of a leader.
    fn leads(&self, term: u64) {
        self.elections.send_if_modified(|last| {
            let is_newer = term > last.term;
            if is_newer {
                *last = Election {
                    term,
                    leader: self.index,
                };
            }
            is_newer
        });
    }

    /// Follows what a member says of its role.
    async fn follow(self, process: ProcessId, node: Node<SimEnvironment>) {
        let mut status = node.watch_status();
        if let Some(recorder) = &self.recorder {
            // Not the node itself: its end is part of the run.
            let (status, reader) = (status.clone(), node.reader().clone());
            let look = move || state_of(&status.borrow(), &reader);
            recorder.follow(process, now_ns(), Box::new(look));
        }
        loop {
            if let Some(recorder) = &self.recorder {
                recorder.look(process, now_ns());
            }
            let (role, term) = {
                let status = status.borrow_and_update();
                (status.role, status.term)
            };
            if role == Role::Leader {
                self.leads(term);
            }
            if status.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The present time of the run.
fn now_ns() -> u64 {
    World::time_here().unwrap_or_default().as_nanos() as u64
}

/// What a member is now.
fn state_of(status: &Status, reader: &StoreReader) -> MemberState {
    let role = match status.role {
        _ if status.learner => "learner",
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    };
    MemberState {
        role: role.to_owned(),
        term: status.term,
        leader: status.leader,
        commit: status.commit_index,
        applied: reader.applied_index(),
        last: status.last_index,
        revision: reader.revision(),
    }
}

/// The engine as the next incarnation of its member finds it.
fn reopened(engine: &Mutex<MemoryEngine>) -> Box<dyn Engine> {
    let mut engine = engine.lock().expect("no panic while an engine is reopened");
    *engine = engine.crash();
    Box::new(engine.clone())
}

async fn run_member(
    environment: SimEnvironment,
    config: NodeConfig,
    engine: Option<Box<dyn Engine>>,
    outside: Outside,
) -> MemberExit {
    let node = match Node::start_with_engine(environment.clone(), config, engine).await {
        Ok(node) => node,
        Err(error) => return error.into(),
    };
    let process = environment.process();
    let listening = environment
        .network()
        .listen(&client_address(outside.index))
        .await;
    let listener = match listening {
        Ok(listener) => listener,
        Err(error) => return MemberExit::Listen(error),
    };
    veridical_env::task::spawn(accept_clients(node.clone(), listener));
    veridical_env::task::spawn(outside.clone().follow(process, node.clone()));
    outside
        .nodes
        .lock()
        .expect("no panic while the nodes are locked")
        .insert(outside.index, node.clone());
    MemberExit::Stopped(node.stopped().await)
}

#[cfg(test)]
mod tests {
    use crate::swarm::FAILPOINTS;

    #[test]
    fn the_swarm_crashes_members_at_every_failpoint_of_the_store() {
        let of_the_store: Vec<&str> = veridical_probe::failpoints().into_keys().collect();
        assert_eq!(of_the_store, FAILPOINTS);
    }
}
