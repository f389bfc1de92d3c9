//! What a client can ask of an etcd-like store.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::text_bytes;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Keys from `key` on, by the rules of etcd's `RangeRequest`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRange {
    /// The first key.
    #[serde(with = "text_bytes")]
    pub key: Bytes,
    /// Empty: only `key`. One zero byte: every key ≥ `key`. Else: keys in
    /// [`key`, `range_end`).
    #[serde(with = "text_bytes", default, skip_serializing_if = "Bytes::is_empty")]
    pub range_end: Bytes,
}

impl KeyRange {
    /// Exactly one key.
    pub fn single(key: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            range_end: Bytes::new(),
        }
    }

    /// Keys in [`key`, `range_end`), by etcd's rules.
    pub fn span(key: impl Into<Bytes>, range_end: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            range_end: range_end.into(),
        }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let key = prefix.into();
        let mut end = key.to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        match end.last_mut() {
            Some(last) => *last += 1,
            None => end.push(0),
        }
        let key = if key.is_empty() {
            Bytes::from_static(b"\0")
        } else {
            key
        };
        Self {
            key,
            range_end: Bytes::from(end),
        }
    }

    /// Every key.
    pub fn all() -> Self {
        Self {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
        }
    }

    /// Whether only one key can match.
    pub fn is_single(&self) -> bool {
        self.range_end.is_empty()
    }

    /// Whether the range has no upper end.
    pub fn is_unbounded(&self) -> bool {
        self.range_end[..] == [0]
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        if self.is_single() {
            key == &self.key[..]
        } else {
            key >= &self.key[..] && (self.is_unbounded() || key < &self.range_end[..])
        }
    }
}

/// The order of the pairs in a range's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SortOrder {
    /// By key, ascending; or ascending by [`SortTarget`] where that is not the key.
    #[default]
    None,
    /// The answer ascends.
    Ascend,
    /// The answer descends.
    Descend,
}

/// What a range's answer is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The revision of creation.
    CreateRevision,
    /// The revision of the last change.
    ModRevision,
    /// The value.
    Value,
}

/// Reads a range of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RangeRequest {
    /// The keys that are meant.
    #[serde(flatten)]
    pub range: KeyRange,
    /// At most so many pairs; 0 for no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub limit: i64,
    /// The revision to read at; 0 for the current one.
    #[serde(skip_serializing_if = "is_default")]
    pub revision: i64,
    /// Whether the member may answer from its own, possibly stale state.
    #[serde(skip_serializing_if = "is_default")]
    pub serializable: bool,
    /// The order of the answer.
    #[serde(skip_serializing_if = "is_default")]
    pub sort_order: SortOrder,
    /// What the answer is sorted by.
    #[serde(skip_serializing_if = "is_default")]
    pub sort_target: SortTarget,
    /// Leaves the values out.
    #[serde(skip_serializing_if = "is_default")]
    pub keys_only: bool,
    /// Answers with the count alone.
    #[serde(skip_serializing_if = "is_default")]
    pub count_only: bool,
    /// Lower bound for the revision of the last change; 0 for none.
    #[serde(skip_serializing_if = "is_default")]
    pub min_mod_revision: i64,
    /// Upper bound for the revision of the last change; 0 for none.
    #[serde(skip_serializing_if = "is_default")]
    pub max_mod_revision: i64,
    /// Lower bound for the revision of creation; 0 for none.
    #[serde(skip_serializing_if = "is_default")]
    pub min_create_revision: i64,
    /// Upper bound for the revision of creation; 0 for none.
    #[serde(skip_serializing_if = "is_default")]
    pub max_create_revision: i64,
}

impl RangeRequest {
    /// A linearizable read of one key.
    pub fn get(key: impl Into<Bytes>) -> Self {
        Self {
            range: KeyRange::single(key),
            ..Self::default()
        }
    }

    /// A linearizable read of a range.
    pub fn of(range: KeyRange) -> Self {
        Self {
            range,
            ..Self::default()
        }
    }
}

/// Writes one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PutRequest {
    /// The key.
    #[serde(with = "text_bytes")]
    pub key: Bytes,
    /// The value.
    #[serde(with = "text_bytes")]
    pub value: Bytes,
    /// The lease to attach the key to; 0 detaches it from any.
    #[serde(skip_serializing_if = "is_default")]
    pub lease: i64,
    /// Answer with the pair as it was before.
    #[serde(skip_serializing_if = "is_default")]
    pub prev_kv: bool,
    /// Keep the value the key has; an error where the key does not exist.
    #[serde(skip_serializing_if = "is_default")]
    pub ignore_value: bool,
    /// Keep the lease the key has; an error where the key does not exist.
    #[serde(skip_serializing_if = "is_default")]
    pub ignore_lease: bool,
}

impl PutRequest {
    /// Whether what it does or answers depends on what is stored at `key`, beyond that
    /// something is.
    pub fn depends_on(&self, key: &[u8]) -> bool {
        self.key == key && (self.prev_kv || self.ignore_value || self.ignore_lease)
    }
}

impl PutRequest {
    /// A plain write.
    pub fn of(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            ..Self::default()
        }
    }
}

/// Deletes a range of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeleteRangeRequest {
    /// The keys that are meant.
    #[serde(flatten)]
    pub range: KeyRange,
    /// Answer with the pairs as they were before.
    #[serde(skip_serializing_if = "is_default")]
    pub prev_kv: bool,
}

impl DeleteRangeRequest {
    /// A deletion of `range`.
    pub fn of(range: KeyRange) -> Self {
        Self {
            range,
            prev_kv: false,
        }
    }
}

/// How a comparison of a transaction relates the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CompareResult {
    /// The key's side equals the given one.
    Equal,
    /// The key's side is greater.
    Greater,
    /// The key's side is less.
    Less,
    /// The two sides differ.
    NotEqual,
}

/// What a comparison of a transaction looks at. A key that does not exist has 0
/// everywhere, and fails every comparison of its value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CompareTarget {
    /// The version.
    Version(i64),
    /// The revision of creation.
    CreateRevision(i64),
    /// The revision of the last change.
    ModRevision(i64),
    /// The value.
    Value(#[serde(with = "text_bytes")] Bytes),
    /// The lease.
    Lease(i64),
}

/// One comparison of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// Which keys; where there are several, each of them has to pass.
    #[serde(flatten)]
    pub range: KeyRange,
    /// What is compared, and with what.
    pub target: CompareTarget,
    /// How the two sides are compared.
    pub result: CompareResult,
}

/// One operation inside a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TxnOp {
    /// A read.
    Range(RangeRequest),
    /// A write.
    Put(PutRequest),
    /// A deletion.
    DeleteRange(DeleteRangeRequest),
    /// A transaction inside the transaction.
    Txn(TxnRequest),
}

/// Compares, then runs one of two lists of operations, all at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TxnRequest {
    /// All of them have to hold for `success` to run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compares: Vec<Compare>,
    /// Runs when all comparisons hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub success: Vec<TxnOp>,
    /// Runs otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failure: Vec<TxnOp>,
}

impl TxnRequest {
    /// Whether some branch holds an operation that can write.
    pub fn may_write(&self) -> bool {
        self.success.iter().chain(&self.failure).any(|op| match op {
            TxnOp::Range(_) => false,
            TxnOp::Put(_) | TxnOp::DeleteRange(_) => true,
            TxnOp::Txn(txn) => txn.may_write(),
        })
    }

    /// Whether some branch holds an operation that can change this key.
    pub fn may_change(&self, key: &[u8]) -> bool {
        self.success.iter().chain(&self.failure).any(|op| match op {
            TxnOp::Range(_) => false,
            TxnOp::Put(put) => put.key == key,
            TxnOp::DeleteRange(deletion) => deletion.range.contains(key),
            TxnOp::Txn(txn) => txn.may_change(key),
        })
    }

    /// Whether what it does or answers may depend on what is stored at this key, beyond
    /// that something is.
    pub fn depends_on(&self, key: &[u8]) -> bool {
        let compares = self.compares.iter();
        let ops = self.success.iter().chain(&self.failure);
        compares
            .map(|compare| &compare.range)
            .any(|range| range.contains(key))
            || { ops }.any(|op| match op {
                TxnOp::Range(range) => range.range.contains(key),
                TxnOp::Put(put) => put.depends_on(key),
                TxnOp::DeleteRange(deletion) => deletion.prev_kv && deletion.range.contains(key),
                TxnOp::Txn(txn) => txn.depends_on(key),
            })
    }

    /// Whether all its reads allow a stale answer and it cannot write; etcd serves such
    /// a transaction from the member's own state.
    pub fn is_serializable(&self) -> bool {
        fn all_serializable(ops: &[TxnOp]) -> bool {
            ops.iter().all(|op| match op {
                TxnOp::Range(range) => range.serializable,
                TxnOp::Put(_) | TxnOp::DeleteRange(_) => false,
                TxnOp::Txn(txn) => txn.is_serializable(),
            })
        }
        !(self.success.is_empty() && self.failure.is_empty())
            && all_serializable(&self.success)
            && all_serializable(&self.failure)
    }
}

/// The time to live of a lease in histories that do not record any: it may end whenever it likes. No
/// store grants it, for the shortest time is a second.
pub const TTL_NOT_TOLD_S: i64 = -1;

/// A request of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// A read.
    Range(RangeRequest),
    /// A write.
    Put(PutRequest),
    /// A deletion.
    DeleteRange(DeleteRangeRequest),
    /// A transaction.
    Txn(TxnRequest),
    /// Forgets all states before `revision`.
    Compact {
        /// The oldest revision that stays readable.
        revision: i64,
    },
    /// Creates a lease.
    LeaseGrant {
        /// Its number; 0 lets the server choose.
        id: i64,
        /// Its time to live, in seconds; [`TTL_NOT_TOLD_S`] where the record does not say.
        ttl_s: i64,
    },
    /// Ends a lease and deletes its keys.
    LeaseRevoke {
        /// Its number.
        id: i64,
    },
    /// Gives a lease its whole time to live again.
    LeaseKeepAlive {
        /// Its number.
        id: i64,
    },
    /// Asks how long a lease lasts, and for its keys: those of some state that is no older
    /// than what was acknowledged before the call, and no newer than the answer says.
    LeaseTimeToLive {
        /// Its number.
        id: i64,
        /// Whether its keys are wanted, too.
        keys: bool,
    },
    /// Asks for all leases.
    LeaseLeases,
}

impl Request {
    /// Whether the request can change a key, and so take a revision of its own.
    pub fn may_write(&self) -> bool {
        match self {
            Self::Put(_) | Self::DeleteRange(_) | Self::LeaseRevoke { .. } => true,
            Self::Txn(txn) => txn.may_write(),
            Self::Range(_)
            | Self::Compact { .. }
            | Self::LeaseGrant { .. }
            | Self::LeaseKeepAlive { .. }
            | Self::LeaseTimeToLive { .. }
            | Self::LeaseLeases => false,
        }
    }

    /// Whether the request can change this key. Which keys the end of a lease deletes, it
    /// does not say itself.
    pub fn may_change(&self, key: &[u8]) -> bool {
        match self {
            Self::Put(put) => put.key == key,
            Self::DeleteRange(deletion) => deletion.range.contains(key),
            Self::Txn(txn) => txn.may_change(key),
            Self::LeaseRevoke { .. } => true,
            Self::Range(_)
            | Self::Compact { .. }
            | Self::LeaseGrant { .. }
            | Self::LeaseKeepAlive { .. }
            | Self::LeaseTimeToLive { .. }
            | Self::LeaseLeases => false,
        }
    }

    /// Whether what it does or answers may depend on what is stored at this key, beyond
    /// that something is.
    pub fn depends_on(&self, key: &[u8]) -> bool {
        match self {
            Self::Range(range) => range.range.contains(key),
            Self::Put(put) => put.depends_on(key),
            Self::DeleteRange(deletion) => deletion.prev_kv && deletion.range.contains(key),
            Self::Txn(txn) => txn.depends_on(key),
            Self::LeaseRevoke { .. } | Self::LeaseTimeToLive { .. } => true,
            Self::Compact { .. }
            | Self::LeaseGrant { .. }
            | Self::LeaseKeepAlive { .. }
            | Self::LeaseLeases => false,
        }
    }

    /// Whether a stale answer is allowed.
    pub fn is_serializable(&self) -> bool {
        match self {
            Self::Range(range) => range.serializable,
            Self::Txn(txn) => txn.is_serializable(),
            Self::Put(_)
            | Self::DeleteRange(_)
            | Self::Compact { .. }
            | Self::LeaseGrant { .. }
            | Self::LeaseRevoke { .. }
            | Self::LeaseKeepAlive { .. }
            | Self::LeaseTimeToLive { .. }
            | Self::LeaseLeases => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_depends_on_what_it_reads_compares_or_hands_out() {
        let put = |prev_kv| PutRequest {
            key: "a".into(),
            prev_kv,
            ..PutRequest::default()
        };
        assert!(!Request::Put(put(false)).depends_on(b"a"));
        assert!(Request::Put(put(true)).depends_on(b"a"));
        assert!(!Request::Put(put(true)).depends_on(b"b"));
        let txn = |success| {
            Request::Txn(TxnRequest {
                compares: Vec::new(),
                success,
                failure: Vec::new(),
            })
        };
        assert!(!txn(vec![TxnOp::Put(put(false))]).depends_on(b"a"));
        let read = RangeRequest {
            range: KeyRange::single("a"),
            ..RangeRequest::default()
        };
        assert!(txn(vec![TxnOp::Range(read.clone())]).depends_on(b"a"));
        assert!(Request::Range(read).depends_on(b"a"));
    }

    #[test]
    fn ranges_follow_the_rules_of_etcd() {
        assert!(KeyRange::single("a").contains(b"a"));
        assert!(!KeyRange::single("a").contains(b"aa"));
        assert!(KeyRange::span("a", "c").contains(b"bz"));
        assert!(!KeyRange::span("a", "c").contains(b"c"));
        assert!(!KeyRange::span("c", "a").contains(b"b"));
        assert!(KeyRange::span("b", "\0").contains(b"zz"));
        assert!(!KeyRange::span("b", "\0").contains(b"a"));
        assert!(KeyRange::all().contains(b"anything"));
    }

    #[test]
    fn a_prefix_range_holds_exactly_the_keys_with_that_prefix() {
        let range = KeyRange::prefix("ab");
        assert!(range.contains(b"ab") && range.contains(b"ab\xff\xff"));
        assert!(!range.contains(b"ac") && !range.contains(b"aa"));
        let range = KeyRange::prefix(Bytes::from_static(b"a\xff"));
        assert!(range.contains(b"a\xff\x01") && !range.contains(b"b"));
        assert_eq!(KeyRange::prefix(""), KeyRange::all());
    }
}
