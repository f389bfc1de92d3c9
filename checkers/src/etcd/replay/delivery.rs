//! Comparisons of what a watch was sent with the replay, in one hypothesis.

use bytes::Bytes;
use veridical_histories::etcd::{KeyValue, WatchEvent, WatchEventKind};
use veridical_histories::text_bytes::display;

use crate::etcd::intake::{Delivery, Misdelivery, Watch, describe, shows};
use crate::etcd::stored::{Stored, Unresolved};

use super::view::View;

/// The first value that the delivery shows and that is only assumed so far.
pub(in crate::etcd) fn unresolved_in(view: View<'_>, delivery: &Delivery) -> Option<Unresolved> {
    let unresolved = |kv: &KeyValue| {
        let stored = view.get(&kv.key, kv.mod_revision)?;
        stored.unresolved(kv, false)
    };
    delivery.events.iter().find_map(|event| {
        let is_put = event.kind == WatchEventKind::Put;
        let before = || event.prev_kv.as_ref().and_then(unresolved);
        is_put
            .then(|| unresolved(&event.kv))
            .flatten()
            .or_else(before)
    })
}

/// Compares a delivery with the replayed revisions that it speaks of. Previous content may
/// be lacking up to the revision `compacted_below`.
///
/// # Errors
/// The first event that is left out, invented or other than it should be.
pub(in crate::etcd) fn check_delivery(
    view: View<'_>,
    watch: &Watch,
    delivery: &Delivery,
    compacted_below: i64,
) -> Result<(), Misdelivery> {
    assert!(
        delivery.upto <= view.last_revision(),
        "deliveries are compared with revisions that are replayed"
    );
    for revision in delivery.from.max(1)..=delivery.upto {
        let Some(entry) = view.log(revision) else {
            continue;
        };
        let events = delivery.events_at(revision);
        let mut wanted = 0;
        for key in entry.keys.iter() {
            if !watch.wants(key, view.get(key, revision)) {
                continue;
            }
            wanted += 1;
            let may_lack_before = compacted_below >= revision - 1;
            let Some(event) = events.iter().find(|event| event.kv.key == *key) else {
                return Err(left_out(view, delivery, key, revision));
            };
            check_event(view, watch, event, revision, may_lack_before)?;
        }
        if wanted != events.len() {
            let invented = events
                .iter()
                .find(|event| !entry.keys.contains(&event.kv.key))
                .unwrap_or(&events[0]);
            return Err(Misdelivery {
                expected: format!("{wanted} events at revision {revision}"),
                got: describe(invented),
            });
        }
    }
    Ok(())
}

fn left_out(view: View<'_>, delivery: &Delivery, key: &Bytes, revision: i64) -> Misdelivery {
    Misdelivery {
        expected: expected_event(key, view.get(key, revision), revision),
        got: format!(
            "a response that goes from revision {} to {} without it",
            delivery.from, delivery.upto
        ),
    }
}

/// Compares one event with the change that its revision made to its key.
fn check_event(
    view: View<'_>,
    watch: &Watch,
    event: &WatchEvent,
    revision: i64,
    may_lack_before: bool,
) -> Result<(), Misdelivery> {
    let key = &event.kv.key;
    let stored = view.get(key, revision);
    if !shows(event, stored) {
        return Err(Misdelivery {
            expected: expected_event(key, stored, revision),
            got: describe(event),
        });
    }
    let before = view.get(key, revision - 1);
    if shows_before(watch, event, before, may_lack_before) {
        return Ok(());
    }
    let text = |kv: Option<KeyValue>| match kv {
        Some(kv) => format!("{}, before: {kv}", describe(event)),
        None => format!("{}, nothing before", describe(event)),
    };
    Err(Misdelivery {
        expected: text(before.map(|before| before.to_kv(key))),
        got: text(event.prev_kv.clone()),
    })
}

/// Whether the event shows the content before its revision as it was, if the watch asked
/// for it.
fn shows_before(
    watch: &Watch,
    event: &WatchEvent,
    before: Option<&Stored>,
    may_lack: bool,
) -> bool {
    match (&event.prev_kv, before) {
        (None, None) => true,
        (None, Some(_)) => !watch.wants_previous() || may_lack,
        // Content that nobody asked for is as wrong as content that is missing.
        (Some(kv), Some(before)) => {
            watch.wants_previous() && kv.key == event.kv.key && before.equals(kv, false)
        }
        (Some(_), None) => false,
    }
}

fn expected_event(key: &Bytes, stored: Option<&Stored>, revision: i64) -> String {
    match stored {
        Some(stored) => format!("put {}", stored.to_kv(key)),
        None => format!("delete {} (mod {revision})", display(key)),
    }
}
