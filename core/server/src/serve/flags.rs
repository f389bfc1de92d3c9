//! The flags of `veridical serve`: etcd's names and meanings.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use veridical_node::{DataFormat, Limits};
use veridical_planted::Planted;
#[cfg(feature = "planted-bugs")]
use veridical_planted::PlantedBug;

use super::bootstrap::{InitialCluster, InitialClusterError};
use crate::url::{Url, UrlError};

/// What `--name` is by default.
const DEFAULT_NAME: &str = "default";

/// Largest election timeout, in milliseconds (etcd: `maxElectionMs`).
const ELECTION_TIMEOUT_MS_MAX: u64 = 50_000;

/// Election timeouts have at least this many heartbeats (etcd has the same rule).
const HEARTBEATS_PER_ELECTION_MIN: u64 = 5;

/// How the cluster comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClusterState {
    /// The members of --initial-cluster found it
    New,
    /// It runs, and this member was added to it
    Existing,
}

/// Where keys and values live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineKind {
    /// In memory; the log and snapshots are on disk
    Memory,
    /// In memory, with a copy in RocksDB instead of periodic snapshots
    Rocksdb,
}

/// Which version of the data formats is written; both are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataFormatFlag {
    /// The newest
    Current,
    /// The one before, for a way back to an earlier program
    Previous,
}

impl From<DataFormatFlag> for DataFormat {
    fn from(flag: DataFormatFlag) -> Self {
        match flag {
            DataFormatFlag::Current => Self::Current,
            DataFormatFlag::Previous => Self::Previous,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[value(alias = "console")]
    Text,
    /// One JSON object a line
    Json,
}

/// The least severe log line that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)] // The names say it.
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// The flags of `veridical serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeFlags {
    /// Name of this member, unique in its cluster
    #[arg(long, env = "VERIDICAL_NAME", default_value = DEFAULT_NAME)]
    name: String,

    /// Folder of the log and the snapshots [default: NAME.veridical]
    #[arg(long, env = "VERIDICAL_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// Where clients are listened to (comma-separated)
    #[arg(
        long,
        env = "VERIDICAL_LISTEN_CLIENT_URLS",
        default_value = "http://localhost:2379",
        value_delimiter = ','
    )]
    listen_client_urls: Vec<String>,

    /// What clients are told to connect to [default: the listen URLs]
    #[arg(long, env = "VERIDICAL_ADVERTISE_CLIENT_URLS", value_delimiter = ',')]
    advertise_client_urls: Vec<String>,

    /// Where other members are listened to (one URL)
    #[arg(
        long,
        env = "VERIDICAL_LISTEN_PEER_URLS",
        default_value = "http://localhost:2380",
        value_delimiter = ','
    )]
    listen_peer_urls: Vec<String>,

    /// What other members are told to connect to [default: the listen URL]
    #[arg(
        long,
        env = "VERIDICAL_INITIAL_ADVERTISE_PEER_URLS",
        value_delimiter = ','
    )]
    initial_advertise_peer_urls: Vec<String>,

    /// The bootstrap members as name=URL (comma-separated) [default: this member alone]
    #[arg(long, env = "VERIDICAL_INITIAL_CLUSTER")]
    initial_cluster: Option<String>,

    /// Found a cluster, or join one to which this member was added
    #[arg(long, env = "VERIDICAL_INITIAL_CLUSTER_STATE", default_value = "new")]
    initial_cluster_state: ClusterState,

    /// Tells clusters apart that have the same addresses
    #[arg(
        long,
        env = "VERIDICAL_INITIAL_CLUSTER_TOKEN",
        default_value = "veridical-cluster"
    )]
    initial_cluster_token: String,

    /// Client URLs of running members, for --initial-cluster-state existing
    /// (comma-separated; not a flag of etcd)
    #[arg(long, env = "VERIDICAL_JOIN_ENDPOINTS", value_delimiter = ',')]
    join_endpoints: Vec<String>,

    /// Go on as the only member, with the data of this one: the others are lost for good
    #[arg(long, env = "VERIDICAL_FORCE_NEW_CLUSTER")]
    force_new_cluster: bool,

    /// Milliseconds between two heartbeats
    #[arg(long, env = "VERIDICAL_HEARTBEAT_INTERVAL", default_value_t = 100)]
    heartbeat_interval: u64,

    /// Milliseconds without a heartbeat after which a member stands for election
    #[arg(long, env = "VERIDICAL_ELECTION_TIMEOUT", default_value_t = 1_000)]
    election_timeout: u64,

    /// Log entries between two snapshots
    #[arg(long, env = "VERIDICAL_SNAPSHOT_COUNT", default_value_t = 100_000)]
    snapshot_count: u64,

    /// Bytes of log entries between two snapshots, if that comes first; as many as the data takes
    /// in memory, if that is more
    #[arg(long, env = "VERIDICAL_SNAPSHOT_BYTES", default_value_t = 67_108_864)]
    snapshot_bytes: u64,

    /// Most operations in one transaction
    #[arg(long, env = "VERIDICAL_MAX_TXN_OPS", default_value_t = 128)]
    max_txn_ops: usize,

    /// Most bytes in one request
    #[arg(long, env = "VERIDICAL_MAX_REQUEST_BYTES", default_value_t = 1_572_864)]
    max_request_bytes: usize,

    /// Most learners at once
    #[arg(long, env = "VERIDICAL_MAX_LEARNERS", default_value_t = 1)]
    max_learners: usize,

    /// Most connections of clients at once; never more than three quarters of the files that
    /// the process may have open [default: as many as that]
    #[arg(long, env = "VERIDICAL_MAX_CONNECTIONS")]
    max_connections: Option<usize>,

    /// Milliseconds that a connection of a client has to say which protocol it speaks
    #[arg(long, env = "VERIDICAL_HANDSHAKE_TIMEOUT", default_value_t = 10_000)]
    handshake_timeout: u64,

    /// Where keys and values live
    #[arg(long, env = "VERIDICAL_ENGINE", default_value = "memory")]
    engine: EngineKind,

    /// Which version of the formats on disk and between members is written (both are read)
    #[arg(long, env = "VERIDICAL_DATA_FORMAT", default_value = "current")]
    data_format: DataFormatFlag,

    /// The least severe log line that is written (RUST_LOG refines it)
    #[arg(long, env = "VERIDICAL_LOG_LEVEL", default_value = "info")]
    pub(super) log_level: LogLevel,

    /// How log lines look
    #[arg(long, env = "VERIDICAL_LOG_FORMAT", default_value = "text")]
    pub(super) log_format: LogFormat,

    /// The planted bug that is switched on
    #[cfg(feature = "planted-bugs")]
    #[arg(long, env = "VERIDICAL_PLANTED", value_parser = planted_bug, hide = true)]
    planted: Option<PlantedBug>,
}

#[cfg(feature = "planted-bugs")]
fn planted_bug(name: &str) -> Result<PlantedBug, String> {
    PlantedBug::from_name(name).ok_or_else(|| "no planted bug has this name".to_owned())
}

/// Why flags cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FlagError {
    #[error("--{flag}: {error}")]
    Url { flag: &'static str, error: UrlError },
    #[error("--{0}: at least one URL is needed")]
    NoUrl(&'static str),
    #[error("--listen-peer-urls: this version listens on one peer URL, {0} are given")]
    PeerUrls(usize),
    #[error(
        "--{advertised} is needed, because {listened} is no address that others could connect to"
    )]
    Unspecified {
        advertised: &'static str,
        listened: String,
    },
    #[error("--{advertised} is needed, because --{listened} leaves the port to the system")]
    PortZero {
        advertised: &'static str,
        listened: &'static str,
    },
    #[error("--name: must not be empty nor contain '=' or ','")]
    Name,
    #[error("--initial-cluster: {0}")]
    InitialCluster(#[from] InitialClusterError),
    #[error("--heartbeat-interval: must be above 0 ms")]
    Heartbeat,
    #[error(
        "--election-timeout: {election_ms} ms must be at least {HEARTBEATS_PER_ELECTION_MIN} times --heartbeat-interval ({heartbeat_ms} ms)"
    )]
    ElectionTooShort { election_ms: u64, heartbeat_ms: u64 },
    #[error("--election-timeout: {0} ms must be at most {ELECTION_TIMEOUT_MS_MAX} ms")]
    ElectionTooLong(u64),
    #[error("--{0}: must be above 0")]
    Zero(&'static str),
    #[error("--engine rocksdb: this build is without it (build with the cargo feature 'rocksdb')")]
    Engine,
}

/// How a member without data begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// With the other bootstrap members.
    Bootstrap {
        /// All bootstrap members.
        cluster: InitialCluster,
        /// See `--initial-cluster-token`.
        token: String,
    },
    /// In a cluster that runs.
    Join(Contacts),
}

/// Where the members of a cluster that runs can be asked who they are; needed only while this
/// member has no data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contacts {
    /// Client URLs, see `--join-endpoints`.
    pub(crate) endpoints: Vec<Url>,
    /// Peer URLs of the others in `--initial-cluster`.
    pub(crate) peers: Vec<Url>,
}

/// What the flags say, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServeConfig {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen_client_urls: Vec<Url>,
    pub(crate) advertise_client_urls: Vec<Url>,
    pub(crate) listen_peer_url: Url,
    pub(crate) advertise_peer_urls: Vec<Url>,
    pub(crate) beginning: Beginning,
    pub(crate) force_new_cluster: bool,
    pub(crate) engine: EngineKind,
    pub(crate) data_format: DataFormat,
    pub(crate) limits: Limits,
    pub(crate) max_connections: Option<usize>,
    pub(crate) handshake_timeout: Duration,
    /// Always empty in a build without the feature `planted-bugs`.
    pub(crate) planted: Planted,
}

fn parse_urls(flag: &'static str, texts: &[String]) -> Result<Vec<Url>, FlagError> {
    texts
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(|error| FlagError::Url { flag, error }))
        .collect()
}

/// What others are told: what the flag says, or the addresses that are listened on.
fn advertised(
    flag: &'static str,
    texts: &[String],
    listen_flag: &'static str,
    listened: &[Url],
) -> Result<Vec<Url>, FlagError> {
    let urls = parse_urls(flag, texts)?;
    if !urls.is_empty() {
        return Ok(urls);
    }
    if let Some(url) = listened.iter().find(|url| url.is_unspecified()) {
        return Err(FlagError::Unspecified {
            advertised: flag,
            listened: url.to_string(),
        });
    }
    if listened.iter().any(|url| url.port() == 0) {
        return Err(FlagError::PortZero {
            advertised: flag,
            listened: listen_flag,
        });
    }
    Ok(listened.to_vec())
}

impl ServeFlags {
    /// Checks the flags and fills in what follows from others.
    ///
    /// # Errors
    /// The first flag that cannot be used.
    pub(crate) fn settle(self) -> Result<ServeConfig, FlagError> {
        if self.name.is_empty() || self.name.contains(['=', ',']) {
            return Err(FlagError::Name);
        }
        let limits = self.limits()?;
        let planted = self.planted();
        if self.engine == EngineKind::Rocksdb && !cfg!(feature = "rocksdb") {
            return Err(FlagError::Engine);
        }
        let listen_client_urls = parse_urls("listen-client-urls", &self.listen_client_urls)?;
        if listen_client_urls.is_empty() {
            return Err(FlagError::NoUrl("listen-client-urls"));
        }
        let advertise_client_urls = advertised(
            "advertise-client-urls",
            &self.advertise_client_urls,
            "listen-client-urls",
            &listen_client_urls,
        )?;
        let mut listen_peer_urls = parse_urls("listen-peer-urls", &self.listen_peer_urls)?;
        if listen_peer_urls.len() > 1 {
            return Err(FlagError::PeerUrls(listen_peer_urls.len()));
        }
        let advertise_peer_urls = advertised(
            "initial-advertise-peer-urls",
            &self.initial_advertise_peer_urls,
            "listen-peer-urls",
            &listen_peer_urls,
        )?;
        let listen_peer_url = listen_peer_urls
            .pop()
            .ok_or(FlagError::NoUrl("listen-peer-urls"))?;
        let is_new = self.initial_cluster_state == ClusterState::New;
        let cluster = match &self.initial_cluster {
            Some(text) => InitialCluster::parse(text, is_new)?,
            None => InitialCluster::alone(&self.name, &advertise_peer_urls),
        };
        cluster.check_contains(&self.name, &advertise_peer_urls)?;
        let beginning = match self.initial_cluster_state {
            ClusterState::New => Beginning::Bootstrap {
                cluster,
                token: self.initial_cluster_token.clone(),
            },
            ClusterState::Existing => Beginning::Join(Contacts {
                endpoints: parse_urls("join-endpoints", &self.join_endpoints)?,
                peers: cluster.urls_of_others(&self.name),
            }),
        };
        let data_dir = self
            .data_dir
            .unwrap_or_else(|| PathBuf::from(format!("{}.veridical", self.name)));
        Ok(ServeConfig {
            name: self.name,
            data_dir,
            listen_client_urls,
            advertise_client_urls,
            listen_peer_url,
            advertise_peer_urls,
            beginning,
            force_new_cluster: self.force_new_cluster,
            engine: self.engine,
            data_format: self.data_format.into(),
            limits,
            max_connections: self.max_connections,
            handshake_timeout: Duration::from_millis(self.handshake_timeout),
            planted,
        })
    }

    #[cfg(feature = "planted-bugs")]
    fn planted(&self) -> Planted {
        self.planted.map_or_else(Planted::none, Planted::only)
    }

    #[cfg(not(feature = "planted-bugs"))]
    fn planted(&self) -> Planted {
        Planted::none()
    }

    fn limits(&self) -> Result<Limits, FlagError> {
        let heartbeat_ms = self.heartbeat_interval;
        let election_ms = self.election_timeout;
        if heartbeat_ms == 0 {
            return Err(FlagError::Heartbeat);
        }
        if election_ms > ELECTION_TIMEOUT_MS_MAX {
            return Err(FlagError::ElectionTooLong(election_ms));
        }
        if election_ms / HEARTBEATS_PER_ELECTION_MIN < heartbeat_ms {
            return Err(FlagError::ElectionTooShort {
                election_ms,
                heartbeat_ms,
            });
        }
        for (flag, value) in [
            ("snapshot-count", self.snapshot_count),
            ("snapshot-bytes", self.snapshot_bytes),
            ("max-txn-ops", self.max_txn_ops as u64),
            ("max-request-bytes", self.max_request_bytes as u64),
            ("max-learners", self.max_learners as u64),
            (
                "max-connections",
                self.max_connections.map_or(1, |max| max as u64),
            ),
            ("handshake-timeout", self.handshake_timeout),
        ] {
            if value == 0 {
                return Err(FlagError::Zero(flag));
            }
        }
        Ok(Limits {
            heartbeat_ms,
            election_timeout_ms: election_ms,
            snapshot_entries: self.snapshot_count,
            snapshot_log_bytes: self.snapshot_bytes,
            max_txn_ops: self.max_txn_ops,
            max_request_bytes: self.max_request_bytes,
            max_learners: self.max_learners,
            ..Limits::default()
        })
    }
}

#[cfg(test)]
mod tests;
