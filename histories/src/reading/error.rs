//! What can be wrong with a file.

use std::io;

use crate::OperationId;
use crate::object::Value;

/// What of a history can be wrong because of a line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affected {
    /// Any of it: what the line was about is not known.
    History,
    /// The object under this key alone.
    Key(Value),
    /// The object that this operation is about, and how the operation ends.
    Operation {
        /// The operation.
        op: OperationId,
        /// Its key, where the line is its call; else the call tells.
        key: Option<Value>,
    },
}

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
        /// What of the history it may have been about.
        affects: Affected,
    },
    /// An event that can be read does not go with the events before it. Where one of those
    /// could not be read, this may be a consequence.
    #[error("line {line}, column {column}: expected {expected}")]
    Misplaced {
        /// The line, counted from 1.
        line: u64,
        /// The column, counted from 1, in bytes.
        column: u64,
        /// What was expected.
        expected: String,
        /// What of the history is not certain any more.
        affects: Affected,
    },
    /// A line or a form is larger than may be kept.
    #[error(
        "line {line}, column {column}: larger than the {bytes_max} bytes of memory that it may take"
    )]
    TooLarge {
        /// The line, counted from 1, where it begins.
        line: u64,
        /// The column, counted from 1, where it begins.
        column: u64,
        /// What it may take, in bytes.
        bytes_max: u64,
    },
    /// A compressed text is cut off: everything before the cut was read.
    #[error("the compressed file is cut off; {lines} lines before the cut were read")]
    CompressedTruncated {
        /// Lines read before it.
        lines: u64,
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
        matches!(self, Self::Syntax { .. } | Self::Misplaced { .. })
    }

    /// Whether the source ended too early, and everything before was read.
    pub fn is_truncation(&self) -> bool {
        matches!(
            self,
            Self::Truncated { .. } | Self::CompressedTruncated { .. }
        )
    }

    /// Whether this may be a consequence of an earlier line that could not be read.
    pub fn may_be_consequence(&self) -> bool {
        matches!(self, Self::Misplaced { .. })
    }

    /// Whether it shows that a line is missing, or stands in the wrong place, before this one.
    pub fn is_about_earlier_lines(&self) -> bool {
        matches!(self, Self::Misplaced { affects, .. } if *affects == Affected::History)
    }

    /// What of the history cannot be judged because of this error.
    pub fn affected(&self) -> &Affected {
        match self {
            Self::Syntax { affects, .. } | Self::Misplaced { affects, .. } => affects,
            Self::Io(_)
            | Self::TooLarge { .. }
            | Self::CompressedTruncated { .. }
            | Self::Truncated { .. }
            | Self::Damaged { .. }
            | Self::Empty
            | Self::UnknownFormat { .. } => &Affected::History,
        }
    }

    pub(crate) fn syntax(place: Place, expected: impl Into<String>) -> Self {
        Self::Syntax {
            line: place.line,
            column: place.column,
            expected: expected.into(),
            affects: Affected::History,
        }
    }

    pub(crate) fn misplaced(place: Place, expected: impl Into<String>, affects: Affected) -> Self {
        Self::Misplaced {
            line: place.line,
            column: place.column,
            expected: expected.into(),
            affects,
        }
    }

    pub(crate) fn too_large(place: Place, bytes_max: u64) -> Self {
        Self::TooLarge {
            line: place.line,
            column: place.column,
            bytes_max,
        }
    }

    /// Something else was expected at `place`, in a line that is about `key` alone.
    pub(crate) fn syntax_about(place: Place, expected: impl Into<String>, key: Value) -> Self {
        Self::Syntax {
            line: place.line,
            column: place.column,
            expected: expected.into(),
            affects: Affected::Key(key),
        }
    }
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub line: u64,
    pub column: u64,
}
