//! What waits for revisions that are not replayed yet.

use std::collections::{BTreeMap, VecDeque};

use crate::etcd::memory::CONTENT_BYTES;
use crate::etcd::operation::{Done, Open, Refusal};

use super::evidence::Evidence;
use super::watch::Delivery;

/// The first proof that a revision, and so every one before it, exists.
#[derive(Clone, Copy, Debug)]
pub(in crate::etcd) struct Sighting {
    pub revision: i64,
    pub at_event: u64,
    pub at_ns: u64,
}

/// Answers, deliveries and refusals that wait, and what they show of the revisions they
/// wait for.
#[derive(Debug)]
pub(in crate::etcd) struct Backlog {
    /// By revision, the acknowledged operation that wrote it.
    writers: BTreeMap<i64, Done>,
    /// By revision, acknowledged operations that changed nothing.
    observers: BTreeMap<i64, Vec<Done>>,
    /// How many observers there are in all.
    observers_pending: usize,
    refusals: Vec<Refusal>,
    evidence: BTreeMap<i64, Vec<Evidence>>,
    /// By the last revision that they speak of.
    deliveries: BTreeMap<i64, Vec<Delivery>>,
    /// The greatest revision seen anywhere.
    seen_revision: i64,
    /// The times at which revisions were first known to exist, ascending.
    sightings: VecDeque<Sighting>,
    /// The most answers that waited at once.
    pending_max: usize,
}

impl Backlog {
    pub fn new(initial_revision: i64) -> Self {
        Self {
            writers: BTreeMap::new(),
            observers: BTreeMap::new(),
            observers_pending: 0,
            refusals: Vec::new(),
            evidence: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            seen_revision: initial_revision,
            sightings: VecDeque::new(),
            pending_max: 0,
        }
    }

    /// Drops all that waits; which revisions exist stays known.
    pub fn clear(&mut self) {
        self.writers.clear();
        self.observers.clear();
        self.observers_pending = 0;
        self.refusals.clear();
        self.evidence.clear();
        self.deliveries.clear();
    }

    /// Begins again at `initial_revision`; the most that waited at once stays known.
    pub fn reset(&mut self, initial_revision: i64) {
        *self = Self {
            pending_max: self.pending_max,
            ..Self::new(initial_revision)
        };
    }

    /// `revision` exists.
    pub fn see(&mut self, revision: i64, at_event: u64, at_ns: u64) {
        if revision > self.seen_revision {
            self.seen_revision = revision;
            self.sightings.push_back(Sighting {
                revision,
                at_event,
                at_ns,
            });
        }
    }

    /// The greatest revision seen anywhere.
    pub fn seen_revision(&self) -> i64 {
        self.seen_revision
    }

    /// The first proof that the next revision exists.
    pub fn first_sighting(&self) -> Option<Sighting> {
        self.sightings.front().copied()
    }

    pub fn push_evidence(&mut self, revision: i64, evidence: Evidence) {
        self.evidence.entry(revision).or_default().push(evidence);
    }

    /// What has been seen of `revision`.
    pub fn evidence_at(&self, revision: i64) -> &[Evidence] {
        self.evidence.get(&revision).map_or(&[], Vec::as_slice)
    }

    /// What has been seen of revisions after `revision`, ascending.
    pub fn evidence_after(&self, revision: i64) -> impl Iterator<Item = (i64, &[Evidence])> {
        let seen = self.evidence.range(revision + 1..);
        seen.map(|(revision, seen)| (*revision, &seen[..]))
    }

    /// The acknowledged writer of `revision`.
    pub fn writer_at(&self, revision: i64) -> Option<&Done> {
        self.writers.get(&revision)
    }

    /// The acknowledged writers of revisions after `revision`, ascending.
    pub fn writers_after(&self, revision: i64) -> impl Iterator<Item = (i64, &Done)> {
        let writers = self.writers.range(revision + 1..);
        writers.map(|(revision, done)| (*revision, done))
    }

    /// Lets the answer of a writer wait for its revision.
    pub fn push_writer(&mut self, done: Done) {
        let before = self.writers.insert(done.header.revision, done);
        assert!(before.is_none(), "a revision is claimed once");
        self.note_pending();
    }

    /// Takes the acknowledged writer of `revision` out.
    pub fn take_writer(&mut self, revision: i64) -> Option<Done> {
        assert!(
            self.writers
                .first_key_value()
                .is_none_or(|(first, _)| *first >= revision),
            "revision {revision} is not replayed behind an older one that waits"
        );
        self.writers.remove(&revision)
    }

    /// Lets the answer of an operation that changed nothing wait for its revision.
    pub fn push_observer(&mut self, done: Done) {
        let waiting = self.observers.entry(done.header.revision).or_default();
        waiting.push(done);
        self.observers_pending += 1;
        self.note_pending();
    }

    /// The observers of revisions from `revision` on, ascending.
    pub fn observers_from(&self, revision: i64) -> impl Iterator<Item = (i64, &[Done])> {
        let waiting = self.observers.range(revision..);
        waiting.map(|(revision, done)| (*revision, &done[..]))
    }

    /// Takes the observers of `revision` out.
    pub fn take_observers(&mut self, revision: i64) -> Vec<Done> {
        let observers = self.observers.remove(&revision).unwrap_or_default();
        self.observers_pending -= observers.len();
        observers
    }

    /// Answers that wait for a revision.
    pub fn pending(&self) -> usize {
        self.writers.len() + self.observers_pending
    }

    fn note_pending(&mut self) {
        self.pending_max = self.pending_max.max(self.pending());
    }

    /// The most answers that waited for a revision at once.
    pub fn pending_max(&self) -> usize {
        self.pending_max
    }

    /// Lets a delivery wait for the last revision that it speaks of.
    pub fn push_delivery(&mut self, delivery: Delivery) {
        let waiting = self.deliveries.entry(delivery.upto).or_default();
        waiting.push(delivery);
    }

    /// The deliveries that wait for `revision` or a later one.
    pub fn deliveries_from(&self, revision: i64) -> impl Iterator<Item = &Delivery> {
        let waiting = self.deliveries.range(revision..);
        waiting.flat_map(|(_, deliveries)| deliveries)
    }

    /// All deliveries that wait.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.deliveries.values().flatten()
    }

    /// Takes the deliveries out that waited for `revision`.
    pub fn take_deliveries(&mut self, revision: i64) -> Vec<Delivery> {
        self.deliveries.remove(&revision).unwrap_or_default()
    }

    pub fn push_refusal(&mut self, refusal: Refusal) {
        self.refusals.push(refusal);
    }

    /// The smallest revision that was acknowledged before the call of a waiting refusal.
    pub fn oldest_refused(&self) -> Option<i64> {
        let floors = self.refusals.iter();
        floors.map(|refusal| refusal.open.floor.revision).min()
    }

    /// Takes the refusals out that returned before the event `before`; all of them where
    /// there is none.
    pub fn take_refusals(&mut self, before: Option<u64>) -> Vec<Refusal> {
        if self.refusals.is_empty() {
            return Vec::new();
        }
        let refusals = std::mem::take(&mut self.refusals).into_iter();
        let is_due = |refusal: &Refusal| before.is_none_or(|event| refusal.return_event < event);
        let (due, rest) = refusals.partition(is_due);
        self.refusals = rest;
        due
    }

    /// Forgets what was seen up to `revision`, which is replayed.
    pub fn forget_seen(&mut self, revision: i64) {
        self.evidence.remove(&revision);
        while self
            .sightings
            .front()
            .is_some_and(|sighting| sighting.revision <= revision)
        {
            self.sightings.pop_front();
        }
        assert!(
            self.evidence
                .first_key_value()
                .is_none_or(|(first, _)| *first > revision),
            "nothing waits for a revision that is replayed"
        );
    }

    /// Bytes held, estimated.
    pub fn bytes(&self) -> usize {
        let answers = self.pending();
        let evidence: usize = self.evidence.values().map(Vec::len).sum();
        let deliveries: usize = self.deliveries.values().map(Vec::len).sum();
        answers * (size_of::<Done>() + size_of::<Open>() + 2 * CONTENT_BYTES)
            + evidence * (size_of::<Evidence>() + CONTENT_BYTES)
            + deliveries * (size_of::<Delivery>() + CONTENT_BYTES)
            + self.refusals.capacity() * (size_of::<Refusal>() + size_of::<Open>())
            + self.sightings.capacity() * size_of::<Sighting>()
    }
}
