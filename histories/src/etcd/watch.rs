//! Watches: a side stream of a history, not an operation of it.

use serde::{Deserialize, Serialize};

use super::request::KeyRange;
use super::response::KeyValue;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A record of a watch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WatchNote {
    /// The server confirmed the creation of a watch.
    Created(WatchCreated),
    /// The server sent something on a watch.
    Response(WatchResponse),
}

/// A watch as it was asked for, recorded when the server confirmed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchCreated {
    /// Names the watch. Unique for the whole history, not only within a stream.
    pub watch: u64,
    /// The keys that are watched.
    #[serde(flatten)]
    pub range: KeyRange,
    /// The first revision wanted; 0 for what comes after `revision`.
    pub start_revision: i64,
    /// The revision in the header of the server's confirmation.
    pub revision: i64,
    /// Events carry the pair as it was before.
    #[serde(skip_serializing_if = "is_default")]
    pub prev_kv: bool,
    /// Leaves puts out.
    #[serde(skip_serializing_if = "is_default")]
    pub no_put: bool,
    /// Leaves deletions out.
    #[serde(skip_serializing_if = "is_default")]
    pub no_delete: bool,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WatchEventKind {
    /// A key was written.
    Put,
    /// A key was deleted.
    Delete,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchEvent {
    /// The kind of the change.
    pub kind: WatchEventKind,
    /// The pair after the change; of a deletion only the key and the revision.
    pub kv: KeyValue,
    /// The pair before the change, where asked for and existing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prev_kv: Option<KeyValue>,
}

/// Something the server sent on a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchResponse {
    /// The number of the watch.
    pub watch: u64,
    /// The revision in the header.
    pub revision: i64,
    /// The changes.
    pub events: Vec<WatchEvent>,
    /// More of the same response follows.
    #[serde(skip_serializing_if = "is_default")]
    pub fragment: bool,
    /// A progress notification: everything up to `revision` has been sent.
    #[serde(skip_serializing_if = "is_default")]
    pub progress: bool,
    /// The server ended the watch.
    #[serde(skip_serializing_if = "is_default")]
    pub canceled: bool,
    /// Where the watch ended because its start was compacted away: the oldest revision
    /// that is left.
    #[serde(skip_serializing_if = "is_default")]
    pub compact_revision: i64,
}
