//! `history`: makes histories, converts them, merges per-client logs, measures.

mod convert;
mod generate;
mod merge;
mod stat;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use veridical_histories::convert::{Converted, Target};
use veridical_histories::native::Compression;

use crate::exit::ExitStatus;

/// What is done with histories.
#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// Make a correct history, or one with a known error in it
    Gen(generate::GenerateFlags),
    /// Write a history in another form
    Convert(convert::ConvertFlags),
    /// Merge the logs of several clients into one history
    Merge(merge::MergeFlags),
    /// Count operations, concurrency, unknown outcomes, latencies
    Stat(stat::StatFlags),
}

/// Does it. `program` is the name of the process, for messages.
pub fn run(command: HistoryCommand, program: &str) -> ExitStatus {
    if let Err(error) = crate::interrupt::end_with_the_reader() {
        eprintln!("{program} history: signals: {error}");
        return ExitStatus::Crash;
    }
    let done = match command {
        HistoryCommand::Gen(flags) => generate::run(&flags),
        HistoryCommand::Convert(flags) => convert::run(&flags),
        HistoryCommand::Merge(flags) => merge::run(&flags),
        HistoryCommand::Stat(flags) => stat::run(&flags),
    };
    match done {
        Ok(status) => status,
        Err(reason) => {
            eprintln!("{program} history: {reason}");
            ExitStatus::Usage
        }
    }
}

/// What a history is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WrittenForm {
    /// Binary blocks, 12 to 20 bytes an event
    Native,
    /// The same, compressed
    NativeZstd,
    /// One JSON object a line
    Jsonl,
    /// What Porcupine's visualiser shows
    Porcupine,
    /// A picture: one page that needs nothing else
    Html,
}

impl WrittenForm {
    /// The form that the name of a file stands for. Standard output gets bytes only where
    /// nobody looks at them.
    fn of_output(output: &Path) -> Self {
        let name = output.to_string_lossy();
        if name == "-" && io::stdout().is_terminal() {
            return Self::Jsonl;
        }
        if name.ends_with(".html") || name.ends_with(".htm") {
            return Self::Html;
        }
        match Target::of_file_name(&name) {
            Target::Jsonl => Self::Jsonl,
            Target::Native(Compression::Zstd) => Self::NativeZstd,
            Target::Native(Compression::None) => Self::Native,
        }
    }

    /// The form of events; `None` for pictures.
    fn target(self) -> Option<Target> {
        match self {
            Self::Native => Some(Target::Native(Compression::None)),
            Self::NativeZstd => Some(Target::Native(Compression::Zstd)),
            Self::Jsonl => Some(Target::Jsonl),
            Self::Porcupine | Self::Html => None,
        }
    }
}

/// Opens what a history is written to; `-` is standard output.
///
/// # Errors
/// For a person.
fn create(output: &Path) -> Result<Box<dyn Write>, String> {
    if output.as_os_str() == "-" {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    }
    match File::create(output) {
        Ok(file) => Ok(Box::new(BufWriter::new(file))),
        Err(error) => Err(format!("{}: {error}", output.display())),
    }
}

/// Refuses to write a history over one that is still to be read.
///
/// # Errors
/// For a person.
fn refuse_overwriting(output: &Path, inputs: &[PathBuf]) -> Result<(), String> {
    let Ok(written) = output.canonicalize() else {
        return Ok(());
    };
    let is_read = |input: &PathBuf| input.canonicalize().is_ok_and(|input| input == written);
    match written.is_file() && inputs.iter().any(is_read) {
        true => Err(format!("{} would be overwritten", output.display())),
        false => Ok(()),
    }
}

/// Tells on standard error what was wrong with a history that was read to its end.
/// Lines that are no events, or a missing end, make the status [`ExitStatus::Usage`].
fn complain(name: &str, converted: &Converted) -> ExitStatus {
    for line in &converted.bad_lines {
        eprintln!("{name}: {line}");
    }
    let more = converted.bad_line_count - converted.bad_lines.len() as u64;
    if more > 0 {
        eprintln!("{name}: {more} more lines are no events");
    }
    if let Some(truncated) = &converted.truncated {
        eprintln!("{name}: {truncated}; the rest is missing");
    }
    match converted.bad_line_count > 0 || converted.truncated.is_some() {
        true => ExitStatus::Usage,
        false => ExitStatus::Ok,
    }
}
