//! The program `veridical-check`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use veridical_check::{CheckFlags, HistoryCommand};

/// The name of this program, for messages.
const PROGRAM: &str = "veridical-check";

/// A checker of histories: linearizability of objects, and what etcd promises.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge recorded histories: status 0 ok, 1 a violation, 2 bad input, 3 unknown
    Check(Box<CheckFlags>),
    /// Make, convert, merge and measure histories
    #[command(subcommand)]
    History(HistoryCommand),
}

fn main() -> ExitCode {
    let status = match CommandLine::parse().command {
        Command::Check(flags) => veridical_check::run_check(&flags, PROGRAM),
        Command::History(command) => veridical_check::run_history(command, PROGRAM),
    };
    status.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }
}
