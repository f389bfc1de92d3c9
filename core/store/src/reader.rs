//! The many readers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use veridical_planted::PlantedBug;
use veridical_proto::etcdserverpb::{RangeRequest, RangeResponse, TxnRequest, TxnResponse};

use crate::digest::{self, StateHash};
use crate::error::ApiError;
use crate::lease::{LeaseTable, LeaseView};
use crate::memtable::NEWEST;
use crate::pins::Pin;
use crate::state::{Shared, State};
use crate::txn::{DecidedTxn, ReadTarget};
use crate::view::{View, header};
use crate::watch::{Notify, WatchStream};

/// Reads what has been published, from any thread, without blocking the writer for longer
/// than it takes to look at one shard.
///
/// A read takes the published revision and looks only at versions up to it: a consistent
/// cut over all shards without a common lock. Compaction does not wait for readers; a
/// reader that finds that one happened meanwhile throws its result away and reads again.
#[derive(Clone, Debug)]
pub struct StoreReader {
    shared: Arc<Shared>,
}

impl StoreReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Serves a range at the published revision, or at the one that it names.
    ///
    /// # Errors
    /// [`ApiError::compacted`], [`ApiError::future_revision`].
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, ApiError> {
        self.read(&|view| view.range(request))
    }

    /// Serves a transaction that writes nothing, on one cut.
    ///
    /// # Errors
    /// [`ApiError::compacted`], [`ApiError::future_revision`] of a range in it.
    ///
    /// # Panics
    /// If the branch that is taken writes: see
    /// [`is_read_only_txn`](crate::is_read_only_txn).
    pub fn read_txn(&self, request: &TxnRequest) -> Result<TxnResponse, ApiError> {
        self.read(&|view| {
            let plan = DecidedTxn::decide(view, request);
            plan.check(view, &LeaseTable::default())?;
            let mut response = plan.run(&mut ReadTarget { view: *view })?;
            response.header = header(view.revision);
            Ok(response)
        })
    }

    /// Runs `attempt` on one cut.
    fn read<T>(&self, attempt: &dyn Fn(&View<'_>) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let state = self.shared.state();
        let revision = state.revision();
        let compacted = state.compacted_revision();
        if compacted <= revision {
            let result = attempt(&self.view(&state, compacted, revision));
            // The compacted revision is raised before anything is forgotten: if it is
            // still the same, nothing that we looked for was missing.
            if state.compacted_revision() == compacted {
                return result;
            }
        }
        // There was a compaction meanwhile: read again, holding back what it forgets. A
        // reader slower than compactions come would otherwise never finish.
        let (_pin, compacted, revision) = pin_history(&state);
        attempt(&self.view(&state, compacted, revision))
    }

    fn view<'a>(&self, state: &'a State, compacted: i64, revision: i64) -> View<'a> {
        let planted = self.shared.config.planted;
        let torn = planted.has(PlantedBug::TornCut);
        View {
            table: state.memtable.as_ref(),
            revision,
            read_at: if torn { NEWEST } else { revision },
            compacted,
            planted,
        }
    }

    /// The published revision.
    pub fn revision(&self) -> i64 {
        self.shared.state().revision()
    }

    /// The published compacted revision; -1 if there was no compaction.
    pub fn compacted_revision(&self) -> i64 {
        self.shared.state().compacted_revision()
    }

    /// The index of the last published entry. Reads made after this call see at least
    /// that entry.
    pub fn applied_index(&self) -> u64 {
        self.shared.state().applied_index()
    }

    /// A lease with its keys, as last published.
    pub fn lease(&self, id: i64) -> Option<LeaseView> {
        self.shared.state().view().leases.view(id)
    }

    /// Every lease with its granted time to live in seconds, by identifier, as last
    /// published.
    pub fn leases(&self) -> Vec<(i64, i64)> {
        self.shared.state().view().leases.granted().collect()
    }

    /// Approximate memory in bytes of keys, values and versions.
    pub fn size_bytes(&self) -> u64 {
        self.shared.state().size.bytes.load(Ordering::Relaxed)
    }

    /// How many keys exist.
    pub fn key_count(&self) -> u64 {
        self.shared.state().size.keys.load(Ordering::Relaxed)
    }

    /// The hash of all versions up to `revision` (0: the published one) and the compacted
    /// revision, bit for bit as etcd's HashKV computes it.
    ///
    /// # Errors
    /// [`ApiError::compacted`], [`ApiError::future_revision`].
    pub fn hash_kv(&self, revision: i64) -> Result<(u32, i64), ApiError> {
        let state = self.shared.state();
        let (_pin, compacted, published) = pin_history(&state);
        if revision > 0 && revision < compacted {
            return Err(ApiError::compacted());
        }
        let planted = self.shared.config.planted;
        if revision > published && !planted.has(PlantedBug::HashOfTheFuture) {
            return Err(ApiError::future_revision());
        }
        let at = if revision > 0 {
            revision.min(published)
        } else {
            published
        };
        let hash = digest::hash_kv(state.memtable.as_ref(), compacted, at);
        Ok((hash, compacted))
    }

    /// A digest of everything that members must agree on at the same applied index: the
    /// retained history of all keys, leases and sessions. It does not depend on how keys
    /// are spread over shards, nor on what has been forgotten already.
    pub fn state_hash(&self) -> StateHash {
        let state = self.shared.state();
        loop {
            let view = state.view().clone();
            if let Some(_pin) = state.pins.pin(view.compacted_revision) {
                return digest::state_hash(state.memtable.as_ref(), &view);
            }
        }
    }

    /// Opens a stream of watches. `notify` is called, from the thread that publishes,
    /// whenever [`WatchStream::poll`] may have something new to say.
    pub fn open_watch_stream(&self, notify: Notify) -> WatchStream {
        WatchStream::open(Arc::clone(&self.shared), notify)
    }
}

/// Keeps the whole retained history from being forgotten; returns with it the compacted
/// and the published revision.
fn pin_history(state: &State) -> (Pin, i64, i64) {
    loop {
        let (compacted, revision) = {
            let view = state.view();
            (view.compacted_revision, view.revision)
        };
        // Only a publish between the two steps can be in the way.
        if let Some(pin) = state.pins.pin(compacted) {
            return (pin, compacted, revision);
        }
    }
}
