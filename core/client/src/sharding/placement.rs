//! Which shard a key belongs to.

use std::fmt;
use std::hash::Hasher;

use bytes::Bytes;
use siphasher::sip::SipHasher24;
use veridical_proto::etcdserverpb as api;
use veridical_proto::etcdserverpb::request_op::Request as Op;
use veridical_proto::native::batch_operation::Operation;

/// The map from keys to shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    shards: usize,
    seed: u64,
}

impl Placement {
    /// Of so many shards.
    ///
    /// # Panics
    /// If there is none.
    pub fn new(shards: usize, seed: u64) -> Self {
        assert!(shards > 0, "a key belongs somewhere");
        Self { shards, seed }
    }

    /// How many shards there are.
    pub fn shards(self) -> usize {
        self.shards
    }

    /// The shard of a key: SipHash-2-4 of its bytes under the key (seed, 0), as a fraction of
    /// 2⁶⁴, times the number of shards.
    ///
    /// ```
    /// use veridical_client::Placement;
    ///
    /// let placement = Placement::new(4, 7);
    /// assert_eq!(placement.shard_of(b"users/1"), placement.shard_of(b"users/1"));
    /// assert!(placement.shard_of(b"users/2") < 4);
    /// ```
    pub fn shard_of(self, key: &[u8]) -> usize {
        let mut hasher = SipHasher24::new_with_keys(self.seed, 0);
        hasher.write(key);
        let scaled = u128::from(hasher.finish()) * self.shards as u128;
        (scaled >> 64) as usize
    }

    /// The shard of an operation, if it is one shard's alone.
    pub(crate) fn operation_shard(self, operation: &Operation) -> Result<usize, String> {
        let (key, range_end) = match operation {
            Operation::Put(put) => return Ok(self.shard_of(&put.key)),
            Operation::Range(range) => (&range.key, &range.range_end),
            Operation::DeleteRange(delete) => (&delete.key, &delete.range_end),
            Operation::Txn(txn) => {
                return txn_shard(txn, self).map_err(|across| across.to_string());
            }
        };
        if self.shards > 1 && !range_end.is_empty() {
            return Err("a range may have keys of all shards: ask for it by itself".to_owned());
        }
        Ok(self.shard_of(key))
    }
}

/// Why a transaction is of no single shard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AcrossShards {
    pub(crate) first_shard: usize,
    first_key: Bytes,
    /// The key that is elsewhere, and where; nothing if it is a range.
    other: Option<(usize, Bytes)>,
}

impl fmt::Display for AcrossShards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.other {
            Some((shard, key)) => write!(
                f,
                "a transaction takes place in one shard: key {:?} belongs to shard {} and key \
                 {key:?} to shard {shard}",
                self.first_key, self.first_shard
            ),
            None => write!(
                f,
                "a transaction takes place in one shard, and the range from {:?} may have keys of \
                 all",
                self.first_key
            ),
        }
    }
}

/// The one shard of all keys that a transaction names.
pub(crate) fn txn_shard(
    txn: &api::TxnRequest,
    placement: Placement,
) -> Result<usize, AcrossShards> {
    let mut keys = Vec::new();
    named_keys(txn, &mut keys);
    let Some((first_key, _)) = keys.first() else {
        return Ok(0);
    };
    let first_shard = placement.shard_of(first_key);
    for (key, range_end) in &keys {
        if placement.shards > 1 && !range_end.is_empty() {
            return Err(AcrossShards {
                first_shard,
                first_key: (*key).clone(),
                other: None,
            });
        }
        let shard = placement.shard_of(key);
        if shard != first_shard {
            return Err(AcrossShards {
                first_shard,
                first_key: (*first_key).clone(),
                other: Some((shard, (*key).clone())),
            });
        }
    }
    Ok(first_shard)
}

/// The keys of a transaction with the ends of their ranges.
fn named_keys<'a>(txn: &'a api::TxnRequest, keys: &mut Vec<(&'a Bytes, &'a Bytes)>) {
    static NO_END: Bytes = Bytes::new();
    keys.extend(
        txn.compare
            .iter()
            .map(|compare| (&compare.key, &compare.range_end)),
    );
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Op::RequestRange(range)) => keys.push((&range.key, &range.range_end)),
            Some(Op::RequestPut(put)) => keys.push((&put.key, &NO_END)),
            Some(Op::RequestDeleteRange(delete)) => keys.push((&delete.key, &delete.range_end)),
            Some(Op::RequestTxn(nested)) => named_keys(nested, keys),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_where_they_are() {
        // Another answer here would lose data that is sharded already.
        let of = |shards, seed, key: &[u8]| Placement::new(shards, seed).shard_of(key);
        let found = [
            of(1, 0, b"a"),
            of(4, 0, b""),
            of(4, 0, b"a"),
            of(4, 0, b"b"),
            of(4, 7, b"a"),
            of(16, 7, b"users/1"),
            of(1_000, 7, &[0xff; 300]),
        ];
        // As another implementation of SipHash-2-4 has it.
        assert_eq!(found, [0, 0, 2, 3, 2, 6, 203]);
    }

    #[test]
    fn keys_are_spread_evenly_and_by_their_seed() {
        let mut counts = [[0_usize; 5]; 2];
        for number in 0..10_000 {
            let key = format!("key-{number}");
            for (seed, counts) in counts.iter_mut().enumerate() {
                counts[Placement::new(5, seed as u64).shard_of(key.as_bytes())] += 1;
            }
        }
        for count in counts.as_flattened() {
            assert!((1_850..2_150).contains(count), "{counts:?}");
        }
        assert_ne!(counts[0], counts[1]);
    }

    fn put(key: &str) -> api::RequestOp {
        api::RequestOp {
            request: Some(Op::RequestPut(api::PutRequest {
                key: key.to_owned().into(),
                ..Default::default()
            })),
        }
    }

    /// Two keys of one shard, and one of another.
    fn keys(placement: Placement) -> (String, String, String) {
        let key = |number: i32| format!("k{number}");
        let shard = |key: &String| placement.shard_of(key.as_bytes());
        let first = key(0);
        let same = (1..).map(key).find(|key| shard(key) == shard(&first));
        let other = (1..).map(key).find(|key| shard(key) != shard(&first));
        (first, same.expect("there is one"), other.expect("and one"))
    }

    #[test]
    fn a_transaction_is_of_one_shard_with_all_it_names() {
        let placement = Placement::new(3, 5);
        let (first, same, other) = keys(placement);
        let txn = |keys: &[&String]| api::TxnRequest {
            success: keys.iter().map(|key| put(key)).collect(),
            ..Default::default()
        };
        let shard = placement.shard_of(first.as_bytes());
        assert_eq!(txn_shard(&txn(&[&first, &same]), placement), Ok(shard));
        assert_eq!(txn_shard(&txn(&[]), placement), Ok(0));
        let across = txn_shard(&txn(&[&first, &same, &other]), placement);
        let text = across.expect_err("it is of two").to_string();
        assert!(text.contains(&first) && text.contains(&other), "{text}");

        let nested = api::TxnRequest {
            success: vec![put(&first)],
            failure: vec![api::RequestOp {
                request: Some(Op::RequestTxn(txn(&[&other]))),
            }],
            ..Default::default()
        };
        assert!(txn_shard(&nested, placement).is_err());
        let compared = api::TxnRequest {
            compare: vec![api::Compare {
                key: other.into(),
                ..Default::default()
            }],
            ..txn(&[&first])
        };
        assert!(txn_shard(&compared, placement).is_err());
        let ranged = api::TxnRequest {
            success: vec![api::RequestOp {
                request: Some(Op::RequestRange(api::RangeRequest {
                    key: "a".into(),
                    range_end: "b".into(),
                    ..Default::default()
                })),
            }],
            ..Default::default()
        };
        assert!(txn_shard(&ranged, placement).is_err());
        assert_eq!(txn_shard(&ranged, Placement::new(1, 5)), Ok(0));
    }
}
