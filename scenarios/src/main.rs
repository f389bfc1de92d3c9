//! `veridical-sim`, run as `cargo sim`.

use clap::Parser;
use clap::error::ErrorKind;
use std::process::ExitCode;
use veridical_scenarios::command_line::{Command, CommandLine, RunArguments};
use veridical_scenarios::{campaign, commands, explore, failures, recall, single, view};

/// A run allocates some hundred thousand small things in a tenth of a second, in a process
/// of its own: with the system's allocator it takes 5 % longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code for wrong usage and bad input.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            // Help that was asked for is no error. Output that cannot be printed is lost.
            let _ = error.print();
            let asked = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            return if asked {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(EXIT_USAGE)
            };
        }
    };
    let command = command_line
        .command
        .unwrap_or_else(|| Command::Run(RunArguments::default_campaign()));
    let result = match command {
        Command::Run(arguments) => commands::run(&arguments),
        Command::List => commands::list(),
        Command::Recall(arguments) => recall::command::recall(&arguments),
        Command::Campaign(arguments) => campaign::command::campaign(&arguments),
        Command::Explore(arguments) => explore::command::explore(&arguments),
        Command::Replay(arguments) => failures::replay(&arguments),
        Command::Shrink(arguments) => failures::shrink(&arguments),
        Command::Bugbase(arguments) => failures::bugbase(&arguments),
        Command::View(arguments) => view::command::view(&arguments),
        Command::One(arguments) => single::one(&arguments),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}
