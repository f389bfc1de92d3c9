//! Faults with a time.

use veridical_node::Limits;
use veridical_world::{
    CrashKind, CrashPoint, DiskFaults, Fault, Latency, NetworkFaults, ProcessId, Rng,
};

use crate::swarm::draw::{CLAIMED_DRIFT_PPM, Family, pick};
use veridical_harness::TimedFault;

/// The failpoints of the store, in alphabetical order.
pub(crate) const FAILPOINTS: [&str; 22] = [
    "apply.answered",
    "apply.before",
    "apply.published",
    "engine.flush.after",
    "engine.flush.before",
    "log.forget.before",
    "raft.send.after",
    "raft.send.before",
    "raft.won",
    "recovery.incarnation.after",
    "recovery.incarnation.before",
    "snapshot.durable",
    "snapshot.install.after",
    "snapshot.install.before",
    "snapshot.rename.before",
    "snapshot.renamed",
    "wal.append.after",
    "wal.append.before",
    "wal.release.after",
    "wal.release.before",
    "wal.sync.after",
    "wal.sync.before",
];

/// Of the crashes at a place, those at a failpoint of the store's code.
const FAILPOINT_SHARE: f64 = 0.5;

/// Draws the faults of a plan.
pub(super) struct Nemesis {
    pub(super) rng: Rng,
    /// Machines of members, spare ones included.
    pub(super) sites: u32,
    /// Hosts of clients and watchers; their numbers follow the sites'.
    pub(super) clients: u32,
    pub(super) heal_at_ms: u64,
    pub(super) faults: Vec<TimedFault>,
}

impl Nemesis {
    fn member(&mut self) -> ProcessId {
        ProcessId(self.rng.below(u64::from(self.sites)) as u32)
    }

    fn all_members(&self) -> Vec<ProcessId> {
        (0..self.sites).map(ProcessId).collect()
    }

    fn shuffled_members(&mut self) -> Vec<ProcessId> {
        let mut members = self.all_members();
        self.rng.shuffle(&mut members);
        members
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

    pub(super) fn family(&mut self, family: Family, knobs: &Limits) {
        let gap_ms = pick(&mut self.rng, &[2_500, 5_000, 10_000]);
        let election_ms = knobs.election_timeout_ms;
        match family {
            // Part of the network and the disks all the time.
            Family::Corruption | Family::SlowDisk => {}
            // Besides, worse for a while.
            Family::LossyNetwork => self.storms(gap_ms),
            Family::SlowNetwork => self.slow_links(gap_ms, election_ms),
            // A plan of its own: it follows the elections.
            Family::LeaderNemesis => {}
            // The operator's business.
            Family::Membership | Family::Upgrade | Family::HandOver => {}
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
            let fault = match self.rng.below(7) {
                // The clients alone; the members go on among themselves.
                6 => Fault::Partition {
                    groups: vec![
                        self.all_members(),
                        (self.sites..self.sites + self.clients)
                            .map(ProcessId)
                            .collect(),
                    ],
                    duration_ms,
                },
                0 => Fault::Isolate {
                    process: members[0],
                    duration_ms,
                },
                1 | 2 => {
                    // Clients and watchers stay with one side or the other.
                    let mut left = members[..middle].to_vec();
                    let mut right = members[middle..].to_vec();
                    for client in self.sites..self.sites + self.clients {
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

    /// The whole network loses, repeats and reorders much for a while.
    fn storms(&mut self, gap_ms: u64) {
        for at_ms in self.times(gap_ms * 2) {
            let faults = NetworkFaults {
                drop_probability: self.rng.unit() * 0.3,
                duplicate_probability: self.rng.unit() * 0.1,
                reorder_probability: self.rng.unit() * 0.2,
                reorder_window_us: self.rng.between(1_000, 50_000),
                ..NetworkFaults::none()
            };
            let duration_ms = self.lasting(1_000);
            let storm = Fault::Network {
                faults,
                duration_ms,
            };
            self.add(at_ms, storm);
        }
    }

    /// One direction between two members is far slower than all others for a while.
    fn slow_links(&mut self, gap_ms: u64, election_ms: u64) {
        for at_ms in self.times(gap_ms) {
            let members = self.shuffled_members();
            let mean_us = self.rng.between(10_000, election_ms * 1_000);
            let slow = Fault::Link {
                from: members[..1].to_vec(),
                to: members[1..2].to_vec(),
                faults: NetworkFaults {
                    delay: Latency::new(mean_us / 2, mean_us / 2),
                    ..NetworkFaults::none()
                },
                duration_ms: self.lasting(election_ms * 3),
            };
            self.add(at_ms, slow);
        }
    }

    fn clogs(&mut self, gap_ms: u64, election_ms: u64) {
        for at_ms in self.times(gap_ms) {
            let members = self.shuffled_members();
            let fault = if self.rng.chance(0.1) {
                Fault::ResetConnections {
                    a: members[0],
                    b: members[1],
                }
            } else if self.rng.chance(0.2) {
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
            if self.rng.chance(FAILPOINT_SHARE) {
                self.crash_at_failpoint(at_ms, process);
                continue;
            }
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

    fn crash_at_failpoint(&mut self, at_ms: u64, process: ProcessId) {
        let name = pick(&mut self.rng, &FAILPOINTS);
        // Snapshots and starts are few.
        let is_rare = [
            "snapshot.",
            "recovery.",
            "engine.",
            "log.",
            "wal.release.",
            "raft.won",
        ]
        .iter()
        .any(|part| name.starts_with(part));
        let fault = Fault::CrashAtFailpoint {
            process,
            name: name.to_owned(),
            skip: self.rng.below(if is_rare { 2 } else { 24 }),
            kind: self.crash_kind(),
            restart_after_ms: self.downtime_ms(),
        };
        self.add(at_ms, fault);
        if name.starts_with("recovery.") {
            // It comes by only when it starts.
            let restart = Fault::Crash {
                process,
                kind: self.crash_kind(),
                restart_after_ms: self.downtime_ms(),
            };
            self.add(at_ms + 1, restart);
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
            } else if self.rng.chance(0.25) {
                Fault::Starve {
                    process,
                    run_ms: self.rng.between(1, 20),
                    stop_ms: self.rng.between(5, 200),
                    duration_ms: self.lasting(election_ms * 4),
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
            let fault = match self.rng.below(6) {
                4 => Fault::Disk {
                    process,
                    faults: DiskFaults {
                        throttle_bytes_per_s: self.rng.between(20_000, 500_000),
                        ..DiskFaults::none()
                    },
                    duration_ms: self.lasting(3_000),
                },
                5 => Fault::Disk {
                    process,
                    faults: DiskFaults {
                        read_error_probability: 0.2,
                        ..DiskFaults::none()
                    },
                    duration_ms: self.lasting(400),
                },
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
}
