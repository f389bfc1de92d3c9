//! What keeps a command from being carried out.

use std::io;
use std::path::{Path, PathBuf};

use crate::artefact::ReadError;
use crate::campaign::ledger::LedgerError;
use crate::campaign::shard::ShardError;

/// What keeps a command from being carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such scenario.
    #[error("there is no scenario {name:?}; `{command} list` names them")]
    NoScenario {
        /// The name that was given.
        name: String,
        /// How the program is called.
        command: String,
    },
    /// There is no such planted bug.
    #[error("there is no planted bug {name:?}; `{command} list` names them")]
    NoBug {
        /// The name that was given.
        name: String,
        /// How the program is called.
        command: String,
    },
    /// A file cannot be written.
    #[error("{path}: {source}")]
    File {
        /// The path of the file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A folder or a plan cannot be used.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The ledger of a campaign cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The environment does not say which shard this is.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// A filter for logs is malformed.
    #[error("{0:?} is no level and no filter as in RUST_LOG: {1}")]
    LogFilter(String, String),
    /// There is nothing to merge.
    #[error("none of the folders holds a campaign, nor does a subfolder")]
    NoCampaign,
    /// What a campaign has reached says nothing about this scenario.
    #[error("the campaign ran scenario {found:?}{}; one of {scenario:?} with nothing planted is wanted", planted.as_ref().map(|bug| format!(" with {bug:?} planted")).unwrap_or_default())]
    OtherCampaign {
        /// The scenario that is wanted.
        scenario: String,
        /// That of the campaign.
        found: String,
        /// The bug that was planted there.
        planted: Option<String>,
    },
    /// A folder holds no failure, or not any more.
    #[error("{0}: it does not fail (any more) in the way it did")]
    NoFailure(PathBuf),
    /// This program's own path cannot be told.
    #[error("cannot find this program: {0}")]
    Program(io::Error),
    /// The simulated world is not part of this build.
    #[cfg(not(madsim))]
    #[error("this build has no simulated world; build it with --cfg madsim")]
    NoWorld,
}

/// Turns an I/O error into one that names the path.
pub(crate) fn file_error(path: &Path) -> impl FnOnce(io::Error) -> CommandError {
    let path = path.to_owned();
    move |source| CommandError::File { path, source }
}
