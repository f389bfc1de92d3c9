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
use mimalloc::MiMalloc;
use veridical_check::ExitStatus;

/// A request makes dozens of small allocations, many of which another thread frees: with the
/// allocator of the C library they are a sixth of what a member computes.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let status: ExitStatus = command_line::CommandLine::parse().run();
    status.into()
}
