//! Where the writer meets the watches.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use veridical_planted::{Planted, PlantedBug};
use veridical_probe::{reachable, sometimes};
use veridical_proto::mvccpb::Event;

use super::Notify;
use super::event::read_event;
use super::index::{SyncedIndex, SyncedWatch, WatchKey};
use super::queue::Batch;
use crate::state::State;

/// The watches of one store.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    inner: Mutex<HubInner>,
}

/// The hub while it is locked: nothing is published and no watch becomes synced meanwhile.
#[derive(Default)]
pub(crate) struct HubInner {
    pub(super) synced: SyncedIndex,
    streams_opened: u64,
    /// Streams that have something new, with what to call; by number, so that each is
    /// called once.
    touched: BTreeMap<u64, Notify>,
}

impl Hub {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HubInner> {
        self.inner.lock()
    }
}

impl HubInner {
    /// A number for a new stream.
    pub(super) fn open_stream(&mut self) -> u64 {
        self.streams_opened += 1;
        self.streams_opened
    }

    /// Gives the synced watches everything that was published after revision `from`.
    pub(crate) fn distribute(&mut self, state: &State, from: i64) {
        if self.synced.is_empty() {
            return;
        }
        let log = state.log.read();
        assert!(
            from <= state.revision() && state.revision() < log.next_revision(),
            "what is published is in the change log"
        );
        for revision in from + 1..=state.revision() {
            // By watch, the sub-revisions that it wants.
            let mut wanted: BTreeMap<WatchKey, Vec<usize>> = BTreeMap::new();
            for (sub_revision, key) in log.keys(revision).enumerate() {
                for watch in self.synced.matching(key) {
                    wanted.entry(watch).or_default().push(sub_revision);
                }
            }
            if wanted.is_empty() {
                continue;
            }
            let keys: Vec<&Bytes> = log.keys(revision).collect();
            let mut events: Vec<Option<Event>> = vec![None; keys.len()];
            for (watch_key, sub_revisions) in wanted {
                let watch = self.synced.get(watch_key).expect("it has just been found");
                assert!(
                    sub_revisions.is_sorted_by(|a, b| a < b),
                    "a watch gets the writes of a revision once and in order"
                );
                if watch.min_revision > revision {
                    reachable!("store.watch-waits-for-a-revision-to-come");
                    continue;
                }
                // What the previous publish left readable has not been forgotten yet.
                let batch = gather(watch, revision, &sub_revisions, |sub_revision| {
                    events[sub_revision]
                        .get_or_insert_with(|| {
                            read_event(
                                state.memtable.as_ref(),
                                keys[sub_revision],
                                revision,
                                sub_revision as i64,
                                i64::MIN,
                            )
                        })
                        .clone()
                });
                if batch.events.is_empty() {
                    continue;
                }
                let notify = watch.queue.notify();
                let synced = watch.queue.push(batch);
                if !synced {
                    self.synced.remove(watch_key);
                }
                self.touched.entry(watch_key.0).or_insert(notify);
            }
        }
    }

    /// Makes every synced watch one that is behind: the state is about to be replaced.
    pub(crate) fn unsync_all(&mut self, published: i64, planted: Planted) {
        for ((stream, watch_id), watch) in self.synced.take_all() {
            sometimes!(
                watch.min_revision > published + 1,
                "store.watch-of-what-is-to-come-saw-a-snapshot-installed"
            );
            let from_revision = if planted.has(PlantedBug::WatchForgetsStart) {
                published + 1
            } else {
                watch.min_revision.max(published + 1)
            };
            reachable!("store.watch-fell-to-unsynced-as-a-snapshot-was-installed");
            watch.queue.fall_behind(watch_id, from_revision);
            self.touched.insert(stream, watch.queue.notify());
        }
    }

    /// What to call, once the lock is released, because of what was done since.
    pub(crate) fn take_wakers(&mut self) -> Vec<Notify> {
        std::mem::take(&mut self.touched).into_values().collect()
    }
}

/// The events of one revision that a watch wants.
fn gather(
    watch: &SyncedWatch,
    revision: i64,
    sub_revisions: &[usize],
    mut read: impl FnMut(usize) -> Event,
) -> Batch {
    let events = sub_revisions
        .iter()
        .map(|sub_revision| {
            let mut event = read(*sub_revision);
            if !watch.spec.prev_kv {
                event.prev_kv = None;
            }
            event
        })
        .filter(|event| watch.spec.wants(event))
        .collect();
    Batch {
        spec: Arc::clone(&watch.spec),
        revision,
        events,
    }
}

impl fmt::Debug for HubInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubInner")
            .field("synced", &self.synced)
            .field("streams_opened", &self.streams_opened)
            .finish_non_exhaustive()
    }
}
