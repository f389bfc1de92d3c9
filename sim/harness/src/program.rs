//! The program that runs plans, which is this one, and how a person calls it.

use std::path::PathBuf;

use crate::error::CommandError;
use crate::scenario::About;

/// The program that runs plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// The command that a person types for it (`cargo sim`).
    pub command: String,
}

impl Program {
    /// This program.
    ///
    /// # Errors
    /// Its own path cannot be told.
    pub fn this(about: &About) -> Result<Self, CommandError> {
        Ok(Self {
            path: std::env::current_exe().map_err(CommandError::Program)?,
            command: about.command.to_owned(),
        })
    }

    /// The command that runs a seed of a scenario.
    pub fn reproduce(&self, scenario: &str, seed: u64, planted: Option<&str>) -> String {
        reproduce(&self.command, scenario, seed, planted)
    }
}

/// The command that runs a seed of a scenario, by the command for the program.
pub fn reproduce(command: &str, scenario: &str, seed: u64, planted: Option<&str>) -> String {
    let planted = planted
        .map(|bug| format!(" --planted {bug}"))
        .unwrap_or_default();
    format!("{command} run --scenario {scenario} --seed {seed}{planted}")
}
