//! Answers about leases: how long one lasts, and which there are.
//!
//! Time is known only by bounds, each of them one-sided, as in [`super::lease_times`]. The
//! keys that an answer shows are compared with the replay.

use std::collections::BTreeSet;

use veridical_histories::etcd::{ErrorKind, Request, Response, TTL_NOT_TOLD_S};

use crate::etcd::objection::Contradiction;
use crate::etcd::operation::{Done, Open};
use crate::verdict::ViolationKind;

use super::lease_times::LeaseTimes;

fn wrong(done: &Done, expected: String) -> Contradiction {
    let got = done.response.to_string();
    Contradiction::new(ViolationKind::Lease, expected, got, vec![done.witness()])
}

/// An answer says that a lease existed during the operation.
pub(super) fn check_lease_there(
    leases: &LeaseTimes,
    done: &Done,
    id: i64,
) -> Result<(), Contradiction> {
    if leases.may_exist(id, done.open.call_event) {
        return Ok(());
    }
    Err(wrong(
        done,
        format!("a refusal, for lease {id} did not exist"),
    ))
}

/// An answer that came at `now_ns` says that a lease did not exist.
pub(super) fn check_lease_missing(
    leases: &LeaseTimes,
    open: &Open,
    id: i64,
    now_ns: u64,
) -> Result<(), Contradiction> {
    if leases.may_be_missing(id, open.call_event, now_ns) {
        return Ok(());
    }
    Err(Contradiction::new(
        ViolationKind::Lease,
        format!("lease {id} to live until {} ns", leases.alive_until_ns(id)),
        format!("not found at {now_ns} ns"),
        vec![open.witness()],
    ))
}

/// A lease was granted for `ttl_s` under the number `requested`, or under one of the
/// server's choice (0).
pub(super) fn check_granted(
    leases: &LeaseTimes,
    done: &Done,
    requested: i64,
    (asked_ttl_s, ttl_s): (i64, i64),
) -> Result<(), Contradiction> {
    let least_s = 1.max(asked_ttl_s);
    let is_told = (asked_ttl_s, ttl_s) != (TTL_NOT_TOLD_S, TTL_NOT_TOLD_S);
    if is_told && ttl_s < least_s {
        return Err(wrong(done, format!("{least_s} s at least")));
    }
    if leases.may_be_granted_again(requested, done.open.call_event, done.return_ns) {
        return Ok(());
    }
    Err(wrong(
        done,
        format!("a refusal, for lease {requested} exists"),
    ))
}

/// A grant was refused because there is a lease of that number.
pub(super) fn check_lease_is_taken(
    leases: &LeaseTimes,
    open: &Open,
    error: &ErrorKind,
) -> Result<(), Contradiction> {
    if let (ErrorKind::LeaseExists, Request::LeaseGrant { id, .. }) = (error, &open.request)
        && !leases.may_exist(*id, open.call_event)
    {
        return Err(Contradiction::new(
            ViolationKind::Lease,
            format!("lease {id}, for there was none"),
            "refused: it exists",
            vec![open.witness()],
        ));
    }
    Ok(())
}

/// The times in an answer to `LeaseTimeToLive`.
pub(super) fn check_time_to_live(
    leases: &LeaseTimes,
    done: &Done,
    id: i64,
) -> Result<(), Contradiction> {
    let Response::LeaseTimeToLive {
        ttl_s,
        granted_ttl_s,
        ..
    } = done.response
    else {
        return Ok(());
    };
    if granted_ttl_s == 0 {
        return check_lease_missing(leases, &done.open, id, done.return_ns);
    }
    check_lease_there(leases, done, id)?;
    if let Some(granted) = leases.granted_ttl_s(id)
        && granted != granted_ttl_s
    {
        return Err(wrong(done, format!("{granted} s, as granted")));
    }
    if ttl_s > granted_ttl_s {
        return Err(wrong(done, format!("at most {granted_ttl_s} s")));
    }
    let left_s = leases.left_s(done.open.lease_until_ns, done.return_ns);
    if ttl_s < left_s {
        return Err(wrong(done, format!("at least {left_s} s")));
    }
    Ok(())
}

/// The leases in an answer to `LeaseLeases`.
pub(super) fn check_list_of_leases(
    leases: &LeaseTimes,
    done: &Done,
    ids: &[i64],
) -> Result<(), Contradiction> {
    let listed: BTreeSet<i64> = ids.iter().copied().collect();
    if listed.len() < ids.len() {
        return Err(wrong(done, "each lease once".to_owned()));
    }
    let (call_event, return_ns) = (done.open.call_event, done.return_ns);
    let is_gone = |id: &&i64| !leases.may_exist(**id, call_event);
    if let Some(id) = listed.iter().find(is_gone) {
        return Err(wrong(done, format!("no lease {id}, which did not exist")));
    }
    let mut certain = leases.certain(call_event, return_ns);
    match certain.find(|id| !listed.contains(id)) {
        Some(id) => Err(wrong(done, format!("lease {id} among them"))),
        None => Ok(()),
    }
}
