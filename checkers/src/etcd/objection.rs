//! Reasons for which an event, an answer or a hypothesis is not accepted as it is.

use crate::verdict::{MalformedReason, ViolationKind, WitnessOperation};

use super::stored::Unresolved;

/// An answer that should have been another one, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub expected: String,
    pub got: String,
}

impl Mismatch {
    pub fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            got: got.into(),
        }
    }
}

/// A contradiction between the history and every store, or one hypothesis about it. The
/// coordinator adds the event at which it was found.
#[derive(Debug)]
pub(super) struct Contradiction {
    pub kind: ViolationKind,
    pub mismatch: Mismatch,
    pub operations: Vec<WitnessOperation>,
}

impl Contradiction {
    pub fn new(
        kind: ViolationKind,
        expected: impl Into<String>,
        got: impl Into<String>,
        operations: Vec<WitnessOperation>,
    ) -> Self {
        Self {
            kind,
            mismatch: Mismatch::new(expected, got),
            operations,
        }
    }
}

/// A check of one hypothesis that did not come out clean.
#[derive(Debug)]
pub(super) enum Inconclusive {
    /// The hypothesis is contradicted.
    Contradicted(Contradiction),
    /// The answer depends on a value that the hypothesis only assumes.
    Unresolved {
        unresolved: Unresolved,
        /// The operations to show if no value fits.
        operations: Vec<WitnessOperation>,
    },
    /// The answer depends on which candidate wrote these undetermined revisions.
    Diverges(Vec<i64>),
}

impl From<Contradiction> for Inconclusive {
    fn from(contradiction: Contradiction) -> Self {
        Self::Contradicted(contradiction)
    }
}

/// The reason for which the work on an event ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The history is contradicted.
    Violation(Box<Contradiction>),
    /// The event cannot follow those before it.
    Malformed(MalformedReason),
    /// The replayed content was lost, which is recorded already.
    Undecided,
}

impl From<Contradiction> for Stop {
    fn from(contradiction: Contradiction) -> Self {
        Self::Violation(Box::new(contradiction))
    }
}
