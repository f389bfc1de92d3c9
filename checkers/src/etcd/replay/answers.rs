//! Comparisons of answers and refusals with the replay, in one hypothesis.

use std::collections::BTreeSet;

use bytes::Bytes;
use veridical_histories::etcd::{KeyRange, Request};
use veridical_histories::text_bytes::display;

use crate::etcd::objection::{Contradiction, Inconclusive};
use crate::etcd::operation::{Done, Refusal};
use crate::etcd::stored::{Change, Unresolved};
use crate::etcd::visit::{visit_ranges, visit_revisions};
use crate::verdict::ViolationKind;

use super::evaluate::{Evaluation, Objection};
use super::view::View;

/// States after revisions that an answer shows.
#[derive(Clone, Copy, Debug)]
pub(in crate::etcd) struct StatesRead<'a> {
    /// The first of these revisions.
    pub first: i64,
    /// The last of these revisions.
    pub last: i64,
    /// The keys that are shown; all where there is no range.
    pub range: Option<&'a KeyRange>,
}

/// The states that an answer shows.
pub(in crate::etcd) fn states_read(done: &Done) -> Vec<StatesRead<'_>> {
    let header = done.header.revision;
    let at = |revision: i64, range| StatesRead {
        first: revision,
        last: revision,
        range,
    };
    let mut states = match matches!(done.open.request, Request::Range(_)) {
        true => Vec::new(),
        false => vec![at(header, None)],
    };
    visit_ranges(&done.open.request, &done.response, &mut |range| {
        let revision = match range.revision {
            ..=0 => header,
            revision => revision,
        };
        states.push(at(revision, Some(&range.range)));
    });
    states
}

/// The oldest and the newest revision that an answer depends on.
pub(in crate::etcd) fn revisions_read(done: &Done) -> (i64, i64) {
    let header = done.header.revision;
    let (mut oldest, mut newest) = (header, header);
    visit_revisions(&done.open.request, &mut |read| {
        oldest = oldest.min(read);
        newest = newest.max(read);
    });
    (oldest, newest)
}

/// Carries out `done` on the state after `revision`, and compares its answer. Returns the
/// changes.
///
/// # Errors
/// The state gives another answer, or one that depends on what the hypothesis assumes.
pub(in crate::etcd) fn evaluate(
    view: View<'_>,
    revision: i64,
    done: &Done,
) -> Result<Vec<Change>, Inconclusive> {
    assert!(
        revision <= view.last_revision(),
        "answers are compared with states that are replayed"
    );
    let changes = Evaluation::run(view, revision, &done.open.request, Some(&done.response));
    changes.map_err(|objection| {
        let operations = vec![done.witness()];
        match *objection {
            Objection::Unresolved(unresolved) => Inconclusive::Unresolved {
                unresolved,
                operations,
            },
            Objection::Wrong(mismatch) => Inconclusive::Contradicted(Contradiction {
                kind: ViolationKind::WrongResult,
                mismatch,
                operations,
            }),
        }
    })
}

/// Compares the answer of an operation that changed nothing.
///
/// # Errors
/// As [`evaluate`]; or the operation would have changed something.
pub(in crate::etcd) fn check_answer(view: View<'_>, done: &Done) -> Result<(), Inconclusive> {
    let changes = evaluate(view, done.header.revision, done)?;
    if changes.is_empty() {
        return Ok(());
    }
    let contradiction = Contradiction::new(
        ViolationKind::WrongResult,
        "changes with a revision of their own",
        "an answer that reports none",
        vec![done.witness()],
    );
    Err(contradiction.into())
}

/// Nothing is attached to a lease after its revocation.
///
/// # Errors
/// A key still is.
pub(in crate::etcd) fn check_revocation(
    view: View<'_>,
    done: &Done,
    lease: i64,
) -> Result<(), Inconclusive> {
    let Some(key) = view.attached(lease).next() else {
        return Ok(());
    };
    let contradiction = Contradiction::new(
        ViolationKind::Lease,
        format!("the keys of lease {lease} to be deleted"),
        format!("{} is still there", display(key)),
        vec![done.witness()],
    );
    Err(contradiction.into())
}

/// The keys in an answer to `LeaseTimeToLive` are those of some state from `first`, which
/// was acknowledged before the call, up to the answer's revision.
///
/// # Errors
/// No such state has just these keys at the lease.
pub(in crate::etcd) fn check_keys_of_lease(
    view: View<'_>,
    done: &Done,
    lease: i64,
    shown: &[Bytes],
    first: i64,
) -> Result<(), Inconclusive> {
    let last = done.header.revision;
    assert!(first <= last, "what was acknowledged is not newer");
    let sorted: BTreeSet<&Bytes> = shown.iter().collect();
    let candidates = keys_ever_attached(view, lease, first, shown);
    let is_right = |revision| {
        let attached = candidates.iter().filter(|key| {
            let stored = view.get(key, revision);
            stored.is_some_and(|stored| stored.lease == lease)
        });
        attached.eq(sorted.iter().copied())
    };
    if (first..=last).any(is_right) {
        return Ok(());
    }
    let now: Vec<String> = view.attached(lease).map(|key| display(key)).collect();
    let contradiction = Contradiction::new(
        ViolationKind::Lease,
        format!(
            "the keys of lease {lease} at some revision from {first} to {last} (now {})",
            now.join(", ")
        ),
        done.response.to_string(),
        vec![done.witness()],
    );
    Err(contradiction.into())
}

/// Keys that can have been attached to a lease after some revision from `first` on: those
/// that are now, those that an answer shows, and those that changed since.
fn keys_ever_attached(view: View<'_>, lease: i64, first: i64, shown: &[Bytes]) -> BTreeSet<Bytes> {
    let changed = (first + 1..=view.last_revision())
        .filter_map(|revision| view.log(revision))
        .flat_map(|entry| entry.keys.iter());
    view.attached(lease)
        .chain(shown)
        .chain(changed)
        .cloned()
        .collect()
}

/// A refusal for a missing key is possible in some state from what was acknowledged before
/// the call up to `last`.
///
/// # Errors
/// The key exists in each of these states, or that depends on what the hypothesis assumes.
pub(in crate::etcd) fn check_refusal(
    view: View<'_>,
    refusal: &Refusal,
    last: i64,
) -> Result<(), Inconclusive> {
    let first = refusal.open.floor.revision.min(last);
    let operations = || vec![refusal.open.witness_until(refusal.return_ns)];
    match may_be_refused(view, &refusal.open.request, first, last) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let contradiction = Contradiction::new(
                ViolationKind::WrongRefusal,
                format!("success, for the key exists from revision {first} to {last}"),
                "refused: the key does not exist",
                operations(),
            );
            Err(contradiction.into())
        }
        Err(unresolved) => Err(Inconclusive::Unresolved {
            unresolved,
            operations: operations(),
        }),
    }
}

/// Whether the request can have been refused for a missing key in a state between two
/// revisions, both included.
fn may_be_refused(
    view: View<'_>,
    request: &Request,
    first: i64,
    last: i64,
) -> Result<bool, Unresolved> {
    match request {
        Request::Put(put) => Ok(view.absent_within(&put.key, first, last)),
        Request::Txn(_) => {
            for revision in first..=last {
                match Evaluation::run(view, revision, request, None).map_err(|it| *it) {
                    Ok(_) => {}
                    Err(Objection::Wrong(_)) => return Ok(true),
                    Err(Objection::Unresolved(unresolved)) => return Err(unresolved),
                }
            }
            Ok(false)
        }
        Request::Range(_)
        | Request::DeleteRange(_)
        | Request::Compact { .. }
        | Request::LeaseGrant { .. }
        | Request::LeaseRevoke { .. }
        | Request::LeaseKeepAlive { .. }
        | Request::LeaseTimeToLive { .. }
        | Request::LeaseLeases => Ok(true),
    }
}
