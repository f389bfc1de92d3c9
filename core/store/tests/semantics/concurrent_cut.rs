//! Readers on other threads see one cut of the store, whatever the writer does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use veridical_planted::Planted;
use veridical_proto::command::command::Request;
use veridical_proto::etcdserverpb::{
    PutRequest, RangeRequest, RequestOp, TxnRequest, request_op, response_op,
};
use veridical_store::{ApiError, MemtableKind, Store, StoreConfig, StoreReader};

use crate::{apply_ok, compact};

const ACCOUNTS: usize = 40;
const TOTAL: i64 = ACCOUNTS as i64 * 100;
const RUN_MS: u64 = 700;

fn account(number: usize) -> String {
    format!("account/{number:03}")
}

fn put_balance(number: usize, balance: i64) -> RequestOp {
    RequestOp {
        request: Some(request_op::Request::RequestPut(PutRequest {
            key: account(number).into(),
            value: balance.to_string().into(),
            ..Default::default()
        })),
    }
}

fn transfer(ops: Vec<RequestOp>) -> Request {
    Request::Txn(TxnRequest {
        compare: Vec::new(),
        success: ops,
        failure: Vec::new(),
    })
}

fn accounts(revision: i64) -> RangeRequest {
    RangeRequest {
        key: "account/".into(),
        range_end: "account0".into(),
        revision,
        ..Default::default()
    }
}

/// What all accounts hold together, or why that cannot be told.
fn total(reader: &StoreReader, revision: i64) -> Result<i64, ApiError> {
    let response = reader.range(&accounts(revision))?;
    assert_eq!(response.count, ACCOUNTS as i64, "an account is missing");
    assert_eq!(response.kvs.len(), ACCOUNTS, "an account is missing");
    assert!(response.kvs.is_sorted_by(|a, b| a.key < b.key));
    Ok(response
        .kvs
        .iter()
        .map(|kv| {
            let digits = std::str::from_utf8(&kv.value).expect("digits");
            digits.parse::<i64>().expect("digits")
        })
        .sum())
}

/// The same in one read-only transaction of single keys.
fn total_by_txn(reader: &StoreReader) -> i64 {
    let request = TxnRequest {
        success: (0..ACCOUNTS)
            .map(|number| RequestOp {
                request: Some(request_op::Request::RequestRange(RangeRequest {
                    key: account(number).into(),
                    ..Default::default()
                })),
            })
            .collect(),
        ..Default::default()
    };
    let response = reader.read_txn(&request).expect("the present can be read");
    response
        .responses
        .into_iter()
        .map(|op| match op.response {
            Some(response_op::Response::ResponseRange(range)) => {
                let digits = std::str::from_utf8(&range.kvs[0].value).expect("digits");
                digits.parse::<i64>().expect("digits")
            }
            other => panic!("expected a range, got {other:?}"),
        })
        .sum()
}

/// Moves money about and compacts while readers add it up; returns how many reads there
/// were, and how many of them had a wrong total.
fn run(memtable: MemtableKind, planted: Planted) -> (u64, u64) {
    let mut store = Store::new(StoreConfig {
        memtable,
        shards: 16,
        planted,
        ..StoreConfig::default()
    });
    let mut balances = [100i64; ACCOUNTS];
    let open = (0..ACCOUNTS)
        .map(|number| put_balance(number, 100))
        .collect();
    apply_ok(&mut store, transfer(open));
    store.publish();

    let stop = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let wrong = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..3)
        .map(|kind| {
            let (stop, reads, wrong) = (Arc::clone(&stop), Arc::clone(&reads), Arc::clone(&wrong));
            let reader = store.reader();
            thread::spawn(move || {
                let mut past = 2;
                while !stop.load(Ordering::Relaxed) {
                    let found = match kind {
                        0 => total(&reader, 0).expect("the present can be read"),
                        1 => total_by_txn(&reader),
                        // As far back as it goes: on the edge of compaction.
                        _ => match total(&reader, past) {
                            Ok(found) => found,
                            Err(error) => {
                                assert_eq!(error, ApiError::compacted());
                                assert!(reader.compacted_revision() > past);
                                past = reader.compacted_revision();
                                continue;
                            }
                        },
                    };
                    reads.fetch_add(1, Ordering::Relaxed);
                    wrong.fetch_add(u64::from(found != TOTAL), Ordering::Relaxed);
                }
            })
        })
        .collect();

    let started = Instant::now();
    let mut step = 0usize;
    while started.elapsed() < Duration::from_millis(RUN_MS) {
        // A batch of transfers, and a compaction that the same batch overtakes.
        for _ in 0..5 {
            let (from, to) = (step % ACCOUNTS, (step * 7 + 3) % ACCOUNTS);
            step += 1;
            if from == to {
                continue;
            }
            balances[from] -= 1;
            balances[to] += 1;
            let ops = vec![
                put_balance(from, balances[from]),
                put_balance(to, balances[to]),
            ];
            apply_ok(&mut store, transfer(ops));
        }
        if step.is_multiple_of(3) {
            let revision = store.revision();
            apply_ok(&mut store, compact(revision));
        }
        store.publish();
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().expect("a reader found nothing wrong");
    }
    (reads.load(Ordering::Relaxed), wrong.load(Ordering::Relaxed))
}

#[test]
fn money_in_transit_is_never_seen() {
    for memtable in [MemtableKind::Sharded, MemtableKind::Locked] {
        let (reads, wrong) = run(memtable, Planted::none());
        assert!(reads > 100, "only {reads} reads");
        assert_eq!(wrong, 0, "of {reads} reads with {memtable:?}");
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn a_planted_torn_cut_is_seen() {
    use veridical_planted::PlantedBug;

    let (reads, wrong) = run(MemtableKind::Sharded, Planted::only(PlantedBug::TornCut));
    assert!(wrong > 0, "of {reads} reads");
}
