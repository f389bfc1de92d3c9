//! How the process of a site boots, and what its member tells the world outside.

use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use veridical_env::{Environment, Network};
use veridical_node::sessions::accept_clients;
use veridical_node::{Node, NodeConfig, StartError, Status, StopReason};
use veridical_probe::reachable;
use veridical_raft::Role;
use veridical_storage::FileError;
use veridical_storage::engine::Engine;
use veridical_storage::snapshot::SnapshotError;
use veridical_storage::wal::WalError;
use veridical_store::StoreReader;
use veridical_world::{ProcessId, SimEnvironment, World};

use crate::cluster::names::{DATA_DIR, client_address, member_name};
use crate::cluster::shared::{Election, Shared, lock};
use crate::observer::Observer;
use crate::view::MemberState;
use veridical_harness::recording::Recorder;
use veridical_harness::report::{Class, Finding};

/// How the names of unfinished files end, and what those of snapshots have in them.
const UNFINISHED_SUFFIX: &str = ".tmp";
const SNAPSHOT_INFIX: &str = ".snap.";

/// Why a member's process ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum MemberExit {
    #[error("does not start: {0}")]
    Start(#[from] StartError),
    #[error("cannot listen for clients: {0}")]
    Listen(io::Error),
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

    /// Whether it says where that is.
    fn names_a_file(&self) -> bool {
        self.to_string().contains(DATA_DIR)
    }

    /// Whether there was no room for what a start writes.
    fn is_start_without_room(&self) -> bool {
        let error = match self {
            Self::Start(StartError::Io(error)) => error,
            Self::Start(
                StartError::Wal(WalError::File(FileError::Io { source, .. }))
                | StartError::Snapshot(SnapshotError::File(FileError::Io { source, .. })),
            ) => source,
            Self::Start(_) | Self::Listen(_) | Self::Stopped(_) => return false,
        };
        error.kind() == io::ErrorKind::StorageFull
    }

    /// Whether a fault of the disk explains it.
    fn is_disk_trouble(&self) -> bool {
        match self {
            Self::Stopped(reason) => matches!(reason, StopReason::Disk(_)),
            Self::Start(error) => matches!(
                error,
                StartError::Io(_)
                    | StartError::Wal(WalError::File(FileError::Io { .. }))
                    | StartError::Snapshot(SnapshotError::File(FileError::Io { .. }))
            ),
            Self::Listen(_) => false,
        }
    }
}

/// What a member's process tells the world outside.
#[derive(Clone)]
pub(super) struct Outside {
    pub(super) world: World,
    pub(super) site: u32,
    pub(super) shared: Arc<Mutex<Shared>>,
    pub(super) elections: Arc<watch::Sender<Election>>,
    pub(super) observer: Observer,
    /// Whether disks lose what was acknowledged in this run, so that a member may notice.
    pub(super) may_forget: bool,
    /// Whether the disk here decays.
    pub(super) is_rotten: bool,
    pub(super) recorder: Option<Recorder<MemberState>>,
}

/// The process of a site: its member, if it has one.
pub(super) async fn boot(environment: SimEnvironment, outside: Outside) -> Result<(), MemberExit> {
    let (config, engine) = {
        let mut shared = lock(&outside.shared);
        shared.nodes.remove(&outside.site);
        let site = &mut shared.sites[outside.site as usize];
        let engine = site.engine.as_mut().map(|engine| {
            *engine = engine.crash();
            Box::new(engine.clone()) as Box<dyn Engine>
        });
        site.stop_asked = false;
        (site.config(), engine)
    };
    let Some(config) = config else {
        return pending().await;
    };
    let id = config.member_id;
    let process = environment.process();
    let leftovers = outside.unfinished_snapshots(process);
    let exit = run_member(environment, config, engine, &outside).await;
    if exit.is_start_without_room() {
        outside.check_leftovers(process, &leftovers);
    }
    outside.ended(id, &exit);
    Err(exit)
}

impl Outside {
    /// Snapshots on the disk here that were left unfinished.
    fn unfinished_snapshots(&self, process: ProcessId) -> Vec<String> {
        let mut files = self.world.read_files(process, UNFINISHED_SUFFIX);
        files.retain(|(name, _)| name.contains(SNAPSHOT_INFIX));
        files.into_iter().map(|(name, _)| name).collect()
    }

    /// The member did not start for want of room: what it found unfinished has to be gone. It may be
    /// what fills the disk, and nobody else removes it.
    fn check_leftovers(&self, process: ProcessId, found: &[String]) {
        let mut kept = self.unfinished_snapshots(process);
        kept.retain(|name| found.contains(name));
        if !kept.is_empty() {
            self.observer.report(Finding::new(
                Class::Violation,
                "leftovers-fill-the-disk",
                format!(
                    "{} does not start on a full disk, and keeps {kept:?} from before",
                    member_name(self.site)
                ),
            ));
        } else if !found.is_empty() {
            self.observer.count("leftovers.removed_from_a_full_disk");
        }
    }

    /// Member `id` has ended. Nobody but the disk, and those who removed it, may be the
    /// cause.
    fn ended(&self, id: u64, exit: &MemberExit) {
        let is_expected = match exit {
            MemberExit::Stopped(StopReason::Removed) => {
                let mut shared = lock(&self.shared);
                let was_asked = shared.removals.contains(&id);
                if was_asked {
                    shared.nodes.remove(&self.site);
                    shared.sites[self.site as usize].config = None;
                }
                was_asked
            }
            MemberExit::Stopped(StopReason::Requested) => {
                lock(&self.shared).sites[self.site as usize].stop_asked
            }
            MemberExit::Stopped(StopReason::DurabilityLost(_) | StopReason::SafetyLost(_)) => {
                self.may_forget
            }
            other if self.is_rotten && other.is_refusal() && other.names_a_file() => {
                reachable!("scenario.rotten-disk-refused", rare: "disks do not decay; the scenario rotten-disk comes by");
                true
            }
            other => other.is_disk_trouble(),
        };
        if !is_expected {
            self.observer.report(Finding::new(
                Class::Crash,
                "member-gave-up",
                format!("{} {exit}", member_name(self.site)),
            ));
        }
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

    /// Tells of a leader.
    fn leads(&self, term: u64) {
        self.elections.send_if_modified(|last| {
            let is_newer = term > last.term;
            if is_newer {
                *last = Election {
                    term,
                    leader: self.site,
                };
            }
            is_newer
        });
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

async fn run_member(
    environment: SimEnvironment,
    config: NodeConfig,
    engine: Option<Box<dyn Engine>>,
    outside: &Outside,
) -> MemberExit {
    let node = match Node::start_with_engine(environment.clone(), config, engine).await {
        Ok(node) => node,
        Err(error) => return error.into(),
    };
    let process = environment.process();
    outside.observer.judge().serves(
        outside.site,
        node.member_id(),
        node.watch_status(),
        node.reader().clone(),
    );
    let listening = environment
        .network()
        .listen(&client_address(outside.site))
        .await;
    let listener = match listening {
        Ok(listener) => listener,
        Err(error) => return MemberExit::Listen(error),
    };
    veridical_env::task::spawn(accept_clients(node.clone(), listener));
    veridical_env::task::spawn(outside.clone().follow(process, node.clone()));
    lock(&outside.shared)
        .nodes
        .insert(outside.site, node.clone());
    MemberExit::Stopped(node.stopped().await)
}
