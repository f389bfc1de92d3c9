//! What answers and watches show of revisions that are not replayed yet.

use bytes::Bytes;
use veridical_histories::etcd::{KeyValue, WatchEvent, WatchEventKind};

use crate::etcd::stored::Change;

/// Something seen of a revision that is not replayed yet.
#[derive(Clone, Debug)]
pub(in crate::etcd) enum Evidence {
    /// The revision wrote this pair; in a `keys_only` answer it has no value.
    Wrote { kv: KeyValue, keys_only: bool },
    /// The revision deleted this key.
    Deleted(Bytes),
}

impl Evidence {
    /// The evidence that a watch event is for its revision.
    pub fn of(event: &WatchEvent) -> Self {
        match event.kind {
            WatchEventKind::Put => Self::Wrote {
                kv: event.kv.clone(),
                keys_only: false,
            },
            WatchEventKind::Delete => Self::Deleted(event.kv.key.clone()),
        }
    }

    /// The value that was written, where it is shown.
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Wrote {
                kv,
                keys_only: false,
            } => Some(&kv.value),
            Self::Wrote {
                keys_only: true, ..
            }
            | Self::Deleted(_) => None,
        }
    }

    /// The key that was changed.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Wrote { kv, .. } => &kv.key,
            Self::Deleted(key) => key,
        }
    }

    /// Whether `changes` agree with it.
    pub fn allows(&self, changes: &[Change]) -> bool {
        let change_of = |key: &Bytes| changes.iter().find(|(changed, _)| changed == key);
        match self {
            Self::Wrote { kv, keys_only } => matches!(
                change_of(&kv.key),
                Some((_, Some(stored))) if stored.equals(kv, *keys_only)
            ),
            Self::Deleted(key) => matches!(change_of(key), Some((_, None))),
        }
    }
}
