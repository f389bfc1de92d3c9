//! What the one writer and the many readers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockWriteGuard};

use crate::change_log::ChangeLog;
use crate::config::{MemtableKind, StoreConfig};
use crate::lease::LeaseTable;
use crate::memtable::{LockedMemtable, Memtable, ShardedMemtable};
use crate::pins::Pins;
use crate::session::SessionDigest;
use crate::watch::Hub;

/// The revision of a store in which nothing has been written.
pub(crate) const REVISION_INITIAL: i64 = 1;

/// The compacted revision of a store that was never compacted, as etcd reports it.
pub(crate) const COMPACTED_INITIAL: i64 = -1;

/// Everything that outlives a change of [`State`].
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: StoreConfig,
    /// The present state. Replaced as a whole when a snapshot is installed; a reader that
    /// began before goes on in the old one.
    state: RwLock<Arc<State>>,
    pub(crate) hub: Hub,
}

impl Shared {
    pub(crate) fn new(config: StoreConfig, state: Arc<State>) -> Self {
        Self {
            config,
            state: RwLock::new(state),
            hub: Hub::default(),
        }
    }

    /// The present state.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read())
    }

    /// Replaces the state. The caller holds the lock of the hub, so that watches are told
    /// at the same instant.
    pub(crate) fn replace_state(&self, state: Arc<State>) {
        *self.state.write() = state;
    }
}

/// The contents of a store between two installations of snapshots.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) memtable: Box<dyn Memtable>,
    /// What each revision wrote, unpublished ones included.
    pub(crate) log: RwLock<ChangeLog>,
    pub(crate) pins: Arc<Pins>,
    /// What readers see, in parts that each are one word and only grow. The revision is
    /// stored first: whoever has seen a compacted revision or an applied index sees a
    /// revision that is at least as new.
    revision: AtomicI64,
    compacted_revision: AtomicI64,
    applied_index: AtomicU64,
    /// What readers see, as one.
    view: RwLock<PublishedView>,
    pub(crate) size: Size,
}

/// A consistent view of everything but the keys.
#[derive(Clone, Debug)]
pub(crate) struct PublishedView {
    pub(crate) revision: i64,
    pub(crate) compacted_revision: i64,
    pub(crate) applied_index: u64,
    pub(crate) leases: LeaseTable,
    pub(crate) sessions: Vec<SessionDigest>,
}

/// Estimates of size, for people and for limits.
#[derive(Debug, Default)]
pub(crate) struct Size {
    /// Bytes held by keys, values and versions.
    pub(crate) bytes: AtomicU64,
    /// Keys that exist.
    pub(crate) keys: AtomicU64,
}

impl State {
    /// A state that shows `view`, around a table and a log that hold its contents.
    pub(crate) fn new(memtable: Box<dyn Memtable>, log: ChangeLog, view: PublishedView) -> Self {
        Self {
            memtable,
            log: RwLock::new(log),
            pins: Pins::new(view.compacted_revision),
            revision: AtomicI64::new(view.revision),
            compacted_revision: AtomicI64::new(view.compacted_revision),
            applied_index: AtomicU64::new(view.applied_index),
            view: RwLock::new(view),
            size: Size::default(),
        }
    }

    pub(crate) fn revision(&self) -> i64 {
        self.revision.load(Ordering::Acquire)
    }

    pub(crate) fn compacted_revision(&self) -> i64 {
        self.compacted_revision.load(Ordering::Acquire)
    }

    pub(crate) fn applied_index(&self) -> u64 {
        self.applied_index.load(Ordering::Acquire)
    }

    pub(crate) fn view(&self) -> parking_lot::RwLockReadGuard<'_, PublishedView> {
        self.view.read()
    }

    /// To be changed and then passed to [`State::show`].
    pub(crate) fn view_mut(&self) -> RwLockWriteGuard<'_, PublishedView> {
        self.view.write()
    }

    /// Shows readers what the changed view says.
    pub(crate) fn show(&self, view: &PublishedView) {
        self.revision.store(view.revision, Ordering::Release);
        self.compacted_revision
            .store(view.compacted_revision, Ordering::Release);
        self.applied_index
            .store(view.applied_index, Ordering::Release);
    }
}

/// An empty table as configured.
pub(crate) fn new_memtable(config: &StoreConfig) -> Box<dyn Memtable> {
    match config.memtable {
        MemtableKind::Sharded => Box::new(ShardedMemtable::new(config.shards, config.hash_seed)),
        MemtableKind::Locked => Box::new(LockedMemtable::new()),
    }
}
