//! One client's stream of watches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use veridical_planted::PlantedBug;
use veridical_probe::{queue, reachable, sometimes};
use veridical_proto::etcdserverpb::{
    WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion,
};
use veridical_proto::mvccpb::Event;

use super::event::{event_bytes, read_event};
use super::index::SyncedWatch;
use super::queue::StreamQueue;
use super::{Notify, WatchSpec};
use crate::error::ApiError;
use crate::key_range::KeyRange;
use crate::pins::Pin;
use crate::state::{REVISION_INITIAL, Shared, State};
use crate::view::header;

/// The watch identifier of a response that is not about one watch.
pub const WATCH_ID_NONE: i64 = -1;

/// The watches that one client has on one stream. Headers of its responses have only the
/// revision; the member adds the rest. Dropping it cancels all.
pub struct WatchStream {
    shared: Arc<Shared>,
    /// Its number in the hub.
    number: u64,
    queue: Arc<StreamQueue>,
    watches: BTreeMap<i64, Watch>,
    /// How far the watches are that are not synced.
    behind: BTreeMap<i64, Behind>,
    /// The watches that are due for a progress notification.
    progress_due: BTreeSet<i64>,
    next_watch_id: i64,
    /// Answers to requests.
    control: VecDeque<WatchResponse>,
    /// The rest of a response that was cut.
    fragments: VecDeque<WatchResponse>,
    /// Progress of watches that have been given everything, whatever others wait for; at most
    /// one for each.
    announcements: VecDeque<WatchResponse>,
    /// The client asked how far all watches are.
    progress_requested: bool,
    /// The watch that caught up last, for the others to have their turn.
    last_caught_up: i64,
    /// Whether the queue had its turn last.
    catch_up_first: bool,
}

#[derive(Debug)]
struct Watch {
    spec: Arc<WatchSpec>,
    /// The first revision that it asked for; 0 for whatever comes. May lie in the future.
    start_revision: i64,
    /// No events since the last tick of the progress timer.
    quiet: bool,
}

/// How far a watch is that is not synced.
#[derive(Clone, Copy, Debug)]
struct Behind {
    /// The next revision to read.
    from_revision: i64,
    /// See [`FellBehind`](super::queue::FellBehind).
    after: u64,
    /// It has read everything that was published at some time.
    caught_up: bool,
}

/// What a step of a watch that is behind came to.
enum CatchUp {
    Response(WatchResponse),
    /// It is synced, or gone.
    Done,
    /// Nothing was found in as many changes as one poll may look at.
    GiveWay,
}

impl WatchStream {
    pub(crate) fn open(shared: Arc<Shared>, notify: Notify) -> Self {
        let number = shared.hub.lock().open_stream();
        let queue = Arc::new(StreamQueue::new(shared.config.watch, notify));
        Self {
            shared,
            number,
            queue,
            watches: BTreeMap::new(),
            behind: BTreeMap::new(),
            progress_due: BTreeSet::new(),
            next_watch_id: 0,
            control: VecDeque::new(),
            fragments: VecDeque::new(),
            announcements: VecDeque::new(),
            progress_requested: false,
            last_caught_up: WATCH_ID_NONE,
            catch_up_first: false,
        }
    }

    /// Takes a request of the client. Its answer, if any, comes from [`poll`](Self::poll).
    ///
    /// # Errors
    /// [`ApiError::too_many_requests`] if the client asks faster than it reads the
    /// answers. Nothing was done then; the request may be handed in again after a poll.
    pub fn handle(&mut self, request: WatchRequest) -> Result<(), ApiError> {
        if self.control.len() >= self.shared.config.watch.max_control_responses {
            return Err(ApiError::too_many_requests());
        }
        queue!(
            "store.watch-responses",
            self.control.len() + 1,
            self.shared.config.watch.max_control_responses
        );
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create),
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.progress_requested = true,
            // Like etcd: what is not understood does not end the stream.
            None => {}
        }
        Ok(())
    }

    /// How many watches there are.
    pub fn watch_count(&self) -> usize {
        self.watches.len()
    }

    /// To be called at the interval of progress notifications: a watch that asked for
    /// them and had no events since the last call is due for one. It gets it at once if it has
    /// been given everything, and otherwise when nothing waits any more.
    pub fn tick_progress(&mut self) {
        for (id, watch) in &mut self.watches {
            if watch.spec.progress_notify && std::mem::replace(&mut watch.quiet, true) {
                self.progress_due.insert(*id);
            }
        }
        if self.progress_due.is_empty() {
            return;
        }
        // Nothing is published while the hub is locked: whoever has nothing in the queue now
        // has been given everything up to the published revision.
        let hub = self.shared.hub.lock();
        let revision = self.shared.state().revision();
        let waiting = self.queue.waiting();
        drop(hub);
        let is_ready = |id: &i64| {
            !self.behind.contains_key(id)
                && !waiting.contains(id)
                && self.fragments.iter().all(|rest| rest.watch_id != *id)
                && self.has_begun(*id, revision)
        };
        let ready: Vec<i64> = self.progress_due.iter().copied().filter(is_ready).collect();
        for watch_id in ready {
            sometimes!(
                !self.behind.is_empty() || !waiting.is_empty(),
                "store.progress-of-a-quiet-watch-beside-a-busy-one"
            );
            self.progress_due.remove(&watch_id);
            self.announcements.retain(|old| old.watch_id != watch_id);
            self.announcements.push_back(progress(watch_id, revision));
        }
    }

    /// Whether a watch can be told of progress up to `revision`: below its start that would
    /// be a revision that it never asked for.
    fn has_begun(&self, watch_id: i64, revision: i64) -> bool {
        let planted = self
            .shared
            .config
            .planted
            .has(PlantedBug::ProgressBelowStart);
        let start_revision = self
            .watches
            .get(&watch_id)
            .map_or(0, |watch| watch.start_revision);
        revision >= start_revision || planted
    }

    /// The next response; `None` if there is nothing to say until `notify` is called, or
    /// [`handle`](Self::handle) or [`tick_progress`](Self::tick_progress) has been called.
    pub fn poll(&mut self) -> Option<WatchResponse> {
        // Nothing comes between the parts of a response: clients put together what follows.
        if let Some(response) = self.fragments.pop_front() {
            return Some(response);
        }
        if let Some(response) = self.announcements.pop_front() {
            return Some(response);
        }
        if let Some(response) = self.control.pop_front() {
            return Some(response);
        }
        if self.shared.config.planted.has(PlantedBug::ProgressAhead)
            && let Some(response) = self.poll_progress()
        {
            return Some(response);
        }
        self.note_fallen();
        self.catch_up_first = !self.catch_up_first;
        let response = if self.catch_up_first {
            self.poll_behind().or_else(|| self.poll_queue())
        } else {
            self.poll_queue().or_else(|| self.poll_behind())
        };
        match response {
            Some(response) => Some(self.cut(response)),
            None => self.poll_progress(),
        }
    }

    fn create(&mut self, request: WatchCreateRequest) {
        match self.try_create(&request) {
            Ok(response) => self.control.push_back(response),
            Err(reason) => {
                let revision = self.shared.state().revision();
                self.control.push_back(WatchResponse {
                    header: header(revision),
                    watch_id: WATCH_ID_NONE,
                    created: true,
                    canceled: true,
                    cancel_reason: reason,
                    ..WatchResponse::default()
                });
            }
        }
    }

    fn try_create(&mut self, request: &WatchCreateRequest) -> Result<WatchResponse, String> {
        if request.start_revision < 0 {
            return Err(ApiError::compacted().to_string());
        }
        let key = if request.key.is_empty() {
            // The smallest key there can be.
            Bytes::from_static(b"\0")
        } else {
            request.key.clone()
        };
        let range = KeyRange::new(&key, &request.range_end);
        if range.is_empty() {
            return Err("mvcc: watcher range is empty".into());
        }
        if self.watches.len() >= self.shared.config.watch.max_watches_per_stream {
            return Err(ApiError::too_many_requests().to_string());
        }
        let id = match request.watch_id {
            0 => {
                while self.watches.contains_key(&self.next_watch_id) {
                    self.next_watch_id += 1;
                }
                self.next_watch_id += 1;
                self.next_watch_id - 1
            }
            id if self.watches.contains_key(&id) => {
                return Err("mvcc: duplicate watch ID provided on the WatchStream".into());
            }
            id => id,
        };
        let spec = Arc::new(WatchSpec::new(id, range, request));
        let mut hub = self.shared.hub.lock();
        let published = self.shared.state().revision();
        if request.start_revision == 0 || request.start_revision > published {
            hub.synced.insert(
                (self.number, id),
                SyncedWatch {
                    spec: Arc::clone(&spec),
                    queue: Arc::clone(&self.queue),
                    min_revision: request.start_revision.max(published + 1),
                },
            );
        } else {
            self.behind.insert(
                id,
                Behind {
                    from_revision: request.start_revision,
                    after: 0,
                    caught_up: false,
                },
            );
        }
        drop(hub);
        let watch = Watch {
            spec,
            start_revision: request.start_revision,
            quiet: true,
        };
        let old = self.watches.insert(id, watch);
        assert!(old.is_none(), "a watch has an identifier of its own");
        Ok(WatchResponse {
            header: header(published),
            watch_id: id,
            created: true,
            ..WatchResponse::default()
        })
    }

    fn cancel(&mut self, watch_id: i64) {
        // Like etcd: canceling what is not there has no answer.
        if !self.forget(watch_id) {
            return;
        }
        self.shared
            .hub
            .lock()
            .synced
            .remove((self.number, watch_id));
        self.queue.forget(watch_id);
        self.fragments.retain(|rest| rest.watch_id != watch_id);
        self.control.push_back(WatchResponse {
            header: header(self.shared.state().revision()),
            watch_id,
            canceled: true,
            ..WatchResponse::default()
        });
    }

    /// Forgets a watch; false if it is not there.
    fn forget(&mut self, watch_id: i64) -> bool {
        self.behind.remove(&watch_id);
        self.progress_due.remove(&watch_id);
        self.announcements.retain(|told| told.watch_id != watch_id);
        self.watches.remove(&watch_id).is_some()
    }

    /// Notes the watches that the writer gives nothing more to.
    fn note_fallen(&mut self) {
        let planted = self.shared.config.planted;
        for fallen in self.queue.take_fell_behind() {
            assert!(
                self.watches.contains_key(&fallen.watch_id),
                "a canceled watch is forgotten by the queue"
            );
            let old = self.behind.insert(
                fallen.watch_id,
                Behind {
                    from_revision: fallen.from_revision
                        + i64::from(planted.has(PlantedBug::WatchOverflow)),
                    after: fallen.after,
                    caught_up: false,
                },
            );
            assert!(old.is_none(), "only a synced watch falls behind");
        }
    }

    fn poll_queue(&mut self) -> Option<WatchResponse> {
        let batch = self.queue.pop()?;
        Some(self.respond(batch.spec.id, batch.revision, batch.events))
    }

    /// Lets one watch that is behind catch up a little.
    fn poll_behind(&mut self) -> Option<WatchResponse> {
        loop {
            if self.behind.is_empty() {
                return None;
            }
            let place = self.queue.place();
            sometimes!(
                self.behind.values().any(|behind| behind.after > place),
                "store.watch-that-fell-behind-waits-for-its-own-queue"
            );
            let ready =
                |(id, behind): (&i64, &Behind)| (behind.after <= place).then_some((*id, *behind));
            let others = (Bound::Excluded(self.last_caught_up), Bound::Unbounded);
            let (id, behind) = self
                .behind
                .range(others)
                .find_map(ready)
                .or_else(|| self.behind.iter().find_map(ready))?;
            let spec = Arc::clone(&self.watches[&id].spec);
            self.last_caught_up = id;
            match self.catch_up(&spec, behind) {
                CatchUp::Response(response) => return Some(response),
                CatchUp::Done => {}
                CatchUp::GiveWay => {
                    (self.queue.notify())();
                    return None;
                }
            }
        }
    }

    fn catch_up(&mut self, spec: &Arc<WatchSpec>, behind: Behind) -> CatchUp {
        let planted = self.shared.config.planted.has(PlantedBug::WatchGap);
        let state = self.shared.state();
        let published = state.revision();
        if behind.from_revision > published || (planted && behind.caught_up) {
            return self.join(spec, behind);
        }
        let Some((_pin, readable_from)) = pin_from(&state, behind.from_revision) else {
            reachable!("store.watch-canceled-by-a-compaction");
            let compacted = state.compacted_revision();
            self.forget(spec.id);
            return CatchUp::Response(WatchResponse {
                header: header(published),
                watch_id: spec.id,
                canceled: true,
                compact_revision: compacted,
                ..WatchResponse::default()
            });
        };
        sometimes!(
            readable_from == behind.from_revision,
            "store.watch-catches-up-from-the-compacted-revision"
        );
        let readable_from = if self.shared.config.planted.has(PlantedBug::WatchPrevLost) {
            behind.from_revision
        } else {
            readable_from
        };
        let (events, next_revision) = self.read(&state, spec, behind, published, readable_from);
        assert!(
            next_revision > behind.from_revision && next_revision <= published + 1,
            "a watch that reads goes forward, and no further than what is published"
        );
        sometimes!(
            next_revision <= published,
            "store.watch-catches-up-in-several-steps"
        );
        self.behind.insert(
            spec.id,
            Behind {
                from_revision: next_revision,
                after: 0,
                caught_up: next_revision > published,
            },
        );
        if events.is_empty() {
            if next_revision > published {
                return CatchUp::Done;
            }
            return CatchUp::GiveWay;
        }
        CatchUp::Response(self.respond(spec.id, published, events))
    }

    /// Reads events from history, whole revisions up to `published`, within the limits of
    /// one response; returns with them the next revision to read.
    fn read(
        &self,
        state: &State,
        spec: &WatchSpec,
        behind: Behind,
        published: i64,
        readable_from: i64,
    ) -> (Vec<Event>, i64) {
        let limits = &self.shared.config.watch;
        let mut events = Vec::new();
        let mut bytes = 0;
        let mut changes = 0;
        let mut revisions = 0;
        // Nothing was written by the initial revision, but a watch may begin there.
        let mut revision = behind.from_revision.max(REVISION_INITIAL + 1);
        let log = state.log.read();
        while revision <= published {
            let full = revisions >= limits.max_catch_up_revisions
                || events.len() >= limits.max_buffered_events
                || bytes >= limits.max_buffered_bytes;
            if full || changes >= limits.max_catch_up_changes {
                break;
            }
            let before = events.len();
            for (sub_revision, key) in log.keys(revision).enumerate() {
                changes += 1;
                if !spec.range.contains(key) {
                    continue;
                }
                let mut event = read_event(
                    state.memtable.as_ref(),
                    key,
                    revision,
                    sub_revision as i64,
                    readable_from,
                );
                if !spec.prev_kv {
                    event.prev_kv = None;
                }
                if spec.wants(&event) {
                    bytes += event_bytes(&event);
                    events.push(event);
                }
            }
            revisions += usize::from(events.len() > before);
            revision += 1;
        }
        (events, revision)
    }

    /// Makes a watch synced, if nothing was published meanwhile.
    fn join(&mut self, spec: &Arc<WatchSpec>, behind: Behind) -> CatchUp {
        let planted = self.shared.config.planted.has(PlantedBug::WatchGap);
        let mut hub = self.shared.hub.lock();
        let published = self.shared.state().revision();
        if behind.from_revision <= published && !(planted && behind.caught_up) {
            return CatchUp::Done;
        }
        hub.synced.insert(
            (self.number, spec.id),
            SyncedWatch {
                spec: Arc::clone(spec),
                queue: Arc::clone(&self.queue),
                min_revision: behind.from_revision,
            },
        );
        drop(hub);
        assert!(
            self.watches.contains_key(&spec.id),
            "only a watch that exists becomes synced"
        );
        reachable!("store.watch-caught-up");
        self.behind.remove(&spec.id);
        CatchUp::Done
    }

    /// A response with events.
    fn respond(&mut self, watch_id: i64, revision: i64, events: Vec<Event>) -> WatchResponse {
        if let Some(watch) = self.watches.get_mut(&watch_id) {
            watch.quiet = false;
        }
        WatchResponse {
            header: header(revision),
            watch_id,
            events,
            ..WatchResponse::default()
        }
    }

    /// A response about how far the watches are, if one is due.
    fn poll_progress(&mut self) -> Option<WatchResponse> {
        let due = self.progress_requested || !self.progress_due.is_empty();
        let planted = self.shared.config.planted.has(PlantedBug::ProgressAhead);
        if !due || !(self.behind.is_empty() || planted) {
            return None;
        }
        // Nothing is published while the hub is locked: if the queue is empty now, all
        // events up to the published revision have been handed out.
        let hub = self.shared.hub.lock();
        let revision = self.shared.state().revision();
        let drained = self.queue.is_drained() || planted;
        drop(hub);
        if !drained {
            (self.queue.notify())();
            return None;
        }
        let is_below_start = |id: &i64| !self.has_begun(*id, revision);
        if self.progress_requested && !self.watches.keys().any(is_below_start) {
            self.progress_requested = false;
            // Like etcd: without watches there is no progress to tell.
            return (!self.watches.is_empty()).then(|| progress(WATCH_ID_NONE, revision));
        }
        let watch_id = *self.progress_due.iter().find(|id| !is_below_start(id))?;
        self.progress_due.remove(&watch_id);
        Some(progress(watch_id, revision))
    }

    /// Cuts a response that is too large, if its client can put it together again; the
    /// rest waits. etcd: `sendFragments`.
    fn cut(&mut self, response: WatchResponse) -> WatchResponse {
        let max_bytes = self.shared.config.max_request_bytes;
        let fragment = self
            .watches
            .get(&response.watch_id)
            .is_some_and(|watch| watch.spec.fragment);
        if !fragment || response.events.len() < 2 || response.encoded_len() < max_bytes {
            return response;
        }
        let empty = WatchResponse {
            events: Vec::new(),
            fragment: true,
            ..response.clone()
        };
        let empty_bytes = empty.encoded_len();
        let mut part = empty.clone();
        let mut part_bytes = empty_bytes;
        for event in response.events {
            let event_bytes = event.encoded_len();
            // The field's tag and the length before it.
            let bytes = 1 + prost::length_delimiter_len(event_bytes) + event_bytes;
            if !part.events.is_empty() && part_bytes + bytes >= max_bytes {
                self.fragments
                    .push_back(std::mem::replace(&mut part, empty.clone()));
                part_bytes = empty_bytes;
            }
            part_bytes += bytes;
            part.events.push(event);
        }
        part.fragment = false;
        self.fragments.push_back(part);
        self.fragments
            .pop_front()
            .expect("there is at least the last part")
    }
}

/// Tells that everything up to `revision` was told.
fn progress(watch_id: i64, revision: i64) -> WatchResponse {
    WatchResponse {
        header: header(revision),
        watch_id,
        ..WatchResponse::default()
    }
}

/// Keeps the events from `from_revision` on readable; returns with it the lowest revision
/// that can be read. `None` if some of them have been compacted.
fn pin_from(state: &State, from_revision: i64) -> Option<(Pin, i64)> {
    loop {
        let compacted = state.compacted_revision();
        if from_revision < compacted {
            return None;
        }
        // The revision before tells what the first events replaced.
        let readable_from = (from_revision - 1).max(compacted);
        if let Some(pin) = state.pins.pin(readable_from) {
            return Some((pin, readable_from));
        }
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let mut hub = self.shared.hub.lock();
        for id in self.watches.keys() {
            hub.synced.remove((self.number, *id));
        }
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream")
            .field("number", &self.number)
            .field("watches", &self.watches)
            .finish_non_exhaustive()
    }
}
