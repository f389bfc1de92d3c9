//! Watches: what each has been sent, as far as that can be judged before it is replayed.
//!
//! Delivery times bound nothing; content and revisions count. Order, filter, and that no
//! revision comes twice or split are judged at once; whether something was left out or
//! invented is compared with the replay ([`crate::etcd::replay`]).

use std::collections::BTreeSet;

use bytes::Bytes;
use veridical_histories::etcd::{
    KeyRange, WatchCreated, WatchEvent, WatchEventKind, WatchResponse,
};
use veridical_histories::text_bytes::display;

use crate::etcd::stored::{Change, Stored};
use crate::verdict::WitnessOperation;

/// One watch.
#[derive(Debug)]
pub(in crate::etcd) struct Watch {
    created: WatchCreated,
    client: u64,
    created_ns: u64,
    /// The first revision that it has not been sent yet.
    next: i64,
    /// Events of a response of which more is to come.
    fragments: Vec<WatchEvent>,
    /// The revision in the head of that response, which all its parts have.
    fragment_revision: i64,
    has_ended: bool,
}

/// Events that claim to be all that the watch wants to know of `from..=upto`.
#[derive(Clone, Debug)]
pub(in crate::etcd) struct Delivery {
    pub watch: u64,
    pub from: i64,
    pub upto: i64,
    pub events: Vec<WatchEvent>,
    pub at_event: u64,
    pub at_ns: u64,
}

/// A response that should have been another one.
#[derive(Debug)]
pub(in crate::etcd) struct Misdelivery {
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

    /// The keys that are watched.
    pub fn range(&self) -> &KeyRange {
        &self.created.range
    }

    /// The oldest revision that deliveries to come can speak of.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Whether events are to show the content before them.
    pub fn wants_previous(&self) -> bool {
        self.created.prev_kv
    }

    /// The server ended the watch; nothing more is expected.
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

    /// Takes a response in. Returns a delivery to compare with the replay, if the response
    /// completes one.
    ///
    /// # Errors
    /// The response repeats, reorders or splits something, or was not asked for.
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
        let delivery = Delivery {
            watch: self.created.watch,
            from,
            upto,
            events,
            at_event,
            at_ns,
        };
        delivery.check_order()?;
        Ok(Some(delivery))
    }

    /// What can be said of an event without the replay.
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

    /// Whether this watch gets an event for a change of `key` to `stored`.
    pub fn wants(&self, key: &Bytes, stored: Option<&Stored>) -> bool {
        self.created.range.contains(key)
            && match stored {
                Some(_) => !self.created.no_put,
                None => !self.created.no_delete,
            }
    }
}

/// One event as text.
pub(in crate::etcd) fn describe(event: &WatchEvent) -> String {
    match event.kind {
        WatchEventKind::Put => format!("put {}", event.kv),
        WatchEventKind::Delete => format!(
            "delete {} (mod {})",
            display(&event.kv.key),
            event.kv.mod_revision
        ),
    }
}

impl Delivery {
    /// The response's events come in order of revision, none twice.
    pub(super) fn check_order(&self) -> Result<(), Misdelivery> {
        assert!(self.from <= self.upto, "a delivery tells of something new");
        for pair in self.events.windows(2) {
            if pair[1].kv.mod_revision < pair[0].kv.mod_revision {
                return Err(Misdelivery {
                    expected: format!("revisions in order, after {}", pair[0].kv.mod_revision),
                    got: describe(&pair[1]),
                });
            }
        }
        let mut changed = BTreeSet::new();
        for event in &self.events {
            if !changed.insert((event.kv.mod_revision, &event.kv.key)) {
                return Err(Misdelivery {
                    expected: "each change of a key once".to_owned(),
                    got: describe(event),
                });
            }
        }
        Ok(())
    }

    /// The events of one revision.
    pub fn events_at(&self, revision: i64) -> &[WatchEvent] {
        let first = self
            .events
            .partition_point(|event| event.kv.mod_revision < revision);
        let last = self
            .events
            .partition_point(|event| event.kv.mod_revision <= revision);
        &self.events[first..last]
    }

    /// Whether `changes` at `revision` can be what this delivery shows of it.
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
                    .any(|event| event.kv.key == *key && shows(event, stored.as_ref()))
            })
    }
}

/// Whether the event shows that its key became `stored`, or was deleted.
pub(in crate::etcd) fn shows(event: &WatchEvent, stored: Option<&Stored>) -> bool {
    match (event.kind, stored) {
        (WatchEventKind::Put, Some(stored)) => stored.equals(&event.kv, false),
        (WatchEventKind::Delete, None) => true,
        (WatchEventKind::Put, None) | (WatchEventKind::Delete, Some(_)) => false,
    }
}
