//! A range over shards from the ranges of each.

use std::cmp::Ordering;

use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use veridical_proto::mvccpb::KeyValue;

/// What a range over shards came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MergedRange {
    /// The pairs in the order that was asked for; their revisions are those of their shards.
    pub kvs: Vec<KeyValue>,
    /// Whether there are more than the limit.
    pub more: bool,
    /// How many keys of the range there are in all shards.
    pub count: i64,
    /// What each shard that was asked has told.
    pub parts: Vec<ShardPart>,
}

/// One shard's part of a range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShardPart {
    /// The number of the shard.
    pub shard: usize,
    /// Of the cluster that answered, with the revision that its part is as of.
    pub header: Option<api::ResponseHeader>,
    /// How many keys of the range it has.
    pub count: i64,
}

impl MergedRange {
    /// What one shard alone was asked for.
    pub(crate) fn of_one(shard: usize, answer: api::RangeResponse) -> Self {
        Self {
            parts: vec![ShardPart {
                shard,
                header: answer.header,
                count: answer.count,
            }],
            kvs: answer.kvs,
            more: answer.more,
            count: answer.count,
        }
    }
}

/// Why a range cannot be asked of several shards.
pub(crate) fn check_merged(request: &api::RangeRequest) -> Result<(), &'static str> {
    if request.revision > 0 {
        return Err("a range over shards has no common revision that it could be read at");
    }
    let bounds = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    if bounds.iter().any(|bound| *bound != 0) {
        return Err("revisions of different shards have no common bound");
    }
    if matches!(request.sort_target(), SortTarget::Create | SortTarget::Mod) {
        return Err("revisions of different shards have no order to sort by");
    }
    Ok(())
}

/// Puts the answers of all shards together. Without `sorts` one is put behind the other.
pub(crate) fn merged(
    request: &api::RangeRequest,
    answers: Vec<api::RangeResponse>,
    sorts: bool,
) -> MergedRange {
    let mut merged = MergedRange::default();
    for (shard, answer) in answers.into_iter().enumerate() {
        merged.count += answer.count;
        merged.more |= answer.more;
        merged.kvs.extend(answer.kvs);
        merged.parts.push(ShardPart {
            shard,
            header: answer.header,
            count: answer.count,
        });
    }
    if sorts {
        merged.kvs.sort_by(|a, b| order(request, a, b));
    }
    let limit = usize::try_from(request.limit).unwrap_or(0);
    if limit > 0 && merged.kvs.len() > limit {
        merged.kvs.truncate(limit);
        merged.more = true;
    }
    merged
}

/// The order that a range asks for; by their keys where that leaves it open.
fn order(request: &api::RangeRequest, a: &KeyValue, b: &KeyValue) -> Ordering {
    let by_target = match request.sort_target() {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Value => a.value.cmp(&b.value),
        // Refused over several shards; one shard has sorted them itself.
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
    };
    let by_target = match request.sort_order() {
        SortOrder::Descend => by_target.reverse(),
        // As members do where a target is named without an order.
        SortOrder::Ascend | SortOrder::None => by_target,
    };
    by_target.then_with(|| a.key.cmp(&b.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(key: u8, version: i64) -> KeyValue {
        KeyValue {
            key: vec![key].into(),
            version,
            ..Default::default()
        }
    }

    /// What a member answers to a range of all its keys.
    fn answer(mut kvs: Vec<KeyValue>, request: &api::RangeRequest) -> api::RangeResponse {
        kvs.sort_by(|a, b| order(request, a, b));
        let count = kvs.len();
        let limit = match request.limit {
            0 => count,
            limit => count.min(limit as usize),
        };
        kvs.truncate(limit);
        api::RangeResponse {
            header: None,
            more: limit < count,
            count: count as i64,
            kvs,
        }
    }

    fn request() -> impl Strategy<Value = api::RangeRequest> {
        (0i64..12, 0i32..3, prop_oneof![Just(0i32), Just(1i32)]).prop_map(
            |(limit, sort_order, sort_target)| api::RangeRequest {
                limit,
                sort_order,
                sort_target,
                ..Default::default()
            },
        )
    }

    proptest! {
        #[test]
        fn a_merged_range_is_that_of_one_cluster_with_all_keys(
            pairs in prop::collection::btree_map(any::<u8>(), (0usize..3, 1i64..4), 0..20),
            request in request(),
        ) {
            let all = pairs.iter().map(|(key, (_, version))| pair(*key, *version)).collect();
            let expected = answer(all, &request);
            let answers = (0..3).map(|shard| {
                let own = pairs.iter().filter(|(_, (owner, _))| *owner == shard);
                let own = own.map(|(key, (_, version))| pair(*key, *version)).collect();
                answer(own, &request)
            });
            let found = merged(&request, answers.collect(), true);
            prop_assert_eq!(found.kvs, expected.kvs);
            prop_assert_eq!((found.more, found.count), (expected.more, expected.count));
        }
    }

    #[test]
    fn what_compares_revisions_of_shards_is_refused() {
        let plain = api::RangeRequest::default();
        assert!(check_merged(&plain).is_ok());
        let at_revision = api::RangeRequest {
            revision: 5,
            ..plain.clone()
        };
        assert!(check_merged(&at_revision).is_err());
        let bounded = api::RangeRequest {
            min_create_revision: 5,
            ..plain.clone()
        };
        assert!(check_merged(&bounded).is_err());
        let sorted = |sort_order, sort_target| api::RangeRequest {
            sort_order,
            sort_target,
            ..plain.clone()
        };
        let (ascend, modified, version) = (1, 3, 1);
        assert!(check_merged(&sorted(ascend, modified)).is_err());
        assert!(check_merged(&sorted(ascend, version)).is_ok());
    }
}
