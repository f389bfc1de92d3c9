//! Questions about leases: how long one lasts, which keys it has, which there are.
//!
//! Time is known only by bounds, each of them one-sided, as in [`super::lease`].

use std::collections::BTreeSet;

use bytes::Bytes;
use veridical_histories::etcd::{ErrorKind, Request, Response};
use veridical_histories::text_bytes::display;

use super::evaluate::Mismatch;
use super::hypotheses::{Contradiction, Doubt};
use super::operation::{Done, Open};
use super::versions::View;
use super::{EtcdChecker, Stop};
use crate::verdict::{Cause, ViolationKind};

impl EtcdChecker {
    fn wrong_of_lease(&self, done: &Done, expected: String) -> Stop {
        let got = done.response.to_string();
        let operations = vec![done.witness()];
        self.violated(ViolationKind::Lease, expected, got, operations)
    }

    /// An answer says that a lease existed during the operation.
    pub(super) fn check_lease_there(&self, done: &Done, id: i64) -> Result<(), Stop> {
        if self.leases.may_exist(id, done.open.call_event) {
            return Ok(());
        }
        Err(self.wrong_of_lease(done, format!("a refusal, for lease {id} did not exist")))
    }

    /// A lease was granted under the number that was asked for, or under one of the server's
    /// choice (0).
    pub(super) fn check_granted(&self, done: &Done, requested: i64) -> Result<(), Stop> {
        if let (Request::LeaseGrant { ttl_s: asked, .. }, Response::LeaseGrant { ttl_s, .. }) =
            (&done.open.request, &done.response)
            && *ttl_s < 1.max(*asked)
        {
            return Err(self.wrong_of_lease(done, format!("{} s at least", 1.max(*asked))));
        }
        let (call_event, return_ns) = (done.open.call_event, done.return_ns);
        let may_be = self
            .leases
            .may_be_granted_again(requested, call_event, return_ns);
        if may_be {
            return Ok(());
        }
        Err(self.wrong_of_lease(done, format!("a refusal, for lease {requested} exists")))
    }

    /// A grant was refused because there is a lease of that number.
    pub(super) fn check_lease_is_taken(&self, open: &Open, error: &ErrorKind) -> Result<(), Stop> {
        match (error, &open.request) {
            (ErrorKind::LeaseExists, Request::LeaseGrant { id, .. })
                if !self.leases.may_exist(*id, open.call_event) =>
            {
                Err(self.violated(
                    ViolationKind::Lease,
                    format!("lease {id}, for there was none"),
                    "refused: it exists",
                    vec![open.witness()],
                ))
            }
            _ => Ok(()),
        }
    }

    /// The times in an answer to `LeaseTimeToLive`.
    pub(super) fn check_time_to_live(&self, done: &Done, id: i64) -> Result<(), Stop> {
        let Response::LeaseTimeToLive {
            ttl_s,
            granted_ttl_s,
            ..
        } = done.response
        else {
            return Ok(());
        };
        if granted_ttl_s == 0 {
            return self.check_lease_missing(&done.open, id, done.return_ns);
        }
        self.check_lease_there(done, id)?;
        if let Some(granted) = self.leases.granted_ttl_s(id)
            && granted != granted_ttl_s
        {
            return Err(self.wrong_of_lease(done, format!("{granted} s, as granted")));
        }
        if ttl_s > granted_ttl_s {
            return Err(self.wrong_of_lease(done, format!("at most {granted_ttl_s} s")));
        }
        let left_s = self.leases.left_s(done.open.lease_until_ns, done.return_ns);
        if ttl_s < left_s {
            return Err(self.wrong_of_lease(done, format!("at least {left_s} s")));
        }
        Ok(())
    }

    /// An answer to `LeaseLeases`.
    pub(super) fn check_list_of_leases(&self, done: &Done, ids: &[i64]) -> Result<(), Stop> {
        let listed: BTreeSet<i64> = ids.iter().copied().collect();
        if listed.len() < ids.len() {
            return Err(self.wrong_of_lease(done, "each lease once".to_owned()));
        }
        let (call_event, return_ns) = (done.open.call_event, done.return_ns);
        let gone = |id: &&i64| !self.leases.may_exist(**id, call_event);
        if let Some(id) = listed.iter().find(gone) {
            return Err(self.wrong_of_lease(done, format!("no lease {id}, which did not exist")));
        }
        let mut certain = self.leases.certain(call_event, return_ns);
        match certain.find(|id| !listed.contains(id)) {
            Some(id) => Err(self.wrong_of_lease(done, format!("lease {id} among them"))),
            None => Ok(()),
        }
    }

    /// The keys in an answer to `LeaseTimeToLive`, once its revision is replayed: those of a
    /// state from what was acknowledged before the call up to that revision.
    pub(super) fn check_keys_of_lease(&mut self, done: &Done, id: i64) -> Result<(), Stop> {
        let Response::LeaseTimeToLive { keys, .. } = &done.response else {
            return Ok(());
        };
        let last = done.header.revision;
        let first = done.open.floor.revision.min(last);
        if first < self.base.log_start() - 1 {
            let text = format!(
                "{} was told the keys of a lease as of revision {first} or later; those before {} \
                 are forgotten",
                done.open.op,
                self.base.log_start() - 1
            );
            self.undecided(Cause::Retention, done.open.call_event, text);
            return Ok(());
        }
        let told: BTreeSet<&Bytes> = keys.iter().collect();
        self.retain_worlds(|checker, world| {
            let view = checker.view(world);
            let candidates = candidates(view, id, first, view.last_revision(), keys);
            let is_right = |revision| {
                let attached = candidates.iter().filter(|key| {
                    let stored = view.get(key, revision);
                    stored.is_some_and(|stored| stored.lease == id)
                });
                attached.eq(told.iter().copied())
            };
            if (first..=last).any(is_right) {
                return Ok(());
            }
            let now: Vec<String> = view.attached(id).map(|key| display(key)).collect();
            Err(Doubt::Wrong(Contradiction {
                kind: ViolationKind::Lease,
                mismatch: Mismatch {
                    expected: format!(
                        "the keys of lease {id} at some revision from {first} to {last} (now {})",
                        now.join(", ")
                    ),
                    got: done.response.to_string(),
                },
                operations: vec![done.witness()],
            }))
        })
    }
}

/// Keys that can have been attached to a lease after some revision from `first` on: those
/// that are now, those that were told, and those that changed since.
fn candidates(
    view: View<'_>,
    lease: i64,
    first: i64,
    last: i64,
    told: &[Bytes],
) -> BTreeSet<Bytes> {
    let changed = (first + 1..=last)
        .filter_map(|revision| view.log(revision))
        .flat_map(|entry| entry.keys.iter());
    view.attached(lease)
        .chain(told)
        .chain(changed)
        .cloned()
        .collect()
}
