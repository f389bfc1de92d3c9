//! The keys and ranges that a request is about, as text: `k01`, or `[k01, k05)`.

use veridical_histories::etcd::{Request, TxnOp, TxnRequest};
use veridical_histories::text_bytes::display;

/// The keys and ranges of a request, each once, in order.
pub fn keys_of(request: &Request) -> Vec<String> {
    let mut keys = Vec::new();
    match request {
        Request::Range(range) => keys.push(range.range.to_string()),
        Request::Put(put) => keys.push(display(&put.key)),
        Request::DeleteRange(delete) => keys.push(delete.range.to_string()),
        Request::Txn(txn) => collect(txn, &mut keys),
        _ => {}
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn collect(txn: &TxnRequest, keys: &mut Vec<String>) {
    keys.extend(txn.compares.iter().map(|compare| compare.range.to_string()));
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            TxnOp::Range(range) => keys.push(range.range.to_string()),
            TxnOp::Put(put) => keys.push(display(&put.key)),
            TxnOp::DeleteRange(delete) => keys.push(delete.range.to_string()),
            TxnOp::Txn(inner) => collect(inner, keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veridical_histories::etcd::{KeyRange, PutRequest, RangeRequest};

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
