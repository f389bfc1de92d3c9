//! Ranges and compares on one cut of the store (etcd: `etcdserver/txn`).

use std::cmp::Ordering;

use bytes::Bytes;
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{reachable, sometimes};
use veridical_proto::etcdserverpb::{
    Compare, RangeRequest, RangeResponse, ResponseHeader, compare, range_request,
};
use veridical_proto::mvccpb::KeyValue;

use crate::error::ApiError;
use crate::key_range::{KeyRange, RangeEnd};
use crate::memtable::{Memtable, Selection, select};

/// One cut of the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) table: &'a dyn Memtable,
    /// The revision of the store here.
    pub(crate) revision: i64,
    /// Where a request that names no revision reads: `revision`, except when a defect is
    /// planted.
    pub(crate) read_at: i64,
    /// The lowest revision that can be read.
    pub(crate) compacted: i64,
    pub(crate) planted: Planted,
}

/// A header that says only at which revision; the member adds the rest.
pub(crate) fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision,
        ..ResponseHeader::default()
    })
}

impl View<'_> {
    /// Serves a range.
    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, ApiError> {
        if request.revision > self.revision {
            reachable!("store.read-of-a-revision-that-is-not-here-yet");
            return Err(ApiError::future_revision());
        }
        let (named, read_at) = match request.revision {
            ..=0 => (self.revision, self.read_at),
            revision => (revision, revision),
        };
        if named < self.compacted {
            reachable!("store.read-of-a-compacted-revision");
            return Err(ApiError::compacted());
        }
        sometimes!(
            named == self.compacted && named < self.revision,
            "store.read-at-the-compacted-revision"
        );
        let mut range = KeyRange::new(&request.key, &request.range_end);
        if request.range_end.starts_with(b"\0") && self.planted.has(PlantedBug::NulEndTakenForAll) {
            range.end = RangeEnd::Unbounded;
        }
        let wanted = usize::try_from(request.limit)
            .ok()
            .filter(|limit| *limit > 0);
        // What is sorted or filtered has to be seen as a whole first. Otherwise one more
        // than wanted tells whether there is more.
        let fetch = match wanted {
            _ if request.count_only => 0,
            Some(limit)
                if !filters_or_sorts(request) || self.planted.has(PlantedBug::LimitBeforeSort) =>
            {
                limit.saturating_add(1)
            }
            _ => usize::MAX,
        };
        let Selection { live, count } = select(self.table, &range, read_at, fetch);
        let mut kvs: Vec<KeyValue> = live
            .into_iter()
            .map(|live| live.into_key_value())
            .filter(|kv| passes(request, kv))
            .collect();
        sort(request, &mut kvs);
        let more = wanted.is_some_and(|limit| kvs.len() > limit);
        if let Some(limit) = wanted {
            kvs.truncate(limit);
        }
        if request.keys_only {
            for kv in &mut kvs {
                kv.value = Bytes::new();
            }
        }
        Ok(RangeResponse {
            header: header(self.revision),
            kvs,
            more,
            count: count as i64,
        })
    }

    /// Checks the revision of a range inside a transaction before anything is written
    /// (etcd: `checkRange`; only there do negative revisions count as compacted).
    pub(crate) fn check_range(&self, request: &RangeRequest) -> Result<(), ApiError> {
        match request.revision {
            0 => Ok(()),
            revision if revision > self.revision => Err(ApiError::future_revision()),
            revision if revision < self.compacted => Err(ApiError::compacted()),
            _ => Ok(()),
        }
    }

    /// Whether all compares hold.
    pub(crate) fn compares_hold(&self, compares: &[Compare]) -> bool {
        compares.iter().all(|compare| self.compare_holds(compare))
    }

    fn compare_holds(&self, compare: &Compare) -> bool {
        let range = KeyRange::new(&compare.key, &compare.range_end);
        let live = select(self.table, &range, self.read_at, usize::MAX).live;
        if live.is_empty() {
            // A missing key counts as zero in everything but its value: an empty value
            // and no value look the same on the wire.
            return compare.target != compare::CompareTarget::Value as i32
                && holds(compare, &KeyValue::default());
        }
        live.into_iter()
            .all(|live| holds(compare, &live.into_key_value()))
    }
}

fn filters_or_sorts(request: &RangeRequest) -> bool {
    request.sort_order != range_request::SortOrder::None as i32
        || request.sort_target != range_request::SortTarget::Key as i32
        || request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes(request: &RangeRequest, kv: &KeyValue) -> bool {
    let bound = |bound: i64| (bound != 0).then_some(bound);
    bound(request.max_mod_revision).is_none_or(|max| kv.mod_revision <= max)
        && bound(request.min_mod_revision).is_none_or(|min| kv.mod_revision >= min)
        && bound(request.max_create_revision).is_none_or(|max| kv.create_revision <= max)
        && bound(request.min_create_revision).is_none_or(|min| kv.create_revision >= min)
}

/// Sorts what is in the order of keys. Equals stay in that order: etcd leaves theirs to
/// chance.
fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    use range_request::{SortOrder, SortTarget};
    let target = SortTarget::try_from(request.sort_target).unwrap_or_default();
    let order = match SortOrder::try_from(request.sort_order).unwrap_or_default() {
        // A target other than the key asks for sorting even without an order.
        SortOrder::None if target != SortTarget::Key => SortOrder::Ascend,
        SortOrder::Ascend if target == SortTarget::Key => SortOrder::None,
        order => order,
    };
    let compare = |a: &KeyValue, b: &KeyValue| match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    match order {
        SortOrder::None => {}
        SortOrder::Ascend => kvs.sort_by(compare),
        SortOrder::Descend => kvs.sort_by(|a, b| compare(b, a)),
    }
}

/// Whether a compare holds for one key. Like etcd, an unknown target counts as equal and
/// an unknown result as satisfied.
fn holds(compare: &Compare, kv: &KeyValue) -> bool {
    use compare::{CompareResult, CompareTarget, TargetUnion};
    let operand = compare.target_union.as_ref();
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => kv.version.cmp(&match operand {
            Some(TargetUnion::Version(version)) => *version,
            _ => 0,
        }),
        Ok(CompareTarget::Create) => kv.create_revision.cmp(&match operand {
            Some(TargetUnion::CreateRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(CompareTarget::Mod) => kv.mod_revision.cmp(&match operand {
            Some(TargetUnion::ModRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(CompareTarget::Value) => kv.value.as_ref().cmp(match operand {
            Some(TargetUnion::Value(value)) => value.as_ref(),
            _ => b"".as_slice(),
        }),
        Ok(CompareTarget::Lease) => kv.lease.cmp(&match operand {
            Some(TargetUnion::Lease(lease)) => *lease,
            _ => 0,
        }),
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Err(_) => true,
    }
}
