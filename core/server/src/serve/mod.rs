//! The life of a member's process.

mod admission;
mod authority;
mod bootstrap;
mod clients;
mod engine;
mod etcd_environment;
mod flags;
mod grpc_connection;
mod http1;
mod identity;
mod join;
mod listen;
mod logging;
mod open_files;
mod protocol;

use std::collections::BTreeMap;
use std::io;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};
use veridical_env::RealEnvironment;
use veridical_node::{Node, NodeConfig, StartError, StopReason};
use veridical_proto::command::MemberAttributes;
use veridical_proto::etcdserverpb::Member;
use veridical_storage::engine::EngineError;

use crate::grpc::Advertised;
use admission::Admission;
use clients::{Clients, Reception};
pub use etcd_environment::ServeArguments;
use flags::{Beginning, ServeConfig};
use identity::{DataDir, DataDirError, Identity};
use join::JoinError;
use listen::ListenError;

/// Why a member could not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum ServeError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("data folder {0}")]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("--force-new-cluster: the data folder has no data of a member to go on with")]
    NothingToForce,
    #[error("no runtime: {0}")]
    Runtime(io::Error),
    #[error("signals: {0}")]
    Signals(io::Error),
    #[error("{0}")]
    Stopped(StopReason),
}

/// Why a member could not serve, for a person.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ServeFailure {
    text: String,
    is_usage_error: bool,
}

impl ServeFailure {
    /// Whether it is for the user to set right: flags, addresses, folders. Damage and
    /// failures are not.
    pub fn is_usage_error(&self) -> bool {
        self.is_usage_error
    }

    /// The flags or the environment cannot be used.
    fn usage(reason: &impl ToString) -> Self {
        Self {
            text: reason.to_string(),
            is_usage_error: true,
        }
    }
}

impl From<ServeError> for ServeFailure {
    fn from(reason: ServeError) -> Self {
        let is_usage_error = match &reason {
            ServeError::Listen(_)
            | ServeError::Join(_)
            | ServeError::NothingToForce
            | ServeError::DataDir(DataDirError::InUse(_) | DataDirError::Io { .. })
            | ServeError::Start(StartError::Config(_) | StartError::Foreign { .. }) => true,
            ServeError::DataDir(DataDirError::Syntax { .. } | DataDirError::NoLog { .. })
            | ServeError::Start(_)
            | ServeError::Engine(_)
            | ServeError::Runtime(_)
            | ServeError::Signals(_)
            | ServeError::Stopped(_) => false,
        };
        Self {
            text: reason.to_string(),
            is_usage_error,
        }
    }
}

/// Serves until the process is told to end. See [`crate::serve`].
pub(crate) fn run(arguments: ServeArguments) -> Result<(), ServeFailure> {
    let remarks = arguments
        .judge(std::env::vars_os())
        .map_err(|reason| ServeFailure::usage(&reason))?;
    let flags = arguments.flags;
    logging::start(flags.log_level, flags.log_format)
        .map_err(|reason| ServeFailure::usage(&reason))?;
    for remark in remarks {
        warn!("{remark}");
    }
    let config = flags
        .settle()
        .map_err(|reason| ServeFailure::usage(&reason))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ServeError::Runtime)?;
    runtime.block_on(serve(config)).map_err(|reason| {
        error!("{reason}");
        reason.into()
    })
}

async fn serve(config: ServeConfig) -> Result<(), ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let open_files_max = open_files::raise_limit();
    let data_dir = DataDir::open(&config.data_dir)?;
    let mut listeners = Vec::new();
    for url in &config.listen_client_urls {
        listeners.extend(listen::bind(url).await?);
    }
    // The node binds it itself and could only say that something could not be bound.
    drop(listen::bind(&config.listen_peer_url).await?);
    let node = start(&config, &data_dir).await?;
    report(&config, &node, &listeners);
    let advertised = Advertised {
        name: config.name.clone(),
        client_urls: bootstrap::texts(&config.advertise_client_urls),
    };
    let possible = open_files::client_connections_max(open_files_max);
    let reception = Reception {
        admission: Admission::new(
            config
                .max_connections
                .map_or(possible, |max| max.min(possible)),
        ),
        handshake_timeout: config.handshake_timeout,
    };
    let clients = Clients::serve(&node, advertised, listeners, reception);

    let stopped = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        reason = node.stopped() => Some(reason),
    };
    info!("stopping");
    // As long as clients are served: they wait for the next leader, and not for an election.
    node.hand_over().await;
    clients.stop().await;
    node.stop();
    let reason = match stopped {
        Some(reason) => reason,
        None => node.stopped().await,
    };
    match reason {
        StopReason::Requested | StopReason::Removed => {
            info!(%reason, "stopped");
            Ok(())
        }
        reason => Err(ServeError::Stopped(reason)),
    }
}

fn report(config: &ServeConfig, node: &Node<RealEnvironment>, listeners: &[TcpListener]) {
    let clients: Vec<String> = listeners
        .iter()
        .filter_map(|listener| listener.local_addr().ok())
        .map(|address| address.to_string())
        .collect();
    info!(
        name = config.name,
        data_dir = %config.data_dir.display(),
        member_id = format_args!("{:x}", node.member_id()),
        cluster_id = format_args!("{:x}", node.config().cluster_id),
        clients = clients.join(","),
        peers = node.peer_address(),
        "serving"
    );
}

/// Starts the member: again, as a bootstrap member, or as one that joins.
async fn start(
    config: &ServeConfig,
    data_dir: &DataDir,
) -> Result<Node<RealEnvironment>, ServeError> {
    let known = data_dir.identity()?;
    if known.is_none() && config.force_new_cluster {
        return Err(ServeError::NothingToForce);
    }
    let (identity, initial_members, join) = match (known, &config.beginning) {
        // The log says who the members are; nothing is ever bootstrapped in this folder again.
        (Some(identity), beginning) => {
            let mut members = match beginning {
                // It stopped before the leader's snapshot arrived, and still has to be told
                // whom to answer.
                Beginning::Join(contacts) if !data_dir.has_state() => {
                    join::join(contacts, &config.advertise_peer_urls)
                        .await?
                        .members
                }
                Beginning::Join(_) | Beginning::Bootstrap { .. } => BTreeMap::new(),
            };
            members.entry(identity.member_id).or_insert_with(|| Member {
                id: identity.member_id,
                peer_ur_ls: bootstrap::texts(&config.advertise_peer_urls),
                ..Member::default()
            });
            (identity, members, true)
        }
        (None, Beginning::Bootstrap { cluster, token }) => {
            let identity = Identity {
                cluster_id: cluster.cluster_id(token),
                member_id: cluster.member_id(token, &config.name),
            };
            (identity, cluster.directory(token), false)
        }
        (None, Beginning::Join(contacts)) => {
            let invitation = join::join(contacts, &config.advertise_peer_urls).await?;
            (invitation.identity, invitation.members, true)
        }
    };
    let engine = engine::open_engine(config.engine, &config.data_dir)?;
    let node = Node::start_with_engine(
        RealEnvironment::default(),
        NodeConfig {
            member_id: identity.member_id,
            cluster_id: identity.cluster_id,
            initial_members,
            attributes: MemberAttributes {
                name: config.name.clone(),
                client_urls: bootstrap::texts(&config.advertise_client_urls),
            },
            join,
            force_new_cluster: config.force_new_cluster,
            data_dir: config.data_dir.clone(),
            listen_peer_address: config.listen_peer_url.address(),
            limits: config.limits.clone(),
            data_format: config.data_format,
            planted: config.planted,
            observer: None,
        },
        engine,
    )
    .await?;
    if known.is_none() {
        data_dir.remember(identity)?;
    }
    Ok(node)
}
