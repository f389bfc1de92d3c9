//! Puts the tasks of a member together.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::{mpsc, watch};
use veridical_env::{Environment, Listener, Network};
use veridical_raft::Role;
use veridical_storage::engine::Engine;
use veridical_store::{StoreConfig, WatchLimits};

use crate::api::node::{Node, Shared};
use crate::assembly::recovery::{RecoveredMember, StartError, recover};
use crate::config::NodeConfig;
use crate::consensus::driver::{Driver, Inputs, Outputs, connect};
use crate::consensus::log_writer::LogWriter;
use crate::leases::lessor::LeaseKeeper;
use crate::leases::service::LeaseDesk;
use crate::membership::directory::Directory;
use crate::peers::transport::{Transport, accept_peers};
use crate::proposals::table::Proposals;
use crate::reads::waiters::AppliedWaiters;
use crate::snapshots::task::Snapshots;
use crate::state_machine::applier::Applier;
use crate::state_machine::engine_writer::materialiser;
use crate::status::Status;
use crate::stop::Stop;

/// Tidings from the snapshot task that wait, for each job that can wait there. More than
/// a job produces, so that the task never waits for the driver while the driver waits
/// for it.
const EVENTS_PER_SNAPSHOT_JOB: usize = 16;

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

impl<E: Environment> Node<E> {
    /// Recovers the member from its data folder (or begins one), listens for peers and
    /// starts its tasks. Reads the disk: call it where that may block.
    ///
    /// # Errors
    /// The data folder cannot be used or is somebody else's, or the address is taken.
    pub async fn start(environment: E, config: NodeConfig) -> Result<Self, StartError> {
        Self::start_with_engine(environment, config, None).await
    }

    /// The same with an engine that keeps a durable copy of the applied state: instead of
    /// writing a snapshot every `snapshot_entries`, the member flushes the engine, and it
    /// starts from what the engine has. An engine belongs to one data folder; one that is
    /// empty, or behind the folder's newest snapshot, is filled from that.
    ///
    /// # Errors
    /// As above, and the engine cannot be used.
    pub async fn start_with_engine(
        environment: E,
        config: NodeConfig,
        mut engine: Option<Box<dyn Engine>>,
    ) -> Result<Self, StartError> {
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
        Ok(assemble(
            environment,
            config,
            store_config,
            recovered,
            engine,
            listener,
        ))
    }
}

fn assemble<E: Environment>(
    environment: E,
    config: NodeConfig,
    store_config: StoreConfig,
    recovered: RecoveredMember<E>,
    engine: Option<Box<dyn Engine>>,
    listener: <E::Network as Network>::Listener,
) -> Node<E> {
    let limits = config.limits.clone();
    let clock = environment.clock().clone();
    let stop = Stop::new();
    let RecoveredMember {
        incarnation,
        wal,
        files,
        store,
        directory,
        applied: last_applied,
        newest_file_index,
        raft,
    } = recovered;
    if let Some(observer) = &config.observer {
        observer.raft_started(&raft);
        if !directory.is_empty() {
            observer.members_applied(config.member_id, last_applied.index, &directory);
        }
    }
    let reader = store.reader();
    let transport = Transport::new(environment.clone(), &config);
    if directory.is_empty() {
        // A newcomer: who the members are it learns from the leader's snapshot, and until
        // then it has to answer those that it was told of.
        let told = Directory::new(config.initial_members.clone());
        connect(&transport, &told, config.member_id);
    } else {
        connect(&transport, &directory, config.member_id);
    }
    let proposals = Proposals::new(
        config.member_id,
        incarnation,
        limits.max_pending_requests,
        config.planted,
    );
    let waiters = AppliedWaiters::default();
    waiters.advance(last_applied.index);
    let keeper = LeaseKeeper::new(&limits, config.planted);

    let (inbound_sender, inbound) = mpsc::channel(limits.max_inbox_messages);
    let (requests_sender, requests) = mpsc::channel(limits.max_pending_requests);
    let (disk_sender, disk_jobs) = mpsc::channel(limits.max_disk_jobs);
    let (apply_sender, apply_jobs) = mpsc::channel(limits.max_apply_batches);
    let (snapshot_sender, snapshot_jobs) = mpsc::channel(limits.max_snapshot_jobs);
    let (events_sender, snapshot_events) =
        mpsc::channel(EVENTS_PER_SNAPSHOT_JOB * limits.max_snapshot_jobs);
    let (lease_sender, lease_frames) = mpsc::channel(limits.max_lease_frames);
    let (persisted_sender, persisted) = watch::channel(0);
    let (applied_sender, applied) = watch::channel(last_applied.index);
    let (members_sender, members) = watch::channel(directory.clone());
    let (status_sender, status) = watch::channel(Status {
        term: raft.term(),
        leader: None,
        role: Role::Follower,
        commit_index: raft.commit_index(),
        last_index: raft.last_index(),
        learner: raft.membership().learners.contains(&config.member_id),
    });
    let (stopped_sender, stopped) = watch::channel(false);

    let peer_address = listener.local_address();
    let accepting =
        veridical_env::task::spawn(accept_peers(listener, transport.clone(), inbound_sender));
    let log_writer = LogWriter {
        wal,
        jobs: disk_jobs,
        group_commit_jobs: limits.group_commit_jobs,
        persisted: persisted_sender,
        transport: transport.clone(),
        clock: clock.clone(),
        planted: config.planted,
        member_id: config.member_id,
        observer: config.observer.clone(),
        stop: stop.clone(),
    };
    environment.spawn_disk_work("log-writer", async move {
        log_writer.run().await;
        stopped_sender.send_replace(true);
    });
    let (materialised_sender, materialised) = watch::channel(engine.is_none());
    let engine_queue = engine.map(|engine| {
        let events = events_sender.clone();
        let (queue, materialiser) = materialiser(engine, &config, events, stop.clone());
        environment.spawn_disk_work("engine", async move {
            materialiser.run().await;
            materialised_sender.send_replace(true);
        });
        queue
    });
    let snapshots = Snapshots::new(
        files,
        limits.clone(),
        clock.clone(),
        transport.clone(),
        snapshot_jobs,
        events_sender,
        stop.clone(),
        environment.random_seed() >> 1,
    );
    environment.spawn_disk_work("snapshots", snapshots.run());
    let applier = Applier::<E> {
        store,
        store_config,
        directory,
        last_term: last_applied.term,
        last_snapshot_index: last_applied.index,
        member_id: config.member_id,
        limits: limits.clone(),
        clock: clock.clone(),
        jobs: apply_jobs,
        snapshots: snapshot_sender.clone(),
        engine: engine_queue,
        proposals: proposals.clone(),
        waiters: waiters.clone(),
        keeper: keeper.clone(),
        observer: config.observer.clone(),
        applied: applied_sender,
        members: members_sender,
        stop: stop.clone(),
    };
    veridical_env::task::spawn(applier.run());
    let desk = LeaseDesk::new(
        keeper.clone(),
        requests_sender.clone(),
        proposals.clone(),
        transport.clone(),
        reader.clone(),
        clock.clone(),
        limits.clone(),
        environment.random_seed() >> 1,
    );
    let serving_leases = veridical_env::task::spawn(desk.clone().serve(lease_frames));
    let expiring = veridical_env::task::spawn(desk.clone().expire());
    let driver = Driver::new(
        raft,
        limits,
        clock,
        Inputs {
            inbound,
            requests,
            snapshot_events,
            persisted,
            applied,
            members: members.clone(),
        },
        Outputs {
            disk: disk_sender,
            apply: apply_sender,
            snapshots: snapshot_sender,
            lease_frames: lease_sender,
            transport: transport.clone(),
            status: status_sender,
        },
        proposals.clone(),
        waiters,
        keeper,
        reader.clone(),
        newest_file_index,
        config.planted,
        config.observer.clone(),
        stop.clone(),
    );
    veridical_env::task::spawn(async move {
        // It ends when the member stops. Its channels close with it, and the log
        // writer ends after the last job.
        driver.run().await;
        accepting.abort();
        serving_leases.abort();
        expiring.abort();
        transport.close();
    });
    let next_lease = AtomicU64::new(environment.random_seed());
    Node {
        shared: Arc::new(Shared {
            config,
            environment,
            reader,
            proposals,
            requests: requests_sender,
            desk,
            status,
            members,
            stop,
            stopped,
            materialised,
            next_lease,
            peer_address,
        }),
    }
}
