//! What an etcd-like store answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::text_bytes;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The head of every response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The store's revision when the request was carried out.
    pub revision: i64,
    /// Which member answered; 0 where that is not known. Only serializable reads are
    /// judged by it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub member: u64,
}

/// A pair as the store holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyValue {
    /// The key.
    #[serde(with = "text_bytes")]
    pub key: Bytes,
    /// The value; empty in answers to `keys_only`.
    #[serde(with = "text_bytes")]
    pub value: Bytes,
    /// The revision at which the key was created last.
    pub create_revision: i64,
    /// The revision of its last change.
    pub mod_revision: i64,
    /// Changes since its creation, which counts as 1.
    pub version: i64,
    /// The lease it is attached to; 0 for none.
    #[serde(skip_serializing_if = "is_default")]
    pub lease: i64,
}

/// The answer to a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RangeResult {
    /// The pairs.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut pairs off.
    #[serde(skip_serializing_if = "is_default")]
    pub more: bool,
    /// Keys in the range, whatever the limit and the revision filters.
    pub count: i64,
}

/// The answer to a put.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PutResult {
    /// The pair as it was before, where asked for and existing.
    #[serde(skip_serializing_if = "is_default")]
    pub prev_kv: Option<KeyValue>,
}

/// The answer to a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeleteRangeResult {
    /// How many keys were deleted.
    pub deleted: i64,
    /// The pairs as they were before, where asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prev_kvs: Vec<KeyValue>,
}

/// The answer to one operation inside a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TxnOpResult {
    /// The result of a read.
    Range(RangeResult),
    /// The result of a write.
    Put(PutResult),
    /// The result of a deletion.
    DeleteRange(DeleteRangeResult),
    /// The result of a transaction.
    Txn(TxnResult),
}

/// The answer to a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TxnResult {
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// One answer for each operation of the branch that ran.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<TxnOpResult>,
}

impl TxnResult {
    /// Whether the branch that ran changed something.
    pub fn has_written(&self) -> bool {
        self.results.iter().any(|result| match result {
            TxnOpResult::Range(_) => false,
            TxnOpResult::Put(_) => true,
            TxnOpResult::DeleteRange(deletion) => deletion.deleted > 0,
            TxnOpResult::Txn(txn) => txn.has_written(),
        })
    }
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Response {
    /// The answer to a range.
    Range(RangeResult),
    /// The answer to a put.
    Put(PutResult),
    /// The answer to a deletion.
    DeleteRange(DeleteRangeResult),
    /// The answer to a transaction.
    Txn(TxnResult),
    /// The answer to a compaction.
    Compact,
    /// The answer to the creation of a lease.
    LeaseGrant {
        /// The lease's number, chosen by the server where the request had 0.
        id: i64,
        /// Its time to live as granted, in seconds; [`TTL_NOT_TOLD_S`](super::TTL_NOT_TOLD_S) where
        /// the record does not say.
        ttl_s: i64,
    },
    /// The answer to the end of a lease.
    LeaseRevoke,
    /// The answer to a keepalive.
    LeaseKeepAlive {
        /// The time to live from now, in seconds; 0 when the lease does not exist.
        ttl_s: i64,
    },
    /// To the question how long a lease lasts.
    LeaseTimeToLive {
        /// What is left of its time, in whole seconds; -1 when it does not exist.
        ttl_s: i64,
        /// Its whole time to live, in seconds; 0 when it does not exist.
        granted_ttl_s: i64,
        /// Its keys in order, where asked for.
        #[serde(
            default,
            with = "text_bytes::list",
            skip_serializing_if = "Vec::is_empty"
        )]
        keys: Vec<Bytes>,
    },
    /// To the question which leases there are.
    LeaseLeases {
        /// Their numbers.
        ids: Vec<i64>,
    },
}

/// Why a request was refused. A refusal had no effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ErrorKind {
    /// The wanted revision has been compacted away.
    Compacted,
    /// The wanted revision does not exist yet.
    FutureRevision,
    /// The lease does not exist.
    LeaseNotFound,
    /// A lease with this number exists already.
    LeaseExists,
    /// The key does not exist (`ignore_value`, `ignore_lease`).
    KeyNotFound,
    /// Any other refusal that certainly had no effect and tells nothing about the
    /// store's state.
    Rejected(String),
}

/// The known end of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It was carried out.
    Done {
        /// The response's head.
        header: Header,
        /// The answer.
        response: Response,
    },
    /// It was refused, without effect.
    Refused {
        /// The reason for the refusal.
        error: ErrorKind,
    },
}

impl Outcome {
    /// A successful answer at `revision` from a member that is not named.
    pub fn done(revision: i64, response: Response) -> Self {
        Self::Done {
            header: Header {
                revision,
                member: 0,
            },
            response,
        }
    }

    /// A refusal.
    pub fn refused(error: ErrorKind) -> Self {
        Self::Refused { error }
    }
}
