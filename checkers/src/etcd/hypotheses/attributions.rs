//! Attributions from later reads: operations of which it is known which revision behind a
//! gap they wrote.
//!
//! While a gap is filled, revisions behind it may have been seen already. Where one shows a
//! value that a single operation can have written, that operation wrote it there, and so not
//! the gap: hypotheses that say otherwise would be contradicted only later, and crowd out
//! others until then.

use rustc_hash::FxHashMap;
use veridical_histories::OperationId;

use crate::etcd::intake::Intake;
use crate::etcd::visit::may_write_value;

use super::unknowns::Unknowns;

/// The most revisions behind a gap that are looked at.
const SEARCH_MAX: usize = 256;

/// The later revisions of operations, as of one gap.
#[derive(Debug, Default)]
pub(in crate::etcd) struct Attributions {
    revisions: FxHashMap<OperationId, i64>,
}

impl Attributions {
    /// What is known as of the gap at `gap`.
    pub fn behind(gap: i64, intake: &Intake, unknown: &Unknowns) -> Self {
        let backlog = intake.backlog();
        let mut revisions = FxHashMap::default();
        let seen = backlog.evidence_after(gap).take(SEARCH_MAX);
        for (revision, seen) in seen.filter(|(at, _)| backlog.writer_at(*at).is_none()) {
            for evidence in seen {
                let Some(value) = evidence.value() else {
                    continue;
                };
                let key = evidence.key();
                let Some(op) = unknown.only_writer(key, value) else {
                    continue;
                };
                let mut in_flight = intake.in_flight().iter();
                if !in_flight.any(|open| may_write_value(&open.request, key, value)) {
                    revisions.insert(op, revision);
                }
            }
        }
        Self { revisions }
    }

    /// Whether the operation may have written `revision`, for all that is known of others.
    pub fn allows(&self, op: OperationId, revision: i64) -> bool {
        let known = self.revisions.get(&op);
        known.is_none_or(|known| *known == revision)
    }
}
