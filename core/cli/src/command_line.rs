//! The command line: one module for each subcommand.

use clap::{Parser, Subcommand};
use veridical_bench::BenchFlags;
use veridical_check::{CheckFlags, ExitStatus, HistoryCommand};
use veridical_server::ServeArguments;

use crate::subcommands::{PROGRAM, bench, serve};

/// A replicated, etcd-v3-compatible key-value store that has to prove it tells the truth.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, about)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a member of a cluster (without flags: a cluster of one)
    Serve(Box<ServeArguments>),
    /// Measure a store that speaks etcd's API, and check its answers with --verify
    Bench(Box<BenchFlags>),
    /// Judge recorded histories: status 0 ok, 1 a violation, 2 bad input, 3 unknown
    Check(Box<CheckFlags>),
    /// Make, convert, merge and measure histories
    #[command(subcommand)]
    History(HistoryCommand),
}

impl CommandLine {
    /// Does what the command line says.
    pub(crate) fn run(self) -> ExitStatus {
        match self.command {
            Command::Serve(arguments) => serve(*arguments),
            Command::Bench(flags) => bench(&flags),
            Command::Check(flags) => veridical_check::run_check(&flags, PROGRAM),
            Command::History(command) => veridical_check::run_history(command, PROGRAM),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn serve_needs_no_flag() {
        let parsed = CommandLine::try_parse_from(["veridical", "serve"]).unwrap();
        assert!(matches!(parsed.command, Command::Serve(_)));
    }

    #[test]
    fn a_flag_that_does_not_exist_is_a_usage_error() {
        let refused = CommandLine::try_parse_from(["veridical", "serve", "--no-such-flag"]);
        assert_eq!(refused.unwrap_err().exit_code(), ExitStatus::Usage as i32);
    }
}
