//! Operations of an etcd-like history as the checker keeps them.

use std::collections::BTreeMap;

use veridical_histories::OperationId;
use veridical_histories::etcd::{Header, Outcome, Request, Response};

use crate::verdict::WitnessOperation;

/// An operation without a known end.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub op: OperationId,
    pub client: u64,
    pub call_event: u64,
    pub call_ns: u64,
    pub request: Request,
    /// The greatest revision that was acknowledged before the call: `c_b`.
    pub floor: Acknowledged,
    /// The greatest revision whose compaction was acknowledged before the call.
    pub compact_floor: i64,
    /// For questions how long a lease lasts: until when it certainly does, in nanoseconds,
    /// by what was known at the call.
    pub lease_until_ns: u64,
    /// For requests that allow stale answers: what each member had shown to this
    /// session before the call.
    pub session: BTreeMap<u64, i64>,
}

impl Open {
    pub fn witness(&self) -> WitnessOperation {
        WitnessOperation {
            op: Some(self.op),
            client: self.client,
            call_ns: self.call_ns,
            return_ns: None,
            text: format!("{} → no known outcome", self.request),
        }
    }
}

/// The greatest revision acknowledged so far, and by whom.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Acknowledged {
    pub revision: i64,
    pub by: Option<Acknowledgement>,
}

/// The operation that acknowledged a revision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledgement {
    pub op: OperationId,
    pub client: u64,
    pub call_ns: u64,
    pub return_ns: u64,
}

impl Acknowledged {
    pub fn witness(&self) -> Option<WitnessOperation> {
        self.by.map(|by| WitnessOperation {
            op: Some(by.op),
            client: by.client,
            call_ns: by.call_ns,
            return_ns: Some(by.return_ns),
            text: format!("acknowledged revision {}", self.revision),
        })
    }
}

/// An operation that was carried out.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub open: Box<Open>,
    pub return_event: u64,
    pub return_ns: u64,
    pub header: Header,
    pub response: Response,
}

impl Done {
    pub fn witness(&self) -> WitnessOperation {
        let outcome = Outcome::Done {
            header: self.header,
            response: self.response.clone(),
        };
        WitnessOperation {
            op: Some(self.open.op),
            client: self.open.client,
            call_ns: self.open.call_ns,
            return_ns: Some(self.return_ns),
            text: format!("{} → {outcome}", self.open.request),
        }
    }

    /// Whether its answer says that it changed a key, and so has a revision of its own.
    pub fn has_written(&self) -> bool {
        match &self.response {
            Response::Put(_) => true,
            Response::DeleteRange(deletion) => deletion.deleted > 0,
            Response::Txn(txn) => txn.has_written(),
            _ => false,
        }
    }
}

/// Who wrote a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// An operation of the history.
    Operation(OperationId),
    /// The expiry of a lease.
    Expiry(i64),
}

/// Whether `response` is of the kind that `request` gets.
pub(super) fn is_answer_to(request: &Request, response: &Response) -> bool {
    matches!(
        (request, response),
        (Request::Range(_), Response::Range(_))
            | (Request::Put(_), Response::Put(_))
            | (Request::DeleteRange(_), Response::DeleteRange(_))
            | (Request::Txn(_), Response::Txn(_))
            | (Request::Compact { .. }, Response::Compact)
            | (Request::LeaseGrant { .. }, Response::LeaseGrant { .. })
            | (Request::LeaseRevoke { .. }, Response::LeaseRevoke)
            | (
                Request::LeaseKeepAlive { .. },
                Response::LeaseKeepAlive { .. }
            )
            | (
                Request::LeaseTimeToLive { .. },
                Response::LeaseTimeToLive { .. }
            )
            | (Request::LeaseLeases, Response::LeaseLeases { .. })
    )
}
