//! Why a local cluster cannot be measured.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::tool::ToolError;

/// Why a local cluster cannot be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalClusterError {
    /// This program does not know where it is.
    #[error("--local-cluster: cannot find this program: {0}")]
    Itself(io::Error),
    /// There is no `etcd` in the PATH.
    #[error("--program etcd: there is no etcd in the PATH (Debian: package etcd-server)")]
    NoEtcd,
    /// The program does not run.
    #[error("--local-cluster: cannot run {}: {source}", path.display())]
    Program {
        /// The program.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The members would not understand the protocol.
    #[error("--protocol native: etcd does not speak it")]
    Protocol,
    /// The temporary folder cannot be made or removed.
    #[error("--local-cluster: the temporary folder: {0}")]
    Folder(io::Error),
    /// There are too few free ports.
    #[error("--local-cluster: there are too few free ports")]
    NoPort,
    /// No fault of `--nemesis` can be injected.
    #[error(
        "--nemesis: nothing can be done to a cluster of {0}: any member that fails takes the \
         majority with it, so it takes at least 3"
    )]
    NoMinority(usize),
    /// All faults of `--nemesis` are skipped.
    #[error("--nemesis: nothing of it can be done on this machine: {0}")]
    NothingAllowed(String),
    /// A fault was prepared and cannot be injected or ended.
    #[error("--nemesis: {0}")]
    Tool(#[from] ToolError),
    /// The system refuses something about a member.
    #[error("member {member}: cannot {action}: {source}")]
    Member {
        /// Its name.
        member: String,
        /// What was refused.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A member ended and was not told to.
    #[error("member {member} ended by itself ({status}); the last lines of its log:\n{log}")]
    Ended {
        /// Its name.
        member: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// A member runs and answers nothing.
    #[error("member {member} does not serve after {seconds} s; the last lines of its log:\n{log}")]
    DoesNotServe {
        /// Its name.
        member: String,
        /// How long it had.
        seconds: u64,
        /// The end of its log.
        log: String,
    },
    /// A member was told to end and goes on.
    #[error("member {member} does not end within {seconds} s; the last lines of its log:\n{log}")]
    DoesNotEnd {
        /// Its name.
        member: String,
        /// How long it had.
        seconds: u64,
        /// The end of its log.
        log: String,
    },
}

impl LocalClusterError {
    /// Whether it is for the user to set right. The others are findings, or the system refuses.
    pub(crate) fn is_usage_error(&self) -> bool {
        match self {
            Self::NoEtcd
            | Self::Program { .. }
            | Self::Protocol
            | Self::Folder(_)
            | Self::NoPort
            | Self::NoMinority(_)
            | Self::NothingAllowed(_) => true,
            Self::Itself(_)
            | Self::Tool(_)
            | Self::Member { .. }
            | Self::Ended { .. }
            | Self::DoesNotServe { .. }
            | Self::DoesNotEnd { .. } => false,
        }
    }
}
