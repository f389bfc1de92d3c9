//! The operations of clients as they are shown.

use std::collections::BTreeMap;
use veridical_harness::style::{Ending, ShownOperation};
use veridical_histories::etcd::{EtcdEvent, Outcome, Request, WatchEventKind, WatchNote};
use veridical_histories::{EventKind, OperationId};

use super::keys::{key, keys_of, range};
use crate::plan::Plan;
use crate::sessions::process_of;

/// The operations of a history in the order of their calls.
pub fn operations(plan: &Plan, history: &[EtcdEvent]) -> Vec<ShownOperation> {
    let mut shown: Vec<ShownOperation> = Vec::new();
    let mut open: BTreeMap<OperationId, usize> = BTreeMap::new();
    for event in history {
        let at_ns = event.time_ns;
        let begin = |op, text, keys, is_read| ShownOperation {
            op,
            session: event.client,
            process: process_of(plan, event.client).unwrap_or_default(),
            call_ns: at_ns,
            end_ns: None,
            ending: Ending::Open,
            is_read,
            keys,
            text,
        };
        match &event.kind {
            EventKind::Call { op, input } => {
                open.insert(*op, shown.len());
                let is_read = matches!(input, Request::Range(_));
                let text = input.to_string();
                shown.push(begin(Some(op.0), text, keys_of(input), is_read));
            }
            EventKind::Return { op, output } => {
                let (ending, answer) = match output {
                    Outcome::Done { header, .. } => (
                        Ending::Done,
                        format!("{output} from member {}", header.member),
                    ),
                    Outcome::Refused { .. } => (Ending::Refused, output.to_string()),
                };
                end(&mut shown, &mut open, *op, at_ns, ending, &answer);
            }
            EventKind::Unknown { op } => {
                end(
                    &mut shown,
                    &mut open,
                    *op,
                    at_ns,
                    Ending::Unknown,
                    "outcome unknown",
                );
            }
            EventKind::Failed { op } => {
                end(
                    &mut shown,
                    &mut open,
                    *op,
                    at_ns,
                    Ending::NoEffect,
                    "no effect",
                );
            }
            EventKind::Note { note } => {
                let (text, keys) = watch_note(note);
                shown.push(ShownOperation {
                    end_ns: Some(at_ns),
                    ending: Ending::Done,
                    ..begin(None, text, keys, true)
                });
            }
        }
    }
    shown
}

/// What a watch brought, and of which keys.
fn watch_note(note: &WatchNote) -> (String, Vec<String>) {
    match note {
        WatchNote::Created(created) => {
            let text = format!(
                "watch {} of {} from {} created @{}",
                created.watch, created.range, created.start_revision, created.revision
            );
            (text, vec![range(&created.range)])
        }
        WatchNote::Response(response) => {
            let events = response.events.iter();
            let mut keys: Vec<String> = events.map(|event| key(&event.kv.key)).collect();
            keys.sort_unstable();
            keys.dedup();
            let events = response.events.iter().map(|event| {
                let what = match event.kind {
                    WatchEventKind::Put => "put",
                    WatchEventKind::Delete => "delete",
                };
                format!("{what} {}", event.kv)
            });
            let events: Vec<String> = events.collect();
            let mut text = format!("watch {} → {}", response.watch, events.join("; "));
            for (said, word) in [
                (response.progress, " progress"),
                (response.canceled, " canceled"),
            ] {
                text.push_str(if said { word } else { "" });
            }
            text.push_str(&format!(" @{}", response.revision));
            (text, keys)
        }
    }
}

fn end(
    shown: &mut [ShownOperation],
    open: &mut BTreeMap<OperationId, usize>,
    op: OperationId,
    at_ns: u64,
    ending: Ending,
    answer: &str,
) {
    let place = open.remove(&op);
    if let Some(operation) = place.and_then(|place| shown.get_mut(place)) {
        operation.end_ns = Some(at_ns);
        operation.ending = ending;
        operation.text.push_str(" → ");
        operation.text.push_str(answer);
    }
}
