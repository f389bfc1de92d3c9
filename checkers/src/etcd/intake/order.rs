//! What an answer must respect whatever the store contains: real time, sessions,
//! compactions, and the leases that it names.

use veridical_histories::etcd::{ErrorKind, RangeRequest, Request};

use crate::etcd::objection::Contradiction;
use crate::etcd::operation::{Done, Open, Refusal};
use crate::etcd::visit::{visit_puts, visit_ranges};
use crate::verdict::ViolationKind;

use super::compactions::Compactions;
use super::lease_queries::check_lease_missing;
use super::lease_times::LeaseTimes;

/// An operation sees what was acknowledged before its call, and a write comes after it.
pub(super) fn check_real_time(done: &Done) -> Result<(), Contradiction> {
    let floor = done.open.floor;
    let revision = done.header.revision;
    let has_written = done.has_written();
    if revision > floor.revision || (revision == floor.revision && !has_written) {
        return Ok(());
    }
    let relation = if has_written { "above" } else { "of at least" };
    Err(Contradiction::new(
        ViolationKind::StaleRevision,
        format!(
            "a revision {relation} {}, which was acknowledged before the call",
            floor.revision
        ),
        format!("revision {revision}"),
        floor
            .witness()
            .into_iter()
            .chain([done.witness()])
            .collect(),
    ))
}

/// A stale answer is no older than what the member has shown to this session before.
pub(super) fn check_session(done: &Done) -> Result<(), Contradiction> {
    let member = done.header.member;
    let shown = done.open.session.get(&member).copied().unwrap_or(0);
    if member == 0 || done.header.revision >= shown {
        return Ok(());
    }
    Err(Contradiction::new(
        ViolationKind::SessionWentBack,
        format!("revision {shown} or later, which this member had shown to this session"),
        format!("revision {}", done.header.revision),
        vec![done.witness()],
    ))
}

/// A compaction was carried out only up to a revision that exists, and nothing reads below
/// one that was acknowledged before.
pub(super) fn check_compaction(done: &Done) -> Result<(), Contradiction> {
    if let Request::Compact { revision } = &done.open.request
        && *revision > done.header.revision
    {
        return Err(Contradiction::new(
            ViolationKind::Compaction,
            "a refusal, for the revision does not exist yet",
            format!("compacted at revision {}", done.header.revision),
            vec![done.witness()],
        ));
    }
    if done.open.request.is_serializable() {
        return Ok(());
    }
    let compacted = done.open.compact_floor;
    let mut wrong = None;
    visit_ranges(&done.open.request, &done.response, &mut |range| {
        if range.revision > 0 && range.revision < compacted {
            wrong = Some(range.revision);
        }
    });
    let Some(revision) = wrong else {
        return Ok(());
    };
    Err(Contradiction::new(
        ViolationKind::Compaction,
        format!("a refusal, for a compaction to {compacted} was acknowledged before the call"),
        format!("an answer at revision {revision}"),
        vec![done.witness()],
    ))
}

/// A put names a lease that can have existed during the operation.
pub(super) fn check_leases_of_puts(leases: &LeaseTimes, done: &Done) -> Result<(), Contradiction> {
    let call_event = done.open.call_event;
    let mut missing = None;
    visit_puts(&done.open.request, &done.response, &mut |put| {
        let lease = put.lease;
        if lease != 0 && !put.ignore_lease && !leases.may_exist(lease, call_event) {
            missing = Some(lease);
        }
    });
    let Some(lease) = missing else {
        return Ok(());
    };
    Err(Contradiction::new(
        ViolationKind::Lease,
        format!("a refusal, for lease {lease} did not exist during the operation"),
        "the put was carried out",
        vec![done.witness()],
    ))
}

/// The part of a refusal that needs no replay.
pub(super) fn check_refused(
    compactions: &Compactions,
    leases: &LeaseTimes,
    refusal: &Refusal,
    error: &ErrorKind,
) -> Result<(), Contradiction> {
    let (open, now_ns) = (&*refusal.open, refusal.return_ns);
    match error {
        ErrorKind::LeaseNotFound => match &open.request {
            Request::LeaseKeepAlive { id } | Request::LeaseRevoke { id } => {
                check_lease_missing(leases, open, *id, now_ns)
            }
            Request::Put(put) => check_lease_missing(leases, open, put.lease, now_ns),
            // Which of its puts was refused, a transaction does not say.
            Request::Txn(_)
            | Request::Range(_)
            | Request::DeleteRange(_)
            | Request::Compact { .. }
            | Request::LeaseGrant { .. }
            | Request::LeaseTimeToLive { .. }
            | Request::LeaseLeases => Ok(()),
        },
        ErrorKind::FutureRevision => {
            if let Request::Range(RangeRequest {
                revision,
                serializable: false,
                ..
            })
            | Request::Compact { revision } = &open.request
            {
                return check_future(open, *revision);
            }
            Ok(())
        }
        ErrorKind::Compacted => {
            if let Request::Range(range) = &open.request {
                let least = range.revision + 1;
                return check_may_be_compacted(compactions, open, least);
            }
            if let Request::Compact { revision } = &open.request {
                return check_is_compacted_already(compactions, open, *revision);
            }
            Ok(())
        }
        ErrorKind::LeaseExists | ErrorKind::KeyNotFound | ErrorKind::Rejected(_) => Ok(()),
    }
}

/// A revision that was acknowledged before the call does not lie in the future.
fn check_future(open: &Open, revision: i64) -> Result<(), Contradiction> {
    if revision > open.floor.revision {
        return Ok(());
    }
    Err(Contradiction::new(
        ViolationKind::WrongRefusal,
        format!(
            "an answer, for revision {} was acknowledged",
            open.floor.revision
        ),
        format!("revision {revision} is said to lie in the future"),
        open.floor
            .witness()
            .into_iter()
            .chain([open.witness()])
            .collect(),
    ))
}

/// A read was refused because a compaction to `at_least` or above has been called.
fn check_may_be_compacted(
    compactions: &Compactions,
    open: &Open,
    at_least: i64,
) -> Result<(), Contradiction> {
    match compactions.may_have_reached(at_least) {
        true => Ok(()),
        false => Err(not_compacted(open, at_least)),
    }
}

/// A compaction to `revision` was refused because another one to it or above was called.
fn check_is_compacted_already(
    compactions: &Compactions,
    open: &Open,
    revision: i64,
) -> Result<(), Contradiction> {
    match compactions.may_have_reached_without_one(revision) {
        true => Ok(()),
        false => Err(not_compacted(open, revision)),
    }
}

fn not_compacted(open: &Open, at_least: i64) -> Contradiction {
    Contradiction::new(
        ViolationKind::Compaction,
        format!("an answer, for no compaction to {at_least} or above was called"),
        "refused as compacted",
        vec![open.witness()],
    )
}
