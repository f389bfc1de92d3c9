//! One hypothesis about who wrote the revisions that no acknowledged operation claims.

use std::collections::BTreeMap;

use veridical_histories::OperationId;

use crate::etcd::replay::{LeaseEnd, Overlay, Replay, View};
use crate::etcd::stored::Unresolved;

use super::attributions::Attributions;
use super::candidates::Pool;
use super::undetermined::{Filled, UndeterminedWrites};
use super::unknowns::Unknowns;

/// One hypothesis that explains everything seen so far.
#[derive(Clone, Debug, Default)]
pub(in crate::etcd) struct Hypothesis {
    pub(super) overlay: Overlay,
    /// Revisions of which it is open who wrote them.
    pub(super) undetermined: UndeterminedWrites,
    /// The other operations without a known outcome that had an effect, and the revision
    /// that each of them wrote.
    pub(super) placed: BTreeMap<OperationId, i64>,
    /// Leases that ended.
    pub(super) ended: BTreeMap<i64, LeaseEnd>,
}

impl Hypothesis {
    /// The store as it is in this hypothesis.
    pub fn view<'a>(&'a self, replay: &'a Replay) -> View<'a> {
        replay.view(&self.overlay)
    }

    /// The end of a lease, if it has ended.
    pub fn end_of(&self, replay: &Replay, lease: i64) -> Option<LeaseEnd> {
        let own = self.ended.get(&lease).copied();
        own.or_else(|| replay.certain_end(lease))
    }

    /// The undetermined writes of this hypothesis.
    pub fn undetermined(&self) -> &UndeterminedWrites {
        &self.undetermined
    }

    /// Takes over how `revision` is filled.
    pub(super) fn adopt(&mut self, revision: i64, filled: Filled) {
        if filled.is_certain() {
            self.place(filled.op, revision);
        }
        self.undetermined.adopt(filled);
    }

    /// The operation wrote `revision`.
    pub(super) fn place(&mut self, op: OperationId, revision: i64) {
        let before = self.placed.insert(op, revision);
        assert!(
            before.is_none_or(|before| before == revision),
            "an operation of unknown outcome takes effect once"
        );
    }

    /// The operations that may have made undetermined writes of this hypothesis.
    pub(super) fn pool<'a>(
        &'a self,
        unknown: &'a Unknowns,
        attributions: &'a Attributions,
    ) -> Pool<'a> {
        Pool {
            unknown,
            placed: &self.placed,
            attributions,
        }
    }

    /// The hypothesis with an assumed value known: as an answer shows it, or as each value
    /// that is left.
    pub(super) fn resolved(
        &self,
        replay: &Replay,
        pool: Pool<'_>,
        unresolved: &Unresolved,
    ) -> Vec<Self> {
        let Unresolved { key, revision, .. } = unresolved;
        let Some(stored) = self.view(replay).get(key, *revision) else {
            return Vec::new();
        };
        let values = match &unresolved.shown {
            Some(value) => vec![value.clone()],
            None => self.undetermined.values(pool, *revision),
        };
        let mut resolved = Vec::with_capacity(values.len());
        for value in values {
            if let Some(filled) = self.undetermined.resolve(pool, *revision, &value) {
                let mut known = self.clone();
                known.adopt(*revision, filled);
                known.overlay.resolve(key, stored, value);
                resolved.push(known);
            }
        }
        resolved
    }

    /// The hypothesis with these revisions written by the candidates whose versions it has.
    pub(super) fn determined(
        &self,
        unknown: &Unknowns,
        attributions: &Attributions,
        revisions: &[i64],
    ) -> Option<Self> {
        let mut determined = self.clone();
        for revision in revisions {
            let pool = determined.pool(unknown, attributions);
            let filled = determined.undetermined.determine(pool, *revision)?;
            determined.adopt(*revision, filled);
        }
        Some(determined)
    }

    /// Bytes held beside what it says of revisions, estimated.
    pub(super) fn table_bytes(&self) -> usize {
        let placed = self.placed.len() * 2 * size_of::<(OperationId, i64)>();
        let ended = self.ended.len() * 2 * size_of::<(i64, LeaseEnd)>();
        let undetermined = self.undetermined.bytes();
        size_of::<Self>() + self.overlay.table_bytes() + undetermined + placed + ended
    }
}
