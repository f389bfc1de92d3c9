//! Transactions: which branches are taken, whether they can succeed, and running them
//! (etcd: `etcdserver/txn`).
//!
//! All compares, those of nested transactions too, are decided on the state before the
//! first write; then the taken branches are checked as a whole; only then something is
//! written, and from there on nothing can fail.

use veridical_proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    RequestOp, ResponseOp, TxnRequest, TxnResponse, request_op, response_op,
};

use crate::error::ApiError;
use crate::key_range::KeyRange;
use crate::lease::LeaseTable;
use crate::view::View;

/// A transaction whose compares have been decided.
#[derive(Debug)]
pub(crate) struct DecidedTxn<'a> {
    succeeded: bool,
    steps: Vec<Step<'a>>,
}

#[derive(Debug)]
enum Step<'a> {
    Range(&'a RangeRequest),
    Put(&'a PutRequest),
    DeleteRange(&'a DeleteRangeRequest),
    Txn(DecidedTxn<'a>),
    /// An operation without a request; [`check_txn`](crate::check_txn) refuses it.
    Empty,
}

/// What a transaction runs on.
pub(crate) trait TxnTarget {
    fn range(&mut self, request: &RangeRequest) -> Result<RangeResponse, ApiError>;
    fn put(&mut self, request: &PutRequest) -> Result<PutResponse, ApiError>;
    fn delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse;
}

impl<'a> DecidedTxn<'a> {
    /// Decides all compares on `view`.
    pub(crate) fn decide(view: &View<'_>, request: &'a TxnRequest) -> Self {
        let succeeded = view.compares_hold(&request.compare);
        let branch: &[RequestOp] = if succeeded {
            &request.success
        } else {
            &request.failure
        };
        let steps = branch
            .iter()
            .map(|op| match &op.request {
                Some(request_op::Request::RequestRange(range)) => Step::Range(range),
                Some(request_op::Request::RequestPut(put)) => Step::Put(put),
                Some(request_op::Request::RequestDeleteRange(delete)) => Step::DeleteRange(delete),
                Some(request_op::Request::RequestTxn(nested)) => {
                    Step::Txn(Self::decide(view, nested))
                }
                None => Step::Empty,
            })
            .collect();
        Self { succeeded, steps }
    }

    /// Checks that every step can be taken: first all puts and then all ranges, so that of
    /// several errors the one is told that etcd tells (its `checkRequests`).
    pub(crate) fn check(&self, view: &View<'_>, leases: &LeaseTable) -> Result<(), ApiError> {
        self.check_puts(view, leases, &mut Vec::new())?;
        self.check_ranges(view)
    }

    fn check_puts(
        &self,
        view: &View<'_>,
        leases: &LeaseTable,
        deleted: &mut Vec<KeyRange>,
    ) -> Result<(), ApiError> {
        for step in &self.steps {
            match step {
                Step::Put(put) => {
                    if put.ignore_value || put.ignore_lease {
                        // A deletion earlier in the same transaction is refused before it
                        // is proposed; should one get here, it must not fail half-way.
                        let gone = deleted.iter().any(|range| range.contains(&put.key));
                        if gone || view.table.get(&put.key, view.read_at).is_none() {
                            return Err(ApiError::key_not_found());
                        }
                    }
                    if put.lease != 0 && !leases.contains(put.lease) {
                        return Err(ApiError::lease_not_found());
                    }
                }
                Step::DeleteRange(delete) => {
                    deleted.push(KeyRange::new(&delete.key, &delete.range_end));
                }
                Step::Txn(nested) => nested.check_puts(view, leases, deleted)?,
                Step::Range(_) | Step::Empty => {}
            }
        }
        Ok(())
    }

    fn check_ranges(&self, view: &View<'_>) -> Result<(), ApiError> {
        for step in &self.steps {
            match step {
                Step::Range(range) => view.check_range(range)?,
                Step::Txn(nested) => nested.check_ranges(view)?,
                Step::Put(_) | Step::DeleteRange(_) | Step::Empty => {}
            }
        }
        Ok(())
    }

    /// Runs the steps. The response has no header.
    pub(crate) fn run(&self, target: &mut dyn TxnTarget) -> Result<TxnResponse, ApiError> {
        let mut responses = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let response = match step {
                Step::Range(range) => {
                    Some(response_op::Response::ResponseRange(target.range(range)?))
                }
                Step::Put(put) => Some(response_op::Response::ResponsePut(target.put(put)?)),
                Step::DeleteRange(delete) => Some(response_op::Response::ResponseDeleteRange(
                    target.delete_range(delete),
                )),
                Step::Txn(nested) => {
                    let mut response = nested.run(target)?;
                    // etcd gives nested transactions an empty header.
                    response.header = Some(Default::default());
                    Some(response_op::Response::ResponseTxn(response))
                }
                Step::Empty => None,
            };
            responses.push(ResponseOp { response });
        }
        Ok(TxnResponse {
            header: None,
            succeeded: self.succeeded,
            responses,
        })
    }
}

/// A target that only reads.
pub(crate) struct ReadTarget<'a> {
    pub(crate) view: View<'a>,
}

impl TxnTarget for ReadTarget<'_> {
    fn range(&mut self, request: &RangeRequest) -> Result<RangeResponse, ApiError> {
        self.view.range(request)
    }

    fn put(&mut self, _: &PutRequest) -> Result<PutResponse, ApiError> {
        unreachable!("a transaction that writes goes through the log")
    }

    fn delete_range(&mut self, _: &DeleteRangeRequest) -> DeleteRangeResponse {
        unreachable!("a transaction that writes goes through the log")
    }
}
