//! The default scenario: a plan in which every seed switches a random subset of the
//! fault families on, and gives each a random intensity (Groce et al., "Swarm Testing",
//! ISSTA 2012).
//!
//! The fault atlas that keeps a run answerable: whatever stops a member for good is
//! undone at the latest when the faults end; disks lie to nobody and rot nowhere, so a
//! majority can always recover.

use veridical_sim::{
    CrashKind, CrashPoint, CrashRules, DiskFaults, Fault, Latency, LossMode, NetworkFaults,
    ProcessId, Rng, Stream,
};

use crate::plan::{
    HostPlan, HuntPlan, Knobs, Op, PLAN_FORMAT, Plan, PlannedOp, TimedFault, WatcherPlan,
};

/// The scenario's name.
pub const NAME: &str = "swarm";

/// Keys that plans use.
const KEYS_MAX: u64 = 16;

/// Seeds that only hunt leaders.
const PURE_HUNT_SHARE: f64 = 0.05;

/// Families of faults that a seed can switch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Partition,
    Clog,
    LossyNetwork,
    Corruption,
    SlowNetwork,
    Crash,
    CrashAtPoint,
    PowerFailure,
    Pause,
    Clock,
    DiskErrors,
    SlowDisk,
    LeaderHunt,
}

const FAMILIES: [Family; 13] = [
    Family::Partition,
    Family::Clog,
    Family::LossyNetwork,
    Family::Corruption,
    Family::SlowNetwork,
    Family::Crash,
    Family::CrashAtPoint,
    Family::PowerFailure,
    Family::Pause,
    Family::Clock,
    Family::DiskErrors,
    Family::SlowDisk,
    Family::LeaderHunt,
];

/// The plan of a seed.
pub fn plan(seed: u64) -> Plan {
    let mut knobs_rng = Rng::for_stream(seed, Stream::Knobs);
    let mut workload_rng = Rng::for_stream(seed, Stream::Workload);
    let mut nemesis_rng = Rng::for_stream(seed, Stream::Nemesis);
    let members = if knobs_rng.chance(0.2) { 5 } else { 3 };
    let mut knobs = knobs(&mut knobs_rng);
    let engine = knobs_rng.chance(0.3);
    let heal_at_ms = 45_000 + nemesis_rng.below(10_000);
    let end_at_ms = heal_at_ms + 15_000;
    let keys = workload_rng.between(2, KEYS_MAX) as u32;
    let hosts = hosts(&mut workload_rng, members, keys, end_at_ms);
    let watchers = watchers(&mut workload_rng, members, keys);
    let clients = (hosts.len() + watchers.len()) as u32;
    let mut chosen: Vec<Family> = FAMILIES
        .into_iter()
        .filter(|_| nemesis_rng.chance(0.4))
        .collect();
    // A few seeds do nothing but hunt leaders, so that nothing else gets in between.
    let is_pure_hunt = nemesis_rng.chance(PURE_HUNT_SHARE);
    if is_pure_hunt {
        chosen = vec![Family::LeaderHunt];
    }
    let mut nemesis = Nemesis {
        rng: nemesis_rng,
        members,
        clients,
        heal_at_ms,
        faults: Vec::new(),
    };
    let mut network = nemesis.network(&chosen);
    let disk = nemesis.disk(&chosen);
    for family in &chosen {
        nemesis.family(*family, &knobs);
    }
    let hunt = chosen
        .contains(&Family::LeaderHunt)
        .then(|| nemesis.hunt(&mut knobs, is_pure_hunt));
    if is_pure_hunt {
        // Slow enough that a cut falls between an entry and the next one.
        network.delay = Latency::new(5_000, 1_000);
    }
    let mut faults = nemesis.faults;
    faults.sort_by_key(|fault| fault.at_ms);
    Plan {
        format: PLAN_FORMAT,
        scenario: NAME.to_owned(),
        seed,
        planted: None,
        members,
        knobs,
        engine,
        network,
        disk,
        hosts,
        watchers,
        faults,
        hunt,
        heal_at_ms,
        heal_bound_ms: 30_000,
        end_at_ms,
        restart_delay_ms: 1_000,
        claimed_drift_ppm: CLAIMED_DRIFT_PPM,
        schedule_seed: None,
    }
}

/// Clocks may run this much wrong before leases are not promised any more.
const CLAIMED_DRIFT_PPM: u64 = 10_000;

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.index(from.len())]
}

fn knobs(rng: &mut Rng) -> Knobs {
    let heartbeat_ms = pick(rng, &[50, 100, 100, 150]);
    let snapshot_entries = pick(rng, &[25, 60, 200, 1_000, 10_000]);
    Knobs {
        heartbeat_ms,
        election_timeout_ms: heartbeat_ms * rng.between(5, 12),
        max_append_bytes: pick(rng, &[64, 512, 4_096, 1_048_576]),
        max_inflight_appends: pick(rng, &[1, 2, 8, 256]),
        max_uncommitted_bytes: pick(rng, &[2_048, 65_536, 1_048_576]),
        apply_yield_commands: pick(rng, &[1, 1, 2, 64]),
        request_timeout_ms: pick(rng, &[1_500, 3_000, 5_000]),
        retry_ms: pick(rng, &[100, 250, 500, 1_000]),
        snapshot_entries,
        snapshot_keep_entries: rng.below(snapshot_entries + 1),
        snapshot_chunk_bytes: pick(rng, &[64, 512, 4_096]),
        snapshot_window_chunks: pick(rng, &[1, 2, 8]),
        wal_segment_bytes: pick(rng, &[16_384, 65_536, 262_144, 1_048_576]),
        shards: pick(rng, &[1, 2, 8, 16]),
        lease_check_ms: pick(rng, &[100, 250, 500]),
        watch_progress_ms: pick(rng, &[500, 2_000, 10_000]),
        watch_pace_ms: pick(rng, &[0, 0, 2, 40]),
        connect_timeout_ms: pick(rng, &[100, 300, 1_000]),
        reconnect_delay_ms: pick(rng, &[10, 50, 100]),
        watch_catch_up_revisions: pick(rng, &[1, 2, 16, 1_000]),
        watch_buffered_events: pick(rng, &[1, 8, 8_192]),
        max_session_requests: pick(rng, &[1, 4, 64, 1_024]),
    }
}

/// At least this many operations are planned for a run.
const OPERATIONS_MIN: u64 = 560;
const OPERATIONS_MAX: u64 = 900;

fn hosts(rng: &mut Rng, members: u32, keys: u32, end_at_ms: u64) -> Vec<HostPlan> {
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
        60..=74 => {
            let (first, second) = two_keys(rng, keys);
            Op::PutBoth { first, second }
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

fn watchers(rng: &mut Rng, members: u32, keys: u32) -> Vec<WatcherPlan> {
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

/// Draws the faults of a plan.
struct Nemesis {
    rng: Rng,
    members: u32,
    /// Hosts of clients and watchers; their numbers follow the members'.
    clients: u32,
    heal_at_ms: u64,
    faults: Vec<TimedFault>,
}

impl Nemesis {
    fn member(&mut self) -> ProcessId {
        ProcessId(self.rng.below(u64::from(self.members)) as u32)
    }

    fn all_members(&self) -> Vec<ProcessId> {
        (0..self.members).map(ProcessId).collect()
    }

    fn shuffled_members(&mut self) -> Vec<ProcessId> {
        let mut members = self.all_members();
        self.rng.shuffle(&mut members);
        members
    }

    /// How the network is when nothing special happens.
    fn network(&mut self, chosen: &[Family]) -> NetworkFaults {
        let rng = &mut self.rng;
        let mut network = NetworkFaults {
            delay: Latency::new(rng.between(100, 2_000), rng.between(100, 3_000)),
            pair_offset_max_us: rng.below(5_000),
            fragment_probability: if rng.chance(0.3) { 0.1 } else { 0.0 },
            ..NetworkFaults::none()
        };
        if chosen.contains(&Family::SlowNetwork) {
            network.delay = network.delay.with_tail(0.02, rng.between(20_000, 400_000));
        }
        if chosen.contains(&Family::LossyNetwork) {
            network.loss = pick(rng, &[LossMode::Datagram, LossMode::Stream]);
            network.drop_probability = rng.unit() * 0.02;
            network.duplicate_probability = rng.unit() * 0.02;
            network.reorder_probability = rng.unit() * 0.03;
            network.reorder_window_us = rng.between(1_000, 200_000);
        }
        if chosen.contains(&Family::Corruption) {
            network.corrupt_probability = rng.unit() * 0.002;
            network.reset_probability = rng.unit() * 0.002;
        }
        network
    }

    /// How the disks are when nothing special happens.
    fn disk(&mut self, chosen: &[Family]) -> DiskFaults {
        let rng = &mut self.rng;
        let mut disk = DiskFaults {
            sync_latency: Latency::new(rng.between(100, 4_000), rng.between(100, 6_000)),
            short_read_probability: 0.01,
            short_write_probability: 0.01,
            interrupt_probability: 0.005,
            crash: CrashRules {
                lost_write_probability: pick(rng, &[0.1, 0.5, 1.0]),
                reorder: rng.chance(0.7),
                torn_write_probability: pick(rng, &[0.0, 0.3, 0.7]),
                torn_sector_probability: pick(rng, &[0.0, 0.2]),
                sector_bytes: pick(rng, &[512, 4_096]),
                size_without_data_probability: pick(rng, &[0.0, 0.3]),
                lost_name_probability: pick(rng, &[0.2, 0.6, 1.0]),
            },
            ..DiskFaults::none()
        };
        if chosen.contains(&Family::SlowDisk) {
            disk.sync_latency = disk
                .sync_latency
                .with_tail(0.03, rng.between(20_000, 500_000));
            // The page cache is full now and then, and writes wait for the medium; so a
            // snapshot is written while the store goes on.
            disk.write_latency = disk
                .write_latency
                .with_tail(0.15, rng.between(1_000, 20_000));
        }
        disk
    }

    /// Times at which a family strikes, about `mean_gap_ms` apart.
    fn times(&mut self, mean_gap_ms: u64) -> Vec<u64> {
        let mut times = Vec::new();
        let mut at = 500 + self.rng.exponential(mean_gap_ms);
        while at + 500 < self.heal_at_ms {
            times.push(at);
            at += 300 + self.rng.exponential(mean_gap_ms);
        }
        times
    }

    fn add(&mut self, at_ms: u64, fault: Fault) {
        self.faults.push(TimedFault { at_ms, fault });
    }

    fn lasting(&mut self, mean_ms: u64) -> Option<u64> {
        Some(100 + self.rng.exponential(mean_ms))
    }

    fn family(&mut self, family: Family, knobs: &Knobs) {
        let gap_ms = pick(&mut self.rng, &[2_500, 5_000, 10_000]);
        let election_ms = knobs.election_timeout_ms;
        match family {
            // Part of the network and the disks all the time.
            Family::LossyNetwork | Family::Corruption | Family::SlowNetwork | Family::SlowDisk => {}
            // A plan of its own: it follows the elections.
            Family::LeaderHunt => {}
            Family::Partition => self.partitions(gap_ms, election_ms),
            Family::Clog => self.clogs(gap_ms, election_ms),
            Family::Crash => self.crashes(gap_ms),
            Family::CrashAtPoint => self.crash_points(gap_ms),
            Family::PowerFailure => self.power_failures(gap_ms),
            Family::Pause => self.pauses(gap_ms, election_ms),
            Family::Clock => self.clocks(gap_ms),
            Family::DiskErrors => self.disk_errors(gap_ms),
        }
    }

    fn partitions(&mut self, gap_ms: u64, election_ms: u64) {
        for at_ms in self.times(gap_ms) {
            let duration_ms = self.lasting(election_ms * 4);
            let members = self.shuffled_members();
            let middle = members.len() / 2;
            let fault = match self.rng.below(6) {
                0 => Fault::Isolate {
                    process: members[0],
                    duration_ms,
                },
                1 | 2 => {
                    // Clients and watchers stay with one side or the other.
                    let mut left = members[..middle].to_vec();
                    let mut right = members[middle..].to_vec();
                    for client in self.members..self.members + self.clients {
                        if self.rng.chance(0.5) {
                            left.push(ProcessId(client));
                        } else {
                            right.push(ProcessId(client));
                        }
                    }
                    Fault::Partition {
                        groups: vec![left, right],
                        duration_ms,
                    }
                }
                3 => Fault::OneWay {
                    from: members[..1].to_vec(),
                    to: members[1..].to_vec(),
                    duration_ms,
                },
                4 => Fault::OneWay {
                    from: members[1..].to_vec(),
                    to: members[..1].to_vec(),
                    duration_ms,
                },
                _ if members.len() >= 5 && self.rng.chance(0.5) => Fault::MajorityRing {
                    ring: members,
                    duration_ms,
                },
                _ => Fault::Bridge {
                    left: members[..middle].to_vec(),
                    bridge: members[middle],
                    right: members[middle + 1..].to_vec(),
                    duration_ms,
                },
            };
            self.add(at_ms, fault);
        }
    }

    fn clogs(&mut self, gap_ms: u64, election_ms: u64) {
        for at_ms in self.times(gap_ms) {
            let members = self.shuffled_members();
            let fault = if self.rng.chance(0.2) {
                Fault::Swizzle {
                    processes: members,
                    interval_ms: 20 + self.rng.exponential(election_ms / 4),
                }
            } else {
                Fault::Clog {
                    from: members[..1].to_vec(),
                    to: members[1..2].to_vec(),
                    duration_ms: self.lasting(election_ms * 2),
                }
            };
            self.add(at_ms, fault);
        }
    }

    fn crash_kind(&mut self) -> CrashKind {
        pick(
            &mut self.rng,
            &[
                CrashKind::PowerLoss,
                CrashKind::PowerLossWithReset,
                CrashKind::Kill,
            ],
        )
    }

    fn downtime_ms(&mut self) -> Option<u64> {
        let mean_ms = pick(&mut self.rng, &[50, 1_000, 4_000]);
        Some(5 + self.rng.exponential(mean_ms))
    }

    fn crashes(&mut self, gap_ms: u64) {
        for at_ms in self.times(gap_ms) {
            let process = self.member();
            let kind = self.crash_kind();
            let restart_after_ms = self.downtime_ms();
            self.add(
                at_ms,
                Fault::Crash {
                    process,
                    kind,
                    restart_after_ms,
                },
            );
        }
    }

    fn crash_points(&mut self, gap_ms: u64) {
        let points = [
            CrashPoint::BeforeWrite,
            CrashPoint::AfterWrite,
            CrashPoint::BeforeSync,
            CrashPoint::AfterSync,
            CrashPoint::BeforeRename,
            CrashPoint::AfterRename,
            CrashPoint::BeforeSyncDir,
            CrashPoint::BeforeSend,
            CrashPoint::AfterSend,
        ];
        for at_ms in self.times(gap_ms) {
            let process = self.member();
            let point = pick(&mut self.rng, &points);
            let skip = self.rng.below(12);
            let kind = self.crash_kind();
            let restart_after_ms = self.downtime_ms();
            self.add(
                at_ms,
                Fault::CrashAt {
                    process,
                    point,
                    skip,
                    kind,
                    restart_after_ms,
                },
            );
        }
    }

    /// All members, or a majority of them, lose power together.
    fn power_failures(&mut self, gap_ms: u64) {
        for at_ms in self.times(gap_ms * 2) {
            let mut members = self.shuffled_members();
            if self.rng.chance(0.4) {
                members.truncate(members.len() / 2 + 1);
            }
            for process in members {
                let restart_after_ms = self.downtime_ms();
                let spread_ms = self.rng.below(3);
                self.add(
                    at_ms + spread_ms,
                    Fault::Crash {
                        process,
                        kind: CrashKind::PowerLoss,
                        restart_after_ms,
                    },
                );
            }
        }
    }

    fn pauses(&mut self, gap_ms: u64, election_ms: u64) {
        for at_ms in self.times(gap_ms) {
            let process = self.member();
            let duration_ms = self.lasting(election_ms * 2);
            let fault = if self.rng.chance(0.2) {
                Fault::Suspend {
                    process,
                    duration_ms,
                }
            } else {
                Fault::Pause {
                    process,
                    duration_ms,
                }
            };
            self.add(at_ms, fault);
        }
    }

    fn clocks(&mut self, gap_ms: u64) {
        for process in self.all_members() {
            let drift_ppm =
                self.rng.between(0, 2 * CLAIMED_DRIFT_PPM) as i64 - CLAIMED_DRIFT_PPM as i64;
            self.add(
                0,
                Fault::ClockDrift {
                    process,
                    drift_ppm,
                    duration_ms: None,
                },
            );
        }
        for at_ms in self.times(gap_ms) {
            let process = self.member();
            let fault = if self.rng.chance(0.7) {
                let jump_ms = self.rng.between(0, 7_200_000) as i64 - 3_600_000;
                Fault::ClockJump { process, jump_ms }
            } else {
                Fault::ClockStrobe {
                    process,
                    amplitude_ms: self.rng.between(1, 60_000),
                    period_ms: self.rng.between(50, 1_000),
                    duration_ms: self.lasting(3_000),
                }
            };
            self.add(at_ms, fault);
        }
    }

    fn disk_errors(&mut self, gap_ms: u64) {
        for at_ms in self.times(gap_ms * 2) {
            let process = self.member();
            let fault = match self.rng.below(4) {
                0 => Fault::DiskStall {
                    process,
                    duration_ms: 50 + self.rng.exponential(1_500),
                },
                1 => Fault::DiskFull {
                    free_bytes: self.rng.below(4_096),
                    process,
                    duration_ms: self.lasting(1_500),
                },
                2 => Fault::Disk {
                    process,
                    faults: DiskFaults {
                        write_error_probability: 0.2,
                        ..DiskFaults::none()
                    },
                    duration_ms: self.lasting(400),
                },
                _ => Fault::Disk {
                    process,
                    faults: DiskFaults {
                        sync_error_probability: 0.5,
                        ..DiskFaults::none()
                    },
                    duration_ms: self.lasting(400),
                },
            };
            self.add(at_ms, fault);
        }
    }

    fn hunt(&mut self, knobs: &mut Knobs, is_pure: bool) -> HuntPlan {
        let rng = &mut self.rng;
        let from_ms = rng.below(5_000);
        let spare_probability = if is_pure {
            0.0
        } else {
            pick(rng, &[0.0, 0.3, 0.6])
        };
        if is_pure || rng.chance(0.5) {
            // The leaders change places again and again, each cut off when it has sent
            // one entry or two (figure 8 of the Raft paper).
            knobs.max_append_bytes = 64;
            knobs.max_inflight_appends = 1;
            knobs.heartbeat_ms = 50;
            knobs.election_timeout_ms = 250;
            knobs.connect_timeout_ms = 50;
            knobs.reconnect_delay_ms = 10;
            return HuntPlan {
                from_ms,
                delay_mean_ms: if is_pure {
                    3
                } else {
                    pick(rng, &[2, 4, 8, 16])
                },
                commit_probability: if is_pure {
                    0.5
                } else {
                    pick(rng, &[0.0, 0.3, 0.6])
                },
                cut_mean_ms: knobs.election_timeout_ms * rng.between(2, 5),
                crash_probability: 0.0,
                voter_crash_probability: 0.0,
                heal_probability: 1.0,
                spare_probability,
                elections: None,
            };
        }
        HuntPlan {
            from_ms,
            delay_mean_ms: pick(rng, &[3, 15, 60, 400]),
            commit_probability: pick(rng, &[0.0, 0.3]),
            cut_mean_ms: knobs.election_timeout_ms * rng.between(1, 4),
            crash_probability: pick(rng, &[0.0, 0.2, 0.5]),
            voter_crash_probability: pick(rng, &[0.0, 0.3, 0.7]),
            heal_probability: pick(rng, &[0.3, 0.7, 1.0]),
            spare_probability,
            elections: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_function_of_its_seed() {
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn a_plan_survives_its_written_form() {
        for seed in 0..50 {
            let plan = plan(seed);
            let text = serde_json::to_string(&plan).expect("a plan can be written");
            assert_eq!(serde_json::from_str::<Plan>(&text).expect("and read"), plan);
        }
    }

    #[test]
    fn every_plan_has_at_least_500_operations_and_60_seconds() {
        for seed in 0..500 {
            let plan = plan(seed);
            assert!(
                plan.operations() >= 500,
                "seed {seed}: {}",
                plan.operations()
            );
            assert!(plan.end_at_ms >= 60_000);
        }
    }

    #[test]
    fn plans_use_three_members_mostly_and_five_sometimes() {
        let fives = (0..500).filter(|seed| plan(*seed).members == 5).count();
        assert!((50..200).contains(&fives), "{fives}");
    }

    #[test]
    fn no_fault_begins_after_the_heal() {
        for seed in 0..200 {
            let plan = plan(seed);
            assert!(
                plan.faults
                    .iter()
                    .all(|fault| fault.at_ms < plan.heal_at_ms)
            );
        }
    }
}
