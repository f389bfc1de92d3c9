//! The program `veridical`: a thin front over the crates that do the work.
//!
//! Inputs: a command line, environment variables.
//! Outputs: what the subcommand writes, and an exit status ([`ExitStatus`]).
//! Dependencies: server (`serve`), bench (`bench`), check (`check` and `history`), and the
//! checkers for their verdicts. This is the one place where the store and the checkers meet
//! outside of the simulation.

mod command_line;
mod subcommands;

use std::process::ExitCode;

use clap::Parser;
use veridical_check::ExitStatus;

fn main() -> ExitCode {
    let status: ExitStatus = command_line::CommandLine::parse().run();
    status.into()
}
