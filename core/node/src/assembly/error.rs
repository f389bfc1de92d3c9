//! Why a member cannot start.

use std::path::PathBuf;
use veridical_raft::LogIndex;
use veridical_storage::engine::EngineError;
use veridical_storage::snapshot::SnapshotError;
use veridical_storage::wal::WalError;
use veridical_store::RestoreError;

use crate::codec::CodecError;
use crate::limits::ConfigError;

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot work.
    #[error("setting {0}")]
    Config(#[from] ConfigError),
    /// The write-ahead log cannot be used.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A snapshot cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The state machine's part of a snapshot cannot be used.
    #[error("snapshot {index}: {source}")]
    Restore {
        /// Which snapshot.
        index: LogIndex,
        /// Why.
        source: RestoreError,
    },
    /// The engine cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The state machine's part of the engine cannot be used.
    #[error("the engine as of entry {index}: {source}")]
    EngineRestore {
        /// Its applied index.
        index: LogIndex,
        /// Why.
        source: RestoreError,
    },
    /// An entry of the log cannot be understood.
    #[error("log {}, entry {index}: {source}", log.display())]
    Entry {
        /// The folder of the log.
        log: PathBuf,
        /// Which entry.
        index: LogIndex,
        /// Why.
        source: CodecError,
    },
    /// The members beside a snapshot or in the engine cannot be understood.
    #[error("members as of entry {index}: {source}")]
    Membership {
        /// As of which entry.
        index: LogIndex,
        /// Why.
        source: CodecError,
    },
    /// The data folder belongs to somebody else.
    #[error(
        "the data folder is of member {member_id:#x} of cluster {cluster_id:#x}, not of this one"
    )]
    Foreign {
        /// Whose it is.
        member_id: u64,
        /// Of which cluster.
        cluster_id: u64,
    },
    /// A member that was removed from its cluster is to go on alone.
    #[error("member {member_id:#x} was removed from its cluster and cannot go on with its data")]
    NoMember {
        /// Which.
        member_id: u64,
    },
    /// The log does not follow the newest state, that of a snapshot or of the engine.
    #[error(
        "the log {} begins at index {first_index}, but the newest sound snapshot ends at \
         {snapshot_index} (a member that ran with an engine needs it)", log.display()
    )]
    Gap {
        /// The folder of the log.
        log: PathBuf,
        /// The first entry of the log.
        first_index: LogIndex,
        /// The newest usable state.
        snapshot_index: LogIndex,
    },
    /// Raft refuses the recovered state.
    #[error("the state that was recovered from {}: {source}", log.display())]
    Raft {
        /// The folder of the log.
        log: PathBuf,
        /// Why.
        source: veridical_raft::ConfigError,
    },
    /// The data folder cannot be used.
    #[error("data folder: {0}")]
    Io(#[from] std::io::Error),
}
