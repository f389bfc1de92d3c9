//! What clients and watchers do.

use veridical_sim::Rng;

use crate::plan::{HostPlan, Op, PlannedOp, Sort, WatcherPlan};
use crate::swarm::pick;

/// How long values are at least: mostly as short as can be; some fill what a connection
/// may hold unread.
const VALUE_BYTES: [u32; 8] = [0, 0, 0, 0, 0, 200, 1_000, 4_000];

/// At least this many operations are planned for a run.
const OPERATIONS_MIN: u64 = 560;
const OPERATIONS_MAX: u64 = 900;

pub(super) fn hosts(rng: &mut Rng, members: u32, keys: u32, end_at_ms: u64) -> Vec<HostPlan> {
    let host_count = rng.between(2, 5);
    let lanes: Vec<u64> = (0..host_count).map(|_| rng.between(1, 4)).collect();
    let lane_count: u64 = lanes.iter().sum();
    let operations = rng.between(OPERATIONS_MIN, OPERATIONS_MAX);
    let per_lane = operations.div_ceil(lane_count);
    // Bursts find what a steady trickle does not, and the other way round.
    let busy_share = pick(rng, &[0.35, 0.6, 0.85]);
    let think_mean_ms = ((end_at_ms as f64 * busy_share) as u64 / per_lane).max(1);
    let read_share = pick(rng, &[0.2, 0.5, 0.7]);
    let mut hosts = Vec::new();
    for lanes in lanes {
        let retries = rng.chance(0.5);
        let value_bytes = pick(rng, &VALUE_BYTES);
        let lanes = (0..lanes)
            .map(|_| {
                (0..per_lane)
                    .map(|_| PlannedOp {
                        after_ms: think_ms(rng, think_mean_ms),
                        at_ms: None,
                        op: operation(rng, keys, read_share, retries),
                    })
                    .collect()
            })
            .collect();
        hosts.push(HostPlan {
            first_member: rng.below(u64::from(members)) as u32,
            retries,
            request_timeout_ms: pick(rng, &[1_000, 2_000, 4_000]),
            value_bytes,
            lanes,
        });
    }
    hosts
}

fn think_ms(rng: &mut Rng, mean_ms: u64) -> u64 {
    // One in four follows at once on the one before.
    if rng.chance(0.25) {
        0
    } else {
        rng.exponential(mean_ms * 4 / 3).min(20_000)
    }
}

fn two_keys(rng: &mut Rng, keys: u32) -> (u32, u32) {
    let first = rng.below(u64::from(keys)) as u32;
    let distance = 1 + rng.below(u64::from(keys) - 1) as u32;
    (first, (first + distance) % keys)
}

fn span(rng: &mut Rng, keys: u32) -> (u32, u32) {
    let from = rng.below(u64::from(keys)) as u32;
    let to = from + 1 + rng.below(u64::from(keys - from)) as u32;
    (from, to)
}

fn sort(rng: &mut Rng) -> Option<Sort> {
    let sort = pick(
        rng,
        &[
            Sort::KeyDescending,
            Sort::OldestChangeFirst,
            Sort::OldestCreationFirst,
            Sort::MostChangedFirst,
            Sort::Value,
        ],
    );
    rng.chance(0.25).then_some(sort)
}

fn operation(rng: &mut Rng, keys: u32, read_share: f64, retries: bool) -> Op {
    let key = rng.below(u64::from(keys)) as u32;
    // A client that moves between members may be shown older and older states by them;
    // only one that knows when it moves can say what it was promised.
    let serializable = !retries && rng.chance(0.2);
    if rng.chance(read_share) {
        return match rng.below(10) {
            0..=4 => Op::Get { key, serializable },
            5 | 6 => {
                let (first, second) = two_keys(rng, keys);
                Op::GetBoth { first, second }
            }
            _ => {
                let (from, to) = if rng.chance(0.6) {
                    (0, keys)
                } else {
                    span(rng, keys)
                };
                Op::Range {
                    from,
                    to,
                    limit: if rng.chance(0.3) {
                        rng.between(1, 5) as i64
                    } else {
                        0
                    },
                    back: if rng.chance(0.3) {
                        rng.between(1, 20) as i64
                    } else {
                        0
                    },
                    count_only: rng.chance(0.1),
                    keys_only: rng.chance(0.1),
                    newest_first: rng.chance(0.2),
                    sort: sort(rng),
                    serializable,
                }
            }
        };
    }
    match rng.below(100) {
        0..=39 => Op::Put {
            key,
            prev_kv: rng.chance(0.3),
            lease: None,
        },
        40..=59 => Op::CompareAndSwap { key },
        60..=68 => {
            let (first, second) = two_keys(rng, keys);
            Op::PutBoth {
                first,
                second,
                lease: rng.chance(0.2).then(|| rng.below(2) as u8),
            }
        }
        69..=71 => {
            let (from, to) = span(rng, keys);
            Op::PutAndRange {
                key,
                from,
                to,
                sort: sort(rng),
            }
        }
        72..=74 => {
            let (outer, inner) = two_keys(rng, keys);
            Op::Nested { outer, inner }
        }
        75..=82 => Op::Delete {
            key,
            prev_kv: rng.chance(0.5),
        },
        83 => {
            let (from, to) = span(rng, keys);
            Op::DeleteRange { from, to }
        }
        84 | 85 => Op::Compact {
            // Mostly far back: a watcher whose revisions are compacted away cannot tell
            // who wrote them.
            back: if rng.chance(0.25) {
                rng.between(1, 40)
            } else {
                rng.between(40, 160)
            } as i64,
        },
        86..=88 => Op::LeaseGrant {
            slot: rng.below(2) as u8,
            ttl_s: rng.between(1, 8) as i64,
        },
        89..=92 => Op::LeaseKeepAlive {
            slot: rng.below(2) as u8,
        },
        93 => Op::LeaseRevoke {
            slot: rng.below(2) as u8,
        },
        _ => Op::Put {
            key,
            prev_kv: false,
            lease: Some(rng.below(2) as u8),
        },
    }
}

/// How often a watcher asks for its progress.
fn asks(rng: &mut Rng) -> Option<u64> {
    let period_ms = pick(rng, &[50, 200, 1_000]);
    rng.chance(0.3).then_some(period_ms)
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
        progress: rng.chance(0.5),
        ask_progress_ms: asks(rng),
    };
    let others = (0..rng.between(0, 2)).map(|_| WatcherPlan {
        first_member: rng.below(u64::from(members)) as u32,
        start_at_ms: rng.below(20_000),
        keys: if rng.chance(0.5) {
            (0, keys)
        } else {
            span(rng, keys)
        },
        from_beginning: rng.chance(0.6),
        prev_kv: rng.chance(0.5),
        no_delete: rng.chance(0.1),
        progress: rng.chance(0.5),
        ask_progress_ms: asks(rng),
    });
    std::iter::once(all)
        .chain(others.collect::<Vec<_>>())
        .collect()
}
