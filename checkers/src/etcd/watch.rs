//! Watches: what each has been sent, and whether that is what the store went through.
//!
//! Delivery times bound nothing; content and revisions count. Checked at once: order,
//! filter, no revision twice or split. Checked once replayed: nothing left out, nothing
//! invented.

use std::collections::BTreeMap;

use bytes::Bytes;
use veridical_histories::etcd::{
    KeyRange, KeyValue, WatchCreated, WatchEvent, WatchEventKind, WatchResponse,
};

use super::versions::{Change, Stored, Untold, View};
use crate::verdict::WitnessOperation;

/// One watch.
#[derive(Debug)]
pub(super) struct Watch {
    created: WatchCreated,
    client: u64,
    created_ns: u64,
    /// The first revision it has not been sent yet.
    next: i64,
    /// Events of a response of which more is to come.
    fragments: Vec<WatchEvent>,
    /// The revision in the head of that response; all its parts have it.
    fragment_revision: i64,
    has_ended: bool,
}

/// Events that claim to be all that the watch wants to know of `from..=upto`.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub watch: u64,
    pub from: i64,
    pub upto: i64,
    pub events: Vec<WatchEvent>,
    pub at_event: u64,
    pub at_ns: u64,
}

/// What is wrong with a response, before anything is replayed.
#[derive(Debug)]
pub(super) struct Misdelivery {
    pub expected: String,
    pub got: String,
}

impl Watch {
    pub fn new(created: WatchCreated, client: u64, created_ns: u64) -> Self {
        let next = if created.start_revision > 0 {
            created.start_revision
        } else {
            created.revision + 1
        };
        Self {
            created,
            client,
            created_ns,
            next,
            fragments: Vec::new(),
            fragment_revision: 0,
            has_ended: false,
        }
    }

    /// What it watches.
    pub fn range(&self) -> &KeyRange {
        &self.created.range
    }

    /// The oldest revision that deliveries to come can speak of.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// The server ended it; nothing more is expected.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub fn witness(&self) -> WitnessOperation {
        let created = &self.created;
        WitnessOperation {
            op: None,
            client: self.client,
            call_ns: self.created_ns,
            return_ns: Some(self.created_ns),
            text: format!(
                "watch {} of {} from revision {} created at {}",
                created.watch, created.range, created.start_revision, created.revision
            ),
        }
    }

    /// Takes a response in. Goes out: a delivery to compare with the replay, if the
    /// response completes one.
    pub fn respond(
        &mut self,
        response: &WatchResponse,
        at_event: u64,
        at_ns: u64,
    ) -> Result<Option<Delivery>, Misdelivery> {
        if !self.fragments.is_empty()
            && !response.canceled
            && response.revision != self.fragment_revision
        {
            return Err(Misdelivery {
                expected: format!(
                    "the rest of the response at revision {}",
                    self.fragment_revision
                ),
                got: format!("a response at revision {}", response.revision),
            });
        }
        self.fragment_revision = response.revision;
        for event in &response.events {
            self.accept(event)?;
        }
        self.fragments.extend(response.events.iter().cloned());
        if response.fragment {
            return Ok(None);
        }
        let events = std::mem::take(&mut self.fragments);
        let last = events.last().map(|event| event.kv.mod_revision);
        let upto = if response.progress {
            Some(response.revision.max(last.unwrap_or(0)))
        } else {
            last
        };
        let Some(upto) = upto else { return Ok(None) };
        if upto < self.next {
            // A progress notification repeats what is known.
            return Ok(None);
        }
        let from = self.next;
        self.next = upto + 1;
        Ok(Some(Delivery {
            watch: self.created.watch,
            from,
            upto,
            events,
            at_event,
            at_ns,
        }))
    }

    fn accept(&self, event: &WatchEvent) -> Result<(), Misdelivery> {
        let revision = event.kv.mod_revision;
        let wrong = |expected: String| Misdelivery {
            expected,
            got: describe(event),
        };
        if revision < self.next {
            return Err(wrong(format!(
                "events from revision {} on: all before were sent already, each revision in one piece",
                self.next
            )));
        }
        if let Some(last) = self.fragments.last()
            && revision < last.kv.mod_revision
        {
            return Err(wrong(format!(
                "revisions in order, after {}",
                last.kv.mod_revision
            )));
        }
        if !self.created.range.contains(&event.kv.key) {
            return Err(wrong(format!("only keys in {}", self.created.range)));
        }
        let filtered = match event.kind {
            WatchEventKind::Put => self.created.no_put,
            WatchEventKind::Delete => self.created.no_delete,
        };
        if filtered {
            return Err(wrong(format!("no {:?} events, as asked", event.kind)));
        }
        Ok(())
    }

    /// The event that this watch gets for a change of `key` to `stored`; `None` where it
    /// gets none.
    fn wants(&self, key: &Bytes, stored: Option<&Stored>) -> bool {
        self.created.range.contains(key)
            && match stored {
                Some(_) => !self.created.no_put,
                None => !self.created.no_delete,
            }
    }
}

/// One event as text.
pub(super) fn describe(event: &WatchEvent) -> String {
    match event.kind {
        WatchEventKind::Put => format!("put {}", event.kv),
        WatchEventKind::Delete => format!(
            "delete {} (mod {})",
            veridical_histories::text_bytes::display(&event.kv.key),
            event.kv.mod_revision
        ),
    }
}

impl Delivery {
    /// Whether the response's events come in order of revision, none twice.
    pub fn check_order(&self) -> Result<(), Misdelivery> {
        let mut keys = BTreeMap::new();
        for pair in self.events.windows(2) {
            if pair[1].kv.mod_revision < pair[0].kv.mod_revision {
                return Err(Misdelivery {
                    expected: format!("revisions in order, after {}", pair[0].kv.mod_revision),
                    got: describe(&pair[1]),
                });
            }
        }
        for event in &self.events {
            if keys
                .insert((event.kv.mod_revision, &event.kv.key), ())
                .is_some()
            {
                return Err(Misdelivery {
                    expected: "each change of a key once".to_owned(),
                    got: describe(event),
                });
            }
        }
        Ok(())
    }

    fn events_at(&self, revision: i64) -> &[WatchEvent] {
        let first = self
            .events
            .partition_point(|event| event.kv.mod_revision < revision);
        let last = self
            .events
            .partition_point(|event| event.kv.mod_revision <= revision);
        &self.events[first..last]
    }

    /// Whether `changes` at `revision` could be what this delivery tells.
    pub fn allows(&self, watch: &Watch, revision: i64, changes: &[Change]) -> bool {
        if !(self.from..=self.upto).contains(&revision) {
            return true;
        }
        let events = self.events_at(revision);
        let wanted: Vec<&Change> = changes
            .iter()
            .filter(|(key, stored)| watch.wants(key, stored.as_ref()))
            .collect();
        wanted.len() == events.len()
            && wanted.iter().all(|(key, stored)| {
                events
                    .iter()
                    .any(|event| event.kv.key == *key && tells(event, stored.as_ref()))
            })
    }

    /// The first value that it tells and that is only assumed so far.
    pub fn untold(&self, view: View<'_>) -> Option<Untold> {
        let told = |kv: &KeyValue| {
            let stored = view.get(&kv.key, kv.mod_revision)?;
            stored.untold(kv, false)
        };
        self.events.iter().find_map(|event| {
            let is_put = event.kind == WatchEventKind::Put;
            let before = || event.prev_kv.as_ref().and_then(told);
            is_put.then(|| told(&event.kv)).flatten().or_else(before)
        })
    }

    /// Compares with the replayed revisions `from..=upto`.
    pub fn check(
        &self,
        watch: &Watch,
        view: View<'_>,
        compacted_below: i64,
    ) -> Result<(), Misdelivery> {
        for revision in self.from.max(1)..=self.upto {
            let events = self.events_at(revision);
            let Some(entry) = view.log(revision) else {
                continue;
            };
            let mut wanted = 0;
            for key in &entry.keys {
                let stored = view.get(key, revision);
                if !watch.wants(key, stored) {
                    continue;
                }
                wanted += 1;
                let Some(event) = events.iter().find(|event| event.kv.key == *key) else {
                    return Err(Misdelivery {
                        expected: expected_event(key, stored, revision),
                        got: format!(
                            "a response that goes from revision {} to {} without it",
                            self.from, self.upto
                        ),
                    });
                };
                if !tells(event, stored) {
                    return Err(Misdelivery {
                        expected: expected_event(key, stored, revision),
                        got: describe(event),
                    });
                }
                let before = view.get(key, revision - 1);
                let may_lack_before = compacted_below >= revision - 1;
                if !tells_before(watch, event, before, may_lack_before) {
                    let text = |kv: Option<KeyValue>| match kv {
                        Some(kv) => format!("{}, before: {kv}", describe(event)),
                        None => format!("{}, nothing before", describe(event)),
                    };
                    return Err(Misdelivery {
                        expected: text(before.map(|before| before.to_kv(key))),
                        got: text(event.prev_kv.clone()),
                    });
                }
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
}

fn tells(event: &WatchEvent, stored: Option<&Stored>) -> bool {
    match (event.kind, stored) {
        (WatchEventKind::Put, Some(stored)) => stored.equals(&event.kv, false),
        (WatchEventKind::Delete, None) => true,
        (WatchEventKind::Put, None) | (WatchEventKind::Delete, Some(_)) => false,
    }
}

fn tells_before(
    watch: &Watch,
    event: &WatchEvent,
    before: Option<&Stored>,
    may_lack: bool,
) -> bool {
    match (&event.prev_kv, before) {
        (None, None) => true,
        (None, Some(_)) => !watch.created.prev_kv || may_lack,
        // What nobody asked for is as wrong as what is missing.
        (Some(kv), Some(before)) => {
            watch.created.prev_kv && kv.key == event.kv.key && before.equals(kv, false)
        }
        (Some(_), None) => false,
    }
}

fn expected_event(key: &Bytes, stored: Option<&Stored>, revision: i64) -> String {
    match stored {
        Some(stored) => format!("put {}", stored.to_kv(key)),
        None => format!(
            "delete {} (mod {revision})",
            veridical_histories::text_bytes::display(key)
        ),
    }
}
