//! Starts a member: recovers its state, makes the queues between its tasks, and starts the
//! tasks one after the other.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use veridical_env::{Environment, Listener, Network};
use veridical_storage::engine::Engine;
use veridical_storage::snapshot::SnapshotStore;
use veridical_storage::wal::Wal;
use veridical_store::{StoreConfig, StoreReader, WatchLimits};

use crate::assembly::channels::Channels;
use crate::assembly::error::StartError;
use crate::assembly::recovery::{RecoveredMember, recover};
use crate::config::NodeConfig;
use crate::consensus::driver::Driver;
use crate::consensus::log_writer::{DiskJob, LogWriter};
use crate::handles::Handles;
use crate::leases::lessor::Lessor;
use crate::leases::service::LeaseService;
use crate::membership::announcer::announce;
use crate::membership::directory::Directory;
use crate::membership::service::MembershipService;
use crate::peers::incoming::accept_peers;
use crate::peers::transport::Transport;
use crate::proposals::proposer::Proposer;
use crate::proposals::table::Proposals;
use crate::reads::waiters::AppliedWaiters;
use crate::requests::RaftHandle;
use crate::snapshots::job::{SnapshotEvent, SnapshotJob};
use crate::snapshots::task::SnapshotTask;
use crate::state_machine::applier::{Applier, ApplyOutputs};
use crate::state_machine::engine_content::AppliedState;
use crate::state_machine::engine_writer::{EngineQueue, engine_writer};
use crate::status::Status;
use crate::stop::Stop;

/// What is left in the hands of callers when all tasks of a member run.
pub(crate) struct RunningMember<E: Environment> {
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) environment: E,
    pub(crate) reader: StoreReader,
    pub(crate) proposer: Proposer<E::Clock>,
    pub(crate) raft: RaftHandle,
    pub(crate) leases: LeaseService<E>,
    pub(crate) membership: MembershipService<E>,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) stop: Stop,
    /// Whether the log has everything and is closed.
    pub(crate) log_closed: watch::Receiver<bool>,
    /// Whether the engine, if there is one, has everything and is closed.
    pub(crate) engine_closed: watch::Receiver<bool>,
    pub(crate) next_lease: AtomicU64,
    /// Where peers really reach this member (a port of 0 has been resolved).
    pub(crate) peer_address: String,
}

/// Recovers a member from its data folder and its engine, listens for peers and starts its
/// tasks.
pub(crate) async fn start_member<E: Environment>(
    environment: E,
    config: NodeConfig,
    mut engine: Option<Box<dyn Engine>>,
) -> Result<RunningMember<E>, StartError> {
    config.validate()?;
    let store_config = StoreConfig {
        feed: engine.is_some(),
        ..store_config(&environment, &config)
    };
    let recovered = recover(
        &environment,
        &config,
        &store_config,
        raft_config(&config),
        engine.as_mut(),
    )
    .await?;
    let listener = environment
        .network()
        .listen(&config.listen_peer_address)
        .await?;
    let handles = share(environment, config, &recovered);
    Ok(start_tasks(
        handles,
        store_config,
        recovered,
        engine,
        listener,
    ))
}

fn raft_config(config: &NodeConfig) -> veridical_raft::Config {
    let limits = &config.limits;
    veridical_raft::Config {
        id: config.member_id,
        election_ticks: (limits.election_timeout_ms / limits.heartbeat_ms) as u32,
        heartbeat_ticks: 1,
        max_append_bytes: limits.max_append_bytes,
        max_inflight_appends: limits.max_inflight_appends,
        max_inflight_bytes: limits.max_inflight_bytes,
        max_uncommitted_bytes: limits.max_uncommitted_bytes,
        max_pending_reads: limits.max_pending_reads,
        max_outstanding_readys: limits.max_outstanding_readys,
        max_committed_bytes: limits.max_committed_bytes,
        pre_vote: true,
        check_quorum: true,
        planted: config.planted,
    }
}

fn store_config<E: Environment>(environment: &E, config: &NodeConfig) -> StoreConfig {
    StoreConfig {
        shards: config.limits.shards,
        hash_seed: environment.random_seed(),
        max_txn_ops: config.limits.max_txn_ops,
        max_request_bytes: config.limits.max_request_bytes,
        watch: WatchLimits {
            max_catch_up_revisions: config.limits.watch_catch_up_revisions,
            max_buffered_events: config.limits.watch_buffered_events,
            max_buffered_bytes: config.limits.watch_buffered_bytes,
            max_control_responses: config.limits.watch_waiting_answers,
            max_catch_up_changes: config.limits.watch_catch_up_changes,
            ..WatchLimits::default()
        },
        trim_keys: config.limits.trim_keys,
        planted: config.planted,
        ..StoreConfig::default()
    }
}

/// Makes the parts that all tasks share, and opens the connections to the other members.
fn share<E: Environment>(
    environment: E,
    config: NodeConfig,
    recovered: &RecoveredMember<E>,
) -> Handles<E> {
    let AppliedState {
        store,
        meta: applied,
        directory,
    } = &recovered.state;
    if let Some(observer) = &config.observer {
        observer.raft_started(&recovered.raft);
        if !directory.is_empty() {
            observer.members_applied(config.member_id, applied.index, directory);
        }
    }
    let reader = store.reader();
    let transport = Transport::new(environment.clone(), &config);
    if directory.is_empty() {
        // A newcomer learns from the leader's snapshot who the members are, and until then
        // it has to answer those that it was told of.
        transport.connect(&Directory::new(config.initial_members.clone()));
    } else {
        transport.connect(directory);
    }
    let waiters = AppliedWaiters::default();
    waiters.advance(applied.index);
    Handles {
        environment,
        transport,
        proposals: Proposals::new(
            config.member_id,
            recovered.incarnation,
            config.limits.max_pending_requests,
            config.planted,
        ),
        waiters,
        lessor: Lessor::new(&config.limits, config.planted),
        reader,
        stop: Stop::new(),
        config: Arc::new(config),
    }
}

/// Starts the tasks. Each takes what it owns and a copy of the handles.
fn start_tasks<E: Environment>(
    handles: Handles<E>,
    store_config: StoreConfig,
    recovered: RecoveredMember<E>,
    engine: Option<Box<dyn Engine>>,
    listener: <E::Network as Network>::Listener,
) -> RunningMember<E> {
    let RecoveredMember {
        wal,
        files,
        state,
        newest_file_index,
        raft,
        ..
    } = recovered;
    let limits = &handles.config.limits;
    let channels = Channels::new(limits, &raft, state.meta.index, &state.directory);
    let (driver_ends, ends) = channels.split();

    let peer_address = listener.local_address();
    let transport = handles.transport.clone();
    let accepting = veridical_env::task::spawn(accept_peers(
        listener,
        transport,
        ends.members_seen.clone(),
        ends.inbound,
    ));
    let log_closed = start_log_writer(&handles, wal, ends.disk_jobs, ends.persisted);
    let (engine, engine_closed) = start_engine_writer(&handles, engine, &ends.snapshot_events);
    start_snapshots(&handles, files, ends.snapshot_jobs, ends.snapshot_events);
    let outputs = ApplyOutputs {
        snapshots: ends.snapshots,
        applied: ends.applied,
        members: ends.members,
        engine,
    };
    let applier = Applier::new(&handles, state, store_config, ends.apply_jobs, outputs);
    veridical_env::task::spawn(applier.run());
    let first_call = handles.environment.random_seed() >> 1;
    let leases = LeaseService::new(&handles, ends.raft.clone(), ends.status.clone(), first_call);
    let serving_leases = veridical_env::task::spawn(leases.clone().serve(ends.lease_frames));
    let expiring_leases = veridical_env::task::spawn(leases.clone().expire());
    let announcing = start_announcer(&handles, &ends.raft, ends.members_seen.clone());
    let driver = Driver::new(
        &handles,
        raft,
        driver_ends.inputs,
        driver_ends.outputs,
        newest_file_index,
    );
    start_driver(
        &handles,
        driver,
        [accepting, serving_leases, expiring_leases, announcing],
    );
    RunningMember {
        proposer: proposer(&handles, &ends.raft),
        membership: MembershipService::new(&handles, ends.raft.clone(), ends.members_seen),
        raft: ends.raft,
        leases,
        status: ends.status,
        log_closed,
        engine_closed,
        next_lease: AtomicU64::new(handles.environment.random_seed()),
        peer_address,
        config: handles.config,
        environment: handles.environment,
        reader: handles.reader,
        stop: handles.stop,
    }
}

fn proposer<E: Environment>(handles: &Handles<E>, raft: &RaftHandle) -> Proposer<E::Clock> {
    Proposer::new(
        handles.proposals.clone(),
        raft.clone(),
        handles.environment.clock().clone(),
        &handles.config,
    )
}

/// Lets the member tell of itself.
fn start_announcer<E: Environment>(
    handles: &Handles<E>,
    raft: &RaftHandle,
    members: watch::Receiver<Directory>,
) -> JoinHandle<()> {
    let proposer = proposer(handles, raft);
    let clock = handles.environment.clock().clone();
    let config = Arc::clone(&handles.config);
    veridical_env::task::spawn(async move { announce(proposer, clock, &config, members).await })
}

/// Starts the driver, with whose end the `endless` tasks end as well.
fn start_driver<E: Environment>(
    handles: &Handles<E>,
    driver: Driver<E>,
    endless: [JoinHandle<()>; 4],
) {
    let transport = handles.transport.clone();
    veridical_env::task::spawn(async move {
        // The driver ends when the member stops. Its channels close with it, and the log
        // writer ends after the last job.
        driver.run().await;
        for task in endless {
            task.abort();
        }
        transport.close();
    });
}

/// Returns whether the log has everything and is closed.
fn start_log_writer<E: Environment>(
    handles: &Handles<E>,
    wal: Wal<E::Disk>,
    jobs: mpsc::Receiver<DiskJob>,
    persisted: watch::Sender<u64>,
) -> watch::Receiver<bool> {
    let (closed_sender, closed) = watch::channel(false);
    let log_writer = LogWriter::new(handles, wal, jobs, persisted);
    handles
        .environment
        .spawn_disk_work("log-writer", async move {
            log_writer.run().await;
            closed_sender.send_replace(true);
        });
    closed
}

/// Returns the way to the engine, and whether the engine has everything and is closed.
fn start_engine_writer<E: Environment>(
    handles: &Handles<E>,
    engine: Option<Box<dyn Engine>>,
    events: &mpsc::Sender<SnapshotEvent>,
) -> (Option<EngineQueue>, watch::Receiver<bool>) {
    let (closed_sender, closed) = watch::channel(engine.is_none());
    let queue = engine.map(|engine| {
        let (queue, writer) = engine_writer(
            engine,
            &handles.config,
            events.clone(),
            handles.stop.clone(),
        );
        handles.environment.spawn_disk_work("engine", async move {
            writer.run().await;
            closed_sender.send_replace(true);
        });
        queue
    });
    (queue, closed)
}

fn start_snapshots<E: Environment>(
    handles: &Handles<E>,
    files: SnapshotStore<E::Disk>,
    jobs: mpsc::Receiver<SnapshotJob>,
    events: mpsc::Sender<SnapshotEvent>,
) {
    let first_transfer = handles.environment.random_seed() >> 1;
    let task = SnapshotTask::new(handles, files, jobs, events, first_transfer);
    handles.environment.spawn_disk_work("snapshots", task.run());
}
