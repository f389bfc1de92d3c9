//! The writers that an undetermined revision may have.

use std::collections::BTreeMap;

use bytes::Bytes;
use veridical_histories::OperationId;

use super::attributions::Attributions;
use super::unknowns::{PlainPut, Unknowns};

/// A possible writer of an undetermined revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum CandidateWriter {
    /// Some plain put of this key, and of this value where it is known.
    Put { key: Bytes, value: Option<Bytes> },
    /// This operation.
    Operation(OperationId),
}

/// The old states that differ by which candidate is the writer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DivergenceRange {
    /// The keys that differ.
    pub keys: Vec<Bytes>,
    /// The revision from which on they are the same again.
    pub until: i64,
}

impl DivergenceRange {
    /// The states that one of two ranges has.
    pub fn with(mut self, other: &Self) -> Self {
        self.until = self.until.max(other.until);
        for key in &other.keys {
            if !self.keys.contains(key) {
                self.keys.push(key.clone());
            }
        }
        self
    }
}

/// The operations that may have written undetermined revisions: those of unknown outcome
/// that are not placed.
#[derive(Clone, Copy)]
pub(super) struct Pool<'a> {
    pub unknown: &'a Unknowns,
    pub placed: &'a BTreeMap<OperationId, i64>,
    pub attributions: &'a Attributions,
}

impl<'a> Pool<'a> {
    fn is_free(&self, op: OperationId, revision: i64) -> bool {
        !self.placed.contains_key(&op) && self.attributions.allows(op, revision)
    }

    /// The puts of a key that may have written `revision`, the latest first: what fills a
    /// gap was mostly called shortly before.
    pub fn puts(
        self,
        key: &Bytes,
        value: Option<&Bytes>,
        revision: i64,
    ) -> impl Iterator<Item = &'a PlainPut> {
        let puts = self.unknown.puts(key).iter().rev();
        puts.filter(move |put| {
            put.floor < revision
                && value.is_none_or(|value| *value == put.value)
                && self.is_free(put.op, revision)
        })
    }

    /// The operations that may have written `revision` as one of these candidates.
    pub fn operations(&self, candidates: &[CandidateWriter], revision: i64) -> Vec<OperationId> {
        let mut operations = Vec::new();
        for candidate in candidates {
            match candidate {
                CandidateWriter::Put { key, value } => {
                    let puts = self.puts(key, value.as_ref(), revision);
                    operations.extend(puts.map(|put| put.op));
                }
                CandidateWriter::Operation(op) => {
                    if self.is_free(*op, revision) && self.unknown.contains(*op) {
                        operations.push(*op);
                    }
                }
            }
        }
        operations
    }
}
