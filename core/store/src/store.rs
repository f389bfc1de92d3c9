//! The single writer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use veridical_planted::PlantedBug;
use veridical_probe::{always, sometimes};
use veridical_proto::command::Command;
use veridical_proto::snapshot::{Header, snapshot_record::Record};

use crate::apply::Writer;
use crate::change_log::ChangeLog;
use crate::config::StoreConfig;
use crate::error::ApiError;
use crate::feed::Feed;
use crate::lease::{LeaseStep, LeaseTable};
use crate::outcome::Applied;
use crate::reader::StoreReader;
use crate::session::{Admission, SessionTable};
use crate::snapshot::{FORMAT_VERSION, SnapshotSource};
use crate::state::{
    COMPACTED_INITIAL, PublishedView, REVISION_INITIAL, Shared, State, new_memtable,
};

/// The replicated state machine. Its one owner applies commands in log order and publishes
/// them in batches; any number of [`StoreReader`]s see what has been published.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    /// The state in `shared`, without its lock.
    state: Arc<State>,
    writer: Writer,
    /// Everything that a compaction at this revision leaves unreachable is forgotten.
    trimmed_floor: i64,
    /// The changes that a durable copy has not taken yet, if there is one.
    feed: Option<Feed>,
}

impl Store {
    /// An empty store at revision 1.
    pub fn new(config: StoreConfig) -> Self {
        let memtable = new_memtable(&config);
        let view = PublishedView {
            revision: REVISION_INITIAL,
            compacted_revision: COMPACTED_INITIAL,
            applied_index: 0,
            leases: LeaseTable::default(),
            sessions: Vec::new(),
        };
        let log = ChangeLog::new(REVISION_INITIAL + 1);
        let writer = Writer {
            planted: config.planted,
            revision: view.revision,
            compacted_revision: view.compacted_revision,
            applied_index: view.applied_index,
            leases: LeaseTable::default(),
            sessions: SessionTable::default(),
            lease_steps: Vec::new(),
            keys: 0,
            bytes: 0,
        };
        Self::from_parts(config, State::new(memtable, log, view), writer)
    }

    pub(crate) fn from_parts(config: StoreConfig, state: State, writer: Writer) -> Self {
        let state = Arc::new(state);
        let store = Self {
            feed: config.feed.then(Feed::default),
            shared: Arc::new(Shared::new(config, Arc::clone(&state))),
            trimmed_floor: state.compacted_revision(),
            state,
            writer,
        };
        store.show_size();
        store
    }

    /// A reader; it stays valid when a snapshot is installed, and when the store is gone.
    pub fn reader(&self) -> StoreReader {
        StoreReader::new(Arc::clone(&self.shared))
    }

    /// Applies the command at `index` of the log. Readers do not see it before
    /// [`publish`](Self::publish); reads may come between any two commands.
    ///
    /// # Panics
    /// If `index` is not above the last applied one.
    pub fn apply(&mut self, index: u64, command: &Command) -> Applied {
        self.advance(index);
        let planted = self.shared.config.planted;
        let admission = self.writer.sessions.admit(command, planted);
        let double_apply = planted.has(PlantedBug::DoubleApply);
        match admission {
            Admission::Duplicate if !double_apply => Applied::Duplicate,
            Admission::WindowFull => Applied::Refused(ApiError::too_many_requests()),
            Admission::New | Admission::Duplicate => self.writer.apply(&self.state, command),
        }
    }

    /// Notes an entry of the log that is not a command (an empty one of a new leader, a
    /// change of members), so that the applied index follows.
    ///
    /// # Panics
    /// If `index` is not above the last applied one.
    pub fn advance(&mut self, index: u64) {
        always!(
            index > self.writer.applied_index,
            "store.entries-are-applied-once-and-in-order",
            "{index} after {}",
            self.writer.applied_index
        );
        self.writer.applied_index = index;
    }

    /// Shows everything applied so far to readers, at once, and feeds the watches.
    pub fn publish(&mut self) {
        let mut hub = self.shared.hub.lock();
        let from = self.state.revision();
        {
            let mut view = self.state.view_mut();
            self.writer.assert_follows(&view);
            if let Some(feed) = &mut self.feed {
                feed_changes(feed, &self.state, &view, &self.writer);
            }
            view.revision = self.writer.revision;
            view.compacted_revision = self.writer.compacted_revision;
            view.applied_index = self.writer.applied_index;
            for step in self.writer.lease_steps.drain(..) {
                view.leases.step(step);
            }
            view.sessions.clear();
            view.sessions.extend(self.writer.sessions.digests());
            self.state.show(&view);
        }
        assert!(
            self.state.revision() == self.writer.revision && self.writer.lease_steps.is_empty(),
            "readers see all that was applied, and nothing of it twice"
        );
        sometimes!(
            self.writer.revision > from + 1,
            "store.several-revisions-published-at-once"
        );
        hub.distribute(&self.state, from);
        let wakers = hub.take_wakers();
        drop(hub);
        for wake in wakers {
            wake();
        }
        self.trim();
        self.show_size();
    }

    /// A snapshot of everything applied so far, which is published first. It stays
    /// consistent while applying goes on.
    pub fn snapshot(&mut self) -> SnapshotSource {
        self.publish();
        SnapshotSource::new(
            Arc::clone(&self.state),
            &self.writer.leases,
            &self.writer.sessions,
            self.shared.config.planted,
        )
    }

    /// Replaces the contents by those of a restored store. Readers and watches of this
    /// store stay valid: a watch goes on from its next revision, or is canceled if that
    /// has been compacted in the snapshot. A copy that is kept by feeds has to be replaced
    /// as a whole, from a [`snapshot`](Self::snapshot).
    ///
    /// # Panics
    /// If the snapshot is older than what has been applied here.
    pub fn install(&mut self, restored: Store) {
        always!(
            restored.writer.applied_index >= self.writer.applied_index
                && restored.writer.revision >= self.state.revision(),
            "store.snapshots-are-not-installed-over-newer-contents",
            "revision {} over {}",
            restored.writer.revision,
            self.state.revision()
        );
        sometimes!(
            self.state.revision() > REVISION_INITIAL,
            "store.snapshot-replaced-contents"
        );
        sometimes!(
            restored.writer.compacted_revision > self.state.revision(),
            "store.snapshot-compacted-beyond-what-was-here"
        );
        let mut hub = self.shared.hub.lock();
        let seen = if self
            .shared
            .config
            .planted
            .has(PlantedBug::WatchSkipsInstalled)
        {
            restored.state.revision()
        } else {
            self.state.revision()
        };
        hub.unsync_all(seen, self.shared.config.planted);
        self.state = restored.state;
        self.writer = restored.writer;
        self.trimmed_floor = restored.trimmed_floor;
        if let Some(feed) = &mut self.feed {
            // Of changes of a content that is gone.
            *feed = Feed::default();
        }
        self.shared.replace_state(Arc::clone(&self.state));
        let wakers = hub.take_wakers();
        drop(hub);
        for wake in wakers {
            wake();
        }
    }

    /// What has changed since the last call, as far as it has been published: what brings
    /// a copy of the published state of then to that of now. Always empty without
    /// [`StoreConfig::feed`]; with it, what is not taken piles up.
    pub fn take_feed(&mut self) -> Feed {
        self.feed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Puts changes before all others of the feed.
    pub(crate) fn feed_leftovers(&mut self, leftovers: Feed) {
        if let Some(feed) = &mut self.feed {
            assert!(feed.is_empty(), "a restored store has changed nothing yet");
            *feed = leftovers;
        }
    }

    /// Index of the last applied entry, published or not.
    pub fn applied_index(&self) -> u64 {
        self.writer.applied_index
    }

    /// The present revision, published or not.
    pub fn revision(&self) -> i64 {
        self.writer.revision
    }

    /// The revision of the last compaction, published or not; -1 if there was none.
    pub fn compacted_revision(&self) -> i64 {
        self.writer.compacted_revision
    }

    /// Every lease with its granted time to live in seconds, by identifier, published or
    /// not: what a new leader starts its [`LeaseClock`](crate::LeaseClock) with.
    pub fn leases(&self) -> Vec<(i64, i64)> {
        self.writer.leases.granted().collect()
    }

    /// Forgets some of what compaction left unreachable.
    fn trim(&mut self) {
        let floor = self.state.pins.raise_floor(self.state.compacted_revision());
        sometimes!(
            floor < self.state.compacted_revision(),
            "store.forgetting-waited-for-a-reader"
        );
        if floor <= self.trimmed_floor {
            return;
        }
        // Only keys written since the last time can have something to forget.
        let mut trimmed_keys = 0;
        let mut log = self.state.log.write();
        while log.first_revision() <= floor {
            if trimmed_keys >= self.shared.config.trim_keys {
                return;
            }
            for key in log.keys(log.first_revision()) {
                if let Some(feed) = &mut self.feed {
                    let table = &self.state.memtable;
                    table.with_history(key, &mut |key, history| {
                        feed.delete_versions(key, history.forgotten(floor));
                    });
                }
                let bug = self
                    .shared
                    .config
                    .planted
                    .has(PlantedBug::CompactionOffByOne);
                let trimmed = self.state.memtable.trim(key, floor + i64::from(bug));
                assert!(
                    trimmed.bytes as u64 <= self.writer.bytes,
                    "what is forgotten was counted"
                );
                self.writer.bytes -= trimmed.bytes as u64;
                trimmed_keys += 1;
            }
            if log.first_revision() == floor {
                // A watch may still begin here.
                break;
            }
            log.drop_first();
        }
        assert!(
            floor <= self.state.compacted_revision(),
            "nothing behind the compacted revision is forgotten"
        );
        self.trimmed_floor = floor;
    }

    fn show_size(&self) {
        let size = &self.state.size;
        size.bytes.store(self.writer.bytes, Ordering::Relaxed);
        size.keys.store(self.writer.keys, Ordering::Relaxed);
    }
}

impl Writer {
    /// The writer is at or ahead of what readers see.
    fn assert_follows(&self, view: &PublishedView) {
        assert!(
            self.revision >= view.revision
                && self.compacted_revision >= view.compacted_revision
                && self.applied_index >= view.applied_index,
            "what readers see never goes back: revision {} after {}, compacted {} after {}, \
             applied {} after {}",
            self.revision,
            view.revision,
            self.compacted_revision,
            view.compacted_revision,
            self.applied_index,
            view.applied_index,
        );
        assert!(
            self.compacted_revision <= self.revision,
            "a compaction ends with what is written"
        );
    }
}

/// Feeds what lies between the published view and the writer's state.
fn feed_changes(feed: &mut Feed, state: &State, view: &PublishedView, writer: &Writer) {
    feed.put_header(Header {
        format_version: FORMAT_VERSION,
        applied_index: writer.applied_index,
        revision: writer.revision,
        compacted_revision: writer.compacted_revision,
    });
    let log = state.log.read();
    for revision in view.revision + 1..=writer.revision {
        for (sub_revision, key) in log.keys(revision).enumerate() {
            state.memtable.with_history(key, &mut |key, history| {
                let version = history
                    .exactly(revision, sub_revision as i64)
                    .expect("what was just written is not forgotten");
                feed.put_version(key, version);
            });
        }
    }
    for step in &writer.lease_steps {
        if writer.planted.has(PlantedBug::FeedKeepsLeases)
            && matches!(step, LeaseStep::Remove { .. })
        {
            continue;
        }
        feed.step_lease(step);
    }
    for digest in writer.sessions.digests() {
        if !view.sessions.contains(&digest) {
            let session = writer.sessions.record(digest.member_id);
            feed.put(&Record::Session(session.expect("it has a digest")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_proto::command::command::Request;
    use veridical_proto::etcdserverpb::PutRequest;

    /// A store that has published one put.
    fn store_with_a_key() -> Store {
        let mut store = Store::new(StoreConfig::default());
        put(&mut store);
        store.publish();
        store
    }

    fn put(store: &mut Store) {
        let index = store.applied_index() + 1;
        let put = Command {
            member_id: 1,
            incarnation: 1,
            sequence: index,
            settled_below: index,
            request: Some(Request::Put(PutRequest {
                key: "a".into(),
                ..PutRequest::default()
            })),
        };
        let applied = store.apply(index, &put);
        assert!(matches!(applied, Applied::Response(_)), "{applied:?}");
    }

    #[test]
    #[should_panic(expected = "what readers see never goes back")]
    fn a_published_index_that_goes_back_is_a_bug() {
        let mut store = store_with_a_key();
        store.writer.applied_index = 0;
        store.publish();
    }

    #[test]
    #[should_panic(expected = "a compaction ends with what is written")]
    fn a_compaction_of_what_is_not_written_is_a_bug() {
        let mut store = store_with_a_key();
        store.writer.compacted_revision = 9;
        store.publish();
    }

    #[test]
    #[should_panic(expected = "nothing is written at or before a compaction")]
    fn a_write_before_a_compaction_is_a_bug() {
        let mut store = store_with_a_key();
        store.writer.compacted_revision = 9;
        put(&mut store);
    }
}
