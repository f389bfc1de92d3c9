//! What a store holds when its history begins.

use std::collections::BTreeSet;

use bytes::Bytes;
use veridical_histories::etcd::KeyValue;

use super::stored::Stored;

/// Why a store cannot be checked from such a content on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InitialContentError {
    /// A store holds each key once.
    #[error("key {0:?} is there twice")]
    Twice(Bytes),
    /// A pair was written at a revision of the store.
    #[error(
        "key {key:?} was created at revision {create_revision} and last changed at \
         {mod_revision}, as version {version}, of a store at revision {store}"
    )]
    Impossible {
        /// The key.
        key: Bytes,
        /// Where it is said to have been created.
        create_revision: i64,
        /// Where it is said to have been changed last.
        mod_revision: i64,
        /// How often it is said to have been changed.
        version: i64,
        /// The revision of the store.
        store: i64,
    },
    /// The end of a lease deletes keys, and the history does not tell how long this one lasts.
    #[error("key {key:?} is attached to lease {lease:#x}, whose end cannot be told beforehand")]
    Leased {
        /// The key.
        key: Bytes,
        /// The lease.
        lease: i64,
    },
}

/// The pairs as they are stored, if a store at `revision` can hold them.
///
/// # Errors
/// It cannot, or a lease may take one of them away.
pub(super) fn stored(
    content: &[KeyValue],
    revision: i64,
) -> Result<Vec<(Bytes, Stored)>, InitialContentError> {
    let mut seen = BTreeSet::new();
    let of_pair = |kv: &KeyValue| {
        let key = kv.key.clone();
        let is_possible = (1..=kv.mod_revision).contains(&kv.create_revision)
            && kv.mod_revision <= revision
            && (1..=1 + kv.mod_revision - kv.create_revision).contains(&kv.version);
        if !is_possible {
            return Err(InitialContentError::Impossible {
                key,
                create_revision: kv.create_revision,
                mod_revision: kv.mod_revision,
                version: kv.version,
                store: revision,
            });
        }
        if kv.lease != 0 {
            let lease = kv.lease;
            return Err(InitialContentError::Leased { key, lease });
        }
        if !seen.insert(key.clone()) {
            return Err(InitialContentError::Twice(key));
        }
        Ok((key, Stored::of_kv(kv)))
    };
    content.iter().map(of_pair).collect()
}
