//! What waits for one stream to be polled.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use veridical_probe::{queue, reachable, sometimes};
use veridical_proto::mvccpb::Event;

use super::event::event_bytes;
use super::{Notify, WatchSpec};
use crate::config::WatchLimits;

/// The events of one revision for one watch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) spec: Arc<WatchSpec>,
    pub(super) revision: i64,
    pub(super) events: Vec<Event>,
}

impl Batch {
    fn bytes(&self) -> usize {
        self.events.iter().map(event_bytes).sum()
    }
}

/// A watch that was synced and no longer is.
#[derive(Clone, Copy, Debug)]
pub(super) struct FellBehind {
    pub(super) watch_id: i64,
    /// The first revision that it has not been given.
    pub(super) from_revision: i64,
    /// It may read on when the queue has got past this place: its earlier events may still
    /// be waiting before it.
    pub(super) after: u64,
}

/// The bounded queue between the writer and one stream.
pub(super) struct StreamQueue {
    limits: WatchLimits,
    notify: Notify,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Batches with their places: how many were pushed before them.
    batches: VecDeque<(u64, Batch)>,
    events: usize,
    bytes: usize,
    pushed: u64,
    /// At most one for each watch.
    fell_behind: Vec<FellBehind>,
}

impl StreamQueue {
    pub(super) fn new(limits: WatchLimits, notify: Notify) -> Self {
        Self {
            limits,
            notify,
            inner: Mutex::default(),
        }
    }

    pub(super) fn notify(&self) -> Notify {
        Arc::clone(&self.notify)
    }

    /// Takes a batch, unless that would pass the limits; then the watch falls behind and
    /// the caller must give it nothing more. An empty queue takes a batch of any size.
    pub(super) fn push(&self, batch: Batch) -> bool {
        let mut inner = self.inner.lock();
        let bytes = batch.bytes();
        let fits = inner.events + batch.events.len() <= self.limits.max_buffered_events
            && inner.bytes + bytes <= self.limits.max_buffered_bytes;
        sometimes!(
            !fits && inner.batches.is_empty(),
            "store.watch-queue-took-a-revision-beyond-its-bound"
        );
        if !fits && !inner.batches.is_empty() {
            reachable!("store.watch-fell-to-unsynced");
            inner.fall_behind(batch.spec.id, batch.revision);
            return false;
        }
        assert!(!batch.events.is_empty(), "a batch has something to tell");
        assert!(
            inner
                .batches
                .back()
                .is_none_or(|(_, last)| last.revision <= batch.revision),
            "batches are in the order of revisions"
        );
        inner.events += batch.events.len();
        inner.bytes += bytes;
        let place = inner.pushed;
        inner.batches.push_back((place, batch));
        // One revision is taken whole, however many events it has.
        let events_max = self.limits.max_buffered_events;
        let only = if inner.batches.len() == 1 {
            inner.events
        } else {
            0
        };
        queue!("store.watch-events", inner.events, events_max.max(only));
        inner.pushed += 1;
        true
    }

    /// Notes that a watch has not been given anything from `from_revision` on.
    pub(super) fn fall_behind(&self, watch_id: i64, from_revision: i64) {
        self.inner.lock().fall_behind(watch_id, from_revision);
    }

    /// The oldest batch.
    pub(super) fn pop(&self) -> Option<Batch> {
        let mut inner = self.inner.lock();
        let (_, batch) = inner.batches.pop_front()?;
        let bytes = batch.bytes();
        assert!(
            batch.events.len() <= inner.events && bytes <= inner.bytes,
            "what is taken was counted"
        );
        inner.events -= batch.events.len();
        inner.bytes -= bytes;
        assert!(
            !inner.batches.is_empty() || (inner.events, inner.bytes) == (0, 0),
            "an empty queue holds nothing"
        );
        Some(batch)
    }

    /// The place of the oldest batch, or of the next one to come.
    pub(super) fn place(&self) -> u64 {
        let inner = self.inner.lock();
        match inner.batches.front() {
            Some((place, _)) => *place,
            None => inner.pushed,
        }
    }

    /// The watches that fell behind since the last call.
    pub(super) fn take_fell_behind(&self) -> Vec<FellBehind> {
        std::mem::take(&mut self.inner.lock().fell_behind)
    }

    /// Whether the stream has been given everything that was pushed.
    pub(super) fn is_drained(&self) -> bool {
        let inner = self.inner.lock();
        inner.batches.is_empty() && inner.fell_behind.is_empty()
    }

    /// The watches that have not been given everything that was pushed.
    pub(super) fn waiting(&self) -> BTreeSet<i64> {
        let inner = self.inner.lock();
        let batches = inner.batches.iter().map(|(_, batch)| batch.spec.id);
        let fallen = inner.fell_behind.iter().map(|fallen| fallen.watch_id);
        batches.chain(fallen).collect()
    }

    /// Forgets everything about one watch.
    pub(super) fn forget(&self, watch_id: i64) {
        let mut inner = self.inner.lock();
        inner
            .fell_behind
            .retain(|fallen| fallen.watch_id != watch_id);
        inner.batches.retain(|(_, batch)| batch.spec.id != watch_id);
        inner.events = inner
            .batches
            .iter()
            .map(|(_, batch)| batch.events.len())
            .sum();
        inner.bytes = inner.batches.iter().map(|(_, batch)| batch.bytes()).sum();
    }
}

impl Inner {
    fn fall_behind(&mut self, watch_id: i64, from_revision: i64) {
        assert!(
            self.fell_behind
                .iter()
                .all(|fallen| fallen.watch_id != watch_id),
            "only a synced watch falls behind, and then it is synced no more"
        );
        self.fell_behind.push(FellBehind {
            watch_id,
            from_revision,
            after: self.pushed,
        });
    }
}

impl fmt::Debug for StreamQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamQueue")
            .field("limits", &self.limits)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
