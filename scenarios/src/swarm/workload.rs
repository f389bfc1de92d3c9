//! What clients and watchers do.

use veridical_world::Rng;

use crate::keyspace::TO_THE_END;
use crate::plan::{BatchPlan, BesidePlan, HostPlan, Op, PlannedOp, WatcherPlan};
use crate::swarm::draw::pick;
use crate::transaction::{
    Keep, Part, PlannedCompare, PlannedTxn, Query, Relation, RevisionBound, TxnStep,
};

/// Seeds whose clients use the less frequent corners of the API, too.
const ALL_SHAPES_SHARE: f64 = 0.6;

/// Seeds whose clients are busy with leases above all: short ones, renewed again and again.
const LEASE_SHARE: f64 = 0.15;

/// Keys of a range, but for one of all of them; there are seldom more.
const SPAN_MAX: u32 = 64;

/// Where there are more keys, all of them are seldom read.
const ALL_OF_MANY_SHARE: f64 = 0.05;

/// Hosts that retry and let operations travel together.
const BATCHES_SHARE: f64 = 0.4;

/// At least this many operations are planned for a run.
const OPERATIONS_MIN: u64 = 560;
const OPERATIONS_MAX: u64 = 900;

pub(super) fn hosts(rng: &mut Rng, members: u32, keys: u32, end_at_ms: u64) -> Vec<HostPlan> {
    assert!(keys > 0, "clients need a key");
    let host_count = rng.between(2, 5);
    let clients: Vec<u64> = (0..host_count).map(|_| rng.between(1, 4)).collect();
    let client_count: u64 = clients.iter().sum();
    let operations = rng.between(OPERATIONS_MIN, OPERATIONS_MAX);
    let per_client = operations.div_ceil(client_count);
    // Bursts find what a steady trickle does not, and the other way round.
    let busy_share = pick(rng, &[0.35, 0.6, 0.85]);
    let think_mean_ms = ((end_at_ms as f64 * busy_share) as u64 / per_client).max(1);
    let all_shapes = rng.chance(ALL_SHAPES_SHARE);
    let requests = Requests {
        keys,
        read_share: pick(rng, &[0.2, 0.5, 0.7]),
        all_shapes,
        many_leases: rng.chance(LEASE_SHARE),
    };
    let mut hosts = Vec::new();
    for clients in clients {
        let retries = rng.chance(0.5);
        let clients = (0..clients)
            .map(|_| {
                (0..per_client)
                    .map(|_| PlannedOp {
                        after_ms: think_ms(rng, think_mean_ms),
                        at_ms: None,
                        op: requests.next(rng, retries),
                    })
                    .collect()
            })
            .collect();
        hosts.push(HostPlan {
            batches: None,
            first_member: rng.below(u64::from(members)) as u32,
            retries,
            request_timeout_ms: pick(rng, &[1_000, 2_000, 4_000]),
            value_bytes: if all_shapes {
                pick(rng, &[0, 0, 100, 400, 1_000])
            } else {
                0
            },
            clients,
        });
    }
    hosts
}

/// Some of the hosts that retry let operations of their clients travel together; drawn apart, so
/// that everything else stays where it was.
pub(super) fn batches(hosts: &mut [HostPlan], rng: &mut Rng) {
    for host in hosts.iter_mut().filter(|host| host.retries) {
        host.batches = rng.chance(BATCHES_SHARE).then(|| BatchPlan {
            operations_max: pick(rng, &[1, 2, 4, 100]),
            bytes_max: pick(rng, &[100, 1_000, 1_000_000]),
            in_flight_max: pick(rng, &[1, 1, 2, 3]),
            delay_max_ms: pick(rng, &[0, 1, 20]),
        });
    }
}

fn think_ms(rng: &mut Rng, mean_ms: u64) -> u64 {
    // One in four follows at once on the one before.
    if rng.chance(0.25) {
        0
    } else {
        rng.exponential(mean_ms * 4 / 3).min(20_000)
    }
}

/// Puts all keys, so many at once, before whatever else the first client does: keys are many
/// from the beginning.
pub(super) fn fill(hosts: &mut [HostPlan], keys: u32, at_once: u32) {
    let Some(client) = hosts.first_mut().and_then(|host| host.clients.first_mut()) else {
        return;
    };
    let filling = (0..keys).step_by(at_once as usize).map(|first| {
        let put = |key| TxnStep::Put {
            key,
            prev_kv: false,
            lease: None,
            keep: None,
        };
        let txn = PlannedTxn {
            success: (first..keys.min(first + at_once)).map(put).collect(),
            ..PlannedTxn::default()
        };
        PlannedOp {
            after_ms: 0,
            at_ms: None,
            op: Op::Txn(txn),
        }
    });
    client.splice(0..0, filling);
}

fn two_keys(rng: &mut Rng, keys: u32) -> (u32, u32) {
    let first = rng.below(u64::from(keys)) as u32;
    let distance = 1 + rng.below(u64::from(keys) - 1) as u32;
    (first, (first + distance) % keys)
}

fn span(rng: &mut Rng, keys: u32) -> (u32, u32) {
    let from = rng.below(u64::from(keys)) as u32;
    let room = (keys - from).min(SPAN_MAX);
    let to = from + 1 + rng.below(u64::from(room)) as u32;
    (from, to)
}

/// What clients ask for.
struct Requests {
    keys: u32,
    read_share: f64,
    all_shapes: bool,
    many_leases: bool,
}

impl Requests {
    fn next(&self, rng: &mut Rng, retries: bool) -> Op {
        // A client that moves between members may be shown older and older states by
        // them; only one that knows when it moves can say what it was promised.
        let serializable = !retries && rng.chance(0.2);
        if self.many_leases && rng.chance(0.5) {
            self.about_leases(rng)
        } else if rng.chance(self.read_share) {
            self.read(rng, serializable)
        } else if self.all_shapes && rng.chance(0.25) {
            self.unusual_write(rng)
        } else {
            self.write(rng)
        }
    }

    fn key(&self, rng: &mut Rng) -> u32 {
        rng.below(u64::from(self.keys)) as u32
    }

    fn read(&self, rng: &mut Rng, serializable: bool) -> Op {
        let keys = self.keys;
        if self.all_shapes && rng.chance(0.2) {
            return Op::Query(self.query(rng, serializable));
        }
        match rng.below(10) {
            0..=4 => Op::Get {
                key: self.key(rng),
                serializable,
            },
            5 | 6 if keys > 1 => {
                let (first, second) = two_keys(rng, keys);
                Op::GetBoth {
                    first,
                    second,
                    serializable: self.all_shapes && rng.chance(0.3),
                }
            }
            _ => {
                let all_share = if keys > SPAN_MAX {
                    ALL_OF_MANY_SHARE
                } else {
                    0.6
                };
                let (from, to) = if rng.chance(all_share) {
                    (0, keys)
                } else {
                    self.span(rng)
                };
                Op::Range {
                    from,
                    to,
                    limit: limit(rng),
                    back: if rng.chance(0.3) {
                        rng.between(1, 20) as i64
                    } else if self.all_shapes && rng.chance(0.05) {
                        // Refused, unless others have written meanwhile.
                        -(rng.between(1, 3) as i64)
                    } else {
                        0
                    },
                    count_only: rng.chance(0.1),
                    keys_only: rng.chance(0.1),
                    newest_first: rng.chance(0.2),
                    serializable,
                }
            }
        }
    }

    fn query(&self, rng: &mut Rng, serializable: bool) -> Query {
        let (from, to) = self.span(rng);
        let parts = [
            Part::Key,
            Part::Version,
            Part::Create,
            Part::Mod,
            Part::Value,
        ];
        Query {
            from,
            to,
            limit: limit(rng),
            sort_by: pick(rng, &parts),
            descending: rng.chance(0.5),
            bound: rng.chance(0.5).then(|| RevisionBound {
                of_creation: rng.chance(0.5),
                is_max: rng.chance(0.5),
                back: rng.below(30) as i64,
            }),
            serializable,
        }
    }

    fn write(&self, rng: &mut Rng) -> Op {
        let key = self.key(rng);
        match rng.below(100) {
            0..=39 => Op::Put {
                key,
                prev_kv: rng.chance(0.3),
                lease: None,
            },
            40..=59 => Op::CompareAndSwap { key },
            60..=74 if self.keys > 1 => {
                let (first, second) = two_keys(rng, self.keys);
                Op::PutBoth { first, second }
            }
            75..=82 => Op::Delete {
                key,
                prev_kv: rng.chance(0.5),
            },
            83 => {
                let (from, to) = self.span(rng);
                Op::DeleteRange {
                    from,
                    to,
                    prev_kv: rng.chance(0.5),
                }
            }
            84 | 85 => Op::Compact {
                // Mostly far back: a watcher whose revisions are compacted away cannot
                // tell who wrote them.
                back: if rng.chance(0.25) {
                    rng.between(1, 40)
                } else {
                    rng.between(40, 160)
                } as i64,
            },
            86..=88 => Op::LeaseGrant {
                slot: slot(rng),
                ttl_s: rng.between(1, 8) as i64,
            },
            89..=92 => Op::LeaseKeepAlive { slot: slot(rng) },
            93 => Op::LeaseRevoke { slot: slot(rng) },
            _ => Op::Put {
                key,
                prev_kv: false,
                lease: Some(slot(rng)),
            },
        }
    }

    /// A range; where clients use every shape, some go on to the end of all keys.
    fn span(&self, rng: &mut Rng) -> (u32, u32) {
        let (from, to) = span(rng, self.keys);
        if self.all_shapes && to == self.keys && rng.chance(0.5) {
            (from, TO_THE_END)
        } else {
            (from, to)
        }
    }

    fn about_leases(&self, rng: &mut Rng) -> Op {
        let slot = slot(rng);
        match rng.below(20) {
            0..=3 => Op::LeaseGrant {
                slot,
                // Of nothing one second is made.
                ttl_s: rng.between(0, 4) as i64,
            },
            4..=9 => Op::LeaseKeepAlive { slot },
            10 => Op::LeaseKeepAliveLate {
                slot,
                late_ms: rng.between(0, 500) as i64 - 250,
            },
            11..=13 => Op::LeaseTimeToLive {
                slot,
                keys: rng.chance(0.7),
            },
            14 => Op::LeaseLeases,
            15 => Op::LeaseGrantAgain {
                slot,
                ttl_s: rng.between(0, 6) as i64,
            },
            16 => Op::LeaseRevokeAgain { slot },
            _ => Op::Put {
                key: self.key(rng),
                prev_kv: false,
                lease: Some(slot),
            },
        }
    }

    fn unusual_write(&self, rng: &mut Rng) -> Op {
        match rng.below(22) {
            0..=2 => Op::PutKeeping {
                key: self.key(rng),
                keep: pick(rng, &[Keep::Value, Keep::Lease, Keep::Lease, Keep::Both]),
                prev_kv: rng.chance(0.5),
            },
            3..=5 => Op::LeaseKeepAliveLate {
                slot: slot(rng),
                late_ms: rng.between(0, 500) as i64 - 250,
            },
            // Refused, unless others have written a lot meanwhile.
            6 => Op::Compact {
                back: -(if rng.chance(0.5) {
                    1
                } else {
                    rng.between(1, 300) as i64
                }),
            },
            7 | 8 => {
                let (from, to) = span(rng, self.keys);
                Op::DeleteRange {
                    from,
                    to: to.min(from + 3),
                    prev_kv: true,
                }
            }
            9 | 10 => Op::Put {
                key: self.key(rng),
                prev_kv: true,
                lease: Some(slot(rng)),
            },
            11 | 12 => self.about_leases(rng),
            _ => Op::Txn(self.txn(rng)),
        }
    }

    fn txn(&self, rng: &mut Rng) -> PlannedTxn {
        // Every key is written once at most: the API refuses more.
        let mut keys: Vec<u32> = (0..self.keys).collect();
        rng.shuffle(&mut keys);
        let mut success = self.steps(rng, &mut keys);
        if rng.chance(0.3) {
            let nested = PlannedTxn {
                compares: self.compares(rng),
                success: self.steps(rng, &mut keys),
                failure: self.steps(rng, &mut keys),
            };
            let at = rng.index(success.len() + 1);
            success.insert(at, TxnStep::Txn(nested));
        }
        PlannedTxn {
            compares: self.compares(rng),
            success,
            failure: self.steps(rng, &mut keys),
        }
    }

    fn compares(&self, rng: &mut Rng) -> Vec<PlannedCompare> {
        let parts = [
            Part::Version,
            Part::Create,
            Part::Mod,
            Part::Mod,
            Part::Value,
            Part::Lease,
        ];
        let relations = [
            Relation::Equal,
            Relation::Greater,
            Relation::Less,
            Relation::NotEqual,
        ];
        (0..rng.below(3))
            .map(|_| {
                let (key, to) = self.span(rng);
                PlannedCompare {
                    key,
                    to: rng.chance(0.2).then_some(to),
                    part: pick(rng, &parts),
                    relation: pick(rng, &relations),
                    offset: rng.between(0, 2) as i64 - 1,
                }
            })
            .collect()
    }

    /// Writes to keys out of `keys`, with reads of what was written between them.
    fn steps(&self, rng: &mut Rng, keys: &mut Vec<u32>) -> Vec<TxnStep> {
        let mut steps = Vec::new();
        for _ in 0..rng.below(4) {
            let Some(key) = keys.pop() else { break };
            steps.push(match rng.below(8) {
                0..=3 => TxnStep::Put {
                    key,
                    prev_kv: rng.chance(0.3),
                    lease: rng.chance(0.2).then(|| slot(rng)),
                    keep: rng
                        .chance(0.1)
                        .then(|| pick(rng, &[Keep::Value, Keep::Lease, Keep::Both])),
                },
                4 => TxnStep::Delete {
                    from: key,
                    to: key + 1,
                    prev_kv: rng.chance(0.5),
                },
                _ => {
                    let (from, to) = self.span(rng);
                    TxnStep::Range {
                        from,
                        to,
                        limit: limit(rng),
                        back: if rng.chance(0.15) {
                            rng.between(1, 20) as i64
                        } else {
                            0
                        },
                    }
                }
            });
        }
        steps
    }
}

fn slot(rng: &mut Rng) -> u8 {
    rng.below(2) as u8
}

/// A limit in three of ten cases.
fn limit(rng: &mut Rng) -> i64 {
    if rng.chance(0.3) {
        rng.between(1, 5) as i64
    } else {
        0
    }
}

/// How often a watcher asks for its progress.
fn asks(rng: &mut Rng) -> Option<u64> {
    let period_ms = pick(rng, &[50, 200, 1_000]);
    rng.chance(0.3).then_some(period_ms)
}

/// A second watch on a watcher's stream, for some.
fn beside(rng: &mut Rng, keys: u32) -> Option<BesidePlan> {
    let (from, to) = span(rng, keys);
    let plan = BesidePlan {
        keys: match rng.below(3) {
            0 => (from, from + 1),
            1 => (from, TO_THE_END),
            _ => (from, to),
        },
        back: pick(rng, &[0, 0, 1, 5, 20]),
        prev_kv: rng.chance(0.5),
        period_ms: pick(rng, &[200, 1_000, 4_000]),
        of_prefix: rng.chance(0.15),
    };
    rng.chance(0.35).then_some(plan)
}

pub(super) fn watchers(rng: &mut Rng, members: u32, keys: u32) -> Vec<WatcherPlan> {
    // One follows everything: what it is shown tells the checker which of the writes
    // with unknown outcomes took effect.
    let all = WatcherPlan {
        first_member: rng.below(u64::from(members)) as u32,
        start_at_ms: 0,
        keys: (0, keys),
        from_beginning: true,
        prev_kv: rng.chance(0.5),
        no_delete: false,
        no_put: false,
        fragment: rng.chance(0.5),
        progress: rng.chance(0.5),
        ask_progress_ms: asks(rng),
        beside: beside(rng, keys),
    };
    let others = (0..rng.between(0, 2)).map(|_| {
        // Not both filters: nobody could tell such a watch from one that is behind.
        let filter = rng.below(10);
        WatcherPlan {
            first_member: rng.below(u64::from(members)) as u32,
            start_at_ms: rng.below(20_000),
            keys: if rng.chance(0.5) {
                (0, keys)
            } else {
                span(rng, keys)
            },
            from_beginning: rng.chance(0.6),
            prev_kv: rng.chance(0.5),
            no_delete: filter == 0,
            no_put: filter == 1,
            fragment: rng.chance(0.5),
            progress: rng.chance(0.5),
            ask_progress_ms: asks(rng),
            beside: beside(rng, keys),
        }
    });
    std::iter::once(all)
        .chain(others.collect::<Vec<_>>())
        .collect()
}
