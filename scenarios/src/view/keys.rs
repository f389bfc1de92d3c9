//! The keys and ranges that a request is about, as text: `k01`, or `[k01, k05)`.

use veridical_histories::etcd::{KeyRange, Request, TxnOp, TxnRequest};
use veridical_histories::text_bytes::display;

/// A key as one types it: without quotes.
pub fn key(key: &[u8]) -> String {
    let shown = display(key);
    let inner = shown
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(&shown).to_owned()
}

/// A range; one of a single key is that key.
pub fn range(range: &KeyRange) -> String {
    if range.is_single() {
        key(&range.key)
    } else if range.is_unbounded() {
        format!("[{}, ∞)", key(&range.key))
    } else {
        format!("[{}, {})", key(&range.key), key(&range.range_end))
    }
}

/// The keys and ranges of a request, each once, in order.
pub fn keys_of(request: &Request) -> Vec<String> {
    let mut keys = Vec::new();
    match request {
        Request::Range(read) => keys.push(range(&read.range)),
        Request::Put(put) => keys.push(key(&put.key)),
        Request::DeleteRange(delete) => keys.push(range(&delete.range)),
        Request::Txn(txn) => collect(txn, &mut keys),
        Request::Compact { .. }
        | Request::LeaseGrant { .. }
        | Request::LeaseRevoke { .. }
        | Request::LeaseKeepAlive { .. }
        | Request::LeaseTimeToLive { .. }
        | Request::LeaseLeases => {}
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn collect(txn: &TxnRequest, keys: &mut Vec<String>) {
    keys.extend(txn.compares.iter().map(|compare| range(&compare.range)));
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            TxnOp::Range(read) => keys.push(range(&read.range)),
            TxnOp::Put(put) => keys.push(key(&put.key)),
            TxnOp::DeleteRange(delete) => keys.push(range(&delete.range)),
            TxnOp::Txn(inner) => collect(inner, keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_histories::etcd::{PutRequest, RangeRequest};

    #[test]
    fn a_transaction_is_about_all_its_keys_each_once() {
        let put = |key: &'static str| {
            TxnOp::Put(PutRequest {
                key: key.into(),
                ..PutRequest::default()
            })
        };
        let range = TxnOp::Range(RangeRequest {
            range: KeyRange::span("k01", "k05"),
            ..RangeRequest::default()
        });
        let txn = TxnRequest {
            compares: Vec::new(),
            success: vec![put("k02"), range],
            failure: vec![put("k02"), put("k00")],
        };
        assert_eq!(keys_of(&Request::Txn(txn)), ["[k01, k05)", "k00", "k02"]);
    }
}
