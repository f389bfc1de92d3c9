//! Events, as read from the history of the store.

use bytes::Bytes;
use veridical_proto::mvccpb::{Event, KeyValue, event::EventType};

use crate::memtable::{Live, Memtable};

/// The event of a write that is in the change log and has not been forgotten. The
/// previous key-value pair is that of the revision before, if it is not below
/// `readable_from`; a put that creates its key has none.
pub(super) fn read_event(
    table: &dyn Memtable,
    key: &Bytes,
    revision: i64,
    sub_revision: i64,
    readable_from: i64,
) -> Event {
    let mut event = None;
    table.with_history(key, &mut |key, history| {
        let Some(version) = history.exactly(revision, sub_revision) else {
            return;
        };
        let created = version
            .put
            .as_ref()
            .is_some_and(|put| put.create_revision == revision);
        let prev_kv = if created || revision - 1 < readable_from {
            None
        } else {
            Live::at(key, history, revision - 1).map(Live::into_key_value)
        };
        event = Some(match version.key_value(key) {
            Some(kv) => Event {
                r#type: EventType::Put as i32,
                kv: Some(kv),
                prev_kv,
            },
            None => Event {
                r#type: EventType::Delete as i32,
                kv: Some(KeyValue {
                    key: key.clone(),
                    mod_revision: revision,
                    ..KeyValue::default()
                }),
                prev_kv,
            },
        });
    });
    event.expect("what the change log names is in the table as long as it is not forgotten")
}

/// What an event holds in a queue, in bytes.
pub(super) fn event_bytes(event: &Event) -> usize {
    let pair = |kv: &Option<KeyValue>| kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
    size_of::<Event>() + pair(&event.kv) + pair(&event.prev_kv)
}
