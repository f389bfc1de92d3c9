//! What the clients ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use clap::ValueEnum;
use veridical_histories::random::Random;
use veridical_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use veridical_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
    request_op,
};
use veridical_proto::native::request::Body as Ask;

use super::distribution::Zipf;

/// Longest scan of YCSB's workload E, in keys.
const SCAN_KEYS_MAX: u64 = 100;

/// Keys of a range of the other workloads.
const RANGE_KEYS: u64 = 100;

/// What the clients do. YCSB's core workloads are those of Cooper et al.,
/// *Benchmarking Cloud Serving Systems with YCSB*, SoCC 2010.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkloadKind {
    /// Writes, keys uniform
    Put,
    /// Linearizable reads, keys uniform
    Get,
    /// Half reads, half writes, keys uniform
    Mixed,
    /// 50 % reads, 50 % updates, keys by Zipf's law
    YcsbA,
    /// 95 % reads, 5 % updates, keys by Zipf's law
    YcsbB,
    /// Reads, keys by Zipf's law
    YcsbC,
    /// 95 % reads of what is new, 5 % inserts
    YcsbD,
    /// 95 % scans, 5 % inserts
    YcsbE,
    /// 50 % reads, 50 % read-modify-writes, keys by Zipf's law
    YcsbF,
    /// Ranges of 100 keys, uniform
    Range,
    /// Transactions that compare a key and write two, keys uniform
    Txn,
    /// 95.7 % reads, 2.6 % deletions, 0.9 % writes, 0.8 % ranges of 100 keys, keys uniform: what
    /// a store of metadata sees
    Metastore,
}

/// What kind of step was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StepKind {
    Read,
    Write,
    Scan,
    /// A read, and a transaction that writes if nobody else did meanwhile.
    ReadModifyWrite,
    Delete,
    Txn,
}

impl StepKind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Read,
        Self::Write,
        Self::Scan,
        Self::ReadModifyWrite,
        Self::Delete,
        Self::Txn,
    ];

    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Scan => "scan",
            Self::ReadModifyWrite => "read_modify_write",
            Self::Delete => "delete",
            Self::Txn => "txn",
        }
    }
}

/// One step of a client.
pub(crate) struct Step {
    pub(crate) kind: StepKind,
    pub(crate) ask: Ask,
}

/// What the workloads of all clients have in common.
#[derive(Clone)]
pub(crate) struct Common {
    kind: WorkloadKind,
    /// Keys that existed when the clients began.
    keys: u64,
    value_bytes: usize,
    seed: u64,
    zipf: Arc<Zipf>,
    /// Keys that exist or are about to; shared by all clients.
    inserted: Arc<AtomicU64>,
}

impl Common {
    /// Workloads of this kind on `keys` keys, drawn from `seed`.
    pub(crate) fn new(kind: WorkloadKind, keys: u64, value_bytes: usize, seed: u64) -> Self {
        Self {
            kind,
            keys,
            value_bytes,
            seed,
            zipf: Arc::new(Zipf::new(keys)),
            inserted: Arc::new(AtomicU64::new(keys)),
        }
    }
}

/// Makes the requests of one client.
pub(crate) struct Workload {
    common: Common,
    client: u64,
    writes: u64,
    random: Random,
}

/// Where the keys of all workloads begin.
pub(crate) const KEYS_BEGIN: &[u8] = b"bench/";

/// What comes behind the last of them.
pub(crate) const KEYS_END: &[u8] = b"bench0";

/// The name of a key. All have the same length, so that their order is that of their
/// numbers.
pub(crate) fn key(number: u64) -> Bytes {
    Bytes::from(format!("bench/{number:012}"))
}

fn get(number: u64) -> Ask {
    Ask::Range(RangeRequest {
        key: key(number),
        ..RangeRequest::default()
    })
}

impl WorkloadKind {
    /// Whether it needs keys to read.
    pub(crate) fn reads(self) -> bool {
        self != Self::Put
    }
}

impl Workload {
    /// The workload of a client.
    pub(crate) fn new(common: &Common, client: u64) -> Self {
        // Far apart for neighbouring clients.
        let random = Random::new(common.seed ^ (client + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self {
            common: common.clone(),
            client,
            writes: 0,
            random,
        }
    }

    /// A value that is written once only: a check tells writes apart by it.
    fn value(&mut self) -> Bytes {
        self.writes += 1;
        let mut value = format!("{}/{}/", self.client, self.writes).into_bytes();
        let filler = self.common.value_bytes.saturating_sub(value.len());
        value.reserve(filler);
        while value.len() < self.common.value_bytes {
            let word = self.random.next_u64().to_le_bytes();
            let taken = word.len().min(self.common.value_bytes - value.len());
            value.extend_from_slice(&word[..taken]);
        }
        Bytes::from(value)
    }

    fn put(&mut self, number: u64) -> Step {
        let put = PutRequest {
            key: key(number),
            value: self.value(),
            ..PutRequest::default()
        };
        Step {
            kind: StepKind::Write,
            ask: Ask::Put(put),
        }
    }

    fn insert(&mut self) -> Step {
        let number = self.common.inserted.fetch_add(1, Ordering::Relaxed);
        self.put(number)
    }

    /// The keys `begin..end`, written at once.
    pub(crate) fn load(&mut self, begin: u64, end: u64) -> Ask {
        let mut put = |number| {
            let put = PutRequest {
                key: key(number),
                value: self.value(),
                ..PutRequest::default()
            };
            RequestOp {
                request: Some(request_op::Request::RequestPut(put)),
            }
        };
        let success = (begin..end).map(&mut put).collect();
        Ask::Txn(TxnRequest {
            success,
            ..TxnRequest::default()
        })
    }

    /// The same as puts by themselves.
    pub(crate) fn load_each(&mut self, begin: u64, end: u64) -> Vec<Ask> {
        (begin..end).map(|number| self.put(number).ask).collect()
    }

    /// Writes two keys, unless the first is gone.
    fn txn(&mut self, first: u64, second: u64) -> Step {
        let exists = Compare {
            result: CompareResult::Greater as i32,
            target: CompareTarget::Version as i32,
            key: key(first),
            target_union: Some(TargetUnion::Version(0)),
            ..Compare::default()
        };
        let mut puts = vec![self.put(first)];
        if second != first {
            puts.push(self.put(second));
        }
        let puts = puts.into_iter().filter_map(|step| match step.ask {
            Ask::Put(put) => Some(RequestOp {
                request: Some(request_op::Request::RequestPut(put)),
            }),
            _ => None,
        });
        Step {
            kind: StepKind::Txn,
            ask: Ask::Txn(TxnRequest {
                compare: vec![exists],
                success: puts.collect(),
                ..TxnRequest::default()
            }),
        }
    }

    /// A step of [`WorkloadKind::Metastore`].
    fn of_metastore(&mut self, number: u64) -> Step {
        match self.random.below(1_000) {
            0..957 => read(number),
            957..983 => Step {
                kind: StepKind::Delete,
                ask: Ask::DeleteRange(DeleteRangeRequest {
                    key: key(number),
                    ..DeleteRangeRequest::default()
                }),
            },
            983..992 => self.put(number),
            _ => scan(number, RANGE_KEYS),
        }
    }

    /// The next step.
    pub(crate) fn next(&mut self) -> Step {
        let percent = self.random.below(100);
        let uniform = self.random.below(self.common.keys);
        match self.common.kind {
            WorkloadKind::Put => self.put(uniform),
            WorkloadKind::Get => read(uniform),
            WorkloadKind::Mixed if percent < 50 => read(uniform),
            WorkloadKind::Mixed => self.put(uniform),
            WorkloadKind::YcsbA if percent < 50 => self.popular_read(),
            WorkloadKind::YcsbB if percent < 95 => self.popular_read(),
            WorkloadKind::YcsbC => self.popular_read(),
            WorkloadKind::YcsbA | WorkloadKind::YcsbB => {
                let number = self.popular();
                self.put(number)
            }
            WorkloadKind::YcsbD if percent < 95 => {
                let newest = self.common.inserted.load(Ordering::Relaxed) - 1;
                let age = self.common.zipf.rank(&mut self.random);
                read(newest.saturating_sub(age))
            }
            WorkloadKind::YcsbE if percent < 95 => {
                let first = self.popular();
                scan(first, self.random.below(SCAN_KEYS_MAX) + 1)
            }
            WorkloadKind::Range => scan(uniform, RANGE_KEYS),
            WorkloadKind::Txn => {
                let second = self.random.below(self.common.keys);
                self.txn(uniform, second)
            }
            WorkloadKind::Metastore => self.of_metastore(uniform),
            WorkloadKind::YcsbD | WorkloadKind::YcsbE => self.insert(),
            WorkloadKind::YcsbF if percent < 50 => self.popular_read(),
            WorkloadKind::YcsbF => Step {
                kind: StepKind::ReadModifyWrite,
                ask: get(self.popular()),
            },
        }
    }

    fn popular(&mut self) -> u64 {
        self.common.zipf.scattered(&mut self.random)
    }

    fn popular_read(&mut self) -> Step {
        read(self.popular())
    }

    /// The second half of a [`StepKind::ReadModifyWrite`]: writes the key unless it has
    /// changed since it was read.
    pub(crate) fn modify(&mut self, key: Bytes, read: &RangeResponse) -> Ask {
        let revision = read.kvs.first().map_or(0, |kv| kv.mod_revision);
        let unchanged = Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Mod as i32,
            key: key.clone(),
            target_union: Some(TargetUnion::ModRevision(revision)),
            ..Compare::default()
        };
        let put = PutRequest {
            key,
            value: self.value(),
            ..PutRequest::default()
        };
        let put = RequestOp {
            request: Some(request_op::Request::RequestPut(put)),
        };
        Ask::Txn(TxnRequest {
            compare: vec![unchanged],
            success: vec![put],
            ..TxnRequest::default()
        })
    }
}

/// Some keys from one on.
fn scan(first: u64, keys: u64) -> Step {
    Step {
        kind: StepKind::Scan,
        ask: Ask::Range(RangeRequest {
            key: key(first),
            range_end: Bytes::from_static(b"bench0"),
            limit: keys as i64,
            ..RangeRequest::default()
        }),
    }
}

fn read(number: u64) -> Step {
    Step {
        kind: StepKind::Read,
        ask: get(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn workload(kind: WorkloadKind, client: u64) -> Workload {
        Workload::new(&Common::new(kind, 50, 20, 1), client)
    }

    /// How many of 10 000 steps are of each kind, in percent.
    fn shares(kind: WorkloadKind) -> [f64; 6] {
        let mut workload = workload(kind, 0);
        let mut counts = [0.0; 6];
        for _ in 0..10_000 {
            counts[workload.next().kind as usize] += 0.01;
        }
        counts
    }

    #[test]
    fn every_workload_has_the_shares_that_its_name_promises() {
        for (kind, expected) in [
            (WorkloadKind::Put, [0.0, 100.0, 0.0, 0.0, 0.0, 0.0]),
            (WorkloadKind::Get, [100.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
            (WorkloadKind::Mixed, [50.0, 50.0, 0.0, 0.0, 0.0, 0.0]),
            (WorkloadKind::YcsbA, [50.0, 50.0, 0.0, 0.0, 0.0, 0.0]),
            (WorkloadKind::YcsbB, [95.0, 5.0, 0.0, 0.0, 0.0, 0.0]),
            (WorkloadKind::YcsbC, [100.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
            (WorkloadKind::YcsbD, [95.0, 5.0, 0.0, 0.0, 0.0, 0.0]),
            (WorkloadKind::YcsbE, [0.0, 5.0, 95.0, 0.0, 0.0, 0.0]),
            (WorkloadKind::YcsbF, [50.0, 0.0, 0.0, 50.0, 0.0, 0.0]),
            (WorkloadKind::Range, [0.0, 0.0, 100.0, 0.0, 0.0, 0.0]),
            (WorkloadKind::Txn, [0.0, 0.0, 0.0, 0.0, 0.0, 100.0]),
            (WorkloadKind::Metastore, [95.7, 0.9, 0.8, 0.0, 2.6, 0.0]),
        ] {
            for (share, expected) in shares(kind).into_iter().zip(expected) {
                assert!(
                    (share - expected).abs() < 2.5,
                    "{kind:?}: {share} for {expected}"
                );
            }
        }
    }

    #[test]
    fn no_value_is_written_twice_and_all_have_the_length_that_was_asked_for() {
        let mut seen = BTreeSet::new();
        for client in 0..3 {
            let mut workload = workload(WorkloadKind::Put, client);
            for _ in 0..500 {
                let Ask::Put(put) = workload.next().ask else {
                    panic!("a put")
                };
                assert_eq!(put.value.len(), 20);
                assert!(seen.insert(put.value));
            }
        }
    }
}
