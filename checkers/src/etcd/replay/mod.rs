//! The room of the sequential replay: the store as it was after each revision.
//!
//! Inputs: the changes of the next revision, for certain or in one hypothesis. Outputs: a
//! [`View`] of every revision that is kept, and whether an answer, a refusal or a delivery
//! to a watch fits it. Dependencies: records of the [`super::intake`], such as watches.
//!
//! The replay knows neither who may have written a revision that nobody claims nor what
//! else was seen; it carries out what it is given.
//!
//! A [`base::Base`] is what is certain. Where a revision can have been written by one of
//! several operations, each hypothesis keeps its changes in an [`Overlay`], and what all of
//! them say behind it is kept once ([`agreed::Agreed`]); a [`View`] reads the three as one.

mod agreed;
mod answers;
mod base;
mod delivery;
mod evaluate;
mod key_table;
mod metered;
mod overlay;
mod own_log;
mod selection;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;

use bytes::Bytes;

pub(super) use answers::{
    StatesRead, check_answer, check_keys_of_lease, check_refusal, check_revocation, evaluate,
    revisions_read, states_read,
};
pub(super) use delivery::{check_delivery, unresolved_in};
pub(super) use evaluate::{Evaluation, Objection};
pub(super) use overlay::{LastChanges, Overlay};
pub(super) use view::View;

use super::memory::tree_bytes;
use super::operation::Writer;
use super::stored::{Change, Stored};
use agreed::Agreed;
use base::Base;

/// How many times as far as reads watches are covered.
const WATCHED_WINDOWS: i64 = 16;

/// The end of a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseEnd {
    /// The revision that deleted its keys.
    pub revision: i64,
    /// When that revision was known to exist, in nanoseconds; `None` for a revocation.
    pub expired_before_ns: Option<u64>,
}

/// The oldest revisions that somebody may still ask for, beside the window that is kept for
/// everybody.
#[derive(Clone, Copy, Debug)]
pub(super) struct StillNeeded {
    /// The oldest one that an operation in flight or a waiting refusal may speak of.
    pub in_flight: i64,
    /// The oldest one that a watch may speak of. Watches are served for a bounded time.
    pub watched: i64,
}

/// The replayed store, and how far back it is kept.
#[derive(Debug)]
pub(super) struct Replay {
    base: Base,
    /// What all hypotheses say behind it; empty where there is one.
    agreed: Agreed,
    /// Leases that certainly ended.
    ended: BTreeMap<i64, LeaseEnd>,
    initial_revision: i64,
    /// Whether the store held anything then.
    has_initial_content: bool,
    /// The last revision that every hypothesis has replayed.
    applied: i64,
    /// How many old revisions are wanted.
    wanted_revisions: i64,
    /// How many are kept now: fewer than wanted where memory is short.
    retained_revisions: i64,
    /// How many bytes the versions may take.
    bytes_max: usize,
    kept_revisions_max: usize,
}

impl Replay {
    /// An empty store at `initial_revision`.
    pub fn new(initial_revision: i64, retain_revisions: i64, bytes_max: usize) -> Self {
        Self {
            base: Base::new(initial_revision),
            agreed: Agreed::default(),
            ended: BTreeMap::new(),
            initial_revision,
            has_initial_content: false,
            applied: initial_revision,
            wanted_revisions: retain_revisions,
            retained_revisions: retain_revisions,
            bytes_max,
            kept_revisions_max: 0,
        }
    }

    /// Takes in a key that was there before the history.
    pub fn insert_initial(&mut self, key: Bytes, stored: Stored) {
        self.has_initial_content = true;
        self.base.insert_initial(key, stored);
    }

    pub fn limit_bytes(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Forgets all content and begins again; what was counted stays.
    pub fn reset(&mut self) {
        *self = Self {
            kept_revisions_max: self.kept_revisions_max,
            ..Self::new(self.initial_revision, self.wanted_revisions, self.bytes_max)
        };
    }

    /// The content in the hypothesis with this overlay.
    pub fn view<'a>(&'a self, overlay: &'a Overlay) -> View<'a> {
        View {
            base: &self.base,
            agreed: &self.agreed,
            overlay,
        }
    }

    /// The last revision that every hypothesis has replayed.
    pub fn applied(&self) -> i64 {
        self.applied
    }

    /// The first revision that changes anything which a watch from the beginning on can tell
    /// of: the first one of a store without keys.
    pub fn first_change(&self) -> i64 {
        match self.has_initial_content {
            true => 1,
            false => self.initial_revision + 1,
        }
    }

    /// The oldest state that can still be read: the one before the first revision whose
    /// changes are kept.
    pub fn oldest_state(&self) -> i64 {
        self.base.log_start() - 1
    }

    /// Carries out the next revision for certain.
    pub fn commit(&mut self, changes: Vec<Change>, writer: Writer) {
        assert!(
            self.agreed.is_empty(),
            "what is agreed on is certain before anything else is"
        );
        assert_eq!(
            self.base.revision(),
            self.applied,
            "revisions are certain one after the other"
        );
        self.base.commit(changes, writer);
    }

    /// Carries out the next revision in one hypothesis.
    pub fn commit_to(
        &self,
        overlay: &mut Overlay,
        revision: i64,
        changes: Vec<Change>,
        writer: Writer,
    ) {
        assert_eq!(revision, self.applied + 1, "the next revision is assumed");
        overlay.commit(&self.base, &self.agreed, revision, changes, writer);
    }

    /// Carries out the next revision in all hypotheses, each of which has its changes. Those
    /// that are the same in all are kept once.
    pub fn commit_to_all(
        &mut self,
        mut overlays: Vec<&mut Overlay>,
        revision: i64,
        mut changes_of_each: Vec<Vec<Change>>,
        writer: Writer,
    ) {
        assert_eq!(
            overlays.len(),
            changes_of_each.len(),
            "each hypothesis has its changes"
        );
        let (base, agreed) = (&self.base, &mut self.agreed);
        if agreed.is_common(base, &overlays, &changes_of_each) {
            assert_eq!(revision, self.applied + 1, "the next revision is assumed");
            let changes = changes_of_each.swap_remove(0);
            agreed.commit(base, overlays.swap_remove(0), revision, changes, writer);
        } else {
            for (overlay, changes) in overlays.into_iter().zip(changes_of_each) {
                self.commit_to(overlay, revision, changes, writer);
            }
        }
    }

    /// Whether a hypothesis with this overlay says no more than what is certain.
    pub fn is_certain(&self, overlay: &Overlay) -> bool {
        self.agreed.is_empty() && overlay.is_empty()
    }

    /// Bytes of what hypotheses say behind what is certain, estimated; without their tables.
    /// What several of them say counts once.
    pub fn hypotheses_bytes(&self) -> usize {
        self.agreed.bytes() + self.agreed.own_bytes()
    }

    /// The keys whose versions differ in two hypotheses that come to the same state, and the
    /// first revision from which on both have the same ones.
    pub fn differences(&self, one: &Overlay, other: &Overlay) -> (Vec<Bytes>, i64) {
        one.differences(other, &self.agreed)
    }

    /// Takes over the overlay and the ended leases of the only hypothesis that is left, and
    /// what all have agreed on.
    pub fn absorb(&mut self, overlay: Overlay, ended: &mut BTreeMap<i64, LeaseEnd>) {
        self.base.absorb(&mut self.agreed, overlay);
        self.ended.append(ended);
    }

    /// The present contents of the keys that differ from what is certain or agreed on.
    pub fn last_changes<'a>(&'a self, overlay: &'a Overlay) -> LastChanges<'a> {
        overlay.last_changes(&self.base, &self.agreed)
    }

    /// The end of a lease, if it certainly ended.
    pub fn certain_end(&self, lease: i64) -> Option<LeaseEnd> {
        self.ended.get(&lease).copied()
    }

    /// Every hypothesis has replayed `revision`.
    pub fn advance_to(&mut self, revision: i64) {
        assert_eq!(revision, self.applied + 1, "revisions leave no gap");
        self.applied = revision;
    }

    /// Forgets what nobody may ask for any more.
    pub fn collect_garbage(&mut self, needed: impl FnOnce() -> StillNeeded) {
        self.adapt_window();
        let retained = self.applied - self.retained_revisions;
        if retained > self.base.log_start() {
            let needed = needed();
            let windows = self.retained_revisions.saturating_mul(WATCHED_WINDOWS);
            let watched = needed.watched.max(self.applied.saturating_sub(windows));
            let oldest = retained.min(needed.in_flight).min(watched);
            self.base.collect_garbage(oldest.min(self.base.revision()));
        }
        let kept = self.base.kept_revisions();
        self.kept_revisions_max = self.kept_revisions_max.max(kept);
    }

    /// Keeps fewer old revisions while they take more than is allowed.
    fn adapt_window(&mut self) {
        let bytes = self.base.bytes();
        if bytes > self.bytes_max {
            let kept = self.base.kept_revisions() as i64;
            let kept = self.retained_revisions.min(kept);
            self.retained_revisions = (kept - kept / 8 - 1).max(0);
        } else if bytes < self.bytes_max / 2 {
            let more = self.retained_revisions + 1;
            self.retained_revisions = self.wanted_revisions.min(more);
        }
    }

    /// Keys that exist now or did within the window of old revisions.
    pub fn keys(&self) -> usize {
        self.base.keys().len()
    }

    /// Bytes held for the versions of keys, estimated.
    pub fn version_bytes(&self) -> usize {
        self.base.bytes() + self.agreed.bytes()
    }

    /// Bytes held beside the versions, estimated.
    pub fn table_bytes(&self) -> usize {
        tree_bytes(&self.ended)
    }

    /// The most revisions that were kept at once.
    pub fn kept_revisions_max(&self) -> usize {
        self.kept_revisions_max
    }
}
