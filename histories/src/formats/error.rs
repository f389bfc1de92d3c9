//! What can be wrong with a file.

use std::io;

/// Why a history could not be read further, or an event of it was skipped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The source failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Something else was expected here.
    #[error("line {line}, column {column}: expected {expected}")]
    Syntax {
        /// The line, counted from 1.
        line: u64,
        /// The column, counted from 1, in bytes.
        column: u64,
        /// What was expected.
        expected: String,
    },
    /// A binary file ends within a block: everything before it was read.
    #[error("byte {offset}: the file ends within a block; {events} events before it were read")]
    Truncated {
        /// Where the block begins.
        offset: u64,
        /// Events read before it.
        events: u64,
    },
    /// A block of a binary file is damaged.
    #[error("byte {offset}: {reason}")]
    Damaged {
        /// Where the block begins.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing in it, and no format was given.
    #[error("it is empty")]
    Empty,
    /// The format could not be told from the content.
    #[error("no known format begins like this: {beginning:?}")]
    UnknownFormat {
        /// The first bytes.
        beginning: String,
    },
}

impl ReadError {
    /// Whether reading can go on with the next event after this error.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Syntax { .. })
    }

    pub(crate) fn syntax(place: Place, expected: impl Into<String>) -> Self {
        Self::Syntax {
            line: place.line,
            column: place.column,
            expected: expected.into(),
        }
    }
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub line: u64,
    pub column: u64,
}
