//! Compactions that were called, and the greatest one that was acknowledged.

use std::collections::BTreeMap;

use crate::etcd::memory::tree_bytes;

/// The compactions of a history.
#[derive(Debug, Default)]
pub(in crate::etcd) struct Compactions {
    /// Revisions whose compaction was called and not refused, and how often.
    called: BTreeMap<i64, u64>,
    acknowledged: i64,
}

impl Compactions {
    /// A compaction to `revision` was called.
    pub fn called(&mut self, revision: i64) {
        *self.called.entry(revision).or_default() += 1;
    }

    /// A compaction to `revision` that was called had no effect.
    pub fn had_no_effect(&mut self, revision: i64) {
        let count = self.called.get_mut(&revision);
        let count = count.expect("a compaction ends after its call");
        *count -= 1;
        if *count == 0 {
            self.called.remove(&revision);
        }
    }

    /// A compaction to `revision` was acknowledged.
    pub fn acknowledge(&mut self, revision: i64) {
        self.acknowledged = self.acknowledged.max(revision);
    }

    /// The greatest revision that was acknowledged to be compacted.
    pub fn acknowledged(&self) -> i64 {
        self.acknowledged
    }

    /// Whether a compaction to `revision` or above was called.
    pub fn may_have_reached(&self, revision: i64) -> bool {
        self.called.range(revision..).next().is_some()
    }

    /// Whether a compaction to `revision` or above was called, beside one to `revision`
    /// that was refused.
    pub fn may_have_reached_without_one(&self, revision: i64) -> bool {
        let mut reached = self.called.range(revision..);
        reached.next().is_some_and(|(first, count)| {
            *first > revision || *count > 1 || reached.next().is_some()
        })
    }

    /// The greatest revision to which a compaction was called, 0 where there was none.
    pub fn greatest_called(&self) -> i64 {
        self.called.keys().next_back().copied().unwrap_or(0)
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        tree_bytes(&self.called)
    }
}
