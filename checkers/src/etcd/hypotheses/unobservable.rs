//! Unobservable explanations: those that nobody will be able to distinguish.
//!
//! Where many answers wait behind a gap, they may show already that a key which the gap
//! may have written was deleted again before anybody looked at it. All such explanations
//! come to the same state, so they are one from the beginning: an undetermined write with
//! several candidates ([`super::equivalent`] finds the same afterwards).

use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use veridical_histories::etcd::Request;

use crate::etcd::operation::Done;
use crate::etcd::stored::Change;

use super::candidates::{CandidateWriter, DivergenceRange};
use super::gap::{Candidate, Gap, Place};
use super::hypothesis::Hypothesis;

/// By key, the revision behind one gap that deletes it, if nobody looks at it before. It is the
/// same in every hypothesis, and all that waits behind the gap is searched for it.
#[derive(Default)]
pub(super) struct UnobservedDeletions<'a> {
    known: FxHashMap<Bytes, Option<i64>>,
    /// The acknowledged writers behind the gap but for plain puts, once they have been looked
    /// for.
    others: Option<Vec<OtherWriter<'a>>>,
}

/// An acknowledged writer behind a gap that is no plain put.
struct OtherWriter<'a> {
    revision: i64,
    /// How many acknowledged writers there are between the gap and it.
    claimed_before: i64,
    done: &'a Done,
}

impl<'a> UnobservedDeletions<'a> {
    fn of(&mut self, gap: &Gap<'a>, key: &Bytes) -> Option<i64> {
        if let Some(known) = self.known.get(key) {
            return *known;
        }
        let others = self.others.get_or_insert_with(|| other_writers(gap));
        let found = deleted_unobserved(gap, others, key);
        self.known.insert(key.clone(), found);
        found
    }
}

/// The acknowledged writers behind the gap that may read or delete: plain puts do neither, and
/// often there is nothing else.
fn other_writers<'a>(gap: &Gap<'a>) -> Vec<OtherWriter<'a>> {
    let writers = gap.intake.backlog().writers_after(gap.revision);
    let numbered = (0..).zip(writers).filter(|(_, (_, done))| {
        let Request::Put(put) = &done.open.request else {
            return true;
        };
        put.depends_on(&put.key)
    });
    numbered
        .map(|(claimed_before, (revision, done))| OtherWriter {
            revision,
            claimed_before,
            done,
        })
        .collect()
}

/// Makes one of those of `candidates` for a gap that nobody will observe, where there are
/// more than `equivalent_max` of all.
pub(super) fn join_unobservable<'a>(
    gap: &Gap<'a>,
    deletions: &mut UnobservedDeletions<'a>,
    hypothesis: &Hypothesis,
    candidates: Vec<Candidate>,
    equivalent_max: usize,
) -> Vec<Candidate> {
    if candidates.len() <= equivalent_max {
        return candidates;
    }
    let (mut joined, mut writers) = (Vec::new(), Vec::new());
    let mut divergence = DivergenceRange {
        keys: Vec::new(),
        until: gap.revision,
    };
    let mut first = None;
    for candidate in candidates {
        let mut until = || unobservable_until(gap, deletions, hypothesis, &candidate.changes);
        let Some((writer, until)) = writer_of(gap, &candidate).and_then(|it| Some((it, until()?)))
        else {
            joined.push(candidate);
            continue;
        };
        writers.push(writer);
        divergence.until = divergence.until.max(until);
        let keys = candidate.changes.iter().map(|(key, _)| key.clone());
        divergence.keys.extend(keys);
        first.get_or_insert(candidate);
    }
    if let Some(first) = first {
        let place = match writers.len() {
            1 => first.place,
            _ => Place::AnyOf(Box::new(first.place), writers.into(), Arc::new(divergence)),
        };
        joined.push(Candidate { place, ..first });
    }
    joined
}

/// The candidate as one of several writers; `None` where it is not of unknown outcome.
fn writer_of(gap: &Gap<'_>, candidate: &Candidate) -> Option<CandidateWriter> {
    match &candidate.place {
        Place::Undetermined(_) => Some(CandidateWriter::Put {
            key: candidate.changes[0].0.clone(),
            value: None,
        }),
        Place::Own(op, _) if gap.unknown.contains(*op) => Some(CandidateWriter::Operation(*op)),
        Place::Own(..) | Place::AnyOf(..) | Place::None => None,
    }
}

/// The revision from which on the changes have no trace, if nobody can see them before
/// that.
fn unobservable_until<'a>(
    gap: &Gap<'a>,
    deletions: &mut UnobservedDeletions<'a>,
    hypothesis: &Hypothesis,
    changes: &[Change],
) -> Option<i64> {
    let view = hypothesis.view(gap.replay);
    let each = changes.iter().map(|(key, stored)| {
        let before = view.get(key, gap.revision - 1)?;
        // The end of a lease would be another one.
        if stored.as_ref()?.lease != 0 || before.lease != 0 {
            return None;
        }
        deletions.of(gap, key)
    });
    each.collect::<Option<Vec<i64>>>()?.into_iter().max()
}

/// The revision behind the gap that deletes `key`, if nobody looks at it before.
fn deleted_unobserved(gap: &Gap<'_>, others: &[OtherWriter<'_>], key: &Bytes) -> Option<i64> {
    let deletes = |request: &Request| matches!(request, Request::DeleteRange(deletion) if deletion.range.contains(key));
    let first = others.iter().find(|other| {
        let request = &other.done.open.request;
        request.depends_on(key) || deletes(request)
    })?;
    let request = &first.done.open.request;
    if request.depends_on(key) {
        return None;
    }
    let (at, claimed) = (first.revision, first.claimed_before);
    let touches = |request: &Request| request.depends_on(key) || request.may_change(key);
    let mut in_flight = gap.intake.in_flight().iter();
    let is_in_flight = in_flight.any(|open| open.floor.revision < at && touches(&open.request));
    // What else is hidden in between must have nothing to do with the key.
    let is_hidden = at - gap.revision - 1 > claimed && { gap.unknown.others() }
        .any(|open| touches(&open.request));
    (!is_seen_before(gap, key, at) && !is_in_flight && !is_hidden).then_some(at)
}

/// Whether an answer, a watch or a refusal shows `key` between the gap and revision `at`.
fn is_seen_before(gap: &Gap<'_>, key: &Bytes, at: i64) -> bool {
    let backlog = gap.intake.backlog();
    let before = |revision: i64| revision < at;
    let mut waiting = backlog
        .observers_from(gap.revision)
        .take_while(|(revision, _)| before(*revision))
        .flat_map(|(_, waiting)| waiting);
    let seen = [(gap.revision, backlog.evidence_at(gap.revision))];
    let mut evidence = { seen.into_iter() }
        .chain(backlog.evidence_after(gap.revision))
        .take_while(|(revision, _)| before(*revision))
        .flat_map(|(_, seen)| seen);
    waiting.any(|done| done.open.request.depends_on(key))
        || evidence.any(|evidence| evidence.key() == key)
        || gap.intake.watched_from().any(before)
        || backlog.oldest_refused().is_some_and(before)
}
