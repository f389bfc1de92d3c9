//! Operations of an etcd-like history as the rooms hand them to each other.

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
    /// The greatest revision that was acknowledged before the call (`c` of the theorem).
    pub floor: Acknowledged,
    /// The greatest revision whose compaction was acknowledged before the call.
    pub compact_floor: i64,
    /// For requests that ask how long a lease lasts: the time until which it certainly
    /// does, in nanoseconds, by what was known at the call.
    pub lease_until_ns: u64,
    /// For requests that allow stale answers: the revision that each member had shown to
    /// this session before the call.
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

    /// An operation in flight, for tests: its number is also that of its call event, and
    /// `floor` was acknowledged before.
    #[cfg(test)]
    pub fn example(op: u64, floor: i64, request: Request) -> Box<Self> {
        Box::new(Self {
            op: OperationId(op),
            client: 0,
            call_event: op,
            call_ns: 0,
            request,
            floor: Acknowledged {
                revision: floor,
                by: None,
            },
            compact_floor: 0,
            lease_until_ns: 0,
            session: BTreeMap::new(),
        })
    }

    /// The operation as a witness that returned at `return_ns` without an effect.
    pub fn witness_until(&self, return_ns: u64) -> WitnessOperation {
        WitnessOperation {
            return_ns: Some(return_ns),
            ..self.witness()
        }
    }
}

/// The greatest revision acknowledged so far, and the operation that acknowledged it.
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

    /// An operation that was carried out at `revision`, for tests.
    #[cfg(test)]
    pub fn example(op: u64, revision: i64, request: Request, response: Response) -> Self {
        Self {
            open: Open::example(op, 0, request),
            return_event: op + 1,
            return_ns: 1,
            header: Header {
                revision,
                member: 0,
            },
            response,
        }
    }

    /// Whether its answer says that it changed a key, and so has a revision of its own.
    pub fn has_written(&self) -> bool {
        match &self.response {
            Response::Put(_) => true,
            Response::DeleteRange(deletion) => deletion.deleted > 0,
            Response::Txn(txn) => txn.has_written(),
            Response::Range(_)
            | Response::Compact
            | Response::LeaseGrant { .. }
            | Response::LeaseRevoke
            | Response::LeaseKeepAlive { .. }
            | Response::LeaseTimeToLive { .. }
            | Response::LeaseLeases { .. } => false,
        }
    }
}

/// A refusal that has to be possible in some state between two revisions.
#[derive(Debug)]
pub(super) struct Refusal {
    pub open: Box<Open>,
    pub return_event: u64,
    pub return_ns: u64,
}

/// The writer of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// An operation of the history.
    Operation(OperationId),
    /// The expiry of a lease.
    Expiry(i64),
}

/// Whether `response` is of the kind that `request` gets.
pub(super) fn is_answer_to(request: &Request, response: &Response) -> bool {
    match request {
        Request::Range(_) => matches!(response, Response::Range(_)),
        Request::Put(_) => matches!(response, Response::Put(_)),
        Request::DeleteRange(_) => matches!(response, Response::DeleteRange(_)),
        Request::Txn(_) => matches!(response, Response::Txn(_)),
        Request::Compact { .. } => matches!(response, Response::Compact),
        Request::LeaseGrant { .. } => matches!(response, Response::LeaseGrant { .. }),
        Request::LeaseRevoke { .. } => matches!(response, Response::LeaseRevoke),
        Request::LeaseKeepAlive { .. } => matches!(response, Response::LeaseKeepAlive { .. }),
        Request::LeaseTimeToLive { .. } => matches!(response, Response::LeaseTimeToLive { .. }),
        Request::LeaseLeases => matches!(response, Response::LeaseLeases { .. }),
    }
}
