//! Walks over the reads and writes of a request, those nested in transactions included.

use bytes::Bytes;
use veridical_histories::etcd::{
    DeleteRangeResult, KeyValue, PutRequest, PutResult, RangeRequest, RangeResult, Request,
    Response, TxnOp, TxnOpResult, TxnRequest, TxnResult,
};

/// One read or write of a request, with its result if there is one of its kind.
#[derive(Clone, Copy)]
pub(super) enum Part<'q, 's> {
    Range(&'q RangeRequest, Option<&'s RangeResult>),
    Put(&'q PutRequest, Option<&'s PutResult>),
    /// A deletion shows what it deleted; nothing else of it is visited.
    DeleteRange(Option<&'s DeleteRangeResult>),
}

/// Calls `visit` with every part of `request` that was carried out. Requests that neither
/// read nor write keys have none.
pub(super) fn visit_carried_out<'q, 's>(
    request: &'q Request,
    response: &'s Response,
    visit: &mut impl FnMut(Part<'q, 's>),
) {
    match request {
        Request::Range(range) => visit(Part::Range(range, range_result(response))),
        Request::Put(put) => visit(Part::Put(put, put_result(response))),
        Request::DeleteRange(_) => visit(Part::DeleteRange(deletion_result(response))),
        Request::Txn(txn) => {
            if let Response::Txn(result) = response {
                visit_branch(txn, result, visit);
            }
        }
        Request::Compact { .. }
        | Request::LeaseGrant { .. }
        | Request::LeaseRevoke { .. }
        | Request::LeaseKeepAlive { .. }
        | Request::LeaseTimeToLive { .. }
        | Request::LeaseLeases => {}
    }
}

fn range_result(response: &Response) -> Option<&RangeResult> {
    if let Response::Range(result) = response {
        return Some(result);
    }
    None
}

fn put_result(response: &Response) -> Option<&PutResult> {
    if let Response::Put(result) = response {
        return Some(result);
    }
    None
}

fn deletion_result(response: &Response) -> Option<&DeleteRangeResult> {
    if let Response::DeleteRange(result) = response {
        return Some(result);
    }
    None
}

fn visit_branch<'q, 's>(
    txn: &'q TxnRequest,
    result: &'s TxnResult,
    visit: &mut impl FnMut(Part<'q, 's>),
) {
    let ops = match result.succeeded {
        true => &txn.success,
        false => &txn.failure,
    };
    for (op, result) in ops.iter().zip(&result.results) {
        match (op, result) {
            (TxnOp::Range(range), TxnOpResult::Range(result)) => {
                visit(Part::Range(range, Some(result)));
            }
            (TxnOp::Put(put), TxnOpResult::Put(result)) => visit(Part::Put(put, Some(result))),
            (TxnOp::DeleteRange(_), TxnOpResult::DeleteRange(result)) => {
                visit(Part::DeleteRange(Some(result)));
            }
            (TxnOp::Txn(txn), TxnOpResult::Txn(result)) => visit_branch(txn, result, visit),
            // The evaluation refuses a result of another kind; until then it tells nothing.
            (TxnOp::Range(range), _) => visit(Part::Range(range, None)),
            (TxnOp::Put(put), _) => visit(Part::Put(put, None)),
            (TxnOp::DeleteRange(_), _) => visit(Part::DeleteRange(None)),
            (TxnOp::Txn(_), _) => {}
        }
    }
}

/// Calls `visit` with every part of `request` that may be carried out, in whichever branch
/// it is; none of them has a result.
pub(super) fn visit_possible<'q>(request: &'q Request, visit: &mut impl FnMut(Part<'q, 'q>)) {
    match request {
        Request::Range(range) => visit(Part::Range(range, None)),
        Request::Put(put) => visit(Part::Put(put, None)),
        Request::DeleteRange(_) => visit(Part::DeleteRange(None)),
        Request::Txn(txn) => visit_branches(txn, visit),
        Request::Compact { .. }
        | Request::LeaseGrant { .. }
        | Request::LeaseRevoke { .. }
        | Request::LeaseKeepAlive { .. }
        | Request::LeaseTimeToLive { .. }
        | Request::LeaseLeases => {}
    }
}

fn visit_branches<'q>(txn: &'q TxnRequest, visit: &mut impl FnMut(Part<'q, 'q>)) {
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            TxnOp::Range(range) => visit(Part::Range(range, None)),
            TxnOp::Put(put) => visit(Part::Put(put, None)),
            TxnOp::DeleteRange(_) => visit(Part::DeleteRange(None)),
            TxnOp::Txn(txn) => visit_branches(txn, visit),
        }
    }
}

/// Calls `visit` with every range that was carried out.
pub(super) fn visit_ranges<'q>(
    request: &'q Request,
    response: &Response,
    visit: &mut impl FnMut(&'q RangeRequest),
) {
    visit_carried_out(request, response, &mut |part| match part {
        Part::Range(range, _) => visit(range),
        Part::Put(..) | Part::DeleteRange(..) => {}
    });
}

/// Calls `visit` with every put that was carried out.
pub(super) fn visit_puts<'q>(
    request: &'q Request,
    response: &Response,
    visit: &mut impl FnMut(&'q PutRequest),
) {
    visit_carried_out(request, response, &mut |part| match part {
        Part::Put(put, _) => visit(put),
        Part::Range(..) | Part::DeleteRange(..) => {}
    });
}

/// Calls `visit` with every put that may be carried out.
pub(super) fn visit_possible_puts<'q>(
    request: &'q Request,
    visit: &mut impl FnMut(&'q PutRequest),
) {
    visit_possible(request, &mut |part| match part {
        Part::Put(put, _) => visit(put),
        Part::Range(..) | Part::DeleteRange(..) => {}
    });
}

/// Calls `visit` with every revision that a request names for reading.
pub(super) fn visit_revisions(request: &Request, visit: &mut impl FnMut(i64)) {
    visit_possible(request, &mut |part| match part {
        Part::Range(range, _) if range.revision > 0 => visit(range.revision),
        Part::Range(..) | Part::Put(..) | Part::DeleteRange(..) => {}
    });
}

/// Calls `visit` with every pair that an answer shows, and with whether the pair is shown
/// without its value.
pub(super) fn visit_pairs<'s>(
    request: &Request,
    response: &'s Response,
    visit: &mut impl FnMut(&'s KeyValue, bool),
) {
    visit_carried_out(request, response, &mut |part| match part {
        Part::Range(range, result) => {
            let kvs = result.into_iter().flat_map(|result| &result.kvs);
            kvs.for_each(|kv| visit(kv, range.keys_only));
        }
        Part::Put(_, result) => {
            let kv = result.and_then(|result| result.prev_kv.as_ref());
            kv.into_iter().for_each(|kv| visit(kv, false));
        }
        Part::DeleteRange(result) => {
            let kvs = result.into_iter().flat_map(|result| &result.prev_kvs);
            kvs.for_each(|kv| visit(kv, false));
        }
    });
}

/// Whether the request may write `value` to `key`, or keep the value that is there.
pub(super) fn may_write_value(request: &Request, key: &Bytes, value: &Bytes) -> bool {
    let mut may = false;
    visit_possible_puts(request, &mut |put| {
        may |= put.key == *key && (put.ignore_value || put.value == *value);
    });
    may
}
