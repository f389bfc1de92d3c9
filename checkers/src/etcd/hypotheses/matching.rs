//! The matching of undetermined writes and the operations that made them.
//!
//! It is kept by augmenting paths (Kuhn, "The Hungarian Method for the Assignment Problem",
//! 1955): what is assumed of one write is taken back when another one turns out to need the
//! operation.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use veridical_histories::OperationId;

use super::candidates::{CandidateWriter, DivergenceRange, Pool};

/// A revision that one of several operations wrote.
#[derive(Clone, Debug)]
pub(super) struct UndeterminedWrite {
    /// The possible writers. The replayed versions are those of the first one.
    pub candidates: Arc<[CandidateWriter]>,
    /// The operation that is assumed.
    pub op: OperationId,
    /// The states that depend on the writer, if there are others than the value written.
    pub divergence: Option<Arc<DivergenceRange>>,
}

/// Which operation made which undetermined write: a matching.
#[derive(Clone, Debug, Default)]
pub(super) struct Matching {
    /// By revision.
    writes: BTreeMap<i64, UndeterminedWrite>,
    /// The write that each assumed operation made.
    owners: FxHashMap<OperationId, i64>,
    /// The first revision from which on no state depends on a writer.
    divergent_until: i64,
    bytes: usize,
}

impl Matching {
    /// The bytes held, estimated.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first revision from which on no state depends on a writer.
    pub fn divergent_until(&self) -> i64 {
        self.divergent_until
    }

    /// The write at `revision`, if it is undetermined.
    pub fn at(&self, revision: i64) -> Option<&UndeterminedWrite> {
        self.writes.get(&revision)
    }

    /// The revision that the operation is assumed to have written.
    pub fn owned_by(&self, op: OperationId) -> Option<i64> {
        self.owners.get(&op).copied()
    }

    /// All writes by revision.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &UndeterminedWrite)> {
        self.writes.iter().map(|(at, write)| (*at, write))
    }

    /// Fails unless operations and writes belong together one to one.
    pub fn assert_one_to_one(&self) {
        assert_eq!(
            self.owners.len(),
            self.writes.len(),
            "each undetermined write has an operation of its own"
        );
    }

    /// Adds the write at `revision`, made by `op`.
    pub fn insert(
        &mut self,
        revision: i64,
        candidates: Arc<[CandidateWriter]>,
        op: OperationId,
        divergence: Option<Arc<DivergenceRange>>,
    ) {
        if let Some(divergence) = &divergence {
            self.divergent_until = self.divergent_until.max(divergence.until);
        }
        let write = UndeterminedWrite {
            candidates,
            op,
            divergence,
        };
        self.bytes += bytes_of(&write);
        self.owners.insert(op, revision);
        self.writes.insert(revision, write);
    }

    /// Removes the write at `revision`, if it is there.
    pub fn remove(&mut self, revision: i64) {
        if let Some(write) = self.writes.remove(&revision) {
            self.bytes -= bytes_of(&write);
            if self.owners.get(&write.op) == Some(&revision) {
                self.owners.remove(&write.op);
            }
        }
    }

    /// Gives other operations to writes that are there.
    pub fn apply(&mut self, moves: impl Iterator<Item = (i64, OperationId)>) {
        for (revision, op) in moves {
            let write = self.writes.get_mut(&revision);
            let write = write.expect("operations are moved between writes that are there");
            let before = std::mem::replace(&mut write.op, op);
            if self.owners.get(&before) == Some(&revision) {
                self.owners.remove(&before);
            }
            self.owners.insert(op, revision);
        }
    }

    /// An operation for the write at `start`, which may be made by `candidates`, and others
    /// for those it is taken from; not `taken`. The search goes breadth first along
    /// alternating paths.
    pub fn augment(
        &self,
        pool: Pool<'_>,
        start: i64,
        candidates: &[CandidateWriter],
        taken: Option<OperationId>,
    ) -> Option<Vec<(i64, OperationId)>> {
        // The write from which each operation was reached.
        let mut reached: FxHashMap<OperationId, i64> = FxHashMap::default();
        reached.extend(taken.map(|op| (op, start)));
        let mut queue = VecDeque::from([start]);
        while let Some(revision) = queue.pop_front() {
            let candidates = match revision == start {
                true => candidates,
                false => &self.writes[&revision].candidates,
            };
            for op in pool.operations(candidates, revision) {
                if reached.contains_key(&op) {
                    continue;
                }
                reached.insert(op, revision);
                match self.owners.get(&op) {
                    Some(owner) if *owner != start => queue.push_back(*owner),
                    Some(_) | None => return Some(self.path(&reached, start, op)),
                }
            }
        }
        None
    }

    /// The moves along the path that ends with the free operation `last`.
    fn path(
        &self,
        reached: &FxHashMap<OperationId, i64>,
        start: i64,
        last: OperationId,
    ) -> Vec<(i64, OperationId)> {
        let mut moves = Vec::new();
        let mut op = last;
        loop {
            let revision = reached[&op];
            moves.push((revision, op));
            if revision == start {
                return moves;
            }
            op = self.writes[&revision].op;
        }
    }
}

fn bytes_of(write: &UndeterminedWrite) -> usize {
    2 * (size_of::<(i64, UndeterminedWrite)>() + size_of::<(OperationId, i64)>())
        + write.candidates.len() * size_of::<CandidateWriter>()
        + write.divergence.as_ref().map_or(0, |divergence| {
            size_of::<DivergenceRange>() + divergence.keys.len() * size_of::<Bytes>()
        })
}
