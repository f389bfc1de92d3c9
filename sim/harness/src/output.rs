//! What the command line prints, perhaps into a pipe that nobody reads any more.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process;

/// The status that a shell shows for a process that SIGPIPE has ended. The signal itself
/// cannot do that here: it would also come from the pipe to a child that has ended early, and
/// that is for the campaign to report.
const ENDED_BY_CLOSED_PIPE: i32 = 141;

/// Like `print!`, but ends the process without a word once nobody reads what it prints, as
/// `… | head` expects.
macro_rules! print_text {
    ($($format:tt)*) => {
        $crate::output::write(format_args!($($format)*))
    };
}

/// Like `println!`, see [`print_text`].
macro_rules! print_line {
    () => {
        $crate::output::write(format_args!("\n"))
    };
    ($($format:tt)*) => {
        $crate::output::write(format_args!("{}\n", format_args!($($format)*)))
    };
}

/// Like `eprintln!`, but for what may be lost: how far a long work is, and what else is only of
/// interest to who watches.
macro_rules! print_note {
    ($($format:tt)*) => {
        $crate::output::write_note(format_args!("{}\n", format_args!($($format)*)))
    };
}

pub(crate) use {print_line, print_note, print_text};

/// How many there are of something.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

/// Prints, or ends the process: what was printed so far would be taken for everything.
pub(crate) fn write(text: Arguments<'_>) {
    let Err(error) = io::stdout().lock().write_fmt(text) else {
        return;
    };
    if error.kind() == ErrorKind::BrokenPipe {
        process::exit(ENDED_BY_CLOSED_PIPE);
    }
    write_note(format_args!("cannot print: {error}\n"));
    process::exit(i32::from(crate::EXIT_USAGE));
}

pub(crate) fn write_note(text: Arguments<'_>) {
    // Nobody is there to be told.
    let _ = io::stderr().lock().write_fmt(text);
}
