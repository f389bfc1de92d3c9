//! The command line: one module for each subcommand.

use clap::{Parser, Subcommand};

use crate::bench::BenchFlags;
use crate::check::CheckFlags;
use crate::exit::ExitStatus;
use crate::history::HistoryCommand;
use crate::serve::ServeFlags;

/// A replicated, etcd-v3-compatible key-value store that has to prove it tells the truth.
#[derive(Debug, Parser)]
#[command(name = "veridical", version, about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a member of a cluster (without flags: a cluster of one)
    Serve(Box<ServeFlags>),
    /// Measure a store that speaks etcd's API, and check its answers with --verify
    Bench(Box<BenchFlags>),
    /// Judge recorded histories: status 0 ok, 1 a violation, 2 bad input, 3 unknown
    Check(Box<CheckFlags>),
    /// Make, convert, merge and measure histories
    #[command(subcommand)]
    History(HistoryCommand),
}

/// See [`crate::run`]. Flags that cannot be parsed end the process with status 2 here.
pub(crate) fn run() -> ExitStatus {
    match CommandLine::parse().command {
        Command::Serve(flags) => crate::serve::run(*flags),
        Command::Bench(flags) => crate::bench::run(*flags),
        Command::Check(flags) => crate::check::run(&flags),
        Command::History(command) => crate::history::run(command),
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
